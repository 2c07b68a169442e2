"""What the studies in this directory share: trainings side by side, kept parts, paired differences, reports."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from tsumiki.compare import paired_difference
from tsumiki.compare.jobs import Job, train_all
from tsumiki.compare.statistics import shared_level
from tsumiki.config import dump_yaml, load
from tsumiki.doctor.messages import Language
from tsumiki.errors import UserError
from tsumiki.files import read_json
from tsumiki.report import LANGUAGES, Code, Curve, Paragraph, Report, Section, japanese_font, write_markdown
from tsumiki.train import Interrupted, RunConfig
from tsumiki.train.checkpoint import Checkpoints
from tsumiki.train.display import make_display
from tsumiki.train.run_directory import MANIFEST

HOW = ("out", "workers", "device", "figures")
"""Arguments that decide where and how a study is computed, but not what comes out."""

WORTH_COMPILING = 300
"""Steps from which on compiling saves more time than it takes."""

Row = dict[str, Any]
"""Some figures, and what they are of."""

Say = Callable[[str, str], str]
"""Picks English or Japanese."""


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that every study has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="a preset or a YAML file: model, tokenizer, data, training")
    parser.add_argument("--out", type=Path, required=True, help="where everything is written; finished parts are kept")
    parser.add_argument("--tokens", type=int, default=20_000_000, help="training tokens of each model")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--workers", type=int, default=1, help="trainings at a time, dealt out to the GPUs")
    parser.add_argument("--device", help="such as cpu or cuda:0; the GPUs if there are any")
    parser.add_argument("--figures", choices=("svg", "png"), default="svg", help="of the report")
    parser.add_argument("changes", nargs="*", help="changes to the configuration, such as model.d_model=128")
    return parser


def run(main: Callable[[], None]) -> None:
    """Call a script's main function; what a user can mend is said in a sentence."""
    try:
        main()
    except (UserError, Interrupted) as error:
        sys.exit(str(error))


def settings(args: argparse.Namespace) -> Row:
    """The arguments that decide what comes out, as plain data."""
    return {name: value for name, value in vars(args).items() if name not in HOW}


def check(args: argparse.Namespace) -> None:
    """Refuse to go on with a study as another one than it was, or to end without its figures.

    Raises:
        UserError: "'runs/leak' holds a study with tokens = 1000, and now it is 2000; choose another --out.", or no font
            has the glyphs that PNG figures need.
    """
    if args.figures == "png":
        japanese_font()
    now = settings(args)
    before = kept(args.out / "settings.json", lambda: now)
    for name, value in now.items():
        if value != before[name]:
            raise UserError(
                f"'{args.out}' holds a study with {name} = {before[name]}, and now it is {value}; choose another --out."
            )


def configuration(args: argparse.Namespace) -> RunConfig:
    """The configuration with its changes, without the samples at evaluations: a study writes its own texts."""
    config = load(args.config, RunConfig, args.changes)
    samples = replace(config.train.samples, prompts=())
    train = replace(config.train, micro_batch_size=None, keep_last=1, tensorboard=False, samples=samples)
    return replace(config, train=train)


def with_seed(config: RunConfig, seed: int) -> RunConfig:
    """The same run with another seed."""
    return replace(config, train=replace(config.train, seed=seed))


