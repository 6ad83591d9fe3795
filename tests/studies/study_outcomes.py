"""Predictions of simulated studies: subjects with several images, arms that share what is hard about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ganatomy.studies.predictions import Key, Predictions

SIX = ("ORG", "AUG_ORG", "OVERSAMPLE", "AUG_OVERSAMPLE", "GAN", "AUG_GAN")


def outcomes(arms: Sequence[str] = SIX, *, subjects: int = 60, ks: Sequence[int] = (25, 50), folds: int = 3,
             seeds: int = 2, images: int = 3, gain: Mapping[str, float] | None = None, own: float = 0.3,
             refit: float = 0.05, seed: int = 0, prefix: str = "") -> dict[Key, Predictions]:
    """A study of `subjects`, every second with lesions.

    Args:
        gain: by arm, how much better it separates the classes (logit).
        own: standard deviation of what is an arm's alone in each image and cell.
        refit: standard deviation over cells of how well an arm separates.
        prefix: of the subjects' names.
    """
    rng, found = np.random.default_rng(seed), {}
    for fold in range(folds):
        names = [f"{prefix}s{i:03d}" for i in range(subjects) if i // 2 % folds == fold]
        subject = [name for name in names for _ in range(images)]
        lesion = np.array([int(name[-3:]) % 2 == 1 for name in subject])
        half = np.array([names.index(name) // 2 % 2 for name in subject], np.intp)
        hard = np.repeat(rng.normal(0, 0.8, len(names)), images) + rng.normal(0, 0.4, len(subject))
        for k in ks:
            for s in range(seeds):
                for arm in arms:
                    skill = 1 + (gain or {}).get(arm, 0) + rng.normal(0, refit)
                    logit = np.where(lesion, skill, -skill) + hard + rng.normal(0, own, len(subject))
                    found[k, fold, s, arm] = predictions(subject, lesion, half, 1 / (1 + np.exp(-logit)))
    return found


def predictions(subject: Sequence[str], lesion: np.ndarray, half: np.ndarray, scores: np.ndarray) -> Predictions:
    """Decisions at 0.5; images are numbered within this fold's."""
    ids = tuple(f"{name}-{i:03d}" for i, name in enumerate(subject))
    labels = tuple("lesion" if one else "none" for one in lesion)
    return Predictions(ids, tuple(subject), labels, half, {"lesion": scores}, {"lesion": scores >= 0.5})


def shuffled(said: Predictions, rng: np.random.Generator) -> Predictions:
    """The same with its rows in another order."""
    rows = rng.permutation(len(said.image_ids))
    columns = {name: tuple(getattr(said, name)[i] for i in rows) for name in ("image_ids", "subjects", "labels")}
    return replace(said, **columns, half=said.half[rows], scores={c: v[rows] for c, v in said.scores.items()},
                   decisions={c: v[rows] for c, v in said.decisions.items()})
