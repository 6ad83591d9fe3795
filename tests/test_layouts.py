"""What folders, patterns and tables are taken for."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganatomy.data.layouts import find_layout
from ganatomy.errors import UserError


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def found(folder: Path, **options: object) -> list[tuple[str, str, str, str, int | None]]:
    layout = find_layout(folder, **options)  # type: ignore[arg-type]
    return [(e.subject, e.session, e.domain, e.label, e.slice) for e in layout.entries]


def test_a_folder_per_subject(tmp_path: Path) -> None:
    make(tmp_path, *(f"patient{i:02d}/patient{i:02d}_{d}.nii.gz" for i in (1, 2) for d in ("T1", "T2", "lesion-mask")),
         "LICENSE.txt", ".DS_Store")
    layout = find_layout(tmp_path)
    assert layout.kind == "a folder per subject" and layout.subjects_known
    assert [(e.subject, e.domain) for e in layout.entries[:3]] == [
        ("patient01", "T1"), ("patient01", "T2"), ("patient01", "lesion-mask")]
    assert layout.notes == ["passed over 1 other file, no images by name"]


def test_pictures_in_subject_folders_have_slices_and_sessions(tmp_path: Path) -> None:
    make(tmp_path, *(f"sub-{i}/sub-{i}_ses-{s}_T1_z{z:03d}.png" for i in (1, 2) for s in (1, 2) for z in (0, 7)))
    assert found(tmp_path)[:3] == [("sub-1", "ses-1", "T1", "", 0), ("sub-1", "ses-1", "T1", "", 7),
                                   ("sub-1", "ses-2", "T1", "", 0)]


def test_nested_sessions(tmp_path: Path) -> None:
    make(tmp_path, *(f"sub-{i}/ses-a/anat/sub-{i}_ses-a_T1w.nii.gz" for i in (1, 2)))
    assert found(tmp_path) == [("sub-1", "ses-a", "T1w", "", None), ("sub-2", "ses-a", "T1w", "", None)]


def test_surnames_as_folders_are_subjects_not_classes(tmp_path: Path) -> None:
    make(tmp_path, *(f"{name}/{d}.nii.gz" for name in ("Smith", "Jones") for d in ("T1", "FLAIR")))
    assert {(s, d) for s, _, d, _, _ in found(tmp_path)} == {
        ("Smith", "T1"), ("Smith", "FLAIR"), ("Jones", "T1"), ("Jones", "FLAIR")}


def test_what_only_one_patient_has_in_a_file_name_is_no_domain(tmp_path: Path) -> None:
    make(tmp_path, "p1/p1_miller_T1.nii", "p2/p2_smith_T1.nii")
    assert {d for _, _, d, _, _ in found(tmp_path)} == {"T1"}


def test_a_folder_per_class(tmp_path: Path) -> None:
    make(tmp_path, "benign/benign (1).png", "benign/benign (1)_mask.png", "malignant/0001.png")
    layout = find_layout(tmp_path)
    assert layout.kind == "a folder per class" and not layout.subjects_known
    assert [(e.label, e.domain) for e in layout.entries] == [("benign", "image"), ("benign", "mask"),
                                                             ("malignant", "image")]
    assert layout.entries[0].subject == layout.entries[1].subject != layout.entries[2].subject


def test_class_folders_of_subject_folders_and_splits(tmp_path: Path) -> None:
    make(tmp_path / "a", "tumour/p01/x.png", "healthy/p02/y.png")
    assert [(s, label) for s, _, _, label, _ in found(tmp_path / "a")] == [("p02", "healthy"), ("p01", "tumour")]
    make(tmp_path / "b", "train/cat/1.png", "train/dog/2.png", "test/cat/1.png")
    entries = find_layout(tmp_path / "b").entries
    assert {(e.split, e.label) for e in entries} == {("train", "cat"), ("train", "dog"), ("test", "cat")}
    assert len({e.subject for e in entries}) == 3


def test_flat_folders(tmp_path: Path) -> None:
    make(tmp_path / "a", "img2.png", "img10.png")
    assert [s for s, *_ in found(tmp_path / "a")] == ["img2", "img10"]
    assert not find_layout(tmp_path / "a").subjects_known
    make(tmp_path / "b", *(f"IXI{i}-Guys_{d}.nii.gz" for i in (2, 12) for d in ("T1", "T2")))
    assert [(s, d) for s, _, d, _, _ in found(tmp_path / "b")] == [
        ("IXI2-Guys", "T1"), ("IXI2-Guys", "T2"), ("IXI12-Guys", "T1"), ("IXI12-Guys", "T2")]


def test_patterns(tmp_path: Path) -> None:
    make(tmp_path, "a/x_01/x_01_T1_s5.png", "a/x_02/x_03_T1_s6.png", "b/x_04/x_04_lesion_mask_s7.png")
    layout = find_layout(tmp_path, pattern="{label}/{subject}/{subject}_{domain}_s{slice}.png")
    assert [(e.label, e.subject, e.domain, e.slice) for e in layout.entries] == [
        ("a", "x_01", "T1", 5), ("b", "x_04", "lesion_mask", 7)]
    assert [name for name, _ in layout.unmatched] == ["a/x_02/x_03_T1_s6.png"]  # the two {subject} disagree
    assert found(tmp_path, pattern="**/*_{subject}_T1*.png")[0][0] == "01"


@pytest.mark.parametrize(("pattern", "words"), [
    ("{subject}/{contrast}.png", "unknown field"), ("*.png", "no {subject}"), ("{subject}.dcm", "fits the pattern")])
def test_patterns_that_cannot_work(tmp_path: Path, pattern: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        find_layout(make(tmp_path, "a/b.png"), pattern=pattern)


def test_a_table_rules_over_folders(tmp_path: Path) -> None:
    make(tmp_path, "x/1.png", "x/2.png")
    (tmp_path / "files.csv").write_text(
        "\ufeffPath;Subject;label;split;slice\nx/1.png;A;ill;training;4\n\nx/2.png;B;;Test;\n", encoding="utf-8")
    layout = find_layout(tmp_path)
    assert layout.kind == "a CSV table" and layout.notes == ["the column split says the splits"]
    assert [(e.subject, e.label, e.split, e.slice) for e in layout.entries] == [("A", "ill", "train", 4),
                                                                                ("B", "", "test", None)]


@pytest.mark.parametrize(("text", "words"), [
    ("path,label\na.png,x\n", "no column subject"), ("path,subject\n", "no rows"),
    ("path,subject\na.png,\n", "empty"),
    ("path,subject,split\na.png,A,holdout\n", "unknown split"),
    ("path,subject,slice\na.png,A,one\n", "no whole number"),
    ("path,subject\na.png,A,B,C\n", "cells"), ("", "no rows"),
])
def test_tables_that_cannot_work(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        find_layout(tmp_path / "t.csv")


def test_split_by_gives_splits_or_groups(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,subject,site,fold\na.png,A,north,train\nb.png,B,south,test\n")
    assert [e.split for e in find_layout(tmp_path / "t.csv", split_by="fold").entries] == ["train", "test"]
    assert [e.group for e in find_layout(tmp_path / "t.csv", split_by="site").entries] == ["north", "south"]
    with pytest.raises(UserError, match="no column hospital"):
        find_layout(tmp_path / "t.csv", split_by="hospital")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        find_layout(tmp_path / "nowhere")
    with pytest.raises(UserError, match="empty"):
        find_layout(tmp_path)
    make(tmp_path, "scan/1.dcm")
    with pytest.raises(UserError, match="dcm2niix"):
        find_layout(tmp_path)
    make(tmp_path / "other", "notes.txt")
    with pytest.raises(UserError, match="no images"):
        find_layout(tmp_path / "other")
