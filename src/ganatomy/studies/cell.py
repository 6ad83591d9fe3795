"""One cell, start to end: who is in it, the GANs, their audits, a classifier for every arm. Run again, it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.core.hardware import choose_device
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import Row, read_manifest, write_manifest
from ganatomy.studies.cell_gans import make_synthetic
from ganatomy.studies.classifiers import TrainingSet, decide, select, train_classifier
from ganatomy.studies.folder import REMOVE_CELL, Cell, StudyFolder, of_a_cell
from ganatomy.studies.folds import Subset, check_places, draw_subset
from ganatomy.studies.predictions import Predictions, read_predictions, write_predictions
from ganatomy.studies.protocol import Arm, StudySettings

COPIES, NOISE, CELL_SEED = 3, 4, 5  # what random numbers are drawn for, beside those of folds.py
Say = Callable[[str], None]
Images = NDArray[np.float32]


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
    dataset, other = Dataset.open(data), folder.open_external(external)
    folder.refuse_difference(folder.settings(), dataset, other)
    with folder.cell(cell).lock():
        if not folder.cell(cell).is_done():
            with folder.cell(cell).attempt():
                _Work(folder, cell, dataset, other, where, say).do()


def cell_seed(settings: StudySettings, cell: Cell) -> int:
    """The seed of a cell's GANs and classifiers: the same for every k and arm of a fold and seed."""
    drawn = np.random.SeedSequence((CELL_SEED, settings.seed, cell.fold, cell.seed)).generate_state(1)
    return int(drawn[0]) % 2**31


class Roles:
    """Who does what in a cell, by the study's folds alone: whatever lies in the cell's folder is compared with it."""

    def __init__(self, study: StudyFolder, cell: Cell, dataset: Dataset) -> None:
        """Raises `UserError` if the study's folds are not the dataset's."""
        self.settings, self.cell, self.folder = study.settings(), cell, study.cell(cell)
        self.places, rows = study.places(), dataset.rows(self.settings.domain)
        check_places(self.places, rows, self.settings, study.folds_file)
        self.subset = draw_subset(rows, self.places, self.settings, cell.k, cell.fold, cell.seed)
        self.held_out = [r for r in rows if self.places[r.subject].fold == cell.fold]
        self.halves = np.array([self.places[r.subject].half for r in self.held_out], np.intp)
        self.number = {label: i for i, label in enumerate(dataset.info.classes)}
        self.synthetic = synthetic_needed(self.settings, cell.k, self.subset)

    def refuse_leaks(self) -> None:
        """Raise `UserError` unless classifiers and GANs learn from the images of this cell and from nobody else.

        Checked is what there is of manifest.csv, fresh.csv and the GANs' datasets: their training images are not of
        subjects whom the fold holds out, and they are those drawn; the test images are those held out.
        """
        of_gans = {self.folder.gan(self.number[label]).data / "manifest.csv": self.rows_of(label)
                   for label in self.synthetic}
        drawn = {self.folder.manifest_file: self.subset.rows, self.folder.fresh_file: self.subset.fresh_rows, **of_gans}
        for path, wanted in drawn.items():
            if not path.parent.is_dir():
                continue
            with of_a_cell():
                rows = read_manifest(path)
            training = [r for r in rows if r.split == "train"]
            wrong = sorted({r.subject for r in training if self._is_held_out(r.subject)})
            if wrong:
                raise UserError(f"held-out subjects are among the training images: {', '.join(wrong[:5])} "
                                f"({len(wrong)} in all)", where=path, fix=REMOVE_CELL)
            if _identities(training) != _identities(wanted):
                raise UserError("its training images are not those that this cell draws", where=path, fix=REMOVE_CELL)
            tested = [] if path in of_gans else self.held_out
            if _identities(r for r in rows if r.split != "train") != _identities(tested):
                raise UserError("its test images are not those that this fold holds out", where=path, fix=REMOVE_CELL)

    def rows_of(self, label: str) -> list[Row]:
        """The cell's training images of a class."""
        return [r for r in self.subset.rows if r.label == label]

    def _is_held_out(self, subject: str) -> bool:
        return subject not in self.places or self.places[subject].fold == self.cell.fold


def _identities(rows: Iterable[Row]) -> list[tuple[str, str, str, str]]:
    return sorted((r.image_id, r.subject, r.label, r.sha256) for r in rows)


