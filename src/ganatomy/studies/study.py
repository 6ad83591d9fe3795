"""study: do synthetic images help a classifier? One command runs the protocol, and tells what the data allow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganatomy.core import recipe as recipes
from ganatomy.core.files import record_command
from ganatomy.core.origin import check_writable
from ganatomy.core.recipe import LENGTHS, Recipe, chosen, own
from ganatomy.core.text import command_line
from ganatomy.data.dataset import Dataset
from ganatomy.studies.clusters import MOST_TASKS, OnRay, check_address, write_jobs
from ganatomy.studies.folder import StudyFolder, cells_of
from ganatomy.studies.folds import check_places
from ganatomy.studies.planning import (
    Plan,
    cell_seconds,
    check_recipe,
    describe,
    plan,
    refuse_place,
    refuse_synthetic,
    with_steps,
)
from ganatomy.studies.protocol import StudySettings, recipe_of_study, validated
from ganatomy.studies.results import write_results
from ganatomy.studies.workers import Here, Say, Show, run_cells, study_command


def study(data: str | Path, out: str | Path, *, recipe: str | Path | Recipe | None = None,
          set: Mapping[str, Any] | None = None, budget: float | str | None = None, external: str | Path | None = None,
          workers: int = 1, ray: str | None = None, gpu_share: float | None = None, device: str = "auto",
          say: Say = lambda text: None, show: Show = lambda count: None, **settings: Any) -> dict[str, Any]:
    """Run an augmentation study, or go on with one; the same command again resumes it.

    Args:
        data: a labelled dataset folder.
        out: the study folder to make or to go on with.
        recipe: of the GANs: a packaged recipe's name, a YAML file or a `Recipe`; projected-64 if None.
        set: dotted recipe keys to override, such as {"steps": 500}.
        budget: seconds, or a time such as "4m", to train each GAN in, in the place of the recipe's length. A budget, a
            recipe's own too, becomes a number of steps once, by a short trial, when the study begins: every GAN gets
            the same steps, however busy its machine is.
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


