"""The report of a study: one HTML file with the answer, what it rests on, the figures, the GANs, and the protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.reports import page, study_audits, study_figures, study_tables, study_words
from ganatomy.reports.images import Picture
from ganatomy.reports.lights import SHAPES
from ganatomy.reports.numbers import pair
from ganatomy.reports.study_pictures import strips
from ganatomy.reports.study_results import read_results
from ganatomy.studies.answers import CANT_TELL, DOES_NOT, HELPS, HURTS
from ganatomy.studies.folder import StudyFolder
from ganatomy.studies.predictions import read_predictions
from ganatomy.studies.protocol import StudySettings

Say = Callable[[str], None]
LIGHTS = {HELPS: ("green", "Helps"), DOES_NOT: ("amber", "Does not help"), HURTS: ("red", "Hurts"),
          CANT_TELL: ("grey", "Can't tell")}
BINS = 10  # of the calibration curves


def study_report(study: str | Path, *, shareable: bool = False, out: str | Path | None = None,
                 say: Say = lambda _: None) -> Path:
    """Write a study's report: one HTML file that holds everything it shows and loads nothing.

    Args:
        study: the folder of a finished study.
        shareable: leave out every real image, and the images of GANs that copy. Otherwise the report shows the real
            images that GANs learnt from beside theirs, and says so on top.
        out: the file to write; STUDY/report.html if None.
        say: called with progress messages.

    Returns:
        the path of the file.

    Raises:
        UserError: no study, or one that is not finished, or a broken file in it.
    """
    folder = StudyFolder.open(study)
    target = page.target_of(out, folder.report_file)
    settings = folder.settings()
    results = read_results(folder, settings)
    context = _context(folder, settings, results, shareable, say)
    return page.write(target, page.render("study.html", context, [folder.path]), say)


def _context(folder: StudyFolder, settings: StudySettings, results: dict[str, Any], shareable: bool,
             say: Say) -> dict[str, Any]:
    """Everything the template shows."""
    audits, external = results.get("audits") or [], results.get("external")
    shown = strips(folder, settings.size, not settings.positives[1:], shareable, say)
    command, needs_file = study_words.command(settings, bool(external))
    return {
        "date": datetime.now(UTC).date().isoformat(), "version": page.version(), "settings": settings,
        "shareable": shareable, "shows_patients": shown.has_real, "strips": shown,
        "own": _part(results, results, settings), "beyond": _part(external, results, settings) if external else None,
        "warnings": study_words.warnings(results, settings), "audits": study_audits.lines(audits),
        "lights": study_audits.counts(audits), "calibration": _calibration(folder, settings, results["arms"]),
        "relation": study_audits.relation(folder, audits, results["arms"]),
        "methods": study_words.methods(settings, results), "references": study_words.REFERENCES,
        "command": command, "needs_recipe_file": needs_file, "recipe_yaml": settings.recipe.to_yaml(),
        "one_class": not settings.positives[1:], "positives": study_words.listed(settings.positives),
    }


def _part(found: Mapping[str, Any], results: Mapping[str, Any], settings: StudySettings) -> dict[str, Any]:
    """What is shown of one set of test images: the study's own or the external one."""
    colour, word = LIGHTS.get(found["answer"]["verdict"], LIGHTS[CANT_TELL])
    contrasts, ks = found["contrasts"], results["ks"]
    return {
        "colour": colour, "word": word, "shape": SHAPES[colour], "says": found["answer"]["sentence"],
        "why": found["answer"]["why"], "primary": _primary(contrasts), "n_images": found["n_images"],
        "n_subjects": found["n_subjects"], "n_positive": found["n_positive_subjects"],
        "curves": study_figures.curves(found["scores"], results["arms"], ks),
        "forest": study_figures.forest(contrasts, settings.margin), "answers": study_tables.answers(contrasts),
        "controls": found.get("controls") or [], "scores": study_tables.score_tables(found["scores"], ks),
        "differences": study_tables.difference_tables(contrasts, ks),
        "by_subject": study_tables.by_subject(found.get("per_subject")),
    }


def _primary(contrasts: Sequence[Mapping[str, Any]]) -> dict[str, str] | None:
    """The primary comparison's difference, as large figures."""
    row = next((c for c in contrasts if c["primary"] and c["answer"] is not None and c["difference"] is not None), None)
    if row is None:
        return None
    value, _, interval = study_figures.difference(row["difference"], pair(row["interval"])).partition(" ")
    return {"name": f"{row['treatment']} − {row['reference']}", "value": value, "interval": interval}


def _calibration(folder: StudyFolder, settings: StudySettings, arms: Sequence[str]) -> list[tuple[str, Picture]]:
    """Curves of the arms at the largest k: held-out images of all folds and seeds, all positive classes together."""
    curves = {}
    for arm in arms:
        try:
            said = [read_predictions(folder.cell(c).predictions(arm)) for c in folder.all_cells()
                    if c.k == settings.k[-1]]
            scores = np.concatenate([p.scores[c] for p in said for c in settings.positives])
            truth = np.concatenate([[label == c for label in p.labels] for p in said for c in settings.positives])
        except (UserError, KeyError, ValueError):  # the cells' folders are gone: results.json is enough for the rest
            continue
        curves[arm] = _binned(scores, truth.astype(np.float64))
    if not curves:
        return []
    return [(panel.title, study_figures.reliability(panel, curves)) for panel in study_figures.panels(list(curves))]


def _binned(scores: NDArray[np.float64],
            truth: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean score and share of positives in bins of equally many images."""
    order = np.argsort(scores, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    return np.array([scores[p].mean() for p in parts]), np.array([truth[p].mean() for p in parts])
