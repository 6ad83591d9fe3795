"""Lesions in a translated image: does each stand out as it does in the real target, and are there any that it lacks?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.text import counted, grouped
from ganatomy.metrics.base import MIN_SUBJECTS, POSITIVE, SHARE, Images, refuse_not_finite
from ganatomy.metrics.schema import Blobs, Lesions, Worst
from ganatomy.metrics.similarity import DATA_RANGE
from ganatomy.metrics.translation.registration import Masks, grey
from ganatomy.statistics.subjects import by_subject, clipped, over_subjects

LEAST_PIXELS = 4
RING = (1, 4)  # pixels: the surroundings lie beyond the first, whose values are mixed, and up to the second
LEAST_RING = 8
REST = 0.25  # of its contrast: a lesion that keeps less has vanished
LEAST_CONTRAST = 2.0  # per cent of the range: with less nothing stands out, whatever the noise
ERRORS = 2.0  # standard errors: a smaller contrast may be of noise alone
FLOOR_DRAWS = 4
COVERED = 0.8  # of a blob's surroundings must be foreground: the rim of the brain is no lesion
NOTHING, NEAR = 0.5, 2  # of the threshold, within so many pixels: an image that stays below has nothing such
LARGEST = 4.0  # median lesions: blobs are no larger
_WORST = 5
_REACH = RING[1] + 1
Greys = NDArray[np.float32]


class Lesion(NamedTuple):
    """A connected part of a lesion mask in one image; contrasts are inside minus surroundings, in % of the range.

    Attributes:
        image: its row.
        place: the centre, y and x.
        pixels: its area.
        real, synthetic: the contrast in the real and in the synthetic target.
        spread: how much the surroundings vary in the real target (a standard deviation), in % of the range.
        error: standard error of the real contrast, if the lesion's pixels vary as its surroundings do.
    """

    image: int
    subject: str
    place: tuple[int, int]
    pixels: int
    real: float
    synthetic: float
    spread: float
    error: float

    @property
    def clear(self) -> bool:
        """Whether it stands out in the real target: from its surroundings' spread, noise, and by 2% of the range."""
        return abs(self.real) >= max(self.spread, LEAST_CONTRAST, ERRORS * self.error)

    @property
    def vanished(self) -> bool:
        """Whether less than a quarter of the contrast is left, or it has turned round."""
        return bool(self.synthetic * np.sign(self.real) < REST * abs(self.real))


def lesion_contrasts(target_real: Images, synthetic: Images, lesion_masks: NDArray[Any], foreground: Masks,
                     subjects: Sequence[str]) -> list[Lesion]:
    """The contrast of every lesion to its surroundings, in the real and in the synthetic target.

    A lesion is a connected part of the mask (diagonals count) of at least 4 pixels in the foreground. Its surroundings
    are at least 8 pixels of the foreground 2 to 4 pixels around it, other lesions and what is next to them left out.
    The contrast is the lesion's mean minus their *median*: a mean would follow the fluid or cortex that many lesions
    have beside them, and give a contrast to a lesion that is not there.

    Args:
        target_real, synthetic: the targets [n, c, s, s] in [-1, 1], row by row the same slice.
        lesion_masks: [n, s, s], 0 where there is no lesion.
        foreground: [n, s, s].
        subjects: of each row.

    Raises:
        ValueError: numbers of rows that differ.
    """
    if len({len(target_real), len(synthetic), len(lesion_masks), len(foreground), len(subjects)}) > 1:
        raise ValueError("images, masks and subjects must have one row for each image")
    both = np.stack([100 / DATA_RANGE * grey(images) for images in (target_real, synthetic)], 1)
    return [lesion for i in np.flatnonzero(lesion_masks.any((1, 2))).tolist()
            for lesion in _in_image(i, str(subjects[i]), both[i], lesion_masks[i] > 0, foreground[i])]


def _in_image(row: int, subject: str, images: Greys, mask: Masks, foreground: Masks) -> list[Lesion]:
    from scipy import ndimage

    parts, _ = ndimage.label(mask & foreground, np.ones((3, 3)))
    free = foreground & ~ndimage.binary_dilation(mask, np.ones((3, 3)))
    lesions = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(parts), 1):
        top, left = max(0, rows.start - _REACH), max(0, columns.start - _REACH)
        near = np.s_[top:rows.stop + _REACH, left:columns.stop + _REACH]
        inside = parts[near] == number
        distance = ndimage.distance_transform_edt(~inside)
        ring = free[near] & (distance > RING[0]) & (distance <= RING[1])
        if inside.sum() < LEAST_PIXELS or ring.sum() < LEAST_RING:
            continue
        real, other = (float(image[near][inside].mean() - np.median(image[near][ring])) for image in images)
        y, x = np.argwhere(inside).mean(0)
        around, pixels = images[0][near][ring], int(inside.sum())
        spread = 1.4826 * float(np.median(np.abs(around - np.median(around))))
        # a median varies by pi / 2 more than a mean
        error = spread * float(np.sqrt(1 / pixels + np.pi / 2 / ring.sum()))
        lesions.append(Lesion(row, subject, (top + round(y), left + round(x)), pixels, real, other, spread, error))
    return lesions


