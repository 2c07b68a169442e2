"""Training the arms: every run in a directory of its own, and what was trained before is kept."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tsumiki.compare.conditions import Conditions, check_conditions, check_kept, conditions_of
from tsumiki.compare.experiment import Arm, Experiment, load_experiment, resolve, undeclared
from tsumiki.compare.jobs import Job, default_workers, train_all
from tsumiki.compare.measure import measure
from tsumiki.config import dump, load
from tsumiki.doctor import History, read_history
from tsumiki.errors import UserError
from tsumiki.files import read_json
from tsumiki.train import RunConfig
from tsumiki.train.display import Display, make_display
from tsumiki.train.run_directory import CONFIG, holds_run

RESULT = "comparison.json"
"""What `tsumiki.compare.summarise` found, in the directory of the runs."""

NO_RATE = "Training broke down with every learning rate that was tried."


@dataclass(frozen=True)
class Trained:
    """An arm, trained with every seed.

    Args:
        arm: what it is.
        rate: the learning rate that was chosen; None where none were tried.
        tried: the validation loss of every rate that was tried, on the first seed; None where training broke down.
        histories: what became of the runs, by seed.
        tokenizer: its SHA-256.
        order: that of the first tokens it was trained on, by seed.
        measured: see `tsumiki.compare.measure`.
    """

    arm: Arm
    rate: float | None
    tried: Mapping[float, float | None]
    histories: Mapping[int, History]
    tokenizer: str
    order: Mapping[int, str]
    measured: Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """An experiment that was made.

    Args:
        experiment: the question.
        name: the file's name without its suffix.
        arms: those that were trained, in their order.
        broken: those that were not, and why.
    """

    experiment: Experiment
    name: str
    arms: tuple[Trained, ...]
    broken: Mapping[str, str]


def run_experiment(
    path: Path,
    run_dir: Path,
    *,
    skip_doctor: bool = False,
    workers: int | None = None,
    device: str | None = None,
    display: Display | None = None,
) -> Comparison:
    """Check that the arms are comparable, then train each with each seed, in `run_dir/ARM/seed-S`.

    The learning rates of all arms are tried first, then all seeds of all arms are trained. May be called again:
    finished runs are kept, a stopped one goes on after its last checkpoint. An arm whose training breaks down does not
    keep the others from theirs.

    Args:
        path: the experiment's YAML file.
        run_dir: where all runs lie.
        skip_doctor: train without proof that the models are sound. The result says so.
        workers, device: as for `tsumiki.compare.jobs.train_all`; as many workers as there are GPUs, if left out.
        display: shows what happens; what suits standard output if left out.

    Raises:
        UserError: the experiment makes no sense, its arms differ in what is not asked about or are not matched, an
            earlier run in `run_dir` was another one, or fewer than two arms could be trained.
        Interrupted: Ctrl-C or SIGTERM; everything was saved first.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("A comparison starts its processes itself; start `tsumiki compare` without torchrun.")
    experiment = load_experiment(path)
    arms = resolve(experiment, path)
    seeds, rates = experiment.seeds, experiment.learning_rates
    display = display or make_display()
    every = [Series(arm, experiment, run_dir, skip_doctor) for arm in arms]
    for series in every:
        series.check_same_runs()
    conditions = {series: conditions_of(series.arm, seeds, display.preparing) for series in every}
    for series, now in conditions.items():
        check_conditions(arms[0], series.arm, conditions[every[0]], now)
        series.check_kept(now)

    train = partial(train_all, workers=workers or default_workers(), device=device, display=display)
    failed = train([series.job(seeds[0], rate) for rate in rates for series in every])
    broken = {series.arm.name: NO_RATE for series in every if rates and series.rate(failed) is None}
    whole = [series for series in every if series.arm.name not in broken]
    failed |= train([series.job(seed, series.rate(failed)) for seed in seeds for series in whole])
    trained = []
    for series in whole:
        if (why := series.breakdown(failed)) is None:
            display.say(f"looking at arm '{series.arm.name}'")
            trained.append(series.trained(failed, conditions[series], device))
        else:
            broken[series.arm.name] = why
    for arm, why in broken.items():
        display.warn(f"arm '{arm}' is left out: {why}")
    if len(trained) < 2:
        raise UserError(f"Fewer than two arms could be trained. {' '.join(broken.values())}")
    return Comparison(experiment, path.stem, tuple(trained), broken)


