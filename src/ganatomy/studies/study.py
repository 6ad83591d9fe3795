"""study: do synthetic images help a classifier? One command runs the protocol, and tells what the data allow.

docs/study.md explains it; EVIDENCE in docs/evidence.md has the statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganatomy.core import recipe as recipes
from ganatomy.core.files import record_command
from ganatomy.core.recipe import Recipe, load, parse
from ganatomy.core.text import command_line
from ganatomy.data.dataset import Dataset
from ganatomy.studies.clusters import MOST_TASKS, OnRay, check_address, write_jobs
from ganatomy.studies.folder import StudyFolder, cells_of
from ganatomy.studies.folds import Place, check_places
from ganatomy.studies.planning import (
    cell_seconds,
    check_recipe,
    describe,
    plan,
    refuse_place,
    refuse_synthetic,
    with_budget,
)
from ganatomy.studies.protocol import ClassifierSettings, StudySettings, recipe_of_study, validated
from ganatomy.studies.results import write_results
from ganatomy.studies.workers import Here, Say, Show, run_cells, study_command


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
        external: a second, labelled dataset folder from elsewhere, to test on too; where it was when the study was last
            started if None.
        workers: how many processes run cells at a time, each with one thread.
        ray: run them on a Ray cluster instead: its address, `auto` for the one that this machine belongs to, or `local`
            for one of this machine with `workers` CPUs.
        gpu_share: of one GPU, for each worker on Ray; by default a quarter where the cluster has any.
        device: auto, cpu or cuda.
        say: called with lines for the user.
        show: called with where the study stands, every moment.
        settings: fields of `StudySettings`, such as k=(25, 50, 100), positives="tumour", classifier="resnet" or
            classifier={"name": "fcn", "updates": 300}. Those left out take their defaults in a new study, and what they
            were in one that is gone on with.

    Returns:
        What results.json holds; see docs/study.md.

    Raises:
        UserError: unusable data or settings, a study of other settings, or a cell that failed.
        KeyboardInterrupt: SIGINT or SIGTERM; what runs has been saved.

    Example:
        >>> results = ganatomy.study("dataset", "study", domain="T1", k=(4,), imbalance=1.0, folds=2, seeds=1,
        ...                          arms=("OVERSAMPLE", "COPIES"), classifier={"updates": 20})
        >>> results["answer"]["verdict"]
        "can't tell"
    """
    if ray is not None and not StudyFolder(out).exists():
        check_address(ray)  # before anything is written
    folder = begin(data, out, recipe=recipe, set=set, budget=budget, external=external, device=device, say=say,
                   **settings)
    command = _command(data, folder, external, device)
    if ray is None or not folder.cells_left():
        run_cells(folder, Here(command, workers), say, show)
    else:
        with OnRay(folder, command, ray, workers, gpu_share, device) as crew:
            run_cells(folder, crew, say, show)
    return write_results(folder, say)


