"""How well two images of different contrast agree: shifts, deformation, lost parts, edges, mutual information."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ganatomy.metrics.base import Better, Images
from ganatomy.metrics.registration import BLOCK_LOST, Masks, block_shifts, gradients, grey, image_shifts, structure
from ganatomy.statistics.resampling import Array

SHIFT, DEFORMATION, MEDIAN_DEFORMATION = "Shift", "Deformation", "Deformation, median"
LOST, KEPT, INVENTED, AGREEMENT = "Lost parts", "Edges kept", "Edges invented", "Edge agreement"
INFORMATION = "Mutual information"
BETTER: dict[str, Better] = {SHIFT: "lower", DEFORMATION: "lower", MEDIAN_DEFORMATION: "lower", LOST: "lower",
                             KEPT: "higher", INVENTED: "lower", AGREEMENT: "higher", INFORMATION: "match"}
LENGTHS = (SHIFT, DEFORMATION, MEDIAN_DEFORMATION)
STRONG, WEAK = 0.9, 0.8  # quantiles of the gradient in the foreground
BINS = 32
_BATCH = 32


def clipped(interval: tuple[float, float] | None, low: float, high: float = np.inf) -> tuple[float, float] | None:
    """The part of an interval that the figure can take: Student's t knows nothing of its range."""
    return interval and (float(np.clip(interval[0], low, high)), float(np.clip(interval[1], low, high)))


def measure(first: Images, second: Images, masks: Masks, pixel: Array) -> dict[str, Array]:
    """All figures of every pair, by name: float64 [n]; NaN where there is nothing to measure.

    - Shift: `registration.image_shifts`; NaN where the images have no structure in common, or no foreground.
    - Deformation: the 95th percentile (and the median) over the blocks of an image of how far each has moved against
      the median block; it takes three matched blocks.
    - Lost parts: share of the blocks with content for which the second image has nothing that resembles it.
    - Edges: see `edge_agreement`. Mutual information: see `mutual_information`.

    Args:
        first, second, masks: as for `anatomy`.
        pixel: mm a pixel [n, 2], or ones.
    """
    found = []
    for i in range(0, len(first), _BATCH):
        rows = slice(i, i + _BATCH)
        one, two, mask = first[rows], second[rows], masks[rows]
        shapes = structure(one, mask), structure(two, mask)
        moved, blocks = image_shifts(*shapes), block_shifts(*shapes, mask)
        lengths = np.where(mask.any((1, 2)), moved.length(pixel[rows]), np.nan)
        blocks_moved, lost = _deformation(blocks.vectors * pixel[rows, None], blocks.correlation)
        found.append(np.stack([lengths, *blocks_moved, lost, *edge_agreement(one, two, mask),
                               mutual_information(one, two, mask)]))
    joined = np.concatenate(found, 1) if found else np.zeros((len(BETTER), 0))
    return dict(zip(BETTER, joined, strict=True))


def _deformation(vectors: Array, correlation: Array) -> tuple[Array, Array]:
    """95th percentile and median of the blocks' movement [2, n], and the share of lost blocks [n]."""
    measured, lost = np.full((2, len(vectors)), np.nan), np.full(len(vectors), np.nan)
    for i, (blocks, content) in enumerate(zip(vectors, np.isfinite(correlation), strict=True)):
        matched = blocks[np.isfinite(blocks[:, 0])]
        if content.any():
            lost[i] = (correlation[i][content] < BLOCK_LOST).mean()
        if len(matched) >= 3:
            measured[:, i] = np.quantile(np.linalg.norm(matched - np.median(matched, 0), axis=1), (0.95, 0.5))
    return measured, lost


def edge_agreement(first: Images, second: Images, masks: Masks) -> tuple[Array, Array, Array]:
    """How well strong edges agree: share of the first's kept, share of the second's invented, and F [n] each.

    An edge is a local maximum of the gradient across itself, inside the mask; strong ones are in the top 10% of the
    mask's gradients. One is kept if the other image has an edge in *its* top 20% within one pixel, diagonals included.
    """
    (strong, weak), (strong_two, weak_two) = _edges(first, masks), _edges(second, masks)
    kept, founded = _share(strong, weak_two), _share(strong_two, weak)
    both = np.nan_to_num(kept) + np.nan_to_num(founded)
    f = np.divide(2 * kept * np.nan_to_num(founded), both, out=np.zeros(len(kept)), where=both > 0)
    return kept, 1 - founded, np.where(np.isnan(kept), np.nan, f)


def _edges(images: Images, masks: Masks) -> tuple[Masks, Masks]:
    """Strong edges and edges at all: bool [n, s, s] each."""
    y, x = gradients(grey(images))
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


def _share(edges: Masks, partners: Masks) -> Array:
    from scipy.ndimage import maximum_filter

    near = maximum_filter(partners, (1, 3, 3))
    counts = edges.sum((1, 2))
    share: Array = np.divide((edges & near).sum((1, 2)), counts, out=np.full(len(edges), np.nan), where=counts > 0)
    return share


def mutual_information(first: Images, second: Images, masks: Masks) -> Array:
    """Normalised mutual information inside the mask [n]: (H(A) + H(B)) / H(A, B), 1 (unrelated) to 2 (same).

    Histograms of 32 bins from -1 to 1. NaN for a mask in which an image has one value only.

    Source: Studholme et al., Pattern Recognition 1999.
    """
    codes = [np.clip((grey(images) + 1) * (BINS / 2), 0, BINS - 1).astype(np.intp) for images in (first, second)]
    found = np.full(len(first), np.nan)
    for i, mask in enumerate(masks):
        joint = np.bincount(codes[0][i][mask] * BINS + codes[1][i][mask], minlength=BINS**2).reshape(BINS, BINS)
        entropies = [_entropy(counts) for counts in (joint.sum(0), joint.sum(1), joint)]
        if entropies[0] > 0 and entropies[1] > 0:
            found[i] = (entropies[0] + entropies[1]) / entropies[2]
    return found


def _entropy(counts: NDArray[np.intp]) -> float:
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(-(shares * np.log(shares)).sum())
