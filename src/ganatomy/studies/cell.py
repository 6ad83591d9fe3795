"""One cell, start to end: who is in it, the GANs, their audits, a classifier for every arm. Run again, it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.core.hardware import choose_device
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import Row, write_manifest
from ganatomy.studies.cell_checks import check_gan_data, check_manifest, check_places, refuse_leaks
from ganatomy.studies.cell_gans import make_synthetic
from ganatomy.studies.classifiers import TrainingSet, decide, select, train_classifier
from ganatomy.studies.folder import Cell, StudyFolder
from ganatomy.studies.folds import Subset, draw_subset
from ganatomy.studies.predictions import Predictions, read_predictions, write_predictions
from ganatomy.studies.protocol import Arm, StudySettings

CELL_SEED = 5  # what random numbers are drawn for, beside those of folds.py and training_sets.py
Say = Callable[[str], None]


def run_cell(data: str | Path, study: str | Path, cell: Cell, *, external: str | Path | None = None,
             device: str = "auto", say: Say = lambda text: None) -> None:
    """Do whatever is left to do in one cell of a study that has been started.

    The result depends on the study's settings and the cell alone: not on what else runs, nor where, nor on what came
    before, as long as torch, device and the number of threads (one, set here) are the same.

    Args:
        data: the dataset folder.
        study: the study folder.
        cell: which.
        external: the external dataset folder, where the study has one; where it was when the study began if None.
        device: auto, cpu or cuda.
        say: called with lines for the log.

    Raises:
        UserError: not a study, another dataset, a cell that the study has not, held-out patients among the training
            images, or another process at this cell.
    """
    folder = StudyFolder.open(study)
    if cell not in folder.all_cells():
        raise UserError(f"has no cell {cell.name}", where=folder.path, fix="`ganatomy study ... --dry-run` lists them")
    where = choose_device(device)
    torch.set_num_threads(1)
    dataset, other = Dataset.open(data), _external(folder, external)
    settings = folder.settings()
    folder.refuse_difference(settings, dataset, other)
    with folder.cell(cell).lock():
        if not folder.cell(cell).is_done():
            _Work(folder, cell, settings, dataset, other, where, say).do()


def _external(folder: StudyFolder, given: str | Path | None) -> Dataset | None:
    if folder.about()["external"] is None:
        return None
    path = given or folder.external_path()
    if path is None:
        raise UserError("does not know where its external dataset is", where=folder.path, fix="name it with --external")
    return Dataset.open(path)


def cell_seed(settings: StudySettings, cell: Cell) -> int:
    """The seed of a cell's GANs and classifiers: the same for every k and arm of a fold and seed."""
    drawn = np.random.SeedSequence((CELL_SEED, settings.seed, cell.fold, cell.seed)).generate_state(1)
    return int(drawn[0]) % 2**31


