"""The same picture under two patients: found although it was saved again, resized, brightened, moved or mirrored.

Registered brains all look alike, so that no fixed distance can tell a copy. Here every image is compared with the most
similar images of *other* subjects, finely and after alignment, and a copy is what lies far below the distances usual
between the subjects of the same data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import Row
from ganatomy.wording import counted, grouped

Array = NDArray[np.float32]

MAX_IMAGES = 5_000
FINE, COARSE = 64, 24
"""Pixels a side at which images are compared, and at which candidates are found."""
FINE_BAND, COARSE_BAND = (0.7, 2.5), (1.0, 4.0)
"""Standard deviations of the two Gaussians whose difference is kept, pixels: brightness and shading drop out below,
noise above."""
EVEN, FLOOR = 3.0, 1.0
"""Contrast is divided by its local size over a Gaussian of this standard deviation, plus this share of the whole
image's mean square, so that noise in the background stays small."""
REACH = 4
"""Fine pixels by which an image may be moved."""
ZOOMS = (1.0, 0.95, 1.05)
NEAREST = 3
"""Other subjects with which an image is compared finely."""
DEVIATIONS = 4.0
"""A copy is nearer than usual by this many robust standard deviations of the log distance."""
RATIO = 5.0
"""... and this many times nearer."""
IDENTICAL = 0.01
"""A pair nearer than this is a copy in any data."""
FEWEST_SUBJECTS = 3
LEAST_CONTENT = 0.1
"""Images with less detail than this share of the median's (slices beyond the anatomy) are alike in all patients."""
_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images by index, their distance, and whether their splits differ."""

    one: int
    other: int
    distance: float
    leak: bool


@dataclass(frozen=True, slots=True)
class Found:
    """Near-duplicates among images.

    Attributes:
        pairs: of different subjects, nearest first.
        threshold: distances below it are near-duplicates.
        usual: the median distance to other subjects; None where there are too few subjects to say.
        compared: how many images were compared; the rest is nearly empty.
    """

    pairs: list[Pair]
    threshold: float
    usual: float | None
    compared: int


@dataclass(frozen=True, slots=True)
class Report:
    """Near-duplicates in a dataset.

    Attributes:
        pairs: (domain, image_id, image_id, distance, in different splits), leaks first, then nearest first.
        leaks: how many of them are in different splits.
        warning: a sentence for the user, "" if there are none.
    """

    pairs: list[tuple[str, str, str, float, bool]]
    leaks: int
    warning: str


def near_duplicates(dataset: Dataset, say: Callable[[str], None] = lambda text: None) -> Report:
    """Look for near-duplicates among a dataset's subjects; where domains are paired, the first stands for all.

    Args:
        dataset: any; of more than 5,000 images a domain, as many are taken evenly from each subject.
        say: told of the cap, and of each domain's threshold where pairs were found.
    """
    pairs: list[tuple[str, str, str, float, bool]] = []
    for domain in dataset.info.domains[:1] if dataset.info.paired else dataset.info.domains:
        every = dataset.rows(domain)
        rows = _spread(every)
        if len(rows) < len(every):
            say(f"near-duplicates are looked for among {len(rows):,} of {grouped(len(every), 'image')}, evenly from "
                "each subject")
        small = np.concatenate([to_grey(dataset.pixels(rows[i:i + _BLOCK])) for i in range(0, len(rows), _BLOCK)])
        found = find(small, [r.subject for r in rows], [r.split for r in rows])
        pairs += [(domain, rows[p.one].image_id, rows[p.other].image_id, p.distance, p.leak) for p in found.pairs]
        if found.pairs:
            usual = "" if found.usual is None else f"; usual between subjects: {found.usual:.2f}"
            say(f"{domain}: {counted(len(found.pairs), 'pair')} of images of different subjects nearer than "
                f"{found.threshold:.3f}{usual}")
    leaks = sum(pair[4] for pair in pairs)
    return Report(sorted(pairs, key=lambda p: (not p[4], p[3])), leaks, _warning(len(pairs), leaks))


def _warning(pairs: int, leaks: int) -> str:
    if not pairs:
        return ""
    text = (f"{counted(pairs, 'pair')} of nearly the same image under two subjects, far more alike than different "
            "subjects are in these data")
    return text + (f"; {leaks} of them in different splits: patients leak" if leaks else "")


def _spread(rows: Sequence[Row]) -> list[Row]:
    """At most `MAX_IMAGES` rows, evenly over the subjects and along each one's slices."""
    owned: dict[str, list[Row]] = {}
    for row in rows:
        owned.setdefault(row.subject, []).append(row)
    room, chosen = MAX_IMAGES, list[Row]()
    # the smallest first: what they leave is shared by the rest
    for left, found in zip(range(len(owned), 0, -1), sorted(owned.values(), key=len), strict=True):
        share = min(len(found), max(1, room // left))
        if room <= 0:
            break
        chosen += [found[i] for i in np.linspace(0, len(found) - 1, share).round().astype(int)]
        room -= share
    return chosen


def to_grey(pixels: NDArray[np.generic]) -> Array:
    """Stored values [n, h, w(, 3)] as float32 [n, FINE, FINE], averaged over areas."""
    values = pixels.astype(np.float32)
    values = values.mean(-1) if values.ndim == 4 else values
    rows, columns = (_areas(size) for size in values.shape[1:])
    out: Array = rows @ values @ columns.T
    return out


def find(images: Array, subjects: Sequence[str], splits: Sequence[str]) -> Found:
    """Pairs of images of different subjects that are far more alike than is usual between the subjects.

    The distance is 1 - r, where r is the correlation of the band-passed images at the shift, zoom and mirroring at
    which they agree best: 0 for the same image, about 1 for unrelated ones. The threshold lies 4 robust standard
    deviations (1.4826 x median absolute deviation) below the median of the log distance of all images to the second
    of the subjects most like them; the second, so that cohorts in which everybody is there twice are found out too.

    Args:
        images: float32 [n, h, w] of `to_grey`.
        subjects, splits: of each image.
    """
    order = np.argsort(np.array(subjects), kind="stable")
    fine = _detail(images[order])
    detail = np.sqrt((fine**2).sum((1, 2)))
    usable = detail > max(LEAST_CONTENT * float(np.median(detail)), 1e-6 * float(np.abs(images).max(initial=0.0)), 0.0)
    order, fine = order[usable], fine[usable] / detail[usable, None, None]
    names, owner = np.unique(np.array(subjects)[order], return_inverse=True)
    if len(names) < 2:
        return Found([], IDENTICAL, None, len(order))
    others, distances = _nearest(images[order], fine, owner, min(NEAREST, len(names) - 1))
    threshold, usual = IDENTICAL, None
    if len(names) >= FEWEST_SUBJECTS:
        second = np.sort(distances, axis=1)[:, 1]
        usual = float(np.median(second))
        threshold = _threshold(second)
    best: dict[tuple[int, int], float] = {}
    for i, k in zip(*np.nonzero(distances < threshold), strict=True):
        one, other = sorted((int(order[i]), int(order[others[i, k]])))
        best[one, other] = min(float(distances[i, k]), best.get((one, other), 2.0))
    pairs = [Pair(one, other, d, splits[one] != splits[other]) for (one, other), d in best.items()]
    return Found(sorted(pairs, key=lambda p: p.distance), threshold, usual, len(order))


def _threshold(usual: Array) -> float:
    logs = np.log(np.maximum(usual, 1e-6))
    middle = float(np.median(logs))
    spread = 1.4826 * float(np.median(np.abs(logs - middle)))
    return max(IDENTICAL, float(np.exp(min(middle - DEVIATIONS * spread, middle - np.log(RATIO)))))


def _nearest(images: Array, fine: Array, owner: NDArray[np.intp], count: int) -> tuple[NDArray[np.intp], Array]:
    """For every image the most similar image of each of `count` other subjects, and the distances, both [n, count].

    Images are sorted by owner. Candidates come from small band-passed images, less their mean over the cohort, so
    that the anatomy that all share does not count.
    """
    coarse = _coarse(images)
    mean = coarse.mean(0)
    known = _unit(coarse - mean)
    starts = np.searchsorted(owner, np.arange(owner[-1] + 2))
    others = np.zeros((len(images), count), np.intp)
    distances = np.ones((len(images), count), np.float32)
    for block in _blocks(len(images)):
        mine = np.arange(len(images))[block]
        variants = [_unit(_coarse(changed) - mean) for changed in _variants(images[block])]
        by_subject = np.stack([np.maximum.reduceat(v @ known.T, starts[:-1], axis=1) for v in variants])
        by_subject[:, np.arange(len(mine)), owner[block]] = -2.0
        best = by_subject.max(0)
        likely = np.argpartition(best, -count, axis=1)[:, -count:]
        which = np.take_along_axis(by_subject.argmax(0), likely, 1)
        for row, k in product(range(len(mine)), range(count)):
            start, end = starts[likely[row, k]], starts[likely[row, k] + 1]
            others[mine[row], k] = start + int((known[start:end] @ variants[which[row, k]][row]).argmax())
        finer = [_unit(_detail(changed)) for changed in _variants(images[block])]
        for k in range(count):
            query = np.stack([finer[v][row] for row, v in enumerate(which[:, k])])
            distances[block, k] = 1.0 - _correlation(query.reshape(-1, FINE, FINE), fine[others[block, k]])
    return others, distances


def _blocks(n: int) -> Iterator[slice]:
    for start in range(0, n, _BLOCK):
        yield slice(start, min(n, start + _BLOCK))


def _variants(images: Array) -> Iterator[Array]:
    """The images as they are, zoomed, and all of these mirrored."""
    for zoom in ZOOMS:
        matrix = _zoom(images.shape[-1], zoom)
        changed: Array = images if zoom == 1.0 else matrix @ images @ matrix.T
        yield changed
        yield changed[:, :, ::-1]


def _coarse(images: Array) -> Array:
    """Candidates' descriptors [n, COARSE x COARSE], norm 1, of the images moved so that their detail is centred."""
    size = images.shape[-1]
    detail = _band(images, FINE_BAND) ** 2
    weight = np.maximum(detail.sum((1, 2)), 1e-12)
    places = np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)
    rows = _areas(size, COARSE, detail.sum(2) @ places / weight)
    columns = _areas(size, COARSE, detail.sum(1) @ places / weight)
    return _unit(_band(rows @ images @ columns.transpose(0, 2, 1), COARSE_BAND))


def _band(images: Array, band: tuple[float, float]) -> Array:
    """Difference of two Gaussians [n, h, w], mean 0."""
    from scipy import ndimage

    low, high = (ndimage.gaussian_filter(images, (0, sigma, sigma)) for sigma in band)
    out: Array = low - high
    return out - out.mean((1, 2), keepdims=True)


def _detail(images: Array) -> Array:
    """Band-passed images [n, h, w] with contrast evened out: a bright scalp must not outweigh the brain within."""
    from scipy import ndimage

    band = _band(images, FINE_BAND)
    power = ndimage.gaussian_filter(band**2, (0, EVEN, EVEN))
    out: Array = band / np.sqrt(power + FLOOR * (band**2).mean((1, 2), keepdims=True) + 1e-12)
    return out - out.mean((1, 2), keepdims=True)


def _unit(vectors: Array) -> Array:
    """Rows (the rest flattened) with norm 1."""
    flat = vectors.reshape(len(vectors), -1)
    out: Array = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    return out


def _correlation(one: Array, other: Array) -> Array:
    """The highest correlation [n] of images [n, h, w] of norm 1 over shifts within `REACH`, between pixels too."""
    from scipy import fft

    product_ = fft.rfft2(one) * np.conj(fft.rfft2(other))
    grid = np.roll(fft.irfft2(product_, s=one.shape[1:]), (REACH + 1, REACH + 1), (1, 2))
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


def _areas(size: int, pixels: int = FINE, moved: Array | float = 0.0) -> Array:
    """The matrix (matrices) [..., pixels, size] that average pixels over equal areas, `moved` pixels on."""
    edges = np.linspace(0, size, pixels + 1) + np.asarray(moved)[..., None]
    left = np.maximum(edges[..., :-1, None], np.arange(size))
    right = np.minimum(edges[..., 1:, None], np.arange(size) + 1)
    out: Array = (np.maximum(right - left, 0) * pixels / size).astype(np.float32)
    return out


def _zoom(size: int, zoom: float) -> Array:
    """The matrix [size, size] that enlarges by `zoom` about the middle, linearly, edges repeated."""
    places = np.clip((np.arange(size) - (size - 1) / 2) / zoom + (size - 1) / 2, 0, size - 1)
    out: Array = np.maximum(1 - np.abs(places[:, None] - np.arange(size)), 0).astype(np.float32)
    return out
