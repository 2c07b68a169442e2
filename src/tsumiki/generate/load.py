"""A run's directory in, a model that writes text out.

What the model is stands in its checkpoint; no configuration is asked for.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

import torch
from torch import Tensor

from tsumiki.data.tokenizer import Tokenizer
from tsumiki.doctor import require_receipt
from tsumiki.errors import UserError
from tsumiki.generate.sampling import Sampling
from tsumiki.generate.streaming import Completion
from tsumiki.kernels import BackendConfig
from tsumiki.models import LanguageModel, load_model
from tsumiki.models.artefact import WEIGHTS

EVALUATION = "evaluation.json"


class SamplingOptions(TypedDict, total=False):
    """The fields of `Sampling`, as keyword arguments."""

    temperature: float
    top_k: int | None
    top_p: float | None
    min_p: float | None
    seed: int


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

    def stream(
        self,
        prompt: str = "",
        *,
        max_tokens: int | None = None,
        use_cache: bool = True,
        **sampling: Unpack[SamplingOptions],
    ) -> Completion:
        """What follows `prompt`, piece by piece; without a prompt, a story from its beginning."""
        return Completion(
            self.model, self.tokenizer, prompt, Sampling(**sampling), max_tokens=max_tokens, use_cache=use_cache
        )

    def generate(
        self,
        prompt: str = "",
        *,
        max_tokens: int | None = None,
        use_cache: bool = True,
        **sampling: Unpack[SamplingOptions],
    ) -> str:
        """What follows `prompt`, as one string; the prompt itself is not repeated."""
        return "".join(self.stream(prompt, max_tokens=max_tokens, use_cache=use_cache, **sampling))

    @torch.inference_mode()
    def logits(self, text: str) -> Tensor:
        """Scores [T, V] of the next token: row 0 says how a story may begin, row t what may follow `text`'s token t."""
        ids = [self.tokenizer.end_of_text_id, *self.tokenizer.encode(text)]
        return self.model(torch.tensor([ids], device=self.model.unembedding.device))[0]


def load(
    path: str | Path, *, device: str | torch.device | None = None, backend: BackendConfig | None = None
) -> TextModel:
    """Read a model with its tokenizer.

    Args:
        path: a run's directory, whose best checkpoint is taken, or one checkpoint's directory.
        device: where it runs, such as `cpu` or `cuda`; the GPU if there is one.
        backend: how it is computed; the default backend if left out.

    Raises:
        UserError: there is no checkpoint, a file is damaged, the tokenizer does not fit the model, or the doctor's
            receipt does not. A model without a receipt is taken as it is.
    """
    checkpoint = find_checkpoint(Path(path))
    model = load_model(checkpoint, backend=backend, device=choose_device(device))
    require_receipt(checkpoint, model)
    tokenizer = Tokenizer.load(checkpoint / "tokenizer.json")
    if tokenizer.vocab_size != model.config.vocab_size:
        raise UserError(
            f"The tokenizer in '{checkpoint}' has {tokenizer.vocab_size} tokens, but the model beside it knows "
            f"{model.config.vocab_size}: they do not belong together."
        )
    return TextModel(model, tokenizer, checkpoint)


def find_checkpoint(path: Path) -> Path:
    """The checkpoint that `path` means: itself, or the best of a run (the last while none was evaluated).

    Raises:
        UserError: there is none.
    """
    if (path / WEIGHTS).is_file():
        return path
    checkpoints = checkpoints_of(path)
    if not checkpoints:
        raise UserError(f"'{path}' holds no checkpoint; name a run's directory, or train one with `tsumiki train`.")
    return best_of(checkpoints) or checkpoints[-1]


def checkpoints_of(run_dir: Path) -> list[Path]:
    """Every finished checkpoint of a run, earliest first."""
    return sorted((run_dir / "checkpoints").glob("step-*"), key=step_of)


def step_of(checkpoint: Path) -> int:
    """The step in a checkpoint's name."""
    return int(checkpoint.name.removeprefix("step-"))


def best_of(checkpoints: Iterable[Path]) -> Path | None:
    """The one with the lowest validation loss in its `evaluation.json`; None while none was evaluated."""
    evaluations = {path: path / EVALUATION for path in checkpoints if (path / EVALUATION).is_file()}
    losses = {path: json.loads(file.read_text(encoding="utf-8"))["loss"] for path, file in evaluations.items()}
    return min(losses, key=losses.__getitem__, default=None)


def newest_run(runs: Path) -> Path:
    """The run below `runs` whose latest checkpoint is the newest.

    Raises:
        UserError: no run has a checkpoint.
    """
    checkpoints = runs.glob("*/checkpoints/step-*")
    newest = max(checkpoints, key=lambda checkpoint: checkpoint.stat().st_mtime, default=None)
    if newest is None:
        raise UserError(f"There is no trained run in '{runs}' yet; train one, for example with `tsumiki demo`.")
    return newest.parent.parent


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
