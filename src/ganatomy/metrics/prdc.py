"""Precision, recall, density and coverage: which images lie among those of the other kind, by nearest neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.features.base import Features
from ganatomy.metrics.base import MIN_SUBJECTS, POSITIVE, SHARE, About, Column, Grave, Result, Sample, Samples
from ganatomy.metrics.floors import Floor, noise_floor
from ganatomy.metrics.permutation import Permuted, Values, permuted, significant
from ganatomy.statistics.resampling import (
    Array,
    central,
    dealt_alike,
    jackknife_groups,
    jackknife_variance,
    student,
    wilson,
)
from ganatomy.statistics.subjects import Index, clipped, one_each

ORDER = 4
ABOUT = (
    About("Precision", "Share of generated images that lie among the real ones. Low where images are wrong; blind to "
          "what is missing.", "realistic", "higher", column=Column("precision", "precision", order=3), span=SHARE),
    About("Recall", "Share of real images that lie among the generated ones. Low where kinds of images are missing; "
          "blind to wrong images among right ones.", "diverse", "higher",
          column=Column("recall", "recall", order=4), span=SHARE),
    About("Density", "How densely real images surround each generated one. Should match real images of other "
          "subjects: average images have more, and are no better for it.", "realistic", "match",
          column=Column("density", "density", order=5), span=POSITIVE),
    About("Coverage", "Share of real images with a generated one nearby. Low where images are wrong or kinds are "
          "missing.", "diverse", "higher", column=Column("coverage", "coverage", order=6), span=SHARE),
)
K = 5  # neighbours
LEAST_DRAWS = 5  # where samples are not equally large
LEAST = 0.05  # of the real images: a smaller lack matters to nobody
NEIGHBOURS = 40  # of a pooled image that are ranked: among as many five of its own kind are all but certain
_KEPT = 16_000_000  # distances
_SAME = 1e-9  # relative: a copy of a neighbour lies on the rim of the ball, and rounding must not put it outside
HALF = 0.5  # of the coverage that real images would have: less is a failure, not a shortcoming
MOST_AT_ONCE = 2000  # images a side in a part
_MOST_LEFT_OUT = 4_000_000  # pairs of real images in the parts from which subjects are left out
MOST_HALVED = 400  # images a side in the halvings, where a hundred pairs of samples are measured
PRECISION, RECALL, DENSITY, COVERAGE = NAMES = ("Precision", "Recall", "Density", "Coverage")
_CAVEATS = {
    PRECISION: "blind to what is missing: one good image repeated has 1, so read it with recall",
    RECALL: "blind to bad images among good ones, and raised by images scattered far out: read it with precision",
    DENSITY: "above real vs real is no better: average images, or copies of a common one, have more; the ratio to real "
    "is at the n of real vs real",
    COVERAGE: "depends on the number of images; about 0.97 between real images where each is of another patient",
}
_NEEDS = f"needs images of {K} other patients beside every image, real and synthetic"


def squared_distances(x: Features, y: Features) -> Array:
    """Squared Euclidean distances of all pairs: [n, d], [m, d] -> [n, m]; exactly 0 between equal rows."""
    centre = x.mean(0)  # smaller numbers, so that little is lost where they cancel
    x, y = x - centre, y - centre
    scale: Array = np.square(x).sum(1)[:, None] + np.square(y).sum(1)[None]
    squared: Array = scale - 2 * (x @ y.T)
    squared[squared < 1e-12 * scale] = 0
    return squared


class Distances:
    """Squared distances between features [n, d] and [m, d]; of many they are computed when asked for, not kept."""

    def __init__(self, x: Features, y: Features) -> None:
        self._x, self._y = x, y
        self._kept = squared_distances(x, y) if len(x) * len(y) <= _KEPT else None

    def of(self, rows: Index, columns: Index) -> Array:
        if self._kept is not None:
            kept: Array = self._kept[np.ix_(rows, columns)]
            return kept
        return squared_distances(self._x[rows], self._y[columns])


def radii(squared: Array, subjects: Index) -> Array | None:
    """The squared radius of each image's ball [n], to the nearest image of the k-th nearest *other subject*, from
    squared distances [n, n]; a hair larger, so that this one is inside. None if there are fewer than k others.

    Slices of one patient resemble each other; were they counted, a ball would hold little but one patient.
    """
    names, first, own = np.unique(subjects, return_index=True, return_inverse=True)
    if len(names) <= K:
        return None
    if len(names) == len(own):
        nearest = squared[:, first]
    else:
        order = np.argsort(own, kind="stable")
        starts = np.flatnonzero(np.diff(own[order], prepend=-1))
        nearest = np.minimum.reduceat(squared[:, order], starts, axis=1)
    nearest[np.arange(len(own)), own] = np.inf
    radius: Array = np.partition(nearest, K - 1, axis=1)[:, K - 1]
    return radius * (1 + _SAME)


@dataclass(frozen=True)
class Part:
    """Some real and some synthetic images: which of them lie in whose balls.

    Attributes:
        inside: [n, m], whether a real image's ball holds a synthetic image.
        n_subjects: of the real images.
        recalled: [n], whether any synthetic image's ball holds a real one.
        only: [2, m], the shares of real images that are recalled, and covered, by this synthetic one alone.
    """

    inside: NDArray[np.bool_]
    n_subjects: int
    recalled: NDArray[np.bool_]
    only: Array

    @classmethod
    def of(cls, real: Array, synthetic: Array, across: Array,
           subjects: tuple[Index, Index]) -> Part | None:
        """From squared distances within real [n, n] and synthetic images [m, m] and across [n, m]; None if too few."""
        around_real, around_synthetic = radii(real, subjects[0]), radii(synthetic, subjects[1])
        if around_real is None or around_synthetic is None:
            return None
        inside, recalling = across <= around_real[:, None], across <= around_synthetic
        alone = np.stack([_alone(recalling), _alone(inside)])
        return cls(inside, len(np.unique(subjects[0])), np.logical_or.reduce(recalling, axis=1), alone)

    def images(self) -> tuple[Array, Array, Array, Array]:
        """For each image what precision [m], recall, density and coverage [n] are the means of.

        precision: whether a synthetic image is in the ball of any real one; recall: whether a real image is in the
        ball of any synthetic one (Kynkaanniemi et al., NeurIPS 2019, eqs. 1-2); density: S/k times the share of
        synthetic images in a real image's ball, which reaches to k of S subjects; with one image a subject the mean is
        the number of real balls that a synthetic image lies in, over k; coverage: whether there is one in it (Naeem et
        al., ICML 2020, eqs. 4-5).
        """
        dense: Array = self.inside.mean(1) * self.n_subjects / K
        return (np.any(self.inside, axis=0).astype(np.float64), self.recalled.astype(np.float64), dense,
                np.any(self.inside, axis=1).astype(np.float64))

    def held(self, subjects: Index) -> NDArray[np.bool_]:
        """Whether the balls of each subject, in ascending order, hold each synthetic image: [S, m]."""
        order = np.argsort(subjects, kind="stable")
        starts = np.flatnonzero(np.diff(subjects[order], prepend=-1))
        joined: NDArray[np.bool_] = np.logical_or.reduceat(self.inside[order], starts, axis=0)
        return joined


def _alone(held: NDArray[np.bool_]) -> Array:
    """The share of rows [n, m] that are true in this column and in no other: [m]."""
    shares: Array = held[held.sum(1) == 1].sum(0) / len(held)
    return shares


class Comparison:
    """The four values of a synthetic sample against a real one, with equally many images of both at a time.

    All four depend on the numbers of images, and recall and coverage rise with more synthetic ones (Lai 2025). So of
    the larger sample, parts as large as the smaller one (at most `most`, and 2,000) are dealt until all its images have
    been used, again until there are five parts at least, and every image's result is averaged over the parts that it
    was in. Radii are taken within each part.
    """

    def __init__(self, real: Sample, synthetic: Sample, seed: int, most: int | None = None) -> None:
        self.real, self.synthetic, self.seed = real, synthetic, seed
        self.within = tuple(Distances(s.features, s.features) for s in (real, synthetic))
        self.across = Distances(real.features, synthetic.features)
        n, m = real.n_images, synthetic.n_images
        dealt = dealt_alike(n, m, np.random.default_rng((seed, 13)), min(most or n, MOST_AT_ONCE), LEAST_DRAWS)
        self.draws, self.size = dealt[0].shape
        parts = [self.part(rows, columns) for rows, columns in zip(*dealt, strict=True)]
        self.dealt, self.parts = dealt, [part for part in parts if part]
        self.computable = len(self.parts) == len(parts)

    def part(self, rows: Index, columns: Index) -> Part | None:
        return Part.of(self.within[0].of(rows, rows), self.within[1].of(columns, columns),
                       self.across.of(rows, columns), (self.real.subjects[rows], self.synthetic.subjects[columns]))

    @cached_property
    def images(self) -> dict[str, Array]:
        """Of each real or (precision) synthetic image the mean over the parts that it was in."""
        means = {}
        for name, values in zip(NAMES, zip(*(part.images() for part in self.parts), strict=True), strict=True):
            drawn = self.dealt[name == PRECISION].ravel()
            means[name] = np.bincount(drawn, np.concatenate(values)) / np.bincount(drawn)
        return means

    @cached_property
    def by_subject(self) -> tuple[Array, Array]:
        """Share of synthetic images in the balls of each real subject [S], and in those of no other subject [S]."""
        shares = np.zeros((2, self.real.n_subjects))
        for rows, part in zip(self.dealt[0], self.parts, strict=True):
            subjects = self.real.subjects[rows]
            held, present = part.held(subjects), np.unique(subjects)
            shares[0, present] += held.mean(1) / self.draws
            shares[1, present] += (held & (held.sum(0) == 1)).mean(1) / self.draws
        return shares[0], shares[1]

    @cached_property
    def only(self) -> Array:
        """Shares of real images that each synthetic one alone recalls, and covers: [2, m]."""
        drawn = self.dealt[1].ravel()
        alone = np.concatenate([part.only for part in self.parts], axis=1) / self.draws
        return np.stack([np.bincount(drawn, shares) for shares in alone])

    def value(self, name: str) -> float | None:
        """The value; None if there are too few images."""
        return float(self.images[name].mean()) if self.computable else None

    def interval(self, name: str) -> tuple[float, float] | None:
        """95%, over real subjects and synthetic images. None below five subjects.

        Each subject and each synthetic image is left out in turn (jackknife). A share is lost with the images that
        only the absent one's ball holds or, of recall and coverage, the absent subject's own images; a bootstrap, in
        which a third of all subjects are absent, would overstate the former. Radii are taken as given, but for density.
        """
        value, subjects = self.value(name), self.real.n_subjects
        if value is None or subjects < MIN_SUBJECTS:
            return None
        if name == DENSITY:
            return self._density_interval(value)
        left_out: tuple[Array, Array]
        if name == PRECISION:
            left_out = value - self.by_subject[1], _left_out(self.images[name], self.synthetic.subjects)
        else:
            lost = np.bincount(self.synthetic.subjects, self.only[int(name == COVERAGE)]).astype(np.float64)
            left_out = _left_out(self.images[name], self.real.subjects), value - lost
        return wilson(value, sum(map(jackknife_variance, left_out)), subjects, self.real.n_images)

    def _density_interval(self, value: float) -> tuple[float, float] | None:
        """Radii are taken anew without each of at most 20 groups of subjects: with fixed ones the few balls in dense
        places would count for too much."""
        groups = jackknife_groups(self.real.n_subjects, np.random.default_rng((self.seed, 504)))
        left_out = self._density_without(groups)
        if left_out is None:
            return None
        counts = np.concatenate([part.inside.mean(0) * part.n_subjects / K for part in self.parts])
        drawn = self.dealt[1].ravel()
        without_one = _left_out(np.bincount(drawn, counts) / np.bincount(drawn), self.synthetic.subjects)
        variance = jackknife_variance(left_out) + jackknife_variance(without_one)
        if variance == 0:  # all 0: no width can be told
            return None
        return clipped(student(value, float(np.sqrt(variance)), len(groups)), POSITIVE)

    def _density_without(self, groups: list[Index]) -> Array | None:
        """The density without each group of real subjects, over the first parts; None where too few are left."""
        sums, used = np.zeros(len(groups)), max(1, _MOST_LEFT_OUT // self.size ** 2)
        for rows, columns in zip(*(dealt[:used] for dealt in self.dealt), strict=True):
            within, across = self.within[0].of(rows, rows), self.across.of(rows, columns)
            subjects = self.real.subjects[rows]
            for i, group in enumerate(groups):
                kept = np.flatnonzero(~np.isin(subjects, group))
                around = radii(within[np.ix_(kept, kept)], subjects[kept]) if len(kept) else None
                if around is None:
                    return None
                sums[i] += (across[kept] <= around[:, None]).mean() * len(np.unique(subjects[kept])) / K
        left: Array = sums / min(used, self.draws)
        return left

    def per_subject(self, name: str) -> dict[str, float]:
        """The value over the images (for precision: over the balls) of each real subject, radii as for all."""
        means = self.by_subject[0]
        if name != PRECISION:
            means = np.bincount(self.real.subjects, self.images[name]) / np.bincount(self.real.subjects)
        return dict(zip(self.real.names, means.tolist(), strict=True))

    def floors(self) -> dict[str, Floor] | None:
        """Half of the real subjects against the other half, and against as many synthetic images, one image a subject;
        of more than 400 a side, 400 are drawn. None where a half has too few."""
        subjects, most = self.real.subjects, min(self.synthetic.n_images, MOST_HALVED)
        rng = np.random.default_rng((self.seed, 14))

        def half(chosen: Array) -> Index:
            return rng.permutation(one_each(subjects, rng)[chosen > 0])[:most].astype(np.intp)

        def real_half(a: Index, b: Index) -> Part | None:
            d = self.within[0]
            return Part.of(d.of(a, a), d.of(b, b), d.of(a, b), (subjects[a], subjects[b]))

        def between(a: Array) -> Array:
            return _stack([real_half(half(row), half(1 - row)) for row in a])

        def score(a: Array, chosen: Array) -> Array:
            return _stack([self.part(half(row), np.flatnonzero(c)) for row, c in zip(a, chosen, strict=True)])

        both = noise_floor(self.real, self.synthetic.n_images, between, score, self.seed, MOST_HALVED, one_each=True)
        if not (np.isfinite(both.between).all() and np.isfinite(both.score).all()):
            return None
        return {name: Floor(both.between[:, i], both.score[:, i], both.n_images) for i, name in enumerate(NAMES)}

    def tested(self) -> dict[str, Permuted]:
        """The permutation test of recall and coverage, which are faults where they are low."""
        tests = {RECALL: recalled, COVERAGE: covered}
        return {name: permuted(self.real, self.synthetic, self._ranked(measure),
                               np.random.default_rng((self.seed, 15)), equal=True, below=True)
                for name, measure in tests.items()}

    def _ranked(self, measure: Callable[[Index, Array], Array]) -> Callable[[Index, Index], Values]:
        def prepared(rows: Index, columns: Index) -> Values:
            x = np.concatenate([self.real.features[rows], self.synthetic.features[columns]])
            order = np.random.default_rng((self.seed, 16)).permutation(len(x))  # no side comes first where images tie
            squared = squared_distances(x[order], x[order])
            np.fill_diagonal(squared, np.inf)
            most = min(NEIGHBOURS, len(x) - 1)
            near = np.argpartition(squared, most - 1, axis=1)[:, :most]
            by_distance = np.argsort(np.take_along_axis(squared, near, 1), axis=1, kind="stable")
            near = np.take_along_axis(near, by_distance, 1)
            return lambda labels: measure(near, labels[:, order])

        return prepared


def covered(near: Index, labels: Array) -> Array:
    """Coverage of pooled images, equally many of both kinds, by their nearest others in order [n, neighbours].

    A real image's ball holds a synthetic one unless its five nearest of all images are real: [draws, n] -> [draws].
    """
    return np.array([1 - (row[near[row > 0, :K]] > 0).all(1).mean() for row in labels])


def recalled(near: Index, labels: Array) -> Array:
    """Recall likewise: a real image is in the ball of a synthetic one to which fewer than five others are nearer."""
    values = np.empty(len(labels))
    for i, row in enumerate(labels > 0):
        of_fake = near[~row]
        real = row[of_fake]
        inside = of_fake[real & ((~real).cumsum(1, dtype=np.int8) < K)]
        values[i] = np.count_nonzero(np.bincount(inside, minlength=len(row))) / row.sum()
    return values


def _stack(parts: list[Part | None]) -> Array:
    return np.array([[x.mean() for x in part.images()] if part else [np.nan] * len(NAMES) for part in parts])


def _left_out(values: Array, subjects: Index) -> Array:
    """The mean without each subject in turn: [S]."""
    sums, counts = np.bincount(subjects, values), np.bincount(subjects)
    left: Array = (sums.sum() - sums) / (counts.sum() - counts)
    return left


def compute(samples: Samples) -> list[Result]:
    """Precision, recall, density and coverage of the synthetic images against test and against train."""
    beside = [_results(samples, against, real) for against, real in samples.real()]
    return [result for results in zip(*beside, strict=True) for result in results]


def _results(samples: Samples, against: str, real: Sample) -> list[Result]:
    both = Comparison(real, samples.synthetic, samples.seed)
    evidence = {} if samples.control or not both.computable else _evidence(samples, against, both)
    return [samples.result(samples.extractor.metric(one.name), against, both.value(one.name), one.better,
                           interval=both.interval(one.name), caveat=_caveat(both, one.name),
                           **evidence.get(one.name, {})) for one in ABOUT]


def fault(result: Result) -> str:
    """That less is covered or recalled than were the generated images real ones, by the permutation test and by 5%."""
    name, one = result.name.partition("-")[0], result.exchanged
    if name not in (RECALL, COVERAGE) or one is None or not significant(result, LEAST):
        return ""
    text = f"{name} is {one.value:.2f}, of {one.n_images} real images against as many others {one.chance:.2f}."
    return Grave(text) if name == COVERAGE and one.value < HALF * one.chance else text


def _evidence(samples: Samples, against: str, both: Comparison) -> dict[str, dict[str, Any]]:
    """What stands beside each value: train in the place of the synthetic images, and the floor or each subject."""
    evidence: dict[str, dict[str, Any]] = {name: {} for name in NAMES}
    if against == "test" and samples.train is not None:
        real = Comparison(samples.test, samples.train, samples.seed, both.size)
        for name in NAMES if real.computable else ():
            evidence[name]["reference"] = {"what": "real train against real test", "value": real.value(name),
                                           "interval": real.interval(name), "n_images": samples.train.n_images}
    if both.real.n_subjects < MIN_SUBJECTS:
        return {name: fields | {"per_subject": both.per_subject(name)} for name, fields in evidence.items()}
    floors = both.floors()
    if floors:
        evidence = {name: fields | floors[name].fields() for name, fields in evidence.items()}
        evidence[DENSITY] |= _ratio(floors[DENSITY])
    for name, test in both.tested().items():
        evidence[name] |= test.fields()
    return evidence


def _ratio(floor: Floor) -> dict[str, Any]:
    """The density at the floor's n over the floor, halving by halving: neither has a meaning at another n."""
    if (floor.between <= 0).any():
        return {}
    return {"ratio": float(floor.score.mean() / floor.between.mean()),
            "ratio_interval": central(floor.score / floor.between)}


def _caveat(both: Comparison, name: str) -> str:
    if not both.computable:
        return _NEEDS
    draws = f", {both.draws} draws" if both.draws > 1 else ""
    return f"{_CAVEATS[name]}; {both.size} real and {both.size} synthetic images at a time{draws}"
