"""Attention computed by PyTorch's fused kernels. `Eager` in `tsumiki.nn.attention` says what they must compute."""

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.attention.flex_attention import (
    AuxRequest,
    BlockMask,
    FlexKernelOptions,
    create_block_mask,
    flex_attention,
)
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import pad, scaled_dot_product_attention

from tsumiki.kernels.reduction import Reduction
from tsumiki.nn.attention import AttentionBackend, AttentionContext, Eager, Mask, dense_visibility
from tsumiki.nn.position import beginnings


class Plain(Enum):
    """Masks so simple that no tensor is needed to say them."""

    CAUSAL = "every key up to the query's own position"
    ALL = "every key"


@dataclass(frozen=True)
class Sdpa:
    """`torch.nn.functional.scaled_dot_product_attention`, which picks FlashAttention or another fused kernel.

    Where the mask is plain causal, no mask tensor is built. Sinks are one more key, all zeros, whose score is the
    sink's logit and whose value is zero: exactly the sink's softmax, at the price of a mask tensor a head.
    """

    name: str = "sdpa"

    def visibility(
        self, mask: Mask, context: AttentionContext, k_pos: Int[Tensor, "B S"]
    ) -> Plain | Bool[Tensor, "B T S"]:
        """`Plain` where that says it all, otherwise the dense mask."""
        num_queries, num_keys = context.positions.shape[1], k_pos.shape[1]
        if mask.causal and context.aligned and context.documents is None:
            if num_queries == 1:
                # One new token sees all that the cache still holds: all of the past, or a ring of one window.
                return Plain.ALL
            if num_queries == num_keys and (mask.window is None or num_keys <= mask.window):
                return Plain.CAUSAL
        return dense_visibility(mask, context, k_pos)

    def attend(
        self,
        q: Float[Tensor, "B T H D"],
        k: Float[Tensor, "B S K D"],
        v: Float[Tensor, "B S K D"],
        visibility: Plain | Bool[Tensor, "B T S"],
        *,
        sinks: Float[Tensor, " H"] | None,
        dropout: float,
    ) -> Float[Tensor, "B T H D"]:
        """Each query's weighted mean of the values that it sees."""
        q_BHTD, k_BKSD, v_BKSD = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if sinks is None:
            mask_B1TS = visibility[:, None] if isinstance(visibility, Tensor) else None
            bias = mask_B1TS
        else:
            k_BKSD, v_BKSD = pad(k_BKSD, (0, 0, 0, 1)), pad(v_BKSD, (0, 0, 0, 1))
            bias = _sink_bias(visibility, sinks, q_BHTD, num_keys=k.shape[1])
        out_BHTD = scaled_dot_product_attention(
            q_BHTD,
            k_BKSD,
            v_BKSD,
            attn_mask=bias,
            is_causal=visibility is Plain.CAUSAL and bias is None,
            dropout_p=dropout,
            enable_gqa=q.shape[2] != k.shape[2],
        )
        return out_BHTD.transpose(1, 2)


def _sink_bias(
    visibility: Plain | Bool[Tensor, "B T S"],
    sinks: Float[Tensor, " H"],
    q_BHTD: Float[Tensor, "B H T D"],
    *,
    num_keys: int,
) -> Float[Tensor, "_ H T S+1"]:
    """What is added to the scores: 0 for a visible key, -inf for a hidden one, the sink's logit in the last column."""
    num_queries = q_BHTD.shape[2]
    if visibility is Plain.ALL:
        allowed = torch.ones(1, num_queries, num_keys, dtype=torch.bool, device=q_BHTD.device)
    elif visibility is Plain.CAUSAL:
        allowed = torch.ones(1, num_queries, num_keys, dtype=torch.bool, device=q_BHTD.device).tril()
    else:
        assert isinstance(visibility, Tensor)
        allowed = visibility
    hidden = torch.zeros_like(allowed, dtype=q_BHTD.dtype).masked_fill(~allowed, -math.inf)
    bias_BHTS = hidden[:, None].expand(-1, len(sinks), -1, -1)
    sinks_BHT1 = sinks.to(q_BHTD.dtype)[None, :, None, None].expand(*bias_BHTS.shape[:3], 1)
    return torch.cat([bias_BHTS, sinks_BHT1], dim=-1)