class _Work:
    """What is done in a cell."""

    def __init__(self, study: StudyFolder, cell: Cell, settings: StudySettings, dataset: Dataset,
                 external: Dataset | None, device: torch.device, say: Say) -> None:
        self.cell, self.settings, self.dataset, self.external = cell, settings, dataset, external
        self.device, self.say = device, say
        self.folder, self.places = study.cell(cell), study.places()
        self.seed = cell_seed(settings, cell)
        self.number = {label: i for i, label in enumerate(dataset.info.classes)}
        self.rows = dataset.rows(settings.domain)
        check_places(self.places, self.rows, study.folds_file)
        self.held_out = [r for r in self.rows if self.places[r.subject].fold == cell.fold]

    def do(self) -> None:
        """All of it, in order; what is finished is not done again."""
        started = time.perf_counter()
        subset = self._subset()
        self.dataset.verify([*subset.rows, *self.held_out])
        material = Material(self.dataset, subset, self._synthetic(subset), self.settings, self.cell.k, self.seed)
        gans = time.perf_counter() - started
        for arm in self.settings.parsed_arms():
            if not self._is_judged(arm):
                self.say(f"arm {arm.name}")
                self._classify(arm, material)
        self.folder.note_done(self._all_files(material), seconds=round(time.perf_counter() - started, 1),
                              seconds_of_gans=round(gans, 1))

    def _subset(self) -> Subset:
        """The training images, written down before anything learns from them, and checked against who is held out."""
        subset = draw_subset(self.rows, self.places, self.settings, self.cell.k, self.cell.fold, self.cell.seed)
        for path, rows in ((self.folder.manifest_file, subset.rows), (self.folder.fresh_file, subset.fresh_rows)):
            refuse_leaks(rows, self.places, self.cell.fold, path)
            if not path.is_file():
                write_manifest(path, [replace(r, split="train") for r in rows] +
                               [replace(r, split="test") for r in self.held_out])
            check_manifest(path, rows, self.held_out, self.places, self.cell.fold)
        return subset

    def _synthetic(self, subset: Subset) -> dict[str, Dataset]:
        found = {}
        for label, wanted in synthetic_needed(self.settings, self.cell.k, subset).items():
            own = [r for r in subset.rows if r.label == label]
            held_out = [r for r in self.held_out if r.label == label]
            folder = self.folder.gan(self.number[label])
            if folder.data.is_dir():
                check_gan_data(folder.data, own, self.places, self.cell.fold)
            found[label] = make_synthetic(self.dataset, label, own, subset.unseen[label], held_out, wanted, folder,
                                          self.settings, self.seed, str(self.device), self.say)
        return found

    def _files(self, arm: Arm) -> list[Path]:
        """The files of an arm's predictions."""
        sets = [False] if self.external is None else [True, False]
        return [self.folder.predictions(arm.name, external) for external in sets]

    def _is_judged(self, arm: Arm) -> bool:
        """Whether all the files of an arm are there and can be read; those that cannot are made anew."""
        try:
            return all(path.is_file() and read_predictions(path) for path in self._files(arm))
        except UserError:
            return False

    def _all_files(self, material: Material) -> list[Path]:
        """What a finished cell has."""
        gans = [self.folder.gan(self.number[label]) for label in material.synthetic]
        return [self.folder.manifest_file, self.folder.fresh_file,
                *(p for g in gans for p in (g.data / "manifest.csv", g.synthetic / "manifest.csv", g.made_file,
                                            g.audit_file)),
                *(p for arm in self.settings.parsed_arms() for p in self._files(arm))]

    def _classify(self, arm: Arm, material: Material) -> None:
        """Train an arm's classifier, choose checkpoint and threshold on each half, apply them to the other."""
        classes = self.dataset.info.classes
        judged = [self.dataset.stack(self.held_out, self.settings.size)]
        outside = [] if self.external is None else external_rows(self.external, self.settings)
        if self.external is not None:
            judged.append(self.external.stack(outside, self.settings.size))
        probabilities = train_classifier(training_set(arm, material), len(classes), judged, self.settings.classifier,
                                         arm.augment, self.seed, self.device)
        half = np.array([self.places[r.subject].half for r in self.held_out], np.intp)
        positives = [self.number[c] for c in self.settings.positives]
        labels = np.array([self.number[r.label] for r in self.held_out], np.intp)
        chosen = select(probabilities[0], labels, half, positives)

        def said(rows: Sequence[Row], judged: Any, half: Any) -> Predictions:
            scores, decisions = decide(judged, chosen, half, positives)
            return Predictions(tuple(r.image_id for r in rows), tuple(r.subject for r in rows),
                               tuple(r.label for r in rows), half, {classes[c]: s for c, s in scores.items()},
                               {classes[c]: d for c, d in decisions.items()})

        if self.external is not None:
            twice, halves = [*outside, *outside], np.repeat(np.arange(2), len(outside))
            write_predictions(self.folder.predictions(arm.name, external=True),
                              said(twice, np.concatenate([probabilities[1]] * 2, axis=1), halves))
        write_predictions(self.folder.predictions(arm.name), said(self.held_out, probabilities[0], half))


def external_rows(external: Dataset, settings: StudySettings) -> list[Row]:
    """The images of the external set: all of its splits, in the study's domain or its only one."""
    only = len(external.info.domains) == 1
    return external.rows(None if only else settings.domain)


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
