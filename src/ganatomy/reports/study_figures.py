"""Figures of a study's report: F1 against k, the comparisons, calibration, distances against F1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.reports.figures import COLOURS, INK, PALE, frame, legend, picture
from ganatomy.reports.images import Picture
from ganatomy.reports.numbers import Interval, number, pair
from ganatomy.studies.answers import CANT_TELL, DOES_NOT, HELPS, HURTS, named
from ganatomy.studies.protocol import CONTROLS

Row = Mapping[str, Any]
# one colour and one mark for each source, the same in all figures
SOURCES = {"ORG": (COLOURS[4], "o"), "OVERSAMPLE": (COLOURS[0], "s"), "GAN": (COLOURS[1], "D"),
           "GAN_ONLY": (COLOURS[3], "^"), "FRESH": (COLOURS[2], "P"), "COPIES": ("#8a6d00", "X"), "NOISE": (INK, "v")}
LINES = {"": "-", "AUG_": (0, (6, 1.5)), "AUG2_": (0, (6, 1.5, 1, 1.5))}
AUGMENTED = {"": "Without augmentation", "AUG_": "With flips (AUG)", "AUG2_": "With strong augmentation (AUG2)"}
ANSWERS = {HELPS: (COLOURS[2], "o"), HURTS: ("#b3261e", "X"), DOES_NOT: ("#9a5b00", "v"), CANT_TELL: (COLOURS[4], "D")}
WIDE = 10.9  # inches, the page's width
COLUMNS = (0.68, 0.88)  # of the forest: where its figures and its answers begin; its axis ends at the first
SPACE = 0.062  # between direct labels, as a share of the axis


@dataclass(frozen=True)
class Panel:
    """Arms that are drawn together."""

    title: str
    arms: tuple[str, ...]


def panels(arms: Sequence[str]) -> list[Panel]:
    """Arms with the same augmentation and factor together; where there are controls, these beside OVERSAMPLE alone."""
    known, found = [named(name) for name in arms], []
    factors = list(dict.fromkeys(a.factor for a in known if a.source != "ORG")) or [""]
    for prefix in dict.fromkeys(a.prefix for a in known):
        for factor in factors:
            own = [a for a in known if a.prefix == prefix and (a.factor == factor or a.source == "ORG")]
            title = AUGMENTED[prefix] + (f", {factor} × k added" if factor else "")
            main = tuple(a.name for a in own if a.source not in CONTROLS)
            checks = [a.name for a in own if a.source in CONTROLS]
            beside = [a.name for a in own if a.source == "OVERSAMPLE"]
            found += [Panel(title, main)] if main else []
            found += [Panel(f"Controls: {title[:1].lower()}{title[1:]}", (*beside, *checks))] if checks else []
    return list(dict.fromkeys(found))


def curves(scores: Sequence[Row], arms: Sequence[str], ks: Sequence[int]) -> list[tuple[str, Picture]]:
    """F1 against k with 95% bands, a picture a panel with its title; all have the same axes."""
    rows = {(s["arm"], s["k"]): s for s in scores if s["metric"] == "f1" and s["k"] is not None}
    known = [s for s in rows.values() if s["value"] is not None]
    if not known:
        return []
    floor = next((s["floor"] for s in known if s["floor"] is not None), None)
    ends = [e for s in known for e in (s["value"], *(pair(s["interval"]) or ()))]
    ends += [floor] if floor is not None else []
    spare = 0.06 * (max(ends) - min(ends)) or 0.1
    limits = max(0.0, min(ends) - spare), min(1.02, max(ends) + spare)
    draw = _curves if len(ks) > 1 else _marks
    return [(panel.title, draw(panel, rows, ks, floor, limits)) for panel in panels(arms)]


def _curves(panel: Panel, rows: Mapping[tuple[str, int], Row], ks: Sequence[int], floor: float | None,
            limits: tuple[float, float]) -> Picture:
    figure, axes = frame("F1", "k, real positive training images")
    figure.set_size_inches(5.3, 4.2)
    axes.set_ylim(limits)
    _log_axis(axes, ks)
    ends, told = [], []
    for arm in panel.arms:
        own = [rows[arm, k] for k in ks if (arm, k) in rows and rows[arm, k]["value"] is not None]
        if own:
            _curve(axes, arm, own)
            ends.append((float(own[-1]["value"]), _short(arm), SOURCES[named(arm).source][0]))
            told.append(f"{arm} " + ", ".join(f"{number(s['value'], 3)} at k = {s['k']}" for s in own))
    if floor is not None:
        axes.plot([axes.get_xlim()[0], ks[-1]], [floor, floor], color=INK, linewidth=1.0, linestyle=(0, (1, 2)))
        ends.append((floor, "all called positive", INK))
    _label_ends(axes, ends, ks, limits)
    return picture(figure, f"F1 against k. {panel.title}: {'; '.join(told)}")


def _short(arm: str) -> str:
    """The name without its factor, which the panel's title has."""
    return arm.partition("@")[0]


