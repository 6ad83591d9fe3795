"""What one classifier said of images that it had not seen: one CSV an arm and cell."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.core.files import write_text

Array = NDArray[np.float64]
Key = tuple[int, int, int, str]
"""k, fold, seed, arm."""
_FIXED = ["image_id", "subject", "label", "half"]
_SCORE, _DECISION = "score:", "decision:"
REMOVE_FILE = "remove this file and run the study again: the rest is kept"
_BIT = {"0": 0, "1": 1}


@dataclass(frozen=True)
class Predictions:
    """Scores and decisions of n images, the same order in all fields.

    Attributes:
        image_ids, subjects, labels: of each image; a label is a class's name.
        half: intp [n]; checkpoint and threshold were chosen on the other half of the held-out subjects. An image of
            an external set has two rows, one for each choice.
        scores: by positive class, float64 [n], its probability, 0 to 1.
        decisions: by positive class, bool [n], whether the score reaches the threshold.
    """

    image_ids: tuple[str, ...]
    subjects: tuple[str, ...]
    labels: tuple[str, ...]
    half: NDArray[np.intp]
    scores: dict[str, Array]
    decisions: dict[str, NDArray[np.bool_]]


Outcomes = Mapping[Key, Predictions]


def write_predictions(path: Path, said: Predictions) -> None:
    """Write as CSV, atomically; numbers are written so that they come back to the same bits."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*_FIXED, *(_SCORE + c for c in said.scores), *(_DECISION + c for c in said.decisions)])
    columns = [said.image_ids, said.subjects, said.labels, said.half.tolist(),
               *([repr(v) for v in s.tolist()] for s in said.scores.values()),
               *(d.astype(int).tolist() for d in said.decisions.values())]
    writer.writerows(zip(*columns, strict=True))
    write_text(path, buffer.getvalue())


def read_predictions(path: Path) -> Predictions:
    """Read what `write_predictions` wrote. Raises `UserError` if it is missing or broken."""
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            head, *lines = list(csv.reader(handle))
        columns = dict(zip(head, zip(*lines, strict=True), strict=True))
        classes = [name.removeprefix(_SCORE) for name in head if name.startswith(_SCORE)]
        return Predictions(columns["image_id"], columns["subject"], columns["label"],
                           np.array([_BIT[v] for v in columns["half"]], np.intp),
                           {c: np.array([_probability(v) for v in columns[_SCORE + c]]) for c in classes},
                           {c: np.array([_BIT[v] == 1 for v in columns[_DECISION + c]]) for c in classes})
    except (OSError, ValueError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot be read as predictions ({error})", where=path, fix=REMOVE_FILE) from error


def _probability(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:  # NaN is not either
        raise ValueError(f"{text} is no probability")
    return value
