"""The tables of a translation's report, as text: figures by translator, by subject, there and back, the anatomy."""

from __future__ import annotations

from dataclasses import dataclass, field

from ganatomy.metrics.base import MIN_SUBJECTS
from ganatomy.metrics.schema import MODEL
from ganatomy.metrics.translation.anatomy import ALLOWED, JUDGED
from ganatomy.metrics.translation.baselines import HISTOGRAM_MATCHED, INPUT_RETURNED
from ganatomy.metrics.translation.paired import INSIDE, WHOLE
from ganatomy.metrics.translation.registration import DEFORMATION, INVENTED, KEPT, LOST, SHIFT
from ganatomy.reports import figures
from ganatomy.reports.images import Picture
from ganatomy.reports.numbers import Interval, number, spanned
from ganatomy.reports.translation_results import AnatomyFigure, Direction, Figure

HEADS = {MODEL: "This model", HISTOGRAM_MATCHED: "Histogram matching", INPUT_RETURNED: "Input returned"}
REGIONS = {INSIDE: "Inside the patient", WHOLE: "The whole picture (empty background flatters)"}
MEANINGS = {
    SHIFT: "The whole output against its input.",
    DEFORMATION: "How far parts of it are moved against the rest (95th percentile over an image's blocks).",
    LOST: "Share of the blocks with content that are not to be found in the output.",
    KEPT: "Share of the input's strong edges that the output has, too.",
    INVENTED: "Share of the output's strong edges that the input does not have.",
}
BY_SUBJECT = ("MAE", "PSNR", "SSIM")


@dataclass(frozen=True, slots=True)
class Cell:
    """A value, its interval, and how often the model is better; each "" where there is none."""

    value: str
    interval: str = ""
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a table."""

    name: str
    cells: list[Cell]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Lines in groups, each with a title ("" for none), below the heads of its columns."""

    heads: list[str]
    groups: list[tuple[str, list[Line]]] = field(default_factory=list)


def main_table(direction: Direction) -> Table:
    """Figures as rows, translators as columns; the kernel distance last, with real images as its reference."""
    names = direction.names
    table = Table([HEADS.get(name, name) for name in names])
    for region, title in REGIONS.items():
        own = [f for f in direction.translators.get(MODEL, ()) if f.name.endswith(region)]
        lines = [Line(_titled(f), [_cell(direction.figure(name, f.name), _wins(direction, name, f.name))
                                   for name in names]) for f in own]
        if lines:
            table.groups.append((title, lines))
    kernel = direction.kernel
    if kernel.translators:
        cells = [Cell(*spanned(found.value, found.interval, 1000)) for name in names
                 if (found := kernel.translators.get(name))]
        notes = [f"{text[:1].upper()}{text[1:]}." for text in
                 dict.fromkeys(found.caveat for found in kernel.translators.values()) if text]
        if kernel.reference and kernel.reference.value is not None:
            value, interval = spanned(kernel.reference.value, kernel.reference.interval, 1000)
            notes.append(f"Reference, {kernel.reference.what}: {value}{f' ({interval})' if interval else ''}.")
        note = " ".join(notes)
        table.groups.append(("All images together, against real ones", [Line("KD-Lite0 × 1000 ↓", cells, note)]))
    return table


def subject_table(direction: Direction) -> Table | None:
    """Every subject's figures, where there are two or more, but too few for an interval."""
    if not 1 < direction.n_subjects < MIN_SUBJECTS or not direction.translators:
        return None
    names = direction.names
    table = Table([HEADS.get(name, name) for name in names])
    for figure in direction.translators[MODEL]:
        if figure.short in BY_SUBJECT and figure.name.endswith(INSIDE):
            found = {name: direction.figure(name, figure.name) for name in names}
            lines = [Line(f"Subject {i}", [_of(found[name], subject) for name in names])
                     for i, subject in enumerate(figure.per_subject, 1)]
            table.groups.append((f"{_titled(figure)}, {INSIDE}", lines))
    return table


