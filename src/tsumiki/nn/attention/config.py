"""The options that every attention variant has."""

from tsumiki.spec import spec


@spec
class AttentionConfig:
    """What all variants share; each adds its own `variant` tag and options.

    Args:
        num_heads: query heads, H.
        num_kv_heads: key/value heads, K; divides H.
        head_dim: width of a head, D.
        bias: add biases to the four projections (GPT-2 and GPT-OSS do).
        qk_norm: RMSNorm on each query and key head before RoPE (arXiv 2302.05442; as in Qwen3).
        sinks: a learned logit a head that takes attention away from all keys (GPT-OSS; arXiv 2309.17453).
    """

    variant: str
    num_heads: int
    num_kv_heads: int
    head_dim: int
    bias: bool = False
    qk_norm: bool = False
    sinks: bool = False

    def __post_init__(self) -> None:
        for name in ("num_heads", "num_kv_heads", "head_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be 1 or more.")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads is {self.num_heads} and num_kv_heads {self.num_kv_heads}, "
                "but every key/value head must serve the same number of query heads; choose a divisor."
            )
