"""The two by two, cache or none and compiled or not, after texts of growing length: what `tsumiki bench` shows."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from tsumiki.bench.bound import arithmetic, bandwidth, bound, cache_bytes, weight_bytes, what_binds
from tsumiki.bench.ours import with_engine, without_cache
from tsumiki.bench.speed import Write, compare
from tsumiki.generate.batch import Engine
from tsumiki.generate.decoder import Mode
from tsumiki.models import LanguageModel

FILE, PICTURE = "bench.json", "bench.svg"


def measure(
    model: LanguageModel,
    lengths: Sequence[int],
    *,
    rows: int,
    new_tokens: int,
    compiled: bool,
    peers: Mapping[str, Write],
    repeats: int = 5,
    progress: Callable[[str], None] = lambda what: None,
) -> dict[str, Any]:
    """The figures of a model on its device.

    Args:
        lengths: of the prompts, in tokens.
        rows: texts at once.
        compiled: measure the compiled (on an NVIDIA GPU: captured) half of the table, too.
        peers: other tools on the same weights, by name.
        progress: told what is being measured.
    """
    device = model.unembedding.device
    fast: Mode = "captured" if device.type == "cuda" else "compiled"
    context = max(lengths) + new_tokens
    engine = Engine(model, num_rows=rows, context=context)
    writers = {"cache, eager": with_engine(engine), "no cache, eager": without_cache(model, compiled=False)}
    if compiled:
        writers[f"cache, {fast}"] = with_engine(Engine(model, num_rows=rows, context=context, mode=fast))
        writers["no cache, compiled"] = without_cache(model, compiled=True)
    writers |= peers
    progress("the memory's bandwidth")
    bytes_per_second = bandwidth(device)
    operations_per_second = arithmetic(device, model.unembedding.dtype)
    weights, element = weight_bytes(model), model.unembedding.element_size()
    lines = []
    for length in lengths:
        progress(f"{length} tokens of context")
        generator = torch.Generator().manual_seed(length)
        prompts = torch.randint(0, model.config.vocab_size, (rows, length), generator=generator).tolist()
        speeds = compare(writers, prompts, new_tokens, repeats=repeats)
        middle = length + new_tokens // 2
        limit = bound(model, rows=rows, context=middle, bytes_per_second=bytes_per_second)
        best = max(speeds, key=lambda name: speeds[name].tokens_per_second if name.startswith("cache") else 0)
        lines.append(
            {
                "length": length,
                "bound_tokens_per_second": limit,
                "cache_bytes": rows * cache_bytes(model, middle, element),
                "speeds": {name: asdict(speed) for name, speed in speeds.items()},
                "binds": what_binds(
                    rows / speeds[best].tokens_per_second,
                    rows / limit,
                    2 * rows * weights / element / operations_per_second,
                ),
            }
        )
    return {
        "device": str(device),
        "threads": torch.get_num_threads(),
        "rows": rows,
        "new_tokens": new_tokens,
        "weight_bytes": weights,
        "bandwidth_bytes_per_second": bytes_per_second,
        "allocated_cache_bytes": engine.decoder.cache.num_bytes,
        "lengths": lines,
    }


def save(figures: Mapping[str, Any], directory: Path) -> None:
    """Write the figures as JSON, and as a picture."""
    from matplotlib.figure import Figure

    directory.mkdir(parents=True, exist_ok=True)
    (directory / FILE).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    lines = figures["lengths"]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    lengths = [line["length"] for line in lines]
    for name in lines[0]["speeds"]:
        axes.plot(lengths, [line["speeds"][name]["tokens_per_second"] for line in lines], marker="o", label=name)
    limits = [line["bound_tokens_per_second"] for line in lines]
    axes.plot(lengths, limits, color="black", linestyle="--", label="what memory allows")
    axes.set(xscale="log", yscale="log", xlabel="tokens of context", ylabel="tokens a second")
    axes.legend(fontsize="small")
    figure.savefig(directory / PICTURE)
