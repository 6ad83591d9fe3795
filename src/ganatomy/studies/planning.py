"""The plan of a new study: its settings and folds, what is refused before hours are spent, and what it would take."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganatomy import gans
from ganatomy.core.errors import UserError
from ganatomy.core.files import private_path, scratch_folder
from ganatomy.core.hardware import choose_device, choose_precision
from ganatomy.core.reading import read_csv
from ganatomy.core.recipe import Recipe
from ganatomy.core.text import counted, duration, grouped, listed, typed_time
from ganatomy.data.batches import Feed
from ganatomy.data.dataset import Dataset
from ganatomy.data.images import shrink_factor
from ganatomy.data.manifest import Row
from ganatomy.studies.cell import external_rows, synthetic_needed, write_images
from ganatomy.studies.classifiers import SMALLEST, TrainingSet, train_classifier
from ganatomy.studies.folder import Cell, StudyFolder, cells_of, mended
from ganatomy.studies.folds import Place, Subset, check_held_out, deal, draw_subset, refuse_twins
from ganatomy.studies.protocol import StudySettings, resolve
from ganatomy.training.budget import measure, settle
from ganatomy.training.draws import make_feed, with_domains
from ganatomy.training.step import check_steps, total_steps
from ganatomy.training.validation import Validator

LEAST = 2  # images of each class in the smallest cell
TRIAL_UPDATES = 8  # of a classifier
Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """A study that is there, or that may begin."""

    dataset: Dataset
    external: Dataset | None
    settings: StudySettings
    places: Mapping[str, Place]

    @property
    def rows(self) -> list[Row]:
        """All images of the study."""
        return self.dataset.rows(self.settings.domain)

    def subset(self, k: int, fold: int = 0, seed: int = 0) -> Subset:
        """What a cell learns from."""
        return draw_subset(self.rows, self.places, self.settings, k, fold, seed)


def plan(dataset: Dataset, recipe: Recipe, external: Dataset | None, given: Mapping[str, Any],
         say: Say = lambda text: None) -> Plan:
    """The plan of a new study, with everything checked that can be before hours are spent."""
    settings = resolve(dataset, recipe, given)
    rows = dataset.rows(settings.domain)
    _refuse_unlabelled(dataset, rows, dataset)
    refuse_twins(dataset, rows)
    _check_sizes(dataset, settings)
    new = Plan(dataset, external, settings, deal(rows, settings.folds, settings.seed))
    check_held_out(rows, new.places, settings)
    for cell in (c for c in cells_of(settings) if c.k == settings.k[-1]):  # where most images are asked for
        new.subset(cell.k, cell.fold, cell.seed)
    _check_counts(new)
    check_recipe(new)
    if external is not None:
        _check_external(external, dataset, settings, say)
    return new


# -- what is refused


def refuse_place(study: Path, datasets: Sequence[Dataset]) -> None:
    """Raise `UserError` if a new study cannot begin here: something is there, or a dataset around or in it."""
    here = Path(os.path.realpath(study))  # its links may go in a circle: that is told when it is made
    for other in (dataset.path.resolve() for dataset in datasets):
        if here == other or here in other.parents or other in here.parents:
            raise UserError(f"the study would lie in a dataset, or around one ({other})", where=study,
                            fix="choose another folder for the study")
    StudyFolder(study).refuse_occupied()


def refuse_synthetic(dataset: Dataset) -> None:
    """Raise `UserError` if a dataset holds generated images: a study is of patients."""
    if dataset.info.source == "synthetic":
        raise UserError("holds synthetic images, and a study tests on real patients", where=dataset.path,
                        fix="give a dataset of `ganatomy prepare`")


def _refuse_unlabelled(dataset: Dataset, rows: Sequence[Row], known: Dataset) -> None:
    """Raise `UserError` if an image has no class, or one that the study's dataset does not know."""
    wrong = Counter(r.label for r in rows if r.label not in known.info.classes)
    if wrong:
        labels = ", ".join(f"{label or '(no label)'} ({n})" for label, n in sorted(wrong.items()))
        raise UserError(f"{wrong.total()} of {counted(len(rows), 'image')} have none of the classes of the study's "
                        f"dataset: {labels}", where=dataset.path,
                        fix="give every image one of them, or leave those out, and prepare it again")


