"""A study's report: one file that says the answer first, loads nothing, and gives no patient away when it is shared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganatomy.core.errors import UserError
from ganatomy.data.dataset import Dataset
from ganatomy.data.pictures import to_uint8
from ganatomy.reports import study_sections
from ganatomy.reports.blocks import Words
from ganatomy.reports.report import report
from ganatomy.reports.study_context import StudyContext
from ganatomy.reports.study_sections import correlation_within
from ganatomy.studies.folder import Cell, StudyFolder
from ganatomy.studies.predictions import Predictions, write_predictions
from ganatomy.studies.results import table
from tests.builders import write_dataset
from tests.reports.test_report import HOSTILE, Page, holds
from tests.studies.study_outcomes import GAINS, SIX, outcomes, simulated

KS, FOLDS, SEEDS, CLASSES = (25, 100), 2, 2, ("healthy", "tumour")


def write_study(root: Path, results: dict[str, Any]) -> StudyFolder:
    """A study folder that holds study.json and results.json alone."""
    root.mkdir()
    kept = {"schema_version": 1, "dataset": "abc", "external": results["external_dataset"],
            "settings": results["settings"]}
    (root / "study.json").write_text(json.dumps(kept))
    (root / "results.json").write_text(json.dumps(results))
    return StudyFolder(root)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with its cells: predictions, GANs with their real and synthetic images, audits."""
    root = tmp_path_factory.mktemp("study") / "study"
    results = simulated(KS, FOLDS, SEEDS, SIX, CLASSES)
    folder = write_study(root, results)
    predicted = outcomes(SIX, ks=KS, folds=FOLDS, seeds=SEEDS, classes=CLASSES, gain=GAINS)
    for (k, fold, seed, arm), own in predicted.items():
        write_predictions(folder.cell(Cell(k, fold, seed)).predictions(arm), own)
    for number, audit in enumerate(results["audits"]):
        gan = folder.cell(Cell(audit["k"], audit["fold"], audit["seed"])).gan(1)
        write_dataset(gan.data, subjects=3, seed=number)
        write_dataset(gan.synthetic, subjects=6, seed=100 + number)
        gan.audit_file.write_text(json.dumps(audit))
    for cell in folder.all_cells():
        folder.cell(cell).note_done([])
    return root


@pytest.fixture
def study(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "study")
    return tmp_path / "study"


@pytest.fixture(scope="module")
def full(whole: Path) -> Page:
    return Page(report(whole, out=whole.parent / "full.html"))


@pytest.fixture(scope="module")
def shared(whole: Path) -> Page:
    return Page(report(whole, shareable=True, out=whole.parent / "shared.html"))


def tiles(folder: Path) -> np.ndarray:
    """The first images of a dataset as the report shows them."""
    dataset = Dataset.open(folder)
    return to_uint8(dataset.images(dataset.rows()[:6], 16))


def test_the_answer_comes_first(full: Page, whole: Path) -> None:
    answer = json.loads((whole / "results.json").read_text())["answer"]
    says = " ".join(answer["sentence"].split())
    assert full.text.index(says) < full.text.index("Which arm is better than which") < full.text.index("References")
    assert all(text in full.text for text in answer["why"])
    assert "k = 25, 100" in says and "30 subjects with tumour" in says and "2 folds, 2 seeds" in says


def test_every_figure_is_in_it(full: Page, whole: Path) -> None:
    results = json.loads((whole / "results.json").read_text())
    for score in results["scores"]:
        low, high = score["interval"]
        assert f"{score['value']:.3f} {low:.3f} to {high:.3f}" in full.text
    for contrast in results["contrasts"]:
        assert f"{contrast['difference']:+.3f}".replace("-", "−") in full.text
        assert contrast["answer"] is None or contrast["sentence"] in full.text


def test_real_images_are_shown_and_announced(full: Page, whole: Path) -> None:
    assert "contains images of real patients" in full.text and "version for sharing" not in full.text
    for gan in whole.glob("cells/*/gan-1"):
        for kind in ("data", "synthetic"):
            assert all(any(holds(p, tile) for p in full.pictures) for tile in tiles(gan / kind))


def test_the_version_for_sharing_has_no_real_image(shared: Page, whole: Path) -> None:
    assert "No real image is in this file" in shared.text
    assert "could not be audited" in shared.text  # some GANs are not clean, and it says so
    for gan in whole.glob("cells/*/gan-1"):
        assert not any(holds(p, tile) for p in shared.pictures for tile in tiles(gan / "data"))


def test_images_of_a_gan_that_copies_are_not_shared(shared: Page, whole: Path) -> None:
    copying, clean = (whole / "cells" / name / "gan-1/synthetic" for name in ("k0025-fold0-seed0", "k0100-fold0-seed0"))
    assert not any(holds(p, tile) for p in shared.pictures for tile in tiles(copying))
    assert all(any(holds(p, tile) for p in shared.pictures) for tile in tiles(clean))
    assert "the audit shows copies of patients" in shared.text


def test_gans_that_copy_are_marked_and_warned_of(full: Page) -> None:
    assert full.source.count('<tr class="copied remarked">') == 1
    assert "1 of 8 GANs makes copies of training images" in full.text
    assert "1 of 8 GANs could not be audited" in full.text
    assert "This is red." in full.text


def test_it_names_no_place(full: Page, whole: Path) -> None:
    assert str(whole.parent) not in full.source


