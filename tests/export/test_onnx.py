"""Exported graphs compute the same in onnxruntime, in one step and in many."""

import numpy as np
import onnxruntime
import pytest
import torch

from export.conftest import CONFIGS, GREEDY, VOCAB_SIZE, random_model
from tsumiki.errors import UserError
from tsumiki.export.onnx import export_onnx


class Runner:
    """What a user of the file writes: hand in what came out."""

    def __init__(self, path, config, batch_size: int) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.positions = np.zeros((batch_size, 0), dtype=np.int64)
        kinds = [f"{kind}.{layer}" for layer in range(config.num_layers) for kind in ("keys", "values")]
        empty = np.zeros((batch_size, 0, config.attention.num_kv_heads, config.attention.head_dim), dtype=np.float32)
        self.past = dict.fromkeys(kinds, empty)

    def step(self, ids: np.ndarray, positions: np.ndarray) -> np.ndarray:
        past = {f"past_{kind}": tensor for kind, tensor in self.past.items()}
        inputs = {"ids": ids, "positions": positions, "past_positions": self.positions, **past}
        logits, *present = self.session.run(["logits", *self.past], inputs)
        self.past = dict(zip(self.past, present, strict=True))
        self.positions = np.concatenate([self.positions, positions], axis=1)
        return logits


@pytest.fixture(scope="module", params=GREEDY)
def exported(request, tmp_path_factory):
    model = random_model(request.param, num_layers=GREEDY[request.param]["num_layers"])
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_onnx(model, path)
    return model, path, GREEDY[request.param]


def test_prefill_and_steps_give_the_models_logits(exported) -> None:
    model, path, _ = exported
    ids = torch.randint(0, VOCAB_SIZE, (3, 31), generator=torch.Generator().manual_seed(3))
    positions = torch.arange(31).expand(3, -1)
    with torch.no_grad():
        expected = model(ids)
    for chunks in ([31], [17, 1, 1, 12]):
        runner = Runner(path, model.config, batch_size=3)
        parts = zip(ids.split(chunks, dim=1), positions.split(chunks, dim=1), strict=True)
        found = np.concatenate([runner.step(some.numpy(), at.numpy()) for some, at in parts], axis=1)
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-4)


def test_padding_on_the_left(exported) -> None:
    model, path, _ = exported
    ids = torch.randint(0, VOCAB_SIZE, (1, 9), generator=torch.Generator().manual_seed(4))
    padded = torch.cat([torch.zeros(1, 4, dtype=torch.int64), ids], dim=1).numpy()
    found = Runner(path, model.config, batch_size=1).step(padded, np.maximum(np.arange(-4, 9), -1)[None])
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found[:, 4:]), model(ids), rtol=0, atol=1e-4)


def test_greedy_text_is_the_expected_one(exported) -> None:
    model, path, golden = exported
    runner, text, read = Runner(path, model.config, batch_size=1), list(golden["prompt"]), 0
    for _ in range(64):
        new = np.array([text[read:]])
        logits = runner.step(new, np.arange(read, len(text))[None])
        read = len(text)
        text.append(int(logits[0, -1].argmax()))
    assert text == golden["prompt"] + golden["tokens"]


def test_a_mixture_is_refused(tmp_path) -> None:
    assert "gpt_oss-moe" in CONFIGS
    with pytest.raises(UserError, match="A mixture of experts cannot be exported to ONNX"):
        export_onnx(random_model("gpt_oss-moe"), tmp_path / "model.onnx")
