"""study: do synthetic images help a classifier? One command runs the protocol, and says what the data allow to be said.

docs/study.md explains it; EVIDENCE in docs/evidence.md has the statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganatomy.data.dataset import Dataset
from ganatomy.errors import UserError
from ganatomy.recipe import Recipe, load
from ganatomy.studying.cells import external_rows
from ganatomy.studying.folder import Cell, StudyFolder
from ganatomy.studying.folds import Place, check_held_out, deal, draw_subset, refuse_twins
from ganatomy.studying.processes import study_command
from ganatomy.studying.results import write_results
from ganatomy.studying.running import Here, Say, Show, run_cells
from ganatomy.studying.settings import StudySettings, resolve
from ganatomy.studying.trial import with_budget


def study(data: str | Path, out: str | Path, *, recipe: str | Path | Recipe | None = None,
          set: Mapping[str, Any] | None = None, budget: float | None = None, external: str | Path | None = None,
          workers: int = 1, ray: str | None = None, gpu_share: float | None = None, device: str = "auto",
          say: Say = lambda text: None, show: Show = lambda count: None, **settings: Any) -> dict[str, Any]:
    """Run an augmentation study, or go on with one; the same command again resumes it.

    Args:
        data: a labelled dataset folder.
        out: the study folder to make or to go on with.
        recipe: of the GANs: a packaged recipe's name, a YAML file or a `Recipe`; rpgan-64 if None.
        set: dotted recipe keys to override, such as {"steps": 500}.
        budget: seconds of training for each GAN, turned into a number of steps once, by a short trial, when the study
            begins: every GAN gets the same steps, however busy its machine is.
        external: a second, labelled dataset folder from elsewhere, to test on too.
        workers: how many cells run at a time, each in a process of its own with one thread.
        ray: run them on a Ray cluster instead: its address, `auto` for the one that this machine belongs to, or `local`
            for one of this machine with `workers` CPUs.
        gpu_share: of one GPU, for each cell on Ray; by default a quarter where the cluster has any.
        device: auto, cpu or cuda.
        say: called with lines for the user.
        show: called with where the study stands, at every change and now and then.
        settings: fields of `StudySettings`, such as k=(25, 50, 100) or positives=("tumour",). Those left out take
            their defaults in a new study, and what they were in one that is gone on with.

    Returns:
        What results.json holds; see docs/study.md.

    Raises:
        UserError: unusable data or settings, a study of other settings, or a cell that failed.
        KeyboardInterrupt: SIGINT or SIGTERM; what runs has been saved.
    """
    folder = begin(data, out, recipe=recipe, set=set, budget=budget, external=external, device=device, say=say,
                   **settings)
    outside = Path(external) if external is not None else folder.external_path()
    command = study_command(Path(data), folder.path, device, outside)
    left = cells_left(folder)
    if ray is None or not left:
        run_cells(folder, left, Here(folder, command, workers), say, show)
    else:
        from ganatomy.studying.ray_cluster import OnRay

        needed = [Path(data), *([outside] if outside else [])]
        with OnRay(folder, command, needed, ray, workers, gpu_share, device) as crew:
            run_cells(folder, left, crew, say, show)
    return write_results(folder, say)


def begin(data: str | Path, out: str | Path, *, recipe: str | Path | Recipe | None, set: Mapping[str, Any] | None,
          budget: float | None, external: str | Path | None, device: str, say: Say, **given: Any) -> StudyFolder:
    """Make the study folder, or check that the one there is of the same study. For the rest see `study`."""
    (dataset, other), folder = open_both(data, external), StudyFolder(out)
    begun = folder.exists()
    settings, places = settle(folder, dataset, other, recipe, set, budget, device, say, given)
    if begun:
        folder.note_datasets(dataset, other)
    else:
        folder.start(settings, places, dataset, other)
    return folder


def open_both(data: str | Path, external: str | Path | None) -> tuple[Dataset, Dataset | None]:
    """The dataset and the external one."""
    return Dataset.open(data), Dataset.open(external) if external is not None else None


def cells_left(folder: StudyFolder) -> list[Cell]:
    """The cells that are not done, in the order in which they are begun."""
    return [c for c in folder.all_cells() if not folder.cell(c).is_done()]


def settle(folder: StudyFolder, dataset: Dataset, other: Dataset | None, recipe: str | Path | Recipe | None,
           set: Mapping[str, Any] | None, budget: float | None, device: str, say: Say,
           given: Mapping[str, Any]) -> tuple[StudySettings, dict[str, Place]]:
    """The settings and folds of the study that is there, checked against what is given, or of a new one."""
    if folder.exists():
        if recipe is not None or set or budget is not None:
            say("the study has begun: its recipe and steps stay what they are, here they are not read again")
        kept = folder.settings()
        asked = StudySettings.model_validate({**kept.model_dump(), **given})
        folder.refuse_difference(asked, dataset, other)
        return kept, folder.places()
    settings, places = plan(dataset, recipe, set, other, given)
    if budget is not None and settings.needs_gan:
        settings = with_budget(settings, dataset, places, budget, device, say)
    return settings, places


def plan(dataset: Dataset, recipe: str | Path | Recipe | None, set: Mapping[str, Any] | None,
         external: Dataset | None, given: Mapping[str, Any]) -> tuple[StudySettings, dict[str, Place]]:
    """The settings and folds of a new study, with everything checked that can be before hours are spent."""
    chosen = recipe if isinstance(recipe, Recipe) else load(str(recipe or "rpgan-64"), set)
    settings = resolve(dataset, chosen, given)
    rows = dataset.rows(settings.domain)
    refuse_twins(dataset, rows)
    places = deal(rows, settings.folds, settings.seed)
    check_held_out(rows, places, settings)
    dataset.stack(rows[:1], settings.size)
    for cell in (Cell(settings.k[-1], f, s) for f in range(settings.folds) for s in range(settings.seeds)):
        draw_subset(rows, places, settings, cell.k, cell.fold, cell.seed)
    if external is not None:
        _check_external(external, dataset, settings)
    return settings, places


def _check_external(external: Dataset, dataset: Dataset, settings: StudySettings) -> None:
    """Raise `UserError` if the external set cannot be judged by classifiers of this study."""
    rows = external_rows(external, settings)
    if external.info.channels != dataset.info.channels:
        raise UserError("has another number of colour channels than the study's dataset", where=external.path,
                        fix="prepare both alike")
    external.stack(rows[:1], settings.size)
    unknown = sorted({r.label for r in rows} - {*dataset.info.classes})
    if unknown:
        raise UserError(f"has classes that the study's dataset has not: {', '.join(unknown)}", where=external.path,
                        fix="name the classes alike in both")
    for label in settings.positives:
        if label not in {r.label for r in rows}:
            raise UserError(f"has no images of class {label}", where=external.path,
                            fix="name the classes alike in both")
    ours, theirs = ({r.sha256 for r in found} for found in (dataset.rows(settings.domain), rows))
    if ours & theirs:
        raise UserError(f"shares {len(ours & theirs)} images with the study's dataset", where=external.path,
                        fix="give images of other patients")