def test_without_the_cells_it_has_the_figures(study: Path) -> None:
    shutil.rmtree(study / "cells")
    page = Page(report(study))
    assert "Which arm is better than which" in page.text and "The audit of every GAN" in page.text
    assert "Can the scores be read" not in page.text and "contains images of real patients" not in page.text


def test_a_broken_gan_folder_costs_its_images_only(study: Path) -> None:
    (study / "cells/k0025-fold1-seed0/gan-1/data/dataset.json").write_text("{")
    said: list[str] = []
    page = Page(report(study, say=said.append))
    assert any("k0025-fold1-seed0" in line for line in said) and "k = 25, fold 1, seed 1" in page.text


@pytest.mark.parametrize("given", [
    {"ks": (25,)}, {"arms": ("ORG",)}, {"arms": ("OVERSAMPLE", "FRESH", "COPIES", "NOISE")}, {"seeds": 1},
    {"arms": ("GAN_ONLY", "AUG2_GAN", "AUG2_ORG")}, {"subjects": 8}, {"classes": ("healthy", "A", "B")},
    {"external": True}, {"synthetic": (0.5, 1.5), "arms": (*SIX, "FRESH")}])
def test_odd_studies_have_a_report_and_a_summary_too(given: dict[str, Any], tmp_path: Path) -> None:
    results = simulated(**given)
    page = Page(report(write_study(tmp_path / "study", results).path))
    summary = table(results)
    assert " ".join(results["answer"]["sentence"].split()) in page.text
    assert summary.splitlines()[0].endswith(results["answer"]["sentence"])
    for text in (page.text, summary):
        assert ("On the external set" in text) == bool(given.get("external"))
    assert ("The audit of every GAN" in page.text) == bool(results["audits"])
    assert "subject 8" in page.text or "subjects" not in given
    assert "NaN" not in page.text and " None" not in page.text and "nan" not in page.text.split()


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    results = simulated()
    for row in [*results["scores"], *results["contrasts"]]:
        row |= {key: None for key in ("value", "difference", "interval", "floor", "p", "p_holm") if key in row}
    for audit in results["audits"]:
        audit |= {"results": [], "copies": {}}
    page = Page(report(write_study(tmp_path / "study", results).path))
    assert "There is no F1 to draw" in page.text and " None" not in page.text
    assert "8 of 8 GANs could not be audited" in page.text


def test_names_are_escaped_and_nothing_is_loaded(tmp_path: Path) -> None:
    results = simulated(classes=("healthy", HOSTILE, "$\\frac"), arms=("OVERSAMPLE", "GAN"))
    page = Page(report(write_study(tmp_path / "study", results).path))
    assert "script" not in page.tags and HOSTILE in page.text and "$\\frac" in page.text
    assert page.handlers == [] and all(uri.startswith("data:image/") for uri in page.loaded)


def test_an_unfinished_study_has_none(study: Path) -> None:
    (study / "results.json").unlink()
    with pytest.raises(UserError, match="ganatomy study"):
        report(study)
    assert not (study / "report.html").exists()


def test_it_needs_no_dataset(study: Path) -> None:
    with pytest.raises(UserError, match="leave it out"):
        report(study, data=study)


def test_the_correlation_holds_k_fixed() -> None:
    """Distances fall and gains rise with k, but within a k they have nothing to do with each other, or the reverse."""
    k = np.repeat([25.0, 50.0, 100.0], 6)
    x = np.tile([1.0, 2, 3, 4, 5, 6], 3) + 1000 / k
    up, down = 10 * k + x, 10 * k - x
    assert correlation_within(x, up, k)[0] == pytest.approx(1.0)
    assert correlation_within(x, down, k)[0] == pytest.approx(-1.0)
    assert correlation_within(x, np.ones(18), k) == (None, None)
    value, interval = correlation_within(x, np.tile([3.0, 1, 5, 6, 2, 4], 3), k)
    assert value is not None and interval is not None and interval[0] < value < interval[1] and interval[0] < 0


@pytest.mark.parametrize(("better", "answer"), [(True, "Yes, here"), (False, "No, the other way round")])
def test_a_planted_relation_of_distance_and_f1_is_found(better: bool, answer: str, tmp_path: Path) -> None:
    results = simulated(ks=(25,), folds=4, arms=("OVERSAMPLE", "GAN"))
    folder = write_study(tmp_path / "study", results)
    truth = np.arange(40) % 2 == 0
    for audit in results["audits"]:
        place = round(25 * audit["results"][0]["value"] - 20)  # 0 to 6 as the distance grows
        for arm, wrong in (("OVERSAMPLE", 8), ("GAN", place if better else 8 - place)):
            decided = truth ^ (np.arange(40) < wrong)
            said = Predictions(tuple(map(str, range(40))), ("s",) * 40,
                               tuple(CLASSES[int(t)] for t in truth), np.zeros(40, np.intp),
                               {"tumour": decided.astype(float)}, {"tumour": decided})
            write_predictions(folder.cell(Cell(25, audit["fold"], audit["seed"])).predictions(arm), said)
    context = StudyContext(folder, folder.settings(), results, print)
    related = study_sections._relation(context)
    words = [b.text for block in related for b in block.walk() if isinstance(b, Words)]
    assert words[0].startswith(answer) and "no test" in words[0] and "less that of the OVERSAMPLE" in words[1]
