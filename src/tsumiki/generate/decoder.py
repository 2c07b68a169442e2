"""One decoding step as a function of tensors, and three ways to run it: eagerly, compiled, captured in a CUDA graph."""

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from tsumiki.errors import UserError
from tsumiki.generate.cache import StaticCache
from tsumiki.generate.rows import Needs, Rows
from tsumiki.kernels.moe import EXPERTS
from tsumiki.kernels.stored import StoredLinear
from tsumiki.models import LanguageModel
from tsumiki.models.build import twin
from tsumiki.nn.feed_forward import MixtureOfExperts
from tsumiki.nn.linear import Linear

Mode = Literal["eager", "compiled", "captured"]
"""How steps run: by Python, as compiled functions, or (on a GPU) as a recording of compiled functions."""

RECOMPILATIONS = 256

OPTIONS: dict[str, str | int | bool | Callable[..., object]] = {"size_asserts": False}
"""No checks of the shapes of every buffer in every step: a fifteenth of the time of a small model on a CPU."""

BLOCK = {"eager": 1, "compiled": 1, "captured": 16}
"""Steps between two looks of the host at what was written."""


class Decoder:
    """The model, the cache and the rows, with one step that reads a token of every row and chooses the next.

    Args:
        model: in evaluation mode. Its weights are shared, not copied.
        num_rows: texts that are written at once.
        context: tokens that a row may hold.
        mode: how steps run.
        cache_dtype: of the stored keys and values; the model's if left out.
        follow: the table of `tsumiki.generate.utf8`.

    Raises:
        UserError: "No C++ compiler was found, ..." or "Only a CUDA device can replay captured steps, ..."
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        num_rows: int,
        context: int,
        mode: Mode,
        cache_dtype: torch.dtype | None,
        follow: Int[Tensor, "9 V"],
    ) -> None:
        device = model.unembedding.device
        self._recorder = Recorder(device) if mode == "captured" else None
        if mode != "eager":
            check_compiler()
            # Every engine compiles the same function for memory of its own; PyTorch gives up after eight by default.
            torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, RECOMPILATIONS)
        self.mode = mode
        self.block = BLOCK[mode]
        self.model = model if mode == "eager" else spelled_for_decoding(model)
        self.cache = StaticCache(model, num_rows, context, dtype=cache_dtype)
        self.rows = Rows.idle(num_rows, context, model.config.vocab_size, device)
        self.follow = follow.to(device)
        self.tokens = torch.zeros(self.block, num_rows, dtype=torch.int64, device=device)
        self.log_probabilities = torch.zeros(self.block, num_rows, device=device)
        self._step = self.step if mode == "eager" else torch.compile(self.step, fullgraph=True, options=OPTIONS)
        self._slots: dict[int, Tensor] = {}
        self._recordings: dict[tuple[int, Needs], torch.cuda.CUDAGraph] = {}

    def step(self, needs: Needs) -> tuple[Tensor, Tensor]:
        """Read one token of every row and choose the next: the tokens, and the logarithms of their probabilities."""
        rows = self.rows
        positions = torch.where(rows.positions < rows.ends, rows.positions, -1)
        hidden = self.model.hidden_states(rows.ids[:, None], positions=positions[:, None], cache=self.cache)
        return rows.take(self.model.logits(hidden[:, -1]), needs, self.follow)

    @torch.no_grad()
    def run(self, needs: Needs, longest: int) -> tuple[list[list[int]], list[list[float]]]:
        """A block of steps; the tokens and log-probabilities of each step and row.

        Args:
            needs: what choosing a token has to consider.
            longest: tokens that the longest row will hold at the end of the block.
        """
        num_slots = self._num_slots(longest)
        self._show(num_slots)
        if self._recorder is None:
            self._steps(needs)
        else:
            self._recording(self._recorder, num_slots, needs).replay()
        return self.tokens.tolist(), self.log_probabilities.tolist()

    def _steps(self, needs: Needs) -> None:
        for number in range(self.block):
            self.tokens[number], self.log_probabilities[number] = self._step(needs)

    def _num_slots(self, longest: int) -> int:
        """Slots that are attended to: few different numbers, since each is captured by itself."""
        rounded = max(64, 1 << (longest - 1).bit_length()) if self.mode == "captured" else -(-longest // 64) * 64
        return min(rounded, self.cache.capacity)

    def _show(self, num_slots: int) -> None:
        if num_slots not in self._slots:
            slots = torch.arange(num_slots, device=self.tokens.device)
            torch._dynamo.mark_dynamic(slots, 0)  # one compiled function for all numbers of slots
            self._slots[num_slots] = slots
        self.cache.show(self._slots[num_slots])

    def _recording(self, recorder: "Recorder", num_slots: int, needs: Needs) -> torch.cuda.CUDAGraph:
        """A block of steps. Recorded while all rows are idle, so that trying it out changes nothing."""
        if (num_slots, needs) not in self._recordings:
            with self._idle():
                self._recordings[num_slots, needs] = recorder.record(lambda: self._steps(needs))
        return self._recordings[num_slots, needs]

    @contextmanager
    def _idle(self) -> Iterator[None]:
        ends = self.rows.ends.clone()
        self.rows.ends.zero_()
        yield
        self.rows.ends.copy_(ends)


class Recorder:
    """Makes CUDA graphs, which share the memory of what they compute on the way.

    Raises:
        UserError: "Only a CUDA device can replay captured steps, ..."
    """

    def __init__(self, device: torch.device) -> None:
        if device.type != "cuda":
            raise UserError(
                f"Only a CUDA device can replay captured steps, but the model is on {device}; use compiled."
            )
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, function: Callable[[], None]) -> torch.cuda.CUDAGraph:
        """Run `function` once, so that everything is compiled, and record it, which does not run it."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            function()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads may go on using the device.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            function()
        return graph


def spelled_for_decoding(model: LanguageModel) -> LanguageModel:
    """The same model on the same weights, spelled for steps of one token a row."""
    decoder = twin(model)
    decoder.backend = dataclasses.replace(model.backend, attention="reduction", experts="dense")
    if decoder.head is None:
        decoder.head = StoredLinear(model.unembedding.detach(), dtype=model.unembedding.dtype)
    for module in list(decoder.modules()):
        if isinstance(module, MixtureOfExperts):
            module.run_experts = EXPERTS["dense"]
        for name, child in list(module.named_children()):
            if isinstance(child, Linear) and not isinstance(module, MixtureOfExperts):
                bias = None if child.bias is None else child.bias.detach()
                setattr(module, name, StoredLinear(child.weight.detach(), bias=bias, dtype=child.weight.dtype))
    return decoder


def check_compiler() -> None:
    """Raise a UserError unless there is a C++ compiler, which `torch.compile` needs."""
    names = (os.environ.get("CXX"), "g++", "clang++", "c++")
    if not any(shutil.which(name) for name in names if name):
        raise UserError(
            "No C++ compiler was found, and compiled steps need one; install g++ or clang++, or let the engine run "
            "eagerly, which needs none."
        )
