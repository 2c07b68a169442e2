"""The GPT-OSS family: RMSNorm, RoPE, grouped-query attention, SwiGLU, dense or as a mixture of experts."""

from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from tsumiki.kernels import BackendConfig
from tsumiki.kernels.feed_forward import build_feed_forward
from tsumiki.models.language_model import DecoderConfig, LanguageModel
from tsumiki.nn.attention import VARIANTS, AttentionContext
from tsumiki.nn.embedding import Embedding
from tsumiki.nn.feed_forward import MixtureOfExperts, Routing
from tsumiki.nn.kv_cache import KVCache, LayerCache
from tsumiki.nn.linear import Linear
from tsumiki.nn.norm import RMSNorm
from tsumiki.nn.rope import Rope, RopeConfig
from tsumiki.spec import spec


class GPTOSS(LanguageModel):
    """x += attention(norm(x)); x += feed_forward(norm(x)); logits = norm(x) Wᵀ, with positions by RoPE.

    With biases, sinks, `sliding_layers: even`, an untied head and `moe` with the clamped SwiGLU this is GPT-OSS (arXiv
    2508.10925); the clamped `swiglu` is its dense form, with one expert. Without biases and sinks, and with the plain
    `swiglu`, it is Llama (arXiv 2302.13971), and with QK-norm besides Qwen3 (arXiv 2505.09388).

    RoPE と RMSNorm と SwiGLU を使う、GPT-OSS 型のデコーダーです。
    """

    @spec
    class Config(DecoderConfig):
        """GPT-OSS's own options.

        Args:
            rope: rotary positions, and how they are stretched.
            sliding_window: tokens that a sliding layer sees, the query's own among them; None for no sliding layers.
            sliding_layers: which layers slide: every other one from the first on (GPT-OSS), or all.
        """

        family: Literal["gpt_oss"] = "gpt_oss"
        rope: RopeConfig = RopeConfig()
        sliding_window: int | None = None
        sliding_layers: Literal["even", "all"] = "even"

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.sliding_window is not None and self.sliding_window < 1:
                raise ValueError(f"sliding_window is {self.sliding_window}, but must be 1 or more, or null.")
            if self.attention.head_dim % 2:
                raise ValueError(f"head_dim is {self.attention.head_dim}, but RoPE turns pairs; choose an even number.")

        @property
        def windows(self) -> tuple[int | None, ...]:
            """Each layer's sliding window in tokens; None where the layer sees all of the past."""
            slides = [self.sliding_layers == "all" or layer % 2 == 0 for layer in range(self.num_layers)]
            return tuple(self.sliding_window if slide else None for slide in slides)

    config: Config

    def __init__(self, config: Config, backend: BackendConfig) -> None:
        super().__init__(config, backend)
        self.rope = Rope(config.attention.head_dim, config.rope)
        self.embedding = Embedding(config.vocab_size, config.d_model, std=config.init_std)
        self.layers = nn.ModuleList(Layer(config, backend, window) for window in config.windows)
        self.norm = RMSNorm(config.d_model, eps=config.norm_eps)
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
        x = self.embedding(ids)
        for number, layer in enumerate(self.layers):
            x = layer(x, context, None if cache is None else cache.layers[number], routings)
        return self.norm(x)


class Layer(nn.Module):
    """One block: attention, then feed-forward, each on the normalised stream and added to it (pre-norm).

    一つのブロックです。アテンションと順伝播層の結果を、それぞれ残差として足します。
    """

    def __init__(self, config: GPTOSS.Config, backend: BackendConfig, window: int | None) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.d_model, eps=config.norm_eps)
        self.attention = VARIANTS[config.attention.variant](
            config.attention,
            d_model=config.d_model,
            window=window,
            std=config.init_std,
            residual_std=config.residual_std,
            norm_eps=config.norm_eps,
        )
        self.feed_forward_norm = RMSNorm(config.d_model, eps=config.norm_eps)
        self.feed_forward = build_feed_forward(
            config.feed_forward,
            backend,
            d_model=config.d_model,
            std=config.init_std,
            residual_std=config.residual_std,
        )

    def forward(
        self,
        x: Float[Tensor, "B T E"],
        context: AttentionContext,
        cache: LayerCache | None,
        routings: list[Routing] | None,
    ) -> Float[Tensor, "B T E"]:
        """The stream with this block's two updates added."""
        x = x + self.attention(self.attention_norm(x), context, cache)
        h = self.feed_forward_norm(x)
        is_mixture = isinstance(self.feed_forward, MixtureOfExperts)
        return x + (self.feed_forward(h, routings) if is_mixture else self.feed_forward(h))
