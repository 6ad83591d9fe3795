"""Differences between groups of runs over seeds: t intervals, Welch, pairing, Holm, and what may be said of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ganatomy.core.text import counted
from ganatomy.metrics.schema import Interval, finite
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