def _check_sizes(dataset: Dataset, settings: StudySettings) -> None:
    """Raise `UserError` if the study's images cannot be had from the dataset's, or from its GANs'."""
    size, drawn = settings.size, settings.recipe.size
    if size < SMALLEST and settings.classifier.name != "features":
        raise UserError(f"the classifier {settings.classifier.name} needs images of {SMALLEST} pixels a side or more, "
                        f"not {size}", where="--classifier", fix="use larger images, or features")
    if settings.needs_gan:
        _check_size(dataset.path, dataset.info.size, drawn)
        _check_size("--set size", (drawn, drawn), size)
    _check_size(dataset.path, dataset.info.size, size)


def _check_size(where: str | Path, size: tuple[int, int], wanted: int) -> None:
    with mended(where):
        shrink_factor(size, wanted)


def check_recipe(plan: Plan) -> None:
    """Raise `UserError` for what the training of a cell's GAN would refuse."""
    if not plan.settings.needs_gan:
        return
    recipe, k = plan.settings.recipe, plan.settings.k[0]  # there an epoch has the fewest steps
    with mended(f"--recipe, --set ({recipe.name})"):
        with_domains(recipe, plan.dataset)
        least = gans.resolve(recipe, plan.dataset.info.channels).least_steps()
        subset = plan.subset(k)
        for label in synthetic_needed(plan.settings, k, subset):
            check_steps(recipe, len(subset.of(label)), least)


def _check_counts(plan: Plan) -> None:
    """Raise `UserError` if the smallest cells have too few images of a class, or nothing that an arm would add."""
    k = plan.settings.k[0]
    there = Counter(r.label for r in plan.subset(k).rows)
    for label in sorted({r.label for r in plan.rows}):
        if there[label] < LEAST:
            raise UserError(f"with k = {k} there would be {counted(there[label], 'training image')} of class {label}",
                            where="--imbalance", fix="use a larger --imbalance or --k")
    for arm in plan.settings.parsed_arms():
        if arm.source != "ORG" and not arm.added(k):
            raise UserError(f"{arm.factor:g} x {k} is no image, so {arm.name} would add nothing", where="--synthetic",
                            fix="use a larger --synthetic or --k")


def _check_external(external: Dataset, dataset: Dataset, settings: StudySettings, say: Say) -> None:
    """Raise `UserError` if the external set cannot be judged by classifiers of this study; warn of its patients."""
    rows = external_rows(external, settings)
    if external.info.channels != dataset.info.channels:
        raise UserError("has another number of colour channels than the study's dataset", where=external.path,
                        fix="prepare both alike")
    _check_size(external.path, external.info.size, settings.size)
    _refuse_unlabelled(external, rows, dataset)
    labels = {r.label for r in rows}
    for wanted in (*({c} for c in settings.positives), set(dataset.info.classes) - set(settings.positives)):
        if not labels & wanted:
            raise UserError(f"has no images of class {listed(sorted(wanted), 'or')}", where=external.path,
                            fix="name the classes alike in both, or add such images")
    shared = {r.sha256 for r in dataset.rows(settings.domain)} & {r.sha256 for r in rows}
    if shared:
        raise UserError(f"shares {counted(len(shared), 'image')} with the study's dataset", where=external.path,
                        fix="give images of other patients")
    external.verify(rows)
    both = original_subjects(dataset.path) & original_subjects(external.path)
    if both:
        say(f"warning: {counted(len(both), 'subject')} of the external set had, before it was prepared, the name of a "
            "subject of the study's dataset: if these are the same patients, its results say nothing of others")


def original_subjects(dataset: Path) -> set[str]:
    """The names that subjects had before they were prepared, where known: pseudonyms begin anew in every dataset."""
    try:
        head, lines = read_csv(private_path(dataset) / "sources.csv")
    except UserError:
        return set()
    place = head.index("original_subject") if "original_subject" in head else None
    return {line[place] for line in lines} - {""} if place is not None else set()


# -- time: a budget as steps, and hours


def with_steps(plan: Plan, device: str, say: Say) -> Plan:
    """The plan with the number of steps that its recipe's budget holds, if it has one, on one thread of this machine.

    It is settled once, by a short trial, so that every GAN of a study gets the same. Raises `UserError` for a budget
    that is too short.
    """
    recipe = plan.settings.recipe
    if recipe.budget is None or recipe.steps is not None or not plan.settings.needs_gan:
        return plan
    with _trial(plan, device) as trial:
        steps = settle(*trial)[0].steps
    say(f"{steps:,} steps take {typed_time(recipe.budget)} here: every GAN of the study gets so many")
    return replace(plan, settings=plan.settings.model_copy(update={
        "recipe": recipe.model_copy(update={"steps": steps})}))


