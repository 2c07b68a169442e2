"""`tsumiki evaluate`: everything that figures can say about a trained model."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

from tsumiki.cli.terminal import console, show
from tsumiki.errors import UserError

if TYPE_CHECKING:
    from tsumiki.data import DataConfig, PackedSource, Source, Tokenizer
    from tsumiki.data.cache import Cache
    from tsumiki.data.sources import Split


def evaluate(
    run: Annotated[Path, Argument(help="A run's, a checkpoint's or a model's directory, or tsumiki-12m-en-ja.")],
    changes: Annotated[
        list[str] | None,
        Argument(help="Where the run's text lies now: changes such as data.sources.0.train=FILE."),
    ] = None,
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
    if output is None:
        output = home_of(model.checkpoint) / evaluation.FILE
        output.parent.mkdir(parents=True, exist_ok=True)
    if not output.parent.is_dir():
        raise UserError(f"'{output}' cannot be written, since there is no directory '{output.parent}'; make it first.")
    text = texts(model.checkpoint, data=data, field=field, changes=changes or ())
    figures, drawn = evaluation.evaluate(model, text.packed(model.tokenizer), text.training, config, progress=show)
    if chosen_judge is not None:
        figures["judge"] = judge_samples(chosen_judge, drawn, progress=show)
    show("")
    evaluation.save(figures, output)
    terminal.render(figures, console(), lang)
    print(f"\n{output}")


@dataclass(frozen=True)
class Texts:
    """What a model is evaluated on.

    Args:
        held_out: sources, and which of their splits is read.
        training: what it was trained on; empty if that is not known.
        cache: where packed tokens are kept.
        known: hashes of the text that was held out in training, by source; empty if they are not known.
    """

    held_out: "list[tuple[Source, Split]]"
    training: "list[Source]"
    cache: "Cache"
    known: dict[str, str]

    def packed(self, tokenizer: "Tokenizer") -> "list[PackedSource]":
        """The held-out text as tokens; where the run was trained on this machine, they are in the cache already.

        Raises:
            UserError: there is no text, or it is not what was held out in training.
        """
        from tsumiki.data import packed

        found: list[PackedSource] = []
        for source, split in self.held_out:
            tokens = packed(source, split, tokenizer, partial(source.documents, split), cache=self.cache)
            if tokens.num_documents == 0:
                raise UserError(f"'{source.name}' holds no text to evaluate on.")
            sha256 = tokens.manifest["content_sha256"]
            if self.known.get(source.name, sha256) != sha256:
                raise UserError(
                    f"The held-out text of '{source.name}' is not what it was in training, which may have seen it; put "
                    "the old text back, or name text that is new to the model with --data."
                )
            found.append(tokens)
        return found


def texts(checkpoint: Path, *, data: str | None, field: str = "text", changes: Sequence[str] = ()) -> Texts:
    """The text to evaluate a checkpoint on: the files of `data`, or what its run held out.

    Of a model that comes with tsumiki it is the held-out stories that also come with it.

    Raises:
        UserError: no held-out text is known, or a file cannot be read.
    """
    from tsumiki.data import SOURCES
    from tsumiki.data.cache import Cache
    from tsumiki.generate.released import is_released

    trained_on = data_of(checkpoint, changes)
    training = [SOURCES[source.kind](source) for source in trained_on.sources] if trained_on else []
    cache = Cache(trained_on.cache if trained_on else None)
    if data is not None:
        return Texts([(source, "train") for source in files(data, field)], training, cache, {})
    if training:
        return Texts([(source, "validation") for source in training], training, cache, hashes_of(checkpoint))
    if is_released(checkpoint):
        return sample_stories(cache)
    raise UserError(f"'{checkpoint}' does not say what text it was trained on; name some with --data en=FILE.")


def sample_stories(cache: "Cache") -> Texts:
    """The held-out stories that come with tsumiki."""
    from tsumiki.data import SampleSource

    sources = [SampleSource(SampleSource.Config(language=language)) for language in ("en", "ja")]
    return Texts([(source, "validation") for source in sources], [], cache, {})


def data_of(checkpoint: Path, changes: Sequence[str]) -> "DataConfig | None":
    """What the run that a checkpoint belongs to was trained on; None if it belongs to none.

    Raises:
        UserError: there are changes, and no configuration that they could change.
    """
    from tsumiki.config import load
    from tsumiki.generate.load import CHECKPOINTS, home_of
    from tsumiki.train import RunConfig
    from tsumiki.train.run_directory import CONFIG

    home = home_of(checkpoint)
    if (home / CHECKPOINTS).is_dir() and (home / CONFIG).is_file():
        return load(home / CONFIG, RunConfig, changes).data
    if changes:
        raise UserError(f"'{checkpoint}' belongs to no run that '{changes[0]}' could change; name text with --data.")
    return None


def hashes_of(checkpoint: Path) -> dict[str, str]:
    """The hash of each source's held-out text, as the run's manifest has it."""
    from tsumiki.files import read_json
    from tsumiki.generate.load import home_of
    from tsumiki.train.run_directory import MANIFEST

    path = home_of(checkpoint) / MANIFEST
    sources = read_json(path)["data"]["sources"] if path.is_file() else []
    return {source["name"]: source["validation"]["content_sha256"] for source in sources}


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
