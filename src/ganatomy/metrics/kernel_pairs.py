"""KD-Lite0 of translated images against real ones of the target's contrast, where both may be of the same patients."""

from __future__ import annotations

import numpy as np

from ganatomy.metrics.base import MIN_SUBJECTS, MetricResult, Sample
from ganatomy.metrics.kernel import NAME, Blocks, kernel
from ganatomy.metrics.resampling import (
    BOOTSTRAPS,
    Array,
    between_mean,
    block_sums,
    bootstrap_interval,
    multinomial_weights,
)

ONE_SUBJECT = "one subject only: its slices stand in for subjects"


def translated_distance(real: Sample, made: Sample, seed: int = 0) -> MetricResult:
    """Squared MMD between real images and translations of the same slices, in the same order.

    A translation and its truth are of one patient, and would seem nearer than two independent images are. Pairs of one
    subject are left out of all three terms, so that independent translations have the same expectation.

    Args:
        real: images of the target's contrast.
        made: translations, row by row of the same slices.
        seed: of the bootstrap over subjects, which draws a subject with its truth and its translations.

    Returns:
        The figure; below five subjects without interval. Of one subject, pairs of one slice are left out instead.

    Raises:
        ValueError: samples of different subjects.
    """
    if real.names != made.names or not np.array_equal(real.subjects, made.subjects):
        raise ValueError("real and translated images are not of the same subjects in the same order")
    alone = real.n_subjects == 1
    rows = np.arange(real.n_images) if alone else real.subjects
    counts = np.bincount(rows).astype(np.float64)
    parts = [block_sums(kernel(a.features, b.features), rows, rows)
             for a, b in ((real, real), (made, made), (real, made))]

    def distance(weights: Array) -> Array:
        within_real, within_made, cross = (between_mean(part, counts, weights) for part in parts)
        return within_real + within_made - 2 * cross

    value, interval = float(distance(np.ones((1, len(counts))))[0]), None
    if real.n_subjects >= MIN_SUBJECTS:
        draws = distance(multinomial_weights(len(counts), BOOTSTRAPS, np.random.default_rng((seed, 12))))
        interval = bootstrap_interval(value, draws, len(counts))
    return MetricResult(NAME, "test", value, real.n_images, real.n_subjects, made.n_images, "lower", interval=interval,
                        reference=None, caveat=ONE_SUBJECT if alone else "")


def real_distance(one: Sample, other: Sample, seed: int = 0) -> dict[str, object]:
    """The same figure between real images of two sets of patients: what makes it readable."""
    blocks = Blocks.of(one, other)
    few = min(one.n_subjects, other.n_subjects) < MIN_SUBJECTS
    return {"what": "real train against real test", "value": float(blocks.distance()[0]),
            "interval": None if few else blocks.interval(seed), "n_images": other.n_images,
            "n_subjects": other.n_subjects}
