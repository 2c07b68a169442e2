"""What every family is: tokens in, logits out, with a loss, a cache, and a backend that can be exchanged."""

from abc import ABC, abstractmethod
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tsumiki.kernels import BackendConfig
from tsumiki.kernels.attention import BACKENDS
from tsumiki.kernels.cross_entropy import CROSS_ENTROPIES
from tsumiki.kernels.materialise import materialise
from tsumiki.nn.activation import softcap
from tsumiki.nn.attention import VARIANTS, AttentionConfig, AttentionContext
from tsumiki.nn.feed_forward import FEED_FORWARDS, FeedForwardConfig, MixtureOfExperts, Routing
from tsumiki.nn.feed_forward.moe import balance_loss
from tsumiki.nn.kv_cache import EMPTY, KVCache
from tsumiki.nn.position import positions_in_documents
from tsumiki.nn.rope import Rope, Rotation
from tsumiki.spec import OneOf, spec


@spec
class DecoderConfig:
    """What all families share; each adds its `family` tag and options.

    Args:
        vocab_size: tokens the model knows, V.
        max_seq_len: tokens a sequence may have, its context.
        d_model: width of the residual stream, E.
        num_layers: transformer blocks, L.
        attention: which attention, with its heads and options.
        feed_forward: which feed-forward network, with its width.
        tie_embeddings: the head is the embedding's transpose (arXiv 1608.05859).
        norm_eps: added to the variance in every norm.
        init_std: standard deviation of the initial weights.
        residual_init: how the projections into the residual stream start: `scaled`, at init_std / √(2 L) as GPT-2's
            paper describes, or `zero`, so that every block begins as the identity (arXiv 2203.03466, D.2).
        logit_softcap: c, where the logits are c tanh(z / c) (arXiv 2408.00118); None leaves them as they are.
    """

    family: str
    vocab_size: int
    max_seq_len: int
    d_model: int
    num_layers: int
    attention: Annotated[AttentionConfig, OneOf(VARIANTS, tag="variant")]
    feed_forward: Annotated[FeedForwardConfig, OneOf(FEED_FORWARDS, tag="variant")]
    tie_embeddings: bool = True
    norm_eps: float = 1e-5
    init_std: float = 0.02
    residual_init: Literal["scaled", "zero"] = "scaled"
    logit_softcap: float | None = None

    def __post_init__(self) -> None:
        for name in ("vocab_size", "max_seq_len", "d_model", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be 1 or more.")
        for name in ("norm_eps", "init_std"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be greater than 0.")
        if self.logit_softcap is not None and self.logit_softcap <= 0:
            raise ValueError(f"logit_softcap is {self.logit_softcap}, but must be greater than 0, or null for no cap.")

    @property
    def residual_std(self) -> float:
        """Initial standard deviation of the projections that write into the residual stream."""
        if self.residual_init == "zero":
            return 0.0
        return self.init_std / (2 * self.num_layers) ** 0.5

    @property
    def windows(self) -> tuple[int | None, ...]:
        """Each layer's sliding window in tokens; None where the layer sees all of the past."""
        return (None,) * self.num_layers


class LanguageModel(nn.Module, ABC):
    """A decoder-only language model: p(token t+1 | tokens 0..t).

    A family implements `hidden_states` and owns `embedding` (with `.weight`) and, where untied, `head`.

    すべてのモデルに共通する、トークン列から次のトークンのロジットを計算する枠組みです。
    """

    embedding: nn.Module
    head: nn.Module | None
    rope: Rope | None

    def __init__(self, config: DecoderConfig, backend: BackendConfig) -> None:
        super().__init__()
        self.config = config
        self.backend = backend

    @abstractmethod
    def hidden_states(
        self,
        ids: Int[Tensor, "B T"],
        *,
        documents: Int[Tensor, "B T"] | None = None,
        max_documents: int | None = None,
        positions: Int[Tensor, "B T"] | None = None,
        cache: KVCache | None = None,
        routings: list[Routing] | None = None,
    ) -> Float[Tensor, "B T {self.config.d_model}"]:
        """The residual stream after the final norm. Arguments as in `forward`, and as in `loss`."""

    def forward(
        self,
        ids: Int[Tensor, "B T"],
        *,
        documents: Int[Tensor, "B T"] | None = None,
        positions: Int[Tensor, "B T"] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "B T {self.config.vocab_size}"]:
        """Logits of the next token at every position.

        Args:
            ids: token ids. With a cache, the tokens that follow those in it.
            documents: which document each token belongs to, in contiguous runs; tokens see their own document only
                and positions restart in each. None: every row is one document.
            positions: where each token stands; -1 marks padding, which nobody sees. None: counted from the start of the
                row, of the document, or from the end of the cache.
            cache: the caller's KV cache, which this call extends.

        Raises:
            ValueError: the sequence is longer than `max_seq_len`, or documents come together with a cache.
        """
        return self.logits(self.hidden_states(ids, documents=documents, positions=positions, cache=cache))

    def logits(self, hidden: Float[Tensor, "*batch E"]) -> Float[Tensor, "*batch V"]:
        """Hidden states times the unembedding, capped where the configuration says so."""
        logits = hidden @ self.unembedding.T if self.head is None else self.head(hidden)
        cap = self.config.logit_softcap
        return logits if cap is None else softcap(logits, cap)

    @property
    def unembedding(self) -> Float[Tensor, "V E"]:
        """The head's weight; the embedding's where both are tied."""
        weight = (self.embedding if self.head is None else self.head).weight
        assert isinstance(weight, Tensor)
        return weight

    def loss(
        self,
        ids: Int[Tensor, "B T"],
        targets: Int[Tensor, "B T"],
        *,
        documents: Int[Tensor, "B T"] | None = None,
        max_documents: int | None = None,
        routings: list[Routing] | None = None,
    ) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
        """The summed cross-entropy in nats (fp32), and the number of targets that it sums over.

        Sums, so that micro-batches with different numbers of targets add up to the loss of the whole batch.

        Args:
            targets: the token after each position; -100 where there is none.
            max_documents: a bound for the number of documents in the whole batch, if the caller knows one. It changes
                no result; with it `varlen` need not reckon with very short documents.
            routings: the caller's list, to which every mixture of experts adds where it sent the tokens.

        While training, a mixture of experts may ask for its load-balancing loss; it is then part of the sum, with the
        weight `balance_coefficient` a target.
        """
        own_routings: list[Routing] = []
        hidden = self.hidden_states(ids, documents=documents, max_documents=max_documents, routings=own_routings)
        nats = CROSS_ENTROPIES[self.backend.cross_entropy](
            hidden.flatten(0, 1), self.unembedding, targets.flatten(), self.config.logit_softcap
        )
        num_targets = (targets >= 0).sum()
        feed_forward = self.config.feed_forward
        if self.training and isinstance(feed_forward, MixtureOfExperts.Config) and feed_forward.balance_coefficient > 0:
            nats = nats + feed_forward.balance_coefficient * num_targets * balance_loss(own_routings)
        if routings is not None:
            routings.extend(own_routings)
        return nats, num_targets

    def new_cache(self, batch_size: int, capacity: int | None = None, *, dtype: torch.dtype | None = None) -> KVCache:
        """An empty KV cache on the model's device.

        Args:
            batch_size: rows.
            capacity: tokens a row may reach; the model's context if left out.
            dtype: of the stored keys and values; the model's if left out.
        """
        weight = self.unembedding
        attention = self.config.attention
        return KVCache(
            self.config.windows,
            batch_size=batch_size,
            capacity=self.config.max_seq_len if capacity is None else capacity,
            num_kv_heads=attention.num_kv_heads,
            head_dim=attention.head_dim,
            dtype=weight.dtype if dtype is None else dtype,
            device=weight.device,
        )

    def attention_context(
        self,
        ids: Int[Tensor, "B T"],
        *,
        documents: Int[Tensor, "B T"] | None,
        positions: Int[Tensor, "B T"] | None,
        cache: KVCache | None,
        max_documents: int | None = None,
    ) -> AttentionContext:
        """What the attention layers of this step share. Advances the cache's count of tokens."""
        seen = 0 if cache is None else cache.length
        num_tokens = seen + ids.shape[1]
        if num_tokens > self.config.max_seq_len:
            raise ValueError(
                f"The sequence has {num_tokens} tokens, but the model's context is {self.config.max_seq_len}."
            )
        if documents is not None and cache is not None:
            raise ValueError("A KV cache holds one document a row; pass documents or a cache, not both.")
        aligned = positions is None and documents is None
        if positions is None and documents is not None:
            positions = positions_in_documents(documents)
        elif positions is None:
            positions = torch.arange(seen, num_tokens, device=ids.device).expand(ids.shape)
        if cache is not None:
            aligned = cache.advance(ids.shape[1], aligned=aligned)
        rotation = None
        if self.rope is not None:
            rotation = Rotation(*map(materialise, self.rope.rotation(positions.clamp(min=EMPTY + 1))))
        return AttentionContext(
            positions=positions,
            documents=documents,
            rotation=rotation,
            backend=BACKENDS[self.backend.attention],
            aligned=aligned,
            max_documents=max_documents,
        )
