"""Little datasets and recipes that the tests make themselves."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from ganatomy.core.recipe import Recipe, load
from ganatomy.data.dataset import Dataset, DatasetInfo
from ganatomy.data.manifest import Row
from ganatomy.data.writers import new_dataset

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# here and not in a fixture, so that commands that tests start get it too
os.environ["GANATOMY_CACHE"] = tempfile.mkdtemp(prefix="ganatomy-cache-")
atexit.register(shutil.rmtree, os.environ["GANATOMY_CACHE"], ignore_errors=True)

TINY = {"size": 16, "batch_size": 4, "steps": 12, "model.width": 8, "model.d_width": 8, "model.z_dim": 8,
        "checkpoint_every": 4, "preview_every": 4, "select": "last"}


def discs(n: int, size: int = 16, seed: int = 0) -> np.ndarray:
    """uint8 images [n, size, size] of a bright disc of random place and radius on black."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    centre, radius = rng.uniform(0.3, 0.7, (n, 2)), rng.uniform(0.1, 0.3, n)
    distance = np.hypot(y - centre[:, :1, None], x - centre[:, 1:, None])
    return (255 * np.clip((radius[:, None, None] - distance) * size / 2 + 0.5, 0, 1)).astype(np.uint8)


def write_dataset(path: Path, subjects: int = 12, per_subject: int = 2, size: int = 16, seed: int = 0,
                  splits: tuple[str, ...] = ("train", "train", "val", "test"), channels: int = 1) -> Dataset:
    """A dataset folder of discs; subjects take the splits in turn."""
    images = discs(subjects * per_subject, size, seed)
    if channels == 3:
        images = np.stack([images, images // 2, 255 - images], -1)
    with new_dataset(path, (size, size), channels, np.uint8) as writer:
        for i, image in enumerate(images):
            subject = i // per_subject
            writer.add(image, Row(f"image-{i:03d}", f"sub-{subject:03d}", "", i % per_subject, "disc", "",
                                  splits[subject % len(splits)], 0, 0.0, 1.0, "1x1", "", ""))
        writer.finish(DatasetInfo(size=(size, size), channels=channels, value_range=(0, 255), domains=("disc",),
                                  paired=True, content=""))
    return Dataset.open(path)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return write_dataset(tmp_path / "dataset")


@pytest.fixture
def tiny() -> Recipe:
    """rpgan, small enough to train in a second."""
    return load("rpgan-64", TINY)