class _Work:
    """What is done in a cell."""

    def __init__(self, study: StudyFolder, cell: Cell, dataset: Dataset, external: Dataset | None,
                 device: torch.device, say: Say) -> None:
        self.roles, self.dataset, self.external = Roles(study, cell, dataset), dataset, external
        self.settings, self.folder, self.cell = self.roles.settings, self.roles.folder, cell
        self.device, self.say, self.seed = device, say, cell_seed(self.settings, cell)

    def do(self) -> None:
        """All of it, in order; what is finished is not done again."""
        started = time.perf_counter()
        self._write_manifests()
        self.roles.refuse_leaks()
        self.dataset.verify([*self.roles.subset.rows, *self.roles.held_out])
        material = Material(self.dataset, self.roles.subset, self._synthetic(), self.settings, self.cell.k, self.seed)
        gans = time.perf_counter() - started
        arms = self.settings.parsed_arms()
        for arm in arms:
            if not self._is_judged(arm):
                self.say(f"arm {arm.name}")
                self._classify(arm, material)
        files = [self.folder.manifest_file, self.folder.fresh_file, *(p for arm in arms for p in self._files(arm))]
        for label in material.synthetic:
            files += self.folder.gan(self.roles.number[label]).files()
        self.folder.note_done(files, seconds=round(time.perf_counter() - started, 1), seconds_of_gans=round(gans, 1))

    def _write_manifests(self) -> None:
        """Write down whom the cell learns from and whom it tests, before anything learns."""
        held_out = [replace(r, split="test") for r in self.roles.held_out]
        for path, rows in ((self.folder.manifest_file, self.roles.subset.rows),
                           (self.folder.fresh_file, self.roles.subset.fresh_rows)):
            if not path.is_file():
                write_manifest(path, [replace(r, split="train") for r in rows] + held_out)

    def _synthetic(self) -> dict[str, Dataset]:
        return {label: make_synthetic(self.dataset, label, self.roles.rows_of(label), self.roles.subset.unseen[label],
                                      [r for r in self.roles.held_out if r.label == label], wanted,
                                      self.folder.gan(self.roles.number[label]), self.settings, self.seed,
                                      str(self.device), self.say)
                for label, wanted in self.roles.synthetic.items()}

    def _files(self, arm: Arm) -> list[Path]:
        """The files of an arm's predictions."""
        return [self.folder.predictions(arm.name, external) for external in ([True] if self.external else []) + [False]]

    def _is_judged(self, arm: Arm) -> bool:
        """Whether all the files of an arm are there and can be read; those that cannot are written anew."""
        try:
            return all(path.is_file() and read_predictions(path) for path in self._files(arm))
        except UserError:
            return False

    def _classify(self, arm: Arm, material: Material) -> None:
        """Train an arm's classifier, choose checkpoint and threshold on each half, apply them to the other."""
        classes, number, held_out = self.dataset.info.classes, self.roles.number, self.roles.held_out
        judged = [self.dataset.stack(held_out, self.settings.size)]
        outside = external_rows(self.external, self.settings) if self.external else []
        if self.external:
            judged.append(self.external.stack(outside, self.settings.size))
        probabilities = train_classifier(training_set(arm, material), len(classes), judged, self.settings.classifier,
                                         arm.augment, self.seed, self.device)
        positives = [number[c] for c in self.settings.positives]
        labels = np.array([number[r.label] for r in held_out], np.intp)
        chosen = select(probabilities[0], labels, self.roles.halves, positives)

        def predictions(rows: Sequence[Row], judged: Any, half: Any) -> Predictions:
            scores, decisions = decide(judged, chosen, half, positives)
            return Predictions(tuple(r.image_id for r in rows), tuple(r.subject for r in rows),
                               tuple(r.label for r in rows), half, {classes[c]: s for c, s in scores.items()},
                               {classes[c]: d for c, d in decisions.items()})

        if self.external:
            twice, halves = [*outside, *outside], np.repeat(np.arange(2), len(outside))
            write_predictions(self.folder.predictions(arm.name, external=True),
                              predictions(twice, np.concatenate([probabilities[1]] * 2, axis=1), halves))
        write_predictions(self.folder.predictions(arm.name),
                          predictions(held_out, probabilities[0], self.roles.halves))


def external_rows(external: Dataset, settings: StudySettings) -> list[Row]:
    """The images of the external set: all of its splits, in the study's domain or its only one."""
    only = len(external.info.domains) == 1
    return external.rows(None if only else settings.domain)


# -- what an arm's classifier learns from


@dataclass(frozen=True)
class Material:
    """What a cell's arms learn from. `synthetic` is by class; `seed` is the cell's own."""

    dataset: Dataset
    subset: Subset
    synthetic: Mapping[str, Dataset]
    settings: StudySettings
    k: int
    seed: int

    def real(self, rows: Sequence[Row]) -> Images:
        """Images [n, c, size, size] in [-1, 1]."""
        return self.dataset.images(rows, self.settings.size)

    def drawn(self, label: str, n: int) -> Images:
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
        parts = [(label, material.drawn(label, n)) for label, n in _only(arm, material.k, subset, settings).items()]
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
        return material.drawn(label, n)
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
