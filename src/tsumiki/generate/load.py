"""A run's directory in, a model that writes text out.

What the model is stands in its checkpoint; no configuration is asked for.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypedDict, Unpack, overload

import torch
from torch import Tensor

from tsumiki.data.tokenizer import Tokenizer
from tsumiki.doctor import require_receipt
from tsumiki.errors import UserError
from tsumiki.generate.batch import Engine, Request, StopReason, Text
from tsumiki.generate.decoder import Mode
from tsumiki.generate.quantise import QUANTISATION, load_quantised
from tsumiki.generate.released import find_released, is_released, released_names
from tsumiki.generate.sampling import Sampling
from tsumiki.generate.streaming import Completion, StopStrings, TextStream
from tsumiki.generate.utf8 import transitions
from tsumiki.kernels import BackendConfig
from tsumiki.models import LanguageModel, load_model
from tsumiki.models.artefact import WEIGHTS

CHECKPOINTS, EVALUATION = "checkpoints", "evaluation.json"
EXPORTS = Path("exports")
"""Where what is made of a model goes that may not be written to."""


class SamplingOptions(TypedDict, total=False):
    """The fields of `Sampling`, as keyword arguments."""

    repetition_penalty: float
    presence_penalty: float
    valid_utf8: bool
    temperature: float
    top_k: int | None
    top_p: float | None
    min_p: float | None
    seed: int


@dataclass(frozen=True)
class Written:
    """A text of a list.

    Attributes:
        text: what follows the prompt.
        tokens, log_probabilities: its tokens, and ln p of each as the model gave it, before temperature and filters.
        stop_reason: why the text ended.
        invalid_bytes: bytes that were no text.
    """

    text: str
    tokens: list[int]
    log_probabilities: list[float]
    stop_reason: StopReason
    invalid_bytes: int

    def __str__(self) -> str:
        return self.text


class WrittenText:
    """A text of the engine, read while it grows."""

    def __init__(self, text: Text, tokenizer: Tokenizer, stop: Sequence[str]) -> None:
        self.text = text
        self._characters = TextStream(tokenizer)
        self._stop = StopStrings(stop)
        self._pieces: list[str] = []
        self._num_read = 0

    def read_on(self) -> bool:
        """Read the new tokens; True if a stop string has occurred."""
        while self._num_read < len(self.text.tokens) and not self._stop.found:
            self._pieces.append(self._stop.push(self._characters.push(self.text.tokens[self._num_read])))
            self._num_read += 1
        return self._stop.found

    def result(self) -> Written:
        """The text, now that it has ended. The tokens of a stop string are still among the tokens."""
        assert self.text.stop_reason is not None
        return Written(
            text="".join([*self._pieces, self._stop.finish()]),
            tokens=self.text.tokens[: self._num_read],
            log_probabilities=self.text.log_probabilities[: self._num_read],
            stop_reason="stop text" if self._stop.found else self.text.stop_reason,
            invalid_bytes=self._characters.invalid_bytes,
        )


@dataclass(frozen=True)
class TextModel:
    """A trained model together with its tokenizer.

    from tsumiki import load

    model = load("runs/demo")
    for piece in model.stream("むかし", temperature=0.8):
        print(piece, end="", flush=True)
    """

    model: LanguageModel
    tokenizer: Tokenizer
    checkpoint: Path
    mode: Mode | None = None
    """How the engine's steps run; None: `stream` computes without an engine, and `generate` with an eager one."""

    def stream(
        self,
        prompt: str = "",
        *,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        use_cache: bool = True,
        **sampling: Unpack[SamplingOptions],
    ) -> Completion:
        """What follows `prompt`, piece by piece; without a prompt, a story from its beginning.

        Args:
            max_tokens: tokens to write; until the story ends or the context is full, if left out.
            stop: strings that end the text; they are not part of it.
            sampling: see `Sampling`.
        """
        return Completion(
            self.model,
            self.tokenizer,
            prompt,
            Sampling(**sampling),
            max_tokens=max_tokens,
            stop=stop,
            use_cache=use_cache,
            engine=None if self.mode is None or not use_cache else self.engine(1),
            follow=self.follow if sampling.get("valid_utf8") else None,
        )

    @overload
    def generate(
        self,
        prompts: str = "",
        *,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        use_cache: bool = True,
        **sampling: Unpack[SamplingOptions],
    ) -> str: ...

    @overload
    def generate(
        self,
        prompts: Sequence[str],
        *,
        n: int = 1,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        num_rows: int = 32,
        **sampling: Unpack[SamplingOptions],
    ) -> list[Written]: ...

    def generate(
        self,
        prompts: str | Sequence[str] = "",
        *,
        n: int = 1,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        use_cache: bool = True,
        num_rows: int = 32,
        **sampling: Unpack[SamplingOptions],
    ) -> str | list[Written]:
        """What follows a prompt, as one string; or what follows each of a list of prompts, written side by side.

        The prompts themselves are not repeated. Text number i of a list has the seed `seed + i`.

        Args:
            n: texts for each prompt of a list; those of one prompt stand together.
            num_rows: how many texts of a list are written at once.
            max_tokens, stop, sampling: as for `stream`.
        """
        if isinstance(prompts, str):
            return "".join(self.stream(prompts, max_tokens=max_tokens, stop=stop, use_cache=use_cache, **sampling))
        settings, end = Sampling(**sampling), self.tokenizer.end_of_text_id
        encoded = [[end, *self.tokenizer.encode(prompt)] for prompt in prompts for _ in range(n)]
        if not encoded:
            return []
        engine = self.engine(min(num_rows, len(encoded)))
        texts = [
            engine.submit(Request(prompt, replace(settings, seed=settings.seed + number), max_tokens, [end]))
            for number, prompt in enumerate(encoded)
        ]
        written = [WrittenText(text, self.tokenizer, stop) for text in texts]
        while engine.num_busy:
            engine.step()
            for each in written:
                if each.read_on():
                    engine.cancel(each.text)
        return [each.result() for each in written]

    def engine(self, num_rows: int) -> Engine:
        """An engine of this model, kept for the next texts: compiling and capturing takes time."""
        if num_rows not in self._engines:
            self._engines[num_rows] = Engine(
                self.model, num_rows=num_rows, mode=self.mode or "eager", follow=self.follow
            )
        return self._engines[num_rows]

    @cached_property
    def _engines(self) -> dict[int, Engine]:
        return {}

    @cached_property
    def follow(self) -> Tensor:
        """Which tokens may follow which half-written characters, see `tsumiki.generate.utf8`."""
        return transitions(self.tokenizer)

    @torch.inference_mode()
    def logits(self, text: str) -> Tensor:
        """Scores [T, V] of the next token: row 0 says how a story may begin, row t what may follow `text`'s token t."""
        ids = [self.tokenizer.end_of_text_id, *self.tokenizer.encode(text)]
        return self.model(torch.tensor([ids], device=self.model.unembedding.device))[0]


