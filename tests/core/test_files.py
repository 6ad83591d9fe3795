"""Files and folders are written whole or not at all, and nothing of another is removed."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, SoftFileLock

from ganatomy.core.errors import UserError
from ganatomy.core.files import (
    atomic_path,
    claimed,
    disk_errors,
    private_folder,
    scratch_folder,
    several,
    staged_folder,
    write_json,
    write_text,
)
from ganatomy.core.origin import stamp


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("{")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder in which no file can be created")
def test_a_place_in_which_no_file_can_be_created_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write") as told, staged_folder(Path("/proc/x")):
        pass
    assert told.value.where == "/proc/x"


def test_what_is_being_written_is_the_owners_alone_until_it_is_whole(tmp_path: Path) -> None:
    path, old = tmp_path / "image.nii", os.umask(0)
    try:
        with atomic_path(path) as temporary:
            temporary.touch()
            assert any(stat.S_IMODE(folder.stat().st_mode) == 0o700 for folder in temporary.parents[:-1]
                       if tmp_path in folder.parents)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", [str, Path])
def test_one_path_stands_for_a_list_of_one(kind: type[str] | type[Path]) -> None:
    assert several(kind("run")) == several([kind("run")]) == [Path("run")]


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


def test_a_folder_that_appears_meanwhile_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with (pytest.raises(UserError, match="already exists"), staged_folder(target) as first):
        (first / "one").touch()
        target.mkdir()
        (target / "two").touch()
    assert [p.name for p in target.iterdir()] == ["two"]
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


HOLD = """
import sys, time
from pathlib import Path
from ganatomy.core.files import staged_folder
with staged_folder(Path(sys.argv[1])) as stage:
    (stage / "one").write_text("half")
    print("begun", flush=True)
    time.sleep(60)
"""


def test_what_another_process_is_making_is_neither_made_nor_removed(tmp_path: Path) -> None:
    """And what it leaves when it is killed is removed by the next one."""
    target = tmp_path / "deep" / "target"
    with subprocess.Popen([sys.executable, "-c", HOLD, target], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"begun\n"
        before = sorted(target.parent.iterdir())
        with pytest.raises(UserError, match="another process is writing here"), staged_folder(target, overwrite=True):
            pass
        with pytest.raises(UserError, match="another process is writing here"), claimed(target):
            pass
        assert sorted(target.parent.iterdir()) == before
        hidden = next(path for path in before if path.is_dir())
        assert stat.S_IMODE(hidden.stat().st_mode) == 0o700
        other.kill()
    with staged_folder(target) as stage:
        assert len(list(target.parent.glob(".*.partial-*"))) == 1
        (stage / "two").touch()
    assert [path.name for path in target.parent.iterdir()] == ["target"]
    assert [path.name for path in target.iterdir()] == ["two"]


def test_leftovers_of_killed_processes_are_cleared(tmp_path: Path) -> None:
    for name in (".a.txt.partial-999999999", ".a.txt.partial-0123456789abcdef", ".b.txt.partial-7", ".a.txt.lock",
                 ".a.txt.partial-mine"):
        (tmp_path / name).write_text("half")
    (tmp_path / ".folder.partial-7").mkdir()
    write_text(tmp_path / "a.txt", "whole")
    with staged_folder(tmp_path / "folder"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", ".b.txt.partial-7", ".a.txt.partial-mine", "folder"}


def test_links_in_a_circle_are_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    for place in (tmp_path / "circle", tmp_path / "circle" / "inside"):
        with pytest.raises(UserError, match="circle: cannot write"), staged_folder(place):
            raise AssertionError("the work has begun")
        with pytest.raises(UserError, match="circle"), claimed(place / "file"):
            raise AssertionError("the work has begun")


def test_a_claim_makes_its_folder_again_where_the_end_of_another_claim_removes_it(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, acquire, removed = tmp_path / "new", FileLock.acquire, []

    def removing(lock: FileLock, *args: Any, **given: Any) -> Any:
        if not removed:
            folder.rmdir()
            removed.append(folder)
            raise FileNotFoundError(errno.ENOENT, "gone between mkdir and open", str(folder))
        return acquire(lock, *args, **given)

    monkeypatch.setattr(FileLock, "acquire", removing)
    with claimed(folder / "file"):
        assert removed and folder.is_dir()
    assert not folder.exists()


def test_a_claim_that_fails_leaves_no_new_folders(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), claimed(tmp_path / "new" / "deep" / "out"), claimed(tmp_path / "new/deep/out"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_where_the_system_knows_no_locks_a_lock_of_another_machine_is_named(tmp_path: Path,
                                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganatomy.core.files.FileLock", SoftFileLock)
    (tmp_path / ".out.lock").write_text("999999999\nelsewhere\n")
    with pytest.raises(UserError, match=r"nobody does any more, remove .*\.out\.lock"), claimed(tmp_path / "out"):
        pass
    (tmp_path / ".out.lock").write_text(f"999999999\n{socket.gethostname()}\n")  # of a process that is gone
    with claimed(tmp_path / "out"):
        assert (tmp_path / ".out.lock").read_text().startswith(f"{os.getpid()}\n")
    assert list(tmp_path.iterdir()) == []


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


def test_a_place_for_temporary_files_that_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with scratch_folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="cannot write: no folder can be created there"), scratch_folder():
        pass
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", list)
    with pytest.raises(UserError, match=r"no folder for temporary files .* -> set TMPDIR"), scratch_folder():
        pass


def test_a_folder_with_a_link_into_nothing_is_stamped_and_changes_are_seen(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    before = stamp([tmp_path])
    assert stamp([tmp_path]) == before
    (tmp_path / "file").write_text("x")
    assert stamp([tmp_path]) != before
