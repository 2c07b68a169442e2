"""`tsumiki export` and `tsumiki import`: models out to other tools, and in from transformers."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from tsumiki.errors import UserError

TRANSFORMERS = "hf:"


def export(
    run: Annotated[Path, Argument(help="A run's or a checkpoint's directory.")],
    to: Annotated[Literal["hf", "gguf", "onnx"], Option(help="For transformers, llama.cpp or onnxruntime.")],
    output: Annotated[
        Path | None, Option("--output", "-o", help="A new directory; exports/NAME-FORMAT if left out.")
    ] = None,
) -> None:
    """Write a trained model for another tool."""
    from tsumiki.export.gguf import export_gguf
    from tsumiki.export.hf import export_hf
    from tsumiki.export.onnx import export_onnx
    from tsumiki.generate import load

    text_model = load(run, device="cpu")
    model, tokenizer = text_model.model, text_model.tokenizer
    output = output or Path("exports") / f"{run.resolve().name}-{to}"
    check_is_new(output)
    match to:
        case "hf":
            name = export_hf(model, tokenizer, output)
            print(f'{output}: a {name}; load it with AutoModelForCausalLM.from_pretrained("{output}")')
        case "gguf":
            export_gguf(model, tokenizer, output / "model.gguf")
            print(f"{output / 'model.gguf'}: run it with llama-cli -m {output / 'model.gguf'}")
        case "onnx":
            export_onnx(model, output / "model.onnx")
            tokenizer.save(output / "tokenizer.json")
            print(f"{output / 'model.onnx'}: run it with onnxruntime; the keys and values are inputs and outputs")


def import_model(
    source: Annotated[str, Argument(help="hf:DIR, a directory that transformers has saved.")],
    output: Annotated[Path, Argument(help="The new directory, which generate and export take.")],
) -> None:
    """Read a model that transformers has saved: GPT-2, GPT-OSS, Llama or Qwen3."""
    from tsumiki.export.hf import import_hf
    from tsumiki.models import plan, save_model

    if not source.startswith(TRANSFORMERS):
        raise UserError(f"'{source}' cannot be imported; name a directory of transformers as hf:DIR.")
    check_is_new(output)
    model, tokenizer = import_hf(Path(source.removeprefix(TRANSFORMERS)))
    output.mkdir(parents=True, exist_ok=True)
    save_model(model, output)
    tokenizer.save(output / "tokenizer.json")
    print(f"{output}: {plan(model.config).total:,} parameters; try it with tsumiki generate {output}")


def check_is_new(directory: Path) -> None:
    """Refuse to write into a directory that holds something."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"'{directory}' is there already; name a new directory with --output, or delete it.")
