from pathlib import Path
from typing import Any

import pytest
import torch

from tsumiki.config import parse
from tsumiki.data import Document, Tokenizer
from tsumiki.data.tokenizer import train_tokenizer
from tsumiki.kernels import BackendConfig
from tsumiki.models import GPT2, LanguageModel, ModelConfig, build_model, save_model
from tsumiki.nn.attention import GroupedQueryAttention
from tsumiki.nn.feed_forward import GeluFeedForward

VOCAB_SIZE = 263
BASE: dict[str, Any] = {"vocab_size": VOCAB_SIZE, "max_seq_len": 67, "d_model": 24, "num_layers": 3}
GROUPED = {"variant": "grouped_query", "num_heads": 4, "num_kv_heads": 2, "head_dim": 6}
SWIGLU = {"variant": "swiglu", "d_ff": 29}
CASES: dict[str, dict[str, Any]] = {
    "gpt2": {"family": "gpt2", "attention": {**GROUPED, "bias": True}, "feed_forward": {"variant": "gelu", "d_ff": 31}},
    "plain": {"family": "gpt_oss", "attention": GROUPED, "feed_forward": SWIGLU},
    "sinks": {
        "family": "gpt_oss",
        "sliding_window": 5,
        "attention": {**GROUPED, "sinks": True, "qk_norm": True},
        "feed_forward": SWIGLU,
    },
    "gated": {"family": "gpt_oss", "attention": {**GROUPED, "variant": "gated"}, "feed_forward": SWIGLU},
    "headwise": {
        "family": "gpt_oss",
        "attention": {**GROUPED, "variant": "gated", "gate": "headwise", "gate_input": "none"},
        "feed_forward": SWIGLU,
    },
    "moe": {
        "family": "gpt_oss",
        "attention": GROUPED,
        "feed_forward": {"variant": "moe", "d_ff": 11, "num_experts": 5, "experts_per_token": 2},
    },
}


def build(case: str, *, backend: str = "sdpa", seed: int = 3) -> LanguageModel:
    """A model whose random weights are large enough that attention is far from even."""
    config: Any = parse({**BASE, **CASES[case], "init_std": 0.3}, ModelConfig, where="test")  # pyright: ignore[reportArgumentType]
    model = build_model(config, backend=BackendConfig(attention=backend), seed=seed).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("sinks"):
                parameter.copy_(torch.linspace(-1, 2, len(parameter)))
    return model


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    text = "Once upon a time there was a frog. むかしむかし、小さなカエルがいました。" * 9
    document = Document(text=text, language="en", source="toy", key="0")
    return train_tokenizer([document], vocab_size=VOCAB_SIZE, train_bytes=10**4)


@pytest.fixture(scope="session")
def induction_model() -> LanguageModel:
    """GPT-2 with weights set by hand, which repeats what it has seen.

    The stream has three parts: the token (one of 11), its position (one of 21), and, written by the first block, the
    token before. Block 1 reads the position p - 1 and copies its token into the third part. Block 2 looks for a place
    whose token before is the present token, and adds what stands there to the first part, ten times as strong. In every
    LayerNorm the stream has a known number of ones, so its bias can take the mean away that it takes away.
    """
    tokens, positions = 11, 21
    width = 2 * tokens + positions
    config = GPT2.Config(
        vocab_size=tokens,
        max_seq_len=positions,
        d_model=width,
        num_layers=2,
        attention=GroupedQueryAttention.Config(num_heads=1, num_kv_heads=1, head_dim=positions, bias=True),
        feed_forward=GeluFeedForward.Config(d_ff=3),
    )
    model = build_model(config).eval()
    sharp, loud = 1e4, 10.0
    weights = dict(model.named_parameters())
    here, place, before = slice(0, tokens), slice(tokens, tokens + positions), slice(tokens + positions, width)
    with torch.no_grad():
        for parameter in weights.values():
            parameter.zero_()
        weights["embedding.weight"][:, here] = torch.eye(tokens)
        weights["position.weight"][:, place] = torch.eye(positions)
        for layer, (ones, query, key, target, strength) in enumerate(
            [(2, place, place, before, 1.0), (3, here, before, here, loud)]
        ):
            mean = ones / width
            scale = (mean - mean**2 + config.norm_eps) ** 0.5
            part = {name: weights[f"layers.{layer}.attention.{name}_proj.weight"] for name in "qkvo"}
            weights[f"layers.{layer}.attention_norm.weight"].fill_(1)
            weights[f"layers.{layer}.attention_norm.bias"].fill_(mean / scale)
            size = query.stop - query.start
            part["q"][:size, query] = sharp * torch.eye(size)
            part["k"][:size, key] = torch.eye(size)
            part["v"][:tokens, here] = scale * torch.eye(tokens)
            part["o"][target, :tokens] = strength * torch.eye(tokens)
        # Block 1 asks for the position before its own.
        weights["layers.0.attention.q_proj.weight"].copy_(weights["layers.0.attention.q_proj.weight"].roll(-1, dims=0))
        weights["layers.0.attention.q_proj.weight"][-1].zero_()
        weights["norm.weight"].fill_(1)
    return model


@pytest.fixture(scope="session")
def run(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two checkpoints."""
    run_dir = tmp_path_factory.mktemp("inspect") / "run"
    for step, seed in ((10, 1), (200, 2)):
        checkpoint = run_dir / f"checkpoints/step-{step:06d}"
        checkpoint.mkdir(parents=True)
        save_model(build("sinks", seed=seed), checkpoint)
        tokenizer.save(checkpoint / "tokenizer.json")
    return run_dir
