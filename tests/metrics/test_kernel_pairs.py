"""The kernel distance of translations: pairs of one person are left out, whichever rows and subjects are shared."""

from __future__ import annotations

import numpy as np
import pytest

from ganatomy.metrics.base import Sample
from ganatomy.metrics.kernel import ONE_SUBJECT, real_distance, translated_distance


def sample(features: np.ndarray, each: int) -> Sample:
    names = [f"s{i // each}" for i in range(len(features))]
    return Sample(np.zeros((len(features), 1, 1, 1), np.float32), names, features)


def of_patients(rng: np.random.Generator, subjects: int, each: int, shift: float) -> tuple[Sample, Sample]:
    """Truths from N(0, 1), translations from N(shift, 1); those of a patient all resemble each other."""
    own = np.repeat(rng.normal(size=(subjects, 1)), each, 0) * 0.8
    parts = [own + 0.6 * rng.normal(size=(subjects * each, 1)) for _ in range(2)]
    return sample(parts[0], each), sample(parts[1] + shift, each)


@pytest.mark.parametrize(("shift", "expected"), [(0.0, 0.0), (1.0, 22.0)])
def test_translations_of_the_same_patients_have_the_distance_of_independent_images(shift: float,
                                                                                    expected: float) -> None:
    """With the kernel (xy + 1)^3 it is 3 (m1 - n1)^2 + 3 (m2 - n2)^2 + (m3 - n3)^2 of the moments: 3 + 3 + 16."""
    rng = np.random.default_rng(0)
    values = np.array([translated_distance(*of_patients(rng, 12, 3, shift)).value for _ in range(400)])
    error = values.std() / len(values) ** 0.5
    assert abs(values.mean() - expected) < 4 * error
    assert error < 0.5 + 0.1 * expected


def test_perfect_translations_have_distance_zero() -> None:
    """All three terms leave out the same pairs, so the truth itself is at zero, neither above nor below."""
    real, _ = of_patients(np.random.default_rng(1), 8, 3, 0.0)
    found = translated_distance(real, real)
    assert found.value == pytest.approx(0, abs=1e-9)
    assert found.interval is not None
    assert found.interval == pytest.approx((0, 0), abs=1e-9)
    alone, _ = of_patients(np.random.default_rng(1), 1, 5, 0.0)
    one = translated_distance(alone, alone)
    assert one.value == pytest.approx(0, abs=1e-9)
    assert one.interval is None
    assert "one subject" in one.caveat


def scans(rng: np.random.Generator, count: int, shared: int) -> tuple[Sample, Sample]:
    """Real and translated scans N(0, 1) of `count` patients each, of which `shared` are in both, of unlike slices."""
    people = rng.normal(size=2 * count - shared) * 0.8
    parts = []
    for first, each in ((0, 2), (count - shared, 3)):
        who = np.repeat(np.arange(first, first + count), each)
        features = people[who][:, None] + 0.6 * rng.normal(size=(len(who), 1))
        parts.append(Sample(np.zeros((len(who), 1, 1, 1), np.float32), [f"s{i}" for i in who], features))
    return parts[0], parts[1]


@pytest.mark.parametrize("shared", [0, 5, 9])
def test_patients_who_are_in_both_domains_do_not_make_it_seem_nearer(shared: int) -> None:
    """Both come from one distribution: zero on average."""
    rng = np.random.default_rng(3)
    drawn = [scans(rng, 9, shared) for _ in range(400)]
    values = np.array([translated_distance(*pair).value for pair in drawn])
    assert abs(values.mean()) < 3 * values.std() / 20
    if shared == 9:
        counted = np.array([float(real_distance(*pair)["value"]) for pair in drawn])
        assert counted.mean() < -5 * counted.std() / 20  # with pairs of one person the cross term is too large


def test_intervals_cover_zero_when_some_patients_are_in_both_domains() -> None:
    rng = np.random.default_rng(4)
    found = [translated_distance(*scans(rng, 10, 4), seed=i).interval for i in range(60)]
    assert sum(low <= 0 <= high for low, high in found) >= 54


def test_equals_a_double_loop_over_different_persons() -> None:
    rng = np.random.default_rng(5)
    real, made = (Sample(np.zeros((len(names), 1, 1, 1), np.float32), list(names), rng.normal(size=(len(names), 3)))
                  for names in ("abcabb", "cdbdea"))

    def mean(one: Sample, other: Sample) -> float:
        kernel = (one.features @ other.features.T / 3 + 1) ** 3
        apart = np.array([[one.names[i] != other.names[j] for j in other.subjects] for i in one.subjects])
        return float(kernel[apart].mean())

    expected = mean(real, real) + mean(made, made) - 2 * mean(real, made)
    found = translated_distance(real, made)
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert found.interval is None  # three persons on one side


def test_one_subject_on_either_side_is_said_and_has_no_reference() -> None:
    rng = np.random.default_rng(6)
    (one, _), (many, _) = of_patients(rng, 1, 6, 0.0), of_patients(rng, 6, 2, 0.0)
    for real, made in ((one, many), (many, one)):
        found = translated_distance(real, made)
        assert found.interval is None and np.isfinite(found.value)
        assert ONE_SUBJECT in found.caveat and "too high" in found.caveat
        assert real_distance(real, made) is None
    assert translated_distance(one, one).caveat == ONE_SUBJECT
