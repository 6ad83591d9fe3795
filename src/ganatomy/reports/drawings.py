"""Every chart of a report, as SVG with its text left as text: one place for axes, colours and marks."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from ganatomy.core.text import Interval, number
from ganatomy.metrics.schema import Part
from ganatomy.reports.blocks import Picture
from ganatomy.studies.answers import CANT_TELL, DOES_NOT, HELPS, HURTS, bracketed
from ganatomy.studies.protocol import CONTROLS, named

Array = NDArray[np.float64]
Points = list[tuple[int, float]]
Mark = tuple[str, float, Sequence[float] | None, str]  # label, value, interval, kind: real, model or control
Row = Mapping[str, Any]

# Okabe and Ito's palette: told apart by colour-blind readers, and dark enough on white
COLOURS = ("#0072b2", "#c2410c", "#007a5a", "#8e4a8a", "#5c5c5c")
INK, PALE, RED = "#1d2329", "#d8dde2", "#b3261e"
DOTTED, DASHED = (0, (1, 2)), (0, (5, 1.5))
KINDS = {"real": COLOURS[2], "model": COLOURS[0], "control": COLOURS[4]}
MOST_POINTS = 800
FEW_POINTS = 10  # are marked; a line of one point would not be seen
MOST_PEAKS = 4
DISTANCES = {"kd": ("Kernel distance", 1000, "KD × 1000"), "fd": ("Fréchet distance", 1, "FD"),
             "critic_js": ("Jensen-Shannon bound of a fresh critic", 1, "Jensen-Shannon bound, nats")}

# of a study: one colour and one mark for each source of images, the same in all charts
SOURCES = {"ORG": (COLOURS[4], "o"), "OVERSAMPLE": (COLOURS[0], "s"), "GAN": (COLOURS[1], "D"),
           "GAN_ONLY": (COLOURS[3], "^"), "FRESH": (COLOURS[2], "P"), "COPIES": ("#8a6d00", "X"), "NOISE": (INK, "v")}
LINES = {"": "-", "AUG_": (0, (6, 1.5)), "AUG2_": (0, (6, 1.5, 1, 1.5))}
AUGMENTED = {"": "Without augmentation", "AUG_": "With flips (AUG)", "AUG2_": "With strong augmentation (AUG2)"}
ANSWERS = {HELPS: (COLOURS[2], "o"), HURTS: (RED, "X"), DOES_NOT: ("#9a5b00", "v"), CANT_TELL: (COLOURS[4], "D")}
WIDE = 10.9  # inches, the page's width
COLUMNS = (0.68, 0.88)  # of the forest: where its numbers and its answers begin; its axis ends at the first
SPACE = 0.062  # between direct labels, as a share of the axis


# ------------------------------------------------------------------ axes, legend, file

def frame(ylabel: str, xlabel: str = "step (generator updates)", height: float = 3.5) -> tuple[Any, Any]:
    """A figure and its axes in the report's style; whole steps along the x axis unless `xlabel` says otherwise."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator

    style = {"font.size": 11.0, "axes.edgecolor": "#7b858f", "axes.labelcolor": INK, "xtick.color": INK,
             "ytick.color": INK, "text.color": INK, "axes.spines.top": False, "axes.spines.right": False}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(5.3, height), layout="constrained")
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
    """The legend of labelled curves, above them, where it can hide none."""
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, borderaxespad=0.2)


def svg(figure: Any, alt: str) -> Picture:
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


# ------------------------------------------------------------------ training

def losses(series: Mapping[str, Points]) -> tuple[Picture, int, bool]:
    """Loss against step; of many values each lightly, and a running mean over 5% of the training boldly.

    With how many values lie outside its frame (a few wild ones would flatten all others), and whether a mean is drawn.
    """
    figure, axes = frame("loss")
    averaged = False
    for colour, (name, points) in zip(COLOURS, series.items(), strict=False):
        steps, values = _thin(points)
        window = round(len(values) / 20)
        if window > 1:
            averaged = True
            axes.plot(steps, values, color=colour, alpha=0.28, linewidth=0.8)
            values = np.convolve(values, np.ones(window), "same") / np.convolve(np.ones(len(values)), np.ones(window),
                                                                                "same")
        axes.plot(steps, values, color=colour, linewidth=2.0, label=name, markersize=5,
                  marker="o" if len(values) <= FEW_POINTS else "")
    values = np.concatenate([[value for _, value in points] for points in series.values()])
    low, high = np.percentile(values, [0.5, 99.5])
    margin = 0.08 * (high - low) or 0.1
    axes.set_ylim(low - margin, high + margin)
    outside = int(((values < low - margin) | (values > high + margin)).sum())
    legend(axes)
    return svg(figure, "Losses against the training step"), outside, averaged


