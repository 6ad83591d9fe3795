"""Groups of runs that differ in nothing but the seed: their means over seeds, and the differences between them.

t intervals, Welch, pairing by seed, Holm; and what may be said of a difference.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from ganatomy.comparison.runs import COPIES, SEVERITY, Column, Evaluated, Measured, typical
from ganatomy.core.errors import UserError
from ganatomy.core.recipe import flat
from ganatomy.core.text import counted
from ganatomy.metrics.schema import Direction, Interval, finite
from ganatomy.statistics.resampling import student

CLAIM_SEEDS = 5  # a side; with fewer, a difference is an indication
LEVEL = 0.05
UNEQUAL = 0.1  # of the larger: by more than this, updates or times are not equal
PAIRED, WELCH, NONE = "paired by seed", "Welch", "none"


class Test(NamedTuple):
    """A difference of means with its 95% interval and two-sided p-value, None without; and the degrees of freedom."""

    value: float
    interval: Interval | None
    p: float | None
    freedom: float | None
    method: str


class Side(NamedTuple):
    """A group in a comparison.

    Attributes:
        name: of the group.
        values: its figure by seed.
        cost: what it took on average: "updates" and "seconds", None where that is not known.
        barred: why it cannot rank first, "" if it can.
    """

    name: str
    values: Mapping[int, float]
    cost: Mapping[str, float | None]
    barred: str = ""


def over_seeds(values: Sequence[float]) -> Interval | None:
    """The 95% interval of the mean over seeds (Student's t, s - 1 degrees of freedom); None for a single seed."""
    if len(values) < 2:
        return None
    return student(float(np.mean(values)), float(np.std(values, ddof=1)) / len(values) ** 0.5, len(values))


def difference(first: Mapping[int, float], second: Mapping[int, float]) -> Test:
    """Mean of the second less mean of the first, values by seed.

    Of the same seeds the differences seed by seed are tested (Student's t), else Welch's test is used: its standard
    error is sqrt(s1^2/n1 + s2^2/n2), its degrees of freedom are those of Welch 1947 and Satterthwaite 1946. Without
    two seeds a side there is neither interval nor p-value.
    """
    a, b = (np.array([side[seed] for seed in sorted(side)]) for side in (first, second))
    value = float(b.mean() - a.mean())
    if min(len(a), len(b)) < 2:
        return Test(value, None, None, None, NONE)
    if first.keys() == second.keys():
        return _test(value, float((b - a).var(ddof=1)) / len(a), len(a) - 1, PAIRED)
    parts = np.array([a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)])
    spread = np.square(parts) / np.array([len(a) - 1, len(b) - 1])
    freedom = float(parts.sum() ** 2 / spread.sum()) if spread.sum() > 0 else float(len(a) + len(b) - 2)
    return _test(value, float(parts.sum()), freedom, WELCH)


def _test(value: float, variance: float, freedom: float, method: str) -> Test:
    from scipy.stats import t

    error = math.sqrt(variance)
    half = float(t.ppf(0.975, freedom)) * error
    if error == 0:  # no seed differs from another: nothing is known of how seeds vary, whatever the difference
        return Test(value, None, None, None, NONE)
    return Test(value, (value - half, value + half), 2 * float(t.sf(abs(value) / error, freedom)), freedom, method)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: at most 1, in the order given.

    Source: Holm, Scandinavian Journal of Statistics 1979.
    """
    adjusted, largest = [0.0] * len(p), 0.0
    for done, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - done) * p[i]))
        adjusted[i] = largest
    return adjusted


@dataclass(frozen=True)
class Difference:
    """The best group against another one by one figure, of which less is better.

    Attributes:
        best, other: names of the groups.
        ahead_by: by how much the best one's mean is lower, unscaled as in metrics.json.
        interval: 95%, over seeds, of this comparison alone; None where a side has a single seed.
        method: paired by seed, Welch, or none.
        freedom: degrees of freedom.
        p: two-sided, of this comparison alone.
        p_holm: corrected for all pairs of groups of the table, of which there are `pairs`.
        seeds: of the two sides.
        claim: five seeds a side, and p_holm at most 0.05.
        unequal: what the two did not get the same of, in words; "" where nothing.
        sentence: all this in words.
    """

    best: str
    other: str
    ahead_by: float
    interval: Interval | None
    method: str
    freedom: float | None
    p: float | None
    p_holm: float | None
    pairs: int
    seeds: tuple[int, int]
    claim: bool
    unequal: str
    sentence: str = ""

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values."""
        return {key: finite(value) for key, value in vars(self).items()}


