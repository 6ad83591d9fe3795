"""The cache of features: the same bits with and without it, private, bounded, and never in the way."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from ganatomy.features import base
from ganatomy.features.base import Extractor, cache_folder, choose


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of one test."""
    monkeypatch.setenv("GANATOMY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


class Counting(Extractor):
    """Each image's mean and a third, which float32 cannot hold; counts the images that it has seen."""

    name, dimensions, identity = "Counting", 2, "counting"

    def __init__(self) -> None:
        self.seen: list[int] = []

    def compute(self, images: np.ndarray, device: str = "cpu") -> np.ndarray:
        self.seen.append(len(images))
        return np.stack([images.mean((1, 2, 3), dtype=np.float64), np.full(len(images), 1 / 3)], 1)


def images(n: int = 7, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (n, 1, 8, 8)).astype(np.float32)


def entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def test_the_same_bits_from_the_network_and_from_the_cache(folder: Path) -> None:
    extractor = choose("random")
    computed = extractor.compute(images())
    first, second = extractor(images()), extractor(images())
    assert np.array_equal(first, computed) and np.array_equal(second, computed)
    assert second.dtype == np.float64 and len(entries(folder)) == 1
    assert entries(folder)[0].stat().st_size < computed.nbytes * 0.6  # as float32, which loses nothing here
    assert np.array_equal(Counting()(images()), Counting()(images())) and Counting()(images())[0, 1] == 1 / 3


def test_a_second_time_nothing_is_computed_but_of_other_images_networks_and_machines(
        monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = Counting()
    extractor(images())
    extractor(images())
    assert extractor.seen == [7]
    changed = images()
    changed[3, 0, 0, 0] += 0.01
    for other in (changed, images()[:5], images().reshape(7, 1, 4, 16)):
        extractor(other)
    extractor.identity = "another"
    extractor(images())
    monkeypatch.setattr("torch.get_num_threads", lambda: 99)
    extractor(images())
    assert extractor.seen == [7, 7, 5, 7, 7, 7]


def test_large_stacks_go_through_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lazy:
        """Refuses to give more than a chunk at a time."""

        shape = (1000, 1, 8, 8)

        def __len__(self) -> int:
            return 1000

        def __getitem__(self, rows: slice) -> np.ndarray:
            start, stop, _ = rows.indices(1000)
            assert stop - start <= base.CHUNK
            return images(1000)[start:stop]

    extractor = Counting()
    assert np.array_equal(extractor(Lazy()), Counting().compute(images(1000)))
    assert max(extractor.seen) <= base.CHUNK and sum(extractor.seen) == 1000


def test_only_the_owner_may_read(folder: Path) -> None:
    old = os.umask(0)
    try:
        Counting()(images())
    finally:
        os.umask(old)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in entries(folder)] == [0o600]


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "text"])
def test_damaged_entries_are_computed_and_replaced(folder: Path, damage: str) -> None:
    right = Counting()(images())
    (path,) = entries(folder)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    damaged = {"flipped": bytes(content), "cut": bytes(content[:50]), "empty": b"", "text": b"hello" * 30}
    path.write_bytes(damaged[damage])
    extractor = Counting()
    assert np.array_equal(extractor(images()), right) and extractor.seen == [7]
    assert np.array_equal(extractor(images()), right) and extractor.seen == [7]


def test_the_oldest_used_go_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = Counting()
    for seed in range(4):
        extractor(images(seed=seed))
        newest = max(entries(folder), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (seed, seed))
    extractor(images(seed=0))  # used again, so no longer the oldest
    size = entries(folder)[0].stat().st_size
    monkeypatch.setattr(base, "MOST_BYTES", 3 * size)
    extractor(images(seed=9))
    assert len(entries(folder)) == 3
    extractor.seen.clear()
    for seed in (0, 3, 9):
        extractor(images(seed=seed))
    assert extractor.seen == []


def test_files_of_others_are_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    monkeypatch.setattr(base, "MOST_BYTES", 0)
    Counting()(images())
    assert [path.name for path in entries(folder)] == ["notes.txt"]


def test_it_can_be_turned_off_and_moved(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANATOMY_CACHE", "OFF")
    extractor = Counting()
    extractor(images())
    extractor(images())
    assert extractor.seen == [7, 7] and not folder.exists() and cache_folder() is None
    monkeypatch.delenv("GANATOMY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "ganatomy" / "features"


def test_where_nothing_can_be_written_it_goes_without(folder: Path, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert np.array_equal(Counting()(images()), Counting().compute(images()))
    assert entries(folder) == []
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GANATOMY_CACHE", str(tmp_path / "file" / "cache"))
    assert np.array_equal(Counting()(images()), Counting().compute(images()))
