"""The memorisation audit: copies of training patients among synthetic images, and of training among test images.

Training and held-out patients are looked for together. If what the generator makes does not depend on who of them was
drawn for training, then how near the synthetic images come to a patient does not either: the lowest score of each
patient is exchangeable between training and held-out patients, however noisy, blurred or average the images are. A
generator that copies comes nearer to training patients than to any other.

Source: the three-sample idea of Meehan, Chaudhuri and Dasgupta, AISTATS 2020, with patients as the units.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.text import Interval, counted
from ganatomy.data.likeness import FEWEST_SUBJECTS, FLIPS, IDENTICAL, far_nearer_than_usual, view_name
from ganatomy.metrics.base import MIN_SUBJECTS, About, Result, Sample, Samples
from ganatomy.metrics.copies.nearest import CHANNELS, Nearest, Pool, Reference, nearest, small
from ganatomy.statistics.resampling import Array
from ganatomy.statistics.subjects import Index

ORDER, CONTROLS = 10, False
ABOUT = (
    About("Copies", "Share of generated images that are copies of training images, beyond what comes as near to "
          "patients whom the generator has not seen.", "copies", "lower"),
    About("Leak", "Test images that are copies of training images: the split is not clean, and every figure against "
          "test flatters.", "copies", "lower"),
)
WORST, MOST_LISTED = 12, 1000
TARGET = 0.01  # the rate at which innocent patients are flagged, where there are held-out patients enough
MARGIN = 1.5  # lower spreads by which an image must lie below the k-th lowest held-out patient
EVIDENT, EVIDENT_SCORE = 0.5, -6.0  # below this part of the ratio and distance of the nearest tenth, and this score
SAME = 1.0 / 127.5  # root mean square of the difference in [-1, 1] up to which a picture is the same: a level of 8 bits
SAME_CONTRAST = 0.1  # and that as a part of the contrast
MATERIAL = 0.01  # share of copies
CHANCE, SURE = 0.05, 0.01  # p values
RANKS = (1, 2, 4)  # of the lowest held-out patients below which training patients are counted
_PARTS = 10  # of u in [0, 1]
_TENTH = 1.2816  # standard deviations from the median to the lowest tenth of a normal distribution
_LEAST_SPREAD = 0.1  # of the logarithms: what is a tenth nearer is no nearer
_NO_TRAIN = "there is no train split: what the model has learnt from is not there to compare with"
_UNCALIBRATED = f"needs {MIN_SUBJECTS} held-out subjects to know how near other patients come"
_NOTHING = "the training images show nothing to compare with"
_NOT_FINITE = "there are values that are not finite"
_EMPTY = "no image shows enough to be judged"
_BLIND = "copies that are turned by more than a few degrees, cut up or bent by 5% of the side or more may be missed"

Verdict = Literal["clean", "suspicious", "copies"]
Bools = NDArray[np.bool_]


def compute(samples: Samples) -> list[Result]:
    """Shares of copies of training images among the synthetic images, and among the test images.

    Their details hold the verdict, counts, rates, whose images are copied and the worst pairs.
    """
    def unknown(reason: str) -> list[Result]:
        return [samples.result("Copies", "train", None, "lower", caveat=reason),
                samples.result("Leak", "test", None, "lower", caveat=reason)]

    if samples.train is None:
        return unknown(_NO_TRAIN)
    pool = Pool([samples.train, samples.test, *([samples.val] if samples.val is not None else [])])
    if not pool.finite:
        return unknown(_NOT_FINITE)
    if not len(pool.rows) or pool.held_out[pool.subjects[pool.rows]].all():
        return unknown(_NOTHING)
    reference = Reference(pool, pool.rows)
    leak, doubles = _leaked(samples.test, pool, reference)
    copies = _audited(samples.synthetic, reference, doubles, samples.seed)
    return [samples.result("Copies", "train", better="lower", **{"value": None, **copies}),
            samples.result("Leak", "test", better="lower", **{"value": None, **leak})]


# ---- synthetic against training images

def _audited(synthetic: Sample, reference: Reference, doubles: Index, seed: int) -> dict[str, Any]:
    """Value, interval, details and caveat; `doubles` are the numbers of held-out subjects who are in train too."""
    pool = reference.pool
    rows = pool.rows[~np.isin(pool.subjects[pool.rows], doubles)]
    even = pool.evenly(rows, np.random.default_rng((seed, 300)))
    near = nearest(synthetic, reference.of(even))
    if not near.judged.any():
        return {"caveat": _EMPTY}
    subjects = np.unique(pool.subjects[even])
    if pool.held_out[subjects].sum() < MIN_SUBJECTS:
        return _exact_alone(synthetic, pool, near)
    scale = Scale.of(near)
    if len(even) < len(rows):  # whoever is copied evidently may be so from any image
        every = nearest(synthetic, reference.of(rows))
        near = near.where(np.asarray(scale.scores(every)[1].any(1)), every)
    rule = Rule(near, scale, pool.held_out, subjects)
    exact = _exact(synthetic, pool, near)
    return _told(synthetic, pool, near, rule, exact, doubles)


def _exact(synthetic: Sample, pool: Pool, near: Nearest) -> Bools:
    """Which images are the same picture as their nearest training image but for rounding and mirroring: [n]."""
    exact = np.zeros(synthetic.n_images, bool)
    training = ~pool.held_out[near.subject[:, 1, 0]]
    for i in np.flatnonzero(training & (near.distance[:, 1, 0] < IDENTICAL)):
        image = synthetic.images[i:i + 1][0]
        real = next(pool.parts(near.row[i:i + 1, 1]))[0]
        if image.shape == real.shape:
            apart = min(float(np.sqrt(np.square(np.flip(image, tuple(axis + 1 for axis in axes)) - real).mean()))
                        for axes in FLIPS.values())
            exact[i] = apart <= min(SAME, SAME_CONTRAST * float(real.std()))
    return exact


def _exact_alone(synthetic: Sample, pool: Pool, near: Nearest) -> dict[str, Any]:
    """Without a scale only the same picture is a copy for certain; without any, nothing can be said."""
    exact = np.flatnonzero(_exact(synthetic, pool, near))
    if not len(exact):
        return {"caveat": _UNCALIBRATED}
    owners = sorted({pool.names[near.subject[i, 1, 0]] for i in exact})
    flagged = [synthetic.ids[i] for i in exact[:MOST_LISTED]]
    details = {"verdict": "copies", "flagged": len(exact), "evident": len(exact), "exact": len(exact),
               "judged": synthetic.n_images, "flagged_images": flagged,
               "copied": [{"subject": name} for name in owners],
               "pairs": [_pair(synthetic, pool, near, i, 1, flagged=True) for i in exact[:WORST]]}
    caveat = f"only images that are the same as a training image were looked for: {_UNCALIBRATED}"
    return {"value": len(exact) / synthetic.n_images, "details": details, "caveat": caveat}


@dataclass(frozen=True)
class Scale:
    """How near images come to their nearest patient by chance.

    Who is held out does not enter, so that the lowest scores stay exchangeable. Nor do copies, however many: of what
    the images have and what their second and third nearest patients lead to expect, the higher counts.

    Attributes:
        middle, tenth, spread: [2, 2], median, lowest tenth and lower spread of log ratio and distance in each channel;
            a patient counts once.
    """

    middle: Array
    tenth: Array
    spread: Array

    @classmethod
    def of(cls, near: Nearest) -> Scale:
        """From the images that are judged."""
        quantiles = np.empty((2, 2, 2))
        for channel in range(2):
            own = near.logs()[near.judged, channel], near.subject[near.judged, channel, 0]
            for kind in range(2):
                quantiles[:, channel, kind] = np.max([
                    [_quantile(logs[:, kind], 1.0 / np.bincount(owners)[owners], q) for q in (0.5, 0.1)]
                    for logs, owners in (own, _nearest_by_chance(near, channel))], axis=0)
        middle, tenth = quantiles
        return cls(middle, tenth, np.maximum((middle - tenth) / _TENTH, _LEAST_SPREAD))

    def scores(self, near: Nearest) -> tuple[Array, Bools]:
        """Of both channels [n, 2], the mean of ratio and distance in lower spreads, infinite if not judged; and where
        an image is so near that it takes no rate to call it a copy."""
        logs = near.logs()
        scores = ((logs - self.middle) / self.spread).mean(2)
        evident: Bools = (logs < self.tenth + np.log(EVIDENT)).all(2) & (scores < EVIDENT_SCORE)
        return np.where(np.isfinite(scores), scores, np.inf), evident


def _nearest_by_chance(near: Nearest, channel: int) -> tuple[Array, Index]:
    """Log ratio and distance [m, 2] of a nearest patient as the second and third nearest ones lead to expect, and the
    second's numbers [m]. Neither who is held out nor the nearest patient, whose copy an image may be, enters.

    Where points fill d dimensions the nearest lies at u^(1/d) of the second's distance, u uniform in [0, 1], and
    log(third / second) has a median of ln 2 / 2d.

    Source: Facco, d'Errico, Rodriguez and Laio, Scientific Reports 2017, eq. 1 and 2, for the next pair of neighbours.
    """
    second, owners = near.logs(1)[near.judged, channel], near.subject[near.judged, channel, 1]
    per_dimension = _quantile(-second[:, 0], 1.0 / np.bincount(owners)[owners], 0.5) * 2 / np.log(2)
    closer = per_dimension * np.log((np.arange(_PARTS) + 0.5) / _PARTS)
    logs: Array = (second[:, None] + closer[:, None]).reshape(-1, 2)
    return logs, np.repeat(owners, _PARTS)


def _quantile(values: Array, weights: Array, q: float) -> float:
    """Quantile of weighted values: linear between the middles of their weights."""
    order = np.argsort(values)
    ends = np.cumsum(weights[order])
    return float(np.interp(q * ends[-1], ends - weights[order] / 2, values[order]))


class Rule:
    """The lowest score of each patient, and what follows from the order of training and held-out patients.

    Attributes:
        scores, evident: [n, 2] of the images that are nearest to a training patient in a channel; else infinite, False.
        minima: [S], the lowest score over the images nearest to a subject, infinite where there is none.
        training: numbers of the training subjects.
        held: the minima of held-out subjects, ascending; those with evident copies are not among them.
        k, threshold: images below the k-th lowest held-out patient, by a margin, are flagged.
        p_by_chance: the probability that of an innocent generator's patients as many training patients are the lowest.
        seen: images that are evident copies of held-out patients.
    """

    def __init__(self, near: Nearest, scale: Scale, held_out: Bools, subjects: Index) -> None:
        owner = near.subject[:, :, 0]
        (scores, evident), theirs = scale.scores(near), held_out[owner]
        self.minima = np.full(len(held_out), np.inf)
        np.minimum.at(self.minima, owner, scores)
        copied = np.unique(owner[evident & theirs])
        known = np.setdiff1d(subjects[held_out[subjects]], copied)
        self.training, self.held = subjects[~held_out[subjects]], np.sort(self.minima[known])
        self.seen = (evident & theirs).any(1)
        self.k = max(1, int(TARGET * len(self.held)))
        self.threshold = self._threshold(self.held)
        self.scores, self.evident = np.where(theirs, np.inf, scores), (evident & ~theirs).any(1)
        self.flagged = (self.scores.min(1) < self.threshold) | self.evident
        self.p_by_chance = by_chance(self.minima[self.training], self.held)

    @property
    def rate(self) -> float:
        """The probability that an innocent training patient lies below the k-th lowest held-out one: k / (S + 1)."""
        return self.k / (len(self.held) + 1)

    def _threshold(self, held: Array) -> float:
        """Below the k-th lowest minimum, and below the lowest tenth of images, by a margin."""
        return min(float(held[self.k - 1]) if len(held) else np.inf, -_TENTH) - MARGIN

    @cached_property
    def held_out_share(self) -> float:
        """The share of held-out patients who would be flagged if each in turn were judged by the others."""
        others = [self._threshold(np.delete(self.held, i)) for i in range(len(self.held[:self.k]))]
        return int((self.held[:self.k] < others).sum()) / max(len(self.held), 1)

    def p(self, minima: Array) -> Array:
        """Conformal p-values of patients, at least 1 / (S + 1), S held-out patients.

        Source: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005, section 2.2.
        """
        below = np.searchsorted(self.held, minima, side="right")
        p: Array = np.where(np.isfinite(minima), (1.0 + below) / (len(self.held) + 1), 1.0)
        return p


def by_chance(training: Array, held: Array) -> float:
    """The probability, under exchangeable minima, of as many training patients below the lowest held-out ones.

    Counted are those below the lowest, the second and the fourth lowest; the least of the three p-values, of the
    negative hypergeometric distribution, is multiplied by three. Held-out patients come first in ties.
    """
    from scipy.stats import hypergeom

    held, total = np.sort(held), len(training) + len(held)
    p = [float(hypergeom.cdf(k - 1, total, len(held), int((training < held[k - 1]).sum()) + k - 1))
         for k in RANKS if k <= len(held)]
    return min(1.0, len(p) * min(p)) if p else 1.0


def adjusted(p: Array) -> Array:
    """p-values [n] adjusted by Benjamini and Hochberg's procedure, which holds for conformal ones.

    Holm's would never name anybody: its first step asks for p below 0.05 / n, and no conformal p lies below
    1 / (held-out + 1).

    Source: Benjamini and Hochberg, JRSS B 1995; Bates et al., Annals of Statistics 2023 (conformal p-values).
    """
    order = np.argsort(p)[::-1]
    values = np.minimum.accumulate(p[order] * len(p) / np.arange(len(p), 0, -1))
    result: Array = np.minimum(values, 1.0)[np.argsort(order)]
    return result


def share_of_copies(flagged: int, evident: int, judged: int, rule: Rule) -> tuple[float, Interval | None]:
    """The estimated share of copies among `judged` images and its 95% interval, both in [0, 1]; None below five images.

    Estimated is (F - H) / (1 - H), F the share of flagged images, H that of the held-out patients who would be flagged
    if each were judged by the others; evident copies need no such comparison and are the least.

    Source: Clopper and Pearson's intervals (Biometrika 1934) of both, put together as in Newcombe's method 10
    (Statistics in Medicine 1998), with these limits in the place of Wilson's.
    """
    share, surely, chance = flagged / judged, evident / judged, rule.held_out_share
    value = min(1.0, max(0.0, surely, (share - chance) / max(1.0 - chance, 1e-9)))
    if judged < MIN_SUBJECTS:
        return value, None
    low, high = clopper_pearson(share, judged)
    least, most = clopper_pearson(chance, max(len(rule.held), 1))
    down, up = np.hypot(share - low, most - chance), np.hypot(high - share, chance - least)
    lower, upper = clopper_pearson(surely, judged)
    return value, (min(value, max(lower, share - chance - down)), min(1.0, max(value, upper, share - chance + up)))


def clopper_pearson(share: float, n: float) -> Interval:
    """95% interval of a share of n; the count need not be whole."""
    from scipy.stats import beta

    count = share * n
    low = float(beta.ppf(0.025, count, n - count + 1)) if count > 1e-9 else 0.0
    high = float(beta.ppf(0.975, count + 1, n - count)) if n - count > 1e-9 else 1.0
    return low, high


def verdict(exact: int, evident: int, p_by_chance: float, material: bool) -> Verdict:
    """copies: one that is the same picture, two evident ones, or surely more than 1% of the images where chance does
    not explain which patients are approached; suspicious: one of these alone."""
    if exact or evident > 1 or (material and p_by_chance < SURE):
        return "copies"
    return "suspicious" if evident or material or p_by_chance < CHANCE else "clean"


def _told(synthetic: Sample, pool: Pool, near: Nearest, rule: Rule, exact: Bools, doubles: Index) -> dict[str, Any]:
    judged = int(near.judged.sum())
    flagged, scores = rule.flagged | exact, rule.scores.min(1)
    evident = rule.evident | exact
    value, interval = share_of_copies(int(flagged.sum()), int(evident.sum()), judged, rule)
    surely = clopper_pearson(float(flagged.sum()) / judged, judged)[0]
    material = judged >= MIN_SUBJECTS and surely - rule.held_out_share > MATERIAL
    told = verdict(int(exact.sum()), int(evident.sum()), rule.p_by_chance, material)
    if told == "clean" and rule.seen.sum() > 1:
        told = "suspicious"
    channel = rule.scores.argmin(1)
    owner = near.subject[np.arange(len(channel)), channel, 0]
    p = rule.p(rule.minima[rule.training])
    copied: list[dict[str, Any]] = []
    for subject, own, q in zip(rule.training, p, adjusted(p), strict=True):
        theirs = flagged & (owner == subject)
        if theirs.any():
            copied.append({"subject": str(pool.names[subject]), "images": int(theirs.sum()),
                           "evident": bool((evident & theirs).any()), "p": float(own), "q": float(q)})
    details = {
        "verdict": told, "rate": rule.rate, "resolution": 1 / (len(rule.held) + 1),
        "calibration_subjects": len(rule.held), "training_subjects": len(rule.training),
        "left_out": sorted(pool.names[subject] for subject in doubles), "flagged": int(flagged.sum()),
        "expected_subjects": rule.rate * len(rule.training), "p_by_chance": rule.p_by_chance,
        "evident": int(evident.sum()), "exact": int(exact.sum()), "held_out_evident": int(rule.seen.sum()),
        "judged": judged, "flagged_images": [synthetic.ids[i] for i in np.flatnonzero(flagged)[:MOST_LISTED]],
        "copied": sorted(copied, key=lambda one: -one["images"])[:MOST_LISTED],
        "pairs": [_pair(synthetic, pool, near, i, int(channel[i]), p=float(rule.p(scores[i:i + 1])[0]),
                        flagged=bool(flagged[i]))
                  for i in np.argsort(scores, kind="stable")[:WORST] if np.isfinite(scores[i])]}
    caveat = _caveat(details, len(near.view) - judged)
    return {"value": value, "interval": interval, "floor": 0.0, "details": details | {"caveat": caveat},
            "caveat": caveat}


def _pair(synthetic: Sample, pool: Pool, near: Nearest, i: int, channel: int, **more: Any) -> dict[str, Any]:
    """What the i-th image is nearest to in a channel."""
    return {"synthetic": synthetic.ids[i], "real": pool.ids[near.row[i, channel]], "channel": CHANNELS[channel],
            "view": view_name(int(near.view[i]) if channel else 0),
            "distance": float(near.distance[i, channel, 0]), **more}


def _caveat(details: dict[str, Any], empty: int) -> str:
    notes = [f"calibrated by {counted(details['calibration_subjects'], 'held-out subject')}: an innocent training "
             f"patient would be flagged with a probability below {details['rate']:.1%}"]
    if details["rate"] > TARGET:
        notes.append(f"too few for a rate of {TARGET:.0%}, which takes as many as {round(1 / TARGET) - 1}")
    if details["left_out"]:
        notes.append(f"{counted(len(details['left_out']), 'held-out subject')} left out whose images are in train too")
    if details["held_out_evident"]:
        notes.append(f"{counted(details['held_out_evident'], 'image')} evidently copied from held-out patients: "
                     "the generator has seen them, or they are in two splits, or chance")
    if empty:
        notes.append(f"{counted(empty, 'image')} not judged, which show too little")
    return "; ".join([*notes, _BLIND])


# ---- test against training images

def _leaked(test: Sample, pool: Pool, reference: Reference) -> tuple[dict[str, Any], Index]:
    """Value, interval and details; and the numbers of the held-out subjects, of val too, who are in train as well.

    Real against real needs no other scale than that of near-duplicates in `prepare`.
    """
    rows = pool.rows[pool.held_out[pool.subjects[pool.rows]]]
    owner = pool.subjects[rows]
    if not len(rows):
        return {"caveat": _EMPTY}, np.zeros(0, np.intp)
    near, done = [], 0
    for images in pool.parts(rows):
        near.append(reference.pictures.nearest(small(images), owner[done:done + len(images)]))
        done += len(images)
    subject, place, distance, view = (np.concatenate([getattr(part, name) for part in near])
                                      for name in ("subject", "row", "distance", "view"))
    usual = distance[:, min(1, distance.shape[1] - 1)]
    enough = len(reference.pictures.subjects) >= FEWEST_SUBJECTS
    training = ~pool.held_out[subject] & np.isfinite(distance)
    first, n = training.argmax(1), np.arange(len(rows))
    nearest_training = np.where(training.any(1), distance[n, first], np.inf)
    copies = nearest_training < (far_nearer_than_usual(usual) if enough else IDENTICAL)
    doubles = np.unique(owner[copies])
    of_test = np.isin(rows, np.arange(pool.ends[0], pool.ends[1]))
    shares = [float(copies[owner == one].mean()) for one in np.unique(owner[of_test])]
    if not shares:
        return {"caveat": _EMPTY}, doubles
    leaked, same = copies & of_test, nearest_training < IDENTICAL
    worst = [i for i in np.argsort(nearest_training, kind="stable") if of_test[i] and np.isfinite(nearest_training[i])]
    value = float(np.mean(shares))
    details = {
        "verdict": verdict(int((leaked & same).sum()), int(leaked.sum()), 1.0, False), "flagged": int(leaked.sum()),
        "judged": int(of_test.sum()), "flagged_images": [pool.ids[row] for row in rows[leaked]][:MOST_LISTED],
        "copied": [{"subject": pool.names[one]} for one in np.unique(owner[leaked])][:MOST_LISTED],
        "pairs": [{"test": pool.ids[rows[i]], "real": pool.ids[reference.rows[place[i, first[i]]]],
                   "channel": "pixels", "view": view_name(int(view[i, first[i]])),
                   "distance": float(nearest_training[i]), "flagged": bool(copies[i])} for i in worst[:WORST]]}
    interval = clopper_pearson(value, len(shares)) if len(shares) >= MIN_SUBJECTS else None
    return {"value": value, "interval": interval, "floor": 0.0, "details": details}, doubles
