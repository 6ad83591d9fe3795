"""A table is data; this is its text for a terminal. Its HTML is written by the renderer of reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ganatomy.core.text import NOTHING


@dataclass(frozen=True)
class Table:
    """Rows of finished text, as many cells as heads (an empty cell is shown as "-"), with notes below."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        uneven = [row for row in self.rows if len(row) != len(self.heads)]
        if uneven:
            raise ValueError(f"{len(self.heads)} heads, but a row of {len(uneven[0])} cells: {uneven[0]}")

    def text(self) -> str:
        """Title, columns of equal width, notes; "" of a table without rows."""
        if not self.rows:
            return ""
        lines = [self.heads, *([cell or NOTHING for cell in row] for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.heads))]
        aligned = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]
        return "\n".join([*([self.title] if self.title else []), *aligned, *self.notes])
