import dataclasses
from pathlib import Path

import pytest
import torch

from tsumiki.data import Document
from tsumiki.data.tokenizer import Tokenizer, train_tokenizer
from tsumiki.models import GPT2, GPTOSS, LanguageModel, build_model, save_model
from tsumiki.models.language_model import DecoderConfig
from tsumiki.nn.attention import GatedAttention, GroupedQueryAttention
from tsumiki.nn.feed_forward import GeluFeedForward, SwiGLUFeedForward

VOCAB_SIZE = 61
CONTEXT = 29
CONFIGS: dict[str, DecoderConfig] = {
    "gpt2": GPT2.Config(
        vocab_size=VOCAB_SIZE,
        max_seq_len=CONTEXT,
        d_model=22,
        num_layers=2,
        attention=GroupedQueryAttention.Config(num_heads=2, num_kv_heads=2, head_dim=11, bias=True),
        feed_forward=GeluFeedForward.Config(d_ff=37),
    ),
    "gpt_oss": GPTOSS.Config(
        vocab_size=VOCAB_SIZE,
        max_seq_len=CONTEXT,
        d_model=26,
        num_layers=3,
        attention=GatedAttention.Config(num_heads=3, num_kv_heads=1, head_dim=10, sinks=True),
        feed_forward=SwiGLUFeedForward.Config(d_ff=41),
        sliding_window=5,
    ),
}


def toy_model(config: DecoderConfig) -> LanguageModel:
    """Weights large enough that the next token depends on the text, and greedy text does not repeat one token."""
    model = build_model(config, seed=11).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(20)
    return model


@pytest.fixture(params=sorted(CONFIGS))
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return toy_model(CONFIGS[request.param])


@pytest.fixture(scope="session")
def small_tokenizer() -> Tokenizer:
    text = "Once upon a time there was a frog. むかしむかし、小さなカエルがいました。" * 9
    return train_tokenizer(
        [Document(text=text, language="en", source="toy", key="0")], vocab_size=263, train_bytes=10**4
    )


@pytest.fixture
def run(tmp_path: Path, small_tokenizer: Tokenizer) -> Path:
    """A run's directory with three checkpoints, as training leaves them; the middle one is the best."""
    run = tmp_path / "runs" / "toy"
    model = toy_model(dataclasses.replace(CONFIGS["gpt_oss"], vocab_size=small_tokenizer.vocab_size))
    for step, loss in ((10, 3.5), (20, 2.5), (30, 3.0)):
        checkpoint = run / "checkpoints" / f"step-{step:06d}"
        checkpoint.mkdir(parents=True)
        save_model(model, checkpoint)
        small_tokenizer.save(checkpoint / "tokenizer.json")
        (checkpoint / "evaluation.json").write_text(f'{{"loss": {loss}}}', encoding="utf-8")
    return run
