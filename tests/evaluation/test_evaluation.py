"""evaluate: two dataset folders or a run, to a metrics.json whose every figure can be judged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import load
from ganatomy.core.run import Run
from ganatomy.data.dataset import Dataset, DatasetInfo, new_dataset
from ganatomy.data.manifest import Row
from ganatomy.evaluation import samples as sets
from ganatomy.evaluation.evaluate import evaluate, table
from ganatomy.evaluation.samples import _refuse_wild
from ganatomy.evaluation.table import LIGHTS
from ganatomy.metrics.base import Sample

SIZE = 32
SPLITS = {"train": 7, "test": 6}


def blobs(rng: np.random.Generator, own: np.ndarray) -> np.ndarray:
    """A bright disc with a textured inside; `own` moves it, so images of a patient resemble each other."""
    y, x = np.mgrid[:SIZE, :SIZE]
    centre, radius = 16 + 3 * own[:2] + rng.normal(size=2), 9 + 2 * own[2] + 0.5 * rng.normal()
    disc = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
    image = disc * (140 + 60 * np.sin(x * (0.6 + 0.1 * own[3]) + y * 0.4) + 12 * rng.normal(size=disc.shape))
    return np.clip(image, 0, 255).astype(np.uint8)


def write(path: Path, splits: dict[str, int], each: int = 4, source: Any = "real", seed: int = 0, channels: Any = 1,
          size: int = SIZE) -> Path:
    rng = np.random.default_rng(seed)
    with new_dataset(path, (size, size), channels, np.uint8) as writer:
        for split, count in splits.items():
            for s in range(count):
                own = rng.normal(size=4)
                for i in range(each):
                    image = np.kron(blobs(rng, own), np.ones((size // SIZE, size // SIZE), np.uint8))
                    image = np.stack([image] * 3, -1) if channels == 3 else image
                    name = f"{split or 'syn'}{s}"
                    writer.add(image, Row(f"{name}-{i}", name, "", i, "T1", "", split, 0, 0.0, 1.0, "", "", ""))
        writer.finish(DatasetInfo(source=source, size=(size, size), channels=channels, value_range=(0, 255),
                                  domains=("T1",), paired=True, content=""))
    return path


class FakeSampler:
    """Draws images as the protocol of a trained generator has it."""

    size, channels, recipe, notes = SIZE, 1, None, {"step": 7, "domain": "T1"}

    def __init__(self, noise: bool = False) -> None:
        self.noise = noise

    def sample(self, n: int, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        if self.noise:
            return rng.uniform(-1, 1, (n, 1, SIZE, SIZE)).astype(np.float32)
        return np.stack([blobs(rng, rng.normal(size=4)) for _ in range(n)])[:, None].astype(np.float32) / 127.5 - 1

    def stream(self, n: int, seed: int) -> Iterator[np.ndarray]:
        yield self.sample(n, seed)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("real") / "data", SPLITS)


@pytest.fixture(scope="module", autouse=True)
def generators() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sets, "load_generator", lambda folder: FakeSampler())
        patch.setattr(sets, "untrained_generator", lambda *given: FakeSampler(noise=True))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, real: Path) -> Path:
    made = Run(tmp_path_factory.mktemp("run") / "run")
    made.start(load("rpgan-64", {"size": SIZE}), real, Dataset.open(real).info.content)
    return made.path


@pytest.fixture(scope="module")
def metrics(run: Path, generators: None) -> dict[str, Any]:
    return evaluate(run, n=50)


def named(metrics: dict[str, Any], name: str, against: str = "test") -> dict[str, Any]:
    (found,) = [r for r in metrics["results"] if (r["name"], r["against"]) == (name, against)]
    return dict(found)


def test_a_run_is_measured_and_the_file_written(metrics: dict[str, Any], run: Path, real: Path) -> None:
    assert json.loads((run / "metrics.json").read_text()) == metrics
    assert metrics["step"] == 7 and metrics["dataset"] == Dataset.open(real).info.content
    assert metrics["counts"] == {"train": {"images": 28, "subjects": 7}, "test": {"images": 24, "subjects": 6},
                                 "synthetic": {"images": 50}}
    for name in ("KD-Lite0", "FD-Lite0", "SSIM", "Diversity-Lite0", "Precision-Lite0",
                 "Recall-Lite0", "Density-Lite0", "Coverage-Lite0"):
        for against in ("test", "train"):
            result = named(metrics, name, against)
            low, high = result["interval"] or (0, 1e9)
            without = name == "FD-Lite0" or (name, against) == ("Density-Lite0", "test")  # one left out, five are left
            assert (result["interval"] is None) == without
            assert low <= result["value"] <= high and result["n_synthetic"] == 50
            few = name.partition("-")[0] in ("Precision", "Recall", "Density", "Coverage")
            assert (result["floor"] is None) == few  # halves of six subjects have no fifth nearest one
    assert named(metrics, "KD-Lite0")["reference"]["what"] == "real train against real test"
    assert metrics["results"][0]["name"] == "KD-Lite0" and metrics["results"][0]["against"] == "test"


def test_a_good_generator_stands_before_all_controls(metrics: dict[str, Any]) -> None:
    judged = {(c["control"], c["name"]): c["behind_model"] for c in metrics["controls"]}
    for control in ("mean image", "blurred real images", "untrained generator"):
        assert judged[control, "KD-Lite0"] is True and judged[control, "FD-Lite0"] is True
        assert judged[control, "Coverage-Lite0"] is True and judged[control, "Density-Lite0"] is True
        assert judged[control, "SSIM"] is None  # rises with blur, so it is never ranked
    assert not [w for w in metrics["warnings"] if "is not behind the model" in w]


def test_a_bad_generator_is_said_to_be_no_better_than_a_control(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "load_generator", lambda folder: FakeSampler(noise=True))
    metrics = evaluate(run, n=40)
    (said,) = [w for w in metrics["warnings"] if "“blurred real images”" in w]  # one a control, not one a metric
    assert "not behind the model by KD-Lite0, FD-Lite0" in said
    assert named(metrics, "KD-Lite0")["p_no_difference"] < 0.05


def test_the_same_seed_gives_the_same_figures_and_few_images_are_named(run: Path) -> None:
    said: list[str] = []
    first, second = evaluate(run, n=10), evaluate(run, n=10, say=said.append)
    assert first.pop("seconds") > 0 and second.pop("seconds") > 0
    assert first == second
    assert any("Only 10 synthetic images" in w for w in first["warnings"])
    assert any("controls" in line for line in said)


def test_two_datasets_are_compared_at_the_smaller_size_and_nothing_is_written(tmp_path: Path, real: Path) -> None:
    other = write(tmp_path / "syn", {"": 50}, each=1, source="synthetic", seed=5, size=2 * SIZE)
    before = sorted(p.name for p in real.iterdir())
    metrics = evaluate(real, other)
    assert metrics["size"] == SIZE and metrics["step"] is None
    assert metrics["synthetic"] == Dataset.open(other).info.content
    assert named(metrics, "Diversity-Lite0")["ratio"] == pytest.approx(1, abs=0.3)
    assert sorted(p.name for p in real.iterdir()) == before
    text = table(metrics)
    kd = named(metrics, "KD-Lite0")["value"]
    assert "of the default recipe's network" in text  # what the untrained generator is, where none is known
    equal = named(metrics, "KD-Lite0")["equal_n"]
    assert f"n = {equal['n_images']:g}" in text and "times real" in text
    assert "KD-Lite0 × 1000" in text and f"{1000 * kd:#.3g}".rstrip(".") in text
    assert "controls by KD-Lite0 × 1000: mean image" in text
    assert text.count("Coverage-Lite0") == 1  # against test; train and the controls are in the full table
    text = table(metrics, full=True)
    (controls,) = [line for line in text.splitlines() if line.startswith("control")]  # a column each, a line a metric
    assert "mean image, n = 50" in controls and "blurred real images, n = 28" in controls
    assert len([line for line in text.splitlines() if line.startswith("Coverage-Lite0")]) == 3  # test, train, controls
    assert [line[:3] for line in text.splitlines()[:4]] == [LIGHTS[v["light"]] for v in metrics["verdicts"]]


def test_few_test_subjects_are_shown_one_by_one(tmp_path: Path) -> None:
    few = write(tmp_path / "few", {"train": 4, "test": 2})
    other = write(tmp_path / "syn", {"": 12}, each=1, source="synthetic", seed=6)
    metrics = evaluate(few, other)
    kd = named(metrics, "KD-Lite0")
    assert kd["interval"] is None and kd["floor"] is None and set(kd["per_subject"]) == {"test0", "test1"}
    assert any("Only 2 test subjects" in w for w in metrics["warnings"])
    assert all(r["interval"] is None for r in metrics["results"] if r["against"] == "test")


def test_what_prepare_warned_of_is_passed_on(tmp_path: Path) -> None:
    data = write(tmp_path / "data", {"train": 5, "test": 5}, each=1)
    note = data / "dataset.json"
    warning = "nothing says which images belong to one patient: each counts as a subject of its own"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"fingerprint": {
        "warnings": [warning], "patients_unknown": True}}))
    other = write(tmp_path / "syn", {"": 12}, each=1, source="synthetic", seed=6)
    said: list[str] = []
    assert f"Dataset: {warning}." in evaluate(data, other, say=said.append)["warnings"]
    assert any("5 test images (patients unknown)" in line for line in said)


def test_a_run_is_no_dataset(run: Path, real: Path) -> None:
    for pair in ((run, real), (real, run)):
        with pytest.raises(UserError, match="is a run folder; with two arguments give two datasets") as caught:
            evaluate(*pair)
        assert "ganatomy evaluate DATASET SYN" in str(caught.value)


def test_one_image_of_one_subject_gives_no_number_but_words(tmp_path: Path) -> None:
    one = write(tmp_path / "one", {"test": 1}, each=1)
    other = write(tmp_path / "syn", {"": 6}, each=1, source="synthetic", seed=6)
    metrics = evaluate(one, other)
    assert not [r for r in metrics["results"] if r["name"] == "FD-Lite0"]
    assert any("FD-Lite0 against test could not be computed" in w for w in metrics["warnings"])
    assert any("No train split" in w for w in metrics["warnings"])
    json.dumps(metrics, allow_nan=False)


def test_what_does_not_fit_is_refused_in_words(tmp_path: Path, run: Path, real: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    untested = write(tmp_path / "untested", {"train": 3}, each=1)
    other = write(tmp_path / "syn", {"": 4}, each=1, source="synthetic")
    colour = write(tmp_path / "colour", {"": 4}, each=1, source="synthetic", channels=3)
    with pytest.raises(UserError, match="split 'test'"):
        evaluate(untested, other)
    with pytest.raises(UserError, match="channels"):
        evaluate(real, colour)
    with pytest.raises(UserError, match="out of range"):
        evaluate(run, n=1)
    with pytest.raises(UserError, match="not a run folder"):
        evaluate(real)

    class Broken(FakeSampler):
        def sample(self, n: int, seed: int) -> np.ndarray:
            return np.full((n, 1, SIZE, SIZE), np.nan, np.float32)

    monkeypatch.setattr(sets, "load_generator", lambda folder: Broken())
    with pytest.raises(UserError, match="NaN"):
        evaluate(run, n=4)


def test_another_dataset_than_the_runs_own_is_refused(tmp_path: Path, run: Path) -> None:
    """Its test patients may be those that the model has learnt from, so that copies would pass for none."""
    other = write(tmp_path / "other", SPLITS, each=1, seed=3)
    with pytest.raises(UserError, match="not the dataset this run was trained on"):
        evaluate(run, n=10, data=other)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_values_that_no_image_has_are_named_and_not_measured(value: float, split: str) -> None:
    images = np.zeros((12, 1, 8, 8), np.float32)
    images[7, 0, 3, 3] = value
    bad = Sample(images, ids=[f"image-{i}" for i in range(12)])
    with pytest.raises(UserError, match=f"the {split} image image-7 holds values that are not finite"):
        _refuse_wild(bad, split)
    _refuse_wild(bad.take(np.arange(7)), split)
