"""The command line. Each command imports what it needs when it runs, so that `tsumiki --help` answers at once."""

import typer

import tsumiki
from tsumiki.cli import (
    bench,
    compare,
    demo,
    doctor,
    evaluate,
    exchange,
    generate,
    harness,
    inspect,
    plan,
    publish,
    quantise,
    release,
    report,
    tokenizer,
    train,
)
from tsumiki.cli.terminal import Commands, use_utf8

app = typer.Typer(
    cls=Commands,
    help="Build small language models block by block, verify that they are trained correctly, and use them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tsumiki {tsumiki.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and end."
    ),
) -> None:
    pass


app.command()(demo.demo)
app.command()(plan.presets)
app.command()(plan.plan)
app.command()(train.train)
app.command()(doctor.doctor)
app.command()(report.report)
app.command()(generate.generate)
app.command()(evaluate.evaluate)
app.command()(inspect.inspect)
app.command()(compare.compare)
app.command()(harness.eval_harness)
app.command()(exchange.export)
app.command()(publish.publish)
app.command()(release.release)
app.command()(quantise.quantise)
app.command()(bench.bench)
app.command("import")(exchange.import_model)
app.add_typer(tokenizer.app, name="tokenizer")


def main() -> None:
    """Run the command line: the entry point of `tsumiki`."""
    use_utf8()
    app()
