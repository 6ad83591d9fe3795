"""How much nearer an image is to one training subject than to the next ones: in features, and in pixels.

A distance alone cannot tell a copy: a blurred or an average image is near to everything. Nor can its ratio to the
distance of the third subject: where few training subjects have slices of a kind, any new one is much nearer to them
than to the rest. The third rather than the second, since a patient may be there under two names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ganatomy.data.likeness import FINE_BAND, band, correlation, detail, spectra, to_grey, unit, views
from ganatomy.features.base import Images
from ganatomy.metrics.base import Sample
from ganatomy.statistics.resampling import Array
from ganatomy.statistics.subjects import Index

CHANNELS = ("features", "pixels")
FEWEST_SUBJECTS = 2
RANK = 3  # the subject whose distance the nearest's is divided by
SHORTLIST = 10  # subjects whose images are laid over an image, pixel by pixel
REACH = 8  # pixels of 64 by which an image may be moved
LEAST_CONTENT = 0.2  # of the usual contrast: what the last slices show, a spot or nothing, is alike in all patients
ZOOMS = (1.0, 0.93, 0.965, 1.035, 1.07)  # fine detail of a large head no longer fits at 3% beside the right size
FLIPS = ("as it is", "mirrored left-right", "turned by 180 degrees", "mirrored top-bottom")
_BAND = 12  # frequencies each way of the power spectrum that finds candidates
_CHUNK = 256
_SAME = 1e-6  # distances below are rounding
_OWN = -9.0

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Nearest:
    """What is nearest to each of n images, by `CHANNELS`.

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
    """An index of `Nearest.view` in words."""
    zoom = ZOOMS[view // len(FLIPS)]
    return FLIPS[view % len(FLIPS)] + ("" if zoom == 1 else ", reduced" if zoom > 1 else ", enlarged")


class Reference:
    """The images of a sample in which nearest ones are looked for; 20,000 take 0.5 GB.

    Attributes:
        rows: those that show enough to be judged, the subjects in one piece each.
        least: the contrast below which an image shows too little.
        finite: whether all values are.
    """

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        contents = np.concatenate([_content(sample.images[i:i + _CHUNK]) for i in range(0, sample.n_images, _CHUNK)])
        self.finite = bool(np.isfinite(contents).all())
        self.least = LEAST_CONTENT * float(np.median(contents[contents > 0])) if (contents > 0).any() else np.inf
        usable = np.flatnonzero(contents >= self.least)
        self.rows = usable[np.argsort(sample.subjects[usable], kind="stable")]
        self.owners = sample.subjects[self.rows]
        self.starts = np.flatnonzero(np.diff(self.owners, prepend=-1))
        self.n_subjects = len(self.starts)
        if self.finite and self.n_subjects >= FEWEST_SUBJECTS:
            self._learn()

    def _learn(self) -> None:
        features = self.sample.features[self.rows]
        self._middle = features.mean(0)
        self._features = (features - self._middle).astype(np.float32)
        details, powers = [], []
        for start in range(0, len(self.rows), _CHUNK):
            small = _small(self.sample.images[self.rows[start:start + _CHUNK]])
            details.append(spectra(detail(small)))
            powers.append(_power(small))
        self._details, power = np.concatenate(details), np.concatenate(powers)
        self._usual = power.mean(0)
        self._power = unit(power - self._usual)

    def by_features(self, features: Array, own: Index | None) -> tuple[Array, Array, Index]:
        """Ratio, distance [n] and row [n] of the nearest in features [n, d]; images of subject `own` [n] left out."""
        likeness = self._cosines((features - self._middle).astype(np.float32), own)
        self._leave_out(likeness, own)
        distances = 1.0 - np.maximum.reduceat(likeness, self.starts, axis=1).astype(np.float64)
        ratio, distance = self._ratio(distances)
        return ratio, distance, self.rows[likeness.argmax(1)]

    def _cosines(self, features: Float, own: Index | None) -> Float:
        """Cosines of features [n, d], less the mean, with the reference's: [n, rows].

        Of the reference's own images the mean is that of the other subjects; else it would push them apart, and new
        images would seem nearer than they.
        """
        if own is None:
            known: Float = unit(features) @ unit(self._features).T
            return known
        middle = np.stack([self._others_mean(subject) for subject in own])
        to_middle = middle @ self._features.T
        square = np.square(middle).sum(1, keepdims=True)
        dots = features @ self._features.T - to_middle - (features * middle).sum(1, keepdims=True) + square
        lengths = np.maximum(np.square(self._features).sum(1) - 2 * to_middle + square, 1e-12)
        cosines: Float = dots / np.sqrt(lengths) / np.maximum(np.linalg.norm(features - middle, axis=1), 1e-6)[:, None]
        return cosines

    def _others_mean(self, subject: int) -> Float:
        """The mean of the other subjects' features, less that of all: [d]."""
        rows = self._features[self.owners == subject]
        mean: Float = -rows.sum(0) / max(len(self.rows) - len(rows), 1)
        return mean

    def by_pixels(self, images: Sequence[Float], own: Index | None) -> tuple[Array, Array, Index, Index]:
        """The same in pixels, and how they lie (see `Nearest`), of images in all their views, [n, 64, 64] each.

        Laid over them is, of each of the ten subjects with the most similar power spectra, the image with the most
        similar one: no shift and no half turn changes it.
        """
        best, which = self._candidates(images, own)
        n, k = np.arange(len(best)), min(SHORTLIST, self.n_subjects)
        per_subject = np.maximum.reduceat(best, self.starts, axis=1)
        order = np.argsort(-per_subject, axis=1, kind="stable")[:, :k]
        queries = np.stack([spectra(detail(view)) for view in images])
        rows, lies = np.empty((2, len(best), k), np.intp)
        distances = np.empty((len(best), k))
        for j in range(k):
            rows[:, j] = self._most_similar(best, order[:, j])
            chosen = which[n, rows[:, j]]
            query, real = queries[chosen, n], self._details[rows[:, j]]
            straight, turned = correlation(query, real, REACH), correlation(query, np.conj(real), REACH)
            distances[:, j] = 1.0 - np.maximum(straight, turned)
            flip = np.array([[0, 2], [1, 3]])[chosen % 2, (turned > straight).astype(int)]  # mirrored, turned
            lies[:, j] = chosen // 2 * len(FLIPS) + flip
            if own is not None:
                distances[best[n, rows[:, j]] == _OWN, j] = np.inf
        first = distances.argmin(1)
        ratio, distance = self._ratio(distances)
        return ratio, distance, self.rows[rows[n, first]], lies[n, first]

    def _candidates(self, images: Sequence[Float], own: Index | None) -> tuple[Float, Index]:
        """The similarity of power spectra in the best view [n, rows], and which view that is."""
        best = np.full((len(images[0]), len(self.rows)), -2, np.float32)
        which = np.zeros(best.shape, np.int8)
        for number, view in enumerate(images):
            likeness = unit(_power(view) - self._usual) @ self._power.T
            which[likeness > best] = number
            np.maximum(best, likeness, out=best)
        self._leave_out(best, own)
        return best, which.astype(np.intp)

    def _most_similar(self, likeness: Float, subjects: Index) -> Index:
        """For each image the row of one subject."""
        ends = np.append(self.starts[1:], len(self.rows))
        return np.array([self.starts[s] + int(likeness[i, self.starts[s]:ends[s]].argmax())
                         for i, s in enumerate(subjects)], np.intp)

    def _leave_out(self, likeness: Float, own: Index | None) -> None:
        if own is not None:
            likeness[own[:, None] == self.owners[None]] = _OWN

    def _ratio(self, distances: Array) -> tuple[Array, Array]:
        """Ratio and nearest of distances to subjects [n, k]; below four the second nearest stands for the third."""
        distances = np.sort(np.maximum(distances, 0), axis=1)
        first, later = distances[:, 0], distances[:, min(RANK, max(2, self.n_subjects - 1)) - 1]
        ratio = np.divide(first, later, out=np.ones(len(first)), where=later > _SAME)
        return np.where(first <= _SAME, np.where(later > _SAME, 0.0, 1.0), ratio), first


def nearest(query: Sample, references: Sequence[Reference], rows: Index) -> list[Nearest]:
    """What is nearest to these rows of a sample in each of several references, which have at least two subjects each.

    Images of a reference's own sample are compared with its other subjects only; of two they cannot be judged.
    """
    parts: list[list[Nearest]] = [[] for _ in references]
    for start in range(0, len(rows), _CHUNK):
        chosen = rows[start:start + _CHUNK]
        images, features = query.images[chosen], query.features[chosen]
        turned = list(views(_small(images), ZOOMS))
        for part, reference in zip(parts, references, strict=True):
            own = query.subjects[chosen] if query is reference.sample else None
            *in_pixels, view = reference.by_pixels(turned, own)
            ratio, distance, row = (np.stack(both, 1) for both in
                                    zip(reference.by_features(features, own), in_pixels, strict=True))
            empty = ~(_content(images) >= reference.least)
            alone = own is not None and reference.n_subjects < 3  # one other subject is left, and nothing to divide by
            part.append(Nearest(np.where(empty[:, None] | alone, np.nan, ratio), distance, row, view))
    return [Nearest(*(np.concatenate([getattr(one, field.name) for one in part]) for field in fields(Nearest)))
            for part in parts]


def _content(images: Images) -> Array:
    """Standard deviation of each image's grey values: [n]."""
    spread: Array = images.mean(1).std((1, 2), dtype=np.float64)
    return spread


def _small(images: Images) -> Float:
    return to_grey(np.moveaxis(images, 1, -1))


def _power(small: Float) -> Float:
    """Square roots of the amplitudes of the low frequencies of the band-passed images: [n, 325]."""
    from scipy import fft

    amplitude = np.sqrt(np.abs(fft.rfft2(band(small, FINE_BAND)))).astype(np.float32)
    parts = [amplitude[:, -_BAND:, :_BAND + 1], amplitude[:, :_BAND + 1, :_BAND + 1]]
    return np.concatenate(parts, 1).reshape(len(small), -1)
