"""How far translated images are from the true ones, image by image: MAE, PSNR, SSIM, MS-SSIM.

Inside the foreground and over the whole image, with a fixed dynamic range, as the SynthRAD challenges measure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ganatomy.data.intensity import BORDER_SHARE, FOREGROUND, border_value
from ganatomy.metrics.base import Better, Images, refuse_not_finite
from ganatomy.metrics.similarity import ms_ssim_name, similarity, weighted_mean
from ganatomy.metrics.ssim import DATA_RANGE
from ganatomy.statistics.resampling import Array

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