@dataclass(frozen=True)
class Packed:
    """Rows of packed documents, in two forms.

    Args:
        starts: int32 [N + 1], where each document of the batch begins when the rows are laid end to end; the rest of
            the buffer says "at the end", which makes empty documents.
        max_seq_len: tokens that no document exceeds.
        window: as in `Mask`.
        dense: the same as a dense mask.
    """

    starts: Int[Tensor, " N+1"]
    max_seq_len: int
    window: int | None
    dense: Bool[Tensor, "B T S"]


MOST_DOCUMENTS = 65_535
"""The kernel has a block for each document along an axis of its grid, and CUDA knows no longer one."""


@dataclass(frozen=True)
class Varlen:
    """`Sdpa`, and packed documents by FlashAttention for sequences of many lengths (arXiv 2307.08691).

    The rows are laid end to end and cut where documents begin, so that pairs of different documents are not masked but
    never computed. The kernel asks for the number of documents, which only the device knows; it is told a bound, the
    rest being empty documents, and a bound that the caller knows (`max_documents`) saves time. The kernel knows half
    precision on a GPU alone, and neither sinks nor dropout; with these, in fp32, and where there are no documents, this
    backend is `Sdpa`.
    """

    name: str = "varlen"
    otherwise: Sdpa = Sdpa()

    def visibility(
        self, mask: Mask, context: AttentionContext, k_pos: Int[Tensor, "B S"]
    ) -> Plain | Packed | Bool[Tensor, "B T S"]:
        """`Packed` where the rows hold documents, otherwise as `Sdpa`.

        Raises:
            RuntimeError: "The batch holds more documents than max_documents says, or than 65535.", asserted on the
                device.
        """
        plain = self.otherwise.visibility(mask, context, k_pos)
        if context.documents is None or not mask.causal or isinstance(plain, Plain):
            return plain
        first = beginnings(context.documents)
        num_tokens = first.numel()
        capacity = min(num_tokens if context.max_documents is None else context.max_documents, MOST_DOCUMENTS)
        numbers = first.flatten().cumsum(0)
        torch.ops.aten._assert_async.msg(
            numbers[-1] <= capacity,
            f"The batch holds more documents than max_documents says, or than {MOST_DOCUMENTS}.",
        )
        # Every token writes its place if it begins a document, and otherwise into a last slot that is then cut off.
        starts = torch.full((capacity + 2,), num_tokens, dtype=torch.int32, device=first.device)
        slots = torch.where(first.flatten(), numbers - 1, capacity + 1)
        places = torch.arange(num_tokens, dtype=torch.int32, device=first.device)
        starts = starts.scatter(0, slots, places)[: capacity + 1]
        return Packed(starts, max_seq_len=context.documents.shape[1], window=mask.window, dense=plain)

    def attend(
        self,
        q: Float[Tensor, "B T H D"],
        k: Float[Tensor, "B S K D"],
        v: Float[Tensor, "B S K D"],
        visibility: Plain | Packed | Bool[Tensor, "B T S"],
        *,
        sinks: Float[Tensor, " H"] | None,
        dropout: float,
    ) -> Float[Tensor, "B T H D"]:
        """Each query's weighted mean of the values that it sees."""
        if not isinstance(visibility, Packed):
            return self.otherwise.attend(q, k, v, visibility, sinks=sinks, dropout=dropout)
        if sinks is not None or dropout > 0 or not q.is_cuda or q.dtype not in (torch.bfloat16, torch.float16):
            return self.otherwise.attend(q, k, v, visibility.dense, sinks=sinks, dropout=dropout)
        longest = visibility.max_seq_len
        out: Any = varlen_attn(
            q.flatten(0, 1),
            k.flatten(0, 1),
            v.flatten(0, 1),
            visibility.starts,
            visibility.starts,
            longest,
            longest,
            # FlashAttention counts the keys before the query's own.
            window_size=(-1 if visibility.window is None else visibility.window - 1, 0),
            **_VARLEN_GQA,
        )
        return out.unflatten(0, q.shape[:2])


