"""`benchmarks/train.py`: every part runs on a CPU, with tiny sizes, and writes what it measured."""

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tsumiki.config import dump_yaml, parse
from tsumiki.train import RunConfig
from tsumiki.train.capture import Captured
from tsumiki.train.config import TrainConfig

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "train.py"
TINY = ["--device", "cpu", "--eager", "--warm-up", "1", "--windows", "5", "--window-steps", "2", "--batch", "3"]
SHAPE = ["--shape", "layers=2,d_model=20,heads=2,vocab=101,context=37"]
NANOGPT = """
from dataclasses import dataclass
import torch

@dataclass
class GPTConfig:
    block_size: int
    vocab_size: int
    n_layer: int
    n_head: int
    n_embd: int
    dropout: float
    bias: bool

class GPT(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.wpe = torch.nn.Embedding(config.block_size, config.n_embd)
        self.head = torch.nn.Linear(config.n_embd, config.vocab_size, bias=config.bias)

    def forward(self, ids, targets):
        logits = self.head(self.wpe.weight[: ids.shape[1]]).expand(len(ids), -1, -1)
        return logits, torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def configure_optimizers(self, weight_decay, learning_rate, betas, device_type):
        return torch.optim.AdamW(self.parameters(), lr=learning_rate, betas=betas, weight_decay=weight_decay)
"""


@pytest.fixture(scope="module")
def benchmark() -> Any:
    found = importlib.util.spec_from_file_location("benchmarks_train", SCRIPT)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["benchmarks_train"] = module
    found.loader.exec_module(module)
    return module


