"""The memorisation audit: copies of training patients among synthetic images, and of test patients among training.

`nearest` says how near an image is to a reference's subjects. Real patients say how near is too near: those who were
not looked at in training, and every training patient against the others, give scores of their own, among which an image
of a perfect generator ranks like one more patient.

A reference subject counts as half a calibration subject: the two nearest of them are nearest to each other, so that
their low scores come in pairs (docs/copies.md).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.text import Interval, counted
from ganatomy.metrics.base import MIN_SUBJECTS, About, Result, Sample, Samples
from ganatomy.metrics.copies.nearest import CHANNELS, FEWEST_SUBJECTS, Nearest, Reference, nearest, view_name
from ganatomy.statistics.resampling import Array
from ganatomy.statistics.subjects import Index

ORDER, CONTROLS = 10, False
ABOUT = (
    About("Copies", "Share of generated images that are copies of training images, beyond what images of new patients"
          " give by chance.", "copies", "lower"),
    About("Copies-test", "The same for test images: the generator never saw them, so that any share above 0 is "
          "chance, or patients in two splits.", "copies", "lower"),
    About("Leak", "Test images that are copies of training images: the split is not clean, and every figure against "
          "test flatters.", "copies", "lower"),
)
MOST_CALIBRATION = 2000  # images of a split
WORST, MOST_LISTED = 12, 1000
TARGET, SURE = 0.01, 0.95  # at most this rate of false alarms, with this confidence
MARGIN = 0.5  # lower spreads by which an image must lie below the k-th lowest subject
EVIDENT, EVIDENT_SCORE = 0.4, -6.0  # below this part of the ratio and distance of the nearest tenth, and this score
MATERIAL = 0.01  # share of copies
CHANCE = 0.05  # p value
_TENTH = 1.2816  # standard deviations from the median to the lowest tenth of a normal distribution
_LEAST, _LEAST_SPREAD = 1e-3, 0.02
_NO_TRAIN = "there is no train split: what the model has learnt from is not there to compare with"
_UNCALIBRATED = f"needs {MIN_SUBJECTS} subjects to know how near other patients come"
_FEW = f"needs {FEWEST_SUBJECTS} subjects to compare with whose images show something"
_NOT_FINITE = "there are values that are not finite"
_EMPTY = "no image shows enough to be judged"
_BLIND = "copies that are turned by more than a few degrees, cut up or strongly warped may be missed"

Verdict = Literal["clean", "suspicious", "copies"]


@dataclass(frozen=True)
class Audit:
    """Which images of the sample `query` are copies of images of `reference`? Calibrated by samples of patients who
    have nothing to do with the query; the reference's own images are compared with its other subjects."""

    name: str
    query: str
    reference: str
    calibrated: tuple[str, ...]


AUDITS = (Audit("Copies", "synthetic", "train", ("train", "val", "test")),
          Audit("Copies-test", "synthetic", "test", ("train", "val", "test")),
          Audit("Leak", "test", "train", ("train",)))


def compute(samples: Samples) -> list[Result]:
    """Shares of copies of train, and of test, among the synthetic images, and of train among the test images.

    Their details hold the verdict, rates, counts and the worst pairs.
    """
    named = {"train": samples.train, "val": samples.val, "test": samples.test, "synthetic": samples.synthetic}
    present = {name: sample for name, sample in named.items() if sample is not None}
    references = {name: Reference(sample) for name, sample in present.items() if name in ("train", "test")}
    usable = {name: reference for name, reference in references.items() if not _unusable(reference)}
    compared: dict[tuple[str, str], Compared] = {}
    for name, sample in present.items() if usable else ():
        rows = _rows(sample, name, samples.seed)
        for reference, near in zip(usable, nearest(sample, list(usable.values()), rows), strict=True):
            compared[name, reference] = Compared(sample, rows, near, present[reference])
    return [_result(audit, samples, references.get(audit.reference), compared) for audit in AUDITS]


def _rows(sample: Sample, name: str, seed: int) -> Index:
    """All rows; of a larger split, as many of every subject as possible, drawn at random."""
    if name in ("synthetic", "test") or sample.n_images <= MOST_CALIBRATION:
        return np.arange(sample.n_images)
    order = np.random.default_rng((seed, 300)).permutation(sample.n_images)
    turn = np.zeros(sample.n_images, np.intp)
    taken = np.zeros(sample.n_subjects, np.intp)
    for row in order:
        turn[row] = taken[sample.subjects[row]]
        taken[sample.subjects[row]] += 1
    return np.sort(order[np.argsort(turn[order], kind="stable")][:MOST_CALIBRATION])


