"""Grey values (Histogram), and mean profiles, as histograms and spectra are: how far two averages are apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ganatomy.metrics.base import MIN_SUBJECTS, POSITIVE, SHARE, About, Images, Result, Sample, Samples
from ganatomy.metrics.floors import noise_floor
from ganatomy.metrics.permutation import Values, permuted, significant
from ganatomy.statistics.resampling import BOOTSTRAPS, Array, bootstrap_interval, multinomial_weights
from ganatomy.statistics.subjects import Index, Points, clipped, one_each

ORDER = 14
NAME = "Histogram"
ABOUT = (
    About(NAME, "How far apart the grey values of real and generated images are, on the grey scale.", "realistic",
          "lower", span=SHARE),
)
LEVELS = 256
LEAST = 0.005  # of the grey range: a smaller difference matters to nobody
_DRAWN = 64  # grey levels of the curves in `details`
_CAVEAT = "the mean difference of grey values, in shares of the grey range; says nothing about where they are"
MOST_IMAGES = 2000
LOW, HIGH = 0.8, 1.25  # a ratio to real images between them matters to nobody
_CHUNK_VALUES = 2**22  # pixels read at a time

Distance = Callable[[Array, Array], Array]


def chosen_rows(n: int, stream: int, seed: int, most: int = MOST_IMAGES) -> NDArray[np.intp]:
    """All numbers below `n`, or `most` of them drawn at random, ascending."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng((seed, stream)).choice(n, most, replace=False)).astype(np.intp)


def drawn(sample: Sample, what: str, most: int = MOST_IMAGES) -> str:
    """What to say if not all images are used."""
    return "" if sample.n_images <= most else f"{most:,} of {sample.n_images:,} {what} images, drawn at random"


def joined(*parts: str) -> str:
    """The parts of a caveat that are not empty, as one."""
    return "; ".join(part for part in parts if part)