def lesions(target_real: Images, synthetic: Images, lesion_masks: NDArray[Any], foreground: Masks,
            subjects: Sequence[str], seed: int = 0) -> Lesions:
    """Vanished, weakened and invented lesions; arguments as for `lesion_contrasts`.

    Returns:
        A result without values, and a sentence that says why, where no lesion stands out in the real target.

    Raises:
        UserError: values in `synthetic` that are not finite.
    """
    refuse_not_finite(synthetic)
    every = lesion_contrasts(target_real, synthetic, lesion_masks, foreground, subjects)
    clear = [lesion for lesion in every if lesion.clear]
    if not clear:
        return Lesions(n_lesions=len(every), sentence=_nothing(lesion_masks, len(every)))
    slopes, shares = _slopes_and_vanished(clear)
    (slope, slope_interval), (vanished, vanished_interval) = over_subjects(slopes), over_subjects(shares)
    each = {name: {"lesions": sum(lesion.subject == name for lesion in clear), "slope": slopes[name],
                   "vanished": shares[name]} for name in slopes}
    floor = _floor(target_real, synthetic, lesion_masks, foreground, subjects, seed)
    invented = count_blobs(target_real, synthetic, lesion_masks > 0, foreground, subjects, clear, seed)
    noise = ["none can be seen" if one is None else f"{one:.0%}" for one in floor]
    sentence = (f"Of {grouped(len(clear), 'lesion')} that stand out in the real target, {vanished:.0%} have vanished "
                f"(of the real target with its own noise again {noise[1]}); {slope:.0%} of the contrast is kept (with "
                f"that noise {noise[0]}; means over {grouped(len(slopes), 'subject')}); {invented.sentence}")
    return Lesions(
        n_images=len({lesion.image for lesion in clear}), n_subjects=len(slopes), n_lesions=len(every),
        n_clear=len(clear), sentence=sentence,
        contrast=float(np.median([lesion.real for lesion in clear])), slope=slope, slope_interval=slope_interval,
        vanished=vanished, vanished_interval=clipped(vanished_interval, SHARE),
        floor_slope=floor[0], floor_vanished=floor[1], per_subject=each if len(slopes) < MIN_SUBJECTS else None,
        invented=invented,
        worst=tuple(Worst(**one._asdict()) for one in sorted(clear, key=lambda one: one.synthetic / one.real)[:_WORST]))


def _slopes_and_vanished(clear: Sequence[Lesion]) -> tuple[dict[str, float], dict[str, float]]:
    """Of each subject: the slope of the synthetic on the real contrast, through zero, and the share that vanished."""
    slopes, vanished = {}, {}
    for name in dict.fromkeys(lesion.subject for lesion in clear):
        own = [lesion for lesion in clear if lesion.subject == name]
        slopes[name] = sum(one.real * one.synthetic for one in own) / sum(one.real**2 for one in own)
        vanished[name] = sum(one.vanished for one in own) / len(own)
    return slopes, vanished


def _floor(target_real: Images, synthetic: Images, masks: NDArray[Any], foreground: Masks, subjects: Sequence[str],
           seed: int) -> tuple[float | None, float | None]:
    """Slope and vanished of a perfect translator, whose only fault is noise; None where noise hides all lesions.

    Both sides are the real target: the truth with its own noise once more, as regression and the choice of lesions go
    by it, the translation with the model's, but no more than the truth has: what is beyond that is its own fault.
    """
    rows = np.flatnonzero(masks.any((1, 2)))
    real, head = grey(target_real[rows]), foreground[rows]
    level = noise_level(real, head)
    fewer = np.minimum(level, noise_level(grey(synthetic[rows]), head))
    names = [subjects[row] for row in rows.tolist()]
    clear = [lesion for k in range(FLOOR_DRAWS) for lesion in lesion_contrasts(
        with_noise(real, level, seed, 2 * k + 1)[:, None], with_noise(real, fewer, seed, 2 * k + 2)[:, None],
        masks[rows], head, names) if lesion.clear]
    slopes, vanished = _slopes_and_vanished(clear)
    return over_subjects(slopes)[0], over_subjects(vanished)[0]


def _nothing(masks: NDArray[Any], lesions: int) -> str:
    if not masks.any():
        return "There are no lesions in these images"
    if not lesions:
        return f"No lesion can be measured: none has {LEAST_PIXELS} pixels in the foreground and tissue around it"
    return f"None of the {counted(lesions, 'lesion')} stands out in the real target: nothing can vanish"


