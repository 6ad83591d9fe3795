"""Does a translator merely return its input, or only change its grey values?

Both can score well where the two contrasts look alike. What tells them apart from a translation is how much of the
output the input itself explains, beside how much of the *real* target it explains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganatomy.metrics.base import Images, finite
from ganatomy.metrics.paired import Mask
from ganatomy.metrics.resampling import Array
from ganatomy.metrics.subjects import rows_of

Finding = Literal["input", "grey values", "alike", "cannot tell", ""]

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
_BINS, _FEWEST_PIXELS, _CONSTANT = 64, 200, 1e-6


@dataclass(frozen=True)
class Returned:
    """What was found. Figures are medians over subjects, of all foreground pixels of a subject together.

    Attributes:
        finding: "input": it is returned, nearly unchanged. "grey values": one curve of the input's grey value makes
            the output. "alike": source and target look too much alike to tell. "cannot tell": there is nothing to
            judge by, or the output is of one grey. "": none of these.
        moved: root mean square distance of output and input, as a share of that of real target and input.
        same_made, same_real: share of the variance of output and real target that the input itself explains; below 0
            where their mean would explain more.
        curve_made, curve_real: likewise the best curve of the input's grey value, of any shape.
        reproduced: of what that curve leaves unexplained in the real target, the share that the output has too (slope
            of one residual on the other); noise in the target cannot be reproduced and keeps it below 1.
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
    n_subjects: int
    sentence: str

    @property
    def found(self) -> bool:
        """Whether the translator does not translate."""
        return self.finding in ("input", "grey values")

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


def returned_input(source: Images, made: Images, target: Images, mask: Mask, subjects: Sequence[str]) -> Returned:
    """Find out whether a translator returns its input or only changes its grey values.

    - It returns its input if its images lie within `NEAR` of the way from the input to the real target, and the
      input itself explains less than `ALIKE` of the real target's variance.
    - It only changes grey values if the best curve of the input's grey value (means of 64 classes of equal size:
      rising, falling or neither) leaves less than `UNEXPLAINED` of its variance unexplained relative to the real
      target's, and its images reproduce less than `REPRODUCED` of what the curve leaves in the real target.

    Small random noise on the output hides neither, unless a curve explains nearly all of the real target.

    Args:
        source, made, target: float32 [n, c, s, s] in [-1, 1]; of colour images the mean of the channels counts.
        mask: bool [n, s, s], see `paired.foreground`.
        subjects: [n], whose image each is.
    """
    found = []
    for _, rows in rows_of(subjects):
        inside = mask[rows]
        pixels = [images[rows].mean(1, dtype=np.float64)[inside] for images in (source, made, target)]
        if inside.sum() >= _FEWEST_PIXELS and all(values.std() > _CONSTANT for values in pixels):
            found.append(_shares(*pixels))
    if not found:
        return Returned("cannot tell", None, None, None, None, None, None, 0,
                        "Whether the input is returned cannot be told: there is no foreground, or it is of one grey.")
    shares = _Shares(*(float(value) for value in np.median(np.array(found), axis=0)))
    finding = _judge(shares)
    return Returned(finding, *shares, len(found), _sentence(finding, shares))


def _shares(source: Array, made: Array, target: Array) -> _Shares:
    classes = _classes(source)
    left_made, left_real = (values - _curve(classes, values) for values in (made, target))
    distance = np.square(target - source).mean()
    moved = np.sqrt(np.square(made - source).mean() / distance) if distance > _CONSTANT else np.inf
    unexplained = np.square(left_real).sum()
    reproduced = (left_made * left_real).sum() / unexplained if unexplained > _CONSTANT else np.nan
    return _Shares(moved, _explained(made - source, made), _explained(target - source, target),
                   _explained(left_made, made), _explained(left_real, target), reproduced)


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
    return (f"The translator does more than change grey values: one curve of the input's grey value makes up "
            f"{_percent(shares.curve_made)} of its images and {_percent(shares.curve_real)} of the real target, and of "
            f"the rest of the target {100 * shares.reproduced:.0f}% is reproduced.")


def _percent(share: float) -> str:
    return f"{100 * max(0.0, share):.1f}%"
