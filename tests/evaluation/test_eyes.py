"""No image is judged by the network that it was made to please: not in evaluate, compare, select or a study."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ganatomy.comparison.compare import compare
from ganatomy.core.recipe import Recipe
from ganatomy.core.run import Run
from ganatomy.data.dataset import Dataset
from ganatomy.evaluation.evaluate import evaluate, table
from ganatomy.features.base import LITE0, SECOND, choose
from ganatomy.gans.rpgan import Model
from ganatomy.generators.config import read_config
from ganatomy.generators.generation import generate
from ganatomy.reports.report import report
from ganatomy.training.draws import make_feed
from ganatomy.training.state import TrainingState
from ganatomy.training.validation import Validator


@pytest.fixture
def pleasing(own_run: Run) -> Run:
    """A run whose training looked through Lite0, by its record."""
    path = own_run.generator / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"looks_through": [LITE0]}))
    return own_run


def test_by_default_other_features_judge_it(pleasing: Run) -> None:
    metrics = evaluate(pleasing.path, n=20)
    space = choose(SECOND).name
    assert metrics["extractor"] == space and metrics["looks_through"] == [LITE0]
    assert metrics["results"][0]["name"] == f"KD-{space}"
    assert not any("flattering" in r for r in metrics["results"])
    said = [*metrics["warnings"], *(verdict["says"] for verdict in metrics["verdicts"])]
    assert not any("looked through" in text for text in said)


def test_asked_for_its_own_eyes_are_marked_and_judge_nothing(pleasing: Run) -> None:
    metrics = evaluate(pleasing.path, n=20, features="lite0")
    marked = {r["name"] for r in metrics["results"] if r.get("flattering")}
    assert {"KD-Lite0", "FD-Lite0", "Recall-Lite0", "Diversity-Lite0", "Duplicates-Lite0"} <= marked
    assert not marked & {"Copies", "SSIM", "Histogram"}
    lights = {v["question"]: (v["light"], v["says"]) for v in metrics["verdicts"]}
    for question in ("realistic", "diverse"):
        assert lights[question][0] == "grey" and "looked through the network of Lite0" in lights[question][1]
    text = table(metrics)
    assert "KD-Lite0 × 1000 (flattering)" in text and "controls by KD-Lite0" not in text
    assert "note: Training looked through the network of Lite0" in text
    (board,) = compare([pleasing.path])["tables"]
    assert board["groups"][0]["rank"] is None and "was trained to please" in board["groups"][0]["barred"]
    page = Path(report(pleasing.path)).read_text(encoding="utf-8")
    assert "KD-Lite0 × 1000 (flattering)" in page and "The primary measure was KD-Lite0" not in page


def test_a_run_of_before_says_nothing_of_eyes_and_is_judged_as_before(own_run: Run) -> None:
    path = own_run.generator / "config.json"
    config = json.loads(path.read_text())
    del config["looks_through"]
    path.write_text(json.dumps(config))
    assert read_config(own_run.generator).looks_through == ()
    assert evaluate(own_run.path, n=20)["results"][0]["name"] == "KD-Lite0"


def test_its_images_in_a_dataset_keep_the_record(dataset: Dataset, trained_run: Run, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "looks_through", (LITE0,))
    synthetic = generate(trained_run.path, tmp_path / "synthetic", 20)
    assert evaluate(dataset.path, synthetic.path)["extractor"] == choose(SECOND).name


@pytest.mark.usefixtures("quick_scores")
def test_no_checkpoint_is_selected_by_its_own_eyes(dataset: Dataset, tiny: Recipe,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, cpu = tiny.model_copy(update={"select": "kd"}), torch.device("cpu")
    for seen, space in (((), "Lite0"), ((LITE0,), choose(SECOND).name)):
        monkeypatch.setattr(Model, "looks_through", seen)
        validator = Validator(make_feed(dataset, recipe, cpu), recipe)
        validator.score(TrainingState(recipe, 1, cpu).sampler())
        assert validator.features == space
