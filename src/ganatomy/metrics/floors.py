"""What stands beside a value: the noise floor, between two halves of the real subjects at equal n, and controls, images
that are known to be bad and that a metric should place behind a trained model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ganatomy.metrics.base import Images, Sample
from ganatomy.statistics.resampling import HALVINGS, Array, central, halvings
from ganatomy.statistics.subjects import Points

BLUR = 1 / 32  # standard deviation of the blur, share of the image's width
UNTRAINED = "untrained generator"  # its name among the controls
_CHUNK = 2000  # images read at a time


@dataclass(frozen=True)
class Floor:
    """Floor and score of every halving, paired.

    Attributes:
        between: [halvings], the metric between half A and half B.
        score: [halvings], the metric between half A and as many synthetic images as B has.
        n_images: mean number of images of half B.
    """

    between: Array
    score: Array
    n_images: float

    def fields(self) -> dict[str, Any]:
        """Of a `Result`."""
        return {"floor": float(self.between.mean()), "floor_interval": central(self.between),
                "equal_n": {"value": float(self.score.mean()), "n_images": round(self.n_images, 1)}}


def noise_floor(real: Sample | Points, n_synthetic: int, between: Callable[[Array], Array],
                score: Callable[[Array, Array], Array], seed: int, most: int | None = None,
                one_each: bool = False) -> Floor:
    """Halve the subjects at random and measure half against half, and half against synthetic images, at equal n.

    A floor at n / 2 beside a score at n would flatter the model where a metric falls with n, as Frechet's does. The
    spread over halvings is no confidence interval for other subjects.

    Args:
        real: the real sample; at least four subjects.
        n_synthetic: how many synthetic images there are; where half B has more, all of them are used.
        between: from [draws, subjects] (1 for half A, 0 for half B) to D(A, B), [draws].
        score: from the same and [draws, n_synthetic] (1 for a chosen image) to D(A, chosen), [draws].
        seed: of the halvings and choices.
        most: choose no more than this many.
        one_each: a half is one image a subject, so that many images of one patient do not count as many.
    """
    rng = np.random.default_rng((seed, 3))
    a = halvings(real.n_subjects, HALVINGS, rng)
    images = np.ones(real.n_subjects) if one_each else np.bincount(real.subjects).astype(np.float64)
    wanted = np.minimum(((1 - a) @ images).astype(np.intp), min(n_synthetic, most or n_synthetic))
    chosen = np.zeros((len(a), n_synthetic))
    for row, count in zip(chosen, wanted, strict=True):
        row[rng.choice(n_synthetic, count, replace=False)] = 1
    return Floor(between(a), score(a, chosen), float(wanted.mean()))


def controls(real: Sample, n: int, untrained: Images | None, seed: int = 0) -> dict[str, Sample]:
    """The controls by name: mean image, blurred real images and, where given, an untrained generator's images.

    Args:
        real: training images, so that no control has seen the test images.
        n: how many images each has (blurred ones: as many as there are, at most).
        untrained: [n, c, s, s], from a generator that has not been trained.
        seed: of the choice of images to blur.
    """
    samples = {"mean image": mean_image(real, n), "blurred real images": blurred(real, n, seed)}
    if untrained is not None:
        samples[UNTRAINED] = Sample(np.clip(untrained, -1, 1), extractor=real.extractor)
    return samples


def mean_image(real: Sample, n: int) -> Sample:
    """`n` times the mean of the real images: [n, c, s, s]."""
    starts = range(0, real.n_images, _CHUNK)
    total = sum(real.images[i:i + _CHUNK].sum(0, keepdims=True, dtype=np.float64) for i in starts)
    mean = np.asarray(total / real.n_images, np.float32)
    features = np.repeat(real.extractor(mean), n, axis=0)
    return Sample(np.repeat(mean, n, axis=0), None, features, extractor=real.extractor)


def blurred(real: Sample, n: int, seed: int = 0) -> Sample:
    """Up to `n` of the real images under a Gaussian blur of 1/32 of their width (2 px at 64), with their subjects."""
    from scipy.ndimage import gaussian_filter

    if n < real.n_images:
        real = real.take(np.sort(np.random.default_rng((seed, 10)).choice(real.n_images, n, replace=False)))
    sigma = BLUR * real.images.shape[-1]
    images = gaussian_filter(real.images[:], sigma=(0, 0, sigma, sigma), mode="nearest")
    return Sample(images.astype(np.float32), [real.names[s] for s in real.subjects], extractor=real.extractor)
