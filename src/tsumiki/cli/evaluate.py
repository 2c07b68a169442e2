"""`tsumiki evaluate`: everything that figures can say about a trained model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

from tsumiki.cli.terminal import console, show
from tsumiki.errors import UserError

if TYPE_CHECKING:
    from tsumiki.data import PackedSource, Source, Tokenizer
    from tsumiki.data.sources import Split


def evaluate(
    run: Annotated[Path, Argument(help="A run's, a checkpoint's or a model's directory.")],
    data: Annotated[str | None, Option(help="Held-out text to use in place of the run's own: en=FILE,ja=FILE.")] = None,
    field: Annotated[str, Option(help="The field or column of these files that holds the text.")] = "text",
    max_bytes: Annotated[int, Option(help="Bytes of each held-out source to read; 0 for all.")] = 500_000,
    window: Annotated[int | None, Option(help="Tokens of a window; the model's context if left out.")] = None,
    samples: Annotated[int, Option(help="Texts to draw in each language; 0 for none.")] = 64,
    max_tokens: Annotated[int, Option(help="Tokens of such a text.")] = 200,
    temperature: Annotated[float, Option(help="At which they are drawn.")] = 1.0,
    minimal_pairs: Annotated[bool, Option(help="Score the minimal pairs.")] = True,
    judge: Annotated[bool, Option("--judge", help="Let a language model mark the texts; it costs money.")] = False,
    seed: Annotated[int, Option(help="Of the choice of openings, and of the texts.")] = 0,
    lang: Annotated[Literal["en", "ja"] | None, Option(help="Of the tables; the locale's if left out.")] = None,
    output: Annotated[
        Path | None, Option("--output", "-o", help="The file to write; evaluation.json in the run if left out.")
    ] = None,
    device: Annotated[str | None, Option(help="Such as cpu or cuda; the GPU if there is one.")] = None,
) -> None:
    """Measure a trained model: bits per byte, its texts, and minimal pairs of grammar."""
    from tsumiki.evaluate import evaluation, terminal
    from tsumiki.evaluate.judge import judge_from_environment, judge_samples
    from tsumiki.generate import load
    from tsumiki.generate.load import home_of

    try:
        config = evaluation.EvaluationConfig(
            max_bytes=max_bytes or None,
            window=window,
            samples=samples,
            max_tokens=max_tokens,
            temperature=temperature,
            minimal_pairs=minimal_pairs,
            seed=seed,
        )
    except ValueError as error:
        raise UserError(f"{str(error).removesuffix('.')}.") from error
    chosen_judge = judge_from_environment() if judge else None
    model = load(run, device=device)
    if window is not None and window > model.model.config.max_seq_len:
        raise UserError(f"--window is {window}, but the model's context holds {model.model.config.max_seq_len} tokens.")
    output = output or home_of(model.checkpoint) / evaluation.FILE
    if not output.parent.is_dir():
        raise UserError(f"'{output}' cannot be written, since there is no directory '{output.parent}'; make it first.")
    held_out, training = texts(model.checkpoint, data, field)
    packed = [pack_in_cache(source, split, model.tokenizer) for source, split in held_out]
    figures, drawn = evaluation.evaluate(model, packed, training, config, progress=show)
    if chosen_judge is not None:
        figures["judge"] = judge_samples(chosen_judge, drawn, progress=show)
    show("")
    evaluation.save(figures, output)
    terminal.render(figures, console(), lang)
    print(f"\n{output}")


def texts(checkpoint: Path, data: str | None, field: str) -> "tuple[list[tuple[Source, Split]], list[Source]]":
    """The held-out text, and the training text if the run that the checkpoint belongs to says what it was.

    Raises:
        UserError: no held-out text is known, or a file cannot be read.
    """
    from tsumiki.config import load
    from tsumiki.data import SOURCES
    from tsumiki.generate.load import CHECKPOINTS, home_of
    from tsumiki.train import RunConfig
    from tsumiki.train.run_directory import CONFIG

    path = home_of(checkpoint) / CONFIG
    is_run = (home_of(checkpoint) / CHECKPOINTS).is_dir() and path.is_file()
    training = [SOURCES[source.kind](source) for source in load(path, RunConfig).data.sources] if is_run else []
    if data is not None:
        return [(source, "train") for source in files(data, field)], training
    if not training:
        raise UserError(f"'{checkpoint}' does not say what text it was trained on; name some with --data en=FILE.")
    return [(source, "validation") for source in training], training


def files(data: str, field: str) -> "list[Source]":
    """The sources that `en=FILE,ja=FILE` names."""
    from tsumiki.data import LocalSource

    sources: list[Source] = []
    for part in data.split(","):
        language, equals, path = part.partition("=")
        if not equals or not language or not path:
            raise UserError(f"--data is '{data}', but must name languages and files: en=FILE,ja=FILE.")
        name = Path(path).name
        sources.append(LocalSource(LocalSource.Config(language=language, train=path, field=field, name=name)))
    if len({source.name for source in sources}) < len(sources):
        raise UserError(f"--data is '{data}', which names two files of the same name; figures are told apart by it.")
    return sources


def pack_in_cache(source: "Source", split: "Split", tokenizer: "Tokenizer") -> "PackedSource":
    """A source's held-out text as tokens; where the run was trained on this machine, they are in the cache already."""
    from tsumiki.data import packed
    from tsumiki.data.cache import Cache

    held_out = packed(source, split, tokenizer, lambda: source.documents(split), cache=Cache())
    if held_out.num_documents == 0:
        raise UserError(f"'{source.name}' holds no text to evaluate on.")
    return held_out