def read_experiment(path: Path, run_dir: Path) -> Comparison:
    """A comparison that was made and summarised, from its directory: neither its text nor its weights need be there.

    Raises:
        UserError: there is none, or it was another one.
    """
    if not (run_dir / RESULT).is_file():
        raise UserError(f"'{run_dir}' holds no {RESULT}; make the comparison first: tsumiki compare {path}")
    experiment, summary = load_experiment(path), read_json(run_dir / RESULT)
    trained = []
    for arm in resolve(experiment, path):
        if (found := summary["arms"].get(arm.name)) is None:
            continue
        series = Series(arm, experiment, run_dir, skip_doctor=False)
        series.check_same_runs()
        places = {seed: series.job(seed, found["learning_rate"]).run_dir for seed in experiment.seeds}
        trained.append(
            Trained(
                arm=arm,
                rate=found["learning_rate"],
                tried={float(rate): loss for rate, loss in found["tried"].items()},
                histories={seed: read_history(place) for seed, place in places.items()},
                tokenizer=found["tokenizer"],
                order={int(seed): order for seed, order in found["order"].items()},
                measured=found["measured"],
            )
        )
    return Comparison(experiment, path.stem, tuple(trained), summary["broken"])


@dataclass(frozen=True, eq=False)
class Series:
    """The runs of one arm."""

    arm: Arm
    experiment: Experiment
    run_dir: Path
    skip_doctor: bool

    def job(self, seed: int, rate: float | None) -> Job:
        """A run."""
        parts = (self.arm.name,) if rate is None else (self.arm.name, f"learning-rate-{rate:g}")
        return Job(self.arm.run(seed, rate), self.run_dir.joinpath(*parts, f"seed-{seed}"), self.skip_doctor)

    def planned(self) -> list[Job]:
        """Every run that the arm may need."""
        rates = self.experiment.learning_rates or (None,)
        return [self.job(seed, rate) for rate in rates for seed in self.experiment.seeds]

    def check_same_runs(self) -> None:
        """Refuse a place where another run lives than the one that is to be.

        Raises:
            UserError: "Arm 'a': 'runs/x/a/seed-0' holds a run with train.steps = 6, and now it is 8: ..."
        """
        for job in self.planned():
            if holds_run(job.run_dir):
                before = dump(load(job.run_dir / CONFIG, RunConfig))
                for key, old, new in undeclared(
                    before, dump(job.config), ("data.cache", "train.parallel", "train.samples")
                ):
                    raise UserError(
                        f"Arm '{self.arm.name}': '{job.run_dir}' holds a run with {key} = {json.dumps(old)}, and now "
                        f"it is {json.dumps(new)}. Set it back, or choose another --run-dir."
                    )

    def check_kept(self, conditions: Conditions) -> None:
        """Refuse finished runs that were made on other text."""
        for job in self.planned():
            if job.finished:
                check_kept(self.arm, conditions, job.run_dir)

    def losses(self, failed: Mapping[Path, str]) -> dict[float, float | None]:
        """The validation loss with each learning rate, on the first seed; None where training broke down."""
        tries = {rate: self.job(self.experiment.seeds[0], rate).run_dir for rate in self.experiment.learning_rates}
        return {
            rate: None if place in failed else read_history(place).evaluations[-1]["loss"]
            for rate, place in tries.items()
        }

    def rate(self, failed: Mapping[Path, str]) -> float | None:
        """The learning rate with the lowest loss; None where none were tried, or training broke down with all."""
        found = {rate: loss for rate, loss in self.losses(failed).items() if loss is not None}
        return min(found, key=lambda rate: found[rate]) if found else None

    def places(self, failed: Mapping[Path, str]) -> dict[int, Path]:
        """Where the runs are that count, by seed."""
        rate = self.rate(failed)
        return {seed: self.job(seed, rate).run_dir for seed in self.experiment.seeds}

    def breakdown(self, failed: Mapping[Path, str]) -> str | None:
        """Why one of the runs that count broke down; None if none did."""
        return next((failed[place] for place in self.places(failed).values() if place in failed), None)

    def trained(self, failed: Mapping[Path, str], conditions: Conditions, device: str | None) -> Trained:
        """What became of the arm, if none of the runs that count broke down."""
        places = self.places(failed)
        first = next(iter(places.values()))
        return Trained(
            arm=self.arm,
            rate=self.rate(failed),
            tried=self.losses(failed),
            histories={seed: read_history(place) for seed, place in places.items()},
            tokenizer=conditions.tokenizer,
            order=conditions.order,
            measured=measure(self.arm.config, first, conditions.data.validation, device),
        )
