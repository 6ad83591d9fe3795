"""evaluate on runs that translate: metrics.json, its baselines, its refusals."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ganatomy.cli.main import cli
from ganatomy.core.errors import UserError
from ganatomy.core.recipe import load
from ganatomy.core.run import Run
from ganatomy.data.dataset import Dataset
from ganatomy.evaluation import translation as evaluation_translation
from ganatomy.evaluation.evaluate import evaluate, table
from ganatomy.evaluation.translation import Slices, translated, whole_subjects
from ganatomy.generators.sampler import Sampler
from ganatomy.phantoms.cohort import phantom
from ganatomy.preparation.prepare import prepare
from ganatomy.training.train import train
from tests.builders import SMALL, TINY, write_contrasts

SPLITS = ("train", "test", "val", "test")
INPUT, MATCHED = "input returned", "histogram matching"
FIGURES = {"MAE foreground", "PSNR foreground", "SSIM foreground", "MAE whole image", "PSNR whole image",
           "SSIM whole image"}


def trained(data: Dataset, path: Path, name: str, **settings: Any) -> Path:
    return train(data.path, path, load(name, SMALL[name] | {"steps": 1} | settings)).path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("translations")


@pytest.fixture(scope="module")
def pairs(folder: Path) -> Dataset:
    """Six test patients, two slices each."""
    return write_contrasts(folder / "pairs", splits=SPLITS)


@pytest.fixture(scope="module")
def pix2pix(folder: Path, pairs: Dataset) -> Path:
    return trained(pairs, folder / "pix2pix", "pix2pix")


@pytest.fixture(scope="module")
def unet(folder: Path, pairs: Dataset) -> Path:
    return trained(pairs, folder / "unet", "unet")


@pytest.fixture(scope="module")
def measured(pix2pix: Path, unet: Path) -> dict[str, Any]:
    return evaluate(pix2pix, beside=[unet, unet])


@pytest.fixture(scope="module")
def unpaired(folder: Path) -> Path:
    """A CycleGAN of four patients without pairs."""
    data = write_contrasts(folder / "unpaired", subjects=4, splits=SPLITS, paired=False)
    return trained(data, folder / "apart", "cyclegan-mri")


def test_lesions_are_measured_where_there_is_a_mask_alone(tmp_path: Path) -> None:
    phantom(tmp_path / "in", subjects=6, size=64, lesions=1.0, anatomy="first")
    (tmp_path / "in" / "files.csv").unlink()
    out = []
    for name in ("whole", "missing"):
        data = prepare(tmp_path / "in", tmp_path / name, size=64, test_subjects=[f"sub-000{i}" for i in range(1, 6)])
        task: Any = SimpleNamespace(dataset=data, size=64, source="T1", target="T2", label=None, seed=0, warnings=[])
        slices = Slices(task, False, None)
        result = evaluation_translation._lesions(slices, slices.truth * 0.5)
        assert result is not None and result.invented is not None
        out.append((result, slices, task.warnings))
        for subject in ("sub-0001", "sub-0003"):
            (tmp_path / "in" / subject / f"{subject}_lesion-mask.nii.gz").unlink(missing_ok=True)
    (whole, every, nothing), (some, slices, warnings) = out
    assert (whole.n_subjects, some.n_subjects, some.invented.n_subjects) == (5, 3, 3) and not nothing
    assert {slices.subjects[one.image] for one in some.worst} <= {"sub-0002", "sub-0004", "sub-0005"}
    assert some.n_lesions < whole.n_lesions and "have no mask" in warnings[0] and len(every.rows) == len(slices.rows)


def figure(direction: dict[str, Any], translator: str, name: str) -> dict[str, Any]:
    return next(f for f in direction["translators"][translator] if f["name"] == name)


def test_metrics_json_of_a_translation(measured: dict[str, Any], pix2pix: Path, pairs: Dataset) -> None:
    assert json.loads(Run(pix2pix).metrics_file.read_text()) == measured
    assert [measured[key] for key in ("kind", "source", "domain", "size")] == ["translation", "T1", "T2", 32]
    assert measured["dataset"] == pairs.info.content
    (direction,) = measured["directions"]
    assert (direction["source"], direction["target"], direction["paired"]) == ("T1", "T2", True)
    assert (direction["n_images"], direction["n_subjects"]) == (12, 6)
    translators = {"model", "unet", "unet #2", INPUT, MATCHED}
    assert set(direction["translators"]) == set(direction["kernel"]["translators"]) == translators
    assert set(direction["comparisons"]) == set(direction["headlines"]) == translators - {"model"}
    for name in translators:
        assert {f["name"] for f in direction["translators"][name]} >= FIGURES
        low, high = figure(direction, name, "MAE foreground")["interval"]
        assert low <= figure(direction, name, "MAE foreground")["value"] <= high
        assert direction["kernel"]["translators"][name]["interval"]
    assert direction["kernel"]["reference"]["what"] == "real train against real test"
    assert direction["anatomy"] and "cycle" not in direction
    assert f"{MATCHED}: the falling map" in direction["note"]  # bright becomes dark
    errors = [figure(direction, name, "MAE foreground")["value"] for name in (MATCHED, INPUT)]
    assert errors[0] < errors[1]


def test_the_same_run_and_the_same_seed_give_the_same_values(measured: dict[str, Any], pix2pix: Path,
                                                             unet: Path) -> None:
    (direction,) = measured["directions"]
    assert direction["translators"]["unet"] == direction["translators"]["unet #2"]
    again = evaluate(pix2pix, beside=[unet, unet])
    assert again | {"seconds": 0} == measured | {"seconds": 0}


def test_the_table_shows_every_translator_and_the_command_line_prints_it(measured: dict[str, Any], pix2pix: Path,
                                                                         unet: Path) -> None:
    text = table(measured)
    for word in ("T1 to T2, 12 slices of 6 test subjects", "model", "unet", INPUT, MATCHED, "SSIM", "KD-Lite0"):
        assert word in text
    answer = CliRunner().invoke(cli, ["evaluate", str(pix2pix), "--beside", str(unet), "-n", "4"])
    assert answer.exit_code == 0, answer.output
    assert "4 slices" in answer.output
    assert measured["n"] is None
    assert json.loads(Run(pix2pix).metrics_file.read_text())["n"] == 4


def test_fewer_slices_are_matched_as_they_are_among_all(pix2pix: Path) -> None:
    """A subject's histogram is that of all its test slices, however few of them are measured."""
    by_id = []
    for n in (None, 5):
        slices = Slices(evaluation_translation._task(pix2pix, 0, None, []), False, n)
        matched = translated(slices, lambda text: None)[0][MATCHED]
        by_id.append({row.image_id: image for row, image in zip(slices.rows, matched, strict=True)})
    whole, part = by_id
    assert (len(whole), len(part)) == (12, 5)
    assert all((part[name] == whole[name]).all() for name in part)


