"""One self-contained HTML file about a run or a study: what was trained on what, what came out, what is not shown."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe
from ganatomy.core.run import Run
from ganatomy.data.dataset import Dataset
from ganatomy.metrics.schema import PATIENTS_UNKNOWN
from ganatomy.reports import facts, figures, images, numbers, page, reproduce, results, translation
from ganatomy.reports.copies import audited
from ganatomy.reports.images import Picture
from ganatomy.reports.measured import measured, shows_patients
from ganatomy.reports.sides import Side, sheets, sides
from ganatomy.reports.study import study_report
from ganatomy.reports.translation_film import letting_go
from ganatomy.reports.translation_results import TranslationMetrics
from ganatomy.studies.folder import StudyFolder

Say = Callable[[str], None]
STATES = {"finished": "finished", "running": "still running, or killed", "interrupted": "interrupted",
          "stopped": "stopped", "new": "not started"}


def report(run: str | Path, *, data: str | Path | None = None, shareable: bool = False,
           out: Path | None = None, say: Say = lambda _: None) -> Path:
    """Write the report of a run or a study: one HTML file that holds everything it shows and loads nothing.

    Args:
        run: the run folder, or that of a finished study.
        data: a run's dataset folder, where that has moved; a study's report needs none.
        shareable: leave out every real image. Otherwise the report shows some and says so on top.
        out: the file to write; RUN/report.html if None.
        say: called with progress messages.

    Returns:
        the path of the file.

    Raises:
        UserError: no such run, a broken file in it, an unfinished study, or `data` is not the dataset that it was
            trained on.
    """
    if StudyFolder.is_study(run):
        if data is not None:
            raise UserError("the report of a study needs no dataset", where="--data", fix="leave it out")
        return study_report(run, shareable=shareable, out=out, say=say)
    opened = Run.open(run)
    target = page.target_of(out, opened.report_file)
    dataset = _dataset(opened, data, say)
    places = [opened.path] if dataset is None else [opened.path, dataset.path]
    template, context = _context(opened, dataset, shareable, say)
    return page.write(target, page.render(template, context, places), say)


def _dataset(run: Run, data: str | Path | None, say: Say) -> Dataset | None:
    """The run's dataset; None, and said, where it is gone or has changed. One named by `data` must fit."""
    try:
        dataset = Dataset.open(data if data is not None else run.dataset_path())
        if dataset.info.content != run.dataset_content():
            raise UserError("is not the dataset this run was trained on, or has changed since",
                            where=dataset.path, fix="name the right one with --data DATASET")
    except UserError as error:
        if data is not None:
            raise
        say(f"the report goes without real images: {error}")
        return None
    return dataset


def _context(run: Run, dataset: Dataset | None, shareable: bool, say: Say) -> tuple[str, dict[str, Any]]:
    """The template, and everything it shows."""
    recipe, translates = run.recipe(), facts.kind(run.recipe()).translates
    metrics = results.read_metrics(run.metrics_file, TranslationMetrics if translates else results.Metrics)
    notes = facts.dataset_notes(dataset, metrics)
    known = not any(PATIENTS_UNKNOWN in text.lower() for text in notes)
    if metrics and not known:  # an older evaluation did not pass the dataset's warnings on
        metrics = metrics.model_copy(update={"patients_known": False})
    common = _common(run, recipe, dataset, metrics, known) | {"shareable": shareable, "dataset_notes": notes}
    if translates:
        assert metrics is None or isinstance(metrics, TranslationMetrics)
        return "translation.html", common | translation.context(
            run, recipe, dataset, metrics, shareable=shareable, known=known, stale=bool(common["stale"]), say=say)
    return "template.html", common | _from_noise(run, recipe, dataset, metrics, shareable, known,
                                                 bool(common["stale"]), say)


def _from_noise(run: Run, recipe: Recipe, dataset: Dataset | None, metrics: results.Metrics | None, shareable: bool,
                known: bool, stale: bool, say: Say) -> dict[str, Any]:
    """What the report of a generator of images shows beside that of every run."""
    copied = shareable and audited(metrics) == "copies"
    real, synthetic = sides(run, recipe, dataset, shareable, known, say)
    synthetic = Side("Generated", None, page.COPIED) if copied else synthetic
    frames = letting_go(run, recipe, int(run.status().get("steps") or 0)) \
        if recipe.gan == "hybrid" and not shareable else []
    found = measured(run, recipe, dataset, metrics, shareable=shareable, stale=stale, say=say)
    return found | {
        "real": real, "synthetic": synthetic, "film": [] if copied else _film(run, say), "frames": frames,
        "film_chosen": len(sheets(run)) > images.FRAMES, "film_few": images.FEW_FRAMES,
        "shows_patients": real.picture is not None or bool(frames) or shows_patients(found),
        "held_out": translation.held_out(recipe, dataset) if frames else ""}


