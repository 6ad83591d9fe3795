"""Which figures stand in a leaderboard, and where in metrics.json they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from ganatomy.comparison.runs import Evaluated
from ganatomy.metrics import registry
from ganatomy.metrics.schema import (
    HISTOGRAM_MATCHED,
    INPUT_RETURNED,
    MODEL,
    Better,
    Control,
    Direction,
    Interval,
    Metrics,
    PairedResult,
    Result,
)

Primary = Literal["kd", "critic", "fd"]
COPIES = "copies"
SEVERITY = ("clean", "suspicious", COPIES)  # the audit's verdicts, worst last


@dataclass(frozen=True)
class Column:
    """A value of the leaderboard.

    Attributes:
        key: its name in the result of `compare`.
        head: its name in tables, where it does not carry its own.
        name: of the values in metrics.json, without the extractor.
        ratio: the ratio to real images is taken, not the value.
        share: between 0 and 1.
    """

    key: str
    head: str
    name: str
    better: Better
    ratio: bool = False
    share: bool = False

    def matches(self, name: str) -> bool:
        """Whether a value of metrics.json is this one."""
        one = registry.about(name)
        return name.replace("-3 ", " ") == self.name or (one is not None and one.name == self.name)


def noise_columns() -> tuple[Column, ...]:
    """Those that metrics declare, in the order that they ask for."""
    known = [(one.column, one) for module in registry.every(None) for one in module.ABOUT if one.column]
    return tuple(Column(c.key, c.head, one.name, one.better, c.ratio, c.share)
                 for c, one in sorted(known, key=lambda pair: pair[0].order))


TRANSLATION_COLUMNS = (
    Column("kd", "KD", "KD", "lower"), Column("mae", "MAE (%)", "MAE foreground", "lower"),
    Column("psnr", "PSNR (dB)", "PSNR foreground", "higher"), Column("ssim", "SSIM", "SSIM foreground", "higher"),
    Column("ms_ssim", "MS-SSIM", "MS-SSIM foreground", "higher"))
Entry = Result | Control | PairedResult


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
    assert isinstance(run.metrics, Metrics)
    results, columns = [r for r in run.metrics.results if r.against == "test"], noise_columns()
    controls: dict[str, list[Control]] = {}
    for entry in run.metrics.controls:
        controls.setdefault(entry.control, []).append(entry)
    return Measured(run, _figures(results, columns), _names(results, columns), _references(results, columns),
                    {name: _figures(own, columns) for name, own in controls.items()}, _audited(run.metrics.results))


def measured_direction(run: Evaluated, direction: Direction) -> Measured:
    """The figures of a translator in one direction."""
    kernel, references = direction.kernel, dict[str, Figure]()
    found: dict[str, list[Entry]] = {name: [entry, *direction.translators.get(name, ())]
                                     for name, entry in kernel.translators.items()}
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
        value, interval = entry.value, entry.interval
        if column.ratio:  # a control has none
            value, interval = (entry.ratio, entry.ratio_interval) if isinstance(entry, Result) else (None, None)
        if value is not None:
            found[column.key] = Figure(value, interval)
    return found


def _names(entries: Sequence[Entry], columns: Iterable[Column]) -> dict[str, str]:
    return {c.key: next(e.name for e in entries if c.matches(e.name)) for c in columns
            if any(c.matches(e.name) for e in entries)}


def _references(results: Sequence[Result], columns: Iterable[Column]) -> dict[str, Figure]:
    """Real train against real test images; of figures without it, the mean over halvings."""
    found = {}
    for column in columns:
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


def _audited(results: Sequence[Result]) -> dict[str, str]:
    """The worst of the audit's verdicts on copies of training and of test images."""
    found = [str((r.details or {}).get("verdict", "")) for r in results if r.name in ("Copies", "Copies-test")]
    known = [verdict for verdict in found if verdict in SEVERITY]
    return {COPIES: max(known, key=SEVERITY.index) if known else "-"}


def _kept(direction: Direction) -> dict[str, str]:
    kept = {True: "kept", False: "NOT kept", None: "-"}
    return {"input": _RETURNED[direction.returned.finding] if direction.returned else "-",
            "anatomy": kept[direction.anatomy.kept] if direction.anatomy else "-"}


_RETURNED = {"": "changed", "input": "RETURNED", "grey values": "greys only", "unrelated": "unrelated",
             "alike": "can't tell", "cannot tell": "can't tell"}


def typical(figures: Sequence[Figure]) -> Figure:
    """The median of the values, and of each end of the intervals."""
    ends = [f.interval for f in figures if f.interval is not None]
    interval = (median(low for low, _ in ends), median(high for _, high in ends)) if ends else None
    return Figure(median(f.value for f in figures), interval)


def shown_name(column: Column, name: str | None) -> str:
    """A column's head; distances carry the extractor's name, and kernel distances the factor they are shown by."""
    return registry.shown(name) if name is not None and column.key in ("kd", "fd") else column.head
