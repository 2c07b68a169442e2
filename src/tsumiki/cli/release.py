"""`tsumiki release`: a trained run as one small folder, with its figures and a card."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from tsumiki.cli.terminal import console, show


def release(
    run: Annotated[Path, Argument(help="A run's directory; its best checkpoint is taken.")],
    changes: Annotated[
        list[str] | None,
        Argument(help="Where the run's text lies now: changes such as data.sources.0.train=FILE."),
    ] = None,
    dtype: Annotated[Literal["fp32", "bf16"], Option(help="Of the saved weights.")] = "bf16",
    about: Annotated[
        Path | None, Option(help="A YAML file with what no run knows: origin of the texts, terms, limits, baseline.")
    ] = None,
    evaluation: Annotated[
        Path | None, Option(help="An evaluation of the same weights, to make the card again without evaluating again.")
    ] = None,
    samples: Annotated[int, Option(min=1, help="Texts to draw in each language.")] = 64,
    minimal_pairs: Annotated[bool, Option(help="Score the minimal pairs.")] = True,
    max_bytes: Annotated[int, Option(min=0, help="Bytes of each held-out source to read; 0 for all.")] = 0,
    output: Annotated[
        Path | None, Option("--output", "-o", help="A new directory; exports/NAME-release if left out.")
    ] = None,
    device: Annotated[str | None, Option(help="Such as cpu or cuda; the GPU if there is one.")] = None,
) -> None:
    """Write a trained run as one small folder: weights, what they were made of, their evaluation, and a card."""
    from tsumiki.cli.evaluate import sample_stories, texts
    from tsumiki.cli.exchange import check_is_new
    from tsumiki.config import load as load_config
    from tsumiki.evaluate.evaluation import EvaluationConfig, evaluate, save, write_texts
    from tsumiki.evaluate.terminal import render
    from tsumiki.export.release import EVALUATION, check_evaluation, write_card, write_model
    from tsumiki.export.release_card import NUM_SAMPLES, About
    from tsumiki.files import read_json
    from tsumiki.generate import load
    from tsumiki.generate.load import find_checkpoint

    output = output or Path("exports") / f"{run.resolve().name}-release"
    check_is_new(output)
    said = None if about is None else load_config(about, About)
    text = texts(find_checkpoint(run), data=None, changes=changes or ()) if evaluation is None else None
    write_model(run, output, dtype=dtype)
    if text is not None:
        model = load(output, device=device)
        config = EvaluationConfig(max_bytes=max_bytes or None, samples=samples, minimal_pairs=minimal_pairs)
        figures, _ = evaluate(model, text.packed(model.tokenizer), text.training, config, progress=show)
        figures["checkpoint"]["path"] = output.name  # and not where it lay on this machine
        # The evaluation's own texts stand beside real ones, which may not be ours to publish; these begin with stories
        # that everyone has.
        stories, few = sample_stories(text.cache).packed(model.tokenizer), EvaluationConfig(samples=NUM_SAMPLES)
        figures["samples"] = {
            language: [asdict(sample) for sample in write_texts(model, stories, language, few, show)]
            for language in figures["texts"]
        }
        show("")
        save(figures, output / EVALUATION)
        render(figures, console())
    if evaluation is not None:
        check_evaluation(read_json(evaluation), output)
        shutil.copy(evaluation, output / EVALUATION)
    write_card(output, said)
    print()
    for path in sorted(output.iterdir()):
        print(f"{path.stat().st_size:>12,}  {path.name}")
    print(f"{output}: try it with tsumiki generate {output}")
