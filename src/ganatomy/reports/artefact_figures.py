"""Curves and maps of the artefact checks. What a file does not hold, or holds broken, is not drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.reports import figures, images
from ganatomy.reports.images import Picture

MOST_PEAKS = 4
MAP_SIDE = 192  # CSS pixels of a variance map, about
Curve = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Peak:
    """A frequency at which generated images have far more power than real ones."""

    period: float  # pixels
    direction: str
    excess: float  # dB


def curve(details: dict[str, Any], *names: str) -> Curve | None:
    """The first list of finite numbers of those names; None where there is none."""
    for name in names:
        values = details.get(name)
        if isinstance(values, list) and len(values) > 1 and all(
                isinstance(v, int | float) and math.isfinite(v) for v in values):
            return np.array(values, dtype=float)
    return None


def peaks(details: dict[str, Any]) -> list[Peak]:
    """The named peaks, the strongest first."""
    given, found = details.get("peaks"), []
    for entry in given if isinstance(given, list) else []:
        if not isinstance(entry, dict):
            continue
        period, excess = entry.get("period_px"), entry.get("excess_db")
        if isinstance(period, int | float) and period > 0 and isinstance(excess, int | float):
            found.append(Peak(float(period), str(entry.get("direction") or ""), float(excess)))
    return sorted(found, key=lambda peak: -peak.excess)[:MOST_PEAKS]


def spectrum(details: dict[str, Any]) -> Picture | None:
    """Power against frequency: the band of real subjects, the mean of real and of generated images, peaks named."""
    x, real, made = (curve(details, name) for name in ("frequency", "real", "synthetic"))
    if x is None or real is None or made is None or not len(x) == len(real) == len(made):
        return None
    figure, axes = figures.frame("power, dB", "spatial frequency, cycles a pixel")
    low, high = curve(details, "real_low"), curve(details, "real_high")
    if low is not None and high is not None and len(low) == len(high) == len(x):
        axes.fill_between(x, low, high, color=figures.COLOURS[2], alpha=0.22, linewidth=0, label="real, by subject")
    axes.plot(x, real, color=figures.COLOURS[2], linewidth=2.0, label="real")
    axes.plot(x, made, color=figures.COLOURS[1], linewidth=2.0, linestyle=(0, (5, 1.5)), label="generated")
    for peak in peaks(details):
        at = min(1 / peak.period, float(x[-1]))
        y, last = float(np.interp(at, x, made)), at > 0.8 * float(x[-1])
        axes.annotate(f"{peak.period:g} px, +{peak.excess:.0f} dB", (at, y), textcoords="offset points",
                      xytext=(-2, 22) if last else (6, 16), ha="right" if last else "left",
                      arrowprops={"arrowstyle": "-", "color": figures.INK, "linewidth": 0.8})
    figures.legend(axes)
    return figures.picture(figure, "Power spectra of real and generated images")


def histogram(details: dict[str, Any]) -> Picture | None:
    """Share of the pixels against grey value, real and generated, on a scale that shows rare greys, too."""
    real, made = curve(details, "real"), curve(details, "synthetic")
    if real is None or made is None or len(real) != len(made):
        return None
    x = curve(details, "grey", "levels", "centres", "quantiles")
    x = x if x is not None and len(x) == len(real) else np.linspace(0, 1, len(real))
    figure, axes = figures.frame("share of pixels, %", "grey value, 0 black to 1 white")
    axes.plot(x, 100 * real, color=figures.COLOURS[2], linewidth=2.0, label="real", drawstyle="steps-mid")
    axes.plot(x, 100 * made, color=figures.COLOURS[1], linewidth=2.0, linestyle=(0, (5, 1.5)), label="generated",
              drawstyle="steps-mid")
    least = 100 * min((v for v in (*real, *made) if v > 0), default=1e-3)
    if max(real.max(), made.max()) > 0.2:  # much background: linear, nothing else would be seen
        axes.set_yscale("log")
        axes.set_ylim(bottom=max(1e-3, least / 2))
        axes.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
    figures.legend(axes)
    return figures.picture(figure, "Histograms of the grey values of real and generated images")


def maps(details: dict[str, Any]) -> list[tuple[str, Picture]]:
    """Maps of the standard deviation of every pixel over images, real and generated, at one scale of brightness."""
    found = {label: grid for label, grid in (("Real", _map(details.get("real"))),
                                             ("Generated", _map(details.get("synthetic")))) if grid is not None}
    top = max((float(grid.max()) for grid in found.values()), default=0.0) or 1.0
    made = []
    for label, grid in found.items():
        grey = np.rint(255 * grid / top).astype(np.uint8)
        zoom = max(1, MAP_SIDE // max(grey.shape))
        made.append((label, Picture(images.png_uri(grey), grey.shape[1] * zoom, grey.shape[0] * zoom,
                                    f"{label.lower()}: where images differ from each other")))
    return made


def _map(value: Any) -> Curve | None:
    """A map of numbers that are not negative, [h, w]; None of anything else."""
    try:
        grid = np.array(value, dtype=float)
    except (TypeError, ValueError):
        return None
    return np.maximum(grid, 0) if grid.ndim == 2 and grid.size and np.isfinite(grid).all() else None
