"""What a report is made of, whatever it is written as."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tsumiki.doctor.messages import Language

Tone = Literal["good", "note", "bad", "plain"]
"""How a sentence is meant; `bad` is red."""


@dataclass(frozen=True)
class Paragraph:
    """Some sentences."""

    text: str


@dataclass(frozen=True)
class Banner:
    """A sentence that must not be overlooked."""

    text: str
    tone: Tone


@dataclass(frozen=True)
class Table:
    """Rows under headings.

    Args:
        numbers: the columns that are aligned to the right.
        tones: the tone of each row; all plain if left out.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[int] = ()
    tones: Sequence[Tone] = ()


@dataclass(frozen=True)
class Curve:
    """A named line.

    Args:
        dots: mark each point, for measurements that are few.
        band: the lowest and the highest value at each point, such as those of several runs.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dots: bool = False
    band: tuple[Sequence[float], Sequence[float]] | None = None


@dataclass(frozen=True)
class Figure:
    """Curves over one horizontal axis.

    Args:
        name: of its file, and of no other figure in the report.
        title: what is drawn.
        x, y: what the axes are, with their units.
        logarithmic: the vertical axis.
    """

    name: str
    title: str
    x: str
    y: str
    curves: Sequence[Curve]
    logarithmic: bool = False


@dataclass(frozen=True)
class Map:
    """Numbers from 0 to 1 in a square, such as how much each token reads each other one: the more, the fuller.

    Args:
        name, title, x, y: as those of a `Figure`.
        labels: of the rows, from the top, and of the columns.
        values: by row.
    """

    name: str
    title: str
    x: str
    y: str
    labels: Sequence[str]
    values: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Figures:
    """Figures side by side."""

    figures: Sequence[Figure | Map]


@dataclass(frozen=True)
class Code:
    """Text that is shown as it is."""

    text: str


Block = Paragraph | Banner | Table | Figures | Code


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Report:
    """A report in one language. What comes first is read first."""

    language: Language
    title: str
    sections: Sequence[Section]
