"""Duplicates: does the generator make the same image again and again? Judged by how alike real patients are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.features.base import Features
from ganatomy.metrics.appearance import block_means, chosen_rows, chunks, drawn, joined
from ganatomy.metrics.base import MIN_SUBJECTS, SHARE, About, Grave, Result, Sample, Samples
from ganatomy.metrics.prdc import squared_distances
from ganatomy.statistics.resampling import Array, wilson
from ganatomy.statistics.subjects import Index, one_each

NAME = "Duplicates"
ORDER = 13
CONTROLS = False  # blurred real images are no duplicates: there is nothing to rank
ABOUT = (
    About(NAME, "Share of generated images that are all but the same as another generated one.", "diverse", "lower",
          span=SHARE),
)
DULL = 0.3  # a check that allows for so many false alarms shows nothing
RATE = 0.01  # of false alarms, where there are 198 real subjects or more
SURELY = 0.99  # confidence that false alarms stay below `rate_high`
LEAST = 0.05  # share of duplicates beyond false alarms that matters
THUMBNAIL = 16  # pixels a side: noise averages out, and a shift by a pixel or two hardly shows
MOST_GROUPS, MOST_SHOWN = 8, 12
_DRAWS = 20  # of one image a subject, and of parts of the synthetic images
_LEAST_TYPICAL = 1 / 3  # of the real images' typical distance; a sample nearer than that is one heap of duplicates


@dataclass(frozen=True)
class Channels:
    """Distances within a sample by features and by thumbnails, [n, n] each; infinite between images of one subject."""

    distances: tuple[Array, Array]
    subjects: Index
    ids: tuple[str, ...]

    @classmethod
    def of(cls, sample: Sample, centre: Features, seed: int) -> Channels:
        """Of at most 2,000 images, drawn at random; features count by their angles about `centre` [d]."""
        rows = chosen_rows(sample.n_images, 415, seed)
        _, subjects = np.unique(sample.subjects[rows], return_inverse=True)
        small = np.concatenate([block_means(c, THUMBNAIL).reshape(len(c), -1) for c in chunks(sample, rows)])
        angles = sample.features[rows] - centre
        angles /= np.maximum(np.linalg.norm(angles, axis=1, keepdims=True), 1e-12)
        same = subjects[:, None] == subjects[None]
        channels = [np.sqrt(squared_distances(x, x)) for x in (angles, small.astype(np.float64))]
        for distances in channels:
            distances[same] = np.inf
        return cls((channels[0], channels[1]), subjects.astype(np.intp), tuple(sample.ids[row] for row in rows))

    @property
    def typical(self) -> tuple[float, float]:
        """The median of either channel; 0 without two subjects."""
        finite = [d[np.isfinite(d)] for d in self.distances]
        return tuple(float(np.median(x)) if x.size else 0.0 for x in finite)  # type: ignore[return-value]


@dataclass(frozen=True)
class Yardstick:
    """What real images of different subjects say about how near is too near.

    Attributes:
        scale: of either channel: the usual distance of a real image's nearest, in typical distances.
        typical: the real images' typical distances.
        size: how many images are compared at a time, one a subject.
        near: below it an image counts as a duplicate.
        rate, rate_high: false alarms at `near`: what is expected, and what they stay below with 99% confidence.
        share, pairs: of real images, and of pairs of them, below `near`.
    """

    scale: tuple[float, float]
    typical: tuple[float, float]
    size: int
    near: float
    rate: float
    rate_high: float
    share: float
    pairs: float

    @classmethod
    def of(cls, real: Channels, most: int, seed: int) -> Yardstick | None:
        """From the real images, at most `most` at a time; None where they cannot tell (all alike)."""
        from scipy.stats import beta

        typical, rng = real.typical, np.random.default_rng((seed, 416))
        if min(typical) <= 0:
            return None
        subjects = int(real.subjects.max()) + 1
        size = min(subjects, most)
        draws = 1 if len(real.subjects) == subjects == size else _DRAWS
        picks = [rng.permutation(one_each(real.subjects, rng))[:size] for _ in range(draws)]
        usual = [np.median([_nearest(d, p) for p in picks]) / t for d, t in zip(real.distances, typical, strict=True)]
        if min(usual) <= 0:
            return None
        scale = float(usual[0]), float(usual[1])
        together = _combined(real, typical, scale)
        nearest = np.sort(np.concatenate([_nearest(together, p) for p in picks]))
        # nearest images come in pairs, which share their distance: half as many observations stand behind a quantile
        rank, observed = max(1, int(RATE * (size / 2 + 1))), size / 2
        near = float(nearest[(2 * rank - 1) * draws - 1])
        high = float(beta.ppf(SURELY, rank, max(1.0, observed + 1 - rank)))
        pairs = float((together < near).sum() / np.isfinite(together).sum())
        return cls(scale, typical, size, near, rank / (observed + 1), high, float((nearest < near).mean()), pairs)


def _combined(channels: Channels, typical: tuple[float, float], scale: tuple[float, float]) -> Array:
    """The smaller of both channels: [n, n], 1 is what is usual between a real image and its nearest.

    The unit is the sample's own typical distance: blur or low contrast brings all images nearer to each other, which is
    another fault. It is at least a third of the real images', or a generator of one single image would go unnoticed.
    """
    units = [max(own, _LEAST_TYPICAL * real) * s for own, real, s in
             zip(channels.typical, typical, scale, strict=True)]
    smaller: Array = np.minimum(channels.distances[0] / units[0], channels.distances[1] / units[1])
    return smaller


def _nearest(distances: Array, rows: Index) -> Array:
    nearest: Array = distances[np.ix_(rows, rows)].min(1)
    return nearest


def _duplicated(distances: Array, near: float, size: int, seed: int) -> Array:
    """How often each image has a duplicate among `size` - 1 others, as many as of the real images: [n], 0 to 1.

    Parts of that size are drawn until each image has been in at least one.
    """
    n, rng = len(distances), np.random.default_rng((seed, 417))
    hits, times = np.zeros(n), np.zeros(n)
    for _ in range(1 if size >= n else max(1, _DRAWS * size // n)):
        order = rng.permutation(n)
        for start in range(0, n, size):
            rows = order[min(start, n - size):][:size]
            hits[rows] += _nearest(distances, rows) < near
            times[rows] += 1
    share: Array = hits / times
    return share


def compute(samples: Samples) -> list[Result]:
    """The share of synthetic images that have a duplicate among them, judged by test and by train images."""
    return [_result(samples, against, real) for against, real in samples.real()]


def _result(samples: Samples, against: str, real: Sample) -> Result:
    values: dict[str, Any] = {"value": None}
    why = f"needs two synthetic images, and {MIN_SUBJECTS} real subjects to tell how alike patients are"
    if samples.synthetic.n_images >= 2 and real.n_subjects >= MIN_SUBJECTS:
        both = real, samples.synthetic
        # which favours none
        centre = np.mean([s.features[chosen_rows(s.n_images, 415, samples.seed)].mean(0) for s in both], axis=0)
        own, synthetic = (Channels.of(s, centre, samples.seed) for s in both)
        yardstick = Yardstick.of(own, len(synthetic.ids), samples.seed)
        why = "real images of different subjects are the same here, so nothing can be called a copy"
        if yardstick:
            values = _judged(synthetic, yardstick, against, samples.seed)
            why = f"judged with {yardstick.rate:.1%} false alarms among {yardstick.size} images at a time (with " \
                  f"{SURELY:.0%} confidence below {yardstick.rate_high:.1%})"
    caveat = joined(why, drawn(real, "real"), drawn(samples.synthetic, "synthetic"))
    name = samples.extractor.metric(NAME)
    return samples.result(name, against, better="lower", ranked=False, caveat=caveat, **values)


def _judged(synthetic: Channels, yardstick: Yardstick, against: str, seed: int) -> dict[str, Any]:
    """Value, interval (over synthetic images, the yardstick as given), floor, reference and details."""
    together = _combined(synthetic, yardstick.typical, yardstick.scale)
    each = _duplicated(together, yardstick.near, yardstick.size, seed)
    value, n = float(each.mean()), len(each)
    # duplicates come in pairs, so that half as many images are independent
    interval = wilson(value, value * (1 - value) / max(1, n // 2), max(2, n // 2), n)
    expected = (0.0, yardstick.rate_high)
    reference = {"what": f"{against} images of different patients", "value": yardstick.share, "interval": expected,
                 "n_images": yardstick.size}
    close = together < yardstick.near
    details = {"rate": yardstick.rate, "rate_high": yardstick.rate_high, "compared": yardstick.size,
               "groups": _groups(close, synthetic.ids),
               "effective": _effective(close, yardstick) if interval[0] > yardstick.rate_high else None}
    return {"value": value, "interval": interval, "floor": yardstick.share, "floor_interval": expected,
            "reference": reference, "details": details}


def _groups(close: NDArray[np.bool_], ids: tuple[str, ...]) -> list[list[str]]:
    """The ids of the largest groups of duplicates (each of some other of its group), the most typical first."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    number, links = connected_components(csr_array(close), directed=False)[1], close.sum(1)
    order = sorted(range(len(ids)), key=lambda i: -links[i])
    groups: dict[int, list[str]] = {}
    for i in order:
        groups.setdefault(int(number[i]), []).append(ids[i])
    largest = sorted((g for g in groups.values() if len(g) > 1), key=len, reverse=True)[:MOST_GROUPS]
    return [group[:MOST_SHOWN] for group in largest]


