"""Many pictures in one file: MedMNIST, .npz and .npy, and archives that must not be unpacked."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganatomy.core.errors import Question, UserError
from ganatomy.sources import stacks
from ganatomy.sources.detect import find_layout
from ganatomy.sources.entry import Layout, read_entry, scan_entry


def grey(n: int, seed: int = 0, shape: tuple[int, ...] = (28, 28)) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape)).astype(np.uint8)


def layout_of(path: Path, **options: Any) -> Layout:
    return find_layout(path, scratch=path.parent / "scratch", **options)


def medmnist(path: Path, *, colour: bool = False, labels: int = 1) -> dict[str, np.ndarray[Any, Any]]:
    arrays = {}
    for seed, (split, n) in enumerate((("train", 6), ("val", 2), ("test", 3))):
        arrays[f"{split}_images"] = grey(n, seed, (28, 28, 3) if colour else (28, 28))
        arrays[f"{split}_labels"] = np.arange(n * labels).reshape(n, labels).astype(np.uint8) % 2
    np.savez_compressed(path, **arrays)
    return arrays


@pytest.mark.parametrize("colour", [False, True])
def test_medmnist(tmp_path: Path, colour: bool) -> None:
    arrays = medmnist(tmp_path / "m.npz", colour=colour)
    layout = layout_of(tmp_path / "m.npz")
    assert not layout.subjects_known and any("own split" in note for note in layout.notes)
    assert [e.split for e in layout.entries] == ["train"] * 6 + ["val"] * 2 + ["test"] * 3
    assert [e.label for e in layout.entries[:3]] == ["class-0", "class-1", "class-0"]
    assert len({e.subject for e in layout.entries}) == 11 and {e.domain for e in layout.entries} == {"image"}
    last = layout.entries[-1]
    assert last.name == "m.npz/test_images/000002"
    assert (read_entry(last)[0] == arrays["test_images"][2]).all()
    header = scan_entry(last)
    assert (header.shape, header.channels, header.dtype, header.volumetric) == (
        (1, 28, 28), 3 if colour else 1, np.uint8, False)
    inside = find_layout(tmp_path, scratch=tmp_path / "scratch")  # the folder that it lies in
    assert [e.subject for e in inside.entries] == [e.subject for e in layout.entries]


def test_several_labels_a_picture_are_no_class(tmp_path: Path) -> None:
    medmnist(tmp_path / "chest.npz", labels=14)
    layout = layout_of(tmp_path / "chest.npz")
    assert {e.label for e in layout.entries} == {""}
    assert any("uint8 [6, 14], not one label for each picture" in note for note in layout.notes)


def test_arrays_of_as_many_pictures_are_paired_domains(tmp_path: Path) -> None:
    ct, mr = grey(4), grey(4, 1).astype(np.float32) / 3
    np.savez(tmp_path / "p.npz", CT=ct, MR=mr, seg=grey(4, 2)[..., None], subjects=np.array(["x", "y", "x", "x"]),
             label=np.array([[3], [1], [3], [3]]))
    layout = layout_of(tmp_path / "p.npz")
    assert layout.subjects_known and not layout.unpaired
    assert [(e.subject, e.domain, e.slice, e.label) for e in layout.entries[:4]] == [
        ("x", "CT", 0, "class-3"), ("y", "CT", 0, "class-1"), ("x", "CT", 1, "class-3"), ("x", "CT", 2, "class-3")]
    assert [e.domain for e in layout.entries[::4]] == ["CT", "MR", "seg"]
    assert [(e.subject, e.slice) for e in layout.entries[4:8]] == [(e.subject, e.slice) for e in layout.entries[:4]]
    assert np.allclose(read_entry(layout.entries[6])[0], mr[2])
    assert scan_entry(layout.entries[8]).shape == (1, 28, 28)  # the last axis of 1 is gone
    assert (read_entry(layout.entries[8])[0] == grey(4, 2)[0]).all()


def test_arrays_of_different_numbers_are_unpaired(tmp_path: Path) -> None:
    np.savez(tmp_path / "u.npz", A=grey(3), B=grey(5), y=np.zeros(3))
    layout = layout_of(tmp_path / "u.npz")
    assert layout.unpaired and len({e.subject for e in layout.entries}) == 8
    assert any("different numbers of pictures" in note for note in layout.notes)


def test_an_npy_file_is_a_stack_and_a_folder_of_them_holds_volumes(tmp_path: Path) -> None:
    np.save(tmp_path / "p1.npy", grey(5))
    np.save(tmp_path / "p2.npy", np.asfortranarray(grey(5, 1, (9, 8))))
    layout = layout_of(tmp_path / "p1.npy")
    assert len(layout.entries) == 5 and not layout.subjects_known and layout.entries[0].path == tmp_path / "p1.npy"
    assert not (tmp_path / "scratch").exists()
    assert (read_entry(layout_of(tmp_path / "p2.npy").entries[3])[0] == grey(5, 1, (9, 8))[3]).all()
    assert [e.piece.index for e in find_layout(tmp_path).entries] == [None, None]
    assert len(find_layout(tmp_path, kind="stacks", scratch=tmp_path / "s").entries) == 10


def test_files_named_like_splits_are_splits(tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", x=grey(3))
    np.savez(tmp_path / "test.npz", x=grey(2))
    entries = find_layout(tmp_path, scratch=tmp_path / ".s").entries
    assert sorted((e.split, e.domain) for e in entries) == [("test", "image")] * 2 + [("train", "image")] * 3
    assert len({e.subject for e in entries}) == 5 and len({e.path for e in entries}) == 2


@pytest.mark.parametrize(("files", "found", "unpaired"), [
    ({"trainA": 5, "trainB": 4, "testA": 2, "testB": 3}, {"train A 5", "train B 4", "test A 2", "test B 3"}, True),
    ({"train/T1": 5, "train/T2": 5, "test/T1": 2, "test/T2": 2}, {"train T1 5", "train T2 5", "test T1 2", "test T2 2"},
     False),
    ({"images": 5, "masks": 5}, {" image 5", " masks 5"}, False),
    ({"X_train": 5, "y_train": 0, "X_test": 3, "y_test": 0}, {"train image 5", "test image 3"}, False)])
def test_a_folder_of_stacks_by_their_names(tmp_path: Path, files: dict[str, int], found: set[str],
                                           unpaired: bool) -> None:
    for seed, (name, count) in enumerate(files.items()):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / f"{name}.npy", grey(count, seed) if count else np.arange(5 if "train" in name else 3) % 2)
    layout = find_layout(tmp_path)
    counts = Counter(f"{entry.split} {entry.domain}" for entry in layout.entries)
    assert {f"{key} {count}" for key, count in counts.items()} == found and layout.unpaired == unpaired
    assert len({e.subject for e in layout.entries}) == (len(layout.entries) // (1 if unpaired else len(
        {e.domain for e in layout.entries})))
    assert {bool(entry.label) for entry in layout.entries} == {"y_train" in files}


def test_stacks_that_may_be_one_patient_s_volumes_are_asked_about(tmp_path: Path) -> None:
    for seed, name in enumerate(("T1", "T2")):
        np.save(tmp_path / f"{name}.npy", grey(9, seed))
    with pytest.raises(Question, match="volumes of one patient") as caught:
        find_layout(tmp_path)
    stacks, volumes = (find_layout(tmp_path, **{"kind" if key == "layout" else key: text
                                                for key, text in offer.options.items()})
                       for offer in caught.value.offers)
    assert len(stacks.entries) == 18 and not stacks.unpaired
    assert [(e.subject, e.domain) for e in volumes.entries] == [(".npy", "T1"), (".npy", "T2")]


def test_text_labels_are_classes_with_a_warning(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=grey(3), y=np.array(["benign", "malign ant", "benign"]))
    layout = layout_of(tmp_path / "t.npz")
    assert [e.label for e in layout.entries] == ["benign", "malign-ant", "benign"]
    assert any("must not be patients' names" in note for note in layout.notes)
    np.savez(tmp_path / "r.npz", x=grey(200), y=np.arange(200))
    assert {e.label for e in layout_of(tmp_path / "r.npz").entries} == {""}


@pytest.mark.parametrize(("arrays", "words"), [
    ({"x": np.zeros((3, 8, 8, 8))}, r"no stack of pictures .*x float64 \[3, 8, 8, 8\]"),
    ({"x": np.zeros((8, 8))}, "no stack of pictures"), ({}, "no stack of pictures.*nothing"),
    ({"train_images": np.zeros((3, 8, 8, 8))}, "no stack"), ({"x": np.zeros((0, 8, 8))}, "no stack"),
    ({"x": grey(3), "o": np.array([{}, 1], dtype=object)}, "the array 'o' cannot be read .*Python objects"),
    ({"x": grey(3), "subjects": np.array(["a", "b"])}, "'subjects' is <U1 .2., but there are 3 pictures"),
    ({"x": grey(2), "subjects": np.array(["a", " "])}, "'subjects' is empty at number 1"),
    ({"x": grey(3).astype(complex)}, "no stack")])
def test_archives_that_cannot_be_used(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(UserError, match=words) as caught:
        layout_of(tmp_path / "bad.npz")
    assert "bad.npz" in str(caught.value)


def test_damage_is_told_with_the_array(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", first=grey(9), second=grey(9, 1))
    raw = bytearray((tmp_path / "a.npz").read_bytes())
    raw[len(raw) * 3 // 4] ^= 255
    (tmp_path / "a.npz").write_bytes(bytes(raw))
    with pytest.raises(UserError, match="the array 'second' cannot be read"):
        layout_of(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(bytes(raw[: len(raw) // 2]))
    with pytest.raises(UserError, match=r"cannot be read as \.npz"):
        layout_of(tmp_path / "a.npz")
    np.save(tmp_path / "b.npy", grey(9))
    (tmp_path / "b.npy").write_bytes((tmp_path / "b.npy").read_bytes()[:-5])
    with pytest.raises(UserError, match="cut short"):
        layout_of(tmp_path / "b.npy")


def bomb(path: Path, shape: tuple[int, ...], content: bytes = b"", method: int = zipfile.ZIP_DEFLATED) -> Path:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x.npy", head.getvalue() + content)
    return path


def test_archives_that_claim_too_much_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bomb(tmp_path / "b.npz", (1024, 1024, 16), bytes(2**24))
    assert path.stat().st_size < 2**15
    monkeypatch.setattr(stacks, "MAX_BYTES", 2**23)
    with pytest.raises(UserError, match=r"needs 16.0 MB unpacked, and more than 8.0 are not unpacked"):
        layout_of(path)
    monkeypatch.undo()
    monkeypatch.setattr(stacks.shutil, "disk_usage", lambda folder: stacks.shutil._ntuple_diskusage(1, 1, 2**24))
    with pytest.raises(UserError, match="not unpacked"):
        layout_of(path)
    assert not list((tmp_path / "scratch").rglob("*.npy"))
    monkeypatch.undo()
    with pytest.raises(UserError, match="is cut short"):
        layout_of(bomb(tmp_path / "a.npz", (2**20, 2**20, 2**20)))


def test_a_hundred_thousand_pictures_cost_little_memory(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "m.npz", train_images=np.zeros((100_000, 16, 16), np.uint8),
                        train_labels=np.zeros((100_000, 1), np.uint8), test_images=grey(2, 0, (16, 16)))
    code = ("import resource, sys; from pathlib import Path; from ganatomy.sources.detect import find_layout\n"
            "used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
            "before = used(); source = Path(sys.argv[1])\n"
            "layout = find_layout(source, scratch=source.parent / 'scratch')\n"
            "assert len(layout.entries) == 100_002; print(used() - before)")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "m.npz")], capture_output=True, text=True,
                          check=True)
    assert int(done.stdout) < 150  # MB
