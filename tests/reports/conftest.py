"""A finished run with its dataset, for every test of a report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ganatomy.core.recipe import Recipe
from ganatomy.core.run import Run
from ganatomy.training.train import train
from tests.builders import write_dataset


def copied(root: Path, target: Path) -> Path:
    """A copy of runs and their dataset that a test may change."""
    shutil.copytree(root, target, dirs_exist_ok=True)
    for note in target.glob("*.private/dataset.json"):
        note.write_text(json.dumps({"path": str(target / Path(json.loads(note.read_text())["path"]).name)}))
    return target


@pytest.fixture(scope="session")
def finished(tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `dataset` and `run`; not to be changed."""
    root = tmp_path_factory.mktemp("finished")
    write_dataset(root / "dataset", subjects=16)
    train(root / "dataset", root / "run", tiny)
    return root


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Run:
    """A copy of the run in `finished`, with its dataset beside it."""
    return Run(copied(finished, tmp_path) / "run")