@dataclass(frozen=True)
class Compared:
    """The rows of a sample that were looked at, and what is nearest to them in a reference."""

    sample: Sample
    rows: Index
    near: Nearest
    reference: Sample

    @property
    def group(self) -> Group:
        """How near they are; a reference subject counts as half."""
        owners = np.array(self.sample.names, dtype=object)[self.sample.subjects[self.rows]]
        logs = np.log(np.maximum(np.stack([self.near.ratio, self.near.distance], 2), _LEAST))
        return Group(logs, owners, 0.5 if self.sample is self.reference else 1.0)

    def pair(self, i: int, scores: Array) -> dict[str, Any]:
        """What the i-th image is nearest to, in the channel [2] that has the lower score."""
        channel = int(scores.argmin())
        return {"real": self.reference.ids[self.near.row[i, channel]], "channel": CHANNELS[channel],
                "view": view_name(int(self.near.view[i]) if channel else 0),
                "distance": float(self.near.distance[i, channel]), "ratio": float(self.near.ratio[i, channel])}


def _result(audit: Audit, samples: Samples, reference: Reference | None,
            compared: Mapping[tuple[str, str], Compared]) -> Result:
    against = audit.reference if audit.query == "synthetic" else audit.query
    reason, calibration = _unusable(reference), None
    if not reason:
        query = compared[audit.query, audit.reference]
        known = [compared[name, audit.reference] for name in audit.calibrated if (name, audit.reference) in compared]
        calibration = Calibration.of([own.group for own in known])
        if not query.group.judged().n_subjects:
            reason = _EMPTY
        elif calibration is None or calibration.n_subjects < MIN_SUBJECTS:
            reason = _UNCALIBRATED
    if reason or calibration is None:
        return samples.result(audit.name, against, None, "lower", caveat=reason)
    return samples.result(audit.name, against, better="lower", floor=0.0, **_judged(audit.query, query, calibration))


def _judged(name: str, query: Compared, calibration: Calibration) -> dict[str, Any]:
    """Value, interval, details and caveat."""
    group, ids = query.group, [query.sample.ids[row] for row in query.rows]
    channels, evident = calibration.channels(group), calibration.evident(group)
    scores = channels.min(1)
    flagged = (scores < calibration.threshold) | evident
    judged = np.isfinite(scores)
    of = group.judged().n_subjects
    share = float((group.judged().weights() * flagged[judged]).sum()) / of
    value, interval = share_of_copies(share, of, calibration)
    chance = by_chance(round(share * of), of, calibration)
    details = {
        "verdict": verdict(int(evident.sum()), chance, interval), "rate": calibration.rate,
        "rate_at_most": calibration.rate_at_most(), "resolution": 1 / (calibration.size + 1),
        "calibration_subjects": calibration.n_subjects, "counted_as": calibration.size,
        "left_out": list(calibration.doubles), "flagged": int(flagged.sum()),
        "expected": calibration.usual() * int(judged.sum()), "p_by_chance": chance, "evident": int(evident.sum()),
        "judged": int(judged.sum()), "flagged_images": [ids[i] for i in np.flatnonzero(flagged)[:MOST_LISTED]],
        "pairs": [{name: ids[i], **query.pair(i, channels[i]),
                   "p": float(calibration.p(scores[i:i + 1])[0]), "flagged": bool(flagged[i])}
                  for i in np.argsort(scores, kind="stable")[:WORST] if judged[i]]}
    caveat = _caveat(calibration, len(judged) - int(judged.sum()))
    return {"value": value, "interval": interval, "details": details | {"caveat": caveat}, "caveat": caveat}


def _caveat(calibration: Calibration, empty: int) -> str:
    notes = [f"calibrated by {counted(calibration.n_subjects, 'subject')}, which count as {calibration.size:g}: about "
            f"{calibration.rate:.1%} of a perfect generator's images would be flagged, surely less than "
            f"{calibration.rate_at_most():.1%}"]
    if calibration.rate > TARGET:
        notes.append(f"too few for a rate of {TARGET:.0%}, which takes as many as {round(1 / TARGET) - 1}")
    if calibration.doubles:
        notes.append(f"{counted(len(calibration.doubles), 'subject')} left out that are copies of others themselves")
    if empty:
        notes.append(f"{counted(empty, 'image')} not judged, which show too little")
    return "; ".join([*notes, _BLIND])


def _unusable(reference: Reference | None) -> str:
    if reference is None:
        return _NO_TRAIN
    if not reference.finite:
        return _NOT_FINITE
    return _FEW if reference.n_subjects < FEWEST_SUBJECTS else ""


