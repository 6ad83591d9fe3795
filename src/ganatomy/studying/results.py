"""What a study found: every cell's predictions and audits, gathered into results.json and results.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

from ganatomy import __version__
from ganatomy.errors import UserError
from ganatomy.files import read_json, write_json, write_text
from ganatomy.studying.folder import Cell, StudyFolder
from ganatomy.studying.predictions import Outcomes, read_predictions
from ganatomy.studying.statistics import analyse
from ganatomy.wording import counted

SCHEMA_VERSION = 1
COLUMNS = ("set", "arm", "k", "metric", "value", "low", "high", "floor", "images", "subjects", "positive_subjects")


def write_results(folder: StudyFolder, say: Callable[[str], None]) -> dict[str, Any]:
    """Analyse a finished study and write results.json and results.csv.

    Raises:
        UserError: cells are missing.
    """
    settings, cells = folder.settings(), folder.all_cells()
    missing = [c for c in cells if not folder.cell(c).is_done()]
    if missing:
        raise UserError(f"{counted(len(missing), 'cell')} of {len(cells)} not done, the first is {missing[0].name}",
                        where=folder.path, fix="run `ganatomy study DATASET STUDY` to go on")
    about, arms = folder.about(), [arm.name for arm in settings.parsed_arms()]
    found = analyse(_outcomes(folder, cells, arms, False),
                    _outcomes(folder, cells, arms, True) if about["external"] else None,
                    ks=settings.k, folds=settings.folds, seeds=settings.seeds, arms=arms,
                    positives=settings.positives, margin=settings.margin, seed=settings.seed)
    results = {"schema_version": SCHEMA_VERSION, "ganatomy": __version__, "dataset": about["dataset"],
               "external_dataset": about["external"], "settings": settings.model_dump(mode="json"), **found,
               "audits": _audits(folder, cells)}
    write_json(folder.results_file, results)
    write_text(folder.table_file, _csv(results))
    say(f"written: {folder.results_file}, {folder.table_file}")
    return results


def _outcomes(folder: StudyFolder, cells: Sequence[Cell], arms: Sequence[str], external: bool) -> Outcomes:
    return {(c.k, c.fold, c.seed, arm): read_predictions(folder.cell(c).predictions(arm, external))
            for c in cells for arm in arms}


def _audits(folder: StudyFolder, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """The audit of every GAN, with its cell and the F1 of the arms that used it."""
    return [{"cell": c.name, "k": c.k, "fold": c.fold, "seed": c.seed, **read_json(gan.audit_file)}
            for c in cells for gan in folder.cell(c).gans()]


def _csv(results: dict[str, Any]) -> str:
    """The scores as a table, one figure a line."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, table in (("held out", results), ("external", results.get("external") or {"scores": []})):
        for s in table["scores"]:
            low, high = s["interval"] or ("", "")
            writer.writerow([name, s["arm"], s["k"], s["metric"], s["value"], low, high, s["floor"], s["n_images"],
                             s["n_subjects"], s["n_positive_subjects"]])
    return buffer.getvalue()
