"""Does it learn what can be learnt, and nothing else?"""

import math
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from tsumiki.config import parse
from tsumiki.data import ValidationSet, prepare
from tsumiki.models import ModelConfig, build_model
from tsumiki.nn.loss import IGNORE
from tsumiki.train import RunConfig, train
from tsumiki.train.loop import accumulate_gradients
from tsumiki.train.optimizer import AdamW, clip_gradients

MODEL = {
    "family": "gpt_oss",
    "vocab_size": 400,
    "max_seq_len": 64,
    "d_model": 48,
    "num_layers": 2,
    "attention": {"variant": "grouped_query", "num_heads": 3, "num_kv_heads": 1, "head_dim": 16, "qk_norm": True},
    "feed_forward": {"variant": "swiglu", "d_ff": 96},
}


def test_a_tiny_model_learns_the_sample_stories(tmp_path: Path) -> None:
    """150 steps, a few seconds: well below what the frequencies of a language's tokens tell, well above a leak."""
    mapping = {
        "name": "learning",
        "model": MODEL,
        "tokenizer": {"kind": "train", "vocab_size": 400, "train_bytes": 100_000},
        "data": {"cache": str(tmp_path), "sources": [{"kind": "sample", "language": name} for name in ("en", "ja")]},
        "train": {
            "steps": 150,
            "batch_size": 16,
            "seq_len": 64,
            "optimizer": {"kind": "adamw", "learning_rate": 0.01},
            "schedule": {"kind": "wsd", "warmup_steps": 10},
            "evaluate_every": 150,
            "evaluate_max_bytes": 10_000,
            "samples": {"prompts": []},
            "tensorboard": False,
        },
    }
    config = parse(mapping, RunConfig, where="test")
    result = train(config, tmp_path / "run", skip_doctor=True, device="cpu")
    frequencies = bits_per_byte_of_frequencies(config)
    for language in ("en", "ja"):
        assert 0.5 < result.evaluation["bits_per_byte"][language] / frequencies[language] < 0.9, language


def bits_per_byte_of_frequencies(config: RunConfig) -> dict[str, float]:
    """Bits per byte of a model that knows of each language how often each token occurs in its training text."""
    data = prepare(config.data, config.tokenizer)
    results = {}
    for train_part, held_out in zip(data.train, data.validation, strict=True):
        counts = train_part.token_counts(400) + 1
        bits = -np.log2(counts / counts.sum())
        validation = ValidationSet(held_out, seq_len=64, max_bytes=10_000)
        targets = torch.cat([batch.targets.flatten() for batch in validation])
        text = targets[(targets != IGNORE) & (targets != data.tokenizer.end_of_text_id)]
        results[held_out.language] = bits[text.numpy()].sum() / validation.num_bytes
    return results


@pytest.mark.parametrize("leaks", [False, True])
def test_nobody_can_predict_random_tokens(leaks: bool) -> None:
    """On uniform noise no model gets below ln V, but one that sees its targets does, and at once."""
    vocab_size, losses = 50, []
    config = parse({**MODEL, "vocab_size": vocab_size}, ModelConfig, where="test")  # pyright: ignore[reportArgumentType]
    model = build_model(config)
    optimizer = AdamW(AdamW.Config(learning_rate=0.003), model.named_parameters())
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        tokens = torch.randint(vocab_size, (32, 34), generator=generator)
        ids, targets = (tokens[:, 1:], tokens[:, 1:]) if leaks else (tokens[:, :-1], tokens[:, 1:])
        optimizer.zero_grad()
        loss = accumulate_gradients(
            model.loss, (ids, targets, torch.zeros_like(ids)), targets.numel(), len(ids), nullcontext()
        )
        clip_gradients(model.parameters(), 1.0)
        optimizer.step(1.0)
        losses.append(loss.item())
    late = np.mean(losses[-20:])
    # 20 fresh batches of 1,056 targets: their mean is known to about 0.003 nats
    assert late < math.log(vocab_size) - 1 if leaks else late > math.log(vocab_size) - 0.01
