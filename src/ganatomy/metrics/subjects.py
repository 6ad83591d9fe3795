"""From values of images to values of subjects: slices of one patient are no independent evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ganatomy.metrics.base import MIN_SUBJECTS
from ganatomy.metrics.resampling import Array, student


def rows_of(subjects: Sequence[str]) -> Iterator[tuple[str, NDArray[np.intp]]]:
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