def _marks(panel: Panel, rows: Mapping[tuple[str, int], Row], ks: Sequence[int], floor: float | None,
           limits: tuple[float, float]) -> Picture:
    """The same of a single k: a mark with its interval an arm, side by side."""
    figure, axes = frame("F1", f"k = {ks[0]:,}")
    own = [(arm, rows[arm, ks[0]]) for arm in panel.arms if rows[arm, ks[0]]["value"] is not None]
    for x, (arm, row) in enumerate(own):
        colour, mark = SOURCES[named(arm).source]
        axes.plot([x], [row["value"]], color=colour, marker=mark, markersize=9)
        interval = pair(row["interval"])
        if interval:
            axes.plot([x, x], interval, color=colour, linewidth=2.2)
    if floor is not None:
        axes.axhline(floor, color=INK, linewidth=1.0, linestyle=(0, (1, 2)))
    axes.set_xlim(-0.6, len(own) - 0.4)
    axes.set_ylim(limits)
    axes.set_xticks(range(len(own)), [_short(arm) for arm, _ in own], fontsize=9.5)
    said = ", ".join(f"{arm} {number(row['value'], 3)}" for arm, row in own)
    return picture(figure, f"F1 at k = {ks[0]}. {panel.title}: {said}")


def _curve(axes: Any, arm: str, own: Sequence[Row]) -> None:
    """One arm's line and band."""
    colour, mark = SOURCES[named(arm).source]
    x = np.array([s["k"] for s in own], dtype=float)
    axes.plot(x, [s["value"] for s in own], color=colour, linestyle=LINES[named(arm).prefix], linewidth=2.2,
              marker=mark, markersize=6.5, zorder=3)
    spans = [(at, *span) for at, s in zip(x, own, strict=True) if (span := pair(s["interval"]))]
    if spans:
        at, low, high = map(np.array, zip(*spans, strict=True))
        axes.fill_between(at, low, high, color=colour, alpha=0.13, linewidth=0)
        for edge in (low, high):
            axes.plot(at, edge, color=colour, linewidth=0.8, alpha=0.6)