def _effective(close: NDArray[np.bool_], yardstick: Yardstick) -> float | None:
    """How many equally likely images would give as many pairs of duplicates; None if more than there are images.

    The reciprocal of the chance that two images are the same (the birthday paradox: Arora, Risteski and Zhang, ICLR
    2018; for unequal chances Simpson's index, Nature 1949), less the share of such pairs among real ones. Rare images
    hardly count, so the generator may know more.
    """
    excess = float(close.sum()) / (len(close) * (len(close) - 1)) - yardstick.pairs
    return round(1 / excess, 1) if excess * len(close) >= 1 else None


def judged(results: Sequence[Result]) -> Result | None:
    """The check that rests on more real subjects: training patients are as good a yardstick as others.

    None where there is none, or where it must allow for so many false alarms that it shows nothing.
    """
    best = max((r for r in results if r.details), key=lambda r: r.n_subjects or 0, default=None)
    return best if best and best.details and best.details["rate_high"] <= DULL else None


def fault(result: Result) -> str:
    """That images are surely repeated: the whole interval is above what false alarms can be, and the share at least 5%
    above what they should be."""
    details = result.details
    if result.value is None or not result.interval or not details:
        return ""
    if result.interval[0] <= details["rate_high"] or result.value < details["rate"] + LEAST:
        return ""
    amount = f", as if there were about {details['effective']:.0f} different images" if details["effective"] else ""
    return Grave(f"{result.value:.0%} of the synthetic images have a near-duplicate among {details['compared']}"
                 f"{amount}.")