def test_training_rows_are_chosen_by_whole_subjects(pairs: Dataset) -> None:
    rows = pairs.rows("T1")
    for seed in range(5):
        chosen = whole_subjects(rows, 7, seed)
        subjects = {row.subject for row in chosen}
        assert len(chosen) == 6 and chosen == [row for row in rows if row.subject in subjects]
    assert len(whole_subjects(rows, 1, 0)) == 2  # one subject at least
    assert whole_subjects(rows, 1000, 0) == rows
    assert len({tuple(whole_subjects(rows, 7, seed)) for seed in range(5)}) > 1


def test_baselines_of_known_value(folder: Path) -> None:
    """Where both contrasts are the same the input returned is perfect; a half is matched by a rising map."""
    same = write_contrasts(folder / "same", splits=SPLITS, other=lambda image: image)
    (direction,) = evaluate(trained(same, folder / "of-same", "unet"))["directions"]
    assert figure(direction, INPUT, "MAE whole image")["value"] == 0
    assert figure(direction, INPUT, "PSNR whole image")["value"] == 100
    assert figure(direction, INPUT, "SSIM whole image")["value"] == pytest.approx(1)
    assert direction["kernel"]["translators"][INPUT]["value"] == pytest.approx(0, abs=1e-9)
    assert "rising" in direction["note"]


def test_a_model_that_returns_its_input_is_found_out(pix2pix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sampler, "translate", lambda self, images, seed=0, backward=False: images.copy())
    (direction,) = evaluate(pix2pix)["directions"]
    assert direction["translators"]["model"] == direction["translators"][INPUT]
    kernel = direction["kernel"]["translators"]
    assert kernel["model"]["value"] == kernel[INPUT]["value"]
    assert "input" in direction["returned"]["sentence"]