def _common(run: Run, recipe: Recipe, dataset: Dataset | None, metrics: results.Metrics | None,
            known: bool) -> dict[str, Any]:
    """What a report shows of every run."""
    log, status = run.log(), run.status()
    validation = figures.validation_series(log, facts.score(recipe))
    step, domain = facts.generator_step(run, recipe, validation), facts.domain(recipe, dataset)
    return {
        "recipe": recipe, "recipe_yaml": recipe.to_yaml(), "date": datetime.now(UTC).date().isoformat(),
        "version": page.version(), "state": STATES.get(str(status.get("state")), "in an unknown state"),
        "finished": status.get("state") == "finished", "message": status.get("message") or "",
        "training": facts.training(run, recipe, domain, log, step), "domain": domain, "metrics": metrics,
        "dataset_rows": facts.dataset_rows(dataset) if dataset else [], "known": known,
        "script_hash": "", "stale": _stale(run, metrics, step), "environment": facts.environment(run), "step": step,
        "time": facts.duration(facts.seconds(run, log)), "device": facts.device(run).partition(":")[0],
        "steps_done": int(status.get("step", 0)), **_splits(dataset, recipe, metrics, known),
        **_commands(dataset, recipe, metrics, status), **_curves(log, validation, step, recipe),
    }


def _splits(dataset: Dataset | None, recipe: Recipe, metrics: results.Metrics | None, known: bool) -> dict[str, Any]:
    splits = facts.splits(dataset, recipe, metrics, known)
    by_name = {split.name: split for split in splits}
    return {"splits": splits, "train": by_name.get("train"), "test": by_name.get("test")}


def _commands(dataset: Dataset | None, recipe: Recipe, metrics: results.Metrics | None,
              status: dict[str, Any]) -> dict[str, Any]:
    """The commands that make the run again, and what must be said beside them."""
    ended, info = _ended_early(status), dataset.info if dataset else None
    command = reproduce.train_command(recipe, int(status["step"]) if ended else None)
    prepare = reproduce.prepare_command(info, info.size[0] if info else recipe.size)
    seed = metrics.seed if metrics else None
    if isinstance(metrics, TranslationMetrics):
        beside = metrics.directions[0].beside if metrics.directions else []
        evaluate = reproduce.translation_command(metrics.n, beside, seed)
    else:
        images_of = {name: count.images for name, count in metrics.counts.items()} if metrics else {}
        evaluate = reproduce.evaluate_command(images_of.get("test"), images_of.get("synthetic"), seed)
    return {"prepare_command": prepare, "train_command": command, "ended_early": ended, "evaluate_command": evaluate,
            "needs_recipe_file": reproduce.needs_recipe_file(command), "needs_options": reproduce.needs_options(info),
            "stand_ins": [word for word in reproduce.STAND_INS if f" {word}" in prepare],
            "pretrained": f" {reproduce.PRETRAINED}" in command}


def _film(run: Run, say: Say) -> list[tuple[int, Picture]]:
    saved = sheets(run)
    if saved:
        say(f"laying out {len(saved)} sample sheets")
    return images.film_frames(saved)


def _curves(log: list[dict[str, Any]], validation: figures.Points, step: int | None,
            recipe: Recipe) -> dict[str, Any]:
    """Both curves, and a table of every loss term: mean over the first and the last tenth of the log."""
    series, score = figures.loss_series(log), facts.score(recipe)
    totals = {name: points for name, points in series.items() if "/" not in name} or series
    picture, outside, averaged = figures.loss_figure(totals) if totals else (None, 0, False)
    terms = []
    for name, points in series.items():
        values, tenth = [value for _, value in points], max(1, len(points) // 10)
        means = (float(np.mean(part)) for part in (values[:tenth], values[-tenth:]))
        terms.append((name, *map(numbers.number, means)))
    return {"loss_curve": picture, "outside": outside, "averaged": averaged, "loss_terms": terms,
            "logged": max(map(len, series.values()), default=0),
            "validation_name": figures.DISTANCES[score],
            "validation_curve": figures.validation_figure(validation, step, score) if validation else None}


def _stale(run: Run, metrics: results.Metrics | None, step: int | None) -> str:
    """A warning where the figures are about something else than what stands beside them."""
    if metrics is None:
        return ""
    if metrics.dataset and metrics.dataset != run.dataset_content():
        return "These figures were computed on another dataset than the run's own."
    if metrics.step is not None and step is not None and metrics.step != step:
        return (f"These figures are of the weights of step {metrics.step:,}, the generator is now that of step "
                f"{step:,}: run ganatomy evaluate RUN again.")
    return ""


def _ended_early(status: dict[str, Any]) -> bool:
    """Whether a time limit ended the training before its steps were done."""
    return status.get("state") == "finished" and int(status.get("step", 0)) < int(status.get("steps") or 0)
