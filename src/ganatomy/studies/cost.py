"""What a study will take: seconds, memory and disk, by short trials on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ganatomy import gans
from ganatomy.core.hardware import choose_device
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import Row
from ganatomy.studies.cell import synthetic_needed
from ganatomy.studies.cell_gans import AUDITED
from ganatomy.studies.classifiers import TrainingSet, train_classifier
from ganatomy.studies.folds import Place, Subset, draw_subset
from ganatomy.studies.protocol import Arm, Augment, StudySettings
from ganatomy.studies.trial import SECONDS, one_thread, with_budget
from ganatomy.training.plan import TORCH_ITSELF, expected_memory
from ganatomy.training.step import steps_for

START = 5.0  # seconds until a process has imported what it needs
FEATURES_OF_IMAGE = 0.03  # seconds of the audit's extractor on one core
FEATURES_MEMORY = 500 * 2**20  # bytes of the same
UPDATES, JUDGED = 8, 64  # of the classifier's trial
FLOAT, LINE, LOGGED = 4, 120, 160  # bytes of a weight, of a line of predictions, of what is logged of a step
CHECKPOINTS = 3  # there are at most while a GAN is trained
PREVIEWED, PNG = 32, 0.5  # images in a preview, and their size in the file as a share of their pixels


@dataclass(frozen=True)
class Rates:
    """What a trial has measured, in seconds on one thread.

    Attributes:
        step: an update of the GAN.
        update: one of a classifier (of `features`: a training image), by augmentation.
        judged: a classifier's look at one image.
    """

    step: float
    update: Mapping[Augment, float]
    judged: float


@dataclass(frozen=True)
class CellCost:
    """Seconds on one core and, when it is done, bytes on disk."""

    gans: float
    audits: float
    classifiers: float
    disk: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return START + self.gans + self.audits + self.classifiers


def measure(settings: StudySettings, dataset: Dataset, places: Mapping[str, Place], device: str) -> Rates:
    """Train a GAN for some seconds and a classifier for some updates, on one thread.

    On a CPU it is this process's share of it that counts, so that other work on the machine does not.

    Raises:
        UserError: as training does.
    """
    where, step = choose_device(device), 0.0
    if settings.needs_gan:
        begun, used = time.perf_counter(), _clock(where)
        tried = with_budget(settings, dataset, places, SECONDS, device, lambda text: None)
        share = (_clock(where) - used) / (time.perf_counter() - begun)
        step = SECONDS * share / (tried.recipe.steps or 1)
    with one_thread():
        return Rates(step, *_classifier_rates(settings, dataset, where))


def _clock(device: torch.device) -> float:
    return time.process_time() if device.type == "cpu" else time.perf_counter()


def _classifier_rates(settings: StudySettings, dataset: Dataset,
                      device: torch.device) -> tuple[dict[Augment, float], float]:
    classes, chosen = len(dataset.info.classes), settings.classifier
    shape = dataset.info.channels, settings.size, settings.size
    rng = np.random.default_rng(0)
    images = np.clip(rng.normal(size=(max(chosen.batch_size, JUDGED), *shape)), -1, 1).astype(np.float32)
    training = TrainingSet(images, np.arange(len(images), dtype=np.intp) % classes)

    def seconds(augment: Augment, updates: int, judged: int) -> float:
        begun = _clock(device)
        train_classifier(training, classes, [images[:judged]] if judged else [],
                         chosen.model_copy(update={"updates": updates, "checkpoints": 1}), augment, 0, device)
        return _clock(device) - begun

    augments = {arm.augment for arm in settings.parsed_arms()}
    seconds(next(iter(augments)), 1, 1)  # the first one loads and plans what the others use
    alone = {augment: seconds(augment, UPDATES, 0) for augment in augments}
    first = next(iter(augments))
    judged = max(0.0, seconds(first, UPDATES, JUDGED) - alone[first]) / JUDGED
    each = len(images) if chosen.name == "features" else UPDATES
    return {augment: passed / each for augment, passed in alone.items()}, judged


def cell_cost(settings: StudySettings, dataset: Dataset, places: Mapping[str, Place], rates: Rates, k: int,
              outside: int = 0) -> CellCost:
    """What a cell of this k takes; `outside` is the number of external images."""
    rows = dataset.rows(settings.domain)
    subset = draw_subset(rows, places, settings, k, 0, 0)
    needed = synthetic_needed(settings, k, subset)
    gans = audits = disk = 0.0
    for label, wanted in needed.items():
        own, made = sum(r.label == label for r in subset.rows), max(wanted, AUDITED)
        gans += rates.step * (steps_for(settings.recipe, own) + made / settings.recipe.batch_size)
        audits += FEATURES_OF_IMAGE * (made + own + len(subset.unseen[label]) + _held_out(rows, places, label))
        disk += _pixels(dataset, dataset.info.size, own) + _pixels(dataset, (settings.size,) * 2, made)
        disk += FLOAT * _parameters(settings, dataset)[0]
        disk += _run_disk(settings, dataset, steps_for(settings.recipe, own))
    held_out, arms = _held_out(rows, places), settings.parsed_arms()
    disk += LINE * (len(rows) + len(arms) * (held_out + 2 * outside))
    return CellCost(gans, audits, _classifiers(settings, subset, rates, k, held_out + outside), disk)


def _classifiers(settings: StudySettings, subset: Subset, rates: Rates, k: int, judged: int) -> float:
    chosen, total = settings.classifier, 0.0
    for arm in settings.parsed_arms():
        features = chosen.name == "features"
        updates = images_of_arm(arm, settings, subset, k) if features else chosen.updates
        total += rates.update[arm.augment] * updates + rates.judged * judged * (1 if features else chosen.checkpoints)
    return total


def images_of_arm(arm: Arm, settings: StudySettings, subset: Subset, k: int) -> int:
    """How many images a classifier of this arm learns from."""
    return len(subset.rows) + arm.added(k) * len(settings.positives)


def memory(settings: StudySettings, dataset: Dataset) -> float:
    """Bytes that a worker will hold at its peak, roughly."""
    images = FLOAT * dataset.info.channels * settings.size**2
    most = settings.k[-1] * (settings.imbalance + max(settings.synthetic) + 1) * len(settings.positives)
    classifier = TORCH_ITSELF + FEATURES_MEMORY + 3 * images * most
    if not settings.needs_gan:
        return classifier
    return max(classifier, expected_memory(gans.resolve(settings.recipe, dataset.info.channels), settings.recipe))


def training_disk(settings: StudySettings, dataset: Dataset) -> float:
    """Bytes that checkpoints take while a GAN is trained, in every cell that runs."""
    generator, discriminator = _parameters(settings, dataset) if settings.needs_gan else (0, 0)
    return CHECKPOINTS * FLOAT * (4.0 * generator + 3.0 * discriminator)  # Adam keeps two more of each


def _run_disk(settings: StudySettings, dataset: Dataset, made: int) -> float:
    """Bytes of a run's log and previews, which stay."""
    preview = PNG * PREVIEWED * settings.size**2 * dataset.info.channels
    return LOGGED * made + preview * (made / settings.recipe.preview_every + 2)


def _parameters(settings: StudySettings, dataset: Dataset) -> tuple[int, int]:
    model = gans.resolve(settings.recipe, dataset.info.channels)
    generator, discriminator = (sum(p.numel() for p in part.parameters())
                                for part in (model.generator, model.discriminator))
    return generator, discriminator


def _held_out(rows: Sequence[Row], places: Mapping[str, Place], label: str | None = None) -> int:
    return sum(places[r.subject].fold == 0 and label in (None, r.label) for r in rows)


def _pixels(dataset: Dataset, size: tuple[int, ...], images: int) -> float:
    stored = dataset.pixels(dataset.rows(dataset.info.domains[0])[:1])  # all domains have the same type
    return float(images * math.prod(size) * dataset.info.channels * stored.itemsize)