def count_blobs(real: Images, synthetic: Images, lesions: Masks, foreground: Masks, subjects: Sequence[str],
                clear: Sequence[Lesion], seed: int = 0) -> Blobs:
    """Count what looks like a lesion in one image and not in the other.

    A blob is a connected place outside of the marked lesions where the response is at least the real lesions' median,
    no larger than four median lesions; be it a lesion, a vessel or fluid. Arguments as for `lesion_contrasts`.
    """
    sign = float(np.sign(np.median([lesion.real for lesion in clear])) or 1)
    pixels = float(np.median([lesion.pixels for lesion in clear]))
    first, second = (np.float32(100 / DATA_RANGE * sign) * grey(images) for images in (real, synthetic))
    noisy = with_noise(first, noise_level(first, foreground), seed)
    maps = [response(images, foreground, pixels) for images in (first, second, noisy)]
    tops = [maps[0][one.image, max(0, one.place[0] - 1):one.place[0] + 2, max(0, one.place[1] - 1):one.place[1] + 2]
            .max() for one in clear]
    threshold = max(float(np.median(tops)), LEAST_CONTRAST)
    blobs = [_only_in(maps[a], maps[b], lesions, threshold, LARGEST * pixels) for a, b in ((1, 0), (0, 1), (2, 0))]
    counts = np.array([np.bincount([row for _, row, _ in some], minlength=len(real)) for some in blobs], np.float64)
    means = [by_subject(100.0 * own, subjects) for own in counts]
    (value, interval), (missing, _), (noise, _) = (over_subjects(one) for one in means)
    sentence = (f"{value:.0f} blobs in 100 images look like lesions and are not in the real target ({missing:.0f} are "
                f"in the real target alone, {noise:.0f} come of noise)")
    strongest = sorted(blobs[0], key=lambda blob: -blob[0])[:_WORST]
    return Blobs(per_100=value or 0.0, missing_per_100=missing or 0.0, floor_per_100=noise or 0.0, n_images=len(real),
                 n_subjects=len(means[0]), sentence=sentence, interval=clipped(interval, POSITIVE),
                 per_subject=means[0] if len(means[0]) < MIN_SUBJECTS else None,
                 worst=tuple(Worst(image=row, place=place) for _, row, place in strongest))


def response(images: Greys, foreground: Masks, pixels: float) -> Greys:
    """How much a disc of `pixels` area around each place of `images` stands out from the ring around it: [n, s, s].

    Means over the foreground alone; 0 where less than 80% of disc and ring are foreground.
    """
    from scipy.signal import fftconvolve

    radius = max(1.0, float(np.sqrt(pixels / np.pi)))
    reach = int(np.ceil(radius + RING[1]))
    distance = np.hypot(*np.mgrid[-reach:reach + 1, -reach:reach + 1])
    inside = foreground.astype(np.float32)
    means, covered = [], np.ones(images.shape, bool)
    for kernel in (distance <= radius, (distance > radius + RING[0]) & (distance <= radius + RING[1])):
        weight, total = (fftconvolve(each, kernel[None].astype(np.float32), mode="same", axes=(1, 2))
                         for each in (inside, images * inside))
        means.append(total / np.maximum(weight, 0.5))
        covered &= weight >= COVERED * kernel.sum()
    return np.where(covered & foreground, means[0] - means[1], 0)


def _only_in(one: Greys, other: Greys, lesions: Masks, threshold: float,
             largest: float) -> list[tuple[float, int, tuple[int, int]]]:
    """Response, row and place of the blobs of `one` that `other` lacks."""
    from scipy import ndimage

    around, rivals = (ndimage.maximum_filter(maps, (1, 2 * NEAR + 1, 2 * NEAR + 1)) for maps in (lesions, other))
    blobs = []
    for row in np.flatnonzero((one >= threshold).any((1, 2))):
        parts, n = ndimage.label(one[row] >= threshold, np.ones((3, 3)))
        numbers = np.arange(1, n + 1)
        sizes = ndimage.sum_labels(np.ones_like(parts), parts, numbers)
        tops = ndimage.maximum_position(one[row], parts, numbers)
        for size, (y, x) in zip(sizes, tops, strict=True):
            if size <= largest and not around[row, y, x] and rivals[row, y, x] < NOTHING * threshold:
                blobs.append((float(one[row, y, x]), int(row), (int(y), int(x))))
    return blobs


def noise_level(images: Greys, foreground: Masks) -> Greys:
    """Standard deviation of the noise [n], from second differences along x, whose median anatomy hardly moves.

    Of noise that neighbouring pixels share, as after interpolation, it gives too little. Both arguments [n, s, s].
    """
    second = np.abs(images[:, :, :-2] - 2 * images[:, :, 1:-1] + images[:, :, 2:])
    middle = [np.median(d[m]) if m.any() else 0.0 for d, m in zip(second, foreground[:, :, 1:-1], strict=True)]
    return np.array(middle, np.float32) / np.float32(0.6745 * np.sqrt(6))


def with_noise(images: Greys, level: Greys, seed: int, copy: int = 0) -> Greys:
    """The images [n, s, s] with white noise of `level` [n]; every number of a copy has noise of its own."""
    drawn = np.random.default_rng((seed, 11, copy) if copy else (seed, 11)).standard_normal(images.shape, np.float32)
    return images + level[:, None, None] * drawn
