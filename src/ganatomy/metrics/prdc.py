"""Precision, recall, density and coverage: which images lie among those of the other kind, by nearest neighbours."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.metrics.base import MIN_SUBJECTS, Better, MetricResult, Sample, Samples
from ganatomy.metrics.floors import Floor, noise_floor
from ganatomy.metrics.neighbours import Distances, K, Part, radii
from ganatomy.statistics.resampling import Array, central, jackknife_groups, jackknife_variance, student

ORDER = 4
MOST_AT_ONCE = 2000  # images a side in a part
_MOST_LEFT_OUT = 4_000_000  # pairs of real images in the parts from which subjects are left out
MOST_HALVED = 400  # images a side in the halvings, where a hundred pairs of samples are measured
PRECISION, RECALL, DENSITY, COVERAGE = NAMES = ("Precision", "Recall", "Density", "Coverage")
# Above what real images give, more density is no better: a generator of average images, or of a few among many real
# ones, has more. The other three are shares, and at most 1.
BETTER: dict[str, Better] = {PRECISION: "higher", RECALL: "higher", DENSITY: "match", COVERAGE: "higher"}
_CAVEATS = {
    PRECISION: "blind to what is missing: one good image repeated has 1, so read it with recall",
    RECALL: "blind to bad images among good ones, and raised by images scattered far out: read it with precision",
    DENSITY: "above real vs real is no better: average images, or copies of a common one, have more; the ratio to real "
    "is at the n of real vs real",
    COVERAGE: "depends on the number of images; about 0.97 between real images where each is of another patient",
}
_NEEDS = f"needs {K} images of other patients beside every image, real and synthetic"


class Comparison:
    """The four figures of a synthetic sample against a real one, with equally many images of both at a time.

    All four depend on the numbers of images, and recall and coverage rise with more synthetic ones. So of the larger
    sample, parts as large as the smaller one are dealt until all its images have been used, and every image's result
    is averaged over the parts that it was in. Radii are found within each part. A part has at most 2,000 images a side.

    Between independent samples of one population density is about 1 and coverage about 0.97. With several images a
    patient, balls reach across clusters, and density lies above 1; between real images it does too.
    """

    def __init__(self, real: Sample, synthetic: Sample, seed: int, most: int | None = None) -> None:
        """Take two samples; `seed` deals the parts, of `most` images a side at most."""
        self.real, self.synthetic, self.seed = real, synthetic, seed
        self.within = tuple(Distances(s.features, s.features) for s in (real, synthetic))
        self.across = Distances(real.features, synthetic.features)
        n, m = real.n_images, synthetic.n_images
        self.size = min(n, m, most or n, MOST_AT_ONCE)
        self.draws = -(-max(n, m) // self.size)
        rng = np.random.default_rng((seed, 13))
        dealt = [np.resize(rng.permutation(count), (self.draws, self.size)) for count in (n, m)]
        parts = [self.part(rows, columns) for rows, columns in zip(*dealt, strict=True)]
        self.dealt, self.parts = dealt, [part for part in parts if part]
        self.computable = len(self.parts) == len(parts)

    def part(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Part | None:
        """Of these real and these synthetic images; None if they are too few."""
        return Part.of(self.within[0].of(rows, rows), self.within[1].of(columns, columns),
                       self.across.of(rows, columns), (self.real.subjects[rows], self.synthetic.subjects[columns]))

    @cached_property
    def images(self) -> dict[str, Array]:
        """For each real or (precision) synthetic image its mean over the parts that it was in."""
        means = {}
        for name, found in zip(NAMES, zip(*(part.images() for part in self.parts), strict=True), strict=True):
            drawn = self.dealt[name == PRECISION].ravel()
            means[name] = np.bincount(drawn, np.concatenate(found)) / np.bincount(drawn)
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
        found = np.concatenate([part.only for part in self.parts], axis=1) / self.draws
        return np.stack([np.bincount(drawn, shares) for shares in found])

    def value(self, name: str) -> float | None:
        """The figure; None if there are too few images."""
        return float(self.images[name].mean()) if self.computable else None

    def interval(self, name: str) -> tuple[float, float] | None:
        """95%, over real subjects and synthetic images. None below five subjects.

        Each subject and each synthetic image is left out in turn (jackknife). A share is lost with the images that
        only the absent one's ball holds or, of recall and coverage, the absent subject's own images; a bootstrap, in
        which a third of all subjects are absent, would overstate the former. Radii are taken as given, but for density
        (see `_density_interval`). Shares have Wilson's interval for the number of independent observations that would
        vary as much: it stays within 0 and 1, and has a width where all subjects are alike.
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
        """Radii found anew without each of at most 20 groups of subjects: the few balls in dense places count for
        much, and with fixed radii the interval would hold the expectation in three of four cohorts only."""
        groups = jackknife_groups(self.real.n_subjects, np.random.default_rng((self.seed, 504)))
        left_out = self._density_without(groups)
        if left_out is None:
            return None
        counts = np.concatenate([part.inside.sum(0) / K for part in self.parts])
        drawn = self.dealt[1].ravel()
        made = _left_out(np.bincount(drawn, counts) / np.bincount(drawn), self.synthetic.subjects)
        variance = jackknife_variance(left_out) + jackknife_variance(made)
        if variance == 0:  # all 0: no width can be told
            return None
        low, high = student(value, float(np.sqrt(variance)), len(groups))
        return max(low, 0.0), high

    def _density_without(self, groups: list[NDArray[np.intp]]) -> Array | None:
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
                sums[i] += np.count_nonzero(across[kept] <= around[:, None]) / len(columns) / K
        left: Array = sums / min(used, self.draws)
        return left

    def per_subject(self, name: str) -> dict[str, float]:
        """The figure over the images (for precision: over the balls) of each real subject, radii as for all."""
        if name == PRECISION:
            means = self.by_subject[0]
        else:
            means = np.bincount(self.real.subjects, self.images[name]) / np.bincount(self.real.subjects)
        return dict(zip(self.real.names, means.tolist(), strict=True))

    def floors(self) -> dict[str, Floor] | None:
        """Half of the real subjects against the other half, and against as many synthetic images, of all figures.

        None where a half has too few images. Of more than 400 images a side, 400 are drawn.
        """
        subjects, most = self.real.subjects, min(self.synthetic.n_images, MOST_HALVED)

        def half(chosen: Array) -> NDArray[np.intp]:
            rows = np.flatnonzero(chosen[subjects])
            return np.random.default_rng((self.seed, 14)).permutation(rows)[:most].astype(np.intp)

        def real_half(a: NDArray[np.intp], b: NDArray[np.intp]) -> Part | None:
            d = self.within[0]
            return Part.of(d.of(a, a), d.of(b, b), d.of(a, b), (subjects[a], subjects[b]))

        def between(a: Array) -> Array:
            return _stack([real_half(half(row), half(1 - row)) for row in a])

        def score(a: Array, chosen: Array) -> Array:
            return _stack([self.part(half(row), np.flatnonzero(c)) for row, c in zip(a, chosen, strict=True)])

        both = noise_floor(self.real, self.synthetic.n_images, between, score, self.seed, MOST_HALVED)
        if not (np.isfinite(both.between).all() and np.isfinite(both.score).all()):
            return None
        return {name: Floor(both.between[:, i], both.score[:, i], both.n_images) for i, name in enumerate(NAMES)}


