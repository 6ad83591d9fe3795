"""How alike two pictures are, whatever their brightness, position, size and mirroring. Arrays in, arrays out.

Copies under another patient's name (`prepare`) and copies of training patients (the audit) are looked for in the same
`Pictures`: 64 x 64 pixels, their detail, enlarged and mirrored views, and correlation over shifts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganatomy.data.geometry import shares

Array = NDArray[np.float32]
Index = NDArray[np.intp]
Spectra = NDArray[np.complex64]

FINE = 64  # pixels a side at which pictures are compared
FINE_BAND = (0.7, 2.5)  # standard deviations of two Gaussians, pixels: of their difference shading drops out, and noise
# contrast is divided by its local size over a Gaussian of this standard deviation, plus this share of the whole
# picture's mean square, so that noise in the background stays small
EVEN, FLOOR = 3.0, 1.0
SHORTLIST = 10  # subjects whose pictures are laid over a picture, pixel by pixel
REACH = 8  # pixels of 64 by which a picture may be moved
ZOOMS = (1.0, 0.93, 0.965, 1.035, 1.07)  # fine detail of a large head no longer fits at 3% beside the right size
FLIPS = {"as it is": (), "mirrored left-right": (1,), "turned by 180 degrees": (0, 1), "mirrored top-bottom": (0,)}
"""How a picture lies on another, in words, and the axes of [h, w] along which that is undone."""
IDENTICAL = 0.01  # a pair nearer than this is a copy in any data
FEWEST_SUBJECTS = 3  # that know what is usual between them
DEVIATIONS, TIMES = 4.0, 5.0  # a copy is nearer than usual by so many robust deviations of the log, and so many times
_BAND = 12  # frequencies each way of the power spectrum that finds candidates
_OWN = -9.0


@dataclass(frozen=True)
class Near:
    """For each of n pictures the most similar picture of each of k subjects, the nearest subject first: all [n, k].

    Attributes:
        row: of `Pictures`.
        subject: its number.
        distance: float64, 1 - r, where r is the correlation of the details at the shift, zoom and mirroring at which
            they agree best: 0 for the same picture, about 1 for unrelated ones; infinite where there is no other.
        view: how it lies, see `view_name`.
    """

    row: Index
    subject: Index
    distance: NDArray[np.float64]
    view: Index


def view_name(view: int) -> str:
    """A number of `Near.view` in words."""
    zoom = ZOOMS[view // len(FLIPS)]
    return [*FLIPS][view % len(FLIPS)] + ("" if zoom == 1 else ", reduced" if zoom > 1 else ", enlarged")


class Pictures:
    """Pictures of many subjects, in which those most like others are looked for; 20,000 take 0.5 GB.

    Args:
        parts: pictures of `to_grey`, a few at a time.
        owners: intp [n], the number of each one's subject, ascending.
    """

    def __init__(self, parts: Iterable[Array], owners: Index) -> None:
        self.owners = owners
        self.starts = np.flatnonzero(np.diff(owners, prepend=-1))
        self.subjects = owners[self.starts]
        details, powers = zip(*((spectra(detail(part)), _power(part)) for part in parts), strict=True)
        self._details, power = np.concatenate(details), np.concatenate(powers)
        self._usual = power.mean(0)
        self._power = unit(power - self._usual)

    def nearest(self, pictures: Array, own: Index | None = None) -> Near:
        """What is nearest to pictures [n, 64, 64]; pictures of subject `own` [n] are left out.

        Laid over each are, of the ten subjects with the most similar power spectra, the picture with the most similar
        one: no shift and no half turn changes it.
        """
        turned = list(views(pictures, ZOOMS))
        best, which = self._candidates(turned, own)
        n, k = np.arange(len(best)), min(SHORTLIST, len(self.subjects))
        order = np.argsort(-np.maximum.reduceat(best, self.starts, axis=1), axis=1, kind="stable")[:, :k]
        queries = np.stack([spectra(detail(view)) for view in turned])
        rows, lies = np.empty((2, len(best), k), np.intp)
        distances = np.empty((len(best), k))
        for j in range(k):
            rows[:, j] = self._most_similar(best, order[:, j])
            chosen = which[n, rows[:, j]]
            query, real = queries[chosen, n], self._details[rows[:, j]]
            straight, turned_by_180 = (correlation(query, other, REACH, between=True) for other in
                                        (real, np.conj(real)))
            distances[:, j] = np.maximum(1.0 - np.maximum(straight, turned_by_180), 0.0)
            flip = np.array([[0, 2], [1, 3]])[chosen % 2, (turned_by_180 > straight).astype(int)]
            lies[:, j] = chosen // 2 * len(FLIPS) + flip
            distances[best[n, rows[:, j]] == _OWN, j] = np.inf
        ranked = np.argsort(distances, axis=1, kind="stable")
        return Near(*(np.take_along_axis(values, ranked, 1)
                      for values in (rows, self.subjects[order], distances, lies)))  # type: ignore[arg-type]

    def _candidates(self, turned: Sequence[Array], own: Index | None) -> tuple[Array, Index]:
        """The similarity of power spectra in the best view [n, rows], and which view that is."""
        best = np.full((len(turned[0]), len(self.owners)), -2, np.float32)
        which = np.zeros(best.shape, np.int8)
        for number, view in enumerate(turned):
            likeness = unit(_power(view) - self._usual) @ self._power.T
            which[likeness > best] = number
            np.maximum(best, likeness, out=best)
        if own is not None:
            best[own[:, None] == self.owners[None]] = _OWN
        return best, which.astype(np.intp)

    def _most_similar(self, likeness: Array, subjects: Index) -> Index:
        """For each picture the row of one subject."""
        ends = np.append(self.starts[1:], len(self.owners))
        return np.array([self.starts[s] + int(likeness[i, self.starts[s]:ends[s]].argmax())
                         for i, s in enumerate(subjects)], np.intp)


def far_nearer_than_usual(distances: NDArray[np.float64], times: float = TIMES) -> float:
    """The distance below which a pair of pictures of two subjects is a copy.

    It lies 4 robust standard deviations (1.4826 x median absolute deviation) below the median of the log `distances`
    [n] of all pictures to the *second* of the subjects most like them, and `times` below that median at least: the
    second, so that cohorts in which everybody is there twice are told too.
    """
    logs = np.log(np.maximum(distances[np.isfinite(distances)], 1e-6))
    if not logs.size:
        return IDENTICAL
    middle = float(np.median(logs))
    spread = 1.4826 * float(np.median(np.abs(logs - middle)))
    return max(IDENTICAL, float(np.exp(min(middle - DEVIATIONS * spread, middle - np.log(times)))))


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


def _power(pictures: Array) -> Array:
    """Square roots of the amplitudes of the low frequencies of the band-passed pictures: [n, 325]."""
    from scipy import fft

    amplitude = np.sqrt(np.abs(fft.rfft2(band(pictures, FINE_BAND)))).astype(np.float32)
    parts = [amplitude[:, -_BAND:, :_BAND + 1], amplitude[:, :_BAND + 1, :_BAND + 1]]
    return np.concatenate(parts, 1).reshape(len(pictures), -1)


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
