"""Folders trainA and trainB, and pictures with A and B side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganatomy.core.errors import UserError
from ganatomy.sources.detect import find_layout
from ganatomy.sources.entry import read_entry, scan_entry


def make(folder: Path, *names: str, height: int = 8, width: int = 8) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(number).integers(0, 255, (height, width)).astype(np.uint8)
        Image.fromarray(values).save(folder / name)
    return folder


def test_names_that_differ_are_unpaired(tmp_path: Path) -> None:
    make(tmp_path, "trainA/1.png", "trainA/2.png", "trainB/7.png", "testA/1.png", "testB/8.png", "other/x.png")
    layout = find_layout(tmp_path)
    assert layout.unpaired and not layout.subjects_known
    assert [(e.domain, e.split, e.subject) for e in layout.entries] == [
        ("A", "test", "testA/1"), ("B", "test", "testB/8"), ("A", "train", "trainA/1"), ("A", "train", "trainA/2"),
        ("B", "train", "trainB/7")]
    assert [name for name, _ in layout.unmatched] == ["other/x.png"]
    assert any("unpaired" in note for note in layout.notes)


def test_names_that_agree_are_pairs(tmp_path: Path) -> None:
    make(tmp_path, *(f"{split}{side}/{name}" for side in "AB" for split, name in (
        ("train", "1.png"), ("train", "2.png"), ("valid", "3.png"), ("test", "1.png"))))
    layout = find_layout(tmp_path)
    assert not layout.unpaired and any("taken for pairs" in note for note in layout.notes)
    assert {(e.subject, e.split, e.domain) for e in layout.entries} == {
        (f"{split}/{n}", split, side) for side in "AB" for split, n in (("train", 1), ("train", 2), ("val", 3),
                                                                        ("test", 1))}
    (tmp_path / "testB" / "1.png").rename(tmp_path / "testB" / "9.png")  # one split that differs is enough
    assert find_layout(tmp_path).unpaired


def test_subjects_of_sides_can_be_given(tmp_path: Path) -> None:
    make(tmp_path, "trainA/p1_a.png", "trainB/p1_b.png", "trainA/p2_a.png", "testB/p3_b.png")
    layout = find_layout(tmp_path, subject_regex=r"/(p\d)_", rules={"MR": "trainA", "CT": "B/"})
    assert layout.subjects_known and [(e.subject, e.domain) for e in layout.entries] == [
        ("p3", "CT"), ("p1", "MR"), ("p2", "MR"), ("p1", "CT")]


def test_one_side_alone_is_a_folder_like_others(tmp_path: Path) -> None:
    assert find_layout(make(tmp_path, "trainA/1.png", "testA/2.png")).kind == "a flat folder of images"


def test_side_by_side_pictures_are_halved(tmp_path: Path) -> None:
    make(tmp_path, "train/1.png", "train/2.png", "val/1.png", width=16)
    layout = find_layout(tmp_path)
    assert [(e.subject, e.domain, e.split) for e in layout.entries] == [
        ("train/1", "A", "train"), ("train/1", "B", "train"), ("train/2", "A", "train"), ("train/2", "B", "train"),
        ("val/1", "A", "val"), ("val/1", "B", "val")]
    assert any("left half is domain A" in note and "--layout folders" in note for note in layout.notes)
    whole = np.asarray(Image.open(tmp_path / "train" / "2.png"))
    left, right = layout.entries[2:4]
    assert scan_entry(left).shape == (1, 8, 8)
    assert (read_entry(left)[0] == whole[:, :8]).all() and (read_entry(right)[0] == whole[:, 8:]).all()
    named = find_layout(tmp_path, rules={"CT": "left", "MR": "right"})
    assert [e.domain for e in named.entries[:2]] == ["CT", "MR"]


def test_only_pictures_that_are_all_twice_as_wide_are_halved_unasked(tmp_path: Path) -> None:
    make(tmp_path / "a", "train/1.png", "train/2.png", "test/1.png", width=16)
    make(tmp_path / "a", "train/3.png", width=15)
    make(tmp_path / "b", "one/1.png", "two/2.png", width=16)
    for folder in ("a", "b"):
        assert find_layout(tmp_path / folder).kind == "a folder per class" or folder == "a"
        assert not any(e.piece.half for e in find_layout(tmp_path / folder).entries)
    assert [e.split for e in find_layout(tmp_path / "b", kind="side-by-side").entries] == [""] * 4
    with pytest.raises(UserError, match="8 rows and 15 columns"):
        find_layout(tmp_path / "a", kind="side-by-side")
    make(tmp_path / "c", "train/1.png", width=16)
    assert not any(e.piece.half for e in find_layout(tmp_path / "c", kind="folders").entries)
