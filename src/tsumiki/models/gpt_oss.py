"""The GPT-OSS family: RMSNorm, RoPE, grouped-query attention, SwiGLU; here with one dense expert."""

from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from tsumiki.kernels import BackendConfig
from tsumiki.kernels.activation import ACTIVATIONS
from tsumiki.models.language_model import DecoderConfig, LanguageModel
from tsumiki.nn.attention import VARIANTS, AttentionContext
from tsumiki.nn.embedding import Embedding
from tsumiki.nn.feed_forward import FEED_FORWARDS
from tsumiki.nn.kv_cache import KVCache, LayerCache
from tsumiki.nn.linear import Linear
from tsumiki.nn.norm import RMSNorm
from tsumiki.nn.rope import Rope, RopeConfig
from tsumiki.spec import spec


class GPTOSS(LanguageModel):
    """x += attention(norm(x)); x += feed_forward(norm(x)); logits = norm(x) Wᵀ, with positions by RoPE.

    GPT-OSS (arXiv 2508.10925) in its dense form: where GPT-OSS routes each token to 4 of many experts, this family has
    one. With biases, sinks, `sliding_layers: even` and the clamped SwiGLU its blocks are GPT-OSS's; without them, and
    with QK-norm, they are Qwen3's and Llama's.

    RoPE と RMSNorm と SwiGLU を使う、GPT-OSS 型のデコーダーです。専門家（expert）は一つだけです。
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
        positions: Int[Tensor, "B T"] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "B T {self.config.d_model}"]:
        """The residual stream after the final norm."""
        context = self.attention_context(ids, documents=documents, positions=positions, cache=cache)
        x = self.embedding(ids)
        for number, layer in enumerate(self.layers):
            x = layer(x, context, None if cache is None else cache.layers[number])
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
        )
        self.feed_forward_norm = RMSNorm(config.d_model, eps=config.norm_eps)
        self.feed_forward = FEED_FORWARDS[config.feed_forward.variant](
            config.feed_forward,
            d_model=config.d_model,
            std=config.init_std,
            residual_std=config.residual_std,
            activations=ACTIVATIONS[backend.activation],
        )

    def forward(
        self, x: Float[Tensor, "B T E"], context: AttentionContext, cache: LayerCache | None
    ) -> Float[Tensor, "B T E"]:
        """The stream with this block's two updates added."""
        x = x + self.attention(self.attention_norm(x), context, cache)
        return x + self.feed_forward(self.feed_forward_norm(x))