def _thin(points: Points) -> tuple[Array, Array]:
    """At most `MOST_POINTS` points, each the mean of a run of them."""
    array = np.array(points, dtype=float)
    if len(array) > MOST_POINTS:
        array = np.array([part.mean(0) for part in np.array_split(array, MOST_POINTS)])
    return array[:, 0], array[:, 1]


def validation(points: Points, selected: int | None, score: str) -> Picture:
    """A score of `DISTANCES` on the validation subjects against step; the selected step is marked."""
    title, k, name = DISTANCES[score]
    figure, axes = frame(f"{name}, validation")
    steps, values = np.array([s for s, _ in points]), np.array([k * v for _, v in points])
    axes.plot(steps, values, color=COLOURS[0], linewidth=2.0, marker="o", markersize=4)
    axes.set_ylim(min(0.0, float(values.min()) * 1.1), float(values.max()) * 1.12 or 1.0)
    if selected in steps:
        value = float(values[list(steps).index(selected)])
        axes.plot([selected], [value], marker="o", markersize=12, markerfacecolor="none", markeredgewidth=2,
                  color=COLOURS[1], linestyle="none", label=f"selected: step {selected:,}, {value:.3g}")
        legend(axes)
    return svg(figure, f"{title} on the validation subjects against the training step")


# ------------------------------------------------------------------ metrics

