"""The training set of an arm: the cell's real images and what the arm adds to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import Row
from ganatomy.studies.arms import Arm
from ganatomy.studies.classifiers import TrainingSet
from ganatomy.studies.folds import Subset
from ganatomy.studies.settings import StudySettings

COPIES, NOISE = 3, 4  # what random numbers are drawn for, beside those of folds.py
Images = NDArray[np.float32]


@dataclass(frozen=True)
class Material:
    """What a cell's arms are made of. `synthetic` is by class; `seed` is the cell's own."""

    dataset: Dataset
    subset: Subset
    synthetic: Mapping[str, Dataset]
    settings: StudySettings
    k: int
    seed: int

    def real(self, rows: Sequence[Row]) -> Images:
        """Images [n, c, size, size] in [-1, 1]."""
        return self.dataset.images(rows, self.settings.size)

    def made(self, label: str, n: int) -> Images:
        """The first n synthetic images of a class."""
        images = self.synthetic[label]
        return images.images(images.rows()[:n], self.settings.size)


def synthetic_needed(settings: StudySettings, k: int, subset: Subset) -> dict[str, int]:
    """How many synthetic images of each class the arms of a cell need; classes that need none are left out."""
    needed: dict[str, int] = {}
    for arm in settings.parsed_arms():
        if arm.needs_gan:
            counts = _only(arm, k, subset, settings) if arm.source == "GAN_ONLY" \
                else dict.fromkeys(settings.positives, arm.added(k))
            needed |= {label: max(n, needed.get(label, 0)) for label, n in counts.items()}
    return needed


def _only(arm: Arm, k: int, subset: Subset, settings: StudySettings) -> dict[str, int]:
    """As many images of each class as the arm GAN has, real and synthetic together."""
    real = {label: sum(r.label == label for r in subset.rows) for label in sorted({r.label for r in subset.rows})}
    return {label: n + (arm.added(k) if label in settings.positives else 0) for label, n in real.items()}


def training_set(arm: Arm, material: Material) -> TrainingSet:
    """The images and the numbers of their classes: real ones first, then what is added."""
    settings, subset = material.settings, material.subset
    number = {label: i for i, label in enumerate(material.dataset.info.classes)}
    if arm.source == "GAN_ONLY":
        parts = [(label, material.made(label, n)) for label, n in _only(arm, material.k, subset, settings).items()]
    else:
        labels = sorted({r.label for r in subset.rows})
        parts = [(label, material.real([r for r in subset.rows if r.label == label])) for label in labels]
        if arm.source != "ORG":
            parts += [(label, _added(arm, label, material)) for label in settings.positives]
    images = np.concatenate([part for _, part in parts])
    return TrainingSet(images, np.repeat([number[label] for label, _ in parts], [len(p) for _, p in parts]))


def _added(arm: Arm, label: str, material: Material) -> Images:
    """What an arm adds for one positive class, [factor x k, c, size, size]."""
    n, rng = arm.added(material.k), np.random.default_rng((COPIES, material.seed))
    if arm.source == "GAN":
        return material.made(label, n)
    if arm.source == "FRESH":
        return material.real(material.subset.fresh[label][:n])
    own = [r for r in material.subset.rows if r.label == label]
    if arm.source == "OVERSAMPLE":  # each as often as any other, the first ones once more
        return material.real([own[i % len(own)] for i in range(n)])
    if arm.source == "COPIES":
        return material.real([own[i] for i in rng.integers(len(own), size=n)])
    if arm.source == "NOISE":
        images, rng = material.real(own), np.random.default_rng((NOISE, material.seed))
        drawn = rng.normal(images.mean(), images.std(), (n, *images.shape[1:]))
        return np.clip(drawn, -1, 1).astype(np.float32)
    raise UserError(f"{arm.source} adds nothing", where="--arms")
