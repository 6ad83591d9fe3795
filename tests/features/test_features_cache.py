"""The cache of features: the same bits with and without it, private, bounded, and never in the way."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from ganatomy.features import base
from ganatomy.features.base import Cache, Extractor, cache_folder
from ganatomy.features.choose import choose


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


def test_features_that_float32_cannot_hold_are_kept_whole() -> None:
    assert np.array_equal(Counting()(images()), Counting()(images()))
    assert Counting()(images())[0, 1] == 1 / 3


def test_a_second_time_nothing_is_computed_and_other_images_are() -> None:
    extractor = Counting()
    extractor(images())
    extractor(images())
    assert extractor.seen == [7]
    changed = images()
    changed[3, 0, 0, 0] += 0.01
    for other in (changed, images()[:5], images().reshape(7, 1, 4, 16)):
        extractor(other)
    assert extractor.seen == [7, 7, 5, 7]


def test_another_extractor_or_number_of_threads_has_entries_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    Counting()(images())
    other = Counting()
    other.identity = "another"
    other(images())
    assert other.seen == [7]
    monkeypatch.setattr("torch.get_num_threads", lambda: 99)
    third = Counting()
    third(images())
    assert third.seen == [7]


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


@pytest.mark.parametrize("word", ["off", "OFF"])
def test_it_can_be_turned_off(folder: Path, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv("GANATOMY_CACHE", word)
    extractor = Counting()
    extractor(images())
    extractor(images())
    assert extractor.seen == [7, 7] and not folder.exists() and cache_folder() is None


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GANATOMY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "ganatomy" / "features"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "ganatomy" / "features"


def test_without_a_place_to_write_it_goes_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    monkeypatch.setenv("GANATOMY_CACHE", str(blocker / "cache"))
    assert np.array_equal(Counting()(images()), Counting().compute(images()))


def test_a_full_disk_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert np.array_equal(Counting()(images()), Counting().compute(images()))
    assert entries(folder) == []


def test_get_gives_what_put_took(tmp_path: Path) -> None:
    kept, features = Cache("one", tmp_path / "own"), np.random.default_rng(0).normal(size=(7, 3))
    assert kept.get(images()) is None
    kept.put(images(), features)
    assert np.array_equal(kept.get(images()), features)
    assert Cache("two", tmp_path / "own").get(images()) is None
