"""Translations that know no anatomy: the input returned, and its grey values matched to the target's histogram.

A translator that is not ahead of these has learned nothing worth having. Whether it does no more than they is told by
how much of its output the input itself explains, beside how much of the *real* target it explains; without a truth
beside the input with its grey values matched to those of real targets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.core.text import percent
from ganatomy.metrics.base import Images
from ganatomy.metrics.schema import HISTOGRAM_MATCHED, Finding, Returned
from ganatomy.metrics.translation.paired import LOWEST, Mask, foreground
from ganatomy.statistics.resampling import Array
from ganatomy.statistics.subjects import rows_of

NEAR = 0.25  # of the distance from input to real target (root mean square): nearer, the input is returned
ALIKE = 0.9  # of the real target's variance that the input itself explains: above, returning it is no fault
UNEXPLAINED = 0.2  # of what a curve leaves of the real target: where it leaves less, only grey values are changed
LEAST_LEFT = 0.01  # of the real target: where a curve leaves less, a curve is all that is needed
REPRODUCED = 0.2  # of what a curve leaves: who gets more of that right does more than change grey values
UNRELATED = 0.1  # of the output: where no curve of input or real target explains this much, it is neither's
_BINS, _FEWEST_PIXELS, _CONSTANT = 64, 200, 1e-6
_QUANTILES = np.linspace(0, 1, 1001)
_CURVE = "one curve of the input's grey value makes up {curve_made} of"
_CANNOT = "Whether the input is returned cannot be told"
_PAIRED = {
    "input": "The translator returns its input nearly unchanged: its images differ from it by {moved} of what the real "
             "target does.",
    "grey values": f"The translator only changes grey values: {_CURVE} its images, but {{curve_real}} of the real "
                   "target.",
    "alike": f"{_CANNOT}: a curve of the input's grey value makes up {{curve_real}} of the real target.",
    "unrelated": f"The translator's images have little to do with its input or the truth: {_CURVE} them, one of the "
                 "real target's {truth_made}.",
    "little": "The translator neither returns its input nor only changes grey values, yet little of the truth is in "
              "what it adds: {reproduced} of what such a curve leaves of the real target.",
    "": f"The translator does more than change grey values: {_CURVE} its images and {{curve_real}} of the real target, "
        "and of the rest of the target {reproduced} is reproduced."}
_UNPAIRED = {
    "input": "The translator returns its input nearly unchanged: its images differ from it by {moved} of what matching "
             "the grey values would change.",
    "alike": f"{_CANNOT}: there is no truth, and the grey values of the two contrasts hardly differ.",
    "unrelated": f"The translator's images have little to do with its input: {_CURVE} them.",
    "": "The translator does not return its input: its images differ from it by {moved} of what matching the grey "
        f"values would change. {_CURVE.capitalize()} them; without a truth it cannot be told whether that is too much."}
_NOTHING = Returned(finding="cannot tell", sentence=f"{_CANNOT}: there is no foreground, or it is of one grey.")


@dataclass(frozen=True)
class HistogramMatch:
    """Maps the foreground of each subject's source volume to the training targets' values, rank to rank.

    Attributes:
        levels: quantiles of the training targets' foreground, evenly spaced, [c, q].
        rising: whether bright becomes bright; if not, bright becomes dark, as from T1 to T2.
        outside: what the background becomes, [c].
        errors: mean absolute error in the training pairs' foreground, % of range, of the rising and the falling map.
    """

    levels: Array
    rising: bool
    outside: Array
    errors: tuple[float, float] = (np.nan, np.nan)

    @property
    def note(self) -> str:
        """Which map was taken and why, in words."""
        low, high = sorted(self.errors)
        return (f"{HISTOGRAM_MATCHED}: the {'rising' if self.rising else 'falling'} map, whose error on the training "
                f"pairs is {low:.1f}% of the range (the other one's {high:.1f}%)")

    def __call__(self, source: Images, subjects: Sequence[str]) -> Images:
        """Translate source images [n, c, s, s] in [-1, 1], all slices of a subject together."""
        from scipy.stats import rankdata

        inside = foreground(source, source)
        output = np.broadcast_to(self.outside.astype(np.float32)[:, None, None], source.shape).copy()
        for _, rows in rows_of(subjects):
            mask = inside[rows]
            for channel, levels in enumerate(self.levels):
                values = source[rows, channel][mask]
                shares = (rankdata(values) - 0.5) / max(1, values.size)
                picture = output[rows, channel]
                picture[mask] = np.interp(shares if self.rising else 1 - shares, _QUANTILES, levels)
                output[rows, channel] = picture
        return output


def fit_histogram_match(source: Images, target: Images, subjects: Sequence[str]) -> HistogramMatch:
    """Learn the targets' distribution from training pairs [n, c, s, s] in [-1, 1], and whether the map rises or falls.

    The foreground is the source's alone, since nothing else is known of an image to be translated. Raises `UserError`
    where there is none.
    """
    inside = foreground(source, source)
    if not inside.any():
        raise UserError("the source images of the training pairs are empty",
                        fix="look at the dataset's contact-sheet.png")
    maps = _maps(target, inside)
    mask = foreground(source, target)
    rising, falling = (_error(one(source, subjects), target, mask, subjects) for one in maps)
    return replace(maps[0 if rising <= falling else 1], errors=(rising, falling))


def both_histogram_matches(target: Images) -> tuple[HistogramMatch, HistogramMatch] | None:
    """Without pairs either may be right: the rising and the falling map to training targets, [n, c, s, s].

    None where the targets have no foreground.
    """
    inside = foreground(target, target)
    return _maps(target, inside) if inside.any() else None


def _maps(target: Images, inside: NDArray[np.bool_]) -> tuple[HistogramMatch, HistogramMatch]:
    channels = np.moveaxis(target, 1, 0).astype(np.float64)
    values, around = channels[:, inside], channels[:, ~inside]
    levels: Array = np.quantile(values, _QUANTILES, axis=1).T
    outside: Array = np.median(around, axis=1) if around.size else np.full(len(levels), LOWEST)
    return HistogramMatch(levels, True, outside), HistogramMatch(levels, False, outside)


def _error(output: Images, target: Images, mask: NDArray[np.bool_], subjects: Sequence[str]) -> float:
    """Mean over subjects of the mean absolute error inside the mask, % of the range."""
    apart = np.abs(output - target).mean(1)
    return 50 * float(np.mean([apart[rows][mask[rows]].mean() for _, rows in rows_of(subjects) if mask[rows].any()]))


def returned_input(source: Images, output: Images, target: Images, mask: Mask, subjects: Sequence[str]) -> Returned:
    """Whether a translator returns its input or only changes its grey values.

    - It returns its input if its images lie within `NEAR` of the way from the input to the real target.
    - It only changes grey values if the best curve of the input's grey value (means of 64 classes of equal size:
      rising, falling or neither) leaves less than `UNEXPLAINED` of what it leaves of the real target, and its images
      reproduce less than `REPRODUCED` of that.
    - It has little to do with its input or the truth if no curve of either explains `UNRELATED` of its variance.

    Small random noise on the output hides neither, unless a curve explains nearly all of the real target.

    Args:
        source, output, target: float32 [n, c, s, s] in [-1, 1]; of colour images the mean of the channels counts.
        mask: bool [n, s, s], see `paired.foreground`.
        subjects: [n], whose image each is.
    """
    shares = [_shares(*pixels) for pixels in _pixels((source, output, target), mask, subjects)]
    if not shares:
        return _NOTHING
    values = {key: float(np.median([one[key] for one in shares])) for key in shares[0]}
    finding = _finding(**values)
    case = "little" if not finding and not values["reproduced"] > REPRODUCED else finding
    return Returned(finding=finding, n_subjects=len(shares), sentence=_sentence(_PAIRED[case], values), **values)


def returned_unpaired(source: Images, output: Images, matched: Sequence[Images], mask: Mask,
                      subjects: Sequence[str]) -> Returned:
    """Without a truth, whether a translator returns its input; not whether it only changes grey values.

    In the place of the real target stands the input with its grey values matched to those of real targets: of several
    such matches the nearest to the input, so that a translator is not accused of too little.

    Args:
        source, output, mask, subjects: as for `returned_input`.
        matched: the source's images with their grey values matched; none if there is nothing to match with.
    """
    rows = []
    for one, other, *matches in _pixels((source, output, *matched), mask, subjects) if matched else ():
        nearest = min(matches, key=lambda values: float(np.square(values - one).mean()))
        rows.append((_moved(one, other, nearest), _explained(nearest - one, nearest),
                     _explained(other - _curve(_classes(one), other), other)))
    if not rows:
        return _NOTHING
    moved, same, curve = (float(value) for value in np.median(np.array(rows), axis=0))
    finding: Finding = "unrelated" if curve < UNRELATED else "alike" if same >= ALIKE else \
        "input" if moved <= NEAR else ""
    values = {"moved": moved, "curve_made": curve}
    return Returned(finding=finding, n_subjects=len(rows), sentence=_sentence(_UNPAIRED[finding], values), **values)


def _pixels(images: Sequence[Images], mask: Mask, subjects: Sequence[str]) -> Iterator[list[Array]]:
    """The foreground's pixels of each subject that can be judged, of each kind of images."""
    for _, rows in rows_of(subjects):
        inside = mask[rows]
        pixels = [one[rows].mean(1, dtype=np.float64)[inside] for one in images]
        if inside.sum() >= _FEWEST_PIXELS and all(values.std() > _CONSTANT for values in pixels):
            yield pixels


