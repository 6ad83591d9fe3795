"""The noise floor at equal n: whole subjects in each half, and as many synthetic images as the half has."""

from __future__ import annotations

import numpy as np

from ganatomy.metrics.base import Sample
from ganatomy.metrics.floors import noise_floor
from ganatomy.statistics.resampling import (
    between_mean,
    block_sums,
    bootstrap_interval,
    jackknife_groups,
    jackknife_variance,
    multinomial_weights,
    pair_variance,
)


def uneven() -> Sample:
    subjects = [f"s{i}" for i, count in enumerate((1, 5, 2, 4, 3, 6)) for _ in range(count)]
    return Sample(np.zeros((21, 1, 1, 1), np.float32), subjects)


def test_score_uses_as_many_synthetic_images_as_half_b_has() -> None:
    real, counts, seen = uneven(), np.array([1, 5, 2, 4, 3, 6.0]), {}

    def between(a: np.ndarray) -> np.ndarray:
        seen["a"] = a
        return np.zeros(len(a))

    def score(a: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        assert np.array_equal(a, seen["a"])  # the same halvings: differences are paired
        seen["chosen"] = chosen
        return np.arange(len(a), dtype=float)

    fields = noise_floor(real, 30, between, score, seed=0).fields()
    assert seen["a"].shape == (50, 6) and (seen["a"].sum(1) == 3).all()
    assert np.array_equal(seen["chosen"].sum(1), (1 - seen["a"]) @ counts)
    assert fields["equal_n"]["value"] == 24.5
    noise_floor(real, 4, between, score, seed=0)
    assert (seen["chosen"].sum(1) <= 4).all()


def test_block_sums_and_means_over_different_subjects() -> None:
    pairs = np.arange(16.0).reshape(4, 4)
    subjects = np.array([1, 0, 1, 0])
    blocks = block_sums(pairs, subjects, subjects)
    assert np.array_equal(blocks, [[5 + 7 + 13 + 15, 4 + 6 + 12 + 14], [1 + 3 + 9 + 11, 0 + 2 + 8 + 10]])
    mean = between_mean(blocks, np.array([2.0, 2.0]), np.ones((1, 2)))[0]
    assert mean == (4 + 6 + 12 + 14 + 1 + 3 + 9 + 11) / 8
    assert np.isnan(between_mean(blocks, np.array([2.0, 2.0]), np.array([[2.0, 0.0]]))[0])


def test_bootstrap_and_jackknife_know_the_error_of_a_mean() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=40)
    error = values.std(ddof=1) / np.sqrt(40)
    draws = multinomial_weights(40, 4000, rng) @ values / 40
    low, high = bootstrap_interval(float(values.mean()), draws, 40) or (0, 0)
    assert abs((high - low) / 2 / (2.0227 * error) - 1) < 0.05  # Student's t with 39 degrees of freedom
    left_out = np.array([np.delete(values, i).mean() for i in range(40)])
    assert abs(jackknife_variance(left_out) / error**2 - 1) < 1e-9


def test_jackknife_groups_hold_every_subject_once() -> None:
    groups = jackknife_groups(53, np.random.default_rng(0))
    assert len(groups) == 20 and sorted(np.concatenate(groups)) == list(range(53))


def test_intervals_cover_the_mean_of_few_subjects() -> None:
    rng, hits = np.random.default_rng(1), 0
    for _ in range(300):
        values = rng.normal(size=6)
        low, high = bootstrap_interval(float(values.mean()), multinomial_weights(6, 300, rng) @ values / 6, 6) or (1, 0)
        hits += low <= 0 <= high
    assert 0.9 <= hits / 300 <= 0.99


def test_variance_of_a_mean_over_pairs_counts_the_subjects_of_both_sides() -> None:
    rng, means, known = np.random.default_rng(2), {True: [], False: []}, {True: [], False: []}
    for _ in range(400):
        own, other = rng.normal(size=12), rng.normal(size=8)
        first = np.repeat(np.arange(12), 8)
        for same in (True, False):
            second = (first + rng.integers(1, 12, 96)) % 12 if same else np.tile(np.arange(8), 12)
            values = own[first] + (own if same else other)[second]
            means[same].append(values.mean())
            known[same].append(pair_variance(values, first, second, same))
    assert 0.85 < np.mean(known[False]) / np.var(means[False]) < 1.25
    assert 1 < np.mean(known[True]) / np.var(means[True]) < 1.5  # too large by (11 / 10)^2, as a jackknife of pairs is