def standing(name: str, marks: Sequence[Mark], k: float = 1.0) -> Picture:
    """Where the model stands between real images and deliberately bad generators, on one axis; k times the values."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = frame("", name, 0.9 + 0.36 * len(marks))
    ends = [0.0]
    for y, (_, value, span, kind) in enumerate(marks):
        if span:
            axes.plot([k * end for end in span], (y, y), color=KINDS[kind], linewidth=2.0, solid_capstyle="round")
        axes.plot([k * value], [y], color=KINDS[kind], marker="D" if kind == "control" else "o",
                  markersize=8 if kind == "model" else 6, linestyle="none")
        ends += [k * end for end in (value, *(span or ()))]
    low, high = min(ends), max(ends)
    margin = 0.04 * (high - low) or 1.0
    axes.set_xlim(low - (margin if low < 0 else 0.3 * margin), high + margin)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,g}".replace("-", "−"))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_yticks(range(len(marks)), [label for label, *_ in marks])
    axes.set_ylim(len(marks) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=PALE, linewidth=0.8)
    return svg(figure, f"{name}: " + ", ".join(f"{label} {k * value:.3g}" for label, value, *_ in marks))


class Peak(Part):
    """A frequency with far more power than in real images."""

    period_px: float = Field(gt=0)
    excess_db: float


class Curves(Part):
    """What the details of Spectrum and Histogram hold."""

    real: tuple[float, ...] = Field(min_length=2)
    synthetic: tuple[float, ...]
    frequency: tuple[float, ...] = ()
    grey: tuple[float, ...] | None = None
    real_low: tuple[float, ...] | None = None
    real_high: tuple[float, ...] | None = None
    peaks: tuple[Peak, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Curves:
        if len(self.real) != len(self.synthetic) or len(self.frequency) not in (0, len(self.real)):
            raise ValueError("the curves differ in length")
        return self


def _curves_of(details: Mapping[str, Any]) -> Curves | None:
    try:
        return Curves.model_validate(details)
    except ValidationError:
        return None


def spectrum(details: Mapping[str, Any]) -> Picture | None:
    """Power against frequency: the band of real subjects, the mean of real and of generated images, peaks named.

    None of details that do not hold it, or hold it broken.
    """
    curves = _curves_of(details)
    if curves is None or not curves.frequency:
        return None
    x = curves.frequency
    figure, axes = frame("power, dB", "spatial frequency, cycles a pixel")
    if curves.real_low and curves.real_high:
        axes.fill_between(x, curves.real_low, curves.real_high, color=COLOURS[2], alpha=0.22, linewidth=0,
                          label="real, by subject")
    _real_and_generated(axes, x, curves.real, curves.synthetic)
    for peak in sorted(curves.peaks, key=lambda peak: -peak.excess_db)[:MOST_PEAKS]:
        at = min(1 / peak.period_px, x[-1])
        y, last = float(np.interp(at, x, curves.synthetic)), at > 0.8 * x[-1]
        axes.annotate(f"{peak.period_px:g} px, +{peak.excess_db:.0f} dB", (at, y), textcoords="offset points",
                      xytext=(-2, 22) if last else (6, 16), ha="right" if last else "left",
                      arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.8})
    legend(axes)
    return svg(figure, "Power spectra of real and generated images")


def histogram(details: Mapping[str, Any]) -> Picture | None:
    """Share of the pixels against grey value, real and generated, on a scale that shows rare greys, too."""
    curves = _curves_of(details)
    if curves is None:
        return None
    real, fake = 100 * np.array(curves.real), 100 * np.array(curves.synthetic)
    figure, axes = frame("share of pixels, %", "grey value, 0 black to 1 white")
    _real_and_generated(axes, curves.grey or np.linspace(0, 1, len(real)), real, fake, drawstyle="steps-mid")
    if max(real.max(), fake.max()) > 20:  # much background: linear, nothing else would be seen
        least = min((v for v in (*real, *fake) if v > 0), default=0.1)
        axes.set_yscale("log")
        axes.set_ylim(bottom=max(1e-3, least / 2))
        axes.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
    legend(axes)
    return svg(figure, "Histograms of the grey values of real and generated images")


def _real_and_generated(axes: Any, x: Any, real: Any, fake: Any, **style: Any) -> None:
    axes.plot(x, real, color=COLOURS[2], linewidth=2.0, label="real", **style)
    axes.plot(x, fake, color=COLOURS[1], linewidth=2.0, linestyle=DASHED, label="generated", **style)


# ------------------------------------------------------------------ studies

@dataclass(frozen=True)
class Panel:
    """Arms that are drawn together."""

    title: str
    arms: tuple[str, ...]


def panels(arms: Sequence[str]) -> list[Panel]:
    """Arms with the same augmentation and factor together; where there are controls, these beside OVERSAMPLE alone."""
    known, drawn = [named(name) for name in arms], []
    factors = list(dict.fromkeys(a.at for a in known if a.source != "ORG")) or [""]
    for prefix in dict.fromkeys(a.prefix for a in known):
        for factor in factors:
            own = [a for a in known if a.prefix == prefix and (a.at == factor or a.source == "ORG")]
            title = AUGMENTED[prefix] + (f", {factor} × k added" if factor else "")
            main = tuple(a.name for a in own if a.source not in CONTROLS)
            checks = [a.name for a in own if a.source in CONTROLS]
            beside = [a.name for a in own if a.source == "OVERSAMPLE"]
            drawn += [Panel(title, main)] if main else []
            drawn += [Panel(f"Controls: {title[:1].lower()}{title[1:]}", (*beside, *checks))] if checks else []
    return list(dict.fromkeys(drawn))


def f1_curves(scores: Sequence[Row], arms: Sequence[str], ks: Sequence[int]) -> list[tuple[str, Picture]]:
    """F1 against k with 95% bands, a picture a panel with its title; all have the same axes.

    Of a single k a mark with its interval an arm, side by side.
    """
    rows = {(s["arm"], s["k"]): s for s in scores
            if s["metric"] == "f1" and s["k"] is not None and s["value"] is not None}
    if not rows:
        return []
    floor = next((s["floor"] for s in rows.values() if s["floor"] is not None), None)
    ends = [e for s in rows.values() for e in (s["value"], *(s["interval"] or ()))]
    ends += [floor] if floor is not None else []
    spare = 0.06 * (max(ends) - min(ends)) or 0.1
    limits = max(0.0, min(ends) - spare), min(1.02, max(ends) + spare)
    draw = _curves if len(ks) > 1 else _marks
    return [(panel.title, draw(panel, rows, ks, floor, limits)) for panel in panels(arms)]


def _curves(panel: Panel, rows: Mapping[tuple[str, int], Row], ks: Sequence[int], floor: float | None,
            limits: tuple[float, float]) -> Picture:
    figure, axes = frame("F1", "k, real positive training images", 4.2)
    reach = ks[-1] / ks[0]
    axes.set_ylim(limits)
    _log_axis(axes, ks, reach)
    ends, words = [], []
    for arm in panel.arms:
        own = [rows[arm, k] for k in ks if (arm, k) in rows]
        if own:
            _curve(axes, arm, own)
            ends.append((float(own[-1]["value"]), arm.partition("@")[0], SOURCES[named(arm).source][0]))
            words.append(f"{arm} " + ", ".join(f"{number(s['value'], 3)} at k = {s['k']}" for s in own))
    if floor is not None:
        axes.plot([axes.get_xlim()[0], ks[-1]], [floor, floor], color=INK, linewidth=1.0, linestyle=DOTTED)
        ends.append((floor, "all called positive", INK))
    _label_ends(axes, sorted(ends), ks[-1] * reach ** 0.05, limits)
    return svg(figure, f"F1 against k. {panel.title}: {'; '.join(words)}")


def _marks(panel: Panel, rows: Mapping[tuple[str, int], Row], ks: Sequence[int], floor: float | None,
           limits: tuple[float, float]) -> Picture:
    figure, axes = frame("F1", f"k = {ks[0]:,}")
    own = [(arm, rows[arm, ks[0]]) for arm in panel.arms if (arm, ks[0]) in rows]
    for x, (arm, row) in enumerate(own):
        colour, mark = SOURCES[named(arm).source]
        axes.plot([x], [row["value"]], color=colour, marker=mark, markersize=9)
        if row["interval"]:
            axes.plot([x, x], row["interval"], color=colour, linewidth=2.2)
    if floor is not None:
        axes.axhline(floor, color=INK, linewidth=1.0, linestyle=DOTTED)
    axes.set_xlim(-0.6, len(own) - 0.4)
    axes.set_ylim(limits)
    axes.set_xticks(range(len(own)), [arm.partition("@")[0] for arm, _ in own], fontsize=9.5)
    words = ", ".join(f"{arm} {number(row['value'], 3)}" for arm, row in own)
    return svg(figure, f"F1 at k = {ks[0]}. {panel.title}: {words}")


def _curve(axes: Any, arm: str, own: Sequence[Row]) -> None:
    """One arm's line and band."""
    colour, mark = SOURCES[named(arm).source]
    axes.plot([s["k"] for s in own], [s["value"] for s in own], color=colour, linestyle=LINES[named(arm).prefix],
              linewidth=2.2, marker=mark, markersize=6.5, zorder=3)
    spans = [(s["k"], *s["interval"]) for s in own if s["interval"]]
    if spans:
        at, low, high = zip(*spans, strict=True)
        axes.fill_between(at, low, high, color=colour, alpha=0.13, linewidth=0)
        for edge in (low, high):
            axes.plot(at, edge, color=colour, linewidth=0.8, alpha=0.6)


