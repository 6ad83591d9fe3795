"""The Frechet distance: known Gaussians on either side of n = d, and what its interval and floor mean."""

from __future__ import annotations

import numpy as np
import pytest

from ganatomy.metrics import frechet
from ganatomy.metrics.base import Sample, Samples
from ganatomy.metrics.frechet import compute, frechet_distance
from tests.metrics.textures import points


def with_moments(n: int, mean: np.ndarray, variances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Features [n, d] whose sample mean and (diagonal, rank n - 1 at most) covariance are exactly these."""
    rank = np.count_nonzero(variances)
    noise = rng.normal(size=(n, rank))
    basis, _ = np.linalg.qr(noise - noise.mean(0))
    out = np.zeros((n, len(variances)))
    out[:, variances > 0] = basis * np.sqrt((n - 1) * variances[variances > 0])
    return out + mean


@pytest.mark.parametrize(("n", "m", "d"), [(12, 9, 40), (60, 80, 6), (60, 9, 40), (9, 60, 40)])
def test_between_gaussians_of_known_moments(n: int, m: int, d: int) -> None:
    rng = np.random.default_rng(0)
    va, vb = np.zeros(d), np.zeros(d)
    rank = min(n, m, d + 1) - 1
    va[:rank], vb[:rank] = rng.uniform(0.5, 3, rank), rng.uniform(0.5, 3, rank)
    mean = rng.normal(size=d)
    turn, _ = np.linalg.qr(rng.normal(size=(d, d)))  # the distance does not depend on the axes
    x, y = with_moments(n, mean, va, rng) @ turn, with_moments(m, np.zeros(d), vb, rng) @ turn
    expected = float((mean**2).sum() + ((np.sqrt(va) - np.sqrt(vb)) ** 2).sum())
    assert frechet_distance(x, y) == pytest.approx(expected, abs=1e-6)
    assert frechet_distance(y, x) == pytest.approx(expected, abs=1e-6)


def test_many_images_are_summed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    x, y = (with_moments(n, rng.normal(size=9), rng.uniform(0.5, 3, 9), rng) for n in (70, 50))
    at_once, small = frechet_distance(x, y), frechet_distance(x[:9], y)
    monkeypatch.setattr(frechet, "_CENTRED", 16)
    assert frechet_distance(x, y) == pytest.approx(at_once, rel=1e-9)
    assert frechet_distance(x[:9], y) == pytest.approx(small, rel=1e-9)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)


def test_between_gaussians_with_other_axes() -> None:
    """Two dimensions, by the closed form tr (AB)^(1/2) = sqrt(tr AB + 2 sqrt(det AB))."""
    rng = np.random.default_rng(1)
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    x = with_moments(50, np.zeros(2), np.array([4.0, 1.0]), rng)
    y = with_moments(30, np.zeros(2), np.array([9.0, 0.5]), rng) @ turn
    a, b = np.cov(x.T), np.cov(y.T)
    expected = np.trace(a + b) - 2 * np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a) * np.linalg.det(b)))
    assert frechet_distance(x, y) == pytest.approx(expected, abs=1e-6)


def test_zero_for_the_same_sample_and_no_failure_for_constant_images() -> None:
    x = np.random.default_rng(2).normal(size=(8, 30))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    constant = np.ones((5, 30))
    assert frechet_distance(x, constant) == pytest.approx(((x.mean(0) - 1) ** 2).sum() + x.var(0, ddof=1).sum())


def patients(count: int, rng: np.random.Generator) -> Sample:
    feats = (rng.normal(size=(count, 1, 10)) + rng.normal(size=(count, 4, 10))).reshape(-1, 10)
    return points(feats, np.repeat(np.arange(count), 4))


def fakes(count: int, rng: np.random.Generator) -> Sample:
    return points(rng.normal(size=(count, 10)) * np.sqrt(2) + 0.5)


def test_floor_and_score_are_taken_at_the_same_n() -> None:
    rng = np.random.default_rng(4)
    result = compute(Samples(patients(10, rng), fakes(200, rng), train=patients(12, rng)))[0]
    assert result.equal_n.n_images == 5  # half of ten subjects, one of their four images each
    assert result.equal_n.value > result.value  # fewer images, larger distance
    assert result.floor is not None and result.reference is not None
    assert "biased" in result.caveat


def test_more_synthetic_images_do_not_lower_it() -> None:
    rng = np.random.default_rng(3)
    real, many = points(rng.normal(size=(30, 10))), rng.normal(size=(900, 10))
    values = [compute(Samples(real, points(many[:n])))[0].value for n in (30, 90, 900)]
    assert frechet_distance(real.features, many) < 0.8 * values[0]  # what a larger sample alone would gain
    assert values[1:] == pytest.approx([np.mean([frechet_distance(real.features, many[i:i + 30]) for i in
                                                 range(0, n, 30)]) for n in (90, 300)], rel=0.1)


def test_a_perfect_generator_is_not_flattered_where_patients_have_many_images() -> None:
    """Twenty alike images a patient: the value at equal n must not claim to beat real images."""
    rng = np.random.default_rng(5)
    differences = []
    for _ in range(6):
        centres = np.repeat(rng.normal(size=(12, 30)), 20, axis=0)
        features = np.sqrt(0.5) * (centres + rng.normal(size=centres.shape))
        (result,) = compute(Samples(points(features, np.repeat(np.arange(12), 20)),
                                    points(rng.normal(size=(240, 30)))))
        differences.append(1 - result.floor / result.equal_n.value)
    assert abs(np.mean(differences)) < 0.1


def test_fewer_than_two_images_or_subjects_get_a_clear_answer() -> None:
    rng = np.random.default_rng(6)
    for real, made in ((patients(6, rng), fakes(1, rng)), (patients(6, rng).take(np.arange(1)), fakes(9, rng))):
        result = compute(Samples(real, made, train=patients(5, rng)))[0]
        assert (result.value, result.interval, result.floor) == (None, None, None)
        assert "at least two images" in result.caveat
    one = compute(Samples(patients(1, rng), fakes(9, rng)))[0]
    assert one.value is not None and one.interval is None and set(one.per_subject) == {"0"}