def back_table(direction: Direction) -> Table | None:
    """Errors of the way there and back, and of a real target through the same generator; two-way models only."""
    if not direction.cycle:
        return None
    table = Table(["There and back (cycle)", f"Real {direction.target} put in (identity)"], [("", [])])
    for figure in direction.cycle:
        other = next((f for f in direction.identity if f.name == figure.name), None)
        if figure.name.endswith(INSIDE) and figure.short in BY_SUBJECT:
            table.groups[0][1].append(Line(_titled(figure), [_cell(figure), _cell(other)]))
    return table


def anatomy_table(direction: Direction) -> list[tuple[str, str, str, str, str, bool]]:
    """Name, meaning, value, reference, share beyond the limit, and whether that is too much."""
    if direction.anatomy is None:
        return []
    return [(f.name, MEANINGS[f.name], *_judged(f)) for f in direction.anatomy.figures if f.name in JUDGED]


def standing_pictures(direction: Direction) -> list[Picture]:
    """Where the model stands among the others: mean absolute error, and kernel distance with its reference."""
    found, kernel = [], direction.kernel
    marks = [(HEADS.get(name, name), f.value or 0.0, f.interval, _kind(name)) for name in direction.names
             if (f := direction.figure(name, f"MAE {INSIDE}"))]
    if len(marks) > 1:
        found.append(figures.standing_figure("MAE inside the patient, % of range", marks))
    marks = [(HEADS.get(name, name), own.value, own.interval, _kind(name)) for name in direction.names
             if (own := kernel.translators.get(name))]
    if kernel.reference and kernel.reference.value is not None:
        marks.insert(0, ("Real train vs test", kernel.reference.value, kernel.reference.interval, "real"))
    if len(marks) > 1:
        found.append(figures.standing_figure("KD-Lite0 × 1000", marks, 1000.0))
    return found


def _kind(name: str) -> str:
    return "control" if name in (INPUT_RETURNED, HISTOGRAM_MATCHED) else "model"


def _titled(figure: Figure) -> str:
    """MAE (% of range) with an arrow to where it is better."""
    units = f" ({figure.units})" if figure.units and figure.units not in figure.short else ""
    return f"{figure.short}{units} {'↓' if figure.name.startswith('MAE') else '↑'}"


def _cell(figure: Figure | None, beside: str = "") -> Cell:
    if figure is None or figure.value is None:
        return Cell("–")
    return Cell(*spanned(figure.value, figure.interval), beside)


def _wins(direction: Direction, name: str, figure: str) -> str:
    found = next((c for c in direction.comparisons.get(name, ()) if c.name == figure and c.n_subjects > 1), None)
    return f"model better on {found.first_ahead}/{found.n_subjects}" if found else ""


def _of(figure: Figure | None, subject: str) -> Cell:
    value = figure.per_subject.get(subject) if figure else None
    return Cell("–" if value is None else number(value))


def _judged(figure: AnatomyFigure) -> tuple[str, str, str, bool]:
    reference = figure.reference
    beside = "–"
    if reference is not None and reference.value is not None:
        beside = f"{_amount(figure, reference.value, reference.interval)} ({reference.what})"
    bad = figure.beyond is not None and figure.beyond > (ALLOWED if figure.allowed is None else figure.allowed)
    side, beyond = "below" if figure.name == KEPT else "above", "–"
    if figure.beyond is not None and figure.limit is not None:
        beyond = f"{100 * figure.beyond:.0f}% of images {side} {_amount(figure, figure.limit, None)}"
    return _amount(figure, figure.value, figure.interval), beside, beyond, bad


def _amount(figure: AnatomyFigure, value: float | None, interval: Interval | None) -> str:
    if value is None:
        return "not measurable"
    if not figure.unit:
        low, high = (min(100.0, max(0.0, 100 * end)) for end in interval or (0, 0))
        return f"{100 * value:.1f}%" + (f" ({low:.1f} to {high:.1f})" if interval and high > low else "")
    text, span = spanned(value, interval if interval and interval[1] > interval[0] else None)
    return f"{text} {figure.unit}" + (f" ({span})" if span else "")
