"""What an evaluation of translations measures: test images of a direction, and what each translator makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ganatomy.core.errors import UserError
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import Row
from ganatomy.evaluation.rows import at_most
from ganatomy.generators.sampler import Sampler
from ganatomy.metrics.base import Images
from ganatomy.metrics.translation.baselines import (
    HISTOGRAM_MATCHED,
    INPUT_RETURNED,
    HistogramMatch,
    both_histogram_matches,
    fit_histogram_match,
    input_returned,
)
from ganatomy.metrics.translation.paired import foreground
from ganatomy.statistics.subjects import rows_of
from ganatomy.training.draws import partners

MODEL = "model"
MOST_IMAGES = 2000
MOST_TRAINING = MOST_IMAGES // 4  # to learn a histogram from, and for the distance of real train to real test
Say = Callable[[str], None]


@dataclass
class Task:
    """What is measured: the model, the runs beside it, and the dataset.

    `samplers` holds (name, sampler) with the model first.
    """

    dataset: Dataset
    samplers: dict[str, Sampler]
    source: str
    target: str
    label: str | None
    seed: int
    warnings: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Side of the images, pixels."""
        return self.samplers[MODEL].size


@dataclass
class Direction:
    """The test images of one direction.

    Attributes:
        rows, inputs: of the source's contrast. real, truth: rows and images of the target's; of the same slices where
            `paired`.
        mask: foreground of the real images, [n, s, s].
        backward: from the contrast that was the target in training.
    """

    task: Task
    rows: list[Row]
    inputs: Images
    real: list[Row]
    truth: Images
    mask: Any
    paired: bool
    backward: bool

    @property
    def subjects(self) -> list[str]:
        """Of each input."""
        return [row.subject for row in self.rows]


def direction_of(task: Task, backward: bool, n: int | None) -> Direction:
    source, target = (task.target, task.source) if backward else (task.source, task.target)
    dataset = task.dataset
    rows = at_most(dataset.require("test", source, task.label), n or MOST_IMAGES, task.seed)
    paired = dataset.info.paired
    real = partners(dataset, rows, target) if paired \
        else at_most(dataset.require("test", target, task.label), n or MOST_IMAGES, task.seed)
    inputs, truth = dataset.images(rows, task.size), dataset.images(real, task.size)
    return Direction(task, rows, inputs, real, truth, foreground(inputs, truth if paired else inputs), paired,
                      backward)


def translations(direction: Direction, say: Say) -> tuple[dict[str, Images], str]:
    """Every translator's images, the model's first, and what is to be said of the baselines."""
    task, made = direction.task, dict[str, Images]()
    for name, sampler in task.samplers.items():
        if direction.backward and not sampler.model.two_way:
            continue
        say(f"translating with {name} ...")
        images = sampler.translate(direction.inputs, task.seed, direction.backward)
        if not np.isfinite(images).all():
            raise UserError("the generator gives images that hold NaN or infinity", where=name, fix="train it again")
        made[name] = images
    made[INPUT_RETURNED] = input_returned(direction.inputs)
    if not direction.paired:
        return made, ""
    rows = whole_subjects(task.dataset.rows(direction.rows[0].domain, "train", task.label), MOST_TRAINING, task.seed)
    if not rows:
        return made, "no training images: histogram matching is left out"
    truth = task.dataset.images(partners(task.dataset, rows, direction.real[0].domain), task.size)
    match = fit_histogram_match(task.dataset.images(rows, task.size), truth, [row.subject for row in rows])
    made[HISTOGRAM_MATCHED] = _matched(direction, match)
    return made, match.note


def to_targets(direction: Direction) -> list[Images]:
    """The inputs with their grey values matched to training targets, rising and falling; empty without any."""
    task = direction.task
    rows = whole_subjects(task.dataset.rows(direction.real[0].domain, "train", task.label), MOST_TRAINING, task.seed)
    maps = both_histogram_matches(task.dataset.images(rows, task.size)) if rows else None
    return [_matched(direction, match) for match in maps or ()]


def whole_subjects(rows: list[Row], most: int, seed: int) -> list[Row]:
    """All rows of subjects drawn at random, at most `most` rows in all, but one subject at least; in their order."""
    subjects = list(dict.fromkeys(row.subject for row in rows))
    counts, chosen, total = Counter(row.subject for row in rows), set[str](), 0
    for i in np.random.default_rng((seed, 13)).permutation(len(subjects)):
        if not chosen or total + counts[subjects[i]] <= most:
            chosen.add(subjects[i])
            total += counts[subjects[i]]
    return [row for row in rows if row.subject in chosen]


def _matched(direction: Direction, match: HistogramMatch) -> Images:
    """The inputs matched: each ranks among all test slices of its subject, however few of them are measured."""
    task, made = direction.task, np.empty_like(direction.inputs)
    rows = task.dataset.rows(direction.rows[0].domain, "test", task.label)
    for subject, places in rows_of(direction.subjects):
        whole = [row for row in rows if row.subject == subject]
        images = match(task.dataset.images(whole, task.size), [subject] * len(whole))
        place = {row.row: i for i, row in enumerate(whole)}
        made[places] = images[[place[direction.rows[i].row] for i in places]]
    return made


def physical(direction: Direction) -> tuple[Any, str]:
    """Units for a step of 1 in the images, of each row, and their name; (None, "") for arbitrary units."""
    info = direction.task.dataset.info
    intensity = info.intensity.get(direction.real[0].domain)
    if intensity is None or intensity.units.startswith("arbitrary"):
        return None, ""
    low, high = info.value_range
    return np.array([(high - low) / 2 * row.scale for row in direction.real]), intensity.units


def spacing(direction: Direction) -> tuple[float, float] | None:
    dataset, size = direction.task.dataset, direction.task.size
    if dataset.info.spacing is None:
        return None
    factor = dataset.size / size
    return dataset.info.spacing[0] * factor, dataset.info.spacing[1] * factor


def lesion_masks(direction: Direction) -> Any:
    """Where lesions are outlined, [n, s, s]; None where nothing is, or the images were made smaller than stored."""
    dataset = direction.task.dataset
    values = [value for name, value in dataset.info.mask_values.items() if "lesion" in name.lower()]
    if not values or not direction.paired or direction.task.size != dataset.size:
        return None
    return np.isin(dataset.masks(direction.rows), values)
