"""What the verbs of the command line share: paths that are typed, lines and a bar for the user."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from ganatomy.core.text import duration, printable

if TYPE_CHECKING:
    from ganatomy.studies.workers import Count

PLAIN_EVERY = 8.0  # seconds between plain lines, at least


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
        self.losses, self.next = "", 0.0

    def say(self, text: str) -> None:
        """A line for the user."""
        self.console.print(_printable(text), markup=False)

    def on_log(self, entry: dict[str, Any]) -> None:
        """An entry of a training's log.jsonl."""
        if entry["kind"] == "validation":
            self.say(f"step {entry['step']}: validation KD-{entry['features']} x 1000 = {1e3 * entry['kd']:.1f}, "
                     f"FD-{entry['features']} = {entry['fd']:.1f}")
        if entry["kind"] not in ("train", "progress"):
            return
        step, steps, left = entry["step"], entry["steps"], f"about {duration(entry['seconds_left'])} left"
        if entry["kind"] == "train":
            losses = entry["losses"]  # a model without a discriminator has one
            shown = [f"{short} {losses[name]:.3f}" for short, name in (("D", "discriminator"), ("G", "generator"))
                     if name in losses]
            self.losses = "  ".join([*shown, f"{entry['images_per_second']:.0f} images/s  "])
        self.bar.update(self.task, total=steps, completed=step, text=self.losses + left)
        if not self.live and (time.monotonic() >= self.next or step == steps):
            self.next = time.monotonic() + PLAIN_EVERY
            self.say(f"step {step}/{steps}  {self.losses}{left}")

    def on_count(self, count: Count) -> None:
        """Where a study stands."""
        left = "time left not known yet" if count.seconds_left is None else f"about {duration(count.seconds_left)} left"
        self.bar.update(self.task, total=count.total, completed=count.done, text=f"cells, {left}")

    def __enter__(self) -> Self:
        self.bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.__exit__(*error)
