"""A finished study: every cell's predictions and audits, gathered into results.json, results.csv and a table."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ganatomy import __version__
from ganatomy.core.errors import UserError
from ganatomy.core.files import disk_errors, read_json, write_json, write_text
from ganatomy.core.table import Table
from ganatomy.core.text import counted, estimate, number, p_value
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import Row
from ganatomy.studies.analysis import analyse
from ganatomy.studies.answers import CANT_TELL, DOES_NOT, HELPS, HURTS
from ganatomy.studies.cell import external_rows, synthetic_needed
from ganatomy.studies.cell_checks import check_gan_data, check_manifest, check_places, open_synthetic
from ganatomy.studies.cell_gans import figure_of, light_of, read_audit
from ganatomy.studies.folder import Cell, StudyFolder
from ganatomy.studies.folds import draw_subset
from ganatomy.studies.predictions import REMOVE_FILE, Key, Outcomes, Predictions, read_predictions

SCHEMA_VERSION = 1
COLUMNS = ("set", "arm", "k", "metric", "value", "low", "high", "floor", "images", "subjects", "positive_subjects")


def write_results(folder: StudyFolder, say: Callable[[str], None]) -> dict[str, Any]:
    """Analyse a finished study and write results.json and results.csv.

    Raises:
        UserError: cells are missing, or a cell is not what it must be (see `gathering.gather`).
    """
    with disk_errors(folder.path):
        for stale in (folder.results_file, folder.table_file):
            stale.unlink(missing_ok=True)
    settings, cells = folder.settings(), folder.all_cells()
    missing = [c for c in cells if not folder.cell(c).is_done()]
    if missing:
        raise UserError(f"{counted(len(missing), 'cell')} of {len(cells)} not done, the first is {missing[0].name}",
                        where=folder.path, fix="run `ganatomy study DATASET STUDY` to go on")
    gathered, about = gather(folder), folder.about()
    found = analyse(gathered.held_out, gathered.external, ks=settings.k, folds=settings.folds, seeds=settings.seeds,
                    arms=[arm.name for arm in settings.parsed_arms()], positives=settings.positives,
                    margin=settings.margin, seed=settings.seed)
    results = {"schema_version": SCHEMA_VERSION, "ganatomy": __version__, "dataset": about["dataset"],
               "external_dataset": about["external"], "settings": settings.model_dump(mode="json"), **found,
               "audits": gathered.audits}
    write_json(folder.results_file, results)
    write_text(folder.table_file, _csv(results))
    say(f"written: {folder.results_file}, {folder.table_file}")
    return results


def _csv(results: dict[str, Any]) -> str:
    """Scores and comparisons as a table, one figure a line; k is empty for the mean over k."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    tables = {"held out": results} | ({"external": results["external"]} if results.get("external") else {})
    for name, table in tables.items():
        for s in table["scores"]:
            low, high = s["interval"] or ("", "")
            writer.writerow([name, s["arm"], s["k"], s["metric"], s["value"], low, high, s["floor"], s["n_images"],
                             s["n_subjects"], s["n_positive_subjects"]])
        for c in table["contrasts"]:
            low, high = c["interval"] or ("", "")
            writer.writerow([name, f"{c['treatment']} - {c['reference']}", c["k"], c["metric"], c["difference"], low,
                             high, c["floor"], table["n_images"], table["n_subjects"],
                             sum(table["n_positive_subjects"].values())])
    return buffer.getvalue()


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


LIGHTS = {HELPS: "[+]", DOES_NOT: "[!]", HURTS: "[x]", CANT_TELL: "[?]"}
AUDITS = {"green": "without a sign of copies", "amber": "with reservations about copies",
          "red": "WITH COPIES of training patients", "grey": "not audited for copies"}
MOST_SUBJECTS = 12  # named one by one, where they are too few for intervals
Entry = Mapping[str, Any]


