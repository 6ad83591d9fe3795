"""One finished study for all tests that look at one, and copies of it to spoil."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ganatomy.core.files import private_path, write_json
from ganatomy.data.dataset import Dataset
from ganatomy.studies.cell import run_cell
from ganatomy.studies.folder import StudyFolder
from ganatomy.studies.results import write_results
from tests.studies.study_dataset import begun, write_labelled


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """24 subjects of four images, a third of them rare; not to be changed."""
    return write_labelled(tmp_path_factory.mktemp("labelled") / "data")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """A finished study of two cells, with an external set; not to be changed: see `copy`."""
    home = tmp_path_factory.mktemp("finished")
    outside = write_labelled(home / "outside", size=32).path
    folder = begun(home, external=outside, seeds=1, arms=("ORG", "GAN"), imbalance=2.0, classifier={"updates": 10})
    for cell in folder.all_cells():
        run_cell(home / "data", folder.path, cell, device="cpu")
    write_results(folder, lambda text: None)
    return folder


@pytest.fixture
def copy(finished: StudyFolder, tmp_path: Path) -> StudyFolder:
    """A copy of it to spoil, which knows its own copies of the datasets."""
    home = tmp_path / "copy"
    shutil.copytree(finished.path.parent, home)
    folder = StudyFolder(home / "study")
    write_json(private_path(folder.path) / "datasets.json",
               {"dataset": str(home / "data"), "external": str(home / "outside")})
    return folder