def _log_axis(axes: Any, ks: Sequence[int], reach: float) -> None:
    """A logarithmic axis with a tick at each k, and room for labels on the right; `reach` is the last k / the first."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(ks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda k, _: f"{k:,.0f}")
    axes.set_xlim(ks[0] / reach ** 0.06, ks[-1] * reach ** 0.46)


def _label_ends(axes: Any, ends: Sequence[tuple[float, str, str]], x: float, limits: tuple[float, float]) -> None:
    """Names at the right ends of the lines, in order of height, moved apart where they would overlap."""
    height = limits[1] - limits[0]
    places: list[float] = []
    for value, *_ in ends:
        places.append(max(value, places[-1] + SPACE * height) if places else value)
    over = max(0.0, places[-1] - (limits[1] - SPACE * height / 2)) if places else 0.0
    for place, (_, name, colour) in zip(places, ends, strict=True):
        axes.annotate(name, (x, place - over), va="center", color=colour, fontsize=9.5)


def difference(value: float, span: Interval | None) -> str:
    """With three decimals, so that differences can be compared: +0.031 (+0.004 to +0.058)."""
    first, *ends = (number(x, 3, sign=True) for x in (value, *(span or ())))
    return first + (f" ({ends[0]} to {ends[1]})" if ends else "")


def forest(contrasts: Sequence[Row], margin: float) -> Picture | None:
    """The differences in F1 that have an answer, from top to bottom; the primary one bold. None if there are none."""
    rows = [c for c in contrasts if c["answer"] is not None and c["difference"] is not None]
    if not rows:
        return None
    height = 0.75 + 0.34 * len(rows)
    figure, axes = frame("", "difference in F1 (better to the right), with 95% interval", height)
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
    words = "; ".join(f"{n} {difference(c['difference'], c['interval'])}, {bracketed(c)}"
                      for n, c in zip(names, rows, strict=True))
    return svg(figure, f"Differences in F1, averaged over k: {words}")


def _difference(axes: Any, y: int, row: Row) -> None:
    colour, mark = ANSWERS[row["answer"]]
    weight, width, size = ("bold", 3.2, 9) if row["primary"] else ("normal", 1.8, 7)
    if row["interval"]:
        axes.plot(row["interval"], (y, y), color=colour, linewidth=width, solid_capstyle="butt")
    axes.plot([row["difference"]], [y], color=colour, marker=mark, markersize=size, linestyle="none")
    texts = difference(row["difference"], row["interval"]), bracketed(row)
    for x, text, ink in zip(COLUMNS, texts, (INK, colour), strict=True):
        axes.annotate(text, (x + 0.01, y), xycoords=("figure fraction", "data"), va="center", fontweight=weight,
                      color=ink, fontsize=10.5)


def scatter(points: Sequence[tuple[float, float, int, bool]], what: str) -> Picture:
    """Kernel distance against F1 or its gain (`what`), a mark a GAN: (distance × 1000, F1, k, whether it copies)."""
    import matplotlib

    figure, axes = frame(what, "kernel distance × 1000 from held-out patients (better to the left)", 4.0)
    ks = sorted({k for *_, k, _ in points})
    shades = matplotlib.colormaps["viridis"](np.linspace(0.75, 0, len(ks)))
    for i, (k, shade) in enumerate(zip(ks, shades, strict=True)):
        own = [(x, y) for x, y, of, _ in points if of == k]
        axes.plot(*zip(*own, strict=True), marker="osD^vPX"[i % 7], color=tuple(shade), markersize=8,
                  markeredgecolor="white", markeredgewidth=0.6, linestyle="none", label=f"k = {k}")
    copied = [(x, y) for x, y, _, copies in points if copies]
    if copied:
        axes.plot(*zip(*copied, strict=True), marker="o", markersize=15, markerfacecolor="none", markeredgewidth=2,
                  color=RED, linestyle="none", label="copies")
    if min(y for _, y, *_ in points) < 0 < max(y for _, y, *_ in points):
        axes.axhline(0, color=INK, linewidth=1.0)
    legend(axes)
    return svg(figure, f"{what} against the kernel distance of {len(points)} GANs")


def reliability(panel: Panel, curves: Mapping[str, tuple[Array, Array]]) -> Picture:
    """Observed share of positives against the mean score, a line an arm of the panel."""
    figure, axes = frame("share that is positive", "mean score", 4.2)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1.0, linestyle=DOTTED)
    for arm in (a for a in panel.arms if a in curves):
        colour, mark = SOURCES[named(arm).source]
        axes.plot(*curves[arm], color=colour, linestyle=LINES[named(arm).prefix], linewidth=1.8, marker=mark,
                  markersize=5.5, label=arm)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    legend(axes)
    return svg(figure, f"Calibration. {panel.title}: observed share against the mean score")