def _shares(source: Array, output: Array, target: Array) -> dict[str, float]:
    """The values of `Returned` of one subject's pixels."""
    classes = _classes(source)
    left_made, left_real = (values - _curve(classes, values) for values in (output, target))
    unexplained = np.square(left_real).sum()
    return {"moved": _moved(source, output, target), "same_real": _explained(target - source, target),
            "curve_made": _explained(left_made, output), "curve_real": _explained(left_real, target),
            "reproduced": (left_made * left_real).sum() / unexplained if unexplained > _CONSTANT else np.nan,
            "truth_made": _explained(output - _curve(_classes(target), output), output)}


def _moved(source: Array, output: Array, target: Array) -> float:
    distance = np.square(target - source).mean()
    return float(np.sqrt(np.square(output - source).mean() / distance)) if distance > _CONSTANT else np.inf


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


def _finding(*, moved: float, same_real: float, curve_made: float, curve_real: float, reproduced: float,
             truth_made: float) -> Finding:
    if max(curve_made, truth_made) < UNRELATED:
        return "unrelated"
    if same_real >= ALIKE:
        return "alike"
    if moved <= NEAR:
        return "input"
    if 1 - curve_real < LEAST_LEFT:
        return "alike"
    if 1 - curve_made <= UNEXPLAINED * (1 - curve_real) and not reproduced > REPRODUCED:
        return "grey values"
    return ""


def _sentence(text: str, values: dict[str, float]) -> str:
    return text.format(**{key: percent(max(0.0, value)) for key, value in values.items()})
