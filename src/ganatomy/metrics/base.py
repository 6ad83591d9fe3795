"""What every metric is given, what it gives back, and what it declares of itself.

A metric is one file of this package. It has `compute(samples) -> list[Result]` and `ABOUT`, an `About` for each of its
values; and may have

- `ORDER`: its place in tables, the headline's is 0;
- `ON_DEMAND = True`: computed only when asked for by the file's name;
- `CONTROLS = False`: not computed of controls;
- `fault(result) -> str`: a sentence where the result shows a fault, else "". It turns the light of the question amber,
  and red if it is `Grave`. The result against test is judged, or what `judged(results) -> Result | None` chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.core.text import Interval
from ganatomy.features.base import Extractor, Features, Images, Stack, choose
from ganatomy.metrics.schema import Better, Question, Result, finite
from ganatomy.statistics.subjects import MIN_SUBJECTS

__all__ = ["MIN_SUBJECTS", "About", "Better", "Column", "Features", "Grave", "Images", "Result", "Sample", "Samples",
           "finite"]

Array = NDArray[np.float64]
ANY, POSITIVE, SHARE = (-np.inf, np.inf), (0.0, np.inf), (0.0, 1.0)  # spans of values
NO_TRAIN = "there is no train split"


@dataclass(frozen=True)
class Column:
    """A value of the leaderboard.

    Attributes:
        key, head: its name in the result of `compare`, and in tables.
        ratio: the ratio to real images is taken, not the value.
        order: its place.
        name, better, span: of the metric that declares it (see `About`).
    """

    key: str
    head: str
    ratio: bool = False
    order: float = 99
    name: str = ""
    better: Better = "lower"
    span: Interval = ANY


@dataclass(frozen=True)
class About:
    """What a metric declares of one of its values.

    Attributes:
        name: without the extractor that results carry behind a hyphen: KD of KD-Lite0.
        meaning: what it is, for a reader of the report, in one or two sentences.
        question: which of the four it helps to answer.
        better: lower, higher, or match (near the value between real images).
        also: another name of the same, as of KD over the features of Inception: KID.
        column: of a leaderboard; None if it is not in one.
        factor: by what it is multiplied where it is shown.
        span: the smallest and the largest value that there can be: estimates and the ends of intervals beyond are cut.
    """

    name: str
    meaning: str
    question: Question
    better: Better
    also: str = ""
    column: Column | None = None
    factor: float = 1.0
    span: Interval = ANY


class Grave(str):
    """A fault that makes a light red."""


class Sample:
    """Images of one kind with their subjects; features are computed once, when first asked for.

    Attributes:
        images: float32 [n, c, s, s] in [-1, 1]; an array, or anything that gives rows of one, so that 100,000 images
            need not be in memory: take rows or slices of it, never all.
        subjects: intp [n], the number of each image's subject, 0 to n_subjects - 1. Synthetic images are
            independent: each is a subject of its own.
        names: the subjects' pseudonyms, in the order of their numbers.
        ids: image_id of each image; of synthetic ones their number.
    """

    def __init__(self, images: Stack, subjects: Sequence[str] | None = None, features: Features | None = None, *,
                 extractor: Extractor | None = None, ids: Sequence[str] | None = None) -> None:
        self.images = images
        self.extractor = extractor or choose()
        self.ids = tuple(ids) if ids is not None else tuple(map(str, range(len(images))))
        labels = [str(i) for i in range(len(images))] if subjects is None else list(subjects)
        if len(labels) != len(images):
            raise ValueError(f"{len(images)} images, {len(labels)} subjects")
        self.names = tuple(dict.fromkeys(labels))
        number = {name: i for i, name in enumerate(self.names)}
        self.subjects = np.array([number[label] for label in labels], np.intp)
        self._features = features

    @property
    def n_images(self) -> int:
        return len(self.images)

    @property
    def n_subjects(self) -> int:
        return len(self.names)

    @property
    def features(self) -> Features:
        """Float64 [n, d], by the extractor unless they were given."""
        if self._features is None:
            self._features = self.extractor(self.images)
        return self._features

    @cached_property
    def lookalikes(self) -> Features:
        """Float64 [n, d], by which copies are searched for.

        They may be of a network that training looked through: what is found is compared with what is found of held-out
        patients, by the same features, so that these decide how much is found, not what is called a copy.
        """
        return self.features if self.extractor.searches else choose()(self.images)

    def take(self, rows: NDArray[np.intp]) -> Sample:
        """The images of these rows, as a sample."""
        features = None if self._features is None else self._features[rows]
        return Sample(self.images[rows], [self.names[s] for s in self.subjects[rows]], features,
                      extractor=self.extractor, ids=[self.ids[row] for row in rows])


@dataclass(frozen=True)
class Samples:
    """The samples a metric compares. `test` is what counts; `train` stands beside it where there is one.

    Attributes:
        control: `synthetic` is a control: metrics give the value against test alone, without floors.
        fresh: draws further images from the generator, where there is one: (n, seed) -> [n, c, s, s].
        judge: its discriminator's scores [n] of images [n, c, s, s], higher for what it takes for real.
    """

    test: Sample
    synthetic: Sample
    train: Sample | None = None
    val: Sample | None = None
    seed: int = 0
    control: bool = False
    fresh: Callable[[int, int], Images] | None = None
    judge: Callable[[Images], Array] | None = None

    @property
    def extractor(self) -> Extractor:
        return self.test.extractor

    def real(self) -> list[tuple[str, Sample]]:
        """The real samples to compare with, the headline first."""
        train = [("train", self.train)] if self.train is not None and not self.control else []
        return [("test", self.test), *train]

    def result(self, name: str, against: str, value: float | None, better: Better, **fields: Any) -> Result:
        """A result with the numbers of images and subjects of these samples."""
        real = self.train if against == "train" and self.train is not None else self.test
        return Result(name=name, against=against, value=value, n_images=real.n_images, n_subjects=real.n_subjects,
                      n_synthetic=self.synthetic.n_images, better=better, **fields)

    def with_control(self, images: Sample) -> Samples:
        """The same with a control in the place of the synthetic images."""
        return replace(self, synthetic=images, control=True)


def refuse_not_finite(images: Images) -> None:
    """Raise `UserError` if a model's images hold values that are not finite."""
    if not np.isfinite(images).all():
        raise UserError("translated images hold values that are not finite",
                        fix="the training has diverged: translate with an earlier checkpoint")
