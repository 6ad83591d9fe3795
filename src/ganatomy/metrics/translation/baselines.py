"""Translations that know no anatomy: the input returned, and its grey values matched to the target's histogram.

A translator that is not ahead of these has learned nothing worth having.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.metrics.base import Images, finite
from ganatomy.metrics.translation.paired import LOWEST, Mask, foreground
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


Finding = Literal["input", "grey values", "unrelated", "alike", "cannot tell", ""]

NEAR = 0.25
"""Nearer to the input than this share of the real target's distance (root mean square): the input is returned."""
ALIKE = 0.9
"""Above this share of the real target's variance that the input itself explains, returning it is no fault."""
UNEXPLAINED = 0.2
"""Less than this share of what a curve leaves unexplained in the real target: only grey values are changed."""
LEAST_LEFT = 0.01
"""A curve must leave at least this share of the real target unexplained, or a curve is all that is needed."""
REPRODUCED = 0.2
"""Nor does a translator only change grey values that gets more than this share of that unexplained part right."""
UNRELATED = 0.1
"""Where neither a curve of the input nor one of the real target explains this share of the output, it is neither's."""
_BINS, _FEWEST_PIXELS, _CONSTANT = 64, 200, 1e-6


@dataclass(frozen=True)
class Returned:
    """What was found. Figures are medians over subjects, of all foreground pixels of a subject together.

    Attributes:
        finding: "input": it is returned, nearly unchanged. "grey values": one curve of the input's grey value makes
            the output. "unrelated": it has little to do with the input or the truth. "alike": source and target look
            too much alike to tell. "cannot tell": there is nothing to judge by, or the output is of one grey. "":
            none of these.
        moved: root mean square distance of output and input, as a share of that of real target and input; without a
            truth of that of the input with its grey values matched.
        same_made, same_real: share of the variance of output and real target that the input itself explains; below 0
            where their mean would explain more.
        curve_made, curve_real: likewise the best curve of the input's grey value, of any shape.
        reproduced: of what that curve leaves unexplained in the real target, the share that the output has too (slope
            of one residual on the other); noise in the target cannot be reproduced and keeps it below 1.
        truth_made: share of the output's variance that the best curve of the real target's grey value explains.
        n_subjects: how many were judged.
        sentence: this in words.
    """

    finding: Finding
    moved: float | None
    same_made: float | None
    same_real: float | None
    curve_made: float | None
    curve_real: float | None
    reproduced: float | None
    truth_made: float | None
    n_subjects: int
    sentence: str

    @property
    def found(self) -> bool:
        """Whether the translator does not translate."""
        return self.finding in ("input", "grey values", "unrelated")

    def to_json(self) -> dict[str, Any]:
        """A dictionary for metrics.json, without NaN or infinity."""
        return {key: finite(value) for key, value in vars(self).items()}


class _Shares(NamedTuple):
    moved: float
    same_made: float
    same_real: float
    curve_made: float
    curve_real: float
    reproduced: float
    truth_made: float


def returned_input(source: Images, made: Images, target: Images, mask: Mask, subjects: Sequence[str]) -> Returned:
    """Find out whether a translator returns its input or only changes its grey values.

    - It returns its input if its images lie within `NEAR` of the way from the input to the real target, and the
      input itself explains less than `ALIKE` of the real target's variance.
    - It only changes grey values if the best curve of the input's grey value (means of 64 classes of equal size:
      rising, falling or neither) leaves less than `UNEXPLAINED` of its variance unexplained relative to the real
      target's, and its images reproduce less than `REPRODUCED` of what the curve leaves in the real target.
    - It has little to do with its input or the truth if no curve of either explains `UNRELATED` of its variance.

    Small random noise on the output hides neither, unless a curve explains nearly all of the real target.

    Args:
        source, made, target: float32 [n, c, s, s] in [-1, 1]; of colour images the mean of the channels counts.
        mask: bool [n, s, s], see `paired.foreground`.
        subjects: [n], whose image each is.
    """
    found = [_shares(*pixels) for pixels in _pixels((source, made, target), mask, subjects)]
    if not found:
        return _nothing_to_judge_by()
    shares = _Shares(*_medians(found))
    finding = _judge(shares)
    return Returned(finding, *shares, len(found), _sentence(finding, shares))


def returned_unpaired(source: Images, made: Images, matched: Sequence[Images], mask: Mask,
                      subjects: Sequence[str]) -> Returned:
    """Find out without a truth whether a translator returns its input; not whether it only changes grey values.

    How far the real target lies from the input is not known. In its place stands the input with its grey values
    matched to those of real targets. Of several such matches the nearest to the input counts: it takes the least
    change to give the input the target's values, so that a translator is not accused of too little. Real pairs of T1
    and T2 lie farther apart than that.

    Args:
        source, made: float32 [n, c, s, s] in [-1, 1]; of colour images the mean of the channels counts.
        matched: the source's images with their grey values matched, each like `source`; none if there is nothing to
            match with.
        mask, subjects: as for `returned_input`.
    """
    found = [_unpaired_shares(*pixels) for pixels in _pixels((source, made, *matched), mask, subjects)]
    if not matched or not found:
        return _nothing_to_judge_by()
    moved, same, curve = _medians(found)
    finding: Finding = "unrelated" if curve < UNRELATED else "alike" if same >= ALIKE else \
        "input" if moved <= NEAR else ""
    return Returned(finding, moved, None, None, curve, None, None, None, len(found),
                    _unpaired_sentence(finding, moved, curve))


