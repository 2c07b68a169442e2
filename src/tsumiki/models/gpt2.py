"""The GPT-2 family: LayerNorm, learned positions, GELU (Radford et al. 2019)."""

from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from tsumiki.kernels import BackendConfig
from tsumiki.kernels.feed_forward import build_feed_forward
from tsumiki.models.language_model import DecoderConfig, LanguageModel
from tsumiki.nn.attention import VARIANTS, AttentionContext
from tsumiki.nn.dropout import Dropout
from tsumiki.nn.embedding import Embedding
from tsumiki.nn.feed_forward import MixtureOfExperts, Routing
from tsumiki.nn.kv_cache import KVCache, LayerCache
from tsumiki.nn.linear import Linear
from tsumiki.nn.norm import LayerNorm
from tsumiki.nn.position import LearnedPosition
from tsumiki.spec import spec


class GPT2(LanguageModel):
    """x += attention(norm(x)); x += feed_forward(norm(x)); logits = norm(x) Wᵀ.

    With multi-head attention, biases, tanh-GELU, d_ff = 4 d_model and a tied head this is GPT-2 ("Language Models are
    Unsupervised Multitask Learners", 2019); any other attention or feed-forward makes it a variant.

    学習される位置埋め込みと LayerNorm を使う、GPT-2 型のデコーダーです。
    """

    @spec
    class Config(DecoderConfig):
        """GPT-2's own options.

        Args:
            dropout: probability of dropping an embedding, an attention weight, a residual update while training.
        """

        family: Literal["gpt2"] = "gpt2"
        dropout: float = 0.0

        def __post_init__(self) -> None:
            super().__post_init__()
            if not 0 <= self.dropout < 1:
                raise ValueError(f"dropout is {self.dropout}, but must be at least 0 and less than 1.")

    config: Config

    def __init__(self, config: Config, backend: BackendConfig) -> None:
        super().__init__(config, backend)
        self.rope = None
        self.embedding = Embedding(config.vocab_size, config.d_model, std=config.init_std)
        self.position = LearnedPosition(config.max_seq_len, config.d_model, std=config.init_std)
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config, backend, window) for window in config.windows)
        self.norm = LayerNorm(config.d_model, eps=config.norm_eps)
        self.head = None if config.tie_embeddings else Linear(config.d_model, config.vocab_size, std=config.init_std)

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
        """The residual stream after the final norm."""
        context = self.attention_context(
            ids, documents=documents, max_documents=max_documents, positions=positions, cache=cache
        )
        x = self.dropout(self.embedding(ids) + self.position(context.positions.clamp(min=0)))
        for number, layer in enumerate(self.layers):
            x = layer(x, context, None if cache is None else cache.layers[number], routings)
        return self.norm(x)


class Layer(nn.Module):
    """One block: attention, then feed-forward, each on the normalised stream and added to it (pre-norm).

    一つのブロックです。アテンションと順伝播層の結果を、それぞれ残差として足します。
    """

    def __init__(self, config: GPT2.Config, backend: BackendConfig, window: int | None) -> None:
        super().__init__()
        self.attention_norm = LayerNorm(config.d_model, eps=config.norm_eps)
        self.attention = VARIANTS[config.attention.variant](
            config.attention,
            d_model=config.d_model,
            window=window,
            std=config.init_std,
            residual_std=config.residual_std,
            dropout=config.dropout,
            norm_eps=config.norm_eps,
        )
        self.feed_forward_norm = LayerNorm(config.d_model, eps=config.norm_eps)
        self.feed_forward = build_feed_forward(
            config.feed_forward,
            backend,
            d_model=config.d_model,
            std=config.init_std,
            residual_std=config.residual_std,
        )
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        x: Float[Tensor, "B T E"],
        context: AttentionContext,
        cache: LayerCache | None,
        routings: list[Routing] | None,
    ) -> Float[Tensor, "B T E"]:
        """The stream with this block's two updates added."""
        x = x + self.dropout(self.attention(self.attention_norm(x), context, cache))
        h = self.feed_forward_norm(x)
        is_mixture = isinstance(self.feed_forward, MixtureOfExperts)
        return x + self.dropout(self.feed_forward(h, routings) if is_mixture else self.feed_forward(h))
