"""Curves for a report, as SVG data URIs with text left as text."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.reports.images import Picture

# Okabe and Ito's palette: told apart by colour-blind readers, and dark enough on white
COLOURS = ("#0072b2", "#c2410c", "#007a5a", "#8e4a8a", "#5c5c5c")
INK, PALE = "#1d2329", "#d8dde2"
MOST_POINTS = 800
FEW_POINTS = 10  # are marked; a line of one point would not be seen
DISTANCES = {"kd": "Kernel distance", "fd": "Fréchet distance", "critic_js": "Jensen-Shannon bound of a fresh critic"}
AXES = {"kd": (1000, "KD × 1000"), "fd": (1, "FD"), "critic_js": (1, "Jensen-Shannon bound, nats")}
Points = list[tuple[int, float]]
Mark = tuple[str, float, tuple[float, float] | None, str]


def loss_series(log: Sequence[dict[str, Any]]) -> dict[str, Points]:
    """The losses of the log's training lines by their name in the log, each as (step, value) in order."""
    series: dict[str, Points] = {}
    for entry in log:
        losses = entry.get("losses")
        if entry.get("kind") != "train" or not isinstance(losses, dict):
            continue
        for name, value in losses.items():
            if isinstance(value, int | float) and np.isfinite(value):
                series.setdefault(str(name), []).append((int(entry["step"]), float(value)))
    return series


def validation_series(log: Sequence[dict[str, Any]], score: str) -> Points:
    """(step, score) of the log's validation lines; score is `kd`, `fd` or `critic_js`."""
    return [(int(e["step"]), float(e[score])) for e in log
            if e.get("kind") == "validation" and isinstance(e.get(score), int | float)]


def smooth(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Centred running mean over `window` values; at the ends over those there are."""
    window = max(1, min(window, len(values)))
    kernel = np.ones(window)
    counts = np.convolve(np.ones_like(values), kernel, "same")
    mean: NDArray[np.float64] = np.convolve(values, kernel, "same") / counts
    return mean


def loss_figure(series: dict[str, Points]) -> tuple[Picture, int, bool]:
    """Loss against step; of many values each lightly, and a running mean over 5% of the training boldly.

    Returns:
        the picture, how many values lie outside its frame (a few wild ones would flatten all others), and whether
        there is a running mean (of a few values there is none).
    """
    figure, axes = frame("loss")
    averaged = False
    for colour, (name, points) in zip(COLOURS, series.items(), strict=False):
        steps, values = _thin(points)
        window = round(len(values) / 20)
        if window > 1:
            averaged = True
            axes.plot(steps, values, color=colour, alpha=0.28, linewidth=0.8)
        axes.plot(steps, smooth(values, window), color=colour, linewidth=2.0, label=name,
                  marker="o" if len(values) <= FEW_POINTS else "", markersize=5)
    values = np.concatenate([[value for _, value in points] for points in series.values()])
    low, high = np.percentile(values, [0.5, 99.5])
    margin = 0.08 * (high - low) or 0.1
    axes.set_ylim(low - margin, high + margin)
    outside = int(((values < low - margin) | (values > high + margin)).sum())
    legend(axes)
    return picture(figure, "Losses against the training step"), outside, averaged


def validation_figure(points: Points, selected: int | None, score: str) -> Picture:
    """A score of `DISTANCES` on the validation subjects against step (KD times 1000); the selected is marked."""
    factor, name = AXES[score]
    figure, axes = frame(f"{name}, validation")
    steps, values = np.array([s for s, _ in points]), np.array([factor * v for _, v in points])
    axes.plot(steps, values, color=COLOURS[0], linewidth=2.0, marker="o", markersize=4)
    axes.set_ylim(min(0.0, float(values.min()) * 1.1), float(values.max()) * 1.12 or 1.0)
    if selected in steps:
        value = float(values[list(steps).index(selected)])
        axes.plot([selected], [value], marker="o", markersize=12, markerfacecolor="none", markeredgewidth=2,
                  color=COLOURS[1], linestyle="none", label=f"selected: step {selected:,}, {value:.3g}")
        legend(axes)
    return picture(figure, f"{DISTANCES[score]} on the validation subjects against the training step")


def standing_figure(name: str, marks: Sequence[Mark], factor: float = 1.0) -> Picture:
    """Where the model stands between real images and deliberately bad generators, on one axis.

    Args:
        name: the metric, the axis' label.
        marks: (label, value, interval, kind), kind being real, model or control; drawn from top to bottom.
        factor: by which values are shown.
    """
    from matplotlib.ticker import MaxNLocator

    marks = [(label, factor * value, (factor * span[0], factor * span[1]) if span else None, kind)
             for label, value, span, kind in marks]
    figure, axes = frame(name)
    figure.set_size_inches(5.3, 0.9 + 0.36 * len(marks))
    colours = {"real": COLOURS[2], "model": COLOURS[0], "control": COLOURS[4]}
    for y, (_, value, interval, kind) in enumerate(marks):
        if interval:
            axes.plot(interval, (y, y), color=colours[kind], linewidth=2.0, solid_capstyle="round")
        axes.plot([value], [y], color=colours[kind], marker="D" if kind == "control" else "o",
                  markersize=8 if kind == "model" else 6, linestyle="none")
    ends = [end for _, value, interval, _ in marks for end in (value, *(interval or ()))]
    low, high = min(0.0, *ends), max(0.0, *ends)
    margin = 0.04 * (high - low) or 1.0
    axes.set_xlim(low - (margin if low < 0 else 0.3 * margin), high + margin)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,g}".replace("-", "−"))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_yticks(range(len(marks)), [label for label, *_ in marks])
    axes.set_ylim(len(marks) - 0.5, -0.5)
    axes.set_ylabel("")
    axes.set_xlabel(name)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=PALE, linewidth=0.8)
    text = ", ".join(f"{label} {value:.3g}" for label, value, *_ in marks)
    return picture(figure, f"{name}: {text}")


def _thin(points: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most `MOST_POINTS` points, each the mean of a run of them."""
    array = np.array(points, dtype=float)
    block = -(-len(array) // MOST_POINTS)
    if block > 1:
        parts = np.array_split(array, -(-len(array) // block))
        array = np.array([part.mean(0) for part in parts])
    return array[:, 0], array[:, 1]


def frame(ylabel: str, xlabel: str = "step (generator updates)") -> tuple[Any, Any]:
    """A figure and its axes in the report's style; whole steps along the x axis unless `xlabel` says otherwise."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator

    style = {"font.size": 11.0, "axes.edgecolor": "#7b858f", "axes.labelcolor": INK, "xtick.color": INK,
             "ytick.color": INK, "text.color": INK, "axes.spines.top": False, "axes.spines.right": False}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(5.3, 3.5), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.grid(axis="y", color=PALE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.margins(x=0.02)
        if xlabel.startswith("step"):
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 2.5k rather than 2500
    return figure, axes


def legend(axes: Any) -> None:
    """The legend of labelled curves."""
    # above the curves, where it can hide none of them
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, borderaxespad=0.2)


def picture(figure: Any, alt: str) -> Picture:
    """A finished figure as SVG, 96 CSS pixels an inch."""
    import matplotlib

    buffer = io.BytesIO()
    # text stays text (small, sharp, the reader's font); a fixed salt and no date make the file repeatable
    style = {"svg.fonttype": "none", "svg.hashsalt": "ganatomy",
             "font.family": "sans-serif", "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"]}
    with matplotlib.rc_context(style):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    uri = "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(uri, width, height, alt)
