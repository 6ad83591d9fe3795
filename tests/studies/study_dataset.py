"""A little labelled dataset for studies: bright discs are common, dark ones rare."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ganatomy.data.dataset import Dataset, DatasetInfo, new_dataset
from ganatomy.data.manifest import Row
from ganatomy.studies.folder import StudyFolder
from ganatomy.studies.study import begin
from tests.builders import TINY, discs

OPTIONS: dict[str, Any] = {"k": (4,), "folds": 2, "seeds": 2, "arms": ("ORG", "AUG_GAN"), "imbalance": 3.0,
                           "classifier": {"updates": 20}}
"""Four cells, of which each takes some seconds."""


def write_labelled(path: Path, subjects: int = 24, per_subject: int = 4, size: int = 16) -> Dataset:
    """Every third subject is of the class rare, the others of common."""
    images = discs(subjects * per_subject, size)
    with new_dataset(path, (size, size), 1, np.uint8) as writer:
        for i, image in enumerate(images):
            subject = i // per_subject
            rare = subject % 3 == 0
            writer.add(255 - image if rare else image,
                       Row(f"image-{i:03d}", f"sub-{subject:03d}", "", i % per_subject, "disc",
                           "rare" if rare else "common", "train", 0, 0.0, 1.0, "1x1", "", ""))
        writer.finish(DatasetInfo(size=(size, size), channels=1, value_range=(0, 255), domains=("disc",), paired=True,
                                  content="", classes=("common", "rare")))
    return Dataset.open(path)


def changed(dataset: Dataset, path: Path, change: Callable[[int, Row], Row] = lambda i, row: row,
            **info: Any) -> Dataset:
    """A dataset of the same images upside down, with other rows."""
    pixels = dataset.pixels(dataset.rows())
    with new_dataset(path, dataset.info.size, 1, np.uint8) as writer:
        for i, row in enumerate(dataset.rows()):
            writer.add(np.flipud(pixels[i]), change(i, row))
        writer.finish(dataset.info.model_copy(update={"content": "", **info}))
    return Dataset.open(path)


def begun(home: Path, **options: Any) -> StudyFolder:
    """The study home/study of home/data, of which no cell is done."""
    data = home / "data" if (home / "data").is_dir() else write_labelled(home / "data").path
    return begin(data, home / "study", **{"set": TINY, "device": "cpu", **OPTIONS, **options})


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait until something is so; fails when it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)
