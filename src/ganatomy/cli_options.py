"""What the verbs of the command line share: paths, lists of names and numbers, lines for the user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ganatomy.wording import printable


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


def floats(context: click.Context, parameter: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not numbers with commas between, such as 70,15,15") from error


def names(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if value else None