def _stack(parts: list[Part | None]) -> Array:
    return np.array([[x.mean() for x in part.images()] if part else [np.nan] * len(NAMES) for part in parts])


def _left_out(values: Array, subjects: NDArray[np.intp]) -> Array:
    """The mean without each subject in turn: [S]."""
    sums, counts = np.bincount(subjects, values), np.bincount(subjects)
    left: Array = (sums.sum() - sums) / (counts.sum() - counts)
    return left


def wilson(share: float, variance: float, subjects: int, most: int) -> tuple[float, float]:
    """95% interval of a share with this variance: Wilson's (JASA 1927), with Student's t for the few subjects.

    The number of observations is that of independent ones with the same variance, at least `subjects` where the
    share is 0 or 1 and no variance can be seen, at most `most`.
    """
    from scipy.stats import t

    spread = share * (1 - share)
    n = float(subjects) if spread == 0 else (most if variance <= 0 else min(spread / variance, most))
    z = float(t.ppf(0.975, subjects - 1)) ** 2 / n
    centre, half = (share + z / 2) / (1 + z), float(np.sqrt(z * spread + z * z / 4)) / (1 + z)
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))


def compute(samples: Samples) -> list[MetricResult]:
    """Precision, recall, density and coverage of the synthetic images against test and against train."""
    beside = [_results(samples, against, real) for against, real in samples.real()]
    return [result for results in zip(*beside, strict=True) for result in results]


def _results(samples: Samples, against: str, real: Sample) -> list[MetricResult]:
    found = Comparison(real, samples.synthetic, samples.seed)
    evidence = {} if samples.control or not found.computable else _evidence(samples, against, found)
    caveats = {name: _caveat(found, name, bool(evidence)) for name in NAMES}
    return [MetricResult(samples.extractor.metric(name), against, found.value(name), real.n_images, real.n_subjects,
                         samples.synthetic.n_images, BETTER[name], interval=found.interval(name), caveat=caveats[name],
                         **evidence.get(name, {})) for name in NAMES]


def _evidence(samples: Samples, against: str, found: Comparison) -> dict[str, dict[str, Any]]:
    """What stands beside each figure: train in the place of the synthetic images, and the floor or each subject."""
    evidence: dict[str, dict[str, Any]] = {name: {} for name in NAMES}
    if against == "test" and samples.train is not None:
        real = Comparison(samples.test, samples.train, samples.seed, found.size)
        for name in NAMES if real.computable else ():
            evidence[name]["reference"] = {"what": "real train against real test", "value": real.value(name),
                                           "interval": real.interval(name), "n_images": samples.train.n_images}
    few = found.real.n_subjects < MIN_SUBJECTS
    floors = None if few else found.floors()
    for name in NAMES:
        if few:
            evidence[name]["per_subject"] = found.per_subject(name)
        elif floors:
            evidence[name] |= floors[name].fields()
    if floors:
        evidence[DENSITY] |= _ratio(floors[DENSITY])
    return evidence


def _ratio(floor: Floor) -> dict[str, Any]:
    """The density at the floor's n over the floor, halving by halving: neither has a meaning at another n."""
    if (floor.between <= 0).any():
        return {}
    return {"ratio": float(floor.score.mean() / floor.between.mean()),
            "ratio_interval": central(floor.score / floor.between)}


def _caveat(found: Comparison, name: str, floor: bool) -> str:
    if not found.computable:
        return _NEEDS
    draws = f", {found.draws} draws" if found.draws > 1 else ""
    said = f"{_CAVEATS[name]}; {found.size} real and {found.size} synthetic images at a time{draws}"
    if floor and found.real.n_images > found.real.n_subjects and name in (RECALL, COVERAGE):
        said += "; halves of patients with many alike images cover each other less than independent images would, " \
                "so a generator can lie above real vs real"
    return said
