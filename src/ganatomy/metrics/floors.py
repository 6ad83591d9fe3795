"""The noise floor at equal n: what a metric gives between two halves of the same real subjects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ganatomy.metrics.base import Sample
from ganatomy.statistics.resampling import HALVINGS, Array, central, halvings
from ganatomy.statistics.subjects import Points


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
        """As the fields of a `MetricResult`."""
        difference = self.score - self.between
        return {"floor": float(self.between.mean()), "floor_interval": central(self.between),
                "paired_difference": {"value": float(difference.mean()), "interval": central(difference),
                                      "score_at_equal_n": float(self.score.mean()), "halvings": len(difference),
                                      "n_images": round(self.n_images, 1)}}


def noise_floor(real: Sample | Points, n_synthetic: int, between: Callable[[Array], Array],
                score: Callable[[Array, Array], Array], seed: int, most: int | None = None,
                one_each: bool = False) -> Floor:
    """Halve the subjects at random and measure half against half, and half against synthetic images, at equal n.

    A floor at n / 2 beside a score at n would flatter the model where a metric falls with n, as Frechet's does;
    hence the score is taken again at the floor's n. The spread over halvings describes the halvings of these
    subjects; it is no confidence interval for other subjects.

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
