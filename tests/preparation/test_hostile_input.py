"""Input that nobody means well with: it is refused or left out in one line, soon, and commands no terminal."""

from __future__ import annotations

import signal
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ganatomy.cli.main import main
from ganatomy.core.errors import UserError
from ganatomy.formats import Unreadable, read, scan
from ganatomy.preparation.prepare import prepare
from ganatomy.sources.csv_table import read_table
from tests.builders import pictures

EVIL = "\x1b[31m\nevil"


def write_tiff(path: Path, pages: int) -> Path:
    """Pages of 16 x 16 that all show the same pixels."""
    pixels, size = bytes(256), 2 + 9 * 12 + 4
    out = bytearray(b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels)
    for page in range(pages):
        tags = ((256, 3, 16), (257, 3, 16), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1),
                (278, 3, 16), (279, 4, 256))
        out += struct.pack("<H", 9) + b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
        out += struct.pack("<I", 8 + len(pixels) + (page + 1) * size if page < pages - 1 else 0)
    path.write_bytes(out)
    return path


def sparse(path: Path, head: bytes) -> Path:
    with path.open("wb") as handle:
        handle.write(head)
        handle.truncate(10 * 2**30)
    return path


def test_a_tiff_of_very_many_pages_is_refused_and_one_of_a_few_is_read(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="more than 10,000 pages"):
        scan(write_tiff(tmp_path / "many.tif", 20_000))
    assert read(write_tiff(tmp_path / "few.tif", 30)).shape == (30, 16, 16)


def test_a_huge_file_that_begins_like_a_jpeg_is_not_searched_through(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="JPEG of 10,240 MB"):
        scan(sparse(tmp_path / "x.jpg", b"\xff\xd8\xff\xe0"))


def test_a_huge_table_is_not_taken_into_memory(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="larger than a table"):
        read_table(sparse(tmp_path / "files.csv", b"path,subject\n"))


def test_names_in_errors_command_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["ganatomy", "prepare", str(tmp_path / EVIL), str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stopped:
        main()
    shown = capsys.readouterr().err
    assert stopped.value.code == 2
    assert shown.startswith("error: ") and shown.count("\n") == 1 and r"\x1b[31m\nevil" in shown


def test_names_of_folders_and_arrays_in_messages_command_no_terminal(tmp_path: Path) -> None:
    said: list[str] = []
    pictures = np.random.default_rng(0).integers(0, 255, (6, 20, 20)).astype(np.uint8)
    np.save(tmp_path / "pictures.npy", pictures)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name in ("T1.npy", f"{EVIL}.npy"):
            archive.write(tmp_path / "pictures.npy", name)
    prepare(tmp_path / "a.npz", tmp_path / "out", size=16, say=said.append)
    assert not any("\x1b" in line for line in said)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limits")
def test_a_file_larger_than_allowed_is_an_error_in_one_line(tmp_path: Path) -> None:
    import resource

    pictures(tmp_path / "src")
    before, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
    try:
        with pytest.raises(UserError, match="larger than is allowed"):
            prepare(tmp_path / "src", tmp_path / "out", size=64)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert [path.name for path in tmp_path.iterdir()] == ["src"]
