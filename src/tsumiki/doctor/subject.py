"""The model under examination: how it is asked for logits and more, and the copies of it that are examined."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tsumiki.errors import UserError

Model = Any
"""A torch module, or a function from token ids [B, T] to logits [B, T, V]."""

_CONTEXT = {"quick": 512, "full": 2048}
"""Longest text that a level examines, unless a sliding window needs more."""

_SAME_SHAPE = {torch.float64: 1e-10, torch.float32: 1e-6, torch.bfloat16: 1e-2, torch.float16: 1e-2}
"""Largest relative change of a logit that cannot depend on what was changed, when the shapes are equal. Then the
arithmetic of the unchanged part is the same, and nearly always bitwise equal; experts and atomics regroup sums."""

OTHER_SHAPE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 5e-2, torch.float16: 5e-2}
"""The same when shapes differ, so that sums are grouped differently. Models that round more get more: see `noise`."""


def plain_logits(model: Model, ids: Tensor) -> Tensor:
    """Logits of a model that takes token ids: its output, the output's `.logits`, or the first of a tuple."""
    output = model(ids)
    if isinstance(output, tuple):
        output = output[0]
    return getattr(output, "logits", output)


@dataclass(frozen=True)
class Adapter:
    """How a kind of model is asked for more than logits. What is None cannot be asked, and its checks are skipped.

    Every function takes the model first, for the doctor examines copies. T is the length of the row.

    Args:
        logits: (model, ids) -> logits [B, T, V].
        cached: (model, ids, chunks) -> logits [B, T, V], computed chunk by chunk through a KV cache.
        packed: (model, ids, documents) -> logits of rows that hold several documents; documents [B, T] are their ids.
        padded: (model, ids, real) -> logits of rows with padding where real [B, T] is False.
        pads_left: padding may also come first in a row.
        loss: (model, ids, targets) -> (sum of nats, number of targets); targets [B, T], -100 where there is none.
        fresh: (model) -> a newly initialised model of the same architecture.
        spellings: (model) -> {name: (model) -> a copy that computes the same in another way}.
        optimizer: (model) -> the optimizer that will train it, an object with `step()`.
        train: (model, saved, steps) -> what a checkpoint keeps. Trains the model in place from what was saved earlier
            (None: from the start) for so many steps more.
        finest: (model) -> the finest dtype in which a copy computes as the model does.
        reference: (model, ids) -> what an independent implementation in float64 gives with the same weights for one row
            of ids [T]: {submodule: its output [T, ...]}, in the order of computation, the logits last under "". None
            where it does not know the architecture.
    """

    logits: Callable[[Model, Tensor], Tensor] = plain_logits
    cached: Callable[[Model, Tensor, Sequence[int]], Tensor] | None = None
    packed: Callable[[Model, Tensor, Tensor], Tensor] | None = None
    padded: Callable[[Model, Tensor, Tensor], Tensor] | None = None
    pads_left: bool = False
    loss: Callable[[Model, Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    fresh: Callable[[Model], Model] | None = None
    spellings: Callable[[Model], Mapping[str, Callable[[Model], Model]]] | None = None
    optimizer: Callable[[Model], Any] | None = None
    train: Callable[[Model, Any, int], Any] | None = None
    finest: Callable[[Model], torch.dtype] = lambda model: torch.float64
    reference: Callable[[Model, Tensor], Mapping[str, Tensor] | None] | None = None


class Subject:
    """A model, what it can be asked, and the copy that structural checks look at.

    Args:
        model: a torch module, or a function from token ids [B, T] to logits [B, T, V]. It is never changed.
        adapter: how to ask it for more than logits.
        vocab_size: token ids below this are used.
        max_seq_len: tokens a row may have.
        windows: widths of its sliding windows, so that positions past them are examined.
        level: how long the examined texts are.
    """

    def __init__(
        self,
        model: Model,
        adapter: Adapter,
        *,
        vocab_size: int,
        max_seq_len: int,
        windows: Sequence[int] = (),
        level: str = "quick",
    ) -> None:
        self.model = model
        self.adapter = adapter
        self.vocab_size = vocab_size
        self.windows = tuple(sorted({window for window in windows if window < max_seq_len}))
        self.context = min(max_seq_len, max(_CONTEXT[level], *(window + 16 for window in self.windows), 0))

    def can(self, question: str) -> bool:
        """Whether the model can be asked this: `module` (weights are at hand), or a function of the adapter."""
        if question == "module":
            return isinstance(self.model, nn.Module)
        return getattr(self.adapter, question) is not None

    @cached_property
    def device(self) -> torch.device:
        """Where the model is."""
        if isinstance(self.model, nn.Module):
            for parameter in self.model.parameters():
                return parameter.device
        return torch.device("cpu")

    @cached_property
    def probe(self) -> Model:
        """A copy with jittered weights, in float64 where the model can compute in it, otherwise float32.

        Initial weights hide leaks: they are tiny, some projections are zero, and sinks and gains sit at special values.
        The jitter gives every matrix a gain of about one, so that all paths carry signal. A function is taken as it is.
        """
        if not isinstance(self.model, nn.Module):
            return self.model
        probe = jittered(self.model, self.adapter.finest(self.model))
        try:
            self._call(probe, self.tokens(1, min(3, self.context)))
        except (RuntimeError, TypeError):  # a kernel without float64
            probe = jittered(self.model, torch.float32)
        return probe

    @cached_property
    def precision(self) -> torch.dtype:
        """The precision that may be expected of the probe: float32 where something in a float64 copy rounds.

        Compiled parts, such as FlexAttention, cannot be watched; they count as rounding.
        """
        ids = self.tokens(1, min(3, self.context))
        dtype = self.logits(ids).dtype
        if dtype is not torch.float64:
            return dtype
        try:
            with _Rounding() as rounding:
                self.logits(ids)
        except RuntimeError:
            return torch.float32
        return torch.float32 if rounding.seen else torch.float64

    @cached_property
    def same_shape_tolerance(self) -> float:
        """Relative change that is no leak, between two runs of equal shapes."""
        dtype = self.logits(self.tokens(1, min(3, self.context))).dtype
        return _SAME_SHAPE[dtype] if dtype is torch.float64 else max(_SAME_SHAPE[dtype], self.noise)

    @cached_property
    def tolerance(self) -> float:
        """Relative change that is rounding, between two computations of the same logits in different shapes."""
        return max(OTHER_SHAPE[self.precision], 20 * self.noise)

    @cached_property
    def noise(self) -> float:
        """How far the logits move, relatively, when every weight moves by one rounding error."""
        if not isinstance(self.model, nn.Module):
            return 0.0
        nudged = copy.deepcopy(self.probe)
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for parameter in nudged.parameters():
                signs = torch.randn(parameter.shape, generator=generator).sign().to(parameter)
                parameter.mul_(1 + torch.finfo(self.precision).eps * signs)
        ids = self.tokens(1, min(64, self.context))
        return difference(self.logits(ids, model=nudged), self.logits(ids))

    @cached_property
    def ordinary(self) -> Tensor:
        """All token ids but those that an embedding takes for padding, which get no gradient and may be masked."""
        modules = self.model.modules() if isinstance(self.model, nn.Module) else ()
        padding = {getattr(module, "padding_idx", None) for module in modules}
        return torch.tensor([token for token in range(self.vocab_size) if token not in padding], device=self.device)

    def trainable(self) -> nn.Module:
        """A copy in training mode and float32 that a check may train: freshly initialised where that is possible."""
        model = copy.deepcopy(self.model) if self.adapter.fresh is None else self.adapter.fresh(self.model)
        return model.float().train()

    def tokens(self, batch_size: int, length: int, *, seed: int = 0) -> Tensor:
        """Random token ids [B, T], the same for the same seed; none that an embedding takes for padding."""
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randint(len(self.ordinary), (batch_size, length), generator=generator)
        return self.ordinary[chosen.to(self.device)]

    def rewritten(self, ids: Tensor, keep: slice, *, seed: int = 0) -> Tensor:
        """`ids` with every token outside `keep` replaced by another one."""
        generator = torch.Generator().manual_seed(1000 + seed)
        step = torch.randint(1, len(self.ordinary), ids.shape, generator=generator).to(self.device)
        step[:, keep] = 0
        return self.ordinary[(torch.searchsorted(self.ordinary, ids) + step) % len(self.ordinary)]

    def logits(self, ids: Tensor, *, model: Model = None, training: bool = False) -> Tensor:
        """Logits [B, T, V] of the probe, or of `model`, without gradients. While training, dropout repeats itself."""
        with torch.no_grad(), mode(model if model is not None else self.probe, training=training) as chosen:
            return self._call(chosen, ids)

    def cached(self, ids: Tensor, chunks: Sequence[int]) -> Tensor:
        """Logits of the probe, computed chunk by chunk through its KV cache."""
        assert self.adapter.cached is not None
        with torch.no_grad():
            return self.adapter.cached(self.probe, ids, chunks)

    def packed(self, ids: Tensor, documents: Tensor) -> Tensor:
        """Logits of the probe for rows that hold several documents."""
        assert self.adapter.packed is not None
        with torch.no_grad():
            return self.adapter.packed(self.probe, ids, documents)

    def padded(self, ids: Tensor, real: Tensor) -> Tensor:
        """Logits of the probe for rows with padding where `real` is False."""
        assert self.adapter.padded is not None
        with torch.no_grad():
            return self.adapter.padded(self.probe, ids, real)

    def loss(self, model: Model, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The model's own loss: the sum of nats and the number of targets."""
        assert self.adapter.loss is not None
        return self.adapter.loss(model, ids, targets)

    def gradients(self, losses: Sequence[Tensor], *, model: Model = None) -> dict[str, Tensor]:
        """Gradients of the sum of the losses with respect to every trainable parameter; zero where none arrives."""
        model = self.probe if model is None else model
        named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        total = torch.stack(list(losses)).sum()
        gradients = torch.autograd.grad(total, list(named.values()), allow_unused=True)
        return {
            name: torch.zeros_like(parameter) if gradient is None else gradient
            for (name, parameter), gradient in zip(named.items(), gradients, strict=True)
        }

    def embedding_gradients(self, ids: Tensor, position: int) -> list[Tensor]:
        """Gradients [B, T, E] of a random combination of one position's logits, one for each embedding of the tokens.

        An embedding is a submodule without submodules that turns the ids into vectors. Its output becomes a leaf.
        """
        leaves: list[Tensor] = []

        def catch(_: nn.Module, args: tuple[Any, ...], output: Any) -> Tensor | None:
            if not isinstance(output, Tensor) or not output.is_floating_point() or not args:
                return None
            if not isinstance(args[0], Tensor) or args[0].is_floating_point() or not torch.equal(args[0], ids):
                return None
            leaves.append(output.detach().requires_grad_())
            return leaves[-1]

        with ExitStack() as hooks:
            for module in self.probe.modules():
                if not any(module.children()):
                    hooks.callback(module.register_forward_hook(catch).remove)
            logits = self._call(self.probe, ids)
        if not leaves:
            return []
        weights = torch.randn(logits.shape[-1], generator=torch.Generator().manual_seed(3)).to(logits)
        return list(torch.autograd.grad(logits[:, position] @ weights, leaves, torch.ones(len(ids)).to(logits)))

    def _call(self, model: Model, ids: Tensor) -> Tensor:
        logits = self.adapter.logits(model, ids)
        expected = (*ids.shape, self.vocab_size)
        if logits.ndim != 3 or logits.shape[:2] != ids.shape or logits.shape[2] < self.vocab_size:
            raise UserError(
                f"The model turned token ids of shape {tuple(ids.shape)} into {tuple(logits.shape)}, but the doctor "
                f"needs logits of shape {expected}: one row of logits for every token. Wrap the model in a function "
                "that returns them."
            )
        return logits


class _Rounding(TorchDispatchMode):
    """Notes whether anything was computed from finer numbers than it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.is_floating_point():
            sources = [arg for arg in args if isinstance(arg, Tensor) and arg.is_floating_point()]
            self.seen |= any(torch.finfo(source.dtype).eps < torch.finfo(result.dtype).eps for source in sources)
        return result


def jittered(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy in evaluation mode whose weights are moved: matrices by N(0, 1 / fan-in), vectors by N(0, 0.1²)."""
    moved = copy.deepcopy(model).to(dtype).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in moved.parameters():
            scale = parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.1
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator).to(parameter))
    return moved


@contextmanager
def mode(model: Model, *, training: bool) -> Iterator[Model]:
    """The model in training or evaluation mode; while training, with the random numbers (dropout) seeded."""
    if not isinstance(model, nn.Module):
        yield model
        return
    before = model.training
    model.train(training)
    try:
        if training:
            devices = {parameter.device for parameter in model.parameters() if parameter.is_cuda}
            with torch.random.fork_rng(devices):
                torch.manual_seed(0)
                yield model
        else:
            yield model
    finally:
        model.train(before)


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference, relative to the largest logit."""
    return by_position(a, b).max().item() if a.numel() else 0.0


def by_position(a: Tensor, b: Tensor) -> Tensor:
    """The same for every position: [T]. What is not finite is infinitely different."""
    scale = torch.maximum(a.max(), -a.min()).clamp(min=torch.finfo(a.dtype).tiny)
    change = (a - b).abs_().amax(dim=(0, 2)) / scale
    return change.nan_to_num(nan=math.inf)
