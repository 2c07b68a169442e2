"""What a model will cost before it is trained: parameters by part, FLOPs a token, memory."""

from dataclasses import dataclass
from fractions import Fraction

from tsumiki.models.build import build_model
from tsumiki.models.language_model import DecoderConfig
from tsumiki.nn.feed_forward import MixtureOfExperts

PARTS = {
    "embedding": "vocabulary",
    "head": "vocabulary",
    "position": "positions",
    "attention": "attention",
    "feed_forward": "feed-forward",
}
"""First matching path component -> the part that a parameter belongs to; everything else is a norm."""


@dataclass(frozen=True)
class Plan:
    """The figures of `tsumiki plan`. All are exact counts; what a batch's activations take is not among them.

    Attributes:
        parameters: by part; `vocabulary` is the embedding and, where untied, the head.
        active: parameters that take part in computing one token; fewer than all in a mixture of experts.
        forward_flops: floating-point operations a token in the forward pass at full context, a multiply-add counted as
            two; a causal query is counted with the keys that it sees.
        logits_bytes: fp32 logits of one full sequence, the largest activation of a small model.
        cache_bytes: keys and values of one full sequence in fp32.
    """

    parameters: dict[str, int]
    active: int
    forward_flops: int
    logits_bytes: int
    cache_bytes: int

    @property
    def total(self) -> int:
        """All parameters."""
        return sum(self.parameters.values())

    @property
    def non_embedding(self) -> int:
        """Parameters outside the vocabulary and the positions: what is compared between models."""
        return self.total - self.parameters.get("vocabulary", 0) - self.parameters.get("positions", 0)

    @property
    def vocabulary_share(self) -> float:
        """The vocabulary's share of all parameters, between 0 and 1."""
        return self.parameters["vocabulary"] / self.total

    @property
    def training_flops(self) -> int:
        """Floating-point operations a token for forward and backward: three times the forward pass."""
        return 3 * self.forward_flops

    @property
    def weight_bytes(self) -> int:
        """Weights in fp32."""
        return 4 * self.total

    @property
    def training_bytes(self) -> int:
        """Weights, gradients and AdamW's two moments in fp32; activations come on top and grow with the batch."""
        return 4 * self.weight_bytes


def plan(config: DecoderConfig) -> Plan:
    """Count without allocating: the model is built on PyTorch's meta device."""
    model = build_model(config, device="meta")
    used_share = _used_share(config)
    parameters: dict[str, int] = {}
    active = matrices = Fraction(0)
    for name, parameter in model.named_parameters():
        part = next((PARTS[piece] for piece in name.split(".") if piece in PARTS), "norms")
        parameters[part] = parameters.get(part, 0) + parameter.numel()
        used = parameter.numel() * (used_share if ".experts." in name else 1)
        active += used
        if part in ("attention", "feed-forward") and parameter.ndim >= 2:
            matrices += used
    head = config.vocab_size * config.d_model

    attention = config.attention
    seen = [_mean_keys(config.max_seq_len, window) for window in config.windows]
    # Scores and weighted values: each a multiply-add for every visible key, query head and head dimension.
    attention_flops = sum(4 * attention.num_heads * attention.head_dim * keys for keys in seen)
    kept = sum(min(window or config.max_seq_len, config.max_seq_len) for window in config.windows)
    return Plan(
        parameters=parameters,
        active=int(active),
        forward_flops=round(2 * (matrices + head) + attention_flops),
        logits_bytes=4 * config.max_seq_len * config.vocab_size,
        cache_bytes=4 * 2 * kept * attention.num_kv_heads * attention.head_dim,
    )


def _used_share(config: DecoderConfig) -> Fraction:
    """The share of a mixture's experts that one token uses."""
    mixture = config.feed_forward
    if not isinstance(mixture, MixtureOfExperts.Config):
        return Fraction(1)
    return Fraction(mixture.experts_per_token, mixture.num_experts)


def _mean_keys(seq_len: int, window: int | None) -> float:
    """How many keys a query sees on average over a full causal sequence."""
    width = min(window or seq_len, seq_len)
    return (width * (width + 1) / 2 + (seq_len - width) * width) / seq_len
