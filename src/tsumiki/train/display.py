"""What a person sees while a model trains: a live progress bar in a terminal, plain lines everywhere else."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from tsumiki.generate import one_line


class Display:
    """Plain lines, for a pipe, a log file, or a terminal without colours. One line for each line of metrics."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.steps = 0
        self._told = ""

    def say(self, sentence: str) -> None:
        """Tell something."""
        self.console.print(Text(sentence), soft_wrap=True)

    def warn(self, sentence: str) -> None:
        """Tell something that must not be overlooked."""
        self.console.print(Text(f"Warning: {sentence}", style="bold red"), soft_wrap=True)

    def preparing(self, what: str, num_bytes: int) -> None:
        """Data is being prepared; called often, told once."""
        if what != self._told:
            self._told = what
            self.say(f"preparing data: {what}")

    def start(self, step: int, steps: int) -> None:
        """The updates begin after `step`, and end after `steps`."""
        self.steps = steps

    def advance(self, step: int) -> None:
        """An update was made. Plain lines wait for `figures`."""

    def figures(self, step: int, figures: Mapping[str, Any], seconds_left: float) -> None:
        """A line of metrics was written."""
        self.say(f"step {step:>{len(str(self.steps))}}/{self.steps}  {in_words(figures, seconds_left)}")

    def evaluation(self, step: int, figures: Mapping[str, Any]) -> None:
        """The model was evaluated."""
        parts = [f"{language} {value:.3f}" for language, value in figures["bits_per_byte"].items()]
        self.say(f"step {step}: bits per byte {'  '.join(parts)}  (validation loss {figures['loss']:.3f})")
        for alarm in figures["alarms"]:
            self.warn(alarm)
        self.console.print(samples_table(figures["samples"], max_width=min(self.console.width, 100)))

    def close(self) -> None:
        """Leave the terminal as it was."""


class LiveDisplay(Display):
    """A bar that stays at the bottom, with loss, tokens a second, time left and memory."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
        )
        self._task = self._progress.add_task("training", figures="")

    def start(self, step: int, steps: int) -> None:
        """Show the bar."""
        self._progress.update(self._task, completed=step, total=steps)
        self._progress.start()

    def advance(self, step: int) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=step)

    def figures(self, step: int, figures: Mapping[str, Any], seconds_left: float) -> None:
        """Show the figures beside the bar."""
        self._progress.update(self._task, figures=in_words(figures, seconds_left))

    def close(self) -> None:
        """Leave the bar where it is and the cursor below it."""
        self._progress.stop()


def make_display() -> Display:
    """The display that suits standard output."""
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR"):
        return LiveDisplay(Console(highlight=False))
    return Display(Console(highlight=False, force_terminal=False, no_color=True, width=100))


def silent() -> Display:
    """A display that shows nothing."""
    return Display(Console(quiet=True))


def in_words(figures: Mapping[str, Any], seconds_left: float) -> str:
    """A line of metrics for people: "loss 3.412  1,234 tok/s  3:12 left  0.8 GB"."""
    return "  ".join(
        (
            f"loss {figures['loss']:.3f}",
            f"{figures['tokens_per_second']:,.0f} tok/s",
            f"{duration(seconds_left)} left",
            f"{figures['memory_bytes'] / 1e9:.1f} GB",
        )
    )


def duration(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def samples_table(samples: Sequence[Mapping[str, Any]], max_width: int) -> Table:
    """Texts that the model wrote, each beside its temperature. Widths count in terminal cells; a kana has two."""
    table = Table.grid(padding=(0, 2))
    table.width = max_width
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    for sample in samples:
        text = Text(one_line(sample["prompt"] + sample["text"]))
        text.stylize("bold", 0, len(one_line(sample["prompt"])))
        table.add_row(f"  temperature {sample['temperature']:g}", text)
    return table
