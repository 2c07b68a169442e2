"""`tsumiki generate`: a story after a prompt, streamed, or a conversation of prompts and stories."""

import os
import random
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from tsumiki.cli.terminal import RUNS
from tsumiki.errors import UserError

if TYPE_CHECKING:
    from tsumiki.generate import Completion, Sampling, TextModel
    from tsumiki.generate.decoder import Mode


HISTORY = Path(".tsumiki/history")


@dataclass(frozen=True)
class Options:
    """What belongs to a text besides how its tokens are chosen."""

    max_tokens: int | None
    stop: list[str]
    use_cache: bool


def generate(
    run: Annotated[
        Path | None,
        Argument(
            help="A run's or a checkpoint's directory, or tsumiki-12m-en-ja. Left out: the newest run under runs/, or "
            "before there is one, tsumiki-12m-en-ja, which comes with tsumiki."
        ),
    ] = None,
    prompt: Annotated[
        str | None, Option("--prompt", "-p", help="How the story begins. Left out: type prompts, one after another.")
    ] = None,
    temperature: Annotated[float, Option(help="0 always takes the likeliest token; higher is more varied.")] = 0.8,
    top_k: Annotated[int | None, Option(help="Keep the k likeliest tokens.")] = None,
    top_p: Annotated[
        float | None, Option(help="Keep the likeliest tokens that reach this probability together.")
    ] = None,
    min_p: Annotated[
        float | None, Option(help="Keep tokens at least this probable, compared with the likeliest.")
    ] = None,
    repetition_penalty: Annotated[
        float, Option(help="Above 1: the less likely is a token that prompt or text hold already.")
    ] = 1.0,
    presence_penalty: Annotated[float, Option(help="Above 0: the same for tokens of the text, by subtraction.")] = 0.0,
    valid_utf8: Annotated[
        bool, Option("--valid-utf8", help="Never write bytes that are no text; a little slower.")
    ] = False,
    stop: Annotated[
        list[str] | None, Option(help="A string that ends the text and is not part of it; may be repeated.")
    ] = None,
    seed: Annotated[int | None, Option(help="Repeats a story; a fresh one each time if left out.")] = None,
    max_tokens: Annotated[int | None, Option(help="Tokens to write; until the story ends if left out.")] = None,
    cache: Annotated[
        bool, Option("--cache/--no-cache", help="Keep keys and values, or read all again each time.")
    ] = True,
    fast: Annotated[
        bool,
        Option("--fast", help="Compile the steps first: a wait before the first story, then several times as fast."),
    ] = False,
    device: Annotated[str | None, Option(help="Such as cpu or cuda; the GPU if there is one.")] = None,
) -> None:
    """Write a story after a prompt."""
    from tsumiki.generate import Sampling, load
    from tsumiki.generate.load import choose_device

    try:
        sampling = Sampling(
            repetition_penalty=repetition_penalty,
            presence_penalty=presence_penalty,
            valid_utf8=valid_utf8,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            seed=random.randrange(10_000) if seed is None else seed,
        )
    except ValueError as error:
        raise UserError(f"{error}.") from error
    if fast and not cache:
        raise UserError(
            "--fast and --no-cache were both given, but only steps with a cache are compiled; leave one out."
        )
    chosen = choose_device(device)
    mode: Mode | None = ("captured" if chosen.type == "cuda" else "compiled") if fast else None
    model = load(unnamed() if run is None else run, device=chosen, mode=mode)
    options = Options(max_tokens=max_tokens, stop=stop or [], use_cache=cache)
    if prompt is not None:
        tell(model, utf8(os.fsencode(prompt)), sampling, options)
    elif sys.stdin.isatty() and sys.stdout.isatty():
        print(f"{model.checkpoint}: type how a story begins; Ctrl-C stops a story, Ctrl-D ends.", file=sys.stderr)
        converse(model, sampling, options)
    else:
        for number, line in enumerate(sys.stdin.buffer):
            tell(model, utf8(line.rstrip(b"\r\n")), replace(sampling, seed=sampling.seed + number), options)


def unnamed() -> Path:
    """What writes where no model is named, said on stderr: the newest run, or where there is none the released model.

    Raises:
        UserError: there is neither.
    """
    from tsumiki.generate.load import newest_run
    from tsumiki.generate.released import DEFAULT, find_released

    if run := newest_run(RUNS):
        print(f"This is {run}, the newest run.", file=sys.stderr)
        return run
    if released := find_released(DEFAULT):
        print(f"There is no run in '{RUNS}' yet, so this is {DEFAULT}, which comes with tsumiki.", file=sys.stderr)
        return released
    raise UserError(f"There is no trained run in '{RUNS}' yet; train one, for example with `tsumiki demo`.")


def utf8(prompt: bytes) -> str:
    """A prompt as it came in, whatever encoding the environment claims."""
    try:
        return prompt.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError("The prompt is not valid UTF-8 text.") from error


def tell(model: "TextModel", prompt: str, sampling: "Sampling", options: Options) -> None:
    """Stream the prompt and what follows to stdout; how fast it was written, to stderr."""
    from tsumiki.generate import printable

    completion = model.stream(prompt, **asdict(options), **asdict(sampling))
    try:
        for piece in chain([prompt], completion):
            print(printable(piece), end="", flush=True)
    finally:
        print(flush=True)
        print(summary(model, completion, sampling), file=sys.stderr, flush=True)


def converse(model: "TextModel", sampling: "Sampling", options: Options) -> None:
    """Ask for prompts and tell stories until Ctrl-D, or Ctrl-C while nothing is being told."""
    for number, prompt in enumerate(prompts()):
        try:
            tell(model, prompt, replace(sampling, seed=sampling.seed + number), options)
        except KeyboardInterrupt:
            continue
        except UserError as error:
            print(error, file=sys.stderr)


def prompts() -> Iterator[str]:
    """The prompts that a person types, with a history that outlives the session."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory

    HISTORY.parent.mkdir(exist_ok=True)
    session: PromptSession[str] = PromptSession(history=FileHistory(str(HISTORY)))
    while True:
        try:
            yield session.prompt("> ")
        except (EOFError, KeyboardInterrupt):
            return


def summary(model: "TextModel", completion: "Completion", sampling: "Sampling") -> str:
    """A line about the speed, the device, and why the text ended."""
    generation = completion.generation
    parts = [f"{generation.new_tokens} tokens"]
    if generation.new_tokens > 0:
        parts.append(f"prompt {generation.prefill_tokens_per_second:,.0f} tokens/s")
    if generation.new_tokens > 1:
        parts.append(f"text {generation.decode_tokens_per_second:,.0f} tokens/s")
    parts.append(f"{model.model.unembedding.device}, {model.model.backend.attention}")
    if sampling.temperature > 0:
        parts.append(f"seed {sampling.seed}")
    if completion.invalid_bytes:
        parts.append(f"{completion.invalid_bytes} bytes were no text")
    reasons = {
        "stop token": "the story ended",
        "stop text": "stopped at a --stop string",
        "cancelled": "interrupted",
        "max tokens": "stopped at --max-tokens",
        "context full": f"the context of {model.model.config.max_seq_len} tokens is full",
        None: "interrupted",
    }
    parts.append(reasons[generation.stop_reason])
    return "· " + " · ".join(parts)
