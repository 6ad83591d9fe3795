"""Groups of runs that differ in nothing but the seed: their means over seeds, and the differences between them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean
from typing import Any

import numpy as np

from ganatomy.comparison.runs import COPIES, SEVERITY, Estimate, Evaluated, span_of, typical
from ganatomy.core.errors import UserError
from ganatomy.core.recipe import flat
from ganatomy.core.text import Interval
from ganatomy.features.base import SECOND
from ganatomy.metrics.base import Column
from ganatomy.statistics.resampling import holm, student
from ganatomy.statistics.subjects import clipped

CLAIM_SEEDS = 5  # a side; fewer give values and no interval: of two Student's t is 12.7
LEVEL = 0.05
PAIRED, WELCH, NONE = "paired by seed", "Welch", "none"
KEYS_NAMED = 3  # of what differs, in a group's name
MINOR = ("checkpoint_every", "checkpoint_epochs", "preview_every", "precisions_checked")  # named where nothing else is
COPIES_BAR = "copies images of real patients and cannot rank first: copies lie among real images by every distance"
EYES_BAR = "was trained to please the network of these features, which therefore flatter it, and cannot rank first: " \
           f"evaluate all runs again with --features {SECOND}"
_WORSE = ("-", *SEVERITY, "can't tell", "unrelated", "greys only", "RETURNED", "NOT kept")  # any other word is good


def over_seeds(values: Sequence[float]) -> Interval | None:
    """The 95% interval of the mean over seeds (Student's t, s - 1 degrees of freedom); None below five seeds."""
    if len(values) < CLAIM_SEEDS:
        return None
    return student(float(np.mean(values)), float(np.std(values, ddof=1)) / len(values) ** 0.5, len(values))


@dataclass(frozen=True)
class Difference:
    """Between the means over seeds of two groups, by a value of which less is better.

    Attributes:
        ahead_by: by how much the first one's mean is lower, unscaled as in metrics.json.
        interval: 95%, over seeds; None where a side has fewer than five or no seed differs.
        method: paired by seed, Welch, or none.
        freedom, p: degrees of freedom; two-sided, of this comparison alone.
        seeds: of the two sides.
        p_holm: corrected for all pairs of groups of the table, of which there are `pairs`.
        claim: p_holm is at most 0.05.
    """

    ahead_by: float
    interval: Interval | None
    method: str
    freedom: float | None
    p: float | None
    seeds: tuple[int, int]
    p_holm: float | None = None
    pairs: int = 0
    claim: bool = False


def difference(first: Mapping[int, float], second: Mapping[int, float]) -> Difference:
    """Mean of the second less mean of the first, values by seed.

    Of the same seeds the differences seed by seed are tested (Student's t), else Welch's test is used. Below five seeds
    a side, or where no seed differs from another, there is neither interval nor p-value.
    """
    from scipy.stats import ttest_ind, ttest_rel

    a, b = (np.array([side[seed] for seed in sorted(side)]) for side in (first, second))
    ahead_by, seeds, paired = float(b.mean() - a.mean()), (len(a), len(b)), first.keys() == second.keys()
    if min(seeds) < CLAIM_SEEDS or not ((b - a).var() if paired else a.var() + b.var()) > 0:
        return Difference(ahead_by, None, NONE, None, None, seeds)
    test = ttest_rel(b, a) if paired else ttest_ind(b, a, equal_var=False)
    low, high = map(float, test.confidence_interval(0.95))
    return Difference(ahead_by, (low, high), PAIRED if paired else WELCH, float(test.df), float(test.pvalue), seeds)


def differences(groups: Sequence[Mapping[int, float]]) -> list[Difference]:
    """The first group, which ranks first, against each of the others; each by its values by seed, less is better.

    The first one was chosen for its mean, so that every pair might have been the one that is tested: p-values are
    corrected over all pairs. Corrected over the comparisons with the best alone, someone would be ahead by chance in 6
    to 10 of 100 tables of five equal groups and in 9 to 14 of ten (simulated with 5 and 20 seeds); so, in 2 to 4.
    """
    tests = {(i, j): difference(groups[i], groups[j]) for j in range(len(groups)) for i in range(j)}
    tested = {pair: test.p for pair, test in tests.items() if test.p is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    with_best = [(tests[0, j], adjusted.get((0, j))) for j in range(1, len(groups))]
    return [replace(test, p_holm=p, pairs=len(tested), claim=p is not None and p <= LEVEL) for test, p in with_best]


@dataclass(frozen=True)
class Summary:
    """A value of a group: by seed, their mean, its 95% interval, over "seeds", or "subjects" where seeds give none.

    `over_subjects` is the evaluations' own interval, the median of each end; None below five test subjects.
    """

    values: Mapping[int, float]
    mean: float
    interval: Interval | None
    interval_over: str
    over_subjects: Interval | None

    @classmethod
    def of(cls, estimates: Mapping[int, Estimate], span: Interval) -> Summary:
        """Of values by seed; their interval is cut where theirs are."""
        values = {seed: one.value for seed, one in estimates.items()}
        subjects, interval = typical(list(estimates.values())).interval, over_seeds(list(values.values()))
        if len(set(values.values())) == 1:
            interval = None  # seeds that are all alike, such as shares of 0, say nothing of how much seeds may differ
        interval = clipped(interval, span)
        over = "seeds" if interval else "subjects" if subjects else ""
        return cls(values, fmean(values.values()), interval or subjects, over, subjects)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**vars(self), "values": list(self.values.values())}


@dataclass(frozen=True)
class Group:
    """Runs of one recipe: settings in which the groups differ, values that all runs have, by the column's key."""

    name: str
    differs: Mapping[str, Any]
    runs: Sequence[Evaluated]
    summaries: Mapping[str, Summary]

    @property
    def steps(self) -> float | None:
        """Mean generator updates; None unless known of every run."""
        return _mean_of_all([run.steps for run in self.runs])

    @property
    def seconds(self) -> float | None:
        """Mean time trained; None unless known of every run."""
        return _mean_of_all([run.seconds for run in self.runs])

    @property
    def words(self) -> dict[str, str]:
        """Cells without a number: the worst word, with the number of its runs where they differ."""
        words = {}
        for key in self.runs[0].words:
            each = [run.words.get(key, "-") for run in self.runs]
            worst = max(each, key=lambda word: _WORSE.index(word) if word in _WORSE else -1)
            words[key] = worst if len(set(each)) == 1 else f"{worst} ({each.count(worst)} of {len(each)})"
        return words

    @property
    def barred(self) -> str:
        """Why it cannot rank first; "" if it can."""
        if any(run.words.get(COPIES) == COPIES for run in self.runs):
            return COPIES_BAR
        return EYES_BAR if any(run.flattered for run in self.runs) else ""


def _mean_of_all(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def groups_of(runs: Sequence[Evaluated], columns: Sequence[Column]) -> list[Group]:
    """The groups, in the order of their first runs.

    Raises:
        UserError: two runs of one recipe and seed: they would count as independent.
    """
    starts = _starts_differ(runs)
    by_recipe: dict[str, list[Evaluated]] = {}
    for run in runs:
        by_recipe.setdefault(_plain(_settings(run, starts)), []).append(run)
    alike = [sorted(own, key=lambda run: run.recipe.seed) for own in by_recipe.values()]
    for one, other in (pair for own in alike for pair in pairwise(own)):
        if one.recipe.seed == other.recipe.seed:
            raise UserError(f"has the same recipe and seed ({one.recipe.seed}) as {one.name}: the two are not "
                            "independent", where=other.name, fix="give one of them, or train with another seed")
    settings = [_settings(own[0], starts) for own in alike]
    differ = _differing(settings)
    return [Group(name, {key: own_settings.get(key) for key in differ}, own, _summaries(own, columns))
            for name, own, own_settings in zip(_names(settings), alike, settings, strict=True)]


def _summaries(runs: Sequence[Evaluated], columns: Sequence[Column]) -> dict[str, Summary]:
    return {c.key: Summary.of({run.recipe.seed: run.values[c.key] for run in runs}, span_of(c)) for c in columns
            if all(c.key in run.values for run in runs)}


def _plain(settings: Any) -> str:
    return json.dumps(settings, sort_keys=True, default=str)


def _settings(run: Evaluated, starts: bool) -> dict[str, Any]:
    """All settings but the seed, and the steps that a budget became; with `starts` also which generator training began
    from, not only that it did."""
    measured = {"seed"} if run.recipe.budget is None else {"seed", "steps"}
    settings = {k: v for k, v in flat(run.recipe.model_dump(mode="json")).items() if k not in measured}
    return settings if starts or settings.get("init_from") is None else settings | {"init_from": "a generator"}


def _starts_differ(runs: Sequence[Evaluated]) -> bool:
    """Whether runs that begin from different generators are different things. Where each seed has a generator of its
    own, as a hybrid that is trained from its translation on, they are seeds of one."""
    alike = [(_plain(_settings(run, False)), run.recipe.seed) for run in runs]
    return len(set(alike)) < len(alike)


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
        if len({_plain([one.get(key) for key in major]) for one in alike}) == len(alike):
            keys = major
        shown = [f"{key}={_value(own.get(key))}" for key in keys[:KEYS_NAMED]]
        more = [f"{len(keys) - KEYS_NAMED} more"] if len(keys) > KEYS_NAMED else []
        names.append(", ".join([str(own["name"]), *shown, *more]))
    return [name if names.count(name) == 1 else f"{name} #{names[:i + 1].count(name)}" for i, name in enumerate(names)]


def _value(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