def chunks(sample: Sample, rows: NDArray[np.intp]) -> Iterator[Images]:
    """The images of these rows, a few at a time: float32 [k, c, s, s]."""
    step = max(1, _CHUNK_VALUES // max(1, int(np.prod(sample.images.shape[1:]))))
    for start in range(0, len(rows), step):
        yield sample.images[rows[start:start + step]]


def block_means(images: NDArray[Any], side: int) -> NDArray[Any]:
    """Images [..., s, s] as means of at most `side` x `side` blocks, which differ by a pixel where s is no multiple."""
    for axis in (-2, -1):
        size = images.shape[axis]
        starts = np.linspace(0, size, min(size, side), endpoint=False).astype(np.intp)
        widths = np.diff(starts, append=size).astype(images.dtype)
        images = np.add.reduceat(images, starts, axis) / (widths[:, None] if axis == -2 else widths)
    return images


@dataclass(frozen=True)
class Profiles:
    """A profile of every image, and how images belong to subjects.

    values [n, k]; subjects [n], the number of each image's subject, 0 to len(names) - 1; names of the subjects.
    """

    values: Array
    subjects: NDArray[np.intp]
    names: tuple[str, ...]

    @classmethod
    def of(cls, values: Array, sample: Sample, rows: NDArray[np.intp]) -> Profiles:
        """Those of some rows of a sample: subjects without a row are left out."""
        present, numbers = np.unique(sample.subjects[rows], return_inverse=True)
        return cls(values, numbers.astype(np.intp), tuple(sample.names[s] for s in present))

    def mean(self, weights: Array | None = None) -> Array:
        """The mean over images [1, k], or one for each row of subject weights [draws, S]: [draws, k]."""
        if weights is None:
            return np.asarray(self.values.mean(0, keepdims=True))
        per_image = weights[:, self.subjects]
        return np.asarray(per_image @ self.values / per_image.sum(1, keepdims=True))


def compare(name: str, against: str, real: Profiles, synthetic: Profiles, distance: Distance, seed: int,
            evidence: bool = True, **fields: Any) -> Result:
    """The distance between two mean profiles, lower is better, with interval, floor and paired difference.

    A distance between means is biased upward: therefore the floor, half of the real subjects against the other half,
    one image of each. Whether there is a difference the permutation test says.

    Args:
        name, against, fields: as in `Result`.
        real, synthetic: at least one image each.
        distance: of rows of means [draws, k], [draws, k] (either may have one row): [draws].
        seed: of halvings and weights.
        evidence: whether to compute the floor and, below five subjects, the distance of each.
    """
    value, subjects = float(distance(real.mean(), synthetic.mean())[0]), len(real.names)
    extra: dict[str, Any] = {}
    if subjects >= MIN_SUBJECTS:
        extra["interval"] = _interval(value, real, synthetic, distance, seed)
    if evidence and subjects >= MIN_SUBJECTS:
        extra |= _floor(real, synthetic, distance, seed) | _tested(real, synthetic, distance, seed)
    elif evidence:
        each = distance(real.mean(np.eye(subjects)), synthetic.mean())
        extra["per_subject"] = dict(zip(real.names, each.tolist(), strict=True))
    return Result(name=name, against=against, value=value, n_images=len(real.values), n_subjects=subjects,
                  n_synthetic=len(synthetic.values), better="lower", **extra, **fields)


def _interval(value: float, real: Profiles, synthetic: Profiles, distance: Distance,
              seed: int) -> tuple[float, float] | None:
    rng = np.random.default_rng((seed, 400))
    draws = distance(*(p.mean(multinomial_weights(len(p.names), BOOTSTRAPS, rng)) for p in (real, synthetic)))
    return clipped(bootstrap_interval(value, draws, min(len(real.names), max(2, len(synthetic.names)))), POSITIVE)


def _tested(real: Profiles, synthetic: Profiles, distance: Distance, seed: int) -> dict[str, Any]:
    """The test of no difference: means of one image a subject."""
    x, y = (Points(p.values, p.subjects) for p in (real, synthetic))

    def measure(rows: Index, columns: Index) -> Values:
        values = np.concatenate([real.values[rows], synthetic.values[columns]])
        return lambda labels: distance(labels @ values / labels.sum(1, keepdims=True),
                                       (1 - labels) @ values / (1 - labels).sum(1, keepdims=True))

    return permuted(x, y, measure, np.random.default_rng((seed, 403))).fields()


def _floor(real: Profiles, synthetic: Profiles, distance: Distance, seed: int) -> dict[str, Any]:
    """Halves of one image a subject: many images of few patients are farther apart than as many independent ones."""
    rng = np.random.default_rng((seed, 402))

    def half(chosen: Array, most: int) -> Array:
        means = np.empty((len(chosen), real.values.shape[1]))
        for row, weights in enumerate(chosen):
            rows = one_each(real.subjects, rng)[weights > 0]
            means[row] = real.values[rows if len(rows) <= most else rng.choice(rows, most, replace=False)].mean(0)
        return means

    def between(a: Array) -> Array:
        return distance(half(a, len(real.values)), half(1 - a, len(synthetic.values)))

    def score(a: Array, chosen: Array) -> Array:
        return distance(half(a, len(real.values)), chosen @ synthetic.values / chosen.sum(1, keepdims=True))

    points = Points(real.values, real.subjects)
    return noise_floor(points, len(synthetic.values), between, score, seed, one_each=True).fields()


def reference(samples: Samples, against: str, train: Profiles | None, test: Profiles,
              distance: Distance) -> dict[str, Any] | None:
    """The same distance between real train and real test, beside the figure against test."""
    if against != "test" or train is None:
        return None
    between = compare("", "", test, train, distance, samples.seed, evidence=False)
    return {"what": "real train against real test", "value": between.value, "interval": between.interval,
            "n_images": len(train.values)}


def ratio_off(result: Result) -> Literal["", "low", "high"]:
    """Whether a ratio to real images is surely off: below 0.8 or above 1.25, with its interval on that side of 1."""
    ratio, interval = result.ratio, result.ratio_interval
    if ratio is None or interval is None:
        return ""
    if ratio < LOW and interval[1] < 1:
        return "low"
    return "high" if ratio > HIGH and interval[0] > 1 else ""


def histograms(images: Images) -> Array:
    """Share of each image's pixels at each of 256 grey levels, -1 to 1, values rounded: [n, c, s, s] -> [n, c, 256]."""
    n, c = images.shape[:2]
    levels = np.clip((images + 1) * ((LEVELS - 1) / 2) + 0.5, 0, LEVELS - 1).astype(np.intp).reshape(n * c, -1)
    levels += np.arange(n * c)[:, None] * LEVELS
    counts = np.bincount(levels.ravel(), minlength=n * c * LEVELS).reshape(n, c, LEVELS)
    return np.asarray(counts / (images.shape[2] * images.shape[3]))


def wasserstein(a: Array, b: Array) -> Array:
    """The 1-Wasserstein distance between histograms, in shares of the grey range (0 to 1); over channels their mean.

    On a line it is the area between the two distribution functions (Villani, Topics in Optimal Transportation, 2003,
    eq. 2.48). Shares are [draws, c * 256], either with one row; the distances [draws].
    """
    difference = (a - b).reshape(max(len(a), len(b)), -1, LEVELS)
    area: Array = np.abs(difference.cumsum(-1)[..., :-1]).sum(-1) / (LEVELS - 1)
    return np.asarray(area.mean(-1))


def compute(samples: Samples) -> list[Result]:
    """The distance of grey values between synthetic images and test, and train."""
    synthetic, results = _profiles(samples.synthetic, samples.seed), []
    real = {against: _profiles(sample, samples.seed) for against, sample in samples.real()}
    for against, sample in samples.real():
        own = real[against]
        fields: dict[str, Any] = {}
        if not samples.control:
            fields = {"reference": reference(samples, against, real.get("train"), own, wasserstein),
                      "details": _details(own.mean()[0], synthetic.mean()[0])}
        caveat = joined(_CAVEAT, drawn(sample, "real"), drawn(samples.synthetic, "synthetic"))
        results.append(compare(NAME, against, own, synthetic, wasserstein, samples.seed, not samples.control,
                               caveat=caveat, **fields))
    return results


def _profiles(sample: Sample, seed: int) -> Profiles:
    rows = chosen_rows(sample.n_images, 401, seed)
    values = [histograms(chunk).reshape(len(chunk), -1) for chunk in chunks(sample, rows)]
    return Profiles.of(np.concatenate(values), sample, rows)


def _details(real: Array, synthetic: Array) -> dict[str, Any]:
    """Curves for a plot, over all channels: shares of the pixels at 64 grey levels, and what the means are.

    `grey` is the middle of each level from 0 (black) to 1 (white); `brighter` the synthetic mean less the real one, in
    shares of the grey range; `channels` the distance of each channel.
    """
    levels = np.arange(LEVELS) / (LEVELS - 1)
    both = {"real": real.reshape(-1, LEVELS), "synthetic": synthetic.reshape(-1, LEVELS)}
    curves = {key: x.mean(0).reshape(_DRAWN, -1).sum(1).tolist() for key, x in both.items()}
    return {"grey": levels.reshape(_DRAWN, -1).mean(1).tolist(), **curves,
            "brighter": float((both["synthetic"].mean(0) - both["real"].mean(0)) @ levels),
            "channels": [float(wasserstein(r[None], s[None])[0]) for r, s in zip(*both.values(), strict=True)]}


def fault(result: Result) -> str:
    """That grey values are off: by the permutation test, and by at least 0.5% of the grey range more than by chance."""
    if not significant(result, LEAST):
        return ""
    brighter = (result.details or {}).get("brighter") or 0.0
    how = ""
    if abs(brighter) >= LEAST:
        how = f", on average {abs(brighter):.1%} {'brighter' if brighter > 0 else 'darker'}"
    return f"Grey values are off by {result.value:.1%} of the grey range{how}."
