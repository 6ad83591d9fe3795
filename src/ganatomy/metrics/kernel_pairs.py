"""KD-Lite0 of translated images against real ones of the target's contrast, where both may be of the same patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganatomy.metrics.base import MIN_SUBJECTS, Result, Sample
from ganatomy.metrics.kernel import Blocks
from ganatomy.statistics.resampling import BOOTSTRAPS, Array, between_mean, bootstrap_interval, multinomial_weights

ONE_SUBJECT = "one subject only: its slices stand in for subjects"
TOO_HIGH = "and are nearer to each other than those of several, so the figure is too high"


@dataclass(frozen=True)
class _People:
    """Who the subjects of two samples are, numbered jointly.

    Attributes:
        blocks: the kernel over pairs of subjects; the images of a sample of one subject stand in for subjects.
        x, y: of each row and column of the blocks, the person's number: [S], [T].
        count: how many persons there are in both together.
        apart: pairs of a row and a column that count, [S, T]: 1 of different persons, 0 of one.
    """

    blocks: Blocks
    x: NDArray[np.intp]
    y: NDArray[np.intp]
    count: int
    apart: Array

    @classmethod
    def of(cls, real: Sample, made: Sample) -> _People:
        blocks = Blocks.of(real, made)
        number = {name: i for i, name in enumerate(dict.fromkeys((*real.names, *made.names)))}
        x, y = (np.array([number[name] for name in (sample.names if sample.n_subjects > 1
                                                    else sample.names * sample.n_images)], np.intp)
                for sample in (real, made))
        apart = (x[:, None] != y[None]).astype(np.float64)
        if not apart.any():  # one person in all: of the same slices, pairs of one slice are left out instead
            apart = 1 - np.eye(len(x)) if len(x) == len(y) else np.ones_like(apart)
        return cls(blocks, x, y, len(number), apart)

    def distance(self, weights: Array) -> Array:
        """Squared MMD over pairs of different persons, for weights of the persons [draws, count]: [draws]."""
        blocks, wx, wy = self.blocks, weights[:, self.x], weights[:, self.y]
        sums = ((wx @ (blocks.xy * self.apart)) * wy).sum(1)
        pairs = ((wx @ (np.outer(blocks.nx, blocks.ny) * self.apart)) * wy).sum(1)
        cross = np.divide(sums, pairs, out=np.full(len(weights), np.nan), where=pairs > 0.5)
        within = between_mean(blocks.xx, blocks.nx, wx) + between_mean(blocks.yy, blocks.ny, wy)
        found: Array = within - 2 * cross
        return found


def translated_distance(real: Sample, made: Sample, seed: int = 0) -> Result:
    """Squared MMD between real images and translations, some or all of which may be of the same patients.

    A translation and a real image of one patient would seem nearer than two independent images are. Pairs of one
    person are left out of all three terms, so that independent translations have the same expectation.

    Args:
        real: images of the target's contrast.
        made: translations, of the same slices in the same order or of others. Subjects of the same name are the same
            person.
        seed: of the bootstrap over persons, which draws a person with all its images, real and translated.

    Returns:
        The figure; without interval where either sample has fewer than five subjects. The images of a sample of one
        subject stand in for subjects; if both are of that one, pairs of one slice are left out instead.
    """
    people = _People.of(real, made)
    value, interval = float(people.distance(np.ones((1, people.count)))[0]), None
    fewest = min(real.n_subjects, made.n_subjects)
    if fewest >= MIN_SUBJECTS:
        draws = people.distance(multinomial_weights(people.count, BOOTSTRAPS, np.random.default_rng((seed, 12))))
        interval = bootstrap_interval(value, draws, fewest)
    caveat = "" if fewest > 1 else ONE_SUBJECT if real.names == made.names else f"{ONE_SUBJECT} {TOO_HIGH}"
    return Result(name=real.extractor.metric("KD"), value=value, n_images=real.n_images, n_subjects=real.n_subjects,
                  n_synthetic=made.n_images, interval=interval, caveat=caveat)


def real_distance(one: Sample, other: Sample, seed: int = 0) -> dict[str, object] | None:
    """The same figure between real images of two sets of patients, as context.

    None where either has one subject: within a patient it is another quantity than across patients.
    """
    fewest = min(one.n_subjects, other.n_subjects)
    if fewest == 1:
        return None
    blocks = Blocks.of(one, other)
    return {"what": "real train against real test", "value": float(blocks.distance()[0]),
            "interval": None if fewest < MIN_SUBJECTS else blocks.interval(seed), "n_images": other.n_images,
            "n_subjects": other.n_subjects}
