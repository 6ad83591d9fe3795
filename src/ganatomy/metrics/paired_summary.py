"""Paired figures by subject and over subjects, and who is ahead of whom.

Slices of a subject are no independent evidence: a subject's figure is the mean of its slices, and intervals and
comparisons are over subjects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ganatomy.core.text import counted
from ganatomy.metrics.base import MIN_SUBJECTS, Better, finite
from ganatomy.metrics.paired import INSIDE, PairFigures, better
from ganatomy.statistics.subjects import by_subject, over_subjects

Interval = tuple[float, float]
NO_INTERVAL = f"with fewer than {MIN_SUBJECTS} subjects there is no interval, so chance cannot be ruled out"


NEGLIGIBLE = {"MAE": 0.05, "PSNR": 0.05, "SSIM": 0.002, "MS-SSIM": 0.002}
"""A smaller difference on a subject is none: % of the range, dB, and no unit."""


@dataclass(frozen=True)
class PairedResult:
    """One figure of one translator over the subjects.

    Attributes:
        name: such as "SSIM foreground".
        value: mean over subjects of the mean of their slices; None where no image has a foreground.
        units: "% of range", "dB", "HU"; "" without.
        interval: 95%, Student's t over subjects; None below five subjects.
        per_subject: every subject's mean.
        n_images, n_subjects: that have this figure.
        better: lower or higher.
    """

    name: str
    value: float | None
    units: str
    n_images: int
    n_subjects: int
    better: Better
    interval: Interval | None
    per_subject: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """A dictionary for metrics.json, without NaN or infinity."""
        return {key: finite(value) for key, value in vars(self).items()}


@dataclass(frozen=True)
class Comparison:
    """Two translators on the same images by one figure.

    Attributes:
        name: of the figure.
        first, second: the translators.
        difference: mean over subjects of first minus second, in the figure's units.
        interval: 95%, Student's t over subjects; None below five subjects.
        per_subject: every subject's difference.
        first_ahead: subjects on which the first is better by more than `NEGLIGIBLE`.
        second_ahead: likewise the second.
        ahead: the translator that is ahead by the interval; None if it cannot be told.
        sentence: this in words.
    """

    name: str
    first: str
    second: str
    difference: float | None
    units: str
    n_subjects: int
    better: Better
    interval: Interval | None
    per_subject: dict[str, float]
    first_ahead: int
    second_ahead: int
    ahead: str | None
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """A dictionary for metrics.json, without NaN or infinity."""
        return {key: finite(value) for key, value in vars(self).items()}


def summarise(figures: PairFigures, subjects: Sequence[str]) -> list[PairedResult]:
    """Every figure over the subjects.

    Args:
        figures: of n images.
        subjects: [n], whose image each is.
    """
    results = []
    for name, values in figures.values.items():
        each = by_subject(values, subjects)
        mean, interval = over_subjects(each)
        results.append(PairedResult(name, mean, figures.units.get(name, ""), int((~np.isnan(values)).sum()), len(each),
                                    better(name), interval, each))
    return results


def compare(first: tuple[str, PairFigures], second: tuple[str, PairFigures],
            subjects: Sequence[str]) -> list[Comparison]:
    """Two translators, each with its name, on the same images in the same order: one comparison a figure.

    Args:
        first, second: name and figures.
        subjects: [n], whose image each is.
    """
    return [_compare(name, first, second, subjects) for name in first[1].values if name in second[1].values]


def _compare(name: str, first: tuple[str, PairFigures], second: tuple[str, PairFigures],
             subjects: Sequence[str]) -> Comparison:
    left, right = (by_subject(figures.values[name], subjects) for _, figures in (first, second))
    each = {subject: left[subject] - right[subject] for subject in left if subject in right}
    mean, interval = over_subjects(each)
    sign, units = -1 if better(name) == "lower" else 1, first[1].units.get(name, "")
    gains = [sign * value for value in each.values()]
    least = next(value for part, value in NEGLIGIBLE.items() if name.startswith(part)) if " in " not in name else 0.0
    wins = sum(gain > least for gain in gains), sum(gain < -least for gain in gains)
    ahead = None
    if interval is not None and not interval[0] <= 0 <= interval[1]:
        ahead = first[0] if sign * interval[0] > 0 else second[0]
    sentence = _sentence(name, (first[0], second[0]), units, mean, interval, wins, len(each), ahead)
    return Comparison(name, first[0], second[0], mean, units, len(each), better(name), interval, each, *wins, ahead,
                      sentence)


def _sentence(name: str, names: tuple[str, str], units: str, mean: float | None, interval: Interval | None,
              wins: tuple[int, int], n: int, ahead: str | None) -> str:
    if mean is None:
        return f"{name}: no image has this figure."
    if wins == (0, 0):
        return f"{name}: {names[0]} and {names[1]} are as good as equal on {counted(n, 'subject')}."
    unit = f" {units}" if units else ""
    score = f"{names[0]} is better on {wins[0]}, {names[1]} on {wins[1]} of {counted(n, 'subject')}"
    if interval is None:
        return f"{name}: {score}, by {mean:+.3g}{unit} on average; {NO_INTERVAL}."
    verdict = f"{ahead} is ahead" if ahead else f"{names[0]} and {names[1]} cannot be told apart"
    return f"{name}: {verdict}: {mean:+.3g}{unit} [{interval[0]:+.3g}, {interval[1]:+.3g}]; {score}."


def headline(comparisons: Sequence[Comparison]) -> str:
    """Who is ahead by the figures inside the foreground, and where they disagree, in one sentence.

    SSIM and MS-SSIM rise with blur: a lead by them alone ranks nothing, nor does it undo one by MAE or PSNR.
    Below five subjects a translator counts as ahead by a figure if it is better on every subject, and the sentence
    says that this may be chance.

    Args:
        comparisons: of the same two translators, as `compare` gives them.
    """
    kept = [c for c in comparisons if c.name.endswith(INSIDE) and c.difference is not None and " in " not in c.name]
    if not kept:
        return "The translators cannot be compared: no image has a foreground."
    leaders = {c.name.removesuffix(f" {INSIDE}"): _leader(c) for c in kept}
    first, second, n = kept[0].first, kept[0].second, min(c.n_subjects for c in kept)
    by_first, by_second, by_none = ([f for f, who in leaders.items() if who == name] for name in (first, second, None))
    rest = f"; by {_listed(by_none)} it cannot be told" if by_none else ""
    tail = f" ({counted(n, 'subject')}; {NO_INTERVAL})." if n < MIN_SUBJECTS else f" ({counted(n, 'subject')})."
    if not by_first and not by_second:
        return f"{first} and {second} cannot be told apart by {_listed(by_none)}{tail}"
    return _verdict((first, by_first), (second, by_second)) + rest + tail


def _verdict(first: tuple[str, list[str]], second: tuple[str, list[str]]) -> str:
    """Two translators, each with the figures by which it is ahead, at least one in all."""
    ranked = [[figure for figure in figures if "SSIM" not in figure] for _, figures in (first, second)]
    if all(ranked):
        return (f"The figures disagree: by {_listed(first[1])} {first[0]} is ahead, by {_listed(second[1])} "
                f"{second[0]} is; neither ranks above the other")
    (winner, figures), (loser, against) = (first, second) if ranked[0] or (not ranked[1] and first[1]) else \
        (second, first)
    if any(ranked):
        ahead = f"{winner} is ahead of {loser} by {_listed(figures)}"
        if not against:
            return ahead
        return f"{ahead}; {_listed(against)} {_disagrees(against)}, which can rise with blur and ranks nobody alone"
    if against:
        return (f"{winner} is ahead by {_listed(figures)} and {loser} by {_listed(against)} alone, which can rise with "
                f"blur: that ranks neither")
    return f"{winner} is ahead of {loser} by {_listed(figures)} alone, which can rise with blur: that ranks neither"


def _disagrees(figures: list[str]) -> str:
    return "disagree" if len(figures) > 1 else "disagrees"


def _leader(comparison: Comparison) -> str | None:
    if comparison.interval is not None:
        return comparison.ahead
    wins = comparison.first_ahead, comparison.second_ahead
    return {(comparison.n_subjects, 0): comparison.first, (0, comparison.n_subjects): comparison.second}.get(wins)


def ranking(translators: Mapping[str, PairFigures], subjects: Sequence[str]) -> list[str]:
    """The `headline` of the first translator against each of the others."""
    (name, figures), *others = translators.items()
    return [headline(compare((name, figures), other, subjects)) for other in others]


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