@dataclass(frozen=True)
class Group:
    """Images and the names [n] of their subjects, each of which `counts` as one, of the reference's own as a half.

    `logs` [n, 2, 2] are the logarithms of ratio and distance in both channels; NaN for images that are not judged.
    """

    logs: Array
    subjects: NDArray[np.object_]
    counts: float = 1.0

    def judged(self, without: Collection[str] = ()) -> Group:
        """Those that can be judged, of subjects other than some."""
        keep = np.isfinite(self.logs).all((1, 2)) & np.array([name not in without for name in self.subjects], bool)
        return Group(self.logs[keep], self.subjects[keep], self.counts)

    def weights(self) -> Array:
        """What a subject counts / its images, [n]: what drawing one image a subject gives on average."""
        _, owner, counts = np.unique(self.subjects, return_inverse=True, return_counts=True)
        weights: Array = self.counts / counts[owner]
        return weights

    @property
    def n_subjects(self) -> int:
        return len(set(self.subjects))


@dataclass(frozen=True)
class Calibration:
    """What real patients have.

    Attributes:
        middle, tenth, spread: [2, 2], median, lowest tenth and lower spread of log ratio and distance in each channel.
        scores, weights, owners: of the images, scores ascending; weights sum to `size`, owners are subjects' numbers.
        n_subjects, size: how many there are, and S, as how many they count.
        rank: k; images below the k-th lowest subject, by a margin, are flagged.
        doubles: subjects left out because they are copies of reference subjects themselves.
    """

    middle: Array
    tenth: Array
    spread: Array
    scores: Array
    weights: Array
    owners: Index
    n_subjects: int
    size: float
    rank: int
    doubles: tuple[str, ...]

    @classmethod
    def of(cls, groups: Sequence[Group]) -> Calibration | None:
        """From groups of which each has subjects of its own; None without any image to judge.

        The largest group says first which subjects of all groups are evident copies: a patient who is in train and,
        under another name, in test must not set the scale.
        """
        groups = [group.judged() for group in groups]
        largest = max(groups, key=lambda group: group.n_subjects, default=None)
        if largest is None or not largest.n_subjects:
            return None
        first = cls._of([largest], ())
        doubles = {str(name) for group in groups for name in group.subjects[first.evident(group)]}
        kept = [group.judged(doubles) for group in groups]
        return cls._of(kept, tuple(sorted(doubles))) if any(group.n_subjects for group in kept) else None

    @classmethod
    def _of(cls, groups: Sequence[Group], doubles: tuple[str, ...]) -> Calibration:
        weights = np.concatenate([group.weights() for group in groups])
        logs = np.concatenate([group.logs for group in groups])
        middle, tenth = (np.apply_along_axis(_quantile, 0, logs, weights, q) for q in (0.5, 0.1))
        spread = np.maximum((middle - tenth) / _TENTH, _LEAST_SPREAD)
        scores = ((logs - middle) / spread).mean(2).min(1)
        order, size = np.argsort(scores), float(weights.sum())
        places = np.cumsum([0, *(group.n_subjects for group in groups)])
        owners = np.concatenate([np.unique(group.subjects, return_inverse=True)[1] + place
                                 for group, place in zip(groups, places[:-1], strict=True)]).astype(np.intp)
        return cls(middle, tenth, spread, scores[order], weights[order], owners[order], int(places[-1]), size,
                   rank(size), doubles)

    @property
    def threshold(self) -> float:
        """Scores below are flagged."""
        return self._threshold(np.ones(len(self.scores), bool), self.rank)

    def _threshold(self, kept: NDArray[np.bool_], k: int) -> float:
        passed = np.cumsum(self.weights[kept]) > k - 1 + 1e-9
        return float(self.scores[kept][int(passed.argmax())]) - MARGIN

    def usual(self) -> float:
        """About which share of other patients' images is flagged: each subject judged by the others, in turn. Far below
        `rate` where patients have many slices, as the threshold lies below all of them."""
        shares, counts = [], []
        for subject in range(self.n_subjects):
            own = self.owners == subject
            if own.any() and not own.all():
                count = float(self.weights[own].sum())
                cut = self._threshold(~own, rank(self.size - count))
                shares.append(float((self.scores[own] < cut).mean()))
                counts.append(count)
        return float(np.average(shares, weights=counts)) if shares else self.rate

    @property
    def rate(self) -> float:
        """The rate of false alarms that is claimed: k / (S + 1), on average over calibration subjects."""
        return self.rank / (self.size + 1)

    def rate_at_most(self) -> float:
        """The rate that false alarms do not exceed with a confidence of 95%."""
        from scipy.stats import beta

        return float(beta.ppf(SURE, self.rank, self.size + 1 - self.rank))

    def channels(self, group: Group) -> Array:
        """Scores of both channels [n, 2]; infinite for images that are not judged."""
        scores = ((group.logs - self.middle) / self.spread).mean(2)
        return np.where(np.isfinite(scores), scores, np.inf)

    def p(self, scores: Array) -> Array:
        """Conformal p-values [n], averaged over draws of one image a subject; at least 1 / (S + 1).

        Source: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005, section 2.2.
        """
        places = np.searchsorted(self.scores, scores + MARGIN, side="right")
        below = np.concatenate([[0.0], np.cumsum(self.weights)])[places]
        p: Array = (1.0 + below) / (self.size + 1)
        return np.minimum(p, 1.0)

    def evident(self, group: Group) -> NDArray[np.bool_]:
        """Which images are copies by so much that it takes no calibration at that rate: [n]."""
        near = (group.logs < self.tenth + np.log(EVIDENT)).all(2) & (self.channels(group) < EVIDENT_SCORE)
        evident: NDArray[np.bool_] = near.any(1)
        return evident


