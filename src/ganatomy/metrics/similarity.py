"""SSIM and MS-SSIM of pairs of images, as means over the whole image or weighted by a mask."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ganatomy.metrics.base import Images
from ganatomy.statistics.resampling import Array

DATA_RANGE = 2.0  # from -1 to 1, whatever the images hold
SIGMA, RADIUS = 1.5, 5  # of the Gaussian window, pixels; it has 11 x 11
C1, C2 = (0.01 * DATA_RANGE) ** 2, (0.03 * DATA_RANGE) ** 2
EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang 2003, of the scales from fine to coarse
FEW = 3
_BATCH_PIXELS = 131_072  # larger batches leave the processor's cache


def scales(size: int) -> int:
    """How many scales MS-SSIM has at `size` pixels: 5; 3 below 176; 0 below 44, where the window outgrows the image."""
    window = 2 * RADIUS + 1
    if size < window * 2 ** (FEW - 1):
        return 0
    return FEW if size < window * 2 ** (len(EXPONENTS) - 1) else len(EXPONENTS)


def ms_ssim_name(size: int) -> str:
    """MS-SSIM, MS-SSIM-3 where there is room for three scales only, "" where there is none for these."""
    return {0: "", FEW: f"MS-SSIM-{FEW}"}.get(scales(size), "MS-SSIM")


def ssim_maps(a: Images, b: Images) -> tuple[Images, Images]:
    """SSIM of every pixel's surroundings, and its second factor, contrast and structure.

    Edges are mirrored.

    Args:
        a, b: [n, c, s, s] from 0 to 2: where means have signs, luminance and structure that are both inverted would
            multiply to a good value.

    Returns:
        Two arrays [n, c, s, s], at most 1.

    Source: Wang et al., IEEE Trans. Image Processing 2004, eq. 13.
    """
    from scipy.ndimage import gaussian_filter

    def mean(x: Images) -> Images:
        blurred: Images = gaussian_filter(x, (0, 0, SIGMA, SIGMA), mode="mirror", truncate=RADIUS / SIGMA)
        return blurred

    mean_a, mean_b = mean(a), mean(b)
    aa, bb, ab = mean_a * mean_a, mean_b * mean_b, mean_a * mean_b
    variances: Images = np.maximum(mean(a * a) - aa, 0) + np.maximum(mean(b * b) - bb, 0)
    structure: Images = np.divide(2 * (mean(a * b) - ab) + C2, variances + C2)
    luminance: Images = np.divide(2 * ab + C1, aa + bb + C1)
    return luminance * structure, structure


def similarity(a: Images, b: Images, mask: NDArray[np.bool_] | None = None) -> tuple[Array, Array | None]:
    """SSIM and MS-SSIM of images pairwise, of grey values counted from -1 as black.

    Inside a mask they are means of the maps over its pixels. On coarser scales a pixel counts by the share of it that
    is in the mask. In MS-SSIM's finer scales windows that reach over the edge are left out, as usual, unless the mask
    has no others; a negative mean counts as 0. The exponents of three scales are scaled to sum 1, as those of five do.

    Args:
        a, b: float32 [n, c, s, s] in [-1, 1].
        mask: bool [n, s, s]; None takes the whole image.

    Returns:
        SSIM [n], and MS-SSIM [n] or None (see `scales`); NaN where the mask is empty.

    Sources: Wang et al., IEEE Trans. Image Processing 2004, eq. 13; Wang et al., Asilomar 2003, eq. 7.
    """
    shares = np.ones((len(a), *a.shape[2:]), np.float32) if mask is None else mask.astype(np.float32)
    shift = np.float32(DATA_RANGE / 2)  # to grey values from 0, which SSIM is meant for; so do the SynthRAD challenges
    parts = [_batch(a[rows] + shift, b[rows] + shift, shares[rows]) for rows in _batches(a)]
    ssim = np.concatenate([first for first, _ in parts]) if parts else np.zeros(0)
    if not scales(a.shape[-1]):
        return ssim, None
    return ssim, np.concatenate([second for _, second in parts]) if parts else np.zeros(0)


def ssim(a: Images, b: Images) -> Array:
    """SSIM of images pairwise over the whole image, as by `similarity`: float32 [n, c, s, s] in [-1, 1] -> [n]."""
    shift = np.float32(DATA_RANGE / 2)
    means = [ssim_maps(a[rows] + shift, b[rows] + shift)[0].mean((1, 2, 3), dtype=np.float64) for rows in _batches(a)]
    return np.concatenate(means) if means else np.zeros(0)


def _batches(images: Images) -> Iterator[slice]:
    step = max(1, _BATCH_PIXELS // max(1, images[:1].size))
    return (slice(start, start + step) for start in range(0, len(images), step))


def _batch(a: Images, b: Images, shares: Images) -> tuple[Array, Array]:
    """SSIM and, where there are scales, MS-SSIM of a few pairs."""
    n = max(1, scales(a.shape[-1]))
    exponents = np.array(EXPONENTS[:n]) / sum(EXPONENTS[:n])
    product = np.ones(len(a))
    for scale in range(n):
        maps, structure = ssim_maps(a, b)
        if scale == 0:
            ssim = weighted_mean(maps, shares)
        last = scale == n - 1
        factor = weighted_mean(maps, shares) if last else weighted_mean(structure, _clear_of_edges(shares))
        product *= np.maximum(factor, 0) ** exponents[scale]
        if not last:
            a, b, shares = _halved(a), _halved(b), _halved(shares)
    return ssim, product


def weighted_mean(maps: Images, shares: Images | NDArray[np.bool_]) -> Array:
    """Weighted mean over channels and pixels: [n]; NaN where nothing has weight."""
    sums = (maps.mean(1, dtype=np.float64) * shares).sum((-2, -1))
    weights = shares.sum((-2, -1), dtype=np.float64)
    mean: Array = np.divide(sums, weights, out=np.full(len(sums), np.nan), where=weights > 0)
    return mean


def _clear_of_edges(shares: Images) -> Images:
    inner = np.zeros_like(shares)
    inside = (slice(None), slice(RADIUS, -RADIUS), slice(RADIUS, -RADIUS))
    inner[inside] = shares[inside]
    return np.where(inner.any((-2, -1), keepdims=True), inner, shares)


def _halved(x: Images) -> Images:
    """Means of blocks of 2 x 2 pixels; an odd last row or column is left out."""
    height, width = (side // 2 * 2 for side in x.shape[-2:])
    x = x[..., :height, :width]
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / np.float32(4)
