"""The one rule for a fault: exact where subjects have one image, and never too often where they have several."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ganatomy.metrics import appearance, permutation, prdc, spectrum
from ganatomy.metrics.base import Sample, Samples
from ganatomy.metrics.permutation import permuted, significant
from ganatomy.metrics.schema import Result
from ganatomy.statistics.subjects import Points
from tests.metrics.textures import points, sample, textures


def patients(rng: np.random.Generator, subjects: int, each: int) -> Points:
    """One value an image, nine tenths of whose variance a patient's images share."""
    own = np.repeat(rng.normal(size=subjects), each) * 0.9 ** 0.5 + rng.normal(size=subjects * each) * 0.1 ** 0.5
    return Points(own[:, None], np.repeat(np.arange(subjects), each))


def test_of_means(x: Points, y: Points, seed: int) -> float:
    def measure(rows: np.ndarray, columns: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        pooled = np.concatenate([x.features[rows], y.features[columns]])[:, 0]
        return lambda labels: np.abs(labels @ pooled / labels.sum(1) - (1 - labels) @ pooled / (1 - labels).sum(1))

    return permuted(x, y, measure, np.random.default_rng(seed)).p


test_of_means.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize(("subjects", "each"), [(12, 1), (8, 5), (20, 5)])
def test_a_perfect_generator_is_accused_as_often_as_allowed_at_most(subjects: int, each: int,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permutation, "PERMUTATIONS", 99)
    rng = np.random.default_rng(subjects)
    p = np.array([test_of_means(patients(rng, subjects, each), patients(rng, subjects * each, 1), seed)
                  for seed in range(400)])
    assert (p <= 0.05).mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    assert each > 1 or (p <= 0.2).mean() == pytest.approx(0.2, abs=0.06)  # exact where nothing is drawn


def test_a_shift_is_found_with_few_patients_of_many_slices() -> None:
    rng = np.random.default_rng(1)
    fake = patients(rng, 40, 1)
    assert test_of_means(patients(rng, 8, 5), Points(fake.features + 3, fake.subjects), 0) <= permutation.LEVEL


def test_small_effects_are_no_faults_however_sure_they_are() -> None:
    sure = {"p_no_difference": 0.002, "exchanged": {"value": 0.30, "chance": 0.26, "n_images": 900}}
    assert significant(Result(name="x", **sure), 0.03) and not significant(Result(name="x", **sure), 0.05)
    assert not significant(Result(name="x", **sure | {"p_no_difference": 0.02}), 0.03)
    assert not significant(Result(name="x"), 0.0)


@pytest.mark.slow
@pytest.mark.parametrize(("subjects", "each"), [(8, 5), (20, 5), (12, 1)])
def test_the_checks_leave_perfect_generators_alone(subjects: int, each: int) -> None:
    """Slices of a patient are nearly the same image, so that halves or images taken for patients would mislead."""
    rng, alarms = np.random.default_rng(subjects), dict.fromkeys(("Histogram", "Spectrum", "Recall", "Coverage"), 0)

    def images(subjects: int, each: int) -> np.ndarray:
        own = np.repeat(textures(subjects, rng, 16) + 0.4 * rng.normal(size=(subjects, 1, 1, 1)), each, axis=0)
        return np.clip(own + 0.1 * rng.normal(size=own.shape), -1, 1)

    for _ in range(100):
        names = [f"p{i}" for i in np.repeat(np.arange(subjects), each)]
        real, fake = images(subjects, each), images(5 * subjects, 1)
        pictures = Samples(sample(real, names), sample(fake))
        features = Samples(points(real.mean((1, 2, 3)), names), points(fake.mean((1, 2, 3))))
        for module, samples in ((appearance, pictures), (spectrum, pictures), (prdc, features)):
            for result in module.compute(samples):
                if result.name.split("-")[0] in alarms:
                    alarms[result.name.split("-")[0]] += bool(module.fault(result))
    assert max(alarms.values()) <= 5, alarms


@pytest.mark.parametrize("subjects", [["a"] * 3 + ["b", "c"], list("abcde")])
def test_one_image_a_subject_is_exchanged(subjects: list[str]) -> None:
    drawn = Sample(np.zeros((5, 1, 2, 2), np.float32), subjects, np.zeros((5, 2)))
    sizes = []

    def measure(rows: np.ndarray, columns: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        sizes.append((len(set(drawn.subjects[rows])), len(rows), len(columns)))
        return lambda labels: np.zeros(len(labels))

    test = permuted(drawn, points(range(9)), measure, np.random.default_rng(0))
    n = len(set(subjects))
    assert set(sizes) == {(n, n, 9)} and test.n_images == n and test.p == 1


def test_a_share_of_nothing_is_zero_and_not_minus_zero() -> None:
    one = permuted(Points(np.zeros((8, 1)), np.arange(8)), Points(np.ones((8, 1)), np.arange(8)),
                   lambda rows, columns: lambda labels: np.zeros(len(labels)), np.random.default_rng(0), below=True)
    assert (str(one.value), str(one.chance)) == ("0.0", "0.0")
