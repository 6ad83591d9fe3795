"""What every metric is given and what it gives back. A metric is one file here with `compute(samples)`."""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ganatomy import metrics
from ganatomy.core.errors import UserError
from ganatomy.features.base import Extractor, Features, Images, Stack
from ganatomy.features.choose import choose

__all__ = ["Features", "Images", "MetricResult", "Sample", "Samples"]

Array = NDArray[np.float64]
Better = Literal["lower", "higher", "match"]
MIN_SUBJECTS = 5  # below this an interval over subjects would be made up


class Sample:
    """Images of one kind with their subjects; features are computed once, when first asked for.

    Attributes:
        images: float32 [n, c, s, s] in [-1, 1]; an array, or anything that gives rows of one, so that 100,000 images
            need not be in memory: take rows or slices of it, never all.
        subjects: intp [n], the number of each image's subject, 0 to n_subjects - 1. Synthetic images are
            independent: each is a subject of its own.
        names: the subjects' pseudonyms, in the order of their numbers.
        extractor: what computes the features.
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
        """How many images."""
        return len(self.images)

    @property
    def n_subjects(self) -> int:
        """How many subjects."""
        return len(self.names)

    @property
    def features(self) -> Features:
        """Float64 [n, d]; the extractor's unless others were given."""
        if self._features is None:
            self._features = self.extractor(self.images)
        return self._features

    def take(self, rows: NDArray[np.intp]) -> Sample:
        """The images of these rows, as a sample."""
        features = None if self._features is None else self._features[rows]
        return Sample(self.images[rows], [self.names[s] for s in self.subjects[rows]], features,
                      extractor=self.extractor, ids=[self.ids[row] for row in rows])


@dataclass(frozen=True)
class Samples:
    """The samples a metric compares. `test` is what counts; `train` stands beside it where there is one.

    `control` says that `synthetic` is a control: metrics then give the value against test alone, without floors.
    `fresh` draws further images from the generator, (n, seed) -> [n, c, s, s], where there is one. `judge` gives its
    discriminator's scores [n] of images [n, c, s, s], higher for what it takes for real.
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
        """What computes the features of all samples."""
        return self.test.extractor

    def real(self) -> list[tuple[str, Sample]]:
        """The real samples to compare with, the headline first."""
        found = [("test", self.test)]
        if self.train is not None and not self.control:
            found.append(("train", self.train))
        return found

    def with_control(self, images: Sample) -> Samples:
        """The same with a control in the place of the synthetic images."""
        return replace(self, synthetic=images, control=True)


@dataclass(frozen=True)
class MetricResult:
    """One figure with what is needed to judge it. Intervals are 95%, over subjects.

    Attributes:
        name: such as KD-Lite0.
        against: which real sample: test or train.
        value: the figure; None where it cannot be computed, and `caveat` says why.
        interval: None below five subjects.
        floor: the same figure, real against real: the mean over random halvings of the real subjects; for
            `better: match` the reference's value.
        floor_interval: the central 95% of the halvings (a spread, not a confidence interval), or the reference's.
        paired_difference: score minus floor at equal n: mean, central 95%, the score on that footing, images a half.
        reference: the same figure between real images: what it is of, its value, interval, n.
        ratio, ratio_interval: value / reference value, for `better: match`; of densities at the floor's n.
        p_no_difference: from permuting subjects; small means the two samples differ.
        per_subject: value for each real subject by itself, below five subjects.
        better: lower, higher, or match (near the reference).
        ranked: whether controls are expected behind the model; a figure that rises with blur is never ranked.
        details: what a report draws beyond the figure, such as a curve or the worst pairs; plain lists and numbers.
    """

    name: str
    against: str
    value: float | None
    n_images: int
    n_subjects: int
    n_synthetic: int
    better: Better
    interval: tuple[float, float] | None = None
    floor: float | None = None
    floor_interval: tuple[float, float] | None = None
    paired_difference: dict[str, Any] | None = None
    reference: dict[str, Any] | None = None
    ratio: float | None = None
    ratio_interval: tuple[float, float] | None = None
    p_no_difference: float | None = None
    per_subject: dict[str, float] | None = None
    caveat: str = ""
    details: dict[str, Any] | None = None
    ranked: bool = field(default=True, repr=False)

    def to_json(self) -> dict[str, Any]:
        """A dictionary for metrics.json, without NaN or infinity."""
        entry = {key: value for key, value in vars(self).items() if key != "ranked"}
        return {key: finite(value) for key, value in entry.items()}


def finite(value: Any) -> Any:
    """`value` with tuples as lists, numpy numbers as Python's, and None for what is not finite."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [finite(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def found(asked: frozenset[str] = frozenset()) -> list[ModuleType]:
    """Every metric of this package: the modules with a `compute`, by their `ORDER` (the headline has 0).

    A module with `ON_DEMAND = True` counts only if its name is among those `asked` for. One with `CONTROLS = False` is
    not computed of controls.
    """
    modules = [importlib.import_module(f"{metrics.__name__}.{m.name}") for m in pkgutil.iter_modules(metrics.__path__)
               if not m.name.startswith("_")]
    wanted = [m for m in modules if hasattr(m, "compute")
              and (not getattr(m, "ON_DEMAND", False) or m.__name__.rpartition(".")[2] in asked)]
    return sorted(wanted, key=lambda m: (getattr(m, "ORDER", 99), m.__name__))


def factor(name: str) -> float:
    """By what a metric's value is multiplied where it is shown: kernel distances by 1000, as is the custom."""
    return 1000.0 if name.partition("-")[0] in ("KD", "KID") else 1.0


def refuse_not_finite(made: Images) -> None:
    """Say so if a model's images hold values that are not finite.

    Raises:
        UserError: they do.
    """
    if not np.isfinite(made).all():
        raise UserError("translated images hold values that are not finite",
                        fix="the training has diverged: translate with an earlier checkpoint")
