"""Training the arms: every run in a directory of its own, and what was trained before is kept."""

import gc
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from tsumiki.compare.conditions import Conditions, check_conditions, check_kept, conditions_of
from tsumiki.compare.experiment import Arm, Experiment, load_experiment, resolve, undeclared
from tsumiki.config import dump, load
from tsumiki.doctor import History, read_history
from tsumiki.errors import UserError
from tsumiki.generate.load import EVALUATION
from tsumiki.train import RunConfig, train
from tsumiki.train.checkpoint import Checkpoints
from tsumiki.train.display import Display, make_display
from tsumiki.train.run_directory import CONFIG, holds_run


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
    """

    arm: Arm
    rate: float | None
    tried: Mapping[float, float | None]
    histories: Mapping[int, History]
    tokenizer: str
    order: Mapping[int, str]


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
    device: str | None = None,
    display: Display | None = None,
) -> Comparison:
    """Check that the arms are comparable, then train each with each seed, in `run_dir/ARM/seed-S`.

    May be called again: finished runs are kept, a stopped one goes on after its last checkpoint. An arm whose training
    breaks down does not keep the others from theirs.

    Args:
        path: the experiment's YAML file.
        run_dir: where all runs lie.
        skip_doctor: train without proof that the models are sound. The result says so.
        device, display: as for `tsumiki.train.train`; a display is asked for each run, if none is given.

    Raises:
        UserError: the experiment makes no sense, its arms differ in what is not asked about or are not matched, an
            earlier run in `run_dir` was another one, or fewer than two arms could be trained.
        Interrupted: Ctrl-C or SIGTERM; everything was saved first.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("A comparison trains in one process; start `tsumiki compare` without torchrun.")
    experiment = load_experiment(path)
    arms = resolve(experiment, path)
    for arm in arms:
        for config, place in planned_runs(arm, experiment, run_dir):
            check_same_run(arm, config, place)
    told = display or make_display()
    conditions = [conditions_of(arm, experiment.seeds, told.preparing) for arm in arms]
    for arm, now in zip(arms, conditions, strict=True):
        check_conditions(arms[0], arm, conditions[0], now)

    trained, broken = [], {}
    for arm, now in zip(arms, conditions, strict=True):
        series = Series(arm, experiment, run_dir, now, skip_doctor, device, display)
        try:
            trained.append(series.run())
        except UserError as error:
            broken[arm.name] = str(error)
            told.warn(f"arm '{arm.name}' is left out: {error}")
    if len(trained) < 2:
        raise UserError(f"Fewer than two arms could be trained. {' '.join(broken.values())}")
    return Comparison(experiment, path.stem, tuple(trained), broken)


def place_of(arm: Arm, seed: int, rate: float | None, run_dir: Path) -> Path:
    """The directory of a run."""
    parts = (arm.name,) if rate is None else (arm.name, f"learning-rate-{rate:g}")
    return run_dir.joinpath(*parts, f"seed-{seed}")


def planned_runs(arm: Arm, experiment: Experiment, run_dir: Path) -> list[tuple[RunConfig, Path]]:
    """Every run that the arm may need, with its place."""
    return [
        (arm.run(seed, rate), place_of(arm, seed, rate, run_dir))
        for rate in experiment.learning_rates or (None,)
        for seed in experiment.seeds
    ]


def check_same_run(arm: Arm, config: RunConfig, place: Path) -> None:
    """Refuse a place where another run lives than the one that is to be.

    Raises:
        UserError: "Arm 'a': 'runs/x/a/seed-0' holds a run with train.steps = 6, and now it is 8: ..."
    """
    if holds_run(place):
        before = dump(load(place / CONFIG, RunConfig))
        for key, old, new in undeclared(before, dump(config), ("data.cache", "train.parallel")):
            raise UserError(
                f"Arm '{arm.name}': '{place}' holds a run with {key} = {json.dumps(old)}, and now it is "
                f"{json.dumps(new)}. Set it back, or choose another --run-dir."
            )


@dataclass(frozen=True)
class Series:
    """The runs of one arm, and what they have in common."""

    arm: Arm
    experiment: Experiment
    run_dir: Path
    conditions: Conditions
    skip_doctor: bool
    device: str | None
    display: Display | None

    def run(self) -> Trained:
        """Choose the learning rate, then train with every seed."""
        seeds, rates = self.experiment.seeds, self.experiment.learning_rates
        tried = {rate: self.loss_with(rate) for rate in rates}
        found = {rate: loss for rate, loss in tried.items() if loss is not None}
        if rates and not found:
            raise UserError(f"Arm '{self.arm.name}' could be trained with none of the learning rates.")
        rate = min(found, key=lambda rate: found[rate]) if found else None
        histories = {seed: self.train(seed, rate) for seed in seeds}
        return Trained(self.arm, rate, tried, histories, self.conditions.tokenizer, self.conditions.order)

    def loss_with(self, rate: float) -> float | None:
        """The validation loss after training with the first seed; None if it broke down, as a high rate can make it."""
        try:
            return self.train(self.experiment.seeds[0], rate).evaluations[-1]["loss"]
        except UserError as error:
            (self.display or make_display()).warn(f"arm '{self.arm.name}', learning rate {rate:g}: {error}")
            return None

    def train(self, seed: int, rate: float | None) -> History:
        """Train with one seed, unless that was done before."""
        config, place = self.arm.run(seed, rate), place_of(self.arm, seed, rate, self.run_dir)
        last = Checkpoints(place, keep_last=config.train.keep_last).at(config.train.steps)
        if (last / EVALUATION).is_file():
            check_kept(self.arm, self.conditions, place)
        else:
            display = self.display or make_display()
            display.say(f"{place}")
            forget_earlier_runs(config)
            train(config, place, resume="auto", skip_doctor=self.skip_doctor, device=self.device, display=display)
        return read_history(place)


def forget_earlier_runs(config: RunConfig) -> None:
    """Let a run find the process as the first one did: what it measures must not depend on its place in the order.

    PyTorch's compiler remembers eight versions of a function and then silently compiles no more; an earlier model's
    memory would count as this one's.
    """
    if config.train.compile:
        torch.compiler.reset()
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