def load(
    path: str | Path,
    *,
    device: str | torch.device | None = None,
    backend: BackendConfig | None = None,
    mode: Mode | None = None,
) -> TextModel:
    """Read a model with its tokenizer.

    Weights that were saved in bf16 are computed with in fp32: the file is half as large, the arithmetic is the same.

    Args:
        path: a run's directory, whose best checkpoint is taken, one checkpoint's directory, or the name of a model that
            comes with tsumiki, such as `tsumiki-12m-en-ja`.
        device: where it runs, such as `cpu` or `cuda`; the GPU if there is one.
        backend: how it is computed; the default backend if left out.
        mode: `compiled`, or on an NVIDIA GPU `captured`, to write several times as fast after a wait at the first text;
            see `tsumiki.generate.batch.Engine`.

    Raises:
        UserError: there is no checkpoint, a file is damaged, the tokenizer does not fit the model, or the doctor's
            receipt does not. A model without a receipt is taken as it is.
    """
    checkpoint = find_checkpoint(Path(path))
    if (checkpoint / QUANTISATION).is_file():
        model = load_quantised(checkpoint, backend=backend, device=choose_device(device))
    else:
        model = load_model(checkpoint, backend=backend, device=choose_device(device))
        model = model.to(torch.promote_types(model.unembedding.dtype, torch.float32))
        require_receipt(checkpoint, model)
    tokenizer = Tokenizer.load(checkpoint / "tokenizer.json")
    if tokenizer.vocab_size != model.config.vocab_size:
        raise UserError(
            f"The tokenizer in '{checkpoint}' has {tokenizer.vocab_size} tokens, but the model beside it knows "
            f"{model.config.vocab_size}: they do not belong together."
        )
    return TextModel(model, tokenizer, checkpoint, mode)


