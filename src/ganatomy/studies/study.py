"""study: do synthetic images help a classifier? One command runs the protocol, and says what the data allow to be said.

docs/study.md explains it; EVIDENCE in docs/evidence.md has the statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe, load, parse
from ganatomy.data.dataset import Dataset
from ganatomy.studies.folder import Cell, StudyFolder, cells_of
from ganatomy.studies.folds import Place, check_held_out, deal, draw_subset, refuse_twins
from ganatomy.studies.processes import study_command
from ganatomy.studies.protocol import ClassifierSettings, StudySettings, recipe_of_study, resolve, validated
from ganatomy.studies.refusals import (
    check_counts,
    check_external,
    check_recipe,
    check_sizes,
    refuse_place,
    refuse_synthetic,
    refuse_unlabelled,
)
from ganatomy.studies.results import write_results
from ganatomy.studies.running import Here, Say, Show, run_cells
from ganatomy.studies.trial import with_budget


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
        workers: how many cells run at a time, each in a process of its own with one thread.
        ray: run them on a Ray cluster instead: its address, `auto` for the one that this machine belongs to, or `local`
            for one of this machine with `workers` CPUs.
        gpu_share: of one GPU, for each cell on Ray; by default a quarter where the cluster has any.
        device: auto, cpu or cuda.
        say: called with lines for the user.
        show: called with where the study stands, at every change and now and then.
        settings: fields of `StudySettings`, such as k=(25, 50, 100), positives="tumour", classifier="resnet" or
            classifier={"name": "fcn", "updates": 300}. Those left out take their defaults in a new study, and what they
            were in one that is gone on with.

    Returns:
        What results.json holds; see docs/study.md.

    Raises:
        UserError: unusable data or settings, a study of other settings, or a cell that failed.
        KeyboardInterrupt: SIGINT or SIGTERM; what runs has been saved.
    """
    if ray is not None and not StudyFolder(out).exists():
        from ganatomy.studies.ray_cluster import check_address

        check_address(ray)  # before anything is written
    folder = begin(data, out, recipe=recipe, set=set, budget=budget, external=external, device=device, say=say,
                   **settings)
    outside = Path(external) if external is not None else folder.external_path()
    command = study_command(Path(data), folder.path, device, outside)
    left = cells_left(folder)
    if ray is None or not left:
        run_cells(folder, left, Here(folder, command, workers), say, show)
    else:
        from ganatomy.studies.ray_cluster import OnRay

        needed = [Path(data), *([outside] if outside else [])]
        with OnRay(folder, command, needed, ray, workers, gpu_share, device) as crew:
            run_cells(folder, left, crew, say, show)
    return write_results(folder, say)


def begin(data: str | Path, out: str | Path, *, recipe: str | Path | Recipe | None, set: Mapping[str, Any] | None,
          budget: float | None, external: str | Path | None, device: str, say: Say, **given: Any) -> StudyFolder:
    """Make the study folder, or check that the one there is of the same study. For the rest see `study`."""
    folder = StudyFolder(out)
    dataset, other = open_both(data, external, folder)
    begun = folder.exists()
    settings, places = settle(folder, dataset, other, recipe, set, budget, device, say, given)
    if begun:
        folder.note_datasets(dataset, other)
    else:
        folder.start(settings, places, dataset, other)
    return folder


def open_both(data: str | Path, external: str | Path | None, folder: StudyFolder) -> tuple[Dataset, Dataset | None]:
    """The dataset and the external one, which a study that has begun knows itself."""
    if external is None and folder.exists() and folder.about().get("external") is not None:
        external = folder.external_path()
        if external is None or not external.is_dir():
            raise UserError("does not know where its external dataset is now", where=folder.path,
                            fix="name it with --external")
    dataset, other = Dataset.open(data), Dataset.open(external) if external is not None else None
    refuse_synthetic(dataset)
    if other is not None:
        refuse_synthetic(other, "--external")
    return dataset, other


def cells_left(folder: StudyFolder) -> list[Cell]:
    """The cells that are not done, in the order in which they are begun."""
    return [c for c in folder.all_cells() if not folder.cell(c).is_done()]


def settle(folder: StudyFolder, dataset: Dataset, other: Dataset | None, recipe: str | Path | Recipe | None,
           set: Mapping[str, Any] | None, budget: float | None, device: str, say: Say,
           given: Mapping[str, Any]) -> tuple[StudySettings, dict[str, Place]]:
    """The settings and folds of the study that is there, checked against what is given, or of a new one."""
    if folder.exists():
        return _kept(folder, dataset, other, _asked(folder.settings(), recipe, set, budget, say, given))
    refuse_place(folder.path, [dataset, *([other] if other else [])])
    settings, places = plan(dataset, recipe, set, other, given, say)
    if budget is not None and settings.needs_gan:
        settings = with_budget(settings, dataset, places, budget, device, say)
        check_recipe(dataset, places, settings)
    return settings, places


def _kept(folder: StudyFolder, dataset: Dataset, other: Dataset | None,
          asked: StudySettings) -> tuple[StudySettings, dict[str, Place]]:
    """The settings and folds of the study that is there. Raises `UserError` for other ones, or other data."""
    folder.refuse_difference(asked, dataset, other)
    settings, places = folder.settings(), folder.places()
    if places != deal(dataset.rows(settings.domain), settings.folds, settings.seed):
        raise UserError("its folds are not those that this dataset and seed give: the file has been changed, or "
                        "is of another version", where=folder.folds_file, fix="start the study again in another folder")
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
        asked = recipe_of_study(_chosen(kept.recipe if recipe is None else recipe, set), kept.domain)
        if budget is not None:
            asked = asked.model_copy(update={"steps": kept.recipe.steps, "epochs": kept.recipe.epochs})
        values["recipe"] = asked
    if budget is not None and kept.needs_gan:
        length = f"{kept.recipe.steps:,} steps" if kept.recipe.steps else f"{kept.recipe.epochs:g} epochs"
        say(f"the study has begun: every GAN gets the {length} of before, and --budget is not read again")
    return validated(values)


def _chosen(recipe: str | Path | Recipe | None, set: Mapping[str, Any] | None) -> Recipe:
    """The recipe of that name or file, with single keys set."""
    return parse(recipe.to_yaml(), f"recipe {recipe.name}", set) if isinstance(recipe, Recipe) \
        else load(str(recipe or "rpgan-64"), set)


def plan(dataset: Dataset, recipe: str | Path | Recipe | None, set: Mapping[str, Any] | None,
         external: Dataset | None, given: Mapping[str, Any],
         say: Say = lambda text: None) -> tuple[StudySettings, dict[str, Place]]:
    """The settings and folds of a new study, with everything checked that can be before hours are spent."""
    settings = resolve(dataset, _chosen(recipe, set), given)
    rows = dataset.rows(settings.domain)
    refuse_unlabelled(dataset, rows)
    refuse_twins(dataset, rows)
    check_sizes(dataset, settings)
    places = deal(rows, settings.folds, settings.seed)
    check_held_out(rows, places, settings)
    for cell in (c for c in cells_of(settings) if c.k == settings.k[-1]):  # where most images are asked for
        draw_subset(rows, places, settings, cell.k, cell.fold, cell.seed)
    check_counts(rows, places, settings)
    check_recipe(dataset, places, settings)
    if external is not None:
        check_external(external, dataset, settings, say)
    return settings, places
