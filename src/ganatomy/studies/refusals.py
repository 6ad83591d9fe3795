"""What a new study refuses before anything is written: datasets, settings and folders that would fail hours later."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from ganatomy import gans
from ganatomy.core.errors import UserError
from ganatomy.core.files import private_path
from ganatomy.core.text import counted
from ganatomy.data.batches import Feed
from ganatomy.data.dataset import Dataset
from ganatomy.data.images import shrink_factor
from ganatomy.data.manifest import Row
from ganatomy.studies.cell import external_rows, synthetic_needed
from ganatomy.studies.classifier_networks import SMALLEST
from ganatomy.studies.folder import StudyFolder
from ganatomy.studies.folds import Place, draw_subset
from ganatomy.studies.protocol import StudySettings
from ganatomy.training.draws import with_domains
from ganatomy.training.step import check_steps

LEAST = 2  # images of each class in the smallest cell
_EVERY = "give every image a class, or leave those out, and prepare it again"
_ALIKE = "name the classes alike in both"


def refuse_synthetic(dataset: Dataset, option: str = "DATASET") -> None:
    """Raise `UserError` if a dataset holds generated images: a study is of patients."""
    if dataset.info.source == "synthetic":
        raise UserError(f"{option} holds synthetic images, and a study tests on real patients", where=dataset.path,
                        fix="give a dataset that `ganatomy prepare` made")


def refuse_place(study: Path, datasets: Sequence[Dataset]) -> None:
    """Raise `UserError` if a new study cannot be made here: something is there, or a dataset around or in it."""
    here = study.resolve()
    for other in (dataset.path.resolve() for dataset in datasets):
        if here == other or here in other.parents or other in here.parents:
            raise UserError(f"the study would lie in a dataset, or around one ({other})", where=study,
                            fix="choose another folder for the study")
    StudyFolder(study).refuse_occupied()


def refuse_unlabelled(dataset: Dataset, rows: Sequence[Row]) -> None:
    """Raise `UserError` if an image has no class, or one that the dataset does not know."""
    wrong = Counter(r.label for r in rows if r.label not in dataset.info.classes)
    if wrong:
        raise UserError(f"{wrong.total()} of {counted(len(rows), 'image')} have none of the dataset's classes: "
                        + _labels(wrong), where=dataset.path, fix=_EVERY)


def check_sizes(dataset: Dataset, settings: StudySettings) -> None:
    """Raise `UserError` if the study's images cannot be had from the dataset's, or from its GANs'."""
    own, size, made = dataset.info.size, settings.size, settings.recipe.size
    if size < SMALLEST and settings.classifier.name != "features":
        raise UserError(f"the classifier {settings.classifier.name} needs images of {SMALLEST} pixels a side or more, "
                        f"not {size}", where="--classifier", fix="use larger images, or features")
    for wanted in (made, size) if settings.needs_gan else (size,):
        if not _fits(own, wanted):
            set_size = f", or give --set size={own[0]}" if settings.needs_gan and own[0] == own[1] else ""
            raise UserError(f"its images of {own[0]}x{own[1]} pixels cannot be averaged down to the study's "
                            f"{wanted}x{wanted}", where=dataset.path, fix=f"prepare it with --size {wanted}{set_size}")
    if settings.needs_gan and not _fits((made, made), size):
        raise UserError(f"the GANs' images of {made}x{made} pixels cannot be averaged down to the study's "
                        f"{size}x{size}", where="--set size", fix=f"give --set size={size}")


def check_recipe(dataset: Dataset, places: Mapping[str, Place], settings: StudySettings) -> None:
    """Raise `UserError` for what the training of a cell's GAN would refuse."""
    if not settings.needs_gan:
        return
    recipe, k = settings.recipe, settings.k[0]  # there an epoch has the fewest steps
    try:
        with_domains(recipe, dataset)
        least = gans.resolve(recipe, dataset.info.channels).least_steps()
        subset = draw_subset(dataset.rows(settings.domain), places, settings, k, 0, 0)
        for label in synthetic_needed(settings, k, subset):
            own = [r for r in subset.rows if r.label == label]
            check_steps(recipe, Feed(dataset, own, recipe.size, recipe.batch_size, 0, torch.device("cpu")), least)
    except UserError as error:
        raise UserError(error.what, where=f"--recipe, --set ({recipe.name})", fix=error.fix) from error