def table(results: Entry) -> str:
    """results.json as lines for a terminal.

    The answer and why, F1 of every arm for every k, the comparisons that have an answer, the audits of the GANs in one
    line; then the same of the external set, where there is one.
    """
    parts = [_answer(results), *_tables(results, results["ks"]), "\n".join(_audits(results.get("audits") or []))]
    external = results.get("external")
    if external:
        parts += [f"On the external set ({counted(external['n_images'], 'image')} of "
                  f"{counted(external['n_subjects'], 'subject')}):\n{_answer(external)}",
                  *_tables(external, results["ks"])]
    return "\n\n".join(part for part in parts if part)


def _answer(results: Entry) -> str:
    """[+] helps, [!] does not help, [x] hurts, [?] can't tell; then why, a line a reason."""
    answer = results["answer"]
    return "\n".join([f"{LIGHTS.get(answer['verdict'], '[?]')} {answer['verdict']}: {answer['sentence']}",
                      *(f"    {text}" for text in answer["why"])])


def _tables(results: Entry, ks: Sequence[int]) -> list[str]:
    """Scores, comparisons with an answer and, where subjects are few, each one's share, of one set of test images."""
    shown: list[int | None] = [*ks, *([None] if len(ks) > 1 else [])]
    f1 = {(s["arm"], s["k"]): s for s in results["scores"] if s["metric"] == "f1"}
    rows = [[arm, *(estimate(f1[arm, k]["value"], f1[arm, k]["interval"]) for k in shown)]
            for arm in dict.fromkeys(arm for arm, _ in f1)]
    floor = next((s["floor"] for (_, k), s in f1.items() if k is None), None)
    if floor is not None:
        rows.append(["all called positive", *([number(floor, 3)] * len(shown))])
    scores = Table(["F1", *(f"k = {k}" if k is not None else "mean over k" for k in shown)], rows,
                   notes=["In brackets 95% intervals."])
    contrasts = Table(["F1, mean over k", "difference", "p", "Holm's p", "answer"], [
        [f"{c['treatment']} - {c['reference']}" + (" (primary)" if c["primary"] else ""),
         estimate(c["difference"], c["interval"], sign=True), p_value(c["p"]), p_value(c["p_holm"]), c["answer"]]
        for c in results["contrasts"] if c["answer"] is not None])
    return [scores.text(), contrasts.text(), _per_subject(results.get("per_subject") or {}).text()]


def _per_subject(shares: Mapping[str, Mapping[str, float]]) -> Table:
    """The share of each subject's images that is called right; no rows where there are many subjects, or none."""
    subjects = list(dict.fromkeys(subject for own in shares.values() for subject in own))
    few = shares if len(subjects) <= MOST_SUBJECTS else {}
    return Table(["called right", *subjects], [[arm, *(number(own.get(s), 3) for s in subjects)]
                                               for arm, own in few.items()])


def _audits(audits: Sequence[Entry]) -> list[str]:
    """All GANs in one line: how many copy, and the kernel distance by k."""
    if not audits:
        return []
    lights, distances = [light_of(a) for a in audits], dict[int, list[float]]()
    counts = ", ".join(f"{lights.count(light)} {what}" for light, what in AUDITS.items() if light in lights)
    copying = [a["cell"] for a, light in zip(audits, lights, strict=True) if light == "red"]
    names = f" ({', '.join(dict.fromkeys(copying))})" if copying else ""
    for a in audits:
        if distance := figure_of(a, "KD"):
            distances.setdefault(a["k"], []).append(1000 * distance["value"])
    medians = ", ".join(f"{number(statistics.median(values))} (k = {k})" for k, values in sorted(distances.items()))
    far = f"; median kernel distance x 1000 from held-out patients: {medians}; real images 0 on average" \
        if medians else ""
    return [f"{counted(len(audits), 'GAN')}: {counts}{names}{far}", *poor_gans(audits)]


def poor_gans(audits: Sequence[Entry]) -> list[str]:
    """A sentence if GANs are farther from the held-out patients than blurred real images are."""
    far = [a for a in audits if a.get("blurred") is not None
           and (distance := figure_of(a, "KD")) and a["blurred"] < distance["value"]]
    if not far:
        return []
    return [f"The synthetic images of {len(far)} of {counted(len(audits), 'GAN')} are farther from held-out patients "
            "than blurred real images are: where they are many, the answer is about poor images. Train longer "
            "(--budget, --set steps=N)."]