def differences(sides: Sequence[Side], factor: float) -> list[Difference]:
    """The first side, which ranks first, against each of the others.

    The first one was chosen for its mean, so that every pair might have been the one that is tested: p-values are
    corrected over all pairs. Corrected over the comparisons with the best alone, someone would be ahead by chance in 6
    to 10 of 100 tables of five equal groups and in 9 to 14 of ten (simulated with 5 and 20 seeds); so, in 2 to 4.

    Args:
        sides: the groups, the best first; less is better.
        factor: by what the figure is multiplied in sentences.
    """
    tests = {(i, j): difference(sides[i].values, sides[j].values)
             for i in range(len(sides)) for j in range(i + 1, len(sides))}
    tested = {pair: test.p for pair, test in tests.items() if test.p is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    found = []
    for j in range(1, len(sides)):
        test, p = tests[0, j], adjusted.get((0, j))
        seeds = len(sides[0].values), len(sides[j].values)
        claim = p is not None and p <= LEVEL and min(seeds) >= CLAIM_SEEDS
        one = Difference(sides[0].name, sides[j].name, test.value, test.interval, test.method, test.freedom, test.p, p,
                         len(tested), seeds, claim, _unequal(sides[0], sides[j]))
        found.append(replace(one, sentence=_sentence(one, sides[j].barred, factor)))
    return found


def _unequal(first: Side, second: Side) -> str:
    said = []
    for what, shown in (("updates", lambda n: f"{n:,.0f} updates"), ("seconds", duration)):
        a, b = first.cost.get(what), second.cost.get(what)
        if a and b and abs(a - b) > UNEQUAL * max(a, b):
            said.append(f"{shown(a)} against {shown(b)}")
    return " and ".join(said)


def _sentence(d: Difference, barred: str, factor: float) -> str:
    names = (d.best, d.other) if d.ahead_by >= 0 else (d.other, d.best)
    sign = factor if d.ahead_by >= 0 else -factor
    low, high = sorted(sign * end for end in d.interval) if d.interval else (0.0, 0.0)
    by = f"{names[0]} is ahead of {names[1]} by {number(sign * d.ahead_by)}"
    few = f"{_seeds(d.seeds)}, {CLAIM_SEEDS} a side are needed"
    if d.interval is None or d.p_holm is None:
        why = few if min(d.seeds) < 2 else "no seed differs from another"
        said = f"No interval over seeds ({why}): {by} on average, which may be chance"
    elif d.p_holm <= LEVEL:
        said = f"{by} ({number(low)} to {number(high)}), Holm's p = {d.p_holm:.2g}"
        said = said if d.claim else f"An indication, no claim ({few}): {said}"
    else:
        alone = f", though by itself {by}," if d.p is not None and d.p <= LEVEL else ""
        said = f"{d.best} and {d.other} are not told apart{alone}: {number(low)} to {number(high)}"
        said += f", Holm's p = {d.p_holm:.2g}" + (f" ({few})" if min(d.seeds) < CLAIM_SEEDS else "")
    said += f"; {d.method}" if d.method != NONE else ""
    said += f". Not at equal cost: {d.unequal}" if d.unequal else ""
    return f"{said}. {d.other} {barred}." if barred else f"{said}."


def _seeds(seeds: tuple[int, int]) -> str:
    first, second = seeds
    return f"{counted(first, 'seed')} each" if first == second else f"{first} and {counted(second, 'seed')}"


def duration(seconds: float) -> str:
    """Seconds in words: 48 s, 11 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def number(value: float) -> str:
    """Three digits, and never an exponent: 12,300, 87.2, 0.0123."""
    if abs(value) >= 999.5:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.0005 else "0"


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
