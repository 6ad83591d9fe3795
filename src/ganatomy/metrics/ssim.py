"""SSIM of unpaired images: held-out images against generated ones, beside the same between different real patients."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganatomy.metrics.base import MIN_SUBJECTS, Images, MetricResult, Sample, Samples
from ganatomy.metrics.resampling import BOOTSTRAPS, Array, bootstrap_interval, multinomial_weights

ORDER = 2
NAME = "SSIM"
DATA_RANGE = 2.0  # from -1 to 1, whatever the images hold
_MOST_PAIRS, _FEWEST_PAIRS, _PIXELS = 1000, 200, 6_000_000
_BATCH_PIXELS = 65_536  # larger batches leave the processor's cache
_CAVEAT = "rises with blur and with empty background: it should match the figure between real patients, never beat it"


def ssim(a: Images, b: Images) -> Array:
    """Structural similarity of images pairwise: Gaussian window of sigma 1.5, mirrored edges, a fixed range of 2.

    Args:
        a, b: [n, c, s, s] in [-1, 1].

    Returns:
        [n], at most 1.

    Source: Wang et al., IEEE Trans. Image Processing 2004, eq. 13.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    batch = max(1, _BATCH_PIXELS // a[0].size)
    values = []
    with torch.inference_mode():
        for i in range(0, len(a), batch):
            pair = (torch.from_numpy(np.ascontiguousarray(x[i:i + batch])) for x in (a, b))
            found = structural_similarity_index_measure(*pair, data_range=DATA_RANGE, reduction="none")
            values.append(found.reshape(-1))
    result: Array = torch.cat(values).double().numpy()
    return result


def number_of_pairs(n_images: int, pixels: int) -> int:
    """How many pairs to compare: up to eight an image, and fewer for large images."""
    affordable = max(_FEWEST_PAIRS, min(_MOST_PAIRS, _PIXELS // pixels))
    return min(8 * n_images, affordable)


def compute(samples: Samples) -> list[MetricResult]:
    """SSIM of held-out (and of training) images against generated ones, beside the real-real figure."""
    return [_result(samples, against, real) for against, real in samples.real()]


def held_out(samples: Samples) -> MetricResult:
    """SSIM of the held-out images, `samples.test`, alone; the same figure as `compute` gives against test."""
    return _result(samples, "test", samples.test)


def _result(samples: Samples, against: str, real: Sample) -> MetricResult:
    rng = np.random.default_rng((samples.seed, 6))
    pairs = number_of_pairs(real.n_images, int(np.prod(real.images.shape[1:])))
    first = np.resize(rng.permutation(real.n_images), pairs)
    second = rng.integers(samples.synthetic.n_images, size=pairs)
    values = ssim(real.images[first], samples.synthetic.images[second])
    value, interval = _summary(values, real.subjects[first], samples.seed)
    extra: dict[str, Any] = {"interval": interval}
    if not samples.control:
        reference = _reference(samples, against, first, rng)
        extra |= {"reference": reference}
        if reference:
            extra |= {"floor": reference["value"], "floor_interval": reference["interval"],
                      "ratio": value / reference["value"] if reference["value"] else None}
        if real.n_subjects < MIN_SUBJECTS:
            extra["per_subject"] = {name: float(values[real.subjects[first] == i].mean())
                                    for i, name in enumerate(real.names) if i in real.subjects[first]}
    caveat = f"{_caveat(extra, samples.control)}; {pairs} pairs"
    return MetricResult(NAME, against, value, real.n_images, real.n_subjects, samples.synthetic.n_images, "match",
                        caveat=caveat, ranked=False, **extra)


def _summary(values: Array, subjects: NDArray[np.intp], seed: int) -> tuple[float, tuple[float, float] | None]:
    """Mean over pairs, and its interval over the subjects of the first images."""
    _, numbers = np.unique(subjects, return_inverse=True)
    sums, counts = np.bincount(numbers, weights=values), np.bincount(numbers)
    value = float(values.mean())
    if len(counts) < MIN_SUBJECTS:
        return value, None
    weights = multinomial_weights(len(counts), BOOTSTRAPS, np.random.default_rng((seed, 7)))
    return value, bootstrap_interval(value, (weights @ sums) / (weights @ counts), len(counts))


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
        other, second = real, _other_subjects(real, first, rng)
        what = f"{against} images of different patients"
    else:
        return None
    values = ssim(real.images[first], other.images[second])
    value, interval = _summary(values, real.subjects[first], samples.seed)
    return {"what": what, "value": value, "interval": interval, "pairs": len(first)}


def _other_subjects(real: Sample, first: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    second = rng.integers(real.n_images, size=len(first))
    while (same := real.subjects[first] == real.subjects[second]).any():
        second[same] = rng.integers(real.n_images, size=np.count_nonzero(same))
    return second


def _caveat(extra: dict[str, Any], control: bool) -> str:
    if not control and extra["reference"] is None:
        return f"{_CAVEAT}; here there are no two real patients to compare, so it cannot be read"
    return _CAVEAT
