"""The report of a translation: what it claims, what it shows, what it leaves out; and the strip of the hybrid."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import load
from ganatomy.core.run import Run
from ganatomy.data.dataset import Dataset
from ganatomy.data.pictures import error_colours, sheet
from ganatomy.generators.folder import load_generator
from ganatomy.metrics.schema import Direction
from ganatomy.reports import slice_sections
from ganatomy.reports.blocks import Pictures
from ganatomy.reports.context import Context
from ganatomy.reports.report import report
from ganatomy.reports.slice_sections import letting_go, read_progress
from ganatomy.reports.translation_sections import findings, lede
from ganatomy.training.train import train
from tests.builders import SMALL, write_contrasts
from tests.reports.conftest import copied
from tests.reports.test_report import Page, holds

N = 6
OTHERS = ("unet", "histogram matching", "input returned")


def figure(name: str, value: float, *, n: int = N, spread: float = 0.0, units: str = "") -> dict[str, Any]:
    per = {f"sub-{i:03d}": value + i * 0.01 for i in range(n)}
    interval = [value - spread, value + spread] if n >= 5 else None
    return {"name": name, "value": value, "units": units, "n_images": 2 * n, "n_subjects": n, "better": "lower",
            "interval": interval, "per_subject": per}


def compared(name: str, other: str, difference: float, leader: str | None, n: int = N) -> dict[str, Any]:
    wins = (n, 0) if leader == "model" else (0, n) if leader else (n // 2, n - n // 2)
    span = [difference - 0.4, difference + 0.4] if n >= 5 else None
    return {"name": name, "first": "model", "second": other, "difference": difference, "units": "", "n_subjects": n,
            "better": "lower", "interval": span, "per_subject": {}, "first_ahead": wins[0], "second_ahead": wins[1],
            "ahead": leader if n >= 5 else None, "sentence": ""}


def direction(n: int = N, **more: Any) -> dict[str, Any]:
    """A model ahead of the input returned and histogram matching, behind unet; three translators beside it."""
    values = {"model": 5.37, "unet": 5.14, "histogram matching": 7.57, "input returned": 41.0}
    ahead = {"unet": "unet", "histogram matching": "model", "input returned": "model"}
    worst = [{"image": 0, "image_id": "image-006", "value": 9.0}]
    kept = {"name": "Shift", "unit": "mm", "value": 0.12, "n_images": 2 * n, "limit": 0.4, "beyond": 0.25,
            "allowed": 0.15,
            "reference": {"what": "real pairs", "value": 0.13, "interval": None}, "worst": worst}
    return {"source": "T1", "target": "T2", "paired": True, "n_images": 2 * n, "n_subjects": n, "note": "a note",
            "kernel": {"translators": {name: {"name": "KD-Lite0", "against": "test", "value": value / 1000,
                                              "interval": None} for name, value in values.items()},
                       "reference": {"what": "real train against real test", "value": 0.0194, "interval": None}},
            "translators": {name: [figure("MAE foreground", value, n=n, spread=0.45, units="% of range"),
                                   figure("SSIM foreground", 0.9, n=n), figure("MAE whole image", value / 4, n=n)]
                            for name, value in values.items()},
            "comparisons": {other: [compared("MAE foreground", other, values["model"] - values[other], ahead[other], n),
                                    compared("SSIM foreground", other, 0.1, "model", n)
                                    if other != "unet" else compared("SSIM foreground", other, -0.1, "unet", n)]
                            for other in OTHERS},
            "headlines": {}, "ranking": [],
            "returned": {"finding": "", "sentence": "It does more than change grey values."},
            "anatomy": {"kept": True, "sentence": "The anatomy is in place", "figures": [kept]}, **more}


LESIONS = {"n_images": 5, "n_subjects": N, "n_lesions": 30, "n_clear": 29, "sentence": "s", "slope": 0.76,
           "vanished": 0.03, "vanished_interval": [0.0, 0.08],
           "invented": {"per_100": 69.0, "missing_per_100": 38.0, "interval": None,
                        "worst": [{"image": 1, "image_id": "image-007", "place": [16, 16], "response": 9.0}]},
           "worst": [{"image": 0, "image_id": "image-006", "place": [10, 12], "real": 17.9, "synthetic": -4.9}]}


def write_metrics(run: Run, *directions: dict[str, Any], **more: Any) -> None:
    found = {"schema_version": 1, "kind": "translation", "extractor": "Lite0", "dataset": run.dataset_content(),
             "step": 2, "seed": 0, "source": "T1", "domain": "T2", "label": None, "size": 32,
             "directions": directions or [direction()], "warnings": [], **more}
    run.metrics_file.write_text(json.dumps(found))


def train_small(root: Path, name: str, folder: str, **more: Any) -> None:
    brief = {"source": "T1", "domain": "T2", "steps": 2, "batch_size": 2, "checkpoint_every": 50, "preview_every": 1}
    recipe = load(name, SMALL[name] | brief | more)
    train(root / "data", root / folder, recipe)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("translations")
    write_contrasts(root / "data", subjects=16)
    for name in ("pix2pix", "unet", "cyclegan-mri"):
        train_small(root, name, name)
    train_small(root, "hybrid-brain-64", "hybrid", steps=22, preview_every=1,
                **{"model.stages": [i / 10 for i in range(11)]})
    hybrid = Run(root / "hybrid")
    begun = hybrid.recipe().model_copy(update={"init_from": "generator 12ec29d4"})
    hybrid.recipe_file.write_text(begun.to_yaml())
    config = hybrid.generator / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"recipe": begun.model_dump(mode="json")}))
    return root


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> dict[str, Run]:
    """Copies of the trained runs and their dataset."""
    root = copied(trained, tmp_path / "copy")
    return {path.name: Run(path) for path in root.iterdir() if Run.is_run(path)}


# ------------------------------------------------------------------ what is claimed

def verdict(**more: Any) -> str:
    return lede(Direction.model_validate(direction(**more)))


def test_the_verdict_names_those_ahead_and_those_behind() -> None:
    said = verdict()
    assert "On 6 test subjects" in said and "chance" not in said
    assert "is nearer to the truth than the input returned and histogram matching" in said
    assert "is farther from the truth than the run unet" in said


@pytest.mark.parametrize("n", [1, 4])
def test_below_five_subjects_it_may_be_chance_and_no_interval_is_shown(runs: dict[str, Run], n: int) -> None:
    assert "no interval is possible, and it may be chance" in verdict(n=n)
    write_metrics(runs["pix2pix"], direction(n=n))
    text = Page(report(runs["pix2pix"].path)).text
    assert "chance cannot be ruled out" in text and "4.92 to 5.82" not in text
    assert ("Subject by subject" in text) == (n == 4) and "sub-000" not in text


@pytest.mark.parametrize(("leaders", "answer", "words"), [
    ({"MAE": None, "SSIM": "model", "MS-SSIM-3": "model"}, "Cannot be told", "cannot be told apart from the run unet"),
    ({"MAE": "model", "PSNR": "unet"}, "Yes", "is nearer to the truth than the run unet (PSNR disagrees)"),
    ({"MAE": None}, "Cannot be told", "cannot be told apart"),
    ({"MAE": "model", "PSNR": "model", "SSIM": "unet"}, "Yes",
     "is nearer to the truth than the run unet (SSIM disagrees)"),
    ({"MAE": "unet", "PSNR": "unet", "SSIM": "model"}, "No",
     "is farther from the truth than the run unet (SSIM disagrees)")])
def test_nearer_goes_by_mae_alone(leaders: dict[str, str | None], answer: str, words: str) -> None:
    own = Direction.model_validate(direction(comparisons={
        "unet": [compared(f"{name} foreground", "unet", -1.0, leader) for name, leader in leaders.items()]}))
    assert words in lede(own)
    finding = next(f for f in findings(own) if "unet" in f.question)
    assert finding.answer == answer and ("disagrees" in finding.words) == ("disagrees" in words)


@pytest.mark.parametrize(("interval", "answer"), [((0.001, 0.02), "No, they can be told apart"),
                                                  ((-0.001, 0.02), "No difference shown"), (None, "Cannot be told")])
def test_whether_outputs_look_real_goes_by_their_own_interval(interval: Any, answer: str) -> None:
    """Not by whether it overlaps that of other patients, which says nothing on the two being equal."""
    own = {"name": "KD-Lite0", "against": "test", "value": 0.01, "interval": interval, "caveat": ""}
    reference = {"what": "real train against real test", "value": 0.0194, "interval": [0.01, 0.03]}
    kernel = {"translators": {"model": own}, "reference": reference}
    real = next(f for f in findings(Direction.model_validate(direction(kernel=kernel))) if "look like" in f.question)
    assert real.answer == answer and "for context, real train against real test 19" in real.words


def test_one_subjects_caveat_stands_in_the_table(runs: dict[str, Run]) -> None:
    one = direction(n=1)
    one["kernel"]["translators"]["model"]["caveat"] = "one subject only: its slices stand in for subjects"
    one["kernel"]["reference"] = None
    write_metrics(runs["pix2pix"], one)
    text = Page(report(runs["pix2pix"].path)).text
    assert text.count("One subject only: its slices stand in for subjects.") >= 2  # beside the answer, and in the table
    assert "Reference, real train" not in text


@pytest.mark.parametrize(("returned", "said"), [("unrelated", "have little to do with its input or the truth"),
                                                ("input", "returns its input nearly unchanged"),
                                                ("grey values", "only changes grey values")])
def test_a_model_that_does_not_translate_is_called_so_first(returned: str, said: str) -> None:
    assert said in verdict(returned={"finding": returned, "sentence": "So it is."}).split(".")[0]


def test_lesions_and_anatomy_are_in_the_verdict() -> None:
    said = verdict(lesions=LESIONS, anatomy={"kept": False, "sentence": "Shifted", "figures": []})
    assert "The anatomy is not kept" in said and "Of 29 clear lesions 3% vanished" in said and "69 spots" in said
    found = findings(Direction.model_validate(direction(lesions=LESIONS)))
    assert "3% (0% to 8%) vanished" in next(f.words for f in found if "lesion" in f.question)
    without = findings(Direction.model_validate(direction()))
    assert next(f.answer for f in without if "lesion" in f.question) == "Not measured"


def test_the_worst_are_those_beyond_the_usual_before_those_within() -> None:
    within = {"name": "Deformation", "unit": "mm", "value": 0.1, "limit": 1.0, "beyond": 0.0,
              "worst": [{"image": i, "image_id": f"within-{i}", "value": 0.9} for i in range(5)]}
    beyond = {"name": "Edges kept", "unit": "", "value": 0.9, "limit": 0.8, "beyond": 0.5,
              "worst": [{"image": 9, "image_id": f"beyond-{i}", "value": 0.3} for i in range(4)]}
    perfect = {"name": "Lost parts", "unit": "", "value": 0.0, "limit": 0.1, "beyond": 0.0,
               "worst": [{"image": 3, "image_id": "perfect", "value": 0.0}]}
    found = slice_sections.worst_reasons(Direction.model_validate(direction(
        lesions=LESIONS, anatomy={"kept": True, "sentence": "", "figures": [within, beyond, perfect]})))
    names = list(found)
    assert names[:2] == ["image-006", "image-007"] and "perfect" not in names
    assert [n for n in names if n.startswith("beyond")] == names[2:6]
    assert found["image-006"][0][1] == (10, 12) and "in the truth 17.9%" in found["image-006"][0][0]
    assert "only 30%" in found["beyond-0"][0][0] and "beyond the usual" in found["beyond-0"][0][0]


# ------------------------------------------------------------------ what is shown

def test_figures_intervals_references_and_n_stand_in_the_table(runs: dict[str, Run]) -> None:
    write_metrics(runs["pix2pix"])
    text = Page(report(runs["pix2pix"].path)).text
    for wanted in ("pix2pix, T1 to T2", "8 subjects", "4.92 to 5.82", "This model", "Histogram matching",
                   "Reference, real train against real test: 19.4", "model better on 6/6", "model better on 0/6",
                   "n = 12 slices of 6 subjects", "25% of images above 0.400 mm", "6 test subjects"):
        assert wanted in text, wanted
    for unwanted in ("latents", "Diversity", "drawn by a model", "Real and generated images"):
        assert unwanted not in text, unwanted


def test_slices_with_their_translation_truth_and_error_are_shown(runs: dict[str, Run]) -> None:
    run = runs["pix2pix"]
    write_metrics(run, direction(lesions=LESIONS))
    page = Page(report(run.path))
    data = Dataset.open(run.path.parent / "data")
    row, = (row for row in data.rows("T1", "test") if row.image_id == "image-006")
    other, = (row for row in data.rows("T2", "test") if row.image_id == "image-006")
    made = load_generator(run.path).translate(data.images([row]), 0)
    wanted = (data.pixels([row])[0], data.pixels([other])[0],
              np.rint((made[0, 0].clip(-1, 1) + 1) * 127.5).astype(np.uint8),
              error_colours(made, data.images([other]))[0])
    for tile in wanted:
        assert any(holds(picture, tile) for picture in page.pictures)
    assert "contains images of real patients; use --shareable" in page.text
    assert "8 of the 8 test slices of 4 subjects" in page.text and "25% of the grey range" in page.text
    assert "image-006" in page.text and "a spot like a lesion that the truth does not have" in page.text


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan-mri", "hybrid"])
def test_a_shareable_report_holds_no_picture_of_a_patient_or_made_of_one(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    if name != "hybrid":
        write_metrics(run, direction(lesions=LESIONS))
    page = Page(report(run.path, shareable=True))
    assert bool(page.pictures) == (name == "hybrid")  # figures are drawings
    data = Dataset.open(run.path.parent / "data")
    real = np.concatenate([data.pixels(data.rows(domain)) for domain in ("T1", "T2")])
    assert not any(holds(picture, tile) for picture in page.pictures for tile in real)
    assert "No real image is in this file" in page.text and "contains images of real patients" not in page.text
    assert "image-006" not in page.text and "w = 0.5" not in page.text
    assert name == "hybrid" or "that patient's anatomy" in page.text


def test_both_ways_of_a_two_way_model(runs: dict[str, Run]) -> None:
    back = [figure("MAE foreground", 3.21, spread=0.2)]
    write_metrics(runs["cyclegan-mri"], direction(cycle=back, identity=[figure("MAE foreground", 1.23, spread=0.2)]),
                  direction(source="T2", target="T1"))
    text = Page(report(runs["cyclegan-mri"].path)).text
    assert "T1 to T2: On 6 test subjects" in text and "T2 to T1: On 6 test subjects" in text
    assert "Cycle and identity error" in text and "3.21" in text and "1.23" in text
    assert "Output, synthetic T2" in text and "Output, synthetic T1" in text and "without use of their pairing" in text


def test_without_a_discriminator_nothing_is_called_a_gan(runs: dict[str, Run]) -> None:
    text = Page(report(runs["unet"].path)).text
    assert "A network without a discriminator (unet, no GAN)" in text and "A GAN" not in text
    assert "Not evaluated yet" in text and "has not been measured yet" in text and "Output, synthetic T2" in text
    assert "generator/l1" in text and "discriminator/" not in text


def test_unpaired_contrasts_have_no_truth_to_show(tmp_path: Path) -> None:
    write_contrasts(tmp_path / "data", subjects=8, paired=False)
    train_small(tmp_path, "cyclegan-mri", "run")
    found = {"finding": "input", "sentence": "So be it."}
    alone = direction(paired=False, translators={}, comparisons={}, returned=found)
    write_metrics(Run(tmp_path / "run"), alone)
    text = Page(report(tmp_path / "run")).text
    assert "The model returns its input nearly unchanged. There is no true T2" in text and "So be it." in text
    assert "Truth, real" not in text and "Output, synthetic T1" in text
    assert "on 8 T1 and 12 T2 slices of 10 subjects, which are not paired" in text


def test_figures_of_other_weights_show_no_worst_cases(runs: dict[str, Run]) -> None:
    write_metrics(runs["pix2pix"], direction(lesions=LESIONS), step=1)
    text = Page(report(runs["pix2pix"].path)).text
    assert "of the weights of step 1" in text and "The worst cases" not in text


def test_unfinished_or_without_data(runs: dict[str, Run]) -> None:
    run = runs["pix2pix"]
    shutil.rmtree(run.generator)
    assert "There is no finished generator yet" in Page(report(run.path)).text
    write_metrics(run)
    shutil.rmtree(run.path.parent / "data")
    shutil.rmtree(run.private_progress)
    page = Page(report(run.path))
    assert "contains images of real patients" not in page.text and "12 slices of 6 subjects" in page.text


# ------------------------------------------------------------------ the hybrid

def test_the_strip_shows_one_output_for_every_w_between_input_and_truth(runs: dict[str, Run]) -> None:
    run = runs["hybrid"]
    strip, = (b for b in letting_go(Context.of(run, None, print)) if isinstance(b, Pictures))
    assert [p.label for p in strip.pictures] == ["input", *(f"w = {i / 10:g}" for i in range(11)), "truth"]
    assert [p.note for p in strip.pictures][1:3] == ["step 2", "step 4"]
    page = Page(report(run.path))
    assert "The input loses its hold" in page.text and "w = 0.5" in page.text and "same latents" in page.text
    assert "contains images of real patients" in page.text


@pytest.mark.parametrize("size", [32, 128])
def test_a_progress_picture_is_read_as_it_was_written(tmp_path: Path, size: int) -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (4, 6, size, size), np.uint8)
    rows = dict(zip(("input", "output", "truth", "error"), tiles, strict=True))
    Image.fromarray(sheet(rows, "T1 to T2")).save(tmp_path / "step-000001.png")
    recipe = load("pix2pix", {"size": size})
    found = read_progress(tmp_path / "step-000001.png", recipe)
    assert list(found) == list(rows)
    for label, own in rows.items():
        assert (found[label] == own[..., None]).all()
    Image.fromarray(np.zeros((50, 60), np.uint8)).save(tmp_path / "step-000002.png")
    with pytest.raises(UserError, match="not laid out"):
        read_progress(tmp_path / "step-000002.png", recipe)
