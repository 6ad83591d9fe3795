"""How much nearer an image is to one training subject than to the next ones: in features, and in pixels.

A distance alone cannot tell a copy: a blurred or an average image is near to everything. Divided by the distance to
the third subject, what the image has in common with all subjects drops out. The third rather than the second, so that a
patient who is there under two names does not hide copies of both. The ratio alone cannot tell either: where few
training subjects have slices of a kind, any new one is much nearer to them than to the rest. Hence both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganatomy.data.likeness import FINE, FINE_BAND, band, detail, to_grey, unit
from ganatomy.features.base import Images
from ganatomy.metrics.base import Sample
from ganatomy.statistics.resampling import Array

FEATURES, PIXELS = CHANNELS = ("features", "pixels")
RANK = 3
FEWEST_SUBJECTS = 2
SHORTLIST = 10
"""Subjects whose images are laid over an image, pixel by pixel."""
REACH = 8
"""Pixels of 64 by which an image may be moved."""
LEAST_CONTENT = 0.2
"""Images with less contrast than this share of the usual are not judged: what the last slices show, a spot or nothing,
is alike in all patients."""
ZOOMS = (1.0, 0.93, 0.965, 1.035, 1.07)
"""Fine detail of a large head no longer fits at 3% beside the right size."""
FLIPS = ("as it is", "mirrored left-right", "turned by 180 degrees", "mirrored top-bottom")
_BAND = 12  # frequencies each way of the power spectrum that finds candidates
_CHUNK = 256
_SAME = 1e-6  # distances below are rounding
_OWN = -9.0

Float = NDArray[np.float32]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class Nearest:
    """What is nearest to each of n images, in two channels (features, pixels).

    Attributes:
        ratio: float64 [n, 2], distance to the nearest over that to the third nearest subject, 0 to 1; NaN for an image
            that shows too little to be judged.
        distance: float64 [n, 2], cosine distance of features; 1 - correlation of pixels.
        row: intp [n, 2], the nearest image's row in the reference sample.
        view: intp [n], how the image lies on its nearest in pixels: an index of `FLIPS` plus 4 x that of `ZOOMS`.
    """

    ratio: Array
    distance: Array
    row: Index
    view: Index


def view_name(view: int) -> str:
    """In words."""
    zoom = ZOOMS[view // len(FLIPS)]
    size = "" if zoom == 1 else f", {'reduced' if zoom > 1 else 'enlarged'}"
    return FLIPS[view % len(FLIPS)] + size


def content(images: Images) -> Array:
    """Standard deviation of each image's grey values: [n]."""
    spread: Array = images.mean(1).std((1, 2), dtype=np.float64)
    return spread