def find_checkpoint(path: Path) -> Path:
    """The checkpoint that `path` means: itself, the best of a run (the last while none was evaluated), or where there
    is neither, the model of that name that comes with tsumiki.

    Raises:
        UserError: there is none.
    """
    if (path / WEIGHTS).is_file():
        return path
    if checkpoints := checkpoints_of(path):
        return best_of(checkpoints) or checkpoints[-1]
    if released := find_released(str(path)):
        return released
    coming = "".join(f", or {name}, which comes with tsumiki" for name in released_names())
    raise UserError(f"'{path}' holds no checkpoint; name a run's directory{coming}, or train one with `tsumiki train`.")


def checkpoints_of(run_dir: Path) -> list[Path]:
    """Every finished checkpoint of a run, earliest first."""
    return sorted((run_dir / CHECKPOINTS).glob("step-*"), key=step_of)


def home_of(checkpoint: Path) -> Path:
    """Where results go: the run that a checkpoint belongs to, or the directory of a model that belongs to none.

    Not the checkpoint's own directory, which has an `evaluation.json` of its own, the training's; and not that of a
    model that comes with tsumiki, but `exports/NAME`, which may not be there yet.
    """
    if is_released(checkpoint):
        return EXPORTS / checkpoint.name
    path = checkpoint if checkpoint.parent.name else checkpoint.resolve()  # "." has neither name nor parent
    return path.parents[1] if path.parent.name == CHECKPOINTS else path


def step_of(checkpoint: Path) -> int:
    """The step in a checkpoint's name."""
    return int(checkpoint.name.removeprefix("step-"))


def best_of(checkpoints: Iterable[Path]) -> Path | None:
    """The one with the lowest validation loss in its `evaluation.json`; None while none was evaluated."""
    evaluations = {path: path / EVALUATION for path in checkpoints if (path / EVALUATION).is_file()}
    losses = {path: json.loads(file.read_text(encoding="utf-8"))["loss"] for path, file in evaluations.items()}
    return min(losses, key=losses.__getitem__, default=None)


def newest_run(runs: Path) -> Path | None:
    """The run below `runs` whose latest checkpoint is the newest; None while no run has a checkpoint."""
    checkpoints = runs.glob("*/checkpoints/step-*")
    newest = max(checkpoints, key=lambda checkpoint: checkpoint.stat().st_mtime, default=None)
    return None if newest is None else newest.parent.parent


def choose_device(device: str | torch.device | None) -> torch.device:
    """The device that was asked for, or the NVIDIA or AMD GPU if there is one, or the CPU.

    Apple's GPU is taken if it is asked for, as `mps`: it has no float64, which some sums are made in.

    Raises:
        UserError: there is no such device.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # PyTorch raises either, by the kind of device
        raise UserError(f"The device '{device}' is not there; this machine has {', '.join(_devices())}.") from error


def _devices() -> list[str]:
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return ["cpu", *mps, *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
