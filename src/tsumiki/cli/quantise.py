"""`tsumiki quantise`: a trained model with its weights in fewer bits, and what that costs."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option


def quantise(
    run: Annotated[Path, Argument(help="A run's or a checkpoint's directory.")],
    stored: Annotated[Literal["int8", "bf16"], Option("--to", help="What the matrices are stored in.")] = "int8",
    output: Annotated[
        Path | None, Option("--output", "-o", help="A new directory; exports/NAME-int8 if left out.")
    ] = None,
    data: Annotated[str | None, Option(help="Held-out text to use in place of the run's own: en=FILE,ja=FILE.")] = None,
    max_bytes: Annotated[int, Option(help="Bytes of each held-out source to read; 0 for all.")] = 200_000,
) -> None:
    """Store a model's weights in fewer bits, and measure what it loses."""
    from tsumiki.cli.evaluate import texts
    from tsumiki.cli.exchange import check_is_new
    from tsumiki.data import ValidationSet
    from tsumiki.evaluate.bits_per_byte import bits_per_byte
    from tsumiki.generate import load
    from tsumiki.generate.quantise import num_bytes, quantised, save_quantised
    from tsumiki.models.artefact import WEIGHTS

    output = output or Path("exports") / f"{run.resolve().name}-{stored}"
    check_is_new(output)
    text_model = load(run, device="cpu")
    model, tokenizer = text_model.model, text_model.tokenizer
    small = quantised(model, stored)
    held_out = texts(text_model.checkpoint, data=data).packed(tokenizer)
    output.mkdir(parents=True, exist_ok=True)
    save_quantised(small, stored, output)
    tokenizer.save(output / "tokenizer.json")

    sizes = [(path / WEIGHTS).stat().st_size for path in (text_model.checkpoint, output)]
    print(row("", "as trained", stored))
    print(row("on disk, MB", *(f"{size / 1e6:.2f}" for size in sizes)))
    print(row("in memory, MB", *(f"{num_bytes(each) / 1e6:.2f}" for each in (model, small))))
    for source in held_out:
        validation = ValidationSet(source, seq_len=model.config.max_seq_len, max_bytes=max_bytes or None)
        losses = [bits_per_byte(each, validation).bits_per_byte for each in (model, small)]
        print(row(f"bits per byte, {source.name}", *(f"{loss:.5f}" for loss in losses)))
    print(f"{output}: try it with tsumiki generate {output}")


def row(name: str, *values: str) -> str:
    """A line of the table."""
    return f"{name:36}" + "".join(f"{value:>14}" for value in values)
