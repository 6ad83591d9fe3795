"""How alike two pictures are, whatever their brightness, position, size and mirroring. Arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

FINE, COARSE = 64, 24
"""Pixels a side at which images are compared, and at which candidates are found."""
FINE_BAND, COARSE_BAND = (0.7, 2.5), (1.0, 4.0)
"""Standard deviations of the two Gaussians whose difference is kept, pixels: shading drops out, and noise."""
EVEN, FLOOR = 3.0, 1.0
"""Contrast is divided by its local size over a Gaussian of this standard deviation, plus this share of the whole
image's mean square, so that noise in the background stays small."""
REACH = 4
"""Fine pixels by which an image may be moved."""
ZOOMS = (1.0, 0.95, 1.05)


def to_grey(pixels: NDArray[np.generic]) -> Array:
    """Stored values [n, h, w(, 3)] as float32 [n, FINE, FINE], averaged over areas."""
    values = pixels.astype(np.float32)
    values = values.mean(-1) if values.ndim == 4 else values
    return _apply(_areas(values.shape[1]), values, _areas(values.shape[2]))


def variants(images: Array) -> Iterator[Array]:
    """The images as they are, zoomed, and all of these mirrored."""
    for zoom in ZOOMS:
        changed = images if zoom == 1.0 else _apply(_zoom(images.shape[-1], zoom), images)
        yield changed
        yield changed[:, :, ::-1]


def coarse(images: Array, centred: bool) -> Array:
    """Candidates' descriptors [n, COARSE x COARSE] of norm 1; `centred`: of the images moved so that the centre of
    their detail is in the middle, which suits what lies free, not what the frame cuts off."""
    size, moved = images.shape[-1], np.zeros((2, len(images)), np.float32)
    if centred:
        energy = detail(images) ** 2
        places = np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)
        moved = np.stack([energy.sum(2) @ places, energy.sum(1) @ places]) / np.maximum(energy.sum((1, 2)), 1e-12)
    return unit(band(_apply(_areas(size, COARSE, moved[0]), images, _areas(size, COARSE, moved[1])), COARSE_BAND))


def band(images: Array, sigmas: tuple[float, float]) -> Array:
    """Difference of two Gaussians [n, h, w], mean 0."""
    low, high = (_apply(_gaussian(images.shape[-1], sigma), images) for sigma in sigmas)
    return centre(low - high)


def detail(images: Array) -> Array:
    """Band-passed images [n, h, w] with contrast evened out: a bright scalp must not outweigh the brain within."""
    fine = band(images, FINE_BAND)
    power = np.maximum(_apply(_gaussian(images.shape[-1], EVEN), fine**2), 0.0)
    return centre(fine / np.sqrt(power + FLOOR * (fine**2).mean((1, 2), keepdims=True) + 1e-12))


def centre(images: Array) -> Array:
    """Images [n, h, w] less their mean."""
    out: Array = images - images.mean((1, 2), keepdims=True)
    return out


def unit(vectors: Array) -> Array:
    """Rows (the rest flattened) with norm 1."""
    flat = vectors.reshape(len(vectors), -1)
    out: Array = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    return out


def correlation(one: Array, other: Array) -> Array:
    """The highest correlation [n] of images [n, h, w] of mean 0 over shifts within `REACH`, between pixels too."""
    from scipy import fft

    one, other = (unit(images).reshape(images.shape) for images in (one, other))
    spectrum = fft.rfft2(one) * np.conj(fft.rfft2(other))
    grid = np.roll(fft.irfft2(spectrum, s=one.shape[1:]), (REACH + 1, REACH + 1), (1, 2))
    grid = grid[:, :2 * REACH + 3, :2 * REACH + 3]
    inner = grid[:, 1:-1, 1:-1].reshape(len(grid), -1)
    y, x = np.unravel_index(inner.argmax(1), (2 * REACH + 1, 2 * REACH + 1))
    n, y, x = np.arange(len(grid)), y + 1, x + 1
    peak = grid[n, y, x]
    gain = sum(_rise(grid[n, y - dy, x - dx], peak, grid[n, y + dy, x + dx]) for dy, dx in ((0, 1), (1, 0)))
    out: Array = np.minimum(peak + gain, 1.0)
    return out


def _rise(before: Array, peak: Array, after: Array) -> Array:
    """By how much a parabola through three neighbours rises above the middle one, where that is the highest."""
    bend = np.maximum(2 * peak - before - after, 1e-6)
    out: Array = np.where(peak >= np.maximum(before, after), (after - before) ** 2 / (8 * bend), 0.0)
    return out


def _apply(rows: Array, images: Array, columns: Array | None = None) -> Array:
    """rows @ image @ columns^T of each; the columns' matrix is the rows' if not given."""
    out: Array = np.matmul(np.matmul(rows, images), np.swapaxes(rows if columns is None else columns, -1, -2))
    return out


def _areas(size: int, pixels: int = FINE, moved: Array | float = 0.0) -> Array:
    """The matrix (matrices) [..., pixels, size] that average pixels over equal areas, `moved` pixels on."""
    edges = np.linspace(0, size, pixels + 1) + np.asarray(moved)[..., None]
    left = np.maximum(edges[..., :-1, None], np.arange(size))
    right = np.minimum(edges[..., 1:, None], np.arange(size) + 1)
    return np.asarray(np.maximum(right - left, 0) * pixels / size, np.float32)


def _zoom(size: int, zoom: float) -> Array:
    """The matrix [size, size] that enlarges by `zoom` about the middle, linearly, edges repeated."""
    places = np.clip((np.arange(size) - (size - 1) / 2) / zoom + (size - 1) / 2, 0, size - 1)
    return np.asarray(np.maximum(1 - np.abs(places[:, None] - np.arange(size)), 0), np.float32)


def _gaussian(size: int, sigma: float) -> Array:
    """The matrix [size, size] that smooths, weights normalised at the edges."""
    weights = np.exp(-0.5 * (np.subtract.outer(np.arange(size), np.arange(size)) / sigma) ** 2)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)
