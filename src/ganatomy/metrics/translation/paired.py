"""How far translated images are from the true ones, image by image: MAE, PSNR, SSIM, MS-SSIM.

Inside the foreground and over the whole image, with a fixed dynamic range, as the SynthRAD challenges measure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.text import Interval, counted, listed, p_value
from ganatomy.data.intensity import BORDER_SHARE, FOREGROUND, border_value
from ganatomy.metrics.base import MIN_SUBJECTS, POSITIVE, SHARE, Images, refuse_not_finite
from ganatomy.metrics.schema import (
    INSIDE,
    PRIMARY,
    WHOLE,
    Better,
    Comparison,
    PairedResult,
)
from ganatomy.metrics.similarity import DATA_RANGE, ms_ssim_name, similarity, weighted_mean
from ganatomy.statistics.resampling import Array, holm
from ganatomy.statistics.subjects import by_subject, clipped, over_subjects

Mask = NDArray[np.bool_]
Standing = Literal["ahead", "behind", "open"]
LOWEST = -1.0  # what surrounds the patient, as a rule
LEVEL = 0.05
PSNR_CAP = 100.0  # dB; what identical images get, whose PSNR is infinite
NEGLIGIBLE = {"MAE": 0.05, "PSNR": 0.05, "SSIM": 0.002, "MS-SSIM": 0.002}  # % of the range, dB: less is no difference
NO_INTERVAL = f"with fewer than {MIN_SUBJECTS} subjects there is no interval, so chance cannot be ruled out"
_SPECKLE = 0.0005  # of the picture: smaller parts of a foreground are noise in air


@dataclass(frozen=True)
class PairValues:
    """Values of n pairs of images by name, such as "SSIM foreground": [n], NaN where the mask is empty; their units."""

    values: dict[str, Array] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)


def better(name: str) -> Better:
    """Which way a value is better, by its name."""
    return "lower" if name.startswith("MAE") else "higher"


def span(name: str) -> Interval:
    """The smallest and the largest that a value can be, by its name."""
    return POSITIVE if name.startswith("MAE") else (-np.inf, PSNR_CAP) if name.startswith("PSNR") else \
        SHARE if name.startswith("MS-SSIM") else (-1.0, 1.0)


def background(images: Images) -> Array:
    """The value around the patient in each image [n, c, s, s]: [n]; NaN where anatomy fills the picture.

    It is -1 where a fifth of the border is within 10% of the range from that, noise in air included; otherwise the
    border's most frequent value, if a fifth of the border has it.
    """
    values = np.full(len(images), np.nan)
    for i, image in enumerate(images):
        edges = np.concatenate([image[:, [0, -1]].ravel(), image[:, :, [0, -1]].ravel()])
        if (edges <= LOWEST + FOREGROUND * DATA_RANGE).mean() >= BORDER_SHARE:
            values[i] = LOWEST
        else:
            border = border_value(list(image))
            values[i] = np.nan if border is None else border
    return values


def foreground(source: Images, target: Images) -> Mask:
    """Where the patient is, by the real images alone: what stands out in either from its background.

    A pixel stands out by more than 10% of the range, in any channel. Holes are filled slice by slice and specks of
    noise left out. All of a picture without background (see `background`) is foreground, none of an empty one.

    Args:
        source, target: real images [n, c, s, s] in [-1, 1], pairwise of the same anatomy.

    Returns:
        [n, s, s].
    """
    from scipy.ndimage import binary_fill_holes, label

    mask = np.zeros((len(source), *source.shape[2:]), bool)
    for images in (source, target):
        level = background(images).astype(np.float32)[:, None, None, None]
        mask |= (np.isnan(level) | (np.abs(images - level) > FOREGROUND * DATA_RANGE)).any(1)
    for i, one in enumerate(mask):
        parts, _ = label(binary_fill_holes(one))
        large = np.bincount(parts.ravel()) >= _SPECKLE * one.size
        large[0] = False
        mask[i] = large[parts]
    return mask


def pair_values(target: Images, output: Images, mask: Mask, *, scale: float | Array | None = None,
                 units: str = "") -> PairValues:
    """MAE, PSNR, SSIM and MS-SSIM of every pair, inside the mask and over the whole image.

    - MAE: mean absolute difference in per cent of the range; also in `units` where `scale` is given.
    - PSNR: 10 log10(range^2 / mean squared difference), dB, at most 100, which identical images get.
    - SSIM, MS-SSIM (MS-SSIM-3 below 176 pixels, none below 44): means of the maps, with -1 counted as 0 (black); see
      `similarity.similarity`.

    The range is always 2, from -1 to 1. For the values inside the mask both images are first set to the target's
    background outside of it, so that nothing there has an influence, not even within the SSIM's window.

    Args:
        target: the true images, float32 [n, c, s, s] in [-1, 1].
        output: the translated ones, likewise.
        mask: bool [n, s, s], see `foreground`.
        scale: physical units for a step of 1 in the images (half of the range): one number or [n].
        units: their name, such as HU.

    Raises:
        UserError: values in `output` that are not finite.
        ValueError: shapes that do not match.

    Sources: Thummerer et al., Medical Physics 2023 (SynthRAD2023); Wang et al. 2004 and 2003.
    """
    if target.shape != output.shape or mask.shape != (len(target), *target.shape[2:]):
        raise ValueError(f"shapes differ: target {target.shape}, output {output.shape}, mask {mask.shape}")
    refuse_not_finite(output)
    level = np.nan_to_num(background(target), nan=LOWEST).astype(np.float32)[:, None, None, None]
    inside = [np.where(mask[:, None], images, level) for images in (target, output)]
    pairs = PairValues()
    for region, images, part in ((INSIDE, inside, mask), (WHOLE, [target, output], None)):
        for name, unit, values in _measured(images[0], images[1], part, scale, units):
            pairs.values[f"{name} {region}"] = values
            pairs.units[f"{name} {region}"] = unit
    return pairs


def _measured(target: Images, output: Images, mask: Mask | None, scale: float | Array | None,
              units: str) -> list[tuple[str, str, Array]]:
    """Name, unit and values [n]."""
    difference = output - target
    absolute = _mean(np.abs(difference), mask)
    measured = [("MAE", "% of range", 100 * absolute / DATA_RANGE)]
    if scale is not None:
        measured.append((f"MAE in {units}", units, absolute * np.asarray(scale, np.float64)))
    squared = np.maximum(_mean(np.square(difference), mask), DATA_RANGE**2 / 10 ** (PSNR_CAP / 10))
    measured.append(("PSNR", "dB", 10 * np.log10(DATA_RANGE**2 / squared)))
    ssim, ms_ssim = similarity(target, output, mask)
    measured.append(("SSIM", "", ssim))
    if ms_ssim is not None:
        measured.append((ms_ssim_name(target.shape[-1]), "", ms_ssim))
    return measured


def _mean(values: Images, mask: Mask | None) -> Array:
    """Mean over channels and the mask's pixels: [n]; NaN where the mask is empty."""
    return np.asarray(values.mean((1, 2, 3), dtype=np.float64)) if mask is None else weighted_mean(values, mask)


