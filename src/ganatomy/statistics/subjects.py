"""From values of images to values of subjects: slices of one patient are no independent evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.text import grouped
from ganatomy.statistics.resampling import Array, student

MIN_SUBJECTS = 5  # below this an interval over subjects would be an invention
Index = NDArray[np.intp]


class Grouped(Protocol):
    """Rows of features [n, d] that belong to subjects, whose numbers [n] are 0 to n_subjects - 1."""

    @property
    def features(self) -> Array: ...

    @property
    def subjects(self) -> Index: ...

    @property
    def n_images(self) -> int: ...

    @property
    def n_subjects(self) -> int: ...


def rows_of(subjects: Sequence[str]) -> Iterator[tuple[str, Index]]:
    """Every subject's name and rows, in the order in which they come first."""
    labels = np.asarray(subjects, dtype=object)
    for name in dict.fromkeys(subjects):
        yield name, np.flatnonzero(labels == name)


def by_subject(values: Array, subjects: Sequence[str]) -> dict[str, float]:
    """The mean of each subject's finite values [n]; subjects without any are left out."""
    kept = {name: values[rows][np.isfinite(values[rows])] for name, rows in rows_of(subjects)}
    return {name: float(own.mean()) for name, own in kept.items() if own.size}


def over_subjects(means: Mapping[str, float]) -> tuple[float | None, tuple[float, float] | None]:
    """The mean over subjects, None without any, and its 95% interval (Student's t), None below five."""
    values = np.array(list(means.values()))
    if not values.size:
        return None, None
    interval = None
    if len(values) >= MIN_SUBJECTS:
        interval = student(float(values.mean()), float(values.std(ddof=1)) / len(values) ** 0.5, len(values))
    return float(values.mean()), interval


def clipped(interval: tuple[float, float] | None, span: tuple[float, float]) -> tuple[float, float] | None:
    """The part of an interval that the value can take: Student's t knows nothing of its span."""
    return interval and (float(np.clip(interval[0], *span)), float(np.clip(interval[1], *span)))


@dataclass(frozen=True)
class Points:
    """Features [n, d] and the numbers of their subjects [n]: what distances need of a sample, without its images."""

    features: Array
    subjects: Index

    @property
    def n_images(self) -> int:
        """How many rows."""
        return len(self.subjects)

    @property
    def n_subjects(self) -> int:
        """How many subjects."""
        return len(np.unique(self.subjects))

    @classmethod
    def alone(cls, features: Array) -> Points:
        """Each row a subject of its own."""
        return cls(features, np.arange(len(features), dtype=np.intp))

    @classmethod
    def of(cls, sample: Grouped, rows: Index) -> Points:
        """These rows of a sample, their subjects numbered anew in the order in which they come."""
        _, first, numbers = np.unique(sample.subjects[rows], return_index=True, return_inverse=True)
        return cls(sample.features[rows], np.argsort(np.argsort(first))[numbers].astype(np.intp))


def dealt(sample: Grouped, most: int, groups: int, rng: np.random.Generator) -> Grouped:
    """A sample of more than `most` subjects with whole subjects dealt at random into groups, which take their place.

    Subjects are independent, so groups of them are too: a mean over pairs of different groups has the same
    expectation as one over pairs of different subjects, and of 1,000 groups it leaves out a thousandth of the pairs.
    """
    if sample.n_subjects <= most:
        return sample
    group = rng.permutation(sample.n_subjects) % groups
    return Points(sample.features, group[sample.subjects].astype(np.intp))


def one_each(subjects: Index, rng: np.random.Generator) -> Index:
    """The row of one random image of each subject, in ascending order of their numbers [n]: [S]."""
    order = rng.permutation(len(subjects))
    rows: Index = order[np.unique(subjects[order], return_index=True)[1]]
    return rows


def size_warning(subjects: int) -> list[str]:
    """The warning of so few test subjects."""
    if subjects < MIN_SUBJECTS:
        return [f"Only {grouped(subjects, 'test subject')}: values per subject, no intervals, no noise floor; nothing "
                "can be told of other patients."]
    return [f"Only {subjects} test subjects: intervals are wide and rough."] if subjects < 2 * MIN_SUBJECTS else []
