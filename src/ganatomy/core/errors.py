"""The errors a user can mend. Everything else is our fault and shows a traceback."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

from ganatomy.core.text import command_line, printable


class UserError(Exception):
    """A problem with the input: what is wrong, where, and how to mend it.

    The command line prints it as one line and exits with `exit_code`.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | Path | None = None, fix: str | None = None) -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(str(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), where=self.where, fix=self.fix), (self.what,)  # comes whole from other processes

    def __str__(self) -> str:
        place = f"{printable(str(self.where))}: " if self.where is not None else ""
        mend = f" -> {self.fix}" if self.fix else ""
        return f"{place}{self.what}{mend}"


@dataclass(frozen=True)
class Offer:
    """One answer to a question.

    Attributes:
        text: what it means, with examples, a line each.
        options: those of the command that give this answer, such as {"pattern": "{subject}_{slice}.png"}.
    """

    text: str
    options: Mapping[str, str | bool]


def whole(value: Any, where: str, low: int, high: int) -> int:
    """A whole number of Python or numpy as Python's. Raises `UserError` unless it is from `low` to `high`."""
    number = int(value) if isinstance(value, Integral) else None
    if number is None or not low <= number <= high:
        raise UserError(f"{value!r} is out of range", where=where, fix=f"use a whole number from {low:,} to {high:,}")
    return number


class Question(UserError):
    """An input that can be read in several ways: the command line shows them, and on a terminal asks."""

    def __init__(self, what: str, offers: Sequence[Offer], *, where: str | Path | None = None) -> None:
        self.offers = tuple(offers)
        super().__init__(what, where=where, fix=None)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), offers=self.offers, where=self.where), (self.what,)

    def __str__(self) -> str:
        lines = [super().__str__()]
        for number, offer in enumerate(self.offers, start=1):
            options = command_line("prepare", **offer.options).partition("prepare ")[2]
            lines += [f"  {number}. {offer.text}", f"     {options}"]
        return "\n".join(lines)


class GateError(UserError):
    """A gate that the user asked for did not pass (exit code 3)."""

    exit_code = 3


@contextmanager
def silenced(library: str) -> Iterator[None]:
    """Within the block the logger of a library is mute: what it says of a file is no news to a user."""
    logger = logging.getLogger(library)
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
