"""Groups of runs that differ in nothing but the seed: their names, their means over seeds, what they cost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

from ganatomy.comparison.differences import Side, over_seeds
from ganatomy.comparison.figures import COPIES, SEVERITY, Column, Measured, typical
from ganatomy.comparison.runs import Evaluated
from ganatomy.core.errors import UserError
from ganatomy.core.recipe import flat
from ganatomy.metrics.schema import Direction, Interval

KEYS_NAMED = 3  # of what differs, in a group's name
MINOR = ("checkpoint_every", "checkpoint_epochs", "preview_every", "precisions_checked")  # named where nothing else is
COPIES_BAR = "copies images of real patients and cannot rank first: copies lie among real images by every distance"


@dataclass(frozen=True)
class Summary:
    """A figure of a group.

    Attributes:
        values: by seed.
        mean: over seeds.
        interval: 95%; None where there is none.
        interval_over: "seeds", or "subjects" where there is one seed or none differs; "" without an interval.
        over_subjects: the evaluations' own interval, the median of each end; None below five test subjects.
    """

    values: Mapping[int, float]
    mean: float
    interval: Interval | None
    interval_over: str
    over_subjects: Interval | None


@dataclass(frozen=True)
class Group:
    """Runs of one recipe, by seed. `differs` are those settings in which the groups of the table differ."""

    name: str
    recipe: str
    differs: Mapping[str, Any]
    runs: Sequence[Measured]
    figures: Mapping[str, Summary]

    @property
    def seeds(self) -> list[int]:
        """The runs' seeds, rising."""
        return [m.run.recipe.seed for m in self.runs]

    def cost(self) -> dict[str, float | None]:
        """Mean generator updates and seconds; None unless known of every run."""
        return {"updates": _mean_of_all([m.run.steps for m in self.runs]),
                "seconds": _mean_of_all([m.run.seconds for m in self.runs])}

    def words(self) -> dict[str, str]:
        """Cells that are no figures; of copies the worst verdict, else every finding with its number of runs."""
        found = {}
        for key in self.runs[0].words:
            each = [m.words.get(key, "-") for m in self.runs]
            counts = {word: each.count(word) for word in (sorted(set(each), key=_severity))}
            worst = list(counts)[-1]
            found[key] = worst if len(counts) == 1 else f"{worst} ({counts[worst]} of {len(each)})"
        return found

    @property
    def barred(self) -> str:
        """Why it cannot rank first; "" if it can."""
        return COPIES_BAR if any(m.words.get(COPIES) == COPIES for m in self.runs) else ""

    def side(self, key: str) -> Side:
        """For a comparison by one figure."""
        return Side(self.name, self.figures[key].values, self.cost(), self.barred)


@dataclass(frozen=True)
class Board:
    """What one table is made of.

    `groups` are ranked, those that cannot rank first behind the others. `known` are the columns that any run has.
    """

    kind: str
    direction: Direction | None
    runs: Sequence[Evaluated]
    groups: Sequence[Group]
    known: Sequence[Column]
    primary: Column

    @property
    def measured(self) -> list[Measured]:
        """All runs' figures."""
        return [m for group in self.groups for m in group.runs]

    @property
    def columns(self) -> list[Column]:
        """The columns that a group has: a figure that all of its runs have."""
        return [c for c in self.known if any(c.key in group.figures for group in self.groups)]

    @property
    def metric(self) -> str:
        """The primary outcome's name in metrics.json."""
        return self.measured[0].names[self.primary.key]

    def named_beforehand(self) -> list[str]:
        """The primary outcomes: what ranks, the kernel distance, and the critic, as far as all runs have them."""
        return [c.key for c in self.columns if c.key in (self.primary.key, "kd", "critic")
                and all(c.key in m.figures for m in self.measured)]

    def test_subjects(self) -> int | None:
        """How many subjects were tested on; None where metrics.json does not say."""
        if self.direction is not None:
            return self.direction.n_subjects
        test = self.runs[0].metrics.test
        return test.subjects if test else None


