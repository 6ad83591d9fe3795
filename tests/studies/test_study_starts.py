"""Starting a study: of several at once one begins, a killed start is begun again, other folders are left alone."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import pytest

from ganatomy.core.errors import UserError
from ganatomy.core.files import locked, private_path
from ganatomy.studies.folder import StudyFolder
from ganatomy.studies.study import begin
from tests.builders import TINY
from tests.studies.study_dataset import begun, write_labelled


def quiet(text: str) -> None:
    """Nobody listens."""


def starts(home: Path, seed: int, gate: Any, ended: Any) -> None:
    """Begin a study when the others do; tells how that ended."""
    gate.wait()
    try:
        begin(home / "data", home / "study", recipe=None, set=TINY, budget=None, external=None, device="cpu",
              say=quiet, k=(4,), folds=2, seeds=1, imbalance=2.0, seed=seed)
        ended.put((seed, ""))
    except UserError as error:
        ended.put((seed, str(error)))


def test_of_studies_started_at_once_one_begins(tmp_path: Path) -> None:
    write_labelled(tmp_path / "data")
    forked = multiprocessing.get_context("fork")
    gate, ended = forked.Barrier(4), forked.Queue()
    processes = [forked.Process(target=starts, args=(tmp_path, seed, gate, ended)) for seed in range(4)]
    for process in processes:
        process.start()
    found = dict(ended.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    (winner,) = (seed for seed, error in found.items() if not error)
    assert all("another process" in error or "other settings" in error for error in found.values() if error)
    folder = StudyFolder(tmp_path / "study")
    assert folder.settings().seed == winner
    alone = tmp_path / "alone"
    shutil.copytree(tmp_path / "data", alone / "data")
    own = begin(alone / "data", alone / "study", recipe=None, set=TINY, budget=None, external=None, device="cpu",
                say=quiet, k=(4,), folds=2, seeds=1, imbalance=2.0, seed=winner)
    assert folder.places() == own.places()


def test_a_start_that_another_process_is_at_is_refused(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "study")
    private_path(folder.path).mkdir()
    with locked(private_path(folder.path) / ".start", folder.path, ""), \
            pytest.raises(UserError, match="another process is beginning a study here"):
        begun(tmp_path)
    assert not folder.path.exists()


def test_a_start_that_was_killed_is_begun_again_and_a_folder_of_others_is_left_alone(tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    (study / "folds.csv").write_text("subject,fold,half\nsomebody,0,0\n")
    (study / ".study.json.partial-999999999").write_text("{")
    folder = begun(tmp_path)
    assert "somebody" not in folder.places() and len(folder.places()) == 24
    home = tmp_path / "other"
    (home / "study").mkdir(parents=True)
    (home / "study" / "holiday.txt").touch()
    with pytest.raises(UserError, match="exists and is not a study folder"):
        begun(home)
    assert not private_path(home / "study").exists()
