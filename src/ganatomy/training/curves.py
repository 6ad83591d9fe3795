"""The losses of a run after each epoch, as a table and as a picture: losses.csv and loss_plot.png."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from ganatomy.core.files import atomic_path, write_text
from ganatomy.core.run import Run
from ganatomy.training.state import TrainingState

MAIN = ("generator", "discriminator")
COLOURS = {"generator": "#0072b2", "discriminator": "#c2410c"}  # of Okabe and Ito's palette: told apart by all
FEW_POINTS = 20  # are marked, so that a line of one or two points can be seen
Entries = Sequence[dict[str, Any]]


def epoch_entry(state: TrainingState, epoch: int) -> dict[str, Any] | None:
    """The log line of the epoch that has just ended, its losses averaged over its steps; the sums start anew.

    None where a loss is not finite: training is about to be stopped for it.
    """
    losses = {name: float(value) / state.epoch_steps for name, value in state.epoch_sums.items()}
    state.epoch_sums, state.epoch_steps = {}, 0
    if not all(math.isfinite(value) for value in losses.values()):
        return None
    return {"kind": "epoch", "epoch": epoch, "step": state.step, "losses": losses}


def write_curves(run: Run) -> None:
    """Write losses.csv (one line an epoch) and loss_plot.png from the run's log."""
    log = [entry for entry in run.log() if isinstance(entry.get("losses"), dict)]
    epochs = [entry for entry in log if entry.get("kind") == "epoch"]
    steps = [entry for entry in log if entry.get("kind") == "train"]
    write_text(run.losses_file, _table(epochs))
    if epochs or steps:
        _plot(run, epochs, steps)


def _table(epochs: Entries) -> str:
    found = {name for entry in epochs for name in entry["losses"]}
    names = [*(name for name in MAIN if name in found), *sorted(found - set(MAIN))]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", "step", *names])
    for entry in epochs:
        writer.writerow([entry["epoch"], entry["step"], *(entry["losses"].get(name, "") for name in names)])
    return text.getvalue()


def _plot(run: Run, epochs: Entries, steps: Entries) -> None:
    """Losses against epochs, or against steps where the log has more lines by step than epochs."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    by_epoch = len(epochs) >= len(steps)
    entries, unit = (epochs, "epoch") if by_epoch else (steps, "step")
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot(xlabel=f"{unit} (mean loss since the one before)" if by_epoch else "training step",
                              ylabel="loss", title=f"{run.recipe().name}: loss in training")
    for name in MAIN:
        points = [(entry[unit], entry["losses"][name]) for entry in entries if name in entry["losses"]]
        if not points:  # a model without a discriminator
            continue
        marker = "o" if len(points) <= FEW_POINTS else None
        axes.plot(*zip(*points, strict=True), label=name, color=COLOURS[name], marker=marker, markersize=4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#d8dde2", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with atomic_path(run.loss_plot) as temporary:
        figure.savefig(temporary, format="png")
