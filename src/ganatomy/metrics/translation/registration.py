"""How well the structures of two images of different contrast agree: shifts, deformation, lost parts, edges."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganatomy.metrics.base import Images
from ganatomy.statistics.resampling import Array

SHIFT, DEFORMATION, LOST, KEPT, INVENTED = NAMES = (
    "Shift", "Deformation", "Lost parts", "Edges kept", "Edges invented")
Masks = NDArray[np.bool_]
Structure = NDArray[np.complex64]
BLOCKS = 4  # a side; as many again lie half a block further, so that no place is at the edge of all
MATCHED = 0.3  # images of different patients correlate less than this, the same structures in another contrast more
# a block has fewer structures, and so a higher correlation by chance: only above the one is its shift believed, only
# below the other is it gone; between them it is noisy or blurred
BLOCK_MATCHED, BLOCK_LOST = 0.55, 0.35
STRONG, WEAK = 0.9, 0.8  # quantiles of the gradient in the foreground
_TAPER = 0.1
_SMALLEST_BLOCK = 24  # pixels: smaller ones match by chance
_FINE = 10  # steps a pixel before the parabola
_BATCH, _BATCH_PIXELS = 32, 524_288


class Shifts(NamedTuple):
    """Shifts of the second image against the first.

    Attributes:
        vectors: float64 [..., 2], pixels along y and x; NaN where nothing matches.
        correlation: float64 [...], of the structures when laid on each other; NaN for a block without content.
    """

    vectors: Array
    correlation: Array


def grey(images: Images) -> NDArray[np.float32]:
    """The mean over the channels: [n, s, s]."""
    return np.asarray(images.mean(1, dtype=np.float32))


def gradients(images: Images) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Derivatives of the grey images along y and x [n, s, s], smoothed by a Gaussian of one pixel."""
    from scipy.ndimage import gaussian_filter

    along_y, along_x = (gaussian_filter(grey(images), (0, 1, 1), order=order, mode="nearest")
                        for order in ((0, 1, 0), (0, 0, 1)))
    return along_y, along_x


def structure(images: Images, masks: Masks) -> Structure:
    """Where edges run and in which direction, whichever side is the brighter.

    The direction of the gradient with its angle doubled, so that an edge and its inverse are alike; the magnitude is
    its strength m / (m + mean m of the foreground `masks` [n, s, s]), so that strong edges do not outweigh all others.

    Source: Fitch et al., Orientation correlation, BMVC 2002, with the doubled angle in place of the sign.
    """
    y, x = gradients(images)
    magnitude = np.hypot(y, x)
    inside = np.where(masks.any((1, 2), keepdims=True), masks, True)
    typical = (magnitude * inside).sum((1, 2), keepdims=True) / inside.sum((1, 2), keepdims=True)
    direction = np.square((x + 1j * y) / np.maximum(magnitude, 1e-7))
    return np.asarray((direction * (magnitude / (magnitude + typical + 1e-4))).astype(np.complex64))


def image_shifts(first: Structure, second: Structure) -> Shifts:
    """One shift an image [n], to some hundredths of a pixel: the peak of the correlation of the structures [n, s, s].

    Source: Guizar-Sicairos et al., Optics Letters 2008, for its refinement by a small inverse Fourier transform.
    """
    from scipy import fft
    from scipy.signal.windows import tukey

    n, size, _ = first.shape
    taper = tukey(size, 2 * _TAPER).astype(np.float32)
    a, b = (fft.fft2(x * taper * taper[:, None]) for x in (first, second))
    energy = np.sqrt(np.square(np.abs(a)).sum((1, 2)) * np.square(np.abs(b)).sum((1, 2))).astype(np.float64)
    cross = np.conj(a) * b
    peak = fft.ifft2(cross).real.reshape(n, -1).argmax(1)
    whole = np.stack(np.unravel_index(peak, (size, size)), 1).astype(np.float64)
    whole -= size * (whole > size / 2)
    steps = np.arange(-_FINE, _FINE + 1) / _FINE
    wave = 2j * np.pi * fft.fftfreq(size)
    to_y, to_x = (np.exp((whole[:, axis, None] + steps)[..., None] * wave) for axis in (0, 1))
    fine = (to_y @ cross @ to_x.transpose(0, 2, 1)).real.astype(np.float64)
    offset, height = _peaks(fine)
    correlation = np.divide(height, energy, out=np.zeros(n), where=energy > 0)
    vectors = whole + (offset - _FINE) / _FINE
    return Shifts(np.where(correlation[:, None] >= MATCHED, vectors, np.nan), correlation)


