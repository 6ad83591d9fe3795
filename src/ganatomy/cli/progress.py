"""Live progress of a training: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import Any, Self

from rich.console import Console
from rich.progress import Progress

from ganatomy.core.text import duration, printable

PLAIN_EVERY = 4  # log entries a plain line


class TrainingProgress:
    """Shows log entries as they come; `on_log` and `say` are handed to `train`."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.live = sys.stderr.isatty()
        self.bar = Progress(*Progress.get_default_columns(), "{task.completed}/{task.total}  {task.fields[text]}",
                            console=self.console, disable=not self.live)
        self.task: Any = None
        self.entries = 0

    def say(self, text: str) -> None:
        """A line for the user."""
        self.console.print("\n".join(map(printable, text.split("\n"))), markup=False)

    def on_log(self, entry: dict[str, Any]) -> None:
        """An entry of log.jsonl."""
        if entry["kind"] == "validation":
            self.say(f"step {entry['step']}: validation KD-Lite0 x 1000 = {1e3 * entry['kd']:.1f}, "
                     f"FD-Lite0 = {entry['fd']:.1f}")
        if entry["kind"] != "train":
            return
        losses = entry["losses"]
        last = entry["step"] == entry["steps"]
        shown = [f"{short} {losses[name]:.3f}" for short, name in (("D", "discriminator"), ("G", "generator"))
                 if name in losses]  # a model without a discriminator has one loss
        text = "  ".join([*shown, f"{entry['images_per_second']:.0f} images/s"])
        if self.live:
            if self.task is None:
                self.task = self.bar.add_task("training", total=entry["steps"], text="")
            self.bar.update(self.task, completed=entry["step"], text=text)
            return
        self.entries += 1
        if self.entries % PLAIN_EVERY == 1 or last:
            self.say(f"step {entry['step']}/{entry['steps']}  {text}  about {duration(entry['seconds_left'])} left")

    def __enter__(self) -> Self:
        self.bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.__exit__(*error)
