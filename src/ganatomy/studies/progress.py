"""Live progress of a study: a bar on a terminal; elsewhere the lines that tell of every finished cell are enough."""

from __future__ import annotations

import sys
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ganatomy.core.text import printable
from ganatomy.studies.forecast import Count, span


class StudyProgress:
    """Shows where a study stands; `show` and `say` are handed to `study`."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        columns = (TextColumn("cells"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"),
                   TimeElapsedColumn())
        self.bar = Progress(*columns, console=self.console, disable=not sys.stderr.isatty())
        self.task: TaskID | None = None

    def say(self, text: str) -> None:
        """A line for the user."""
        self.console.print("\n".join(map(printable, text.split("\n"))), markup=False)

    def show(self, count: Count) -> None:
        """Where the study stands."""
        if self.task is None:
            self.task = self.bar.add_task("cells", total=count.total, text="")
        left = "time left not known yet" if count.seconds_left is None else f"about {span(count.seconds_left)} left"
        self.bar.update(self.task, completed=count.done,
                        text=f"{len(count.running)} running, {count.waiting} waiting, {left}")

    def __enter__(self) -> Self:
        self.bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.__exit__(*error)
