"""`tsumiki demo`: check, train and ask a small bilingual model, and show what happened. Every figure is measured."""

import json
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit

from tsumiki.cli.terminal import RUNS, console

if TYPE_CHECKING:
    from rich.console import Console

    from tsumiki.generate import TextModel

PRESET = "gpt-oss-1m"
CACHE_PROMPT = "むかしむかし、"


def demo(
    changes: Annotated[list[str] | None, Argument(help="Changes such as train.steps=100.")] = None,
) -> None:
    """Check a small model, train it on the shipped stories for about two minutes, and ask it for stories."""
    from tsumiki.cli.plan import report
    from tsumiki.cli.report import write_report
    from tsumiki.config import load
    from tsumiki.generate import load as load_text_model
    from tsumiki.models import plan
    from tsumiki.train import Interrupted, RunConfig, train

    out = console()
    run = load(PRESET, RunConfig, changes or ())
    run_dir = free_directory(RUNS / "demo")

    heading(out, "1 of 4: the model")
    for line in report(run, plan(run.model)):
        out.print(line)

    heading(out, "2 of 4: the doctor, then training")
    try:
        train(run, run_dir)
    except Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        raise Exit(interrupted.exit_code) from None

    heading(out, "3 of 4: before and after")
    before_and_after(out, read_metrics(run_dir))

    heading(out, "4 of 4: the same greedy text, with and without the KV cache")
    compare_cache(out, load_text_model(run_dir, backend=run.backend))

    out.print()
    out.print(f"What became of it stands on one page, for a browser: {write_report(run_dir)}")
    out.print(f"The run lies in {run_dir}. Now try")
    out.print(f"  tsumiki generate {run_dir}           type how a story begins")
    out.print(f"  tsumiki doctor {run_dir} --full      every check")
    out.print("  tsumiki presets                      larger models to train")


def free_directory(wanted: Path) -> Path:
    """`wanted`, or `wanted-2`, `wanted-3`, ... whichever does not exist yet: a demo overwrites no run."""
    candidates = (wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}") for number in count(1))
    return next(candidate for candidate in candidates if not candidate.exists())


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`."""
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def heading(out: "Console", text: str) -> None:
    """A line that begins a part."""
    out.print()
    out.rule(text, align="left")


def before_and_after(out: "Console", metrics: list[dict[str, Any]]) -> None:
    """How the loss fell, bits per byte by language, and what the model wrote before and after, all from the metrics."""
    from rich.table import Table

    from tsumiki.generate import one_line

    losses = [line["loss"] for line in metrics if line["kind"] == "train"]
    evaluations = [line for line in metrics if line["kind"] == "evaluation"]
    first, last = evaluations[0], evaluations[-1]
    out.print(f"training loss, nats a token: {losses[0]:.2f} {sparkline(losses)} {losses[-1]:.2f}")
    for language, value in first["bits_per_byte"].items():
        out.print(
            f"bits per byte, {language}, stories not trained on: {value:.3f} -> {last['bits_per_byte'][language]:.3f}"
        )
    temperature = max(sample["temperature"] for sample in first["samples"])  # greedy, small models repeat themselves
    for old, new in zip(first["samples"], last["samples"], strict=True):
        if old["temperature"] != temperature:
            continue
        out.print()
        out.print(f"{one_line(old['prompt'])}  (temperature {temperature:g})", style="bold")
        texts = Table.grid(padding=(0, 2))
        texts.add_row("  before", one_line(old["text"]))
        texts.add_row("  after", one_line(new["text"]))
        out.print(texts)


def compare_cache(out: "Console", model: "TextModel") -> None:
    """Write one greedy text twice and show both times. The two must be equal."""
    from tsumiki.generate import one_line

    model.generate(CACHE_PROMPT, max_tokens=3)  # the first steps of a process take longer
    cached = model.stream(CACHE_PROMPT, temperature=0)
    text = "".join(cached)
    recomputed = model.stream(CACHE_PROMPT, temperature=0, use_cache=False)
    if "".join(recomputed) != text:
        raise RuntimeError("The text with the KV cache differs from the text without: a defect of tsumiki.")
    out.print(one_line(CACHE_PROMPT + text))
    out.print()
    for name, completion in (("with the cache:", cached), ("without:", recomputed)):
        seconds = completion.generation.prefill_seconds + completion.generation.decode_seconds
        tokens = completion.generation.new_tokens
        out.print(f"{name:16}{seconds:6.2f} s for {tokens} tokens, {tokens / seconds:,.0f} tokens/s")
    out.print(f"Both texts are equal. Computed on {model.model.unembedding.device} by {model.model.backend.attention}.")


def sparkline(values: Sequence[float]) -> str:
    """A curve in one line of text, in eight heights from the smallest to the largest value; at most 40 wide."""
    bars = "▁▂▃▄▅▆▇█"
    low, high = min(values), max(values)
    chosen = values[:: -(-len(values) // 40)]
    return "".join(bars[round((value - low) / (high - low or 1) * (len(bars) - 1))] for value in chosen)
