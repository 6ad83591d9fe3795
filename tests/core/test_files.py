"""Files and folders are written whole or not at all, and nothing of another is removed."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from ganatomy.core.errors import UserError
from ganatomy.core.files import atomic_path, disk_errors, private_folder, staged_folder, write_json, write_text


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("{")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_a_full_disk_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the disk is full"), atomic_path(tmp_path / "file"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(UserError, match="disk is full"), staged_folder(tmp_path / "folder"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_a_staged_folder_replaces_only_when_told(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with staged_folder(target) as stage:
        (stage / "one").touch()
    with pytest.raises(UserError, match="already exists"), staged_folder(target) as stage:
        pass
    with staged_folder(target, overwrite=True) as stage:
        (stage / "two").touch()
    assert [p.name for p in target.iterdir()] == ["two"]


def test_the_private_folder_is_the_owners_alone(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "dataset")
    assert folder == tmp_path / "dataset.private"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_two_processes_making_one_folder_leave_one_whole(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with (pytest.raises(UserError, match="another process has created it"), staged_folder(target) as first):
        (first / "one").touch()
        target.mkdir()
        (target / "two").touch()
    assert [p.name for p in target.iterdir()] == ["two"]
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


def test_leftovers_of_killed_processes_are_cleared(tmp_path: Path) -> None:
    gone, alive = 999999999, os.getppid()
    for name in (f".a.txt.partial-{gone}", f".a.txt.partial-{alive}", f".b.txt.partial-{gone}", ".a.txt.partial-mine"):
        (tmp_path / name).write_text("half")
    (tmp_path / f".folder.partial-{gone}").mkdir()
    write_text(tmp_path / "a.txt", "whole")
    with staged_folder(tmp_path / "folder"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", f".a.txt.partial-{alive}", f".b.txt.partial-{gone}",
                                       ".a.txt.partial-mine", "folder"}


def test_disk_errors_name_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError) as told, atomic_path(tmp_path / "taken" / "a.txt"):
        pass
    assert "partial" not in str(told.value)
    with pytest.raises(UserError) as told, staged_folder(tmp_path / "out") as stage, atomic_path(stage / "a") as made:
        raise OSError(errno.ENOSPC, "full", str(made))
    assert told.value.where == f"{tmp_path}/out/a"
    with pytest.raises(UserError) as told, disk_errors(tmp_path):
        (tmp_path / "no.partial-7").joinpath("a").write_text("")
    assert str(told.value.where).endswith("no.partial-7/a")  # the user's own name
