"""`tsumiki bench`: how fast a model writes, beside what memory allows and beside other tools."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from tsumiki.cli.terminal import show
from tsumiki.errors import UserError

if TYPE_CHECKING:
    from tsumiki.bench.speed import Write
    from tsumiki.data import Tokenizer
    from tsumiki.models import LanguageModel


def bench(
    model: Annotated[str, Argument(help="A run's directory, or a preset, which is measured with random weights.")],
    lengths: Annotated[str, Option(help="Tokens of context to measure at; those that fit the model.")] = "64,256,1024",
    rows: Annotated[int, Option(help="Texts that are written at once.")] = 1,
    max_tokens: Annotated[int, Option(help="Tokens to write at each length.")] = 64,
    compiled: Annotated[
        bool, Option("--compiled/--eager", help="Measure compiled steps, too; on a CPU it takes a minute to make them.")
    ] = True,
    peers: Annotated[bool, Option("--peers/--no-peers", help="Measure the other tools that are installed.")] = True,
    output: Annotated[Path | None, Option("--output", "-o", help="A directory for figures and picture.")] = None,
    device: Annotated[str | None, Option(help="Such as cpu or cuda; the GPU if there is one.")] = None,
) -> None:
    """Measure how fast a model writes."""
    from tsumiki.bench import grid

    language_model, tokenizer = model_for(model, device)
    context = language_model.config.max_seq_len
    try:
        wanted = [int(length) for length in lengths.split(",")]
    except ValueError as error:
        raise UserError(f"--lengths is '{lengths}', but must be numbers with commas between: 64,256.") from error
    fitting = [length for length in wanted if 0 < length <= context - max_tokens]
    if not fitting or max_tokens < 2 or rows < 1:
        raise UserError(
            f"Nothing can be measured: the model's context of {context} tokens must hold a length and --max-tokens, "
            "of which there must be 2 or more, and --rows must be 1 or more."
        )
    with tempfile.TemporaryDirectory() as name:
        others = other_tools(language_model, tokenizer, Path(name)) if peers else {}
        figures = grid.measure(
            language_model,
            fitting,
            rows=rows,
            new_tokens=max_tokens,
            compiled=compiled,
            peers=others,
            progress=lambda what: show(f"measuring {what}"),
        )
    show("")
    print(
        f"{figures['device']}, {rows} at once: {figures['weight_bytes'] / 1e6:.1f} MB of weights a step, "
        f"{figures['bandwidth_bytes_per_second'] / 1e9:,.1f} GB/s read, "
        f"{figures['allocated_cache_bytes'] / 1e6:.1f} MB allocated for keys and values"
    )
    for line in figures["lengths"]:
        limit = line["bound_tokens_per_second"]
        print(f"\nafter {line['length']} tokens ({line['cache_bytes'] / 1e6:.1f} MB of keys and values in use)")
        for writer, speed in line["speeds"].items():
            print(
                f"  {writer:28}{speed['tokens_per_second']:12,.0f} tokens/s {speed['tokens_per_second'] / limit:7.1%} "
                f"of the bound   prefill {speed['prefill_seconds'] * 1e3:8.1f} ms"
            )
        print(f"  {'bound':28}{limit:12,.0f} tokens/s")
        print(f"  {line['binds']}")
    if output is not None:
        grid.save(figures, output)
        print(f"\n{output / grid.FILE} and {output / grid.PICTURE}")


def model_for(name: str, device: str | None) -> "tuple[LanguageModel, Tokenizer | None]":
    """A run's model with its tokenizer, or a preset's with random weights and none."""
    from tsumiki.config import load as load_config
    from tsumiki.generate import load
    from tsumiki.generate.load import choose_device
    from tsumiki.generate.released import find_released
    from tsumiki.models import build_model
    from tsumiki.train import RunConfig

    if Path(name).is_dir() or find_released(name):
        text_model = load(name, device=device)
        return text_model.model, text_model.tokenizer
    config = load_config(name, RunConfig)
    return build_model(config.model, device=choose_device(device)).eval().requires_grad_(False), None


def other_tools(model: "LanguageModel", tokenizer: "Tokenizer | None", directory: Path) -> "dict[str, Write]":
    """The peers that are installed and can express the model."""
    import torch

    from tsumiki.bench import peers
    from tsumiki.export.gguf import export_gguf

    found: dict[str, Write] = {}
    threads, on_cpu = torch.get_num_threads(), model.unembedding.device.type == "cpu"
    try:
        if peers.installed("transformers"):
            theirs = peers.transformers_model(model, model.unembedding.dtype)
            found["transformers, dynamic cache"] = peers.with_transformers(theirs, static=False)
            found["transformers, static cache"] = peers.with_transformers(theirs, static=True)
        if on_cpu and peers.installed("onnxruntime") and peers.installed("onnxscript"):
            found["onnxruntime"] = peers.with_onnxruntime(model, directory, threads=threads)
        if on_cpu and tokenizer is not None and peers.installed("llama_cpp") and peers.installed("gguf"):
            export_gguf(model, tokenizer, directory / "model.gguf")
            context = model.config.max_seq_len
            found["llama.cpp"] = peers.with_llama_cpp(directory / "model.gguf", context=context, threads=threads)
    except UserError as reason:
        print(f"Some tools are left out: {reason}")
    return found
