"""The summary a study prints, of results made from simulated predictions; the helpers also serve the report's tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from ganatomy.core.recipe import load
from ganatomy.studies.predictions import Outcomes, Predictions
from ganatomy.studies.protocol import StudySettings
from ganatomy.studies.results import analyse, poor_gans, table

SIX = ("ORG", "AUG_ORG", "OVERSAMPLE", "AUG_OVERSAMPLE", "GAN", "AUG_GAN")
GAINS = {"ORG": -0.3, "GAN": 1.0, "GAN_ONLY": -0.5, "FRESH": 1.2, "NOISE": -0.2}


def outcomes(ks: Sequence[int], folds: int, seeds: int, arms: Sequence[str], classes: Sequence[str], subjects: int = 60,
             external: bool = False) -> Outcomes:
    """Predictions of simulated classifiers, better with k and by `GAINS`; classes[0] is the negative one."""
    rng = np.random.default_rng(0)
    label = np.arange(subjects) % len(classes)
    hard = rng.normal(0, 1.0, subjects)
    found = {}
    for fold in range(folds):
        own = np.flatnonzero(external | (np.arange(subjects) // len(classes) % folds == fold))
        who = np.repeat(own, 4)
        half = np.arange(len(who)) // 4 // len(classes) // folds % 2
        ids = [f"i{s}-{i % 4}" for i, s in enumerate(who)]
        if external:
            who, ids, half = np.tile(who, 2), ids * 2, np.repeat([0, 1], len(who))
        noise = rng.normal(0, 0.7, (len(classes), len(who)))
        for k, seed, arm in ((k, s, a) for k in ks for s in range(seeds) for a in arms):
            skill = 0.4 * np.log10(k) + GAINS.get(arm.partition("@")[0].removeprefix("AUG_").removeprefix("AUG2_"), 0.0)
            scores, decisions = {}, {}
            for c, name in enumerate(classes[1:], start=1):
                logit = skill * np.where(label[who] == c, 1, -1) + hard[who] + noise[c] + rng.normal(0, 0.4, len(who))
                scores[name] = 1 / (1 + np.exp(-logit))
                decisions[name] = scores[name] > 0.5
            found[k, fold, seed, arm] = Predictions(
                tuple(ids), tuple(f"s{s}" for s in who), tuple(classes[label[s]] for s in who), half.astype(np.intp),
                scores, decisions)
    return found


def audits(ks: Sequence[int], folds: int, seeds: int, labels: Sequence[str]) -> list[dict[str, Any]]:
    """An audit of every cell's GANs: the largest k is the nearest, one of the smallest copies, one is not audited."""
    found: list[dict[str, Any]] = []
    for k, fold, seed, label in ((k, f, s, c) for k in ks for f in range(folds) for s in range(seeds) for c in labels):
        light = {0: "red", 1: "grey", 2: "amber"}.get(len(found), "green")
        value = (20.0 + fold + 3 * seed) / k
        found.append({
            "cell": f"k{k:04d}-fold{fold}-seed{seed}", "k": k, "fold": fold, "seed": seed, "label": label,
            "training_subjects": k // 4, "training_images": k, "synthetic_images": 200, "blurred": 0.3,
            "copies": {"light": light, "says": f"This is {light}."},
            "results": [{"name": "KD-Lite0", "against": "test", "value": value, "interval": [0.8 * value, 1.3 * value],
                         "floor": 0.02, "floor_interval": None, "n_images": 40, "n_subjects": 10},
                        {"name": "Diversity-Lite0", "against": "test", "value": 0.5, "interval": None, "floor": 0.6,
                         "ratio": 0.83, "floor_interval": None, "n_images": 40, "n_subjects": 10}]})
    return found


def simulated(ks: Sequence[int] = (25, 100), folds: int = 2, seeds: int = 2, arms: Sequence[str] = SIX,
              classes: Sequence[str] = ("healthy", "tumour"), subjects: int = 60, external: bool = False,
              synthetic: Sequence[float] = (1.5,)) -> dict[str, Any]:
    """What results.json holds of a simulated study."""
    settings = StudySettings(k=tuple(ks), folds=folds, seeds=seeds, arms=tuple(arms), positives=tuple(classes[1:]),
                             synthetic=tuple(synthetic), domain="t1", recipe=load("rpgan-64"), size=16)
    names = [arm.name for arm in settings.parsed_arms()]
    grid = (ks, folds, seeds, names, classes, subjects)
    with patch("ganatomy.studies.results.REPLICATES", 200):  # for speed
        found = analyse(outcomes(*grid), outcomes(*grid, external=True) if external else None, ks, folds, seeds, names,
                        classes[1:])
    return {"schema_version": 1, "ganatomy": "0", "dataset": "abc", "external_dataset": "def" if external else None,
            "settings": settings.model_dump(mode="json"), **found,
            "audits": audits(ks, folds, seeds, classes[1:]) if settings.needs_gan else []}


@pytest.fixture(scope="module")
def six() -> dict[str, Any]:
    return simulated()


@pytest.mark.parametrize(("verdict", "mark"), [("helps", "[+]"), ("hurts", "[x]"), ("does not help", "[!]"),
                                               ("can't tell", "[?]")])
def test_the_answer_is_first(six: dict[str, Any], verdict: str, mark: str) -> None:
    lines = table({**six, "answer": {**six["answer"], "verdict": verdict}}).splitlines()
    assert lines[0] == f"{mark} {verdict}: {six['answer']['sentence']}"
    assert [line.strip() for line in lines[1:1 + len(six["answer"]["why"])]] == six["answer"]["why"]


def test_audits_are_one_line_that_names_copies(six: dict[str, Any]) -> None:
    line = next(line for line in table(six).splitlines() if line.startswith("8 GANs"))
    assert "1 WITH COPIES" in line and "(k0025-fold0-seed0)" in line and "1 not audited" in line
    near, far = (float(line.split(f" (k = {k})")[0].split()[-1]) for k in (100, 25))
    assert near == pytest.approx(220, rel=0.01) and far == pytest.approx(880, rel=0.01)  # medians, times 1000


@pytest.mark.parametrize("given", [
    {"ks": (25,)}, {"arms": ("ORG",)}, {"arms": ("ORG", "FRESH", "COPIES", "NOISE", "OVERSAMPLE")}, {"seeds": 1},
    {"subjects": 8}, {"classes": ("healthy", "A", "B")}, {"external": True}, {"synthetic": (0.5, 1.5)}])
def test_odd_studies_are_told_of_too(given: dict[str, Any]) -> None:
    results = simulated(**given)
    text = table(results)
    assert text.splitlines()[0].endswith(results["answer"]["sentence"])
    assert ("On the external set" in text) == bool(given.get("external"))
    assert all(line == line.rstrip() for line in text.splitlines())


def test_of_few_subjects_each_stands_by_itself() -> None:
    results = simulated(subjects=8)
    _, *lines = table(results).partition("Called right")[2].splitlines()
    assert [line.split()[0] for line in lines[:8]] == sorted(f"s{i}" for i in range(8))


def test_gans_farther_than_blurred_images_are_named() -> None:
    few = audits([25], 2, 1, ["tumour"])  # distances of 0.8 and 0.84
    assert "of 1 of 2 GANs" in poor_gans([{**few[0], "blurred": 0.7}, {**few[1], "blurred": 0.9}])[0]
    assert poor_gans([{**few[0], "blurred": 0.9}, {**few[1], "blurred": None}]) == []