@contextmanager
def _trial(plan: Plan, device: str) -> Iterator[tuple[Recipe, Feed, Validator, torch.device, str]]:
    """What a trial needs that trains a cell's GAN as a worker does, on one thread; its images are there meanwhile."""
    settings, label, where = plan.settings, plan.settings.positives[0], choose_device(device)
    with scratch_folder() as scratch, _one_thread():
        write_images(plan.dataset, plan.subset(settings.k[-1]).of(label), label, scratch / "data", settings)
        recipe = settings.recipe.model_copy(update={"label": label})
        feed = make_feed(Dataset.open(scratch / "data"), recipe, where)
        yield recipe, feed, Validator(feed, recipe), where, choose_precision(recipe, where)


def cell_seconds(plan: Plan, device: str) -> float:
    """About how long a cell takes here, on one thread: the training of its GANs and classifiers, by short trials."""
    settings, info, seconds = plan.settings, plan.dataset.info, 0.0
    subset = plan.subset(settings.k[-1])
    needed = synthetic_needed(settings, settings.k[-1], subset)
    if needed:
        with _trial(plan, device) as prepared:
            pace, recipe = measure(*prepared), settings.recipe
        seconds += sum(pace.total(recipe, len(subset.of(c))) for c in needed)
    trial = settings.classifier.model_copy(update={"updates": TRIAL_UPDATES, "checkpoints": 1})
    shape = trial.batch_size, info.channels, settings.size, settings.size
    images = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    training = TrainingSet(images, np.arange(len(images), dtype=np.intp) % len(info.classes))
    share = len(subset.rows) / len(images) if trial.name == "features" else settings.classifier.updates / TRIAL_UPDATES
    with _one_thread():
        for arm in settings.parsed_arms():
            begun = time.perf_counter()
            train_classifier(training, len(info.classes), [], trial, arm.augment, 0, choose_device(device))
            seconds += (time.perf_counter() - begun) * share
    return seconds


@contextmanager
def _one_thread() -> Iterator[None]:
    """Have torch compute with one thread, as a worker does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def describe(plan: Plan, cells: Sequence[Cell], workers: int, device: str) -> str:
    """The text of `--dry-run`: folds, cells, GANs and classifiers, hours. `cells` are those that are not done."""
    settings, recipe, classes = plan.settings, plan.settings.recipe, plan.dataset.info.classes
    lines = []
    for fold in range(settings.folds):
        own = [r for r in plan.rows if plan.places[r.subject].fold == fold]
        halves = " and ".join(str(len({r.subject for r in own if plan.places[r.subject].half == h})) for h in (0, 1))
        lines.append(f"fold {fold}       held out are {_who(own)} (halves of {halves} subjects): "
                     + _by_class(own, classes))
    total, done = len(cells_of(settings)), len(cells_of(settings)) - len(cells)
    lines.append(f"cells        {total} = {len(settings.k)} k x {counted(settings.folds, 'fold')} x "
                 f"{counted(settings.seeds, 'seed')}" + (f"; {done} are done, {len(cells)} left" if done else ""))
    for k in settings.k:
        subset = plan.subset(k)
        lines.append(f"  k = {k:<7}learns from {_by_class(subset.rows, classes)} (fold 0, seed 0)")
    needed = synthetic_needed(settings, settings.k[-1], subset)
    if needed:
        steps = [f"{n:,}" for n in sorted({total_steps(recipe, k) for k in settings.k})]
        lines.append(f"GANs         {len(needed) * len(cells)} ({len(needed)} a cell, of class {listed(needed)}): "
                     f"{recipe.name}, {' to '.join(steps[::len(steps) - 1 or 1])} steps of "
                     f"{counted(recipe.batch_size, 'image')} each")
    chosen = settings.classifier
    how = "" if chosen.name == "features" else f", {grouped(chosen.updates, 'update')}"
    arms = len(settings.parsed_arms())
    lines.append(f"classifiers  {arms * len(cells)} ({arms} a cell): {chosen.name}{how}")
    if cells:
        seconds = len(cells) * cell_seconds(plan, device)
        share = f", {duration(seconds / workers)} with {workers} workers" if workers > 1 else ""
        lines.append(f"time         about {duration(seconds)} to train them on one core{share}, by a short trial here")
    else:
        lines.append("time         everything is done")
    return "\n".join([*lines, "nothing has been written"])


def _by_class(rows: Sequence[Row], classes: Sequence[str]) -> str:
    return "; ".join(f"{label} {_who([r for r in rows if r.label == label])}" for label in classes)


def _who(rows: Sequence[Row]) -> str:
    return f"{counted(len({r.subject for r in rows}), 'subject')}, {counted(len(rows), 'image')}"