def _log_axis(axes: Any, ks: Sequence[int]) -> None:
    """A logarithmic axis with a tick at each k, and room for labels on the right."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(ks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda k, _: f"{k:,.0f}")
    axes.set_xlim(ks[0] / _reach(ks) ** 0.06, ks[-1] * _reach(ks) ** 0.46)


def _reach(ks: Sequence[int]) -> float:
    """The largest k over the smallest."""
    return ks[-1] / ks[0]


def _label_ends(axes: Any, ends: Sequence[tuple[float, str, str]], ks: Sequence[int],
                limits: tuple[float, float]) -> None:
    """Names at the right ends of the lines, moved apart where they would overlap."""
    height = limits[1] - limits[0]
    places: list[float] = []
    for value, *_ in sorted(ends):
        places.append(max(value, places[-1] + SPACE * height) if places else value)
    over = max(0.0, places[-1] - (limits[1] - SPACE * height / 2)) if places else 0.0
    for place, (_, name, colour) in zip(places, sorted(ends), strict=True):
        axes.annotate(name, (ks[-1] * _reach(ks) ** 0.05, place - over), va="center", color=colour, fontsize=9.5)


def forest(contrasts: Sequence[Row], margin: float) -> Picture | None:
    """The differences in F1 that have an answer, from top to bottom; the primary one bold. None if there are none."""
    rows = [c for c in contrasts if c["answer"] is not None and c["difference"] is not None]
    if not rows:
        return None
    figure, axes = frame("", "difference in F1 (better to the right), with 95% interval")
    height = 0.75 + 0.34 * len(rows)
    figure.set_size_inches(WIDE, height)
    figure.set_layout_engine("none")  # names, axis and text have columns of their own
    names = [f"{c['treatment']} − {c['reference']}" for c in rows]
    left = max(0.2, 0.02 + 0.0088 * max(map(len, names)))
    axes.set_position((left, 0.6 / height, COLUMNS[0] - left, 0.34 * len(rows) / height))
    axes.axvspan(-margin, margin, color=PALE, alpha=0.7, linewidth=0)
    axes.axvline(0, color=INK, linewidth=1.0)
    for y, row in enumerate(rows):
        _difference(axes, y, row)
    if rows[0]["primary"] and len(rows) > 1:
        axes.axhline(0.5, color="#7b858f", linewidth=0.8)
    axes.set_yticks(range(len(rows)), names)
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row["primary"] else "normal")
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:+.2g}".replace("-", "−") if x else "0")
    said = "; ".join(f"{n} {difference(c['difference'], pair(c['interval']))}, {c['answer']}"
                     for n, c in zip(names, rows, strict=True))
    return picture(figure, f"Differences in F1, averaged over k: {said}")


def difference(value: float, interval: Interval | None) -> str:
    """Such as: +0.031 (+0.004 to +0.058)."""
    ends = [f"{x:+.3f}".replace("-", "−") for x in (value, *(interval or ()))]
    return ends[0] + (f" ({ends[1]} to {ends[2]})" if interval else "")


def _difference(axes: Any, y: int, row: Row) -> None:
    colour, mark = ANSWERS[row["answer"]]
    weight, bold = ("bold", 3.2) if row["primary"] else ("normal", 1.8)
    interval = pair(row["interval"])
    if interval:
        axes.plot(interval, (y, y), color=colour, linewidth=bold, solid_capstyle="butt")
    axes.plot([row["difference"]], [y], color=colour, marker=mark, markersize=9 if row["primary"] else 7,
              linestyle="none")
    text = difference(row["difference"], interval)
    for x, said, ink in zip(COLUMNS, (text, row["answer"]), (INK, colour), strict=True):
        axes.annotate(said, (x + 0.01, y), xycoords=("figure fraction", "data"), va="center", fontweight=weight,
                      color=ink, fontsize=10.5)


def scatter(points: Sequence[tuple[float, float, int, bool]], what: str) -> Picture:
    """Kernel distance against F1, a mark a GAN.

    Args:
        points: (kernel distance times 1000, F1 or its gain, k, whether the GAN copies) each.
        what: the second figure in words.
    """
    figure, axes = frame(what, "kernel distance × 1000 from held-out patients (better to the left)")
    figure.set_size_inches(5.3, 4.0)
    ks = sorted({k for *_, k, _ in points})
    for k, (mark, shade) in zip(ks, _shades(len(ks)), strict=True):
        own = [(x, y) for x, y, of, _ in points if of == k]
        axes.plot(*zip(*own, strict=True), marker=mark, color=shade, markersize=8, markeredgecolor="white",
                  markeredgewidth=0.6, linestyle="none", label=f"k = {k}")
    copied = [(x, y) for x, y, _, copies in points if copies]
    if copied:
        axes.plot(*zip(*copied, strict=True), marker="o", markersize=15, markerfacecolor="none", markeredgewidth=2,
                  color="#b3261e", linestyle="none", label="copies found")
    if min(y for _, y, *_ in points) < 0 < max(y for _, y, *_ in points):
        axes.axhline(0, color=INK, linewidth=1.0)
    legend(axes)
    return picture(figure, f"{what} against the kernel distance of {len(points)} GANs")


def _shades(n: int) -> list[tuple[str, Any]]:
    """A mark and a shade for each of n values of k, from light to dark."""
    import matplotlib

    marks = "osD^vPX"
    shades = matplotlib.colormaps["viridis"](np.linspace(0.75, 0.0, n))
    return [(marks[i % len(marks)], tuple(shade)) for i, shade in enumerate(shades)]


def reliability(panel: Panel, curves: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]) -> Picture:
    """Observed share of positives against the mean score, a line an arm of the panel."""
    figure, axes = frame("share that is positive", "mean score")
    figure.set_size_inches(5.3, 4.2)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1.0, linestyle=(0, (1, 2)))
    for arm in (a for a in panel.arms if a in curves):
        colour, mark = SOURCES[named(arm).source]
        axes.plot(*curves[arm], color=colour, linestyle=LINES[named(arm).prefix], linewidth=1.8, marker=mark,
                  markersize=5.5, label=arm)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    legend(axes)
    return picture(figure, f"Calibration. {panel.title}: observed share against the mean score")