def test_cyclegan_on_pairs_is_measured_both_ways_and_against_the_truth(folder: Path, pairs: Dataset) -> None:
    metrics = evaluate(trained(pairs, folder / "cyclegan", "cyclegan-mri"))
    assert [(d["source"], d["target"]) for d in metrics["directions"]] == [("T1", "T2"), ("T2", "T1")]
    for direction in metrics["directions"]:
        assert set(direction["translators"]) == {"model", INPUT, MATCHED}
        for key in ("cycle", "identity"):
            assert {f["name"] for f in direction[key]} >= FIGURES
    assert "cycle error" in table(metrics)


def test_cyclegan_without_pairs_is_measured_without_a_truth(unpaired: Path) -> None:
    metrics = evaluate(unpaired)
    assert len(metrics["directions"]) == 2 and "T2 to T1" in table(metrics)
    for direction in metrics["directions"]:
        assert not direction["paired"] and "translators" not in direction
        assert direction["returned"]["sentence"] in table(metrics)
        assert set(direction["kernel"]["translators"]) == {"model", INPUT}
        assert direction["cycle"] and direction["identity"] and direction["anatomy"]


@pytest.mark.parametrize(("change", "finding", "words"), [
    (lambda images: images.copy(), "input", "returns its input"),
    (lambda images: np.where(images > -0.9, -images, images), "", "does not return its input")])
def test_an_unpaired_model_that_returns_its_input_is_detected(unpaired: Path, monkeypatch: pytest.MonkeyPatch,
                                                              change: Any, finding: str, words: str) -> None:
    """Without a truth it keeps the anatomy perfectly, goes there and back without error, and does nothing."""
    monkeypatch.setattr(Sampler, "translate", lambda self, images, seed=0, backward=False: change(images))
    (unpaired / "metrics.json").unlink(missing_ok=True)  # else there is nothing to do
    metrics = evaluate(unpaired)
    for direction in metrics["directions"]:
        returned = direction["returned"]
        assert returned["finding"] == finding and words in returned["sentence"]
        assert finding == "" or returned["moved"] == 0
        assert returned["sentence"] in table(metrics)


@pytest.mark.parametrize("slices", [3, 1])
def test_one_test_patient_gives_values_without_intervals(tmp_path: Path, slices: int) -> None:
    splits = ("train", "train", "train", "test")
    data = write_contrasts(tmp_path / "data", subjects=4, per_subject=slices, splits=splits)
    run = trained(data, tmp_path / "run", "unet")
    metrics = evaluate(run)
    (direction,) = metrics["directions"]
    assert (direction["n_images"], direction["n_subjects"]) == (slices, 1)
    error, kernel = figure(direction, "model", "MAE foreground"), direction["kernel"]["translators"]["model"]
    assert error["interval"] is kernel["interval"] is None and 0 < error["value"] < 100
    assert (kernel["value"] is None) == (slices == 1)  # no pair of different slices
    assert direction["kernel"]["reference"] is None  # across patients is another quantity than within one
    assert "KD-Lite0: one subject only" in table(metrics)
    assert any("Only 1 test subject" in warning for warning in metrics["warnings"])
    json.loads(Run(run).metrics_file.read_text(), parse_constant=pytest.fail)
    assert "1 test subject" in table(metrics)


def refused(words: str, run: Path, **options: Any) -> None:
    with pytest.raises(UserError, match=words) as error:
        evaluate(run, **options)
    assert error.value.fix


def test_what_cannot_stand_beside_is_refused_in_words(tmp_path: Path, pairs: Dataset, pix2pix: Path) -> None:
    before = Run(pix2pix).metrics_file.read_bytes()
    elsewhere = write_contrasts(tmp_path / "elsewhere", splits=SPLITS, seed=9)
    noise = train(pairs.path, tmp_path / "noise", load("rpgan-64", TINY | {"domain": "T2", "steps": 1})).path
    for other in (trained(pairs, tmp_path / "back", "unet", source="T2", domain="T1"),
                  trained(elsewhere, tmp_path / "other", "unet"),
                  trained(pairs, tmp_path / "small", "unet", size=16), noise):
        refused("does not translate the same contrasts", pix2pix, beside=[other])
    refused("only runs that translate", noise, beside=[pix2pix])
    for one in (tmp_path / "nowhere", str(tmp_path / "nowhere"), [tmp_path / "nowhere"]):
        refused("no such folder", pix2pix, beside=one)
    refused("not a run folder", pix2pix, beside=[pairs.path])
    assert Run(pix2pix).metrics_file.read_bytes() == before


def test_without_test_images_nothing_is_measured(tmp_path: Path) -> None:
    data = write_contrasts(tmp_path / "data", subjects=4, splits=("train",))
    refused("no images in the split 'test'", trained(data, tmp_path / "run", "unet"))