def rank(subjects: float) -> int:
    """k: the highest for which the rate is at most 1% with 95% confidence; 1 where none is, below 473 subjects.

    The k-th lowest of S subjects has P(Binomial(S, rate) < k) of being passed more often than the rate (Wilks, Annals
    of Math. Stat. 1941).
    """
    from scipy.stats import binom

    ranks = np.arange(1, int(subjects) + 1)
    return max(1, int((binom.cdf(ranks - 1, int(subjects), TARGET) <= 1 - SURE + 1e-12).sum()))


def share_of_copies(flagged: float, of: int, calibration: Calibration) -> tuple[float, Interval | None]:
    """(F - F_cal) / (1 - F_cal), clipped at 0, and its 95% interval, not clipped; None below five on either side.

    F is the share `flagged` `of` so many independent images or subjects; F_cal what is expected of a perfect generator,
    k / (S + 1).

    Source: F has Clopper and Pearson's interval (Biometrika 1934), which has a width at 0 too; the rate at which fresh
    patients pass the k-th lowest of S has the distribution Beta(k, S + 1 - k); their difference is put together as in
    Newcombe's method 10 (Statistics in Medicine 1998), with these limits in the place of Wilson's.
    """
    from scipy.stats import beta

    own = calibration.rate
    value = max(0.0, (flagged - own) / max(1.0 - own, 1e-9))
    if min(of, calibration.n_subjects) < MIN_SUBJECTS:
        return value, None
    low, high = clopper_pearson(flagged, of)
    least, most = beta.ppf((0.025, 0.975), calibration.rank, calibration.size + 1 - calibration.rank)
    apart = flagged - own
    down, up = np.hypot(flagged - low, most - own), np.hypot(high - flagged, own - least)
    return value, tuple(float(min(x / (1.0 - own), 1.0)) for x in (apart - down, apart + up))  # type: ignore[return-value]


def clopper_pearson(share: float, n: float) -> Interval:
    """95% interval of a share of n; the count need not be whole."""
    from scipy.stats import beta

    count = share * n
    low = float(beta.ppf(0.025, count, n - count + 1)) if count > 1e-9 else 0.0
    high = float(beta.ppf(0.975, count + 1, n - count)) if n - count > 1e-9 else 1.0
    return low, high


def by_chance(flagged: int, of: int, calibration: Calibration) -> float:
    """The probability of as many flagged among images of a perfect generator: negative hypergeometric."""
    from scipy.stats import betabinom

    k = calibration.rank
    return float(betabinom.sf(flagged - 1, of, k, calibration.size + 1 - k)) if flagged else 1.0


def verdict(evident: int, chance: float, interval: Interval | None) -> Verdict:
    """copies: an evident one, or surely more than 1% of the images; suspicious: more flagged than chance explains."""
    if evident or (interval is not None and interval[0] > MATERIAL):
        return "copies"
    return "suspicious" if chance < CHANCE or (interval is not None and interval[0] > 0) else "clean"


def _quantile(values: Array, weights: Array, q: float) -> float:
    """Quantile of weighted values: linear between the middles of their weights."""
    order = np.argsort(values)
    ends = np.cumsum(weights[order])
    return float(np.interp(q * ends[-1], ends - weights[order] / 2, values[order]))
