"""From nearness to a verdict: which images are nearer to the training images than fresh patients are, and how sure.

Logarithms of ratios and distances are put on one scale, in lower spreads below the median of real patients; a channel's
score is the mean of both, and an image's the lower of its two channels'. Real patients who were not looked at in
training (and every training patient against the others) give scores of their own; an image of a perfect generator ranks
among them like one more patient.

A reference subject counts as half a calibration subject: the two nearest of them are nearest to each other, so that
their low scores come in pairs. Were distances all that counted, the nearest of S(S - 1)/2 pairs of reference subjects,
S T pairs with T others and S with a new one would be one of the new one's with probability 1 / (S/2 + T + 1/2), and not
1 / (S + T + 1); the same factor of two as in the guarantee of jackknife+ (Barber et al., Annals of Statistics 2021).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.text import Interval
from ganatomy.metrics.base import MIN_SUBJECTS
from ganatomy.metrics.copies.nearest import Nearest
from ganatomy.statistics.resampling import Array

Verdict = Literal["clean", "suspicious", "copies"]
TARGET, SURE = 0.01, 0.95
"""At most this rate of false alarms, with this confidence over the draw of the calibration subjects: the k-th lowest of
S subjects has P(Binomial(S, rate) < k) of being passed more often than the rate (Wilks, Annals of Math. Stat. 1941).
Below 299 subjects not even the lowest has that; the rate attained is then given, 1 / (S + 1) on average."""
MARGIN = 0.5
"""Lower spreads by which an image must lie below the k-th lowest. The scale is fitted to the calibration without the
image in question, so that the calibration's own lowest lie too high: without a margin 12 fresh patients alone give
13.6% of false alarms where 7.7% is claimed, with it 7.7%. It costs no copies, which lie 4 to 80 lower."""
EVIDENT, EVIDENT_SCORE = 0.4, -6.0
"""Evident is a copy whose ratio and distance are both below 0.4 of what the nearest tenth of patients has, in one
channel, with a score below -6."""
MATERIAL = 0.01
CHANCE = 0.05
_TENTH = 1.2816  # standard deviations from the median to the lowest tenth of a normal distribution
_LEAST, _LEAST_SPREAD = 1e-3, 0.02


@dataclass(frozen=True)
class Group:
    """Images and the names [n] of their subjects, each of which `counts` as one, of the reference's own as a half.

    `logs` [n, 2, 2] are the logarithms of ratio and distance in both channels; NaN for images that are not judged.
    """

    logs: Array
    subjects: NDArray[np.object_]
    counts: float = 1.0

    @classmethod
    def of(cls, near: Nearest, subjects: NDArray[np.object_], counts: float = 1.0) -> Group:
        return cls(np.log(np.maximum(np.stack([near.ratio, near.distance], 2), _LEAST)), subjects, counts)

    def judged(self, without: Collection[str] = ()) -> Group:
        """The images that can be judged, of subjects other than some."""
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
        middle, tenth: [2, 2], median and lowest tenth of log ratio and distance in each channel, over subjects.
        spread: [2, 2], lower spread of them.
        scores, weights, owners: ascending scores of the images, their weights, which sum to `size`, and the numbers
            of their subjects.
        n_subjects: how many there are.
        size: S, as how many they count.
        rank: k; images below the k-th lowest subject, by a margin, are flagged.
        doubles: subjects left out because they are copies of reference subjects themselves.
    """

    middle: Array
    tenth: Array
    spread: Array
    scores: Array
    weights: Array
    owners: NDArray[np.intp]
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
        """About which share of other patients' images is flagged: each subject judged by the others, in turn.

        Far below `rate` where patients have many slices: the threshold lies below all of them, and what can be claimed
        of it is what one slice a patient gives.
        """
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
    """k: the highest for which the rate is at most 1% with 95% confidence; 1 where none is."""
    from scipy.stats import binom

    ranks = np.arange(1, int(subjects) + 1)
    return max(1, int((binom.cdf(ranks - 1, int(subjects), TARGET) <= 1 - SURE + 1e-12).sum()))


def share_of_copies(flagged: float, of: int, calibration: Calibration) -> tuple[float, Interval | None]:
    """(F - F_cal) / (1 - F_cal), clipped at 0, and its 95% interval, not clipped; None below five on either side.

    F is the share `flagged` `of` so many independent images or subjects; F_cal what is expected of a perfect generator,
    k / (S + 1). (The calibration's own images below their own threshold are fewer, none for k = 1, which would count
    false alarms as copies.)

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
