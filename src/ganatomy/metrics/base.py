"""What every metric is given and what it gives back. A metric is one file here with `compute(samples)`."""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ganatomy import metrics
from ganatomy.errors import UserError
from ganatomy.metrics.features import Features, lite0

Images = NDArray[np.float32]
Better = Literal["lower", "higher", "match"]
MIN_SUBJECTS = 5  # below this an interval over subjects would be made up


class Sample:
    """Images of one kind with their subjects; features are computed once, when first asked for.

    Attributes:
        images: float32 [n, c, s, s] in [-1, 1].
        subjects: intp [n], the number of each image's subject, 0 to n_subjects - 1. Synthetic images are
            independent: each is a subject of its own.
        names: the subjects' pseudonyms, in the order of their numbers.
    """

    def __init__(self, images: Images, subjects: Sequence[str] | None = None, features: Features | None = None) -> None:
        self.images = images
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
        """Float64 [n, d]; Lite0's unless others were given."""
        if self._features is None:
            self._features = lite0(self.images)
        return self._features

    def take(self, rows: NDArray[np.intp]) -> Sample:
        """The images of these rows, as a sample."""
        features = None if self._features is None else self._features[rows]
        return Sample(self.images[rows], [self.names[s] for s in self.subjects[rows]], features)

    def of_subject(self, number: int) -> Sample:
        """The images of one subject, each standing for itself."""
        rows = np.flatnonzero(self.subjects == number)
        return Sample(self.images[rows], None, None if self._features is None else self._features[rows])


@dataclass(frozen=True)
class Samples:
    """The samples a metric compares. `test` is what counts; `train` stands beside it where there is one.

    `control` says that `synthetic` is a control: metrics then give the value against test alone, without floors.
    """

    test: Sample
    synthetic: Sample
    train: Sample | None = None
    val: Sample | None = None
    seed: int = 0
    control: bool = False

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


def found() -> list[ModuleType]:
    """Every metric of this package: the modules with a `compute`, by their `ORDER` (the headline has 0)."""
    modules = [importlib.import_module(f"{metrics.__name__}.{m.name}") for m in pkgutil.iter_modules(metrics.__path__)]
    return sorted((m for m in modules if hasattr(m, "compute")), key=lambda m: (getattr(m, "ORDER", 99), m.__name__))


def refuse_not_finite(made: Images) -> None:
    """Say so if a model's images hold values that are not finite.

    Raises:
        UserError: they do.
    """
    if not np.isfinite(made).all():
        raise UserError("translated images hold values that are not finite",
                        fix="the training has diverged: translate with an earlier checkpoint")
