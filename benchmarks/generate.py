"""How fast tsumiki writes, beside transformers, llama.cpp and onnxruntime on the same weights.

    python benchmarks/generate.py --device cuda --shape 54m --out figures/generate-h100
    python benchmarks/generate.py --device cpu --shape 12m --out figures/generate-cpu

Each section writes its JSON as soon as it is measured:

* `batch1`: one text of 256 tokens. `batch64`: 64 texts at once.
* `curve`: with and without cache, compiled and eager, after 64, 256, 1,024 and 4,096 tokens.

Shares are of the bound of the weights in bf16 on a GPU and in fp32 on a CPU, so that narrower weights may pass 100 %.
Weights are random: speed does not depend on them. Figures are medians of five, taken in turns after a warm-up, or of
fewer where a tool has taken its `--seconds` before; `turns` in the JSON says how many. Whether all write the same
greedy tokens is part of the output.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

from tsumiki.bench.bound import bandwidth, bound, cache_bytes, weight_bytes
from tsumiki.bench.ours import allocated, turns_with_cache, turns_without_cache, with_engine
from tsumiki.bench.peers import (
    installed,
    requantised,
    transformers_model,
    with_llama_cpp,
    with_onnxruntime,
    with_transformers,
)
from tsumiki.bench.speed import Write, compare
from tsumiki.data.sources import SampleSource
from tsumiki.data.tokenizer import train_tokenizer
from tsumiki.export.gguf import export_gguf
from tsumiki.generate.batch import Engine
from tsumiki.generate.decoder import Mode
from tsumiki.generate.quantise import quantised
from tsumiki.models import GPTOSS, build_model
from tsumiki.nn.attention import GroupedQueryAttention
from tsumiki.nn.feed_forward import SwiGLUFeedForward
from tsumiki.train.manifest import device_name

CONTEXT = 4608
SHAPES = {
    "12m": GPTOSS.Config(  # the preset gpt-oss-12m with a longer context
        vocab_size=8192,
        max_seq_len=CONTEXT,
        d_model=384,
        num_layers=6,
        attention=GroupedQueryAttention.Config(num_heads=6, num_kv_heads=3, head_dim=64, qk_norm=True),
        feed_forward=SwiGLUFeedForward.Config(d_ff=1024),
    ),
    "54m": GPTOSS.Config(
        vocab_size=8192,
        max_seq_len=CONTEXT,
        d_model=512,
        num_layers=16,
        attention=GroupedQueryAttention.Config(num_heads=8, num_kv_heads=8, head_dim=64),
        feed_forward=SwiGLUFeedForward.Config(d_ff=1376),
    ),
}
LENGTHS = (64, 256, 1024, 4096)
PEERS = ("torch", "transformers", "onnxruntime", "llama_cpp_python")


class Bench:
    """A model on a device, and what all sections share."""

    def __init__(self, shape: str, device: torch.device, out: Path, repeats: int, seconds: float) -> None:
        self.dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.model = build_model(SHAPES[shape], device=device, dtype=self.dtype).eval().requires_grad_(False)
        self.fast: Mode = "captured" if device.type == "cuda" else "compiled"
        self.device, self.shape, self.out = device, shape, out
        self.repeats, self.seconds = repeats, seconds
        self.bandwidth = bandwidth(device)
        self.engine = Engine(self.model, mode=self.fast)
        out.mkdir(parents=True, exist_ok=True)

    def prompts(self, rows: int, length: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(length)
        return torch.randint(0, self.model.config.vocab_size, (rows, length), generator=generator).tolist()

    def section(self, name: str, writers: Mapping[str, Write], rows: int, length: int, new_tokens: int) -> None:
        """Measure, print, and write what was measured."""
        start = perf_counter()
        speeds = compare(writers, self.prompts(rows, length), new_tokens, repeats=self.repeats, seconds=self.seconds)
        limit = bound(self.model, rows=rows, context=length + new_tokens // 2, bytes_per_second=self.bandwidth)
        reference = next(iter(speeds.values()))
        print(f"\n{name}: {rows} rows, {length} + {new_tokens} tokens, {perf_counter() - start:.0f} s to measure")
        for writer, speed in speeds.items():
            same = sum(a == b for a, b in zip(speed.tokens, reference.tokens, strict=True))
            print(
                f"  {writer:34} {speed.tokens_per_second:10,.0f} tokens/s  {speed.tokens_per_second / limit:6.1%} of "
                f"the bound  prefill {speed.prefill_seconds * 1e3:8.1f} ms  {same}/{new_tokens} tokens as the first",
                flush=True,
            )
        figures = {writer: asdict(speed) for writer, speed in speeds.items()}
        self.write(name, {"bound_tokens_per_second": limit, "speeds": figures})

    def write(self, name: str, figures: Mapping[str, Any]) -> None:
        facts = {
            "section": name,
            "shape": self.shape,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "device": device_name(self.device),
            "threads": torch.get_num_threads(),
            "dtype": str(self.dtype).removeprefix("torch."),
            "repeats": self.repeats,
            "bandwidth_bytes_per_second": self.bandwidth,
            "weight_bytes": weight_bytes(self.model),
            "cache_bytes_per_token": cache_bytes(self.model, 1, self.model.unembedding.element_size()),
            "versions": {package: version(package) for package in PEERS if installed(package.removesuffix("_python"))},
        }
        path = self.out / f"{name}.json"
        path.write_text(json.dumps({**facts, **figures}, indent=2) + "\n", encoding="utf-8")

    def batch1(self) -> None:
        writers = {f"tsumiki {self.fast}": with_engine(self.engine)}
        if installed("transformers"):
            theirs = transformers_model(self.model, self.dtype)
            writers["transformers dynamic"] = with_transformers(theirs, static=False)
            compiles = "static, compiled" if self.device.type == "cuda" else "static"
            writers[f"transformers {compiles}"] = with_transformers(theirs, static=True)
            if self.device.type == "cpu":
                half = transformers_model(self.model, torch.bfloat16)
                writers["transformers dynamic, bf16"] = with_transformers(half, static=False)
        with tempfile.TemporaryDirectory() as name:
            if self.device.type == "cpu":
                writers |= self.on_cpu(Path(name))
            self.section("batch1", writers, rows=1, length=16, new_tokens=256)

    def on_cpu(self, directory: Path) -> dict[str, Write]:
        threads = torch.get_num_threads()
        peers: dict[str, Write] = {
            "tsumiki eager": with_engine(Engine(self.model)),
            "tsumiki compiled, bf16": with_engine(Engine(quantised(self.model, "bf16"), mode=self.fast)),
            "tsumiki compiled, int8": with_engine(Engine(quantised(self.model, "int8"), mode=self.fast)),
        }
        if installed("onnxruntime"):
            peers["onnxruntime"] = with_onnxruntime(self.model, directory, threads=threads)
        if installed("llama_cpp"):
            path = directory / "model.gguf"
            sources = [SampleSource(SampleSource.Config(language=language)) for language in ("en", "ja")]
            documents = [document for source in sources for document in source.documents("train")]
            vocab_size = self.model.config.vocab_size
            export_gguf(self.model, train_tokenizer(documents, vocab_size=vocab_size, train_bytes=10**7), path)
            peers["llama.cpp f32"] = with_llama_cpp(path, context=512, threads=threads)
            for kind in ("bf16", "q8_0"):
                file = requantised(path, kind)
                peers[f"llama.cpp {kind}"] = with_llama_cpp(file, context=512, threads=threads)
        return peers

    def batch64(self) -> None:
        writers = {f"tsumiki {self.fast}": with_engine(Engine(self.model, num_rows=64, context=512, mode=self.fast))}
        if installed("transformers"):
            theirs = transformers_model(self.model, self.dtype)
            writers["transformers dynamic"] = with_transformers(theirs, static=False)
        self.section("batch64", writers, rows=64, length=16, new_tokens=256)

    def curve(self) -> None:
        """A step with and without cache at the end of growing texts. Only there, not for all tokens that lead there."""
        engines = {f"cache, {self.fast}": self.engine, "cache, eager": Engine(self.model)}
        whole = {
            "no cache, compiled": torch.compile(self.model.hidden_states, dynamic=True),
            "no cache, eager": self.model.hidden_states,
        }
        points = []
        for length in LENGTHS:
            (prompt,) = self.prompts(1, length)
            turns = {name: turns_with_cache(engine, prompt, self.repeats + 1) for name, engine in engines.items()}
            turns |= {name: turns_without_cache(step, self.model, prompt) for name, step in whole.items()}
            seconds: dict[str, list[float]] = {name: [next(turn)] for name, turn in turns.items()}
            for _ in range(self.repeats):
                for name, turn in turns.items():
                    seconds[name].append(next(turn))
            points.append(
                {
                    "length": length,
                    "bound_tokens_per_second": bound(
                        self.model, rows=1, context=length, bytes_per_second=self.bandwidth
                    ),
                    "cache_bytes_counted": cache_bytes(self.model, length, self.model.unembedding.element_size()),
                    "cache_bytes_allocated": allocated(self.model, length),
                    "tokens_per_second": {name: 1 / median(times[1:]) for name, times in seconds.items()},
                }
            )
            speeds = "  ".join(f"{name} {speed:,.1f}" for name, speed in points[-1]["tokens_per_second"].items())
            print(f"after {length} tokens, tokens/s: {speeds}", flush=True)
            self.write("curve", {"points": points})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="54m")
    parser.add_argument("--out", type=Path, required=True, help="a directory for the JSON files")
    parser.add_argument("--sections", default="batch1,batch64,curve", help="which to run, in this order")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8, help="after which a tool takes no further turn")
    arguments = parser.parse_args()
    bench = Bench(arguments.shape, torch.device(arguments.device), arguments.out, arguments.repeats, arguments.seconds)
    print(f"{arguments.shape} on {arguments.device}: {bench.bandwidth / 1e9:,.0f} GB/s read", flush=True)
    sections: dict[str, Any] = {"batch1": bench.batch1, "batch64": bench.batch64, "curve": bench.curve}
    for name in arguments.sections.split(","):
        sections[name]()


if __name__ == "__main__":
    main()