class Reference:
    """The images in which nearest ones are looked for.

    Attributes:
        sample: all of them.
        rows: those that show enough to be judged.
        least: the contrast below which an image shows too little.
        finite: whether all values are.
    """

    def __init__(self, sample: Sample) -> None:
        """Read a sample once; 20,000 images take 0.5 GB."""
        self.sample = sample
        spreads = np.concatenate([content(chunk) for chunk in _chunks(sample)])
        self.finite = bool(np.isfinite(spreads).all())
        self.least = LEAST_CONTENT * float(np.median(spreads[spreads > 0])) if (spreads > 0).any() else np.inf
        usable = np.flatnonzero(spreads >= self.least)
        owners = sample.subjects[usable]
        self.rows = usable[np.argsort(owners, kind="stable")]  # subjects in one piece each
        self.owners = sample.subjects[self.rows]
        self.starts = np.flatnonzero(np.diff(self.owners, prepend=-1))
        self.n_subjects = len(self.starts)
        if self.finite and self.n_subjects >= FEWEST_SUBJECTS:
            self._learn()

    def _learn(self) -> None:
        features = self.sample.features[self.rows]
        self._middle = features.mean(0)
        self._features = (features - self._middle).astype(np.float32)
        details, found = [], []
        for start in range(0, len(self.rows), _CHUNK):
            small = _small(self.sample.images[self.rows[start:start + _CHUNK]])
            details.append(_spectrum(small))
            found.append(_power(small))
        self._details, power = np.concatenate(details), np.concatenate(found)
        self._usual = power.mean(0)
        self._power = unit(power - self._usual)

    def by_features(self, features: Array, own: Index | None) -> tuple[Array, Array, Index]:
        """Ratio, distance [n] and row [n] of the nearest in features [n, d]; images of subject `own` [n] left out."""
        likeness = self._cosines((features - self._middle).astype(np.float32), own)
        self._leave_out(likeness, own)
        nearest = likeness.argmax(1)
        distances = 1.0 - np.maximum.reduceat(likeness, self.starts, axis=1).astype(np.float64)
        ratio, distance = self._ratio(np.sort(np.maximum(distances, 0), axis=1))
        return ratio, distance, self.rows[nearest]

    def _cosines(self, features: Float, own: Index | None) -> Float:
        """Cosines of features [n, d], less the mean, with the reference's.

        For the reference's own images the mean is that of the other subjects: it would push them apart, and new images
        would seem nearer than they.
        """
        length = np.square(self._features).sum(1)
        if own is None:
            known: Float = unit(features) @ unit(self._features).T
            return known
        middle = np.stack([self._others_mean(subject) for subject in own])
        to_middle = middle @ self._features.T
        square = np.square(middle).sum(1, keepdims=True)
        dots = features @ self._features.T - to_middle - (features * middle).sum(1, keepdims=True) + square
        lengths = np.maximum(length - 2 * to_middle + square, 1e-12)
        cosines: Float = dots / np.sqrt(lengths) / np.maximum(np.linalg.norm(features - middle, axis=1), 1e-6)[:, None]
        return cosines

    def _others_mean(self, subject: int) -> Float:
        """Where the mean of the other subjects' features lies, from that of all, [d]."""
        rows = self._features[self.owners == subject]
        mean: Float = -rows.sum(0) / max(len(self.rows) - len(rows), 1)
        return mean

    def by_pixels(self, views: Sequence[Float], own: Index | None) -> tuple[Array, Array, Index, Index]:
        """The same in pixels, and how they lie (see `Nearest`), of images in all `views`, [n, 64, 64] each.

        Candidates have a similar power spectrum, which no shift and no half turn changes; laid over each other are the
        most similar image of each of the ten subjects with the most similar ones.
        """
        best, which = self._candidates(views, own)
        n, k = np.arange(len(best)), min(SHORTLIST, self.n_subjects)
        per_subject = np.maximum.reduceat(best, self.starts, axis=1)
        order = np.argsort(-per_subject, axis=1, kind="stable")[:, :k]
        spectra = [_spectrum(view) for view in views]
        rows, lies = np.empty((2, len(best), k), np.intp)
        distances = np.empty((len(best), k))
        for j in range(k):
            rows[:, j] = self._best_of(best, order[:, j])
            chosen = which[n, rows[:, j]]
            query = np.stack([spectra[view][i] for i, view in enumerate(chosen)])
            straight, turned = _correlations(query, self._details[rows[:, j]])
            distances[:, j] = 1.0 - np.maximum(straight, turned)
            lies[:, j] = chosen // 2 * len(FLIPS) + np.where(chosen % 2, np.where(turned > straight, 3, 1),
                                                            np.where(turned > straight, 2, 0))
            if own is not None:
                distances[best[n, rows[:, j]] == _OWN, j] = np.inf
        first = distances.argmin(1)
        ratio, distance = self._ratio(np.sort(np.maximum(distances, 0), axis=1))
        return ratio, distance, self.rows[rows[n, first]], lies[n, first]

    def _candidates(self, views: Sequence[Float], own: Index | None) -> tuple[Float, Index]:
        """The similarity of power spectra in the best view [n, rows], and which view that is."""
        best = np.full((len(views[0]), len(self.rows)), -2, np.float32)
        which = np.zeros(best.shape, np.int8)
        for number, view in enumerate(views):
            likeness = unit(_power(view) - self._usual) @ self._power.T
            which[likeness > best] = number
            np.maximum(best, likeness, out=best)
        self._leave_out(best, own)
        return best, which.astype(np.intp)

    def _best_of(self, likeness: Float, subjects: Index) -> Index:
        """For each image the most similar row of one subject."""
        ends = np.append(self.starts[1:], len(self.rows))
        return np.array([self.starts[s] + int(likeness[i, self.starts[s]:ends[s]].argmax())
                         for i, s in enumerate(subjects)], np.intp)

    def _leave_out(self, likeness: Float, own: Index | None) -> None:
        if own is not None:
            likeness[own[:, None] == self.owners[None]] = _OWN

    def _ratio(self, distances: Array) -> tuple[Array, Array]:
        """Of distances to subjects, nearest first, [n, k]; below four subjects the second stands for the third."""
        first, later = distances[:, 0], distances[:, min(RANK, max(2, self.n_subjects - 1)) - 1]
        ratio = np.divide(first, later, out=np.ones(len(first)), where=later > _SAME)
        return np.where(first <= _SAME, np.where(later > _SAME, 0.0, 1.0), ratio), first