def jobs(data: str | Path, out: str | Path, *, external: str | Path | None = None, device: str = "auto",
         workers: int | None = None, say: Say = lambda text: None, **given: Any) -> list[str]:
    """Begin a study, or go on with one, as `study` does, and write job scripts for SLURM instead of running its cells.

    Args:
        data, out, external, device, say, given: as of `study`.
        workers: tasks of the array; one for each cell that is left if None.

    Returns:
        The two lines that submit the scripts; none if every cell is done.

    Raises:
        UserError: as `study`, or a path that a job script cannot hold.
    """
    folder = begin(data, out, **{"recipe": None, "set": None, "budget": None, **given}, external=external,
                   device=device, say=say)
    left = len(folder.cells_left())
    if not left:
        say("every cell is done; `ganatomy study DATASET STUDY` writes the results")
        return []
    tasks = min(workers or left, left, MOST_TASKS)
    say("a short trial, for the time that the jobs ask for")
    seconds = cell_seconds(folder.settings(), Dataset.open(data), folder.places(), device)
    return write_jobs(folder, _command(data, folder, external, device), tasks, -(-left // tasks) * seconds)


def dry_run(data: str | Path, out: str | Path, *, recipe: str | Path | Recipe | None = None,
            set: Mapping[str, Any] | None = None, budget: float | None = None, external: str | Path | None = None,
            workers: int = 1, device: str = "auto", say: Say = lambda text: None, **settings: Any) -> str:
    """What `study` with these arguments would do and how long it would take, in words; some seconds of trials.

    Raises:
        UserError: whatever `study` would refuse before its first cell.
    """
    folder = StudyFolder(out)
    dataset, other = _open_both(data, external, folder)
    settled, places = _settle(folder, dataset, other, recipe, set, budget, device, say, settings)
    cells = folder.cells_left() if folder.exists() else cells_of(settled)
    return describe(settled, places, dataset, cells, workers, device)


def begin(data: str | Path, out: str | Path, *, recipe: str | Path | Recipe | None, set: Mapping[str, Any] | None,
          budget: float | None, external: str | Path | None, device: str, say: Say, **given: Any) -> StudyFolder:
    """Make the study folder, or check that the one there is of the same study. For the rest see `study`."""
    folder = StudyFolder(out)
    dataset, other = _open_both(data, external, folder)
    begun = folder.exists()
    settings, places = _settle(folder, dataset, other, recipe, set, budget, device, say, given)
    if begun:
        folder.note_datasets(dataset, other)
    else:
        folder.start(settings, places, dataset, other)
        record_command(folder.commands_file, _as_typed(settings, recipe, set, budget, external, device,
                                                          given))
    return folder


def _as_typed(settings: StudySettings, recipe: str | Path | Recipe | None, set: Mapping[str, Any] | None,
              budget: float | None, external: str | Path | None, device: str, given: Mapping[str, Any]) -> str:
    """The command that begins the same study, files and folders by stand-ins, a budget as the steps that it became."""
    packaged = isinstance(recipe, str) and recipe in recipes.names()
    chosen = dict(given)
    classifier = chosen.pop("classifier", None) or {}
    steps = {"steps": settings.recipe.steps} if budget is not None else {}
    return command_line("study", "DATASET", "STUDY", recipe=recipe if packaged or recipe is None else "RECIPE.yaml",
                        set={**(set or {}), **steps}, external=Path(external) if external else None,
                        device=None if device == "auto" else device, classifier=classifier.get("name"),
                        updates=classifier.get("updates"), positive=chosen.pop("positives", None), **chosen)


def _command(data: str | Path, folder: StudyFolder, external: str | Path | None, device: str) -> list[str]:
    outside = Path(external) if external is not None else folder.external_path()
    return study_command(Path(data), folder.path, device, outside)


def _open_both(data: str | Path, external: str | Path | None, folder: StudyFolder) -> tuple[Dataset, Dataset | None]:
    """The dataset and the external one, which a study that has begun knows itself."""
    dataset = Dataset.open(data)
    if external is not None:
        other: Dataset | None = Dataset.open(external)
    else:
        other = folder.open_external() if folder.exists() else None
    refuse_synthetic(dataset)
    if other is not None:
        refuse_synthetic(other, "--external")
    return dataset, other


def _settle(folder: StudyFolder, dataset: Dataset, other: Dataset | None, recipe: str | Path | Recipe | None,
            set: Mapping[str, Any] | None, budget: float | None, device: str, say: Say,
            given: Mapping[str, Any]) -> tuple[StudySettings, dict[str, Place]]:
    """The settings and folds of the study that is there, checked against what is given, or of a new one."""
    if folder.exists():
        settings = folder.settings()
        folder.refuse_difference(_asked(settings, recipe, set, budget, say, given), dataset, other)
        places = folder.places()
        check_places(places, dataset.rows(settings.domain), settings, folder.folds_file)
        return settings, places
    refuse_place(folder.path, [dataset, *([other] if other else [])])
    settings, places = plan(dataset, chosen_recipe(recipe, set), other, given, say)
    if budget is not None and settings.needs_gan:
        settings = with_budget(settings, dataset, places, budget, device, say)
        check_recipe(dataset, places, settings)
    return settings, places


def _asked(kept: StudySettings, recipe: str | Path | Recipe | None, set: Mapping[str, Any] | None,
           budget: float | None, say: Say, given: Mapping[str, Any]) -> StudySettings:
    """The kept settings with what is given in their place; steps that came of a budget stay."""
    values: dict[str, Any] = {**kept.model_dump(), **given}
    classifier = given.get("classifier")
    if isinstance(classifier, str):
        classifier = {"name": classifier}
    if classifier is not None and not isinstance(classifier, ClassifierSettings):
        values["classifier"] = {**kept.classifier.model_dump(), **classifier}
    if recipe is not None or set:
        asked = recipe_of_study(chosen_recipe(kept.recipe if recipe is None else recipe, set), kept.domain)
        if budget is not None:
            asked = asked.model_copy(update={"steps": kept.recipe.steps, "epochs": kept.recipe.epochs})
        values["recipe"] = asked
    if budget is not None and kept.needs_gan:
        length = f"{kept.recipe.steps:,} steps" if kept.recipe.steps else f"{kept.recipe.epochs:g} epochs"
        say(f"the study has begun: every GAN gets the {length} of before, and --budget is not read again")
    return validated(values)


def chosen_recipe(recipe: str | Path | Recipe | None, set: Mapping[str, Any] | None) -> Recipe:
    """The recipe of that name or file, with single keys set."""
    return parse(recipe.to_yaml(), f"recipe {recipe.name}", set) if isinstance(recipe, Recipe) \
        else load(str(recipe or "rpgan-64"), set)
