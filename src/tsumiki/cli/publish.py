"""`tsumiki publish`: a trained run as a folder for the Hugging Face hub."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def publish(
    run: Annotated[Path, Argument(help="A run's directory; its best checkpoint is taken.")],
    to: Annotated[str, Option(help="The name on the hub: user/model.")],
    push: Annotated[bool, Option("--push/--dry-run", help="Push it, or only write the folder.")] = False,
    licence: Annotated[str | None, Option(help="Of the weights, as the hub calls it, such as mit.")] = None,
    output: Annotated[
        Path | None, Option("--output", "-o", help="A new directory; exports/NAME-hub if left out.")
    ] = None,
) -> None:
    """Write the folder of a model for the Hugging Face hub, with its card, and push it if asked to."""
    from tsumiki.cli.exchange import check_is_new
    from tsumiki.export.publish import check_may_push, check_name, push_folder, write_folder

    check_name(to)
    if push:
        check_may_push(licence)
    output = output or Path("exports") / f"{to.partition('/')[2]}-hub"
    check_is_new(output)
    refused = write_folder(run, output, name=to, licence=licence)
    for path in sorted(path for path in output.rglob("*") if path.is_file()):
        print(f"{path.stat().st_size:>12,}  {path.relative_to(output).as_posix()}")
    for reason in refused.values():
        print(reason)
    if push:
        print(f"Pushed to {push_folder(output, to)}, where only you see it until you make it public.")
    else:
        print(f"This is what --push would send to {to}: {output}")