def check_counts(rows: Sequence[Row], places: Mapping[str, Place], settings: StudySettings) -> None:
    """Raise `UserError` if the smallest cells have too few images of a class, or nothing that an arm would add."""
    k = settings.k[0]
    there = Counter(r.label for r in draw_subset(rows, places, settings, k, 0, 0).rows)
    for label in sorted({r.label for r in rows}):
        if there[label] < LEAST:
            raise UserError(f"with k = {k} there would be {counted(there[label], 'training image')} of class {label}",
                            where="--imbalance", fix="use a larger --imbalance or --k")
    for arm in settings.parsed_arms():
        if arm.source != "ORG" and not arm.added(k):
            raise UserError(f"{arm.factor:g} x {k} is no image, so {arm.name} would add nothing", where="--synthetic",
                            fix="use a larger --synthetic or --k")


def check_external(external: Dataset, dataset: Dataset, settings: StudySettings, say: Callable[[str], None]) -> None:
    """Raise `UserError` if the external set cannot be judged by classifiers of this study; warn of its patients."""
    rows, (height, width), size = external_rows(external, settings), external.info.size, settings.size
    if external.info.channels != dataset.info.channels:
        raise UserError("has another number of colour channels than the study's dataset", where=external.path,
                        fix="prepare both alike")
    if not _fits((height, width), size):
        raise UserError(f"the external set's images of {height}x{width} pixels cannot be averaged down to the study's "
                        f"{size}x{size}", where=external.path, fix=f"prepare it with --size {size}")
    _check_external_classes(external, rows, dataset, settings)
    shared = {r.sha256 for r in dataset.rows(settings.domain)} & {r.sha256 for r in rows}
    if shared:
        raise UserError(f"shares {counted(len(shared), 'image')} with the study's dataset", where=external.path,
                        fix="give images of other patients")
    external.verify(rows)
    both = original_subjects(dataset.path) & original_subjects(external.path)
    if both:
        say(f"warning: {counted(len(both), 'subject')} of the external set had, before it was prepared, the name of a "
            "subject of the study's dataset: if these are the same patients, its results say nothing of others")


def _check_external_classes(external: Dataset, rows: Sequence[Row], dataset: Dataset, settings: StudySettings) -> None:
    labels = Counter(r.label for r in rows)
    unknown = Counter({name: n for name, n in labels.items() if name not in dataset.info.classes})
    if unknown:
        raise UserError(f"has classes that the study's dataset has not: {_labels(unknown)}", where=external.path,
                        fix=_EVERY if "" in unknown else _ALIKE)
    for label in settings.positives:
        if label not in labels:
            raise UserError(f"has no images of class {label}", where=external.path, fix=_ALIKE)
    if not labels.keys() - set(settings.positives):
        raise UserError(f"has images of class {' and '.join(settings.positives)} alone, so nothing to tell them from",
                        where=external.path, fix="add images of the other classes")


def original_subjects(dataset: Path) -> set[str]:
    """The names that a dataset's subjects had before it was prepared; none where its private folder is not there.

    Pseudonyms are numbers that begin anew in every dataset, so the same ones in two of them tell nothing.
    """
    try:
        with (private_path(dataset) / "sources.csv").open(newline="", encoding="utf-8") as handle:
            return {line.get("original_subject") or "" for line in csv.DictReader(handle)} - {""}
    except (OSError, UnicodeDecodeError, csv.Error):
        return set()


def _fits(size: tuple[int, int], wanted: int) -> bool:
    try:
        return shrink_factor(size, wanted) > 0
    except UserError:
        return False


def _labels(found: Counter[str]) -> str:
    return ", ".join(f"{label or '(no label)'} ({n})" for label, n in sorted(found.items()))
