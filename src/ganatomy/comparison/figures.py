"""Which figures stand in a leaderboard, and where in metrics.json they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from ganatomy.comparison.runs import Direction, Entry, Evaluated, Interval
from ganatomy.metrics.base import Better, factor
from ganatomy.metrics.translation.baselines import HISTOGRAM_MATCHED, INPUT_RETURNED

MODEL = "model"
Primary = Literal["kd", "critic", "fd"]
COPIES = "copies"
SEVERITY = ("clean", "suspicious", COPIES)  # the audit's verdicts, worst last


@dataclass(frozen=True)
class Column:
    """A figure of the leaderboard.

    Attributes:
        key: its name in the result of `compare`.
        head: its name in tables, where it does not carry its own.
        pattern: of the names in metrics.json.
        ratio: the ratio to real images is taken, not the value.
        share: between 0 and 1.
    """

    key: str
    head: str
    pattern: str
    better: Better
    ratio: bool = False
    share: bool = False

    def matches(self, name: str) -> bool:
        """Whether a figure of metrics.json is this one."""
        return re.match(self.pattern, name) is not None


NOISE_COLUMNS = (
    Column("kd", "KD", r"KD-|KID\b", "lower"), Column("critic", "critic JS", r"Critic-JS", "lower"),
    Column("fd", "FD", r"FD-|FID\b", "lower"),
    Column("precision", "precision", "Precision", "higher", share=True),
    Column("recall", "recall", "Recall", "higher", share=True), Column("density", "density", "Density", "match"),
    Column("coverage", "coverage", "Coverage", "higher", share=True),
    Column("ms_ssim_ratio", "MS-SSIM ratio", "MS-SSIM", "match", ratio=True),
    Column("diversity_ratio", "diversity ratio", r"Diversity-(?!pixels)", "match", ratio=True))
TRANSLATION_COLUMNS = (
    Column("kd", "KD", r"KD-|KID\b", "lower"), Column("mae", "MAE (%)", "MAE foreground$", "lower"),
    Column("psnr", "PSNR (dB)", "PSNR foreground$", "higher"), Column("ssim", "SSIM", "SSIM foreground$", "higher"),
    Column("ms_ssim", "MS-SSIM", "MS-SSIM.* foreground$", "higher"))


@dataclass(frozen=True)
class Figure:
    """A value with its 95% interval over test subjects, None where there is none."""

    value: float
    interval: Interval | None = None


@dataclass(frozen=True)
class Measured:
    """One run's figures.

    Attributes:
        figures: by the column's key.
        names: the same figures' names in metrics.json.
        references: real against real.
        controls: for each control its figures.
        words: further cells of the table: what the audit for copies found, or whether a translator keeps the anatomy.
    """

    run: Evaluated
    figures: Mapping[str, Figure]
    names: Mapping[str, str]
    references: Mapping[str, Figure]
    controls: Mapping[str, Mapping[str, Figure]]
    words: Mapping[str, str]


def measured(run: Evaluated) -> Measured:
    """The figures of a run that makes images from noise, all against test."""
    results = [r for r in run.metrics.results if r.against == "test"]
    controls: dict[str, list[Entry]] = {}
    for entry in run.metrics.controls:
        controls.setdefault(entry.control, []).append(entry)
    columns = [c for c in NOISE_COLUMNS if not c.ratio]  # a control has no ratio
    return Measured(run, _figures(results, NOISE_COLUMNS), _names(results, NOISE_COLUMNS), _references(results),
                    {name: _figures(own, columns) for name, own in controls.items()}, _audited(run.metrics.results))


def measured_direction(run: Evaluated, direction: Direction) -> Measured:
    """The figures of a translator in one direction."""
    kernel, references = direction.kernel, dict[str, Figure]()
    found = {name: [entry, *direction.translators.get(name, ())] for name, entry in kernel.translators.items()}
    if kernel.reference is not None and kernel.reference.value is not None:
        references["kd"] = Figure(kernel.reference.value, kernel.reference.interval)
    controls = {name: _figures(found[name], TRANSLATION_COLUMNS) for name in (INPUT_RETURNED, HISTOGRAM_MATCHED)
                if name in found}
    own = found.get(MODEL, [])
    return Measured(run, _figures(own, TRANSLATION_COLUMNS), _names(own, TRANSLATION_COLUMNS), references, controls,
                    _kept(direction))


def _figures(entries: Sequence[Entry], columns: Iterable[Column]) -> dict[str, Figure]:
    found = {}
    for column in columns:
        entry = next((e for e in entries if column.matches(e.name)), None)
        if entry is None:
            continue
        value, interval = (entry.ratio, entry.ratio_interval) if column.ratio else (entry.value, entry.interval)
        if value is not None:
            found[column.key] = Figure(value, interval)
    return found


def _names(entries: Sequence[Entry], columns: Iterable[Column]) -> dict[str, str]:
    return {c.key: next(e.name for e in entries if c.matches(e.name)) for c in columns
            if any(c.matches(e.name) for e in entries)}


def _references(results: Sequence[Entry]) -> dict[str, Figure]:
    """Real train against real test images; of figures without it, the mean over halvings."""
    found = {}
    for column in NOISE_COLUMNS:
        entry = next((r for r in results if column.matches(r.name)), None)
        if entry is None:
            continue
        if column.ratio:
            found[column.key] = Figure(1.0)
        elif entry.reference is not None and entry.reference.value is not None:
            found[column.key] = Figure(entry.reference.value, entry.reference.interval)
        elif entry.floor is not None:
            found[column.key] = Figure(entry.floor)
    return found


def _audited(results: Sequence[Entry]) -> dict[str, str]:
    """The worst of the audit's verdicts on copies of training and of test images."""
    found = [str((r.details or {}).get("verdict", "")) for r in results if r.name in ("Copies", "Copies-test")]
    known = [verdict for verdict in found if verdict in SEVERITY]
    return {COPIES: max(known, key=SEVERITY.index) if known else "-"}


def _kept(direction: Direction) -> dict[str, str]:
    returned, anatomy = direction.returned or {}, direction.anatomy or {}
    kept = {True: "kept", False: "NOT kept"}
    return {"input": _RETURNED.get(str(returned.get("finding")), "-") if returned else "-",
            "anatomy": kept.get(anatomy["kept"], "-") if isinstance(anatomy.get("kept"), bool) else "-"}


_RETURNED = {"": "changed", "input": "RETURNED", "grey values": "greys only", "unrelated": "unrelated",
             "alike": "can't tell", "cannot tell": "can't tell"}


def typical(figures: Sequence[Figure]) -> Figure:
    """The median of the values, and of each end of the intervals."""
    ends = [f.interval for f in figures if f.interval is not None]
    interval = (median(low for low, _ in ends), median(high for _, high in ends)) if ends else None
    return Figure(median(f.value for f in figures), interval)


def shown_name(column: Column, name: str | None) -> str:
    """A column's head; distances carry the extractor's name, and kernel distances the factor they are shown by."""
    if name is None or column.key not in ("kd", "fd"):
        return column.head
    return f"{name} x 1000" if factor(name) == 1000 else name
