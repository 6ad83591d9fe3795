"""What the verbs of the command line share: paths, lists of names, times, lines for the user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ganatomy.core.errors import UserError
from ganatomy.core.text import printable


class Folder(click.Path):
    """A path that is not empty: an empty variable in a script must not mean the current folder."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if value == "":
            self.fail("the path is empty", parameter, context)
        return super().convert(value, parameter, context)


FOLDER = Folder(path_type=Path)


def say(text: str) -> None:
    """A line for the user, on standard error: standard output is for results.

    Names of files and folders may hold what commands a terminal; lines are its only control characters that pass.
    """
    click.echo("\n".join(printable(line) for line in text.split("\n")), err=True)


def names(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if value else None


def seconds(text: str | None) -> float | None:
    """A time such as 90, 90s, 15m or 2h in seconds; None for none."""
    if text is None:
        return None
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
    try:
        seconds = float(number) * units[unit]
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise UserError(f"{text!r} is not a time", where="--budget", fix="give seconds, or 90s, 15m, 2h")
    return seconds
