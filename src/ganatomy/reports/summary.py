"""Every figure at a glance: one line a metric, by the question that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from ganatomy.reports.meanings import OTHER, SECTIONS, section
from ganatomy.reports.numbers import pair, spanned
from ganatomy.reports.results import ORDER, Group, Metrics, Result, factor, groups, title

BETTER = {"lower": "↓ lower", "higher": "↑ higher", "match": "= as real"}


@dataclass(frozen=True, slots=True)
class Row:
    """A metric against test (else against what there is), with real against real and the figure against train."""

    title: str
    value: str
    interval: str
    floor: str
    floor_interval: str
    train: str
    train_interval: str  # only where there is no figure against test
    better: str


@dataclass(frozen=True, slots=True)
class Section:
    """The metrics of one question: their lines at a glance, and everything about each."""

    title: str
    rows: list[Row]
    groups: list[Group]

    @property
    def names(self) -> list[str]:
        """The metrics' names."""
        return [row.title for row in self.rows]


def sections(metrics: Metrics) -> list[Section]:
    """The metrics by question; those that no question has come last."""
    names = list(dict.fromkeys(r.name for r in metrics.results))
    details = dict(zip(names, groups(metrics), strict=True))
    found = {part: [name for name in names if section(name) == part] for part in (*SECTIONS, OTHER)}
    return [Section(part, [_row(metrics, name) for name in own], [details[name] for name in own])
            for part, own in found.items() if own]


def _row(metrics: Metrics, name: str) -> Row:
    own = sorted((r for r in metrics.results if r.name == name), key=lambda r: ORDER.get(r.against, 9))
    k, train = factor(name), next((r for r in own if r.against == "train"), None)
    first = next((r for r in own if r is not train), None)
    shown = first or own[0]
    value, interval = spanned(first.value, first.interval, k) if first else ("", "")
    floor, floor_interval = _floor(shown, k)
    beside, span = spanned(train.value, train.interval, k) if train else ("", "")
    return Row(title(name), value, interval, floor, floor_interval, beside, "" if first else span, BETTER[shown.better])


def _floor(result: Result, k: float) -> tuple[str, str]:
    """Real against real; "" where there is none at this n."""
    if result.floor is not None:
        return spanned(result.floor, result.floor_interval, k)
    reference = result.reference or {}
    value = reference.get("value")
    if result.better == "match" and isinstance(value, int | float):
        return spanned(value, pair(reference.get("interval")), k)
    return "", ""
