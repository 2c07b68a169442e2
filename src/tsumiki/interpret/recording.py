"""Listening to a forward pass from outside, so that no block needs to know that it is looked at."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tsumiki.data import Tokenizer
from tsumiki.errors import UserError
from tsumiki.interpret.labels import token_label
from tsumiki.interpret.trace import Trace
from tsumiki.models import LanguageModel
from tsumiki.nn.attention import AttentionBackend, AttentionContext, Eager, GatedAttention, Mask
from tsumiki.nn.feed_forward import MixtureOfExperts

EAGER = Eager()


@dataclasses.dataclass(frozen=True)
class Listening:
    """A backend that computes what another one does, and writes down the weights.

    Attention returns the weighted mean of the values. Of values that are the unit vectors e₁ ... e_S, the weighted mean
    is the vector of the weights. So the specification of attention, asked with these, gives its weights away.
    """

    backend: AttentionBackend
    heard: Callable[[Tensor], None]

    @property
    def name(self) -> str:
        """The name of the backend that computes."""
        return self.backend.name

    def visibility(self, mask: Mask, context: AttentionContext, k_pos: Tensor) -> Any:
        """Who sees whom, as the backend and as the specification want it."""
        return self.backend.visibility(mask, context, k_pos), EAGER.visibility(mask, context, k_pos)

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, visibility: Any, *, sinks: Tensor | None, dropout: float
    ) -> Tensor:
        """What the backend returns."""
        own, dense = visibility
        num_rows, num_keys, num_kv_heads = k.shape[:3]
        units = torch.eye(num_keys, dtype=k.dtype, device=k.device)[None, :, None, :]
        units_BSKS = units.expand(num_rows, -1, num_kv_heads, -1)
        weights_BTHS = EAGER.attend(q, k, units_BSKS, dense, sinks=sinks, dropout=0.0)
        self.heard(weights_BTHS)
        return self.backend.attend(q, k, v, own, sinks=sinks, dropout=dropout)


@torch.inference_mode()
def record(model: LanguageModel, ids: Sequence[int], tokenizer: Tokenizer | None = None) -> Trace:
    """Run a model on one text and keep what it computed on the way.

    The model is not changed: hooks listen while it runs and are taken away. Its logits are those of a plain forward
    pass, bit for bit, since its own backend computes them.

    Args:
        model: in evaluation mode.
        ids: the text, one token or more.
        tokenizer: to label the tokens with; without one their labels are their ids.

    Raises:
        UserError: "The text has 300 tokens, but the model's context holds 256: shorten it."
    """
    if len(ids) > model.config.max_seq_len:
        raise UserError(
            f"The text has {len(ids)} tokens, but the model's context holds {model.config.max_seq_len}: shorten it."
        )
    heard: dict[str, list[Tensor]] = {"attention": [], "residual": [], "gates": [], "experts": []}
    with listening(model, lambda name, tensor: heard[name].append(tensor)):
        logits = model(torch.tensor([list(ids)], device=model.unembedding.device))[0]
    kept = {name: torch.stack(tensors) for name, tensors in heard.items() if tensors}
    labels = tuple(map(str, ids)) if tokenizer is None else tuple(token_label(tokenizer, token) for token in ids)
    return Trace(ids=tuple(ids), labels=labels, logits=logits, **kept)


@contextmanager
def listening(model: LanguageModel, heard: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call `heard` with the parts of the first row of every forward pass, layer after layer."""
    layers = model.get_submodule("layers")
    assert isinstance(layers, nn.ModuleList)
    handles = [layers[0].register_forward_pre_hook(lambda layer, args: heard("residual", args[0][0]))]
    for layer in layers:
        handles += [
            layer.register_forward_hook(lambda layer, args, output: heard("residual", output[0])),
            layer.get_submodule("attention").register_forward_pre_hook(_attention_hook(heard)),
            layer.get_submodule("feed_forward").register_forward_pre_hook(_experts_hook(heard)),
        ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _attention_hook(heard: Callable[[str, Tensor], None]) -> Callable[[nn.Module, Any], Any]:
    """Before an attention block runs: note its gate, and put a listening backend into its context."""

    def hook(block: nn.Module, args: tuple[Tensor, AttentionContext, Any]) -> tuple[Any, ...]:
        x, context, *rest = args
        if isinstance(block, GatedAttention):
            heard("gates", block.gate(x)[0])
        backend = Listening(context.backend, lambda weights_BTHS: heard("attention", weights_BTHS[0].transpose(0, 1)))
        return x, dataclasses.replace(context, backend=backend), *rest

    return hook


def _experts_hook(heard: Callable[[str, Tensor], None]) -> Callable[[nn.Module, Any], None]:
    """Before a mixture of experts runs: ask its router where it will send the tokens."""

    def hook(block: nn.Module, args: tuple[Tensor, ...]) -> None:
        if isinstance(block, MixtureOfExperts):
            routing = block.route(args[0][0])
            shares_TX = torch.zeros_like(routing.logits)
            heard("experts", shares_TX.scatter(1, routing.chosen, routing.weights.to(shares_TX.dtype)))

    return hook