@pytest.fixture
def main(benchmark: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """The command; what it sets for its whole process is set back."""
    precision = torch.get_float32_matmul_precision()
    monkeypatch.setattr(benchmark, "matmul_rate", lambda device: 1e9)
    yield benchmark.main
    torch.set_float32_matmul_precision(precision)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def test_we_and_the_peers_take_turns(main: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(NANOGPT, encoding="utf-8")
    peers = ["--peer", f"nanogpt={tmp_path}", "--peer", "transformers"]
    ours = ["--family", "gpt_oss,gpt2", "--documents", "without,with", "--optimizer", "fused_adamw,muon"]
    main([*TINY, *SHAPE, *ours, *peers, "--out", str(tmp_path / "out")])
    facts = read(tmp_path / "out" / "throughput.json")
    assert len(facts["speeds"]) == 2 * 2 * 2 + 2
    assert facts["speeds"]["nanoGPT"]["parameters"] == 101 * 20
    assert len(facts["peers"]["nanogpt"]["model.py"]) == 64
    for speed in facts["speeds"].values():
        assert len(speed["windows"]) == 5
        assert speed["tokens_per_second"] == sorted(speed["windows"])[2] > 0
        assert speed["flops_per_token"] == 6 * speed["parameters"] + 6 * 2 * 37 * 20
        assert speed["share_of_matmul"] == pytest.approx(speed["flops_per_second"] / 1e9)


def test_each_point_of_growth_is_written_and_plotted(main: Callable[..., None], tmp_path: Path) -> None:
    axes = "context=11:37,parameters=1x32:2x64,batch=2"
    main([*TINY, *SHAPE, "--family", "gpt2", "--grow", axes, "--out", str(tmp_path)])
    points = read(tmp_path / "grow.json")["points"]
    assert [(point["axis"], point["at"]) for point in points] == [
        ("context", "11"),
        ("context", "37"),
        ("parameters", "1x32"),
        ("parameters", "2x64"),
        ("batch", "2"),
    ]
    assert [point["shape"]["batch"] for point in points] == [10, 3, 3, 3, 2]
    assert (tmp_path / "grow.png").stat().st_size > 10_000


def test_a_configuration_is_trained_with_every_seed(main: Callable[..., None], tmp_path: Path) -> None:
    mapping = {
        "name": "tiny",
        "model": {
            "family": "gpt2",
            "vocab_size": 300,
            "max_seq_len": 64,
            "d_model": 8,
            "num_layers": 1,
            "attention": {"variant": "grouped_query", "num_heads": 2, "num_kv_heads": 1, "head_dim": 4},
            "feed_forward": {"variant": "gelu", "d_ff": 13},
        },
        "tokenizer": {"kind": "train", "vocab_size": 300, "train_bytes": 50_000},
        "data": {
            "cache": str(tmp_path / "cache"),
            "sources": [{"kind": "sample", "language": language} for language in ("en", "ja")],
        },
        "train": {
            "steps": 4,
            "batch_size": 2,
            "seq_len": 64,
            "optimizer": {"kind": "adamw", "learning_rate": 0.001},
            "schedule": {"kind": "wsd", "warmup_steps": 1, "cooldown_fraction": 0.0},
            "evaluate_max_bytes": 500,
            "samples": {"max_tokens": 2},
            "tensorboard": False,
        },
    }
    config = tmp_path / "tiny.yaml"
    config.write_text(dump_yaml(parse(mapping, RunConfig, where="test")), encoding="utf-8")
    command = ["--time-to", "en=99,ja=0.1", str(config), "--seeds", "5,6", "--change", "train.steps=3"]
    main([*TINY, *command, "--out", str(tmp_path)])
    runs = read(tmp_path / "time-to.json")["runs"]
    assert [(run["seed"], run["steps"], run["tokens"], run["reached"]) for run in runs] == [
        (5, 3, 3 * 2 * 64, False),
        (6, 3, 3 * 2 * 64, False),
    ]
    assert runs[0]["bits_per_byte"]["en"] != runs[1]["bits_per_byte"]["en"]
    assert runs[0]["validation_bytes"] == {"en": 40026, "ja": 50736}
    assert 0 < runs[0]["seconds"] < 60


@pytest.mark.parametrize("documents", [True, False])
def test_the_document_mask_is_left_out_where_it_should_be(benchmark: Any, documents: bool) -> None:
    setting = benchmark.Setting(torch.device("cpu"), "fp32", False, 0, 1, 5, 1, 1e9)
    shape = benchmark.Shape(layers=1, d_model=20, heads=2, vocab=101, context=700, batch=2)
    contender = benchmark.tsumiki(shape, setting, "gpt_oss", "fused_adamw", documents=documents)
    training = contender.step.__self__
    with contender.held, torch.no_grad():
        assert isinstance(training.config, TrainConfig)
        rows = training.batches.next().rows
        assert (rows.documents != rows.documents[:, :1]).any()
        told, untold = (
            training.loss(rows.ids, rows.targets, documents=each)[0].item()
            for each in (rows.documents, torch.zeros_like(rows.documents))
        )
    assert (told != untold) == documents


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["fused_adamw", "muon"])
@pytest.mark.parametrize("documents", [True, False])
def test_on_a_gpu_the_step_is_recorded(benchmark: Any, documents: bool, optimizer: str) -> None:
    setting = benchmark.Setting(torch.device("cuda"), "bf16", True, 0, 5, 5, 5, 1e15)
    shape = benchmark.Shape(layers=2, d_model=64, heads=2, vocab=512, context=256, batch=8)

    def build() -> Any:
        contender = benchmark.tsumiki(shape, setting, "gpt_oss", optimizer, documents=documents)
        assert isinstance(contender.step.__self__.compute, Captured)
        return contender

    (speed,) = benchmark.measure([build], shape, setting).values()
    assert speed.memory_bytes > 16 * speed.parameters


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shape", "width=3"], "--shape width=3 is none"),
        (["--shape", "d_model=30,heads=4"], "d_model is 30, but must be a multiple of 2 x 4 heads"),
        (["--peer", "nobody"], "--peer nobody is none"),
        (["--peer", "nanogpt=nowhere"], "'nowhere/model.py' does not exist"),
        (["--grow", "width"], "--grow width is no axis"),
        (["--windows", "3"], "a median needs 5 or more"),
    ],
)
def test_mistakes_are_told(main: Callable[..., None], tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        main([*TINY, *SHAPE, "--family", "gpt2", *words, "--out", str(tmp_path)])