def with_length(config: RunConfig, seq_len: int, tokens: int) -> RunConfig:
    """A training of so many tokens in rows of `seq_len`, with as many tokens a step as the configuration has."""
    batch_size = max(1, config.train.batch_size * config.train.seq_len // seq_len)
    steps = max(1, tokens // (batch_size * seq_len))
    warmup_steps = min(config.train.schedule.warmup_steps, steps // 10)
    train = replace(
        config.train,
        batch_size=batch_size,
        seq_len=seq_len,
        steps=steps,
        schedule=replace(config.train.schedule, warmup_steps=warmup_steps),
        log_every=max(1, steps // 5),
        evaluate_every=steps,
        checkpoint_every=steps,
        compile=config.train.compile and steps >= WORTH_COMPILING,
    )
    return replace(config, train=train)


def last_checkpoint(job: Job) -> Path:
    """The checkpoint of a job's last step."""
    return Checkpoints(job.run_dir, keep_last=1).at(job.config.train.steps)


def train_or_stop(jobs: Sequence[Job], workers: int, device: str | None) -> None:
    """Train all that is not trained yet; a study without one of its models is none.

    Raises:
        UserError: a training failed.
    """
    display = make_display()
    failed = train_all(jobs, workers=workers, device=device, display=display)
    display.close()
    if failed:
        raise UserError(" ".join(f"{place}: {why}" for place, why in failed.items()))


def kept(path: Path, compute: Callable[..., Any], *arguments: Any) -> Any:
    """What `compute` returns for its arguments, from the file of an earlier time if there is one. Plain data."""
    if not path.is_file():
        write_json(path, compute(*arguments))
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}")
    partial.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def by_seed(rows: Iterable[Row], figure: str, **which: Any) -> list[float]:
    """A figure of the rows that are `which`, by seed: the mean over the rows of a seed, which differ in language."""
    values: dict[int, list[float]] = {}
    for row in rows:
        if all(row[key] == value for key, value in which.items()):
            values.setdefault(row["seed"], []).append(row[figure])
    return [mean(values[seed]) for seed in sorted(values)]


def difference(arm: Sequence[float], reference: Sequence[float], *, comparisons: int) -> Row:
    """The paired difference over seeds and its interval, which hold for all `comparisons` at once with 95 %.

    It is shown if the interval leaves 0 out. `tsumiki compare` also asks for more than the noise between seeds, as it
    compares models; here mostly the same weights are read in two ways.
    """
    found = paired_difference(arm, reference, level=shared_level(comparisons))
    means = {"arm": mean(arm), "reference": mean(reference), "mean": found.mean}
    return {**means, "low": found.low, "high": found.high, "shown": not found.low <= 0 <= found.high}


def speaker(language: Language) -> Say:
    """Picks the sentence of the language: say(english, japanese)."""
    return lambda english, japanese: japanese if language == "ja" else english


def signed(found: Mapping[str, Any]) -> str:
    """A difference with its interval: "+0.0120 [-0.0030, +0.0270]"."""
    return f"{found['mean']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]"


def outcome(found: Mapping[str, Any], say: Say, *, less_is_better: bool = True) -> str:
    """Better, worse, or no difference shown."""
    if not found["shown"]:
        return say("no difference shown", "差は示されない")
    return say("better", "良い") if (found["mean"] < 0) == less_is_better else say("worse", "悪い")


def listed(names: Sequence[str], say: Say) -> str:
    """a, b and c; "" for none."""
    *first, last = names or [""]
    return say(f"{', '.join(first)} and {last}" if first else last, "、".join(names))


def about_intervals(study: Row, say: Say) -> str:
    """What the intervals of `difference` are."""
    count = study["settings"]["seeds"]
    return say(
        f"Differences are paired over {count} seeds, with intervals by Student's t; within a question all of them hold "
        "at once in 95 % of studies (Bonferroni). A difference is shown if its interval leaves 0 out.",
        f"{count} 個のシードの、同じシードどうしの差とその t 区間です。一つの問いの区間がすべて同時に正しい確率が "
        "95 % です（Bonferroni）。区間が 0 を含まない差を、示されたとします。",
    )


def spread(name: str, x: Sequence[float], values: Sequence[Sequence[float]]) -> Curve:
    """A curve through the means over seeds, with the lowest and highest seed as its band."""
    band = ([min(point) for point in values], [max(point) for point in values])
    return Curve(name, x, [mean(point) for point in values], dots=True, band=band)


def trained_on(out: Path) -> Row:
    """What a study's models were trained on, as the first of them recorded it."""
    session = read_json(min(out.glob(f"runs/*/*/{MANIFEST}")))["sessions"][-1]
    return {name: session[name] for name in ("started", "device", "git", "versions")}


def repeat(script: str, study: Row, say: Say) -> Section:
    """The command, what it ran on, and the whole configuration."""
    given, ran = study["settings"], study["trained_on"]
    options = {"out": f"runs/{script.replace('_', '-')}", **given}
    changes = options.pop("changes")
    shown = {name: " ".join(map(str, value)) if isinstance(value, list) else value for name, value in options.items()}
    command = [f"python experiments/{script}.py", *(f"--{name} {value}" for name, value in shown.items()), *changes]
    versions = ", ".join(f"{name} {version}" for name, version in ran["versions"].items())
    commit = ran["git"]["tsumiki"] or say("not recorded", "記録なし")
    seeds = ", ".join(map(str, range(given["seeds"])))
    facts = say(
        f"Seeds {seeds}. Trained on {ran['device']}, begun {ran['started'][:10]}; commit: {commit}; {versions}. The "
        "configuration in full, with the first seed:",
        f"シードは {seeds}。デバイス：{ran['device']}。開始：{ran['started'][:10]}。コミット：{commit}。{versions}。"
        "設定のすべて（最初のシード）：",
    )
    blocks = [Code(" \\\n  ".join(command)), Paragraph(facts), Code(dump_yaml(study["config"]))]
    return Section(say("To repeat it", "再現するには"), blocks)


def write_reports(name: str, out: Path, figures: Literal["svg", "png"], report: Callable[[Language], Report]) -> None:
    """`en/<name>.md` and `ja/<name>.md`, with the figures beside them."""
    for language in LANGUAGES:
        path = out / language / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_markdown(report(language), path, figures=figures)
        print(path)