def _peaks(surface: Array) -> tuple[Array, Array]:
    """Places (y, x) of the maxima of surfaces [n, h, w], between the samples by a parabola each way, and heights."""
    n, height, width = surface.shape
    y, x = np.unravel_index(surface.reshape(n, -1).argmax(1), (height, width))
    top = surface[np.arange(n), y, x]
    places = []
    for at, last, values in ((y, height - 1, surface[np.arange(n), :, x]), (x, width - 1, surface[np.arange(n), y])):
        before = values[np.arange(n), np.maximum(at - 1, 0)]
        after = values[np.arange(n), np.minimum(at + 1, last)]
        bend = 2 * top - before - after
        inner = (at > 0) & (at < last) & (bend > 0)
        places.append(at + np.divide(after - before, 2 * bend, out=np.zeros(n), where=inner))
    return np.stack(places, 1), top


def block_shifts(first: Structure, second: Structure, masks: Masks) -> Shifts:
    """Shifts of overlapping blocks [n, k], a quarter of the image wide; up to a quarter of a block each way.

    A block has content if half of it is foreground and the first image has structures there. A block whose content
    the second image lacks has a correlation below `BLOCK_LOST`. Structures and foreground are [n, s, s].
    """
    from scipy.signal.windows import hann

    n, size, _ = first.shape
    side = min(size, max(_SMALLEST_BLOCK, size // BLOCKS))
    reach, window = side // 4, np.outer(line := hann(side + 2).astype(np.float32)[1:-1], line)
    starts = np.linspace(0, size - side, 2 * ((size - side) // side) + 3).round().astype(int)
    padded = np.pad(second, ((0, 0), (reach, reach), (reach, reach)))
    strength = np.square(np.abs(first))
    typical = (strength * masks).sum((1, 2)) / np.maximum(masks.sum((1, 2)), 1)
    shifts, correlation = np.full((n, len(starts) ** 2, 2), np.nan), np.full((n, len(starts) ** 2), np.nan)
    for k, (y, x) in enumerate((y, x) for y in starts for x in starts):
        here = np.s_[:, y:y + side, x:x + side]
        energy = np.tensordot(strength[here], window, 2) / window.sum()
        rows = np.flatnonzero((masks[here].mean((1, 2)) >= 0.5) & (energy >= typical / 2) & (energy > 0))
        if rows.size:
            region = padded[rows, y:y + side + 2 * reach, x:x + side + 2 * reach]
            place, correlation[rows, k] = _peaks(_block_correlation(first[here][rows], region, window))
            shifts[rows, k] = np.where(correlation[rows, k, None] >= BLOCK_MATCHED, place - reach, np.nan)
    return Shifts(shifts, correlation)


def _block_correlation(block: Structure, region: Structure, window: NDArray[np.float32]) -> Array:
    """Correlation of a windowed block [n, b, b] with every place of a larger region [n, r, r]: [n, r-b+1, r-b+1]."""
    from scipy import fft

    side, size = block.shape[-1], region.shape[-1]
    places = size - side + 1
    match = fft.ifft2(np.conj(fft.fft2(block * window, (size, size))) * fft.fft2(region)).real
    energy = (np.square(np.abs(block)) * window).sum((1, 2))
    there = fft.ifft2(np.conj(fft.fft2(window, (size, size))) * fft.fft2(np.square(np.abs(region)))).real
    # a place with hardly any structure must not match by its noise
    scale = np.sqrt(np.maximum(there, 1e-3 * window.sum()) * energy[:, None, None])
    return np.asarray((match / scale)[:, :places, :places].astype(np.float64))


def measure(first: Images, second: Images, masks: Masks, pixel: Array) -> dict[str, Array]:
    """How well every pair agrees, by name: float64 [n]; NaN where there is nothing to measure.

    - Shift: `image_shifts`; NaN where the images have no structure in common, or no foreground.
    - Deformation: the 95th percentile over the blocks of an image of how far each has moved against the median block;
      it takes three matched blocks.
    - Lost parts: share of the blocks with content for which the second image has nothing that resembles it.
    - Edges kept and invented: see `edge_agreement`.

    Args:
        first, second: [n, c, s, s] in [-1, 1]; numbers of channels may differ.
        masks: [n, s, s], the foreground.
        pixel: mm a pixel [n, 2], or ones.
    """
    parts, step = [], max(1, min(_BATCH, _BATCH_PIXELS // first[0, 0].size)) if len(first) else 1
    for i in range(0, len(first), step):
        rows = slice(i, i + step)
        one, two, mask = first[rows], second[rows], masks[rows]
        shapes = structure(one, mask), structure(two, mask)
        moved, blocks = image_shifts(*shapes), block_shifts(*shapes, mask)
        lengths = np.where(mask.any((1, 2)), np.linalg.norm(moved.vectors * pixel[rows], axis=1), np.nan)
        deformation = _deformation(blocks.vectors * pixel[rows, None], blocks.correlation)
        parts.append(np.stack([lengths, *deformation, *edge_agreement(one, two, mask)]))
    joined = np.concatenate(parts, 1) if parts else np.zeros((len(NAMES), 0))
    return dict(zip(NAMES, joined, strict=True))


def _deformation(vectors: Array, correlation: Array) -> tuple[Array, Array]:
    """How far the blocks of each image moved [n], and the share of lost blocks [n]."""
    deformation, lost = np.full((2, len(vectors)), np.nan)
    for i, (blocks, content) in enumerate(zip(vectors, np.isfinite(correlation), strict=True)):
        matched = blocks[np.isfinite(blocks[:, 0])]
        if content.any():
            lost[i] = (correlation[i][content] < BLOCK_LOST).mean()
        if len(matched) >= 3:
            deformation[i] = np.quantile(np.linalg.norm(matched - np.median(matched, 0), axis=1), 0.95)
    return deformation, lost


def edge_agreement(first: Images, second: Images, masks: Masks) -> tuple[Array, Array]:
    """How well strong edges agree: share of the first's that are kept, share of the second's that are invented [n].

    An edge is a local maximum of the gradient across itself, inside the mask; strong ones are in the top 10% of the
    mask's gradients. One is kept if the other image has an edge in *its* top 20% within one pixel, diagonals included.
    """
    (strong, weak), (strong_two, weak_two) = _edges(first, masks), _edges(second, masks)
    return _matched(strong, weak_two), 1 - _matched(strong_two, weak)


def _edges(images: Images, masks: Masks) -> tuple[Masks, Masks]:
    """Strong edges and edges at all: bool [n, s, s] each."""
    y, x = gradients(images)
    size = np.hypot(y, x)
    padded = np.pad(size, ((0, 0), (1, 1), (1, 1)))
    direction = np.round(np.arctan2(y, x) / (np.pi / 4)).astype(int) % 4
    thin = np.zeros(size.shape, bool)
    for number, (dy, dx) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        after, before = (padded[:, 1 + k * dy:padded.shape[1] - 1 + k * dy, 1 + k * dx:padded.shape[2] - 1 + k * dx]
                         for k in (1, -1))
        thin |= (direction == number) & (size >= after) & (size > before)
    limits = np.array([np.quantile(s[m], (STRONG, WEAK)) if m.any() else (np.inf, np.inf)
                       for s, m in zip(size, masks, strict=True)]).reshape(-1, 2)
    strong, weak = (thin & masks & (size >= limits[:, k, None, None]) for k in (0, 1))
    return strong, weak


def _matched(edges: Masks, partners: Masks) -> Array:
    """The share of the edges of each image [n] that have a partner within one pixel; NaN without edges."""
    from scipy.ndimage import maximum_filter

    near = maximum_filter(partners, (1, 3, 3))
    counts = edges.sum((1, 2))
    return np.asarray(np.divide((edges & near).sum((1, 2)), counts, out=np.full(len(edges), np.nan), where=counts > 0))
