"""How alike two pictures are, whatever their brightness, position, size and mirroring. Arrays in, arrays out.

Copies under another patient's name (`prepare`) and copies of training patients (the audit) are looked for with the same
tools: pictures of 64 x 64 pixels, their detail, enlarged and mirrored views, and correlation over shifts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ganatomy.data.geometry import shares

Array = NDArray[np.float32]
Spectra = NDArray[np.complex64]

FINE = 64  # pixels a side at which pictures are compared
FINE_BAND = (0.7, 2.5)  # standard deviations of two Gaussians, pixels: of their difference shading drops out, and noise
# contrast is divided by its local size over a Gaussian of this standard deviation, plus this share of the whole
# picture's mean square, so that noise in the background stays small
EVEN, FLOOR = 3.0, 1.0


def to_grey(pixels: NDArray[np.generic]) -> Array:
    """Values [n, h, w(, 3)] as float32 [n, FINE, FINE], averaged over areas."""
    values = pixels.astype(np.float32)
    values = values.mean(-1) if values.ndim == 4 else values
    return apply(areas(values.shape[1]), values, areas(values.shape[2]))


def views(images: Array, zooms: Sequence[float]) -> Iterator[Array]:
    """The images [n, h, h] enlarged about the middle by each zoom, and each of these mirrored left-right."""
    for zoom in zooms:
        enlarged = images if zoom == 1.0 else apply(_zoom(images.shape[-1], zoom), images)
        yield enlarged
        yield enlarged[:, :, ::-1]


def band(images: Array, sigmas: tuple[float, float]) -> Array:
    """Difference of two Gaussians [n, h, h], mean 0."""
    low, high = (apply(_gaussian(images.shape[-1], sigma), images) for sigma in sigmas)
    return _centred(low - high)


def detail(images: Array) -> Array:
    """Band-passed images [n, h, h] with contrast evened out: a bright scalp must not outweigh the brain within."""
    fine = band(images, FINE_BAND)
    power = np.maximum(apply(_gaussian(images.shape[-1], EVEN), fine**2), 0.0)
    return _centred(fine / np.sqrt(power + FLOOR * (fine**2).mean((1, 2), keepdims=True) + 1e-12))


def unit(vectors: Array) -> Array:
    """Rows (the rest flattened) with norm 1."""
    flat = vectors.reshape(len(vectors), -1)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12))


def spectra(images: Array) -> Spectra:
    """Fourier transforms [n, h, h // 2 + 1] of images [n, h, h] of mean 0, scaled to norm 1."""
    from scipy import fft

    return np.asarray(fft.rfft2(unit(images).reshape(images.shape)))


def correlation(one: Spectra, other: Spectra, reach: int, between: bool = False) -> Array:
    """The highest correlation [n] of pairs of images, given as `spectra`, over shifts of at most `reach` pixels.

    Args:
        one, other: the pairs. `np.conj` of one of them turns its image by 180 degrees.
        reach: pixels, along each axis.
        between: shifts between whole pixels count too, by a parabola through the peak's neighbours.
    """
    from scipy import fft

    size, margin = one.shape[1], int(between)
    grid = fft.irfft2(one * np.conj(other), s=(size, size))
    grid = np.roll(grid, (reach + margin, reach + margin), (1, 2))[:, :2 * (reach + margin) + 1,
                                                                   :2 * (reach + margin) + 1]
    if not between:
        return np.asarray(grid.reshape(len(grid), -1).max(1))
    inner = grid[:, 1:-1, 1:-1].reshape(len(grid), -1)
    y, x = np.unravel_index(inner.argmax(1), (2 * reach + 1, 2 * reach + 1))
    n, y, x = np.arange(len(grid)), y + 1, x + 1
    peak = grid[n, y, x]
    gain = sum(_rise(grid[n, y - dy, x - dx], peak, grid[n, y + dy, x + dx]) for dy, dx in ((0, 1), (1, 0)))
    return np.asarray(np.minimum(peak + gain, 1.0))


def apply(rows: Array, images: Array, columns: Array | None = None) -> Array:
    """rows @ image @ columns^T of each; the columns' matrix is the rows' if not given."""
    return np.asarray(rows @ images @ np.swapaxes(rows if columns is None else columns, -1, -2))


def areas(size: int, pixels: int = FINE, moved: Array | float = 0.0) -> Array:
    """The matrix (matrices) [..., pixels, size] that average pixels over equal areas, `moved` pixels on."""
    edges = np.linspace(0, size, pixels + 1) + np.asarray(moved)[..., None]
    return np.asarray(shares(edges[..., :-1], edges[..., 1:], size) * pixels / size, np.float32)


def _centred(images: Array) -> Array:
    return np.asarray(images - images.mean((1, 2), keepdims=True))


def _rise(before: Array, peak: Array, after: Array) -> Array:
    """By how much a parabola through three neighbours rises above the middle one, where that is the highest."""
    bend = np.maximum(2 * peak - before - after, 1e-6)
    return np.where(peak >= np.maximum(before, after), (after - before) ** 2 / (8 * bend), 0.0)


def _zoom(size: int, zoom: float) -> Array:
    """The matrix [size, size] that enlarges by `zoom` about the middle, linearly, edges repeated."""
    places = np.clip((np.arange(size) - (size - 1) / 2) / zoom + (size - 1) / 2, 0, size - 1)
    return np.asarray(np.maximum(1 - np.abs(places[:, None] - np.arange(size)), 0), np.float32)


def _gaussian(size: int, sigma: float) -> Array:
    """The matrix [size, size] that smooths, weights normalised at the edges."""
    weights = np.exp(-0.5 * (np.subtract.outer(np.arange(size), np.arange(size)) / sigma) ** 2)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)
