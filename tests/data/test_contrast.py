"""Volumes of another contrast are noticed; those of another patient or scanner are let pass."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from ganatomy.data.contrast import Contrast, learn_contrast, named_otherwise, objection
from ganatomy.data.intensity import mapping, measure
from ganatomy.phantoms.cohort import subject_images
from ganatomy.preparation.prepare import prepare

DATA = Path(os.environ.get("GANATOMY_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(not (DATA / "ms-mri").is_dir(), reason="needs the test data")
SIZE = 64
OTHER = {"T1": "T2", "T2": "T1"}


def as_seen(pixels: np.ndarray) -> np.ndarray:
    """[n, h, w] to [n, 1, h, w] in [-1, 1], mapped as `prepare` does."""
    how = mapping("percentile", measure(list(pixels)), np.dtype(np.uint16))
    return (how.encode(pixels)[:, None] / 32767.5 - 1).astype(np.float32)


@cache
def volumes(domain: str, seed: int, count: int, slices: int = 1) -> list[np.ndarray]:
    subjects = (subject_images(i, seed, SIZE, slices, lesion=i % 3 == 0, anatomy="first") for i in range(count))
    return [as_seen(subject.t1 if domain == "T1" else subject.t2) for subject in subjects]


@cache
def known(count: int, slices: int = 1) -> dict[str, Contrast]:
    return {domain: learn_contrast(volumes(domain, 0, count, slices)) for domain in OTHER}


def refused(volume: np.ndarray, domain: str, contrasts: dict[str, Contrast]) -> bool:
    return objection(volume.astype(np.float32), domain, contrasts) != ""


@pytest.mark.parametrize("domain", OTHER)
@pytest.mark.parametrize("count", [1, 2, 12])
def test_a_phantom_of_the_right_contrast_passes_and_of_the_wrong_does_not(domain: str, count: int) -> None:
    contrasts = known(count)
    right, wrong = volumes(domain, 1, 40), volumes(OTHER[domain], 1, 40)
    assert sum(refused(v, domain, contrasts) for v in right) <= (count == 1)  # one slice of one patient says little
    assert sum(refused(v, domain, contrasts) for v in wrong) == 40


@pytest.mark.parametrize("domain", OTHER)
def test_inverted_volumes_and_junk_are_refused(domain: str) -> None:
    assert all(refused(-v, domain, known(1)) for v in volumes(domain, 1, 8))
    rng, shape = np.random.default_rng(0), (6, 1, SIZE, SIZE)
    for junk in (rng.uniform(-1, 1, shape), np.clip(rng.normal(0, 0.4, shape), -1, 1)):
        assert refused(junk, domain, known(3, 6))
    for value in (-1.0, 0.0, 1.0):
        assert "same value" in objection(np.full(shape, value, np.float32), domain, known(3, 6))


def altered(volume: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    light, rng, across = (volume + 1) / 2, np.random.default_rng(0), np.linspace(-0.5, 0.5, SIZE)
    shade = np.exp(0.6 * (across[:, None] + across))
    level = 0.2 * float(np.median(light[light > 0.1]))
    noise = rng.normal(0, level, (2, *light.shape))
    yield "darker", 0.8 * light
    yield "brighter", 1.2 * light
    yield "gamma 0.8", light**0.8
    yield "gamma 1.2", light**1.2
    yield "shaded", light * shade
    yield "noisy", np.hypot(light + noise[0], noise[1])
    yield "mirrored", light[..., ::-1]
    yield "lower half", light[: len(light) // 2]
    yield "upper half", light[len(light) // 2:]
    yield "every second slice", light[::2]
    yield "with as many empty slices", np.concatenate([light * 0, light])


@pytest.mark.parametrize("domain", OTHER)
@pytest.mark.parametrize("count", [1, 4])
def test_another_gain_gamma_coil_or_extent_passes(domain: str, count: int) -> None:
    for volume in volumes(domain, 1, 3, 8):
        for name, light in altered(volume):
            reason = objection((2 * np.clip(light, 0, 1) - 1).astype(np.float32), domain, known(count, 8))
            assert reason == "", f"{name}: {reason}"


def test_a_contrast_survives_json_and_holds_no_image() -> None:
    contrast = known(12)["T1"]
    text = contrast.model_dump_json()
    assert Contrast.model_validate_json(text) == contrast
    assert len(text) < 12_000  # whatever the number of patients: a slice would be four times as much


def test_volumes_are_read_one_at_a_time_and_constant_ones_do_not_count() -> None:
    empty = np.full((1, 1, SIZE, SIZE), -1, np.float32)

    def one_by_one() -> Iterator[np.ndarray]:
        for volume in volumes("T1", 0, 2):
            buffer = volume.copy()
            yield buffer
            buffer[:] = np.nan  # what was yielded is not used again
            yield empty

    assert learn_contrast(one_by_one()) == known(2)["T1"]


def test_what_nothing_is_known_of_is_accepted() -> None:
    nothing = learn_contrast([])
    assert nothing.count == 0
    assert objection(volumes("T2", 1, 1)[0], "T1", {"T1": nothing}) == ""
    assert objection(volumes("T2", 1, 1)[0], "T1", {"T1": nothing, "T2": known(2)["T2"]}) == ""


def test_two_domains_that_look_alike_do_not_object_to_each_other() -> None:
    alike = {"scanner A": known(12)["T1"], "scanner B": learn_contrast(volumes("T1", 2, 6))}
    for volume in volumes("T1", 1, 20):
        assert not refused(volume, "scanner A", alike)


def test_colours_are_told_apart_and_pictures_without_a_background_work() -> None:
    def tissue(tint: tuple[float, float, float], seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        coarse = rng.uniform(0, 1, (2, 1, 8, 8)).repeat(8, axis=2).repeat(8, axis=3)
        colour = np.array(tint).reshape(1, 3, 1, 1) * (0.6 + 0.4 * coarse) + rng.normal(0, 0.02, (2, 3, SIZE, SIZE))
        return (2 * np.clip(colour, 0, 1) - 1).astype(np.float32)

    pink, blue = (0.9, 0.6, 0.8), (0.6, 0.8, 0.9)
    stains = {"pink": learn_contrast(tissue(pink, i) for i in range(3)),
              "blue": learn_contrast(tissue(blue, i) for i in range(3))}
    assert not refused(tissue(pink, 9), "pink", stains)
    assert "more like blue than like pink" in objection(tissue(blue, 9), "pink", stains)


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], np.ndarray]:
    """(domain, subject) -> volume of three patients."""
    made = prepare(DATA / "ms-mri", tmp_path_factory.mktemp("ms") / "d", size=64, domains=("T1", "T2", "FLAIR"),
                   split=(34, 33, 33), slices="60:130:5", workers=1)
    return {(domain, subject): made.images([r for r in made.rows(domain) if r.subject == subject])
            for domain in made.info.domains for subject in {r.subject for r in made.rows(domain)}}


@needs_data
@pytest.mark.parametrize("train", [1, 2])
def test_patients_left_out_pass_in_their_contrast_and_not_in_another(
        patients: dict[tuple[str, str], np.ndarray], train: int) -> None:
    subjects = sorted({subject for _, subject in patients})
    for left_out in subjects:
        others = [s for s in subjects if s != left_out][:train]
        contrasts = {d: learn_contrast(patients[d, s] for s in others) for d in ("T1", "T2", "FLAIR")}
        two = {d: contrasts[d] for d in OTHER}
        for domain in OTHER:
            assert objection(patients[domain, left_out], domain, two) == ""
            assert "more like" in objection(patients[OTHER[domain], left_out], domain, two)
            assert refused(-patients[domain, left_out], domain, two)
        assert refused(patients["FLAIR", left_out], "T2", two)


@pytest.mark.parametrize(("name", "domain", "said"), [
    ("a/patient07_FLAIR.nii.gz", "T1", "FLAIR"), ("series 4 'T2 TSE tra'", "T1", "T2"), ("T1/x_pd.nii", "T1", "PD"),
    ("patient07_T1w.nii.gz", "T1", ""), ("mprage.nii", "T1", ""), ("x_T1_to_T2.nii", "T1", ""), ("a.nii.gz", "T1", ""),
    ("x_T2.nii", "arterial", ""), ("start2.nii", "T1", "")])
def test_a_name_that_says_another_contrast_is_noticed(name: str, domain: str, said: str) -> None:
    found = named_otherwise(name, domain)
    assert said in found and bool(found) == bool(said)
