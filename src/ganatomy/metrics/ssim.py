"""SSIM of unpaired images: held-out images against generated ones, beside the same between different real patients."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.metrics.base import MIN_SUBJECTS, About, Result, Sample, Samples
from ganatomy.metrics.similarity import DATA_RANGE, ssim
from ganatomy.statistics.resampling import Array, pair_variance, student

__all__ = ["DATA_RANGE", "compute", "held_out", "ssim"]

ORDER = 2
ABOUT = (
    About("SSIM", "Mean structural similarity of pairs of images. Should match that of real pairs; blur and empty "
          "background raise it.", "realistic", "match"),
)
_MOST_PAIRS, _FEWEST_PAIRS, _PIXELS = 1000, 200, 6_000_000
NOTHING = 0.01  # images that have less in common have nothing in common, and a ratio to that says nothing
_CAVEAT = "rises with blur and with empty background: it should match the figure between real patients, never beat it"


def number_of_pairs(n_images: int, pixels: int) -> int:
    """How many pairs to compare: up to eight an image, and fewer for large images."""
    affordable = max(_FEWEST_PAIRS, min(_MOST_PAIRS, _PIXELS // pixels))
    return min(8 * n_images, affordable)


def compute(samples: Samples) -> list[Result]:
    """SSIM of held-out (and of training) images against generated ones, beside the real-real figure.

    Black counts as 0 (see `similarity.ssim`). Intervals are over the subjects and the synthetic images of the pairs.
    """
    return [_result(samples, against, real) for against, real in samples.real()]


def held_out(samples: Samples) -> Result:
    """SSIM of the held-out images, `samples.test`, alone; the same figure as `compute` gives against test."""
    return _result(samples, "test", samples.test)


def _result(samples: Samples, against: str, real: Sample) -> Result:
    rng = np.random.default_rng((samples.seed, 6))
    pairs = number_of_pairs(real.n_images, int(np.prod(real.images.shape[1:])))
    first = np.resize(rng.permutation(real.n_images), pairs)
    second = rng.integers(samples.synthetic.n_images, size=pairs)
    values = ssim(real.images[first], samples.synthetic.images[second])
    value = float(values.mean())
    extra: dict[str, Any] = {"interval": interval(values, (real, first), (samples.synthetic, second))}
    if not samples.control:
        reference = _reference(samples, against, first, rng)
        extra |= {"reference": reference}
        if reference:
            extra |= {"floor": reference["value"], "floor_interval": reference["interval"],
                      "ratio": value / reference["value"] if reference["value"] > NOTHING else None}
        if real.n_subjects < MIN_SUBJECTS:
            extra["per_subject"] = {name: float(values[real.subjects[first] == i].mean())
                                    for i, name in enumerate(real.names) if i in real.subjects[first]}
    caveat = f"{_caveat(extra, samples.control)}; {pairs} pairs"
    return samples.result("SSIM", against, value, "match", caveat=caveat, ranked=False, **extra)


def interval(values: Array, one: tuple[Sample, NDArray[np.intp]],
             other: tuple[Sample, NDArray[np.intp]]) -> tuple[float, float] | None:
    """95% of a mean over pairs, over the subjects on both sides (each a sample and its rows); None below five.

    A synthetic image is a subject of its own.
    """
    (a, first), (b, second) = one, other
    fewest = min(len(np.unique(s.subjects[rows])) for s, rows in (one, other))
    if fewest < MIN_SUBJECTS:
        return None
    variance = pair_variance(values, a.subjects[first], b.subjects[second], same=a is b)
    return student(float(values.mean()), float(np.sqrt(variance)), fewest)


def _reference(samples: Samples, against: str, first: NDArray[np.intp],
               rng: np.random.Generator) -> dict[str, Any] | None:
    """The same images, each against one of another real patient, on the same number of pairs."""
    real = samples.test if against == "test" else samples.train
    if real is None:
        return None
    if against == "test" and samples.train is not None:  # no patient is in both
        other, second = samples.train, rng.integers(samples.train.n_images, size=len(first))
        what = "test against train images: different patients"
    elif real.n_subjects > 1:
        other, second = real, of_other_subjects(real, first, rng)
        what = f"{against} images of different patients"
    else:
        return None
    values = ssim(real.images[first], other.images[second])
    return {"what": what, "value": float(values.mean()), "interval": interval(values, (real, first), (other, second)),
            "pairs": len(first)}


def of_other_subjects(real: Sample, first: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    """For each of these rows one of another subject, drawn at random; there must be two subjects."""
    second = rng.integers(real.n_images, size=len(first))
    while (same := real.subjects[first] == real.subjects[second]).any():
        second[same] = rng.integers(real.n_images, size=np.count_nonzero(same))
    return second


def _caveat(extra: dict[str, Any], control: bool) -> str:
    if not control and extra["reference"] is None:
        return f"{_CAVEAT}; here there are no two real patients to compare, so it cannot be read"
    return _CAVEAT