def jobs(data: str | Path, out: str | Path, *, workers: int | None = None, external: str | Path | None = None,
         device: str = "auto", say: Say = lambda text: None, **given: Any) -> list[str]:
    """Begin a study, or go on with one, and write job scripts for SLURM instead of running its cells.

    Args:
        workers: tasks of the array; one for each cell that is left if None.
        data, out, external, device, say, given: as of `study`.

    Returns:
        The two lines that submit the scripts; none if every cell is done.

    Raises:
        UserError: as `study`, or a path that a job script cannot hold.
    """
    folder = begin(data, out, external=external, device=device, say=say, **given)
    left = len(folder.cells_left())
    if not left:
        say("every cell is done; `ganatomy study DATASET STUDY` writes the results")
        return []
    tasks = min(workers or left, left, MOST_TASKS)
    say("a short trial, for the time that the jobs ask for")
    seconds = cell_seconds(Plan(Dataset.open(data), None, folder.settings(), folder.places()), device)
    return write_jobs(folder, _command(data, folder, external, device), tasks, -(-left // tasks) * seconds)


def dry_run(data: str | Path, out: str | Path, *, workers: int = 1, device: str = "auto", **given: Any) -> str:
    """What `study` with these arguments would do and how long it would take, in words; some seconds of trials.

    Raises:
        UserError: whatever `study` would refuse before its first cell.
    """
    folder, settled = StudyFolder(out), _settle(data, out, device=device, **given)
    cells = folder.cells_left() if folder.exists() else cells_of(settled.settings)
    return describe(settled, cells, workers, device)


def begin(data: str | Path, out: str | Path, **given: Any) -> StudyFolder:
    """Make the study folder, or check that the one there is of the same study. For the arguments see `study`."""
    folder = StudyFolder(out)
    begun = folder.exists()
    if not begun:
        check_writable(folder.settings_file)  # before the trials
    settled = _settle(data, out, **given)
    if begun:
        folder.note_datasets(settled.dataset, settled.external)
    else:
        folder.start(settled.settings, settled.places, settled.dataset, settled.external)
        record_command(folder.commands_file, _as_typed(settled.settings, **given))
    return folder


def _as_typed(settings: StudySettings, *, recipe: str | Path | Recipe | None = None,
              set: Mapping[str, Any] | None = None, budget: float | str | None = None,
              external: str | Path | None = None, device: str = "auto", say: Say | None = None, **given: Any) -> str:
    """The command that begins the same study, files and folders by stand-ins, a budget as the steps that it became."""
    packaged = recipe is None or (isinstance(recipe, str) and recipe in recipes.names())
    classifier = settings.classifier if given.pop("classifier", None) else None
    if settings.recipe.budget is not None:
        set = {key: value for key, value in (set or {}).items() if key != "budget"} | {"steps": settings.recipe.steps}
    return command_line("study", "DATASET", "STUDY", recipe=recipe if packaged else "RECIPE.yaml",
                        set=set, external=Path(external) if external else None,
                        device=None if device == "auto" else device, classifier=classifier and classifier.name,
                        updates=classifier and classifier.updates, positive=given.pop("positives", None), **given)


def _command(data: str | Path, folder: StudyFolder, external: str | Path | None, device: str) -> list[str]:
    outside = Path(external) if external is not None else folder.path_of("external")
    return study_command(Path(data), folder.path, device, outside)


def _settle(data: str | Path, out: str | Path, *, recipe: str | Path | Recipe | None = None,
            set: Mapping[str, Any] | None = None, budget: float | str | None = None, external: str | Path | None = None,
            device: str = "auto", say: Say = lambda text: None, **given: Any) -> Plan:
    """The study that is there, checked against what is given, or the plan of a new one."""
    folder, dataset = StudyFolder(out), Dataset.open(data)
    other = Dataset.open(external) if external is not None else folder.open_external() if folder.exists() else None
    both = [dataset, *([other] if other else [])]
    for one in both:
        refuse_synthetic(one)
    if folder.exists():
        settings, places = folder.settings(), folder.places()
        folder.refuse_difference(_asked(settings, recipe, set, budget, say, given), dataset, other)
        check_places(places, dataset.rows(settings.domain), settings, folder.folds_file)
        return Plan(dataset, other, settings, places)
    refuse_place(folder.path, both)
    new = with_steps(plan(dataset, chosen_recipe(recipe, set, budget), other, given, say), device, say)
    check_recipe(new)
    return new


def _asked(kept: StudySettings, recipe: str | Path | Recipe | None, set: Mapping[str, Any] | None,
           budget: float | str | None, say: Say, given: Mapping[str, Any]) -> StudySettings:
    """The kept settings with what is given in their place; steps that came of a budget stay."""
    values: dict[str, Any] = {**kept.model_dump(), **given}
    classifier = given.get("classifier")
    if isinstance(classifier, str):
        classifier = {"name": classifier}
    if isinstance(classifier, Mapping):
        values["classifier"] = {**kept.classifier.model_dump(), **classifier}
    if recipe is not None or set:
        asked = recipe_of_study(chosen_recipe(kept.recipe if recipe is None else recipe, set, budget), kept.domain)
        if asked.budget is not None:
            asked = asked.model_copy(update={key: getattr(kept.recipe, key) for key in LENGTHS})
        values["recipe"] = asked
    if budget is not None and kept.needs_gan:
        say("the study has begun: every GAN gets the steps of before, and --budget is not read again")
    return validated(values)


def chosen_recipe(recipe: str | Path | Recipe | None, set: Mapping[str, Any] | None,
                  budget: float | str | None = None) -> Recipe:
    """The recipe of that name or file, with single keys set, the budget among them if there is one."""
    set = {**(set or {}), **({} if budget is None else {"budget": budget})}
    return chosen(recipe or own(64), set)
