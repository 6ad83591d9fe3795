"""What all tests share: a cache of features of their own, and datasets and a run that none of them changes."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from ganatomy.core.recipe import Recipe, load
from ganatomy.core.run import Run
from ganatomy.data.dataset import Dataset
from ganatomy.metrics.critic import critics
from ganatomy.metrics.kernel import KDScorer
from ganatomy.training.train import train
from tests.builders import TINY, copy_run, write_contrasts, write_dataset

# here and not in a fixture, so that commands that tests start get it too
os.environ["GANATOMY_CACHE"] = tempfile.mkdtemp(prefix="ganatomy-cache-")
atexit.register(shutil.rmtree, os.environ["GANATOMY_CACHE"], ignore_errors=True)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Discs of 16 pixels of 12 subjects; not to be changed."""
    return write_dataset(tmp_path_factory.mktemp("discs") / "dataset")


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """T1 and T2 of 32 pixels of 12 subjects; not to be changed."""
    return write_contrasts(tmp_path_factory.mktemp("pairs") / "dataset")


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    """rpgan, small enough to train in a second."""
    return load("rpgan-64", TINY)


@pytest.fixture(scope="session")
def trained_run(dataset: Dataset, tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The recipe `tiny` trained on `dataset` to its end; not to be changed: see `own_run`."""
    return train(dataset.path, tmp_path_factory.mktemp("trained") / "run", tiny)


@pytest.fixture
def own_dataset(tmp_path: Path) -> Dataset:
    """A dataset like `dataset` in tmp_path/dataset that a test may change."""
    return write_dataset(tmp_path / "dataset")


@pytest.fixture
def own_run(trained_run: Run, tmp_path: Path) -> Run:
    """A copy of `trained_run` in tmp_path/run that a test may change."""
    return copy_run(trained_run, tmp_path)


@pytest.fixture
def quick_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation with few fakes and batches of a critic, and features that cost nothing."""
    monkeypatch.setattr("ganatomy.training.validation.FEWEST_FAKE", 16)
    monkeypatch.setattr(critics, "PUBLISHED", replace(critics.PUBLISHED, steps=10))
    monkeypatch.setattr(KDScorer, "features", lambda self, fakes: fakes.reshape(len(fakes), -1)[:, :64].astype(float))
