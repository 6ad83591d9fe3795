"""One rule for a fault: a permutation of subjects between real and synthetic images, and a least effect.

The spread over halvings of the same subjects is no test: it says how far two halves of these patients are apart, not
what chance does with other patients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ganatomy.metrics.schema import Result
from ganatomy.statistics.resampling import Array
from ganatomy.statistics.subjects import Grouped, Index, Points, one_each

PERMUTATIONS = 499
LEVEL = 0.01  # of each check: a question has up to four, and a perfect generator should rarely meet an alarm
MOST_IMAGES = 500  # synthetic ones that are exchanged
_DRAWS = 10  # of one image a subject, and of as many synthetic images as real ones
_ROUNDING = 1e-12  # relative: the value itself must count as reached

Values = Callable[[Array], Array]  # of labels [draws, units], 1 for real and 0 for synthetic: [draws]
Grouping = Grouped | Points


@dataclass(frozen=True)
class Permuted:
    """What a permutation test gives.

    Attributes:
        p: the share of permutations that reach the value, itself counted; over several draws twice their median, which
            is valid whatever their dependence (Meinshausen, Meier and Buehlmann, JASA 2009, with gamma = 1/2).
        value: the mean over draws.
        chance: its mean over the permutations: what it would be were there no difference.
        n_images: real images at a time.
    """

    p: float
    value: float
    chance: float
    n_images: int

    def fields(self) -> dict[str, Any]:
        """Of a `Result`."""
        return {"p_no_difference": self.p,
                "exchanged": {"value": self.value, "chance": self.chance, "n_images": self.n_images}}


def permuted(real: Grouping, synthetic: Grouping, measure: Callable[[Index, Index], Values], rng: np.random.Generator,
             *, whole: bool = False, equal: bool = False, below: bool = False) -> Permuted:
    """Exchange subjects between the samples.

    A patient of five slices can be exchanged neither for five synthetic images, which are independent of each other,
    nor for one: one image a subject is drawn, ten times, and every draw is a test that is exact by itself.

    Args:
        real, synthetic: at least two subjects each; of more than 500 that have one image each, 500 are drawn.
        measure: prepares the rows drawn of both: each a unit, those of `real` first.
        rng: of draws and permutations.
        whole: where all subjects of both samples have as many images, exchange them with all of these.
        equal: as many units on both sides, drawn anew as well.
        below: a small value is a fault, not a large one.
    """
    sides = real, synthetic
    whole = whole and len(set(np.bincount(real.subjects)) | set(np.bincount(synthetic.subjects))) == 1
    several = [not whole and one.n_subjects < one.n_images for one in sides]
    rows = [rng.choice(one.n_images, MOST_IMAGES, replace=False) if one.n_subjects == one.n_images > MOST_IMAGES
            and not equal else np.arange(one.n_images) for one in sides]
    sizes = [min(one.n_subjects, len(own)) for one, own in zip(sides, rows, strict=True)]
    if equal:
        sizes = [min(*sizes, MOST_IMAGES)] * 2
    anew = any(several) or (sum(sizes) < sum(one.n_subjects for one in sides) and equal)
    sign, tests = -1 if below else 1, []
    for _ in range(_DRAWS if anew else 1):
        taken = [one_each(one.subjects, rng) if more else own
                 for one, more, own in zip(sides, several, rows, strict=True)]
        if equal:
            taken = [rng.permutation(own)[:size] for own, size in zip(taken, sizes, strict=True)]
        labels = np.zeros((PERMUTATIONS + 1, sum(sizes)))
        labels[:, :sizes[0]] = 1
        labels[1:] = rng.permuted(labels[1:], axis=1)
        values = sign * measure(*taken)(labels)
        reached = np.count_nonzero(values[1:] >= values[0] - _ROUNDING * abs(values[0]))
        tests.append(((1 + reached) / (1 + PERMUTATIONS), values[0], values[1:].mean()))
    _, value, chance = map(float, np.mean(tests, axis=0))
    p = float(np.quantile([test[0] for test in tests], 0.5, method="inverted_cdf"))
    value, chance = (sign * one + 0.0 for one in (value, chance))  # no -0.0
    return Permuted(min(1.0, 2 * p) if anew else p, value, chance, sizes[0])


def significant(result: Result, least: float) -> bool:
    """Whether a fault is shown: the test at 1%, and at least so far from what chance gives."""
    one, p = result.exchanged, result.p_no_difference
    return one is not None and p is not None and p <= LEVEL and abs(one.value - one.chance) >= least