def _nothing_to_judge_by() -> Returned:
    return Returned("cannot tell", None, None, None, None, None, None, None, 0,
                    "Whether the input is returned cannot be told: there is no foreground, or it is of one grey.")


def _pixels(images: Sequence[Images], mask: Mask, subjects: Sequence[str]) -> Iterator[list[Array]]:
    """The foreground's pixels of each subject that can be judged, of each kind of images."""
    for _, rows in rows_of(subjects):
        inside = mask[rows]
        pixels = [one[rows].mean(1, dtype=np.float64)[inside] for one in images]
        if inside.sum() >= _FEWEST_PIXELS and all(values.std() > _CONSTANT for values in pixels):
            yield pixels


def _medians(found: Sequence[Sequence[float]]) -> list[float]:
    return [float(value) for value in np.median(np.array(found), axis=0)]


def _unpaired_shares(source: Array, made: Array, *matched: Array) -> tuple[float, float, float]:
    """Distance moved as a share of the nearest match's; what the input explains of that match, and a curve of it."""
    nearest = min(matched, key=lambda values: float(np.square(values - source).mean()), default=source)
    distance = np.square(nearest - source).mean()
    moved = np.sqrt(np.square(made - source).mean() / distance) if distance > _CONSTANT else np.inf
    return float(moved), _explained(nearest - source, nearest), \
        _explained(made - _curve(_classes(source), made), made)


def _shares(source: Array, made: Array, target: Array) -> _Shares:
    classes = _classes(source)
    left_made, left_real = (values - _curve(classes, values) for values in (made, target))
    distance = np.square(target - source).mean()
    moved = np.sqrt(np.square(made - source).mean() / distance) if distance > _CONSTANT else np.inf
    unexplained = np.square(left_real).sum()
    reproduced = (left_made * left_real).sum() / unexplained if unexplained > _CONSTANT else np.nan
    return _Shares(moved, _explained(made - source, made), _explained(target - source, target),
                   _explained(left_made, made), _explained(left_real, target), reproduced,
                   _explained(made - _curve(_classes(target), made), made))


def _classes(values: Array) -> NDArray[np.intp]:
    """Class of each grey value, of classes of equal size."""
    bins = max(2, min(_BINS, values.size // 50))
    edges = np.quantile(values, np.arange(1, bins) / bins)
    return np.searchsorted(edges, values)


def _curve(classes: NDArray[np.intp], values: Array) -> Array:
    """Mean of the values of each pixel's class."""
    means: Array = np.bincount(classes, values) / np.maximum(np.bincount(classes), 1)
    return means[classes]


def _explained(left: Array, values: Array) -> float:
    return float(1 - np.square(left).mean() / values.var())


def _judge(shares: _Shares) -> Finding:
    if max(shares.curve_made, shares.truth_made) < UNRELATED:
        return "unrelated"
    if shares.same_real >= ALIKE:
        return "alike"
    if shares.moved <= NEAR:
        return "input"
    left_made, left_real = 1 - shares.curve_made, 1 - shares.curve_real
    if left_real < LEAST_LEFT:
        return "alike"
    if left_made <= UNEXPLAINED * left_real and not shares.reproduced > REPRODUCED:
        return "grey values"
    return ""


def _sentence(finding: Finding, shares: _Shares) -> str:
    if finding == "input":
        return (f"The translator returns its input nearly unchanged: its images differ from the input by "
                f"{100 * shares.moved:.0f}% of what the real target does.")
    if finding == "grey values":
        return (f"The translator only changes grey values: one curve of the input's grey value makes up "
                f"{_percent(shares.curve_made)} of its images, but {_percent(shares.curve_real)} of the real target; "
                f"tissues that are equally grey in the input stay equally grey.")
    if finding == "alike":
        how = "the input itself" if shares.same_real >= ALIKE else "one curve of the input's grey value"
        share = shares.same_real if shares.same_real >= ALIKE else shares.curve_real
        return (f"Whether the input is returned cannot be told: {how} makes up {_percent(share)} of the real target, "
                f"so the two contrasts hardly differ otherwise.")
    if finding == "unrelated":
        return (f"The translator's images have little to do with its input or the truth: one curve of the input's grey "
                f"value makes up {_percent(shares.curve_made)} of them, one of the real target's "
                f"{_percent(shares.truth_made)}.")
    if not shares.reproduced > REPRODUCED:
        return (f"The translator neither returns its input nor only changes grey values, yet little of the truth is in "
                f"what it adds: of what a curve of the input's grey value leaves of the real target it reproduces "
                f"{_percent(shares.reproduced)}.")
    return (f"The translator does more than change grey values: one curve of the input's grey value makes up "
            f"{_percent(shares.curve_made)} of its images and {_percent(shares.curve_real)} of the real target, and of "
            f"the rest of the target {100 * shares.reproduced:.0f}% is reproduced.")


def _unpaired_sentence(finding: Finding, moved: float, curve: float) -> str:
    if finding == "alike":
        return ("Whether the input is returned cannot be told: there is no truth, and the grey values of the two "
                "contrasts hardly differ.")
    apart = f"its images differ from the input by {100 * moved:.0f}% of what matching the grey values would change"
    if finding == "input":
        return f"The translator returns its input nearly unchanged: {apart}."
    if finding == "unrelated":
        return (f"The translator's images have little to do with its input: one curve of the input's grey value makes "
                f"up {_percent(curve)} of them.")
    return (f"The translator does not return its input: {apart}. One curve of the input's grey value makes up "
            f"{_percent(curve)} of them; without a truth it cannot be told whether that is too much.")


def _percent(share: float) -> str:
    return f"{100 * max(0.0, share):.1f}%"
