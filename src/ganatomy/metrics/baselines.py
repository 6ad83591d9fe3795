"""Translations that know no anatomy: the input returned, and its grey values matched to the target's histogram.

A translator that is not ahead of these has learned nothing worth having.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.metrics.base import Images
from ganatomy.metrics.paired import LOWEST, foreground
from ganatomy.statistics.resampling import Array
from ganatomy.statistics.subjects import rows_of

INPUT_RETURNED, HISTOGRAM_MATCHED = "input returned", "histogram matching"
_QUANTILES = np.linspace(0, 1, 1001)


def input_returned(source: Images) -> Images:
    """The input itself as its own translation."""
    return source.copy()


@dataclass(frozen=True)
class HistogramMatch:
    """Maps the foreground of each subject's source volume to the training targets' values, rank to rank.

    Attributes:
        levels: quantiles of the training targets' foreground, evenly spaced, [c, q].
        rising: whether bright becomes bright; if not, bright becomes dark, as from T1 to T2.
        outside: what the background becomes, [c].
        errors: mean absolute error inside the foreground of the training pairs, % of range: of the rising and of the
            falling map. The smaller one decided. NaN without pairs.
    """

    levels: Array
    rising: bool
    outside: Array
    errors: tuple[float, float]

    @property
    def note(self) -> str:
        """Which map was taken and why, in words."""
        taken, other = ("rising", "falling") if self.rising else ("falling", "rising")
        low, high = sorted(self.errors)
        return (f"{HISTOGRAM_MATCHED}: the {taken} map, whose error on the training pairs is {low:.1f}% of the range "
                f"(the {other} one's {high:.1f}%)")

    def __call__(self, source: Images, subjects: Sequence[str]) -> Images:
        """Translate source images [n, c, s, s] in [-1, 1], all slices of a subject together."""
        return _matched(source, foreground(source, source), subjects, self)


def fit_histogram_match(source: Images, target: Images, subjects: Sequence[str]) -> HistogramMatch:
    """Learn the targets' distribution from training pairs, and whether the map should rise or fall.

    The foreground is the source's alone, since nothing else is known of an image to be translated.

    Args:
        source, target: training pairs, float32 [n, c, s, s] in [-1, 1].
        subjects: of each pair.

    Raises:
        UserError: the source images have no foreground.
    """
    inside = foreground(source, source)
    if not inside.any():
        raise UserError("the source images of the training pairs are empty",
                        fix="look at the dataset's contact-sheet.png")
    maps = _maps(target, inside)
    mask = foreground(source, target)
    rising, falling = (_error(_matched(source, inside, subjects, one), target, mask, subjects) for one in maps)
    return replace(maps[0 if rising <= falling else 1], errors=(rising, falling))


def both_histogram_matches(target: Images) -> tuple[HistogramMatch, HistogramMatch] | None:
    """The rising and the falling map to training targets, for contrasts without pairs: nothing says which is right.

    Args:
        target: training images of the target's contrast, float32 [n, c, s, s] in [-1, 1].

    Returns:
        None where the targets have no foreground.
    """
    inside = foreground(target, target)
    return _maps(target, inside) if inside.any() else None


def _maps(target: Images, inside: NDArray[np.bool_]) -> tuple[HistogramMatch, HistogramMatch]:
    channels = np.moveaxis(target, 1, 0).astype(np.float64)
    values, around = channels[:, inside], channels[:, ~inside]
    levels: Array = np.quantile(values, _QUANTILES, axis=1).T
    outside: Array = np.median(around, axis=1) if around.size else np.full(len(levels), LOWEST)
    rising, falling = (HistogramMatch(levels, up, outside, (np.nan, np.nan)) for up in (True, False))
    return rising, falling


def _matched(source: Images, inside: NDArray[np.bool_], subjects: Sequence[str], how: HistogramMatch) -> Images:
    from scipy.stats import rankdata

    made = np.broadcast_to(how.outside.astype(np.float32)[:, None, None], source.shape).copy()
    for _, rows in rows_of(subjects):
        mask = inside[rows]
        for channel, levels in enumerate(how.levels):
            values = source[rows, channel][mask]
            if not values.size:
                continue
            shares = (rankdata(values) - 0.5) / values.size
            picture = made[rows, channel]
            picture[mask] = np.interp(shares if how.rising else 1 - shares, _QUANTILES, levels)
            made[rows, channel] = picture
    return made


def _error(made: Images, target: Images, mask: NDArray[np.bool_], subjects: Sequence[str]) -> float:
    """Mean over subjects of the mean absolute error inside the mask, % of the range."""
    apart = np.abs(made - target).mean(1)
    return 50 * float(np.mean([apart[rows][mask[rows]].mean() for _, rows in rows_of(subjects) if mask[rows].any()]))