_WORSE = ("-", *SEVERITY, "can't tell", "unrelated", "greys only", "RETURNED", "NOT kept")  # any other word is good


def _severity(word: str) -> int:
    return _WORSE.index(word) if word in _WORSE else -1


def _mean_of_all(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def groups_of(runs: Sequence[Measured], columns: Sequence[Column]) -> list[Group]:
    """The groups, in the order of their first runs.

    Raises:
        UserError: two runs of one recipe and seed: they would count as independent.
    """
    by_recipe: dict[str, list[Measured]] = {}
    for one in runs:
        by_recipe.setdefault(json.dumps(_settings(one.run, _apart(runs)), sort_keys=True, default=str), []).append(one)
    own = [sorted(found, key=lambda m: m.run.recipe.seed) for found in by_recipe.values()]
    for found in own:
        _refuse_same_seed(found)
    settings = [_settings(found[0].run, _apart(runs)) for found in own]
    names = _names(settings)
    differ = _differing(settings)
    return [Group(name, found[0].run.recipe.name, {key: all_.get(key) for key in differ}, found,
                  _summaries(found, columns)) for name, found, all_ in zip(names, own, settings, strict=True)]


def _settings(run: Evaluated, starts: bool = True) -> dict[str, Any]:
    """All settings but the seed; with `starts` also which generator training began from, not only that it did."""
    found = {k: v for k, v in flat(run.recipe.model_dump(mode="json")).items() if k != "seed"}
    return found if starts or found.get("init_from") is None else found | {"init_from": "a generator"}


def _apart(runs: Sequence[Measured]) -> bool:
    """Whether runs that begin from different generators are different things. Where each seed has a generator of its
    own, as a hybrid that is trained from its translation on, they are seeds of one."""
    alike = [(json.dumps(_settings(m.run, False), sort_keys=True, default=str), m.run.recipe.seed) for m in runs]
    return len(set(alike)) < len(alike)


def _refuse_same_seed(runs: Sequence[Measured]) -> None:
    for one, other in pairwise(runs):
        if one.run.recipe.seed == other.run.recipe.seed:
            raise UserError(f"has the same recipe and seed ({one.run.recipe.seed}) as {one.run.name}: the two are not "
                            "independent", where=other.run.name, fix="give one of them, or train with another seed")


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for one in settings for key in one)
    return [key for key in keys if any(one.get(key) != settings[0].get(key) for one in settings)]


def _names(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The recipe's name, with what differs between groups of the same recipe."""
    names = []
    for own in settings:
        alike = [one for one in settings if one["name"] == own["name"]]
        keys = sorted(_differing(alike), key=lambda key: key in MINOR)
        major = [key for key in keys if key not in MINOR]
        if len({json.dumps([one.get(key) for key in major]) for one in alike}) == len(alike):
            keys = major
        said = [f"{key}={_value(own.get(key))}" for key in keys[:KEYS_NAMED]]
        more = [f"{len(keys) - KEYS_NAMED} more"] if len(keys) > KEYS_NAMED else []
        names.append(", ".join([str(own["name"]), *said, *more]))
    return [name if names.count(name) == 1 else f"{name} #{names[:i + 1].count(name)}" for i, name in enumerate(names)]


def _value(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _summaries(runs: Sequence[Measured], columns: Sequence[Column]) -> dict[str, Summary]:
    """The figures that every run of the group has."""
    return {c.key: _summary(runs, c) for c in columns if all(c.key in m.figures for m in runs)}


def _summary(runs: Sequence[Measured], column: Column) -> Summary:
    values = {m.run.recipe.seed: m.figures[column.key].value for m in runs}
    subjects = typical([m.figures[column.key] for m in runs]).interval
    interval = over_seeds(list(values.values()))
    if len(set(values.values())) == 1:
        interval = None  # seeds that are all alike, such as shares of 0, say nothing about how much seeds may differ
    if interval is not None and column.share:
        interval = max(0.0, interval[0]), min(1.0, interval[1])
    over = "seeds" if interval else "subjects" if subjects else ""
    return Summary(values, fmean(values.values()), interval or subjects, over, subjects)
