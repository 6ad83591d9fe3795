"""How much nearer an image is to one patient than to the next ones: in features, and in pixels.

A distance alone cannot tell a copy: a blurred or an average image is near to everything. Nor can its ratio to the
distance of the third subject: where few subjects have slices of a kind, any new one is much nearer to them than to the
rest. The third rather than the second, since a patient may be there under two names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.data.likeness import SHORTLIST, Pictures, to_grey, unit
from ganatomy.features.base import Images
from ganatomy.metrics.base import Sample
from ganatomy.statistics.resampling import Array
from ganatomy.statistics.subjects import Index

CHANNELS = ("features", "pixels")
RANK = 3  # the subject whose distance the nearest's is divided by
LEAST_CONTENT = 0.2  # of the usual contrast: what the last slices show, a spot or nothing, is alike in all patients
CHUNK = 256
_LEAST = 1e-3  # ratios and distances below are rounding

Float = NDArray[np.float32]


class Pool:
    """Images of several samples together, the first of which are the training images.

    Attributes:
        subjects: intp [n], the number of each image's subject; one who is in two samples counts as two.
        names, ids: of subjects and images.
        held_out: bool [S], whose subjects are of another sample than the first.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples
        self.ends = np.cumsum([sample.n_images for sample in samples])
        before = np.cumsum([0, *(sample.n_subjects for sample in samples)])
        self.subjects = np.concatenate([sample.subjects + n for sample, n in zip(samples, before, strict=False)])
        self.names = [name for sample in samples for name in sample.names]
        self.ids = [name for sample in samples for name in sample.ids]
        self.held_out = np.arange(before[-1]) >= samples[0].n_subjects
        contents = np.concatenate([content(images) for images in self.parts(np.arange(len(self.ids)))])
        self.finite = bool(np.isfinite(contents).all())
        self.least = LEAST_CONTENT * float(np.median(contents[contents > 0])) if (contents > 0).any() else np.inf
        rows = np.flatnonzero(contents >= self.least)
        self.rows = rows[np.argsort(self.subjects[rows], kind="stable")]
        """Those that show enough to be judged, the subjects in one piece each."""

    def parts(self, rows: Index) -> Iterator[Images]:
        """The images of rows in ascending order of their samples, a few hundred at a time."""
        for start in range(0, len(rows), CHUNK):
            chosen = rows[start:start + CHUNK]
            of = np.searchsorted(self.ends, chosen, side="right")
            yield np.concatenate([self.samples[i].images[chosen[of == i] - self.ends[i] + self.samples[i].n_images]
                                  for i in np.unique(of)])

    def features(self, rows: Index) -> Array:
        """Float64 [n, d]."""
        features: Array = np.concatenate([sample.lookalikes for sample in self.samples])[rows]
        return features

    def evenly(self, rows: Index, rng: np.random.Generator) -> Index:
        """Of these rows as many a subject on both sides: patients of many images come nearer to everything.

        Nothing is left out where the sides differ by less than half, as those of a random split do.
        """
        counts = np.bincount(self.subjects[rows], minlength=len(self.names))
        means = [float(counts[side & (counts > 0)].mean()) for side in (self.held_out, ~self.held_out)]
        if max(means) <= 1.5 * min(means):
            return rows
        order = rng.permutation(rows)
        order = order[np.argsort(self.subjects[order], kind="stable")]
        place = np.arange(len(order)) - np.searchsorted(self.subjects[order], self.subjects[order])
        kept: Index = order[place < np.ceil(min(means))]
        return kept


class Reference:
    """The images of a pool, or some of them, in which nearest ones are looked for."""

    def __init__(self, pool: Pool, rows: Index) -> None:
        self.pool, self.rows = pool, rows
        self.pictures = Pictures(map(small, pool.parts(rows)), pool.subjects[rows])
        features = pool.features(rows)
        self._middle = features.mean(0)
        self._features = unit((features - self._middle).astype(np.float32))

    def of(self, rows: Index) -> Reference:
        """That of some of the rows."""
        return self if len(rows) == len(self.rows) else Reference(self.pool, rows)

    def by_features(self, features: Array) -> tuple[Index, Array, Index]:
        """Subjects and cosine distances [n, k], the nearest first, and the nearest image's row [n]."""
        likeness = unit((features - self._middle).astype(np.float32)) @ self._features.T
        starts, subjects = self.pictures.starts, self.pictures.subjects
        distances = np.maximum(1.0 - np.maximum.reduceat(likeness, starts, axis=1).astype(np.float64), 0.0)
        order = np.argsort(distances, axis=1, kind="stable")[:, :SHORTLIST]
        return subjects[order], np.take_along_axis(distances, order, 1), likeness.argmax(1)


@dataclass(frozen=True)
class Nearest:
    """The subjects nearest to each of n images, at most ten, the nearest first, by `CHANNELS`.

    Attributes:
        subject: intp [n, 2, k].
        distance: float64 [n, 2, k], cosine distance of features; 1 - correlation of pixels. NaN for an image that shows
            too little to be judged.
        row: intp [n, 2], the nearest image's row in the pool.
        view: intp [n], how the image lies on its nearest in pixels (`ganatomy.data.likeness.view_name`).
    """

    subject: Index
    distance: Array
    row: Index
    view: Index

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Which images show enough: [n]."""
        return np.asarray(np.isfinite(self.distance[:, :, 0]).all(1))

    def where(self, rows: NDArray[np.bool_], other: Nearest) -> Nearest:
        """These, and in some rows another's."""
        return Nearest(*(np.where(rows.reshape(-1, *[1] * (mine.ndim - 1)), theirs, mine) for mine, theirs in
                         ((getattr(self, one.name), getattr(other, one.name)) for one in fields(self))))

    def logs(self, place: int = 0) -> Array:
        """Logarithms of ratio (over the third nearest subject's distance) and distance: [n, 2, 2], the ratio first.

        `place` says of which of the nearest subjects, 0 for the nearest.
        """
        distance = self.distance[:, :, place]
        later = np.maximum(self.distance[:, :, min(RANK, self.distance.shape[2]) - 1], _LEAST)
        logs: Array = np.log(np.maximum(np.stack([distance / later, distance], 2), _LEAST))
        return logs


def nearest(query: Sample, reference: Reference) -> Nearest:
    """What is nearest to the images of a sample."""
    parts: list[tuple[NDArray[Any], ...]] = []
    for start in range(0, query.n_images, CHUNK):
        images = query.images[start:start + CHUNK]
        near = reference.pictures.nearest(small(images))
        subjects, distances, rows = reference.by_features(query.lookalikes[start:start + CHUNK])
        empty = ~(content(images) >= reference.pool.least)
        distance = np.stack([distances, near.distance], 1)
        distance[empty] = np.nan
        parts.append((np.stack([subjects, near.subject], 1), distance,
                      reference.rows[np.stack([rows, near.row[:, 0]], 1)], near.view[:, 0]))
    return Nearest(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def content(images: Images) -> Array:
    """Standard deviation of each image's grey values: [n]."""
    spread: Array = images.mean(1).std((1, 2), dtype=np.float64)
    return spread


def small(images: Images) -> Float:
    """Images [n, c, s, s] as pictures of `ganatomy.data.likeness`."""
    return to_grey(np.moveaxis(images, 1, -1))
