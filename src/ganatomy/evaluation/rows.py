"""What both evaluations share: choosing rows, and warnings about the dataset and its size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ganatomy.core.errors import UserError
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import Row
from ganatomy.metrics.base import MIN_SUBJECTS

OF_DATASET = "Dataset: "  # how a warning begins that `prepare` has left in the dataset


def dataset_warnings(dataset: Dataset) -> list[str]:
    """What `prepare` warned of, as sentences; each begins with "Dataset: "."""
    found = dataset.info.fingerprint.get("warnings")
    texts = [str(text).strip().rstrip(".") for text in found] if isinstance(found, list | tuple) else []
    return [f"{OF_DATASET}{text}." for text in texts if text]


def same_channels(dataset: Dataset, channels: int, whose: str) -> None:
    """Raise `UserError` unless the dataset's images have as many channels as a model's or another dataset's."""
    if dataset.info.channels != channels:
        raise UserError(f"has images of {dataset.info.channels} channels, {whose} of {channels}", where=dataset.path,
                        fix="prepare it again with --channels")


def at_most(rows: list[Row], most: int, seed: int) -> list[Row]:
    """At most `most` of the rows, drawn at random, in their order."""
    if len(rows) <= most:
        return rows
    chosen = np.random.default_rng((seed, 11)).choice(len(rows), most, replace=False)
    return [rows[i] for i in np.sort(chosen)]


def size_warning(subjects: int, said: Sequence[str] = ()) -> list[str]:
    """What must be said of so few test subjects, if it has not been said yet."""
    text = ""
    if subjects < MIN_SUBJECTS:
        text = (f"Only {subjects} test subject{'s' if subjects > 1 else ''}: values per subject, no intervals, "
                "no noise floor; nothing can be said about other patients.")
    elif subjects < 2 * MIN_SUBJECTS:
        text = f"Only {subjects} test subjects: intervals are wide and rough."
    return [text] if text and text not in said else []
