"""A finished study's predictions and audits, read and checked against the dataset: what its answer rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ganatomy.core.errors import UserError
from ganatomy.core.files import read_json
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import Row
from ganatomy.studies.audit import read_audit
from ganatomy.studies.cell_checks import check_gan_data, check_manifest, check_places, open_synthetic
from ganatomy.studies.cells import external_rows
from ganatomy.studies.folder import Cell, StudyFolder
from ganatomy.studies.folds import draw_subset
from ganatomy.studies.predictions import REMOVE_FILE, Key, Outcomes, Predictions, read_predictions
from ganatomy.studies.training_sets import synthetic_needed


@dataclass(frozen=True)
class Gathered:
    """All cells' predictions, those of the external set where there is one, and the audit of every GAN."""

    held_out: Outcomes
    external: Outcomes | None
    audits: list[dict[str, Any]]


def gather(folder: StudyFolder) -> Gathered:
    """Read all cells of a finished study.

    Raises:
        UserError: a file is missing or broken; held-out patients are among the training images of a classifier or a
            GAN; synthetic images or audits are not of the cell's GAN; or predictions are of other images.
    """
    return _Gathering(folder).gather()


class _Gathering:
    """The study's datasets, and what each cell must have by them."""

    def __init__(self, folder: StudyFolder) -> None:
        self.folder, self.settings, self.places = folder, folder.settings(), folder.places()
        self.dataset, other = _dataset(folder.dataset_path(), folder), None
        if folder.about()["external"] is not None:
            other = _dataset(folder.external_path(), folder)
        folder.refuse_difference(self.settings, self.dataset, other)
        self.rows = self.dataset.rows(self.settings.domain)
        check_places(self.places, self.rows, folder.folds_file)
        self.outside = external_rows(other, self.settings) if other else None

    def gather(self) -> Gathered:
        cells, held_out, external = self.folder.all_cells(), dict[Key, Predictions](), dict[Key, Predictions]()
        audits = [audit for cell in cells for audit in self._checked(cell)]
        for cell in cells:
            tested = self._held_out(cell)
            halves = [self.places[r.subject].half for r in tested]
            for arm in (arm.name for arm in self.settings.parsed_arms()):
                key, place = (cell.k, cell.fold, cell.seed, arm), self.folder.cell(cell)
                held_out[key] = self._said(place.predictions(arm), tested, halves)
                if self.outside is not None:  # each image is judged by the choice of either half
                    external[key] = self._said(place.predictions(arm, external=True), [*self.outside, *self.outside],
                                               [half for half in (0, 1) for _ in self.outside])
        return Gathered(held_out, external if self.outside is not None else None, audits)

    def _held_out(self, cell: Cell) -> list[Row]:
        return [r for r in self.rows if self.places[r.subject].fold == cell.fold]

    def _checked(self, cell: Cell) -> list[dict[str, Any]]:
        """The audits of a cell, once it is known whom its classifiers and GANs have learnt from."""
        subset = draw_subset(self.rows, self.places, self.settings, cell.k, cell.fold, cell.seed)
        place, held_out = self.folder.cell(cell), self._held_out(cell)
        for path, rows in ((place.manifest_file, subset.rows), (place.fresh_file, subset.fresh_rows)):
            check_manifest(path, rows, held_out, self.places, cell.fold)
        audits = []
        for label, wanted in synthetic_needed(self.settings, cell.k, subset).items():
            gan = place.gan(self.dataset.info.classes.index(label))
            check_gan_data(gan.data, [r for r in subset.rows if r.label == label], self.places, cell.fold)
            open_synthetic(gan, wanted)
            audit = read_audit(gan.audit_file, label)
            if audit.pop("of") != read_json(gan.made_file):  # which open_synthetic has just compared
                raise UserError("is the audit of other images than this GAN's", where=gan.audit_file, fix=REMOVE_FILE)
            audits.append({"cell": cell.name, "k": cell.k, "fold": cell.fold, "seed": cell.seed, **audit})
        return audits

    def _said(self, path: Path, rows: Sequence[Row], halves: Sequence[int]) -> Predictions:
        """An arm's predictions, if they are of these images."""
        said = read_predictions(path)
        expected = [tuple(getattr(r, name) for r in rows) for name in ("image_id", "subject", "label")]
        if [said.image_ids, said.subjects, said.labels] != expected or not np.array_equal(said.half, halves):
            raise UserError("its predictions are not of the images and halves that this cell tests", where=path,
                            fix=REMOVE_FILE)
        if said.scores.keys() != set(self.settings.positives):
            raise UserError(f"its classes are not {', '.join(self.settings.positives)}", where=path, fix=REMOVE_FILE)
        return said


def _dataset(path: Path | None, folder: StudyFolder) -> Dataset:
    if path is None:
        raise UserError("does not know where its dataset is", where=folder.path,
                        fix="run `ganatomy study DATASET STUDY` to its end")
    return Dataset.open(path)
