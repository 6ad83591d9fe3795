"""What the verbs of the command line share: paths and times that are typed, lines and a bar for the user."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from ganatomy.core.errors import UserError
from ganatomy.core.text import duration, printable

if TYPE_CHECKING:
    from ganatomy.studies.workers import Count

PLAIN_EVERY = 4  # entries of a training's log a plain line


class Folder(click.Path):
    """A path that is not empty: an empty variable in a script must not mean the current folder."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if value == "":
            self.fail("the path is empty", parameter, context)
        return super().convert(value, parameter, context)


FOLDER = Folder(path_type=Path)


def say(text: str) -> None:
    """A line for the user, on standard error: standard output is for results."""
    click.echo(_printable(text), err=True)


def _printable(text: str) -> str:
    """Names of files may hold what commands a terminal: line breaks are the only control characters that pass."""
    return "\n".join(map(printable, text.split("\n")))


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


class Progress:
    """A bar on a terminal, with lines for the user above it; elsewhere the lines alone."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.live = sys.stderr.isatty()
        self.bar = Bar(BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"), TimeElapsedColumn(),
                       console=self.console, disable=not self.live)
        self.task = self.bar.add_task("", total=None, text="")
        self.entries = 0

    def say(self, text: str) -> None:
        """A line for the user."""
        self.console.print(_printable(text), markup=False)

    def on_log(self, entry: dict[str, Any]) -> None:
        """An entry of a training's log.jsonl."""
        if entry["kind"] == "validation":
            self.say(f"step {entry['step']}: validation KD-Lite0 x 1000 = {1e3 * entry['kd']:.1f}, "
                     f"FD-Lite0 = {entry['fd']:.1f}")
        if entry["kind"] != "train":
            return
        step, steps, losses = entry["step"], entry["steps"], entry["losses"]
        shown = [f"{short} {losses[name]:.3f}" for short, name in (("D", "discriminator"), ("G", "generator"))
                 if name in losses]  # a model without a discriminator has one loss
        text = "  ".join([*shown, f"{entry['images_per_second']:.0f} images/s",
                          f"about {duration(entry['seconds_left'])} left"])
        self.bar.update(self.task, total=steps, completed=step, text=text)
        self.entries += 1
        if not self.live and (self.entries % PLAIN_EVERY == 1 or step == steps):
            self.say(f"step {step}/{steps}  {text}")

    def on_count(self, count: Count) -> None:
        """Where a study stands."""
        left = "time left not known yet" if count.seconds_left is None else f"about {duration(count.seconds_left)} left"
        self.bar.update(self.task, total=count.total, completed=count.done, text=f"cells, {left}")

    def __enter__(self) -> Self:
        self.bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.__exit__(*error)
