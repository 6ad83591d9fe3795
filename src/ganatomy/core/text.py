"""Numbers and names in sentences."""

from __future__ import annotations


def counted(n: int, noun: str) -> str:
    """A number and its noun: 1 file, 1200 files."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def printable(text: str) -> str:
    """A name with line breaks, other control characters and bytes that are no UTF-8 written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def grouped(n: int, noun: str) -> str:
    """Like `counted`, for prose: 1 subject, 1,200 subjects."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
