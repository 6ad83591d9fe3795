"""What a section of a report consists of, and what of it may be shared.

A section is a function that yields blocks. A block that shows patients, or images that may be copies of patients, says
so; what a report for sharing holds, and what it says on top, follows from the blocks alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ganatomy.core import table
from ganatomy.core.text import NOTHING

REAL = "this is the version for sharing, without any real image."
COPIED = ("this is the version for sharing, and the audit shows copies of patients among these images: do not "
          "share them.")
# what a column that is set to the right may hold
NUMERIC = re.compile(r"[+−<]?[\d.,]+(?:e[+−]\d+)?%?|–|unknown|not given")
VALUE = re.compile(r"([+−<]?[\d.,]+(?:e[+−]\d+)?%?(?: [a-z]{1,3})?) \((.*)\)", re.DOTALL)


def parts(text: str) -> tuple[str, list[str]]:
    """What stands large in a cell, and small: the lines below the first, or what is in brackets behind a value."""
    if "\n" in text:
        first, *rest = text.split("\n")
        return first, rest
    value = VALUE.fullmatch(text)
    return (value[1], value[2].split("; ")) if value else ("–" if text in ("", NOTHING) else text, [])


@dataclass(frozen=True, slots=True)
class Picture:
    """An image: a data URI, its size in CSS pixels, what a blind reader should hear, and words at its edge."""

    uri: str
    width: int
    height: int
    alt: str
    label: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Block:
    """One piece of a page.

    Attributes:
        patients: it shows images of patients, or such as may be copies of patients.
        instead: what stands in its place in a report for sharing: the reason why it is left out, or another block.
        remark: what the top of a report for sharing must say while this block is in it.
    """

    patients: bool = False
    instead: str | Block = REAL
    remark: str = ""

    @property
    def kind(self) -> str:
        """The name by which the template knows it."""
        return type(self).__name__

    def walk(self) -> Iterator[Block]:
        """Itself and every block within it."""
        yield self

    def shared(self) -> Block:
        """What a report for sharing has of it."""
        if not self.patients:
            return self
        return self.instead if isinstance(self.instead, Block) else Words(f"Left out: {self.instead}", style="none")


@dataclass(frozen=True)
class Heading(Block):
    """A heading; one of level 2 begins a section, which links find by its anchor."""

    text: str
    anchor: str = ""
    level: int = 2
    beside: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Words(Block):
    """A paragraph, a list below it, or both; `lead` comes first, in bold. What stands in `backticks` is code.

    `style`: lede, note, banner, warn (a banner that warns), none (why something is missing), code or answer.
    """

    text: str = ""
    lead: str = ""
    items: Sequence[str] = ()
    style: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Terms(Block):
    """Terms with what belongs to each. `style`: key (large figures), facts, findings or glossary."""

    rows: Sequence[tuple[str, str | Words]]
    style: str = "facts"


@dataclass(frozen=True, slots=True)
class Light:
    """An answer: colour, word and sentence; the question, and the anchor of the section that says why, if any."""

    colour: str
    word: str
    says: str
    question: str = ""
    link: str = ""


@dataclass(frozen=True)
class Lights(Block):
    """Traffic lights, a line a question; one without a question stands large."""

    lights: Sequence[Light]


@dataclass(frozen=True)
class Table(Block):
    """A table of finished text: of a value with an interval in brackets the interval stands small.

    Attributes:
        style: figures (the interval below), glance (many narrow lines) or metric.
        groups: titles above rows, by the number of the row.
        remarks: what stands below a row, over all columns.
        marks: rows that stand out: primary, copied.
        tones: colours of cells, by row and column.
    """

    table: table.Table
    style: str = ""
    groups: Mapping[int, str] = field(default_factory=dict)
    remarks: Mapping[int, str] = field(default_factory=dict)
    marks: Mapping[int, str] = field(default_factory=dict)
    tones: Mapping[tuple[int, int], str] = field(default_factory=dict)

    @property
    def numeric(self) -> set[int]:
        """The columns that hold numbers alone."""
        columns = range(1, len(self.table.heads)) if self.style != "glance" else range(0)
        return {i for i in columns if all(NUMERIC.fullmatch(parts(row[i])[0]) for row in self.table.rows)}


@dataclass(frozen=True)
class Pictures(Block):
    """Images with a title and a caption.

    `layout`: grid (in a dark frame), film (a strip with labels), across (few strips below each other),
    pair (side by side, labels above), rows (strips with labels above, `columns` of lines below), tiles (labels below),
    repeat (caption above) or strip (as wide as the column).
    """

    pictures: Sequence[Picture]
    layout: str = "grid"
    title: str = ""
    caption: str = ""
    columns: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Drawing(Block):
    """A chart. A `wide` one fills the page and is scrolled on a telephone."""

    picture: Picture
    title: str = ""
    caption: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Holder(Block):
    """A block that holds blocks."""

    blocks: Sequence[Block]

    def walk(self) -> Iterator[Block]:
        """Itself and every block within it."""
        yield self
        for block in self.blocks:
            yield from block.walk()

    def shared(self) -> Block:
        """The same, of what may be shared."""
        return super().shared() if self.patients else replace(self, blocks=[block.shared() for block in self.blocks])


@dataclass(frozen=True)
class Columns(Holder):
    """Blocks beside each other; `flow` sets as many in a line as fit."""

    flow: bool = False


@dataclass(frozen=True)
class Stack(Holder):
    """Blocks one below the other, where one is expected."""


@dataclass(frozen=True)
class Fold(Holder):
    """Blocks that open; `warn` sets them as a banner that warns."""

    title: str = ""
    beside: str = ""
    open: bool = False
    warn: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """A mark of a map: what it is, where it lies on either plane, its name and its thumbnail's number (-1 for none)."""

    kind: str
    x: float
    y: float
    other: str
    name: str
    tile: int


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """Small images side by side, without gaps; width and height are of one."""

    picture: Picture
    width: int
    height: int
    columns: int


@dataclass(frozen=True)
class Map(Block):
    """Images as marks on a plane, each shown when it is pointed at; the one block with a script."""

    points: Sequence[Point]
    legend: Sequence[tuple[str, str, str, int]]  # kind, name, mark (an SVG path), points
    sheets: Mapping[str, Thumbnails]  # real, generated
    notes: tuple[str, str]  # what either plane shows

    @property
    def marks(self) -> dict[str, str]:
        """The mark of every kind."""
        return {kind: mark for kind, _, mark, _ in self.legend}


@dataclass(frozen=True)
class Page:
    """A report: its opening (title, answer), notices (warnings, figures) and sections."""

    title: str
    eyebrow: str
    opening: Sequence[Block]
    notices: Sequence[Block]
    body: Sequence[Block]
    footer: str = "Synthetic images, not for diagnosis."
