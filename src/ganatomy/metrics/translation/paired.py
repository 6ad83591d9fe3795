"""How far translated images are from the true ones, image by image: MAE, PSNR, SSIM, MS-SSIM.

Inside the foreground and over the whole image, with a fixed dynamic range, as the SynthRAD challenges measure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.text import counted
from ganatomy.data.intensity import BORDER_SHARE, FOREGROUND, border_value
from ganatomy.metrics.base import MIN_SUBJECTS, Better, Images, finite, refuse_not_finite
from ganatomy.metrics.similarity import ms_ssim_name, similarity, weighted_mean
from ganatomy.metrics.ssim import DATA_RANGE
from ganatomy.statistics.resampling import Array
from ganatomy.statistics.subjects import by_subject, over_subjects

Mask = NDArray[np.bool_]
INSIDE, WHOLE = "foreground", "whole image"
LOWEST = -1.0  # what surrounds the patient, as a rule
PSNR_CAP = 100.0
"""dB; what identical images get, whose PSNR is infinite."""
_SPECKLE = 0.0005
"""Parts of a foreground smaller than this share of the picture are noise in air."""


@dataclass(frozen=True)
class PairFigures:
    """Figures of each pair of images.

    Attributes:
        values: by name, such as "SSIM foreground" or "MAE whole image": float64 [n]; NaN where the mask is empty.
        units: by name: "% of range", "dB", "HU"; "" for those without.
    """

    values: dict[str, Array]
    units: dict[str, str] = field(default_factory=dict)

    @property
    def n_images(self) -> int:
        """How many pairs."""
        return len(next(iter(self.values.values()), ()))


def better(name: str) -> Better:
    """Which way a figure is better, by its name."""
    return "lower" if name.startswith("MAE") else "higher"


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
    from scipy.ndimage import binary_fill_holes

    found = _stands_out(source) | _stands_out(target)
    return np.stack([_without_specks(binary_fill_holes(one)) for one in found]) if len(found) else found


def _stands_out(images: Images) -> Mask:
    level = background(images).astype(np.float32)[:, None, None, None]
    apart: Mask = (np.isnan(level) | (np.abs(images - level) > FOREGROUND * DATA_RANGE)).any(1)
    return apart


def _without_specks(mask: Mask) -> Mask:
    from scipy.ndimage import label

    parts, _ = label(mask)
    large = np.bincount(parts.ravel()) >= _SPECKLE * mask.size
    large[0] = False
    kept: Mask = large[parts]
    return kept


def pair_figures(target: Images, made: Images, mask: Mask, *, scale: float | Array | None = None,
                 units: str = "") -> PairFigures:
    """MAE, PSNR, SSIM and MS-SSIM of every pair, inside the mask and over the whole image.

    - MAE: mean absolute difference in per cent of the range; also in `units` where `scale` is given.
    - PSNR: 10 log10(range^2 / mean squared difference), dB, at most 100, which identical images get.
    - SSIM, MS-SSIM (MS-SSIM-3 below 176 pixels, none below 44): means of the maps, with -1 counted as 0 (black); see
      `similarity.similarity`.

    The range is always 2, from -1 to 1. For the figures inside the mask both images are first set to the target's
    background outside of it, so that nothing there has an influence, not even within the SSIM's window.

    Args:
        target: the true images, float32 [n, c, s, s] in [-1, 1].
        made: the translated ones, likewise.
        mask: bool [n, s, s], see `foreground`.
        scale: physical units for a step of 1 in the images (half of the range): one number or [n].
        units: their name, such as HU.

    Raises:
        UserError: values in `made` that are not finite.
        ValueError: shapes that do not match.

    Sources: Thummerer et al., Medical Physics 2023 (SynthRAD2023); Wang et al. 2004 and 2003.
    """
    if target.shape != made.shape or mask.shape != (len(target), *target.shape[2:]):
        raise ValueError(f"shapes differ: target {target.shape}, made {made.shape}, mask {mask.shape}")
    refuse_not_finite(made)
    level = np.nan_to_num(background(target), nan=LOWEST).astype(np.float32)[:, None, None, None]
    inside = [np.where(mask[:, None], images, level) for images in (target, made)]
    figures = PairFigures({}, {})
    _add(figures, INSIDE, inside[0], inside[1], mask, scale, units)
    _add(figures, WHOLE, target, made, None, scale, units)
    return figures


def _add(figures: PairFigures, region: str, target: Images, made: Images, mask: Mask | None,
         scale: float | Array | None, units: str) -> None:
    difference = made - target
    absolute = _mean(np.abs(difference), mask)
    found = [("MAE", "% of range", 100 * absolute / DATA_RANGE)]
    if scale is not None:
        found.append((f"MAE in {units}", units, absolute * np.asarray(scale, np.float64)))
    squared = np.maximum(_mean(np.square(difference), mask), DATA_RANGE**2 / 10 ** (PSNR_CAP / 10))
    found.append(("PSNR", "dB", 10 * np.log10(DATA_RANGE**2 / squared)))
    ssim, ms_ssim = similarity(target, made, mask)
    found.append(("SSIM", "", ssim))
    if ms_ssim is not None:
        found.append((ms_ssim_name(target.shape[-1]), "", ms_ssim))
    for name, unit, values in found:
        figures.values[f"{name} {region}"] = values
        figures.units[f"{name} {region}"] = unit


def _mean(values: Images, mask: Mask | None) -> Array:
    """Mean over channels and the mask's pixels: [n]; NaN where the mask is empty."""
    if mask is not None:
        return weighted_mean(values, mask)
    over_all: Array = values.mean((1, 2, 3), dtype=np.float64)
    return over_all


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
