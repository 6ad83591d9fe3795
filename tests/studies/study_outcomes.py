"""Simulated studies: subjects with several images, arms that share what is hard about them; and their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np

from ganatomy.core.recipe import load
from ganatomy.studies.predictions import Key, Predictions
from ganatomy.studies.protocol import StudySettings, named
from ganatomy.studies.results import analyse

SIX = ("ORG", "AUG_ORG", "OVERSAMPLE", "AUG_OVERSAMPLE", "GAN", "AUG_GAN")
GAINS = {"ORG": -0.3, "GAN": 1.0, "GAN_ONLY": -0.5, "FRESH": 1.2, "NOISE": -0.2}


def outcomes(arms: Sequence[str] = SIX, *, subjects: int = 60, ks: Sequence[int] = (25, 50), folds: int = 3,
             seeds: int = 2, images: int = 3, gain: Mapping[str, float] | None = None,
             classes: Sequence[str] = ("none", "lesion"), external: bool = False) -> dict[Key, Predictions]:
    """Predictions of a study's classifiers.

    Args:
        gain: by source, how much better it separates the classes (logit).
        classes: the negative one first; subjects have them in turn.
        external: all classifiers judge all subjects, every image twice.
    """
    rng, judged = np.random.default_rng(0), dict[Key, Predictions]()
    for fold in range(folds):
        numbers = [i for i in range(subjects) if external or i // len(classes) % folds == fold]
        who = np.repeat(numbers, images)
        half = np.repeat(np.arange(len(numbers)) // len(classes) % 2, images)
        hard = np.repeat(rng.normal(0, 0.8, len(numbers)), images) + rng.normal(0, 0.4, len(who))
        ids = [f"s{s:03d}-{i:03d}" for i, s in enumerate(who)]
        if external:
            who, hard, ids, half = np.tile(who, 2), np.tile(hard, 2), ids * 2, np.repeat([0, 1], len(who))
        for k, s, arm in ((k, s, arm) for k in ks for s in range(seeds) for arm in arms):
            skill = 1 + (gain or {}).get(named(arm).source, 0) + rng.normal(0, 0.05)
            logits = {name: np.where(who % len(classes) == c, skill, -skill) + hard + rng.normal(0, 0.3, len(who))
                      for c, name in enumerate(classes) if c}
            scores = {name: 1 / (1 + np.exp(-logit)) for name, logit in logits.items()}
            judged[k, fold, s, arm] = Predictions(
                tuple(ids), tuple(f"s{i:03d}" for i in who), tuple(classes[i % len(classes)] for i in who), half,
                scores, {name: own >= 0.5 for name, own in scores.items()})
    return judged


def shuffled(predictions: Predictions, rng: np.random.Generator) -> Predictions:
    """The same with its rows in another order."""
    rows = rng.permutation(len(predictions.image_ids))
    columns = {name: tuple(getattr(predictions, name)[i] for i in rows)
               for name in ("image_ids", "subjects", "labels")}
    return replace(predictions, **columns, half=predictions.half[rows],
                   scores={c: v[rows] for c, v in predictions.scores.items()},
                   decisions={c: v[rows] for c, v in predictions.decisions.items()})


def audits(ks: Sequence[int], folds: int, seeds: int, labels: Sequence[str]) -> list[dict[str, Any]]:
    """An audit of every cell's GANs: the largest k is the nearest, one of the smallest copies, one is not audited."""
    rows: list[dict[str, Any]] = []
    for k, fold, seed, label in ((k, f, s, c) for k in ks for f in range(folds) for s in range(seeds) for c in labels):
        light = {0: "red", 1: "grey", 2: "amber"}.get(len(rows), "green")
        value = (20.0 + fold + 3 * seed) / k
        rows.append({
            "cell": f"k{k:04d}-fold{fold}-seed{seed}", "k": k, "fold": fold, "seed": seed, "label": label,
            "training_subjects": k // 4, "training_images": k, "synthetic_images": 200, "blurred": 0.3,
            "copies": {"light": light, "says": f"This is {light}."},
            "results": [{"name": "KD-Lite0", "against": "test", "value": value, "interval": [0.8 * value, 1.3 * value],
                         "floor": 0.02, "floor_interval": None, "n_images": 40, "n_subjects": 10},
                        {"name": "Diversity-Lite0", "against": "test", "value": 0.5, "interval": None, "floor": 0.6,
                         "ratio": 0.83, "floor_interval": None, "n_images": 40, "n_subjects": 10}]})
    return rows


def simulated(ks: Sequence[int] = (25, 100), folds: int = 2, seeds: int = 2, arms: Sequence[str] = SIX,
              classes: Sequence[str] = ("healthy", "tumour"), subjects: int = 60, external: bool = False,
              synthetic: Sequence[float] = (1.5,)) -> dict[str, Any]:
    """What results.json holds of a simulated study."""
    settings = StudySettings(k=tuple(ks), folds=folds, seeds=seeds, arms=tuple(arms), positives=tuple(classes[1:]),
                             synthetic=tuple(synthetic), domain="t1", recipe=load("rpgan-64", {"steps": 4000}), size=16)
    names = [arm.name for arm in settings.parsed_arms()]
    grid: dict[str, Any] = {"ks": ks, "folds": folds, "seeds": seeds}
    held_out, outside = (outcomes(names, **grid, gain=GAINS, classes=classes, subjects=subjects, images=4, external=own)
                         for own in (False, True))
    with patch("ganatomy.studies.results.REPLICATES", 200):  # for speed
        analysis = analyse(held_out, outside if external else None, **grid, arms=names, positives=classes[1:])
    return {"schema_version": 1, "ganatomy": "0", "dataset": "abc", "external_dataset": "def" if external else None,
            "settings": settings.model_dump(mode="json"), **analysis,
            "audits": audits(ks, folds, seeds, classes[1:]) if settings.needs_gan else []}
