"""What every command shares: where text goes, in which encoding, and what becomes of an error."""

import errno
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from typer import Exit
from typer.core import TyperGroup

from tsumiki.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

RUNS = Path("runs")
"""Where runs live unless said otherwise."""

USER_ERROR = 2
INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
NO_SUCH_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
"""What the file system refuses through no defect of ours."""


class Commands(TyperGroup):
    """The commands, with one way to end for each kind of error: a sentence on stderr and an exit code, no traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            fail(str(error))
        except KeyboardInterrupt:
            raise Exit(INTERRUPTED) from None
        except OSError as error:
            if error.errno not in (*FULL, *FORBIDDEN, *NO_SUCH_FILE):
                raise
            what = f"'{error.filename}' cannot be used" if error.filename else "A file could not be written"
            fail(f"{what}: {os.strerror(error.errno).lower()}.")


def fail(sentence: str) -> NoReturn:
    """Say what is wrong and end with exit code 2."""
    print(f"tsumiki: {sentence}", file=sys.stderr)
    raise Exit(USER_ERROR)


def use_utf8() -> None:
    """Write UTF-8 wherever the output goes; a pipe under Windows or `LANG=C` would choose an encoding without Japanese.

    Characters that UTF-8 cannot hold (a file name's undecodable bytes) are written as escapes.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def console() -> "Console":
    """Where longer output goes: colours and the window's width in a terminal, plain lines of 100 cells in a pipe."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 100)


def show(what: str) -> None:
    """What is being done, on a line of stderr that is written over; nothing where nobody watches."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)