def summarise(pairs: PairValues, subjects: Sequence[str]) -> list[PairedResult]:
    """Every value over the `subjects` [n], whose image each is."""
    results = []
    for name, values in pairs.values.items():
        each = by_subject(values, subjects)
        mean, interval = over_subjects(each)
        results.append(PairedResult(name=name, value=mean, units=pairs.units[name], n_subjects=len(each),
                                    n_images=int((~np.isnan(values)).sum()), better=better(name),
                                    interval=clipped(interval, span(name)), per_subject=each))
    return results


def compare(first: tuple[str, PairValues], others: Mapping[str, PairValues],
            subjects: Sequence[str]) -> dict[str, list[Comparison]]:
    """A translator (name and values) with each of others on the same images of `subjects` [n], value by value.

    The primary value, named beforehand, alone says who is ahead: by Holm's p over all the others, and by more than is
    negligible. What the other values say is described, each by its own interval.
    """
    pairs = {name: [_compare(value, first, (name, values), subjects) for value in first[1].values]
             for name, values in others.items()}
    tested = {name: one.p for name, own in pairs.items() for one in own if one.name == PRIMARY and one.p is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return {name: [_corrected(one, adjusted[name]) if one.name == PRIMARY and name in adjusted else one for one in own]
            for name, own in pairs.items()}


def _corrected(one: Comparison, p_holm: float) -> Comparison:
    return one.model_copy(update={"p_holm": p_holm, "ahead": one.ahead if p_holm <= LEVEL else None})


def _compare(name: str, first: tuple[str, PairValues], second: tuple[str, PairValues],
             subjects: Sequence[str]) -> Comparison:
    from scipy.stats import ttest_1samp

    left, right = (by_subject(pairs.values[name], subjects) for _, pairs in (first, second))
    each = {subject: value - right[subject] for subject, value in left.items()}
    mean, interval = over_subjects(each)
    sign = -1 if better(name) == "lower" else 1
    least = next(value for part, value in NEGLIGIBLE.items() if name.startswith(part)) if " in " not in name else 0.0
    ahead = p = None
    if interval is not None and mean is not None:
        same = max(each.values()) == min(each.values())  # of all subjects: there is nothing to test
        p = float(mean == 0) if same else float(ttest_1samp(list(each.values()), 0).pvalue)
        if abs(mean) > least and not interval[0] <= 0 <= interval[1]:
            ahead = first[0] if sign * mean > 0 else second[0]
    return Comparison(name=name, first=first[0], second=second[0], difference=mean, units=first[1].units[name],
                      n_subjects=len(each), better=better(name), interval=interval, p=p, ahead=ahead,
                      first_ahead=sum(sign * value > least for value in each.values()),
                      second_ahead=sum(sign * value < -least for value in each.values()))


def primary(comparisons: Sequence[Comparison]) -> Comparison | None:
    """The comparison by the primary value; None where no image has a foreground."""
    return next((one for one in comparisons if one.name == PRIMARY and one.difference is not None), None)


def standing(comparisons: Sequence[Comparison]) -> Standing:
    """Is the first translator nearer to the truth than the second? The one judge of it, by the primary value alone.

    Below five subjects a translator leads if it is better on every subject.

    Args:
        comparisons: of the same two translators.
    """
    one = primary(comparisons)
    leader = one.leader if one else None
    return "open" if one is None or leader is None else "ahead" if leader == one.first else "behind"


def disagreeing(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The other values inside the foreground that lead the other way."""
    one = primary(comparisons)
    leader = one.leader if one else None
    return [other for other in comparisons if other.inside and other is not one
            and leader is not None and other.leader not in (None, leader)]


def headline(comparisons: Sequence[Comparison]) -> str:
    """Which of two translators is ahead by the primary value, and which other values say otherwise, in one sentence.

    It judges as `standing` does, and below five subjects says that a lead may be chance.
    """
    one = primary(comparisons)
    if one is None:
        return "The translators cannot be compared: no image has a foreground."
    subjects = counted(one.n_subjects, "subject")
    of = f" ({subjects}; {NO_INTERVAL})." if one.n_subjects < MIN_SUBJECTS else f" ({subjects})." \
        if one.p_holm is None else f" ({subjects}; Holm's p = {p_value(one.p_holm)})."
    place, by = standing(comparisons), one.name.removesuffix(f" {INSIDE}")
    if place == "open":
        return f"{one.first} and {one.second} cannot be told apart by {by}{of}"
    winner, loser = (one.first, one.second) if place == "ahead" else (one.second, one.first)
    against = [other.name.removesuffix(f" {INSIDE}") for other in disagreeing(comparisons)]
    text = f"{winner} is ahead of {loser} by {by}"
    return text + (f"; by {listed(against)} it is behind, which ranks nobody" if against else "") + of
