"""The way back: stored pictures of size x size to the pixels of the picture that they came from, see `geometry.Frame`.

Turning pictures back to voxels needs no function: `geometry.planes` gives a view, so what is written into the planes of
an empty volume lands in its voxels.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ganatomy.data.geometry import Frame, Spacing, line_start

EPS = 1e-6
"""Source pixels: what lies this close to the frame's edge lies on it."""
_Weights = NDArray[np.float32]


def restore(images: NDArray[np.float32], shape: tuple[int, int], frame: Frame, spacing: Spacing | None,
            background: float, ends: tuple[float, float]) -> NDArray[np.float32]:
    """Bring images back to the grid of the pictures that `frame.apply` made them from.

    Along each side: cubic interpolation (R. Keys 1981, "Cubic Convolution Interpolation for Digital Image Processing",
    eq. 15, a = -1/2) where the images' pixels are as large as the picture's or larger, the exact mean over each of the
    picture's pixels where they are smaller. Where the pixels are the same, values are copied.

    Args:
        images: float32 [n, c, s, s]; s is frame.size or, after averaging blocks of pixels, a whole part of it.
        shape: height and width of the pictures.
        frame: what made the images.
        spacing: mm per pixel (y, x) of the pictures; None where it is unknown.
        background: value of what lies outside of the frame.
        ends: interpolation goes beyond the values around edges; it is cut off at these.

    Returns:
        float32 [n, c, h, w].
    """
    factor = frame.size // images.shape[-1]
    (down, rows), (across, columns) = (
        _line(source, frame.size, round(step, 9), factor)
        for source, step in zip(shape, frame.steps(*shape, spacing), strict=True))
    outside = np.float32(1.0) - rows[:, None] * columns[None]
    out: NDArray[np.float32] = np.clip(down @ images @ across.T + outside * np.float32(background), *ends)
    return out


@lru_cache(maxsize=64)
def _line(source: int, target: int, step: float, factor: int) -> tuple[_Weights, _Weights]:
    """Weights [source, target / factor] of a line's way back, and how much of each source pixel the frame covers."""
    start, wide = line_start(source, target, step), step * factor
    begin = (np.arange(source, dtype=np.float64) - start) / wide  # of each source pixel, in stored pixels
    if wide >= 1.0 - 1e-9:
        return _cubic(begin + 0.5 / wide - 0.5, target // factor, EPS / wide)
    return _means(begin, begin + 1.0 / wide, target // factor)


def _cubic(centre: NDArray[np.float64], target: int, margin: float) -> tuple[_Weights, _Weights]:
    """Interpolation at centres, in stored pixels; beyond the outermost ones their value is repeated."""
    first = np.floor(centre).astype(np.intp)
    weights = np.zeros((len(centre), target))
    for tap in range(-1, 3):
        place = np.clip(first + tap, 0, target - 1)
        np.add.at(weights, (np.arange(len(centre)), place), _keys(np.abs(centre - first - tap)))
    inside = (centre >= -0.5 - margin) & (centre <= target - 0.5 + margin)
    return np.asarray(weights * inside[:, None], np.float32), inside.astype(np.float32)


def _keys(x: NDArray[np.float64]) -> NDArray[np.float64]:
    near, far = 1 - 2.5 * x**2 + 1.5 * x**3, 2 - 4 * x + 2.5 * x**2 - 0.5 * x**3
    kernel: NDArray[np.float64] = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
    return kernel


def _means(begin: NDArray[np.float64], end: NDArray[np.float64], target: int) -> tuple[_Weights, _Weights]:
    """Means over stored pixels from `begin` to `end`; of source pixels that the frame covers in part, that part's."""
    edges = np.arange(target, dtype=np.float64)[None]
    overlap = np.minimum(end[:, None], edges + 1.0) - np.maximum(begin[:, None], edges)
    shares = np.clip(overlap, 0.0, None) / (end - begin)[:, None]
    covered = shares.sum(1)
    covered[covered > 1.0 - EPS] = 1.0
    return np.asarray(shares, np.float32), covered.astype(np.float32)
