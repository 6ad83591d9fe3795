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
from numpy.typing import NDArray

from ganatomy import __version__
from ganatomy.core.errors import UserError
from ganatomy.core.files import disk_errors, write_json, write_text
from ganatomy.core.table import Table
from ganatomy.core.text import counted, estimate, number, p_value
from ganatomy.data.manifest import Row
from ganatomy.studies.analysis import analyse
from ganatomy.studies.answers import CANT_TELL, DOES_NOT, HELPS, HURTS
from ganatomy.studies.cell import Roles, external_rows
from ganatomy.studies.cell_gans import figure_of, light_of, read_audit
from ganatomy.studies.folder import REMOVE_CELL, StudyFolder
from ganatomy.studies.predictions import Key, Outcomes, Predictions, read_predictions

SCHEMA_VERSION = 1
COLUMNS = ("set", "arm", "k", "metric", "value", "low", "high", "floor", "images", "subjects", "positive_subjects")


def write_results(folder: StudyFolder, say: Callable[[str], None]) -> dict[str, Any]:
    """Analyse a finished study and write results.json and results.csv.

    Raises:
        UserError: cells are missing, or a cell is not what it must be (see `gather`).
    """
    with disk_errors(folder.path):
        for stale in (folder.results_file, folder.table_file):
            stale.unlink(missing_ok=True)
    settings, missing = folder.settings(), folder.cells_left()
    if missing:
        raise UserError(f"{counted(len(missing), 'cell')} of {len(folder.all_cells())} not done, the first is "
                        f"{missing[0].name}",
                        where=folder.path, fix="run `ganatomy study DATASET STUDY` to go on")
    gathered, about = gather(folder), folder.about()
    analysis = analyse(gathered.held_out, gathered.external, ks=settings.k, folds=settings.folds, seeds=settings.seeds,
                       arms=[arm.name for arm in settings.parsed_arms()], positives=settings.positives,
                       margin=settings.margin, seed=settings.seed)
    results = {"schema_version": SCHEMA_VERSION, "ganatomy": __version__, "dataset": about["dataset"],
               "external_dataset": about["external"], "settings": settings.model_dump(mode="json"), **analysis,
               "audits": gathered.audits}
    write_json(folder.results_file, results)
    write_text(folder.table_file, _csv(results))
    say(f"written: {folder.results_file}, {folder.table_file}")
    return results


def _csv(results: dict[str, Any]) -> str:
    """Scores and comparisons as a table, one value a line; k is empty for the mean over k."""
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
        UserError: held-out patients are among the training images of a classifier or a GAN; predictions are of other
            images; or a file is not as it was when its cell was done.
    """
    dataset, other = folder.open_dataset(), folder.open_external()
    settings = folder.settings()
    folder.refuse_difference(settings, dataset, other)
    outside = external_rows(other, settings) if other else []
    held_out, external, audits = dict[Key, Predictions](), dict[Key, Predictions](), []
    for cell in folder.all_cells():
        roles, place = Roles(folder, cell, dataset), folder.cell(cell)
        roles.refuse_leaks()
        place.check_files()
        for arm in settings.parsed_arms():
            key = (cell.k, cell.fold, cell.seed, arm.name)
            held_out[key] = _predictions(place.predictions(arm.name), roles.held_out, roles.halves)
            if other:  # each image is judged by the choice of either half
                external[key] = _predictions(place.predictions(arm.name, external=True), [*outside, *outside],
                                             np.repeat(np.arange(2), len(outside)))
        for label in roles.synthetic:
            audit = read_audit(place.gan(roles.number[label]).audit_file)
            del audit["of"]
            audits.append({"cell": cell.name, "k": cell.k, "fold": cell.fold, "seed": cell.seed, **audit})
    return Gathered(held_out, external if other else None, audits)


def _predictions(path: Path, rows: Sequence[Row], halves: NDArray[np.intp]) -> Predictions:
    """An arm's predictions, if they are of these images."""
    predictions = read_predictions(path)
    expected = [tuple(getattr(r, name) for r in rows) for name in ("image_id", "subject", "label")]
    if [predictions.image_ids, predictions.subjects, predictions.labels] != expected or \
            not np.array_equal(predictions.half, halves):
        raise UserError("its predictions are not of the images and halves that this cell tests", where=path,
                        fix=REMOVE_CELL)
    return predictions


# -- the table for a terminal

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
