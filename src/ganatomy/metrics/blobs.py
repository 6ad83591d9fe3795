"""Blobs that look like lesions: those a synthetic image has and the real one lacks, and the other way round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganatomy.metrics.agreement import clipped
from ganatomy.metrics.base import MIN_SUBJECTS, Images, finite
from ganatomy.metrics.registration import Masks, grey
from ganatomy.metrics.ssim import DATA_RANGE
from ganatomy.statistics.subjects import by_subject, over_subjects

GAP, WIDTH = 1, 3
"""The surroundings of a blob begin 1 pixel outside of it and are 3 pixels wide, as a lesion's."""
COVERED = 0.8
"""This share of the surroundings must be foreground: the rim of the brain is no lesion."""
NOTHING = 0.5
"""The other image has nothing such if it stays below this share of the threshold within 2 pixels."""
NEAR = 2
LARGEST = 4.0  # times the median lesion
LEAST_CONTRAST = 2.0
"""Per cent of the range; with less nothing stands out, whatever the noise."""
_WORST = 5


@dataclass(frozen=True)
class Blobs:
    """Counts per 100 images, per subject, then the mean over subjects; interval 95%, over subjects.

    Attributes:
        per_100: in the synthetic target, where the real one has nothing such.
        interval: None below five subjects.
        missing_per_100: the same the other way round, outside of the lesions: in the real target, where the synthetic
            one has nothing such. Where it is as high, the two differ in general, and not by invented lesions.
        floor_per_100: in a copy of the real target with as much noise again.
        threshold: the median real lesion's response, in % of the range.
        n_images, n_subjects: searched.
        per_subject: below five subjects.
        worst: the strongest, with row, place (y, x) and response.
        sentence: all this in words.
    """

    per_100: float
    missing_per_100: float
    floor_per_100: float
    threshold: float
    n_images: int
    n_subjects: int
    sentence: str
    interval: tuple[float, float] | None = None
    per_subject: dict[str, float] | None = None
    worst: tuple[dict[str, Any], ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """A dictionary for metrics.json."""
        return {key: finite(value) for key, value in vars(self).items()}


class _Blob(NamedTuple):
    image: int
    place: tuple[int, int]
    response: float


def response(images: NDArray[np.float32], foreground: Masks, pixels: float) -> NDArray[np.float32]:
    """How much a disc of `pixels` area around each place stands out from the ring around it: [n, s, s].

    Means over the foreground alone; 0 where less than 80% of disc and ring are foreground.

    Args:
        images: [n, s, s].
    """
    radius = max(1.0, float(np.sqrt(pixels / np.pi)))
    reach = int(np.ceil(radius + GAP + WIDTH))
    distance = np.hypot(*np.mgrid[-reach:reach + 1, -reach:reach + 1])
    disc = distance <= radius
    ring = (distance > radius + GAP) & (distance <= radius + GAP + WIDTH)
    inside = foreground.astype(np.float32)
    means, covered = [], np.ones(images.shape, bool)
    for kernel in (disc, ring):
        weight = _convolve(inside, kernel)
        means.append(_convolve(images * inside, kernel) / np.maximum(weight, 0.5))
        covered &= weight >= COVERED * kernel.sum()
    return np.where(covered & foreground, means[0] - means[1], 0)


def _convolve(images: NDArray[np.float32], kernel: NDArray[np.bool_]) -> NDArray[np.float32]:
    from scipy.signal import fftconvolve

    summed: NDArray[np.float32] = fftconvolve(images, kernel[None].astype(np.float32), mode="same", axes=(1, 2))
    return summed


def count_blobs(real: Images, made: Images, lesions: Masks, foreground: Masks, subjects: Sequence[str],
                places: Sequence[tuple[int, int, int]], typical: tuple[float, float], seed: int = 0) -> Blobs:
    """Count what looks like a lesion in one image and not in the other.

    A blob is a connected place where the response is at least the real lesions' median, no larger than four median
    lesions, outside of the marked lesions. The detector cannot tell a lesion from a misplaced vessel or fluid space.

    Args:
        real, made: [n, c, s, s] in [-1, 1].
        lesions, foreground: [n, s, s].
        subjects: of each row.
        places: of clear lesions: row, y, x.
        typical: the sign of the lesions' contrast and their median area.
    """
    sign, pixels = typical
    first, second = (np.float32(100 / DATA_RANGE * sign) * grey(images) for images in (real, made))
    noisy = with_noise(first, noise_level(first, foreground), seed)
    maps = [response(images, foreground, pixels) for images in (first, second, noisy)]
    threshold = float(np.median([maps[0][row, max(0, y - 1):y + 2, max(0, x - 1):x + 2].max() for row, y, x in places]))
    threshold = max(threshold, LEAST_CONTRAST)
    invented, missing, floor = (_only_in(maps[a], maps[b], lesions, threshold, LARGEST * pixels)
                                for a, b in ((1, 0), (0, 1), (2, 0)))
    means = [by_subject(100.0 * np.bincount([blob.image for blob in blobs], minlength=len(real)).astype(np.float64),
                        list(subjects)) for blobs in (invented, missing, floor)]
    (value, interval), (lacking, _), (noise, _) = (over_subjects(one) for one in means)
    sentence = (f"{value:.0f} blobs in 100 images look like lesions and are not in the real target ({lacking:.0f} are "
                f"in the real target alone, {noise:.0f} come of noise)")
    worst = sorted(invented, key=lambda blob: -blob.response)[:_WORST]
    return Blobs(value or 0.0, lacking or 0.0, noise or 0.0, threshold, len(real), len(means[0]), sentence,
                 clipped(interval, 0.0), means[0] if len(means[0]) < MIN_SUBJECTS else None,
                 tuple(blob._asdict() for blob in worst))


def _only_in(one: NDArray[np.float32], other: NDArray[np.float32], lesions: Masks, threshold: float,
             largest: float) -> list[_Blob]:
    from scipy import ndimage

    around = ndimage.maximum_filter(lesions, (1, 2 * NEAR + 1, 2 * NEAR + 1))
    rivals = ndimage.maximum_filter(other, (1, 2 * NEAR + 1, 2 * NEAR + 1))
    found = []
    for row in np.flatnonzero((one >= threshold).any((1, 2))):
        parts, n = ndimage.label(one[row] >= threshold, np.ones((3, 3)))
        numbers = np.arange(1, n + 1)
        sizes = ndimage.sum_labels(np.ones_like(parts), parts, numbers)
        tops = ndimage.maximum_position(one[row], parts, numbers)
        for size, (y, x) in zip(sizes, tops, strict=True):
            if size <= largest and not around[row, y, x] and rivals[row, y, x] < NOTHING * threshold:
                found.append(_Blob(int(row), (int(y), int(x)), float(one[row, y, x])))
    return found


def noise_level(images: NDArray[np.float32], foreground: Masks) -> NDArray[np.float32]:
    """Standard deviation of the noise [n], from second differences along x, whose median anatomy hardly moves.

    Of noise that neighbouring pixels share, as after interpolation, it finds too little.

    Args:
        images, foreground: [n, s, s].
    """
    second = np.abs(images[:, :, :-2] - 2 * images[:, :, 1:-1] + images[:, :, 2:])
    middle = [np.median(d[m]) if m.any() else 0.0 for d, m in zip(second, foreground[:, :, 1:-1], strict=True)]
    return np.array(middle, np.float32) / np.float32(0.6745 * np.sqrt(6))


def with_noise(images: NDArray[np.float32], level: NDArray[np.float32], seed: int, copy: int = 0
               ) -> NDArray[np.float32]:
    """The images [n, s, s] with white noise of `level` [n]; every number of a copy has noise of its own."""
    drawn = np.random.default_rng((seed, 11, copy) if copy else (seed, 11)).standard_normal(images.shape, np.float32)
    return images + level[:, None, None] * drawn