def nearest(query: Sample, references: Sequence[Reference], rows: Index | None = None) -> list[Nearest]:
    """What is nearest to the images of a sample in each of several references, a few hundred images at a time.

    Images of a reference's own sample are compared with its other subjects only.

    Args:
        query: any number of images.
        references: of at least two subjects each; of two, their own images cannot be judged.
        rows: of the query; all if not given.
    """
    rows = np.arange(query.n_images) if rows is None else rows
    parts: list[list[Nearest]] = [[] for _ in references]
    for start in range(0, len(rows), _CHUNK):
        chosen = rows[start:start + _CHUNK]
        images, features = query.images[chosen], query.features[chosen]
        views = _views(_small(images))
        for part, reference in zip(parts, references, strict=True):
            own = query.subjects[chosen] if query is reference.sample else None
            ratios, distances, found = zip(reference.by_features(features, own),
                                           (pixels := reference.by_pixels(views, own))[:3], strict=True)
            empty = ~(content(images) >= reference.least)
            alone = own is not None and reference.n_subjects < 3  # one other subject is left, and nothing to divide by
            ratio = np.where(empty[:, None] | alone, np.nan, np.stack(ratios, 1))
            part.append(Nearest(ratio, np.stack(distances, 1), np.stack(found, 1), pixels[3]))
    return [_joined(part) for part in parts]


def _joined(parts: list[Nearest]) -> Nearest:
    return Nearest(*(np.concatenate(found) for found in
                     zip(*((p.ratio, p.distance, p.row, p.view) for p in parts), strict=True)))


def _chunks(sample: Sample) -> Iterator[Images]:
    return (sample.images[start:start + _CHUNK] for start in range(0, sample.n_images, _CHUNK))


def _small(images: Images) -> Float:
    return to_grey(np.moveaxis(images, 1, -1))


def _views(small: Float) -> list[Float]:
    """The images enlarged about the middle, linearly, by each of `ZOOMS`, and all of these mirrored left-right."""
    places, found = np.arange(FINE), []
    for zoom in ZOOMS:
        wanted = np.clip((places - (FINE - 1) / 2) / zoom + (FINE - 1) / 2, 0, FINE - 1)
        matrix = np.maximum(1 - np.abs(wanted[:, None] - places), 0).astype(np.float32)
        enlarged = small if zoom == 1 else matrix @ small @ matrix.T
        found += [enlarged, np.ascontiguousarray(enlarged[:, :, ::-1])]
    return found


def _spectrum(small: Float) -> NDArray[np.complex64]:
    """Fourier transforms [n, 64, 33] of the details, of norm 1."""
    from scipy import fft

    details = detail(small)
    transformed: NDArray[np.complex64] = fft.rfft2(unit(details).reshape(details.shape))
    return transformed


def _power(small: Float) -> Float:
    """Square roots of the amplitudes of the low frequencies of the band-passed images: [n, 325]."""
    from scipy import fft

    amplitude = np.sqrt(np.abs(fft.rfft2(band(small, FINE_BAND)))).astype(np.float32)
    parts = [amplitude[:, -_BAND:, :_BAND + 1], amplitude[:, :_BAND + 1, :_BAND + 1]]
    return np.concatenate(parts, 1).reshape(len(small), -1)


def _correlations(one: NDArray[np.complex64], other: NDArray[np.complex64]) -> tuple[Float, Float]:
    """The highest correlations [n] over shifts within `REACH`, and with the one turned by 180 degrees."""
    from scipy import fft

    found = []
    for spectrum in (one * np.conj(other), one * other):
        grid = np.roll(fft.irfft2(spectrum, s=(FINE, FINE)), (REACH, REACH), (1, 2))[:, :2 * REACH + 1, :2 * REACH + 1]
        found.append(grid.reshape(len(grid), -1).max(1))
    return found[0], found[1]
