"""The independent reference and `nn` agree on every option; neither was written from the other."""

from dataclasses import replace

import pytest

from tsumiki.doctor import diagnose, sentence
from tsumiki.doctor.patients import MODELS, MODERN
from tsumiki.models import build_model
from tsumiki.models.language_model import DecoderConfig
from tsumiki.nn.attention import GatedAttention, GroupedQueryAttention
from tsumiki.nn.feed_forward import GeluFeedForward, MixtureOfExperts, SwiGLUFeedForward
from tsumiki.nn.rope import LinearScaling, NtkScaling, RopeConfig, YarnScaling

HEADS = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 8}
CONFIGS: dict[str, DecoderConfig] = {
    "plain heads": replace(MODERN, attention=GroupedQueryAttention.Config(**HEADS), sliding_window=None),
    "biases": replace(MODERN, attention=GroupedQueryAttention.Config(**HEADS, bias=True, sinks=True)),
    "one key head": replace(MODERN, attention=GroupedQueryAttention.Config(num_heads=3, num_kv_heads=1, head_dim=10)),
    "headwise gate": replace(MODERN, attention=GatedAttention.Config(**HEADS, gate="headwise")),
    "constant gate": replace(MODERN, attention=GatedAttention.Config(**HEADS, gate_input="none")),
    "all layers slide": replace(MODERN, sliding_layers="all", tie_embeddings=False),
    "clamped swiglu": replace(
        MODERN, feed_forward=SwiGLUFeedForward.Config(d_ff=24, limit=0.5, alpha=1.702, bias=True)
    ),
    "experts": replace(
        MODERN,
        feed_forward=MixtureOfExperts.Config(
            d_ff=12, num_experts=7, experts_per_token=3, bias=False, limit=None, alpha=1.0
        ),
    ),
    "exact gelu": replace(
        MODELS["classic"], feed_forward=GeluFeedForward.Config(d_ff=40, approximate="none", bias=False)
    ),
    "untied gpt-2": replace(MODELS["classic"], tie_embeddings=False, norm_eps=1e-3),
    "capped logits": replace(MODERN, logit_softcap=0.5),
    "linear": replace(MODERN, rope=RopeConfig(theta=500.0, scaling=LinearScaling(factor=3.0))),
    "ntk": replace(MODERN, rope=RopeConfig(scaling=NtkScaling(factor=4.0))),
    "yarn": replace(MODERN, rope=RopeConfig(scaling=YarnScaling(factor=4.0, original_max_seq_len=256))),
    "yarn, whole pairs": replace(
        MODERN, rope=RopeConfig(scaling=YarnScaling(factor=4.0, original_max_seq_len=2048, truncate=True))
    ),
    "yarn by wavelength": replace(
        MODERN,
        rope=RopeConfig(
            scaling=YarnScaling(
                factor=4.0, original_max_seq_len=256, ramp="wavelength", beta_fast=8.0, temperature=False
            )
        ),
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_reference_agrees(name: str) -> None:
    (verdict,) = diagnose(build_model(CONFIGS[name]), checks=["reference"]).verdicts
    assert verdict.status == "passed", sentence(verdict)
    assert verdict.values["change"] < 1e-5


def test_a_variant_that_somebody_added_is_not_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    from tsumiki.nn.attention import VARIANTS

    monkeypatch.setitem(VARIANTS, "mine", GroupedQueryAttention)
    config = replace(MODERN, attention=GroupedQueryAttention.Config(**HEADS))
    object.__setattr__(config.attention, "variant", "mine")
    (verdict,) = diagnose(build_model(config), checks=["reference"]).verdicts
    assert (verdict.status, verdict.code) == ("skipped", "unknown_to_reference")
