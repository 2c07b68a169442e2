"""`tsumiki tokenizer`: make a tokenizer without training a model, and see how well it suits its text."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument

app = typer.Typer(help="Make a tokenizer, and see how well it suits its text.", no_args_is_help=True)

Config = Annotated[str, Argument(help="A preset's name or a YAML file: its tokenizer and data are used.")]
Changes = Annotated[list[str] | None, Argument(help="Changes such as tokenizer.vocab_size=4096.")]


@app.command()
def train(
    config: Config,
    output: Annotated[Path, Argument(help="The tokenizer.json to write.")],
    changes: Changes = None,
) -> None:
    """Make a configuration's tokenizer from its data, and save it."""
    from tsumiki.config import load
    from tsumiki.data import SOURCES, TOKENIZERS
    from tsumiki.train import RunConfig

    run = load(config, RunConfig, changes or ())
    sources = [SOURCES[source.kind](source) for source in run.data.sources]
    tokenizer = TOKENIZERS[run.tokenizer.kind](run.tokenizer).build(sources)
    tokenizer.save(output)
    print(f"{output}: {tokenizer.vocab_size:,} tokens, SHA-256 {tokenizer.sha256}")


@app.command()
def report(config: Config, changes: Changes = None) -> None:
    """Show how a configuration's tokenizer does on its data, by language."""
    from tsumiki.config import load
    from tsumiki.data import prepare
    from tsumiki.train import RunConfig

    run = load(config, RunConfig, changes or ())
    figures = prepare(run.data, run.tokenizer).manifest["tokenizer"]
    print(f"{figures['vocab_size']:,} tokens, of which")
    print(f"  {figures['unused_tokens']:>9,} never occur in the training text")
    print(f"  {figures['rare_tokens']:>9,} occur there fewer than 100 times")
    print(f"  {figures['partial_tokens']:>9,} are only part of a character")
    print()
    print("held-out text   documents   bytes/token   characters/token   tokens/document   partial tokens")
    for language, measured in figures["languages"].items():
        print(
            f"{language:16}{measured['documents']:9,}{measured['bytes_per_token']:14.2f}"
            f"{measured['characters_per_token']:19.2f}{measured['tokens_per_document']:18.1f}"
            f"{measured['partial_share']:17.1%}"
        )
    print()
    print(f"All {figures['round_trip_documents']:,} held-out documents came back byte for byte.")
