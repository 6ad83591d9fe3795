"""What a study found: every cell's predictions and audits, gathered into results.json and results.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

from ganatomy import __version__
from ganatomy.core.errors import UserError
from ganatomy.core.files import disk_errors, write_json, write_text
from ganatomy.core.text import counted
from ganatomy.studies.folder import StudyFolder
from ganatomy.studies.gathering import gather
from ganatomy.studies.statistics import analyse

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