# From PyTorch 2.12 on, fewer key heads than query heads must be asked for; 2.11 takes them as they come.
_VARLEN_GQA: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in inspect.signature(varlen_attn).parameters else {}


@dataclass(frozen=True)
class Flex:
    """FlexAttention (arXiv 2412.05496): the mask is `Mask.allow` itself, compiled into a block-sparse kernel.

    Sinks come after the fact: out · σ(lse - s), with lse the log of the softmax's denominator. On a GPU the kernel is
    compiled. On a CPU PyTorch's unfused reference runs, forward only, which is exact, slow, and good for checking.
    """

    name: str = "flex"

    @torch.compiler.disable()
    def visibility(self, mask: Mask, context: AttentionContext, k_pos: Int[Tensor, "B S"]) -> BlockMask:
        """Which blocks of the score matrix hold visible pairs, and the function that decides within a block.

        Built outside of a compiled model: with the block mask inside the graph, PyTorch 2.11 computed wrong outputs in
        inference mode (right ones in training), without a word.
        """
        positions, documents = context.positions, context.documents

        def allow(b: Tensor, h: Tensor, t: Tensor, s: Tensor) -> Tensor:
            if documents is None:
                return mask.allow(positions[b, t], k_pos[b, s])
            return mask.allow(positions[b, t], k_pos[b, s], q_doc=documents[b, t], k_doc=documents[b, s])

        batch_size, num_queries = positions.shape
        return create_block_mask(allow, batch_size, None, num_queries, k_pos.shape[1], device=positions.device.type)

    def attend(
        self,
        q: Float[Tensor, "B T H D"],
        k: Float[Tensor, "B S K D"],
        v: Float[Tensor, "B S K D"],
        visibility: BlockMask,
        *,
        sinks: Float[Tensor, " H"] | None,
        dropout: float,
    ) -> Float[Tensor, "B T H D"]:
        """Each query's weighted mean of the values that it sees."""
        if dropout > 0:
            raise ValueError(
                "FlexAttention cannot drop attention weights; set dropout to 0 or the attention backend to sdpa."
            )
        if not q.is_cuda and torch.is_grad_enabled() and q.requires_grad:
            raise ValueError(
                "FlexAttention has no backward pass on this device; to train, set the attention backend to sdpa."
            )
        run = _compiled_flex() if q.is_cuda else flex_attention
        out_BHTD, aux = run(
            q.transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
            block_mask=visibility,
            enable_gqa=q.shape[2] != k.shape[2],
            return_aux=AuxRequest(lse=True),
            # For a few queries PyTorch picks a decoding kernel, which has no tiling for every number of queries.
            kernel_options=FlexKernelOptions(FORCE_USE_FLEX_ATTENTION=q.shape[1] > 1),
        )
        if sinks is not None:
            assert aux.lse is not None
            keep_BHT1 = torch.sigmoid(aux.lse - sinks[None, :, None])[..., None]
            out_BHTD = out_BHTD * keep_BHT1.to(out_BHTD.dtype)
        return out_BHTD.transpose(1, 2)


@functools.cache
def _compiled_flex() -> Callable[..., Any]:
    return torch.compile(flex_attention)


BACKENDS: dict[str, AttentionBackend] = {
    backend.name: backend for backend in (Eager(), Sdpa(), Varlen(), Flex(), Reduction())
}
"""Name in a configuration -> how attention is computed."""
