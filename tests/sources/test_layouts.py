"""What folders, patterns and tables are taken for."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ganatomy.core.errors import Question, UserError
from ganatomy.preparation.prepare import prepare
from ganatomy.sources.detect import find_layout
from ganatomy.sources.entry import natural, walk
from tests.builders import touch
from tests.dicom_files import write_dicom


def found(folder: Path, **options: object) -> list[tuple[str, str, str, str, int | None]]:
    layout = find_layout(folder, **options)  # type: ignore[arg-type]
    return [(e.subject, e.session, e.domain, e.label, e.slice) for e in layout.entries]


def test_a_folder_per_subject(tmp_path: Path) -> None:
    touch(tmp_path, *(f"patient{i:02d}/patient{i:02d}_{d}.nii.gz" for i in (1, 2) for d in ("T1", "T2", "lesion-mask")),
         "LICENSE.txt", ".DS_Store")
    layout = find_layout(tmp_path)
    assert layout.kind == "a folder per subject" and layout.subjects_known
    assert [(e.subject, e.domain) for e in layout.entries[:3]] == [
        ("patient01", "T1"), ("patient01", "T2"), ("patient01", "lesion-mask")]
    assert layout.notes == ["passed over 1 other file; no images by name"]


def test_surnames_as_folders_are_subjects_not_classes(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/{d}.nii.gz" for name in ("Smith", "Jones") for d in ("T1", "FLAIR")))
    assert {(s, d) for s, _, d, _, _ in found(tmp_path)} == {
        ("Smith", "T1"), ("Smith", "FLAIR"), ("Jones", "T1"), ("Jones", "FLAIR")}


def test_what_only_one_patient_has_in_a_file_name_is_no_domain(tmp_path: Path) -> None:
    touch(tmp_path, "p1/p1_miller_T1.nii", "p2/p2_smith_T1.nii")
    assert {d for _, _, d, _, _ in found(tmp_path)} == {"T1"}


def test_a_folder_per_class(tmp_path: Path) -> None:
    touch(tmp_path, "benign/benign (1).png", "benign/benign (1)_mask.png", "malignant/0001.png")
    layout = find_layout(tmp_path)
    assert layout.kind == "a folder per class" and not layout.subjects_known
    assert any("benign, malignant" in note and "must not be patients' names" in note for note in layout.notes)
    assert [(e.label, e.domain) for e in layout.entries] == [("benign", "image"), ("benign", "mask"),
                                                             ("malignant", "image")]
    assert layout.entries[0].subject == layout.entries[1].subject != layout.entries[2].subject


def test_class_folders_of_subject_folders_and_splits(tmp_path: Path) -> None:
    touch(tmp_path / "a", "tumour/p01/x.png", "healthy/p02/y.png")
    assert [(s, label) for s, _, _, label, _ in found(tmp_path / "a")] == [("p02", "healthy"), ("p01", "tumour")]
    touch(tmp_path / "b", "train/cat/1.png", "train/dog/2.png", "train/dog/4.png", "test/cat/1.png")
    entries = find_layout(tmp_path / "b").entries
    assert {(e.split, e.label) for e in entries} == {("train", "cat"), ("train", "dog"), ("test", "cat")}
    assert len({e.subject for e in entries}) == 4


def test_flat_folders(tmp_path: Path) -> None:
    touch(tmp_path / "a", "img2.png", "img10.png")
    assert [s for s, *_ in found(tmp_path / "a")] == ["img2", "img10"]
    assert not find_layout(tmp_path / "a").subjects_known
    touch(tmp_path / "b", *(f"IXI{i}-Guys_{d}.nii.gz" for i in (2, 12) for d in ("T1", "T2")))
    assert [(s, d) for s, _, d, _, _ in found(tmp_path / "b")] == [
        ("IXI2", "T1"), ("IXI2", "T2"), ("IXI12", "T1"), ("IXI12", "T2")]


def test_patterns(tmp_path: Path) -> None:
    touch(tmp_path, "a/x_01/x_01_T1_s5.png", "a/x_02/x_03_T1_s6.png", "b/x_04/x_04_lesion_mask_s7.png")
    layout = find_layout(tmp_path, pattern="{label}/{subject}/{subject}_{domain}_s{slice}.png")
    assert [(e.label, e.subject, e.domain, e.slice) for e in layout.entries] == [
        ("a", "x_01", "T1", 5), ("b", "x_04", "lesion_mask", 7)]
    assert [name for name, _ in layout.unmatched] == ["a/x_02/x_03_T1_s6.png"]  # the two {subject} disagree
    assert found(tmp_path, pattern="**/*_{subject}_T1*.png")[0][0] == "01"


def test_a_wrapper_called_like_masks_makes_no_masks_of_what_a_pattern_reads(tmp_path: Path) -> None:
    touch(tmp_path, *(f"mri-segmentation/p{i}/p{i}_{z}{mask}.png"
                      for i in (1, 2) for z in (1, 2) for mask in ("", "_mask")))
    pattern = "mri-segmentation/{subject}/*_{slice}_mask.png|mri-segmentation/{subject}/*_{slice}.png"
    assert {(s, d) for s, _, d, _, _ in found(tmp_path, pattern=pattern)} == {
        (f"p{i}", d) for i in (1, 2) for d in ("image", "mask")}


@pytest.mark.parametrize(("pattern", "words"), [
    ("{subject}/{contrast}.png", "unknown field"), ("*.png", "no {subject}"), ("{subject}.dcm", "fits the pattern")])
def test_patterns_that_cannot_work(tmp_path: Path, pattern: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        find_layout(touch(tmp_path, "a/b.png"), pattern=pattern)


def test_a_table_rules_over_folders(tmp_path: Path) -> None:
    touch(tmp_path, "x/1.png", "x/2.png")
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
    ("path,subject\na.png,A,B,C\n", "cells"), ("", "no column path, subject"),
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
    touch(tmp_path, "scan/1.dcm")
    with pytest.raises(UserError, match="1 DICOM file, and none can be used"):
        find_layout(tmp_path)
    touch(tmp_path / "other", "notes.txt")
    with pytest.raises(UserError, match="no images"):
        find_layout(tmp_path / "other")


def test_folders_of_labels_are_masks_not_classes(tmp_path: Path) -> None:
    touch(tmp_path / "msd", *(f"{part}/la_00{i}.nii.gz" for part in ("imagesTr", "labelsTr") for i in (3, 4)),
         "imagesTs/la_001.nii.gz", "labelsTr/la_009.nii.gz", "dataset.json")
    layout = find_layout(tmp_path / "msd")
    assert [(e.subject, e.domain, e.label) for e in layout.entries] == [
        ("la_003", "image", ""), ("la_004", "image", ""), ("la_001", "image", ""), ("la_003", "labels", ""),
        ("la_004", "labels", "")]
    assert [name for name, _ in layout.unmatched] == ["labelsTr/la_009.nii.gz"]
    assert any("1 of 3 masks match no image" in note for note in layout.notes)
    touch(tmp_path / "nnunet", *(f"imagesTr/la_003_000{i}.nii.gz" for i in (0, 1)), "labelsTr/la_003.nii.gz",
         *(f"imagesTs/la_001_000{i}.nii.gz" for i in (0, 1)))
    assert [(s, d) for s, _, d, _, _ in found(tmp_path / "nnunet")] == [
        ("la_003", "channel-0000"), ("la_003", "channel-0001"), ("la_001", "channel-0000"),
        ("la_001", "channel-0001"), ("la_003", "labels")]
    touch(tmp_path / "class", *(f"{c}/{kind}/1.png" for c in ("benign", "malign") for kind in ("images", "masks")))
    assert {(s, d, label) for s, _, d, label, _ in found(tmp_path / "class")} == {
        ("benign/1", "image", "benign"), ("benign/1", "masks", "benign"), ("malign/1", "image", "malign"),
        ("malign/1", "masks", "malign")}


@pytest.mark.parametrize(("text", "encoding"), [
    ("path,subject\nx/1.png,Müller\n", "cp1252"), ("path,subject\nx/1.png,Müller\n", "utf-16"),
    ("\n\n,,\npath;subject\nx/1.png;Müller\n", "utf-8-sig")])
def test_tables_as_spreadsheets_write_them(tmp_path: Path, text: str, encoding: str) -> None:
    touch(tmp_path, "x/1.png")
    (tmp_path / "files.csv").write_bytes(text.encode(encoding))
    layout = find_layout(tmp_path)
    assert [e.subject for e in layout.entries] == ["Müller"]
    assert any("Windows-1252" in note for note in layout.notes) == (encoding == "cp1252")


@pytest.mark.parametrize(("raw", "words"), [
    (b"", "no column path, subject"), (b"file,patient\nx/1.png,A\n", "no column path, subject -> it has file, patient"),
    (b"path,subject\n\0\0\x81", "encoding"), (b"path,subject\nx/1.png,A\n./x/1.png,B\n", "lines 2 and 3 name the same"),
    (b"path,subject,subject\nx/1.png,A,B\n", "column subject more than once"),
    (b"path,subject,slice\nx/1.png,A," + b"1" * 5000, "line 2: the slice '1{20}' is no whole"),
])
def test_a_broken_files_csv_is_never_passed_over(tmp_path: Path, raw: bytes, words: str) -> None:
    touch(tmp_path, "x/1.png", "y/1.png")
    (tmp_path / "files.csv").write_bytes(raw)
    with pytest.raises(UserError, match=words) as caught:
        find_layout(tmp_path)
    assert caught.value.fix


def test_only_plain_files_are_images_and_names_are_printable(tmp_path: Path) -> None:
    touch(tmp_path, "p2.png")
    os.mkfifo(tmp_path / "p1.png")
    (tmp_path / os.fsdecode(b"M\xfcller\n.png")).write_bytes(b"x")
    layout = find_layout(tmp_path)
    assert {e.subject for e in layout.entries} == {"p2", r"M\udcfcller\n"}
    assert all(e.path.read_bytes() == b"x" for e in layout.entries)


def test_a_run_folder_is_no_source(tmp_path: Path) -> None:
    touch(tmp_path / "run", "recipe.yaml", "samples/step-1.png")
    with pytest.raises(UserError, match="is a run folder"):
        find_layout(tmp_path / "run")
    touch(tmp_path, "scans/a.png")
    assert [e.name for e in find_layout(tmp_path).entries] == ["scans/a.png"]


def test_dicom_is_found_whatever_it_is_called(tmp_path: Path) -> None:
    for name in ("IM000001", "a/1.2.840.113619.5", "a/I10", "a/I2", "b.bak/scan.mr", "c/x.dcm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(128) + b"DICM" + bytes(400))
    touch(tmp_path, "DICOMDIR", "README", "a/notes.txt", "a/I3", "a/.I4", "t1.nii.gz", "stack.npz")
    found = walk(tmp_path)
    assert found.dicom == ["IM000001", "a/1.2.840.113619.5", "a/I2", "a/I10", "b.bak/scan.mr", "c/x.dcm"]
    assert (found.images, found.archives) == (["t1.nii.gz"], ["stack.npz"])
    assert found.passed == {"DICOMDIR": 1, "other": 3, "hidden": 1}


def test_links_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path / "real", "a.png")
    (tmp_path / "real" / "again").symlink_to(tmp_path)
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    found = walk(tmp_path)
    assert found.images == ["real/a.png"] and found.passed == {"other": 1}


def test_natural_order() -> None:
    names = ["9", "10", "a/img02_x", "a/img2_y", "img", "img2", "img10", "img-1", "xxx" + "1" * 5000]
    assert sorted([*names[4:], *names[:4]], key=natural) == names


def test_dicom_among_other_images(tmp_path: Path) -> None:
    touch(tmp_path, "scans/a.png", "scans/b.png", "scans/1.dcm")
    layout = find_layout(tmp_path)
    assert {e.name for e in layout.entries} == {"scans/a.png", "scans/b.png"}
    assert layout.notes == ["passed over 1 DICOM file; --layout dicom takes them instead"]
    with pytest.raises(UserError, match="none can be used"):  # they are taken when asked for
        find_layout(tmp_path, kind="dicom")
    touch(tmp_path, "scans/2.dcm", "scans/3.dcm")
    with pytest.raises(UserError, match="holds 3 DICOM files, and none"):
        find_layout(tmp_path)
    assert len(find_layout(tmp_path, kind="folders").entries) == 2


@pytest.mark.parametrize(("kind", "words"), [
    ("bids", "no BIDS folder"), ("sides", "no folders trainA"), ("side-by-side", "not two halves"),
    ("stacks", "no .npz or .npy"), ("dicom", "no DICOM"), ("csv", "no .csv file"), ("guess", "no layout 'guess'")])
def test_a_given_layout_must_fit(tmp_path: Path, kind: str, words: str) -> None:
    touch(tmp_path, "p1/a.png", "p2/a.png")
    with pytest.raises(UserError, match=words) as caught:
        find_layout(tmp_path, kind=kind, scratch=tmp_path / "scratch")
    assert caught.value.fix


def test_folders_are_taken_when_asked_for(tmp_path: Path) -> None:
    touch(tmp_path, "x/1.png", "y/2.png", "files.csv")
    (tmp_path / "files.csv").write_text("path,subject\nx/1.png,A\n")
    assert find_layout(tmp_path).kind == "a CSV table"
    assert find_layout(tmp_path, kind="folders").kind == "a folder per class"
    with pytest.raises(UserError, match="does not go with --layout bids"):
        find_layout(tmp_path, kind="bids", pattern="{subject}.png")


def test_a_regular_expression_says_the_subjects(tmp_path: Path) -> None:
    touch(tmp_path, "benign/P01_a.png", "benign/P01_b.png", "malignant/p02_a.png", "malignant/p03_a.png",
         "malignant/other.png")
    for regex in (r"P\d+(?=_)", r"/(p\d+)_", r"(x)?(?P<subject>p\d+)_"):
        layout = find_layout(tmp_path, subject_regex=regex)
        assert layout.subjects_known
        assert [(e.subject, e.label) for e in layout.entries] == [("P01", "benign"), ("P01", "benign"),
                                                                  ("p02", "malignant"), ("p03", "malignant")]
        assert layout.unmatched == [("malignant/other.png", "does not fit --subject-regex")]


def test_subjects_that_are_brought_together_become_sessions(tmp_path: Path) -> None:
    touch(tmp_path, "exam1/Ann_smith_T1.nii", "exam2/Ann_smith_T1.nii", "exam3/Bob_jones_T1.nii")
    assert [(s, v, d) for s, v, d, *_ in found(tmp_path, subject_regex=r"/([A-Z][a-z]+)_")] == [
        ("Ann", "exam1", "T1"), ("Ann", "exam2", "T1"), ("Bob", "", "T1")]


def test_rules_are_not_searched_in_the_subject(tmp_path: Path) -> None:
    touch(tmp_path, *(f"patient{i}/patient{i}_{d}.nii.gz" for i in (19, 20) for d in ("T1", "T2")))
    layout = find_layout(tmp_path, rules={"A": "t1", "B": "t2"})
    assert [(e.subject, e.domain) for e in layout.entries] == [
        ("patient19", "A"), ("patient19", "B"), ("patient20", "A"), ("patient20", "B")]


def test_rules_say_the_domains(tmp_path: Path) -> None:
    touch(tmp_path, *(f"p{i}/p{i}_{d}.nii.gz" for i in (1, 2) for d in ("t1_mprage", "T2_tse", "flair", "lesion_mask")))
    layout = find_layout(tmp_path, rules={"T1": "mprage", "T2": "t2"})
    assert {(e.subject, e.domain) for e in layout.entries} == {
        ("p1", "T1"), ("p1", "T2"), ("p1", "lesion-mask"), ("p2", "T1"), ("p2", "T2"), ("p2", "lesion-mask")}
    assert layout.unmatched == [(f"p{i}/p{i}_flair.nii.gz", "fits no --domain") for i in (1, 2)]
    assert "lesion" in {e.domain for e in find_layout(tmp_path, rules={"T1": "mprage", "lesion": "lesion"}).entries}
    for rules, words in (({"CT": "ct|xx"}, "CT=ct.xx fits no file"), ({"A": "flair", "B": "flair|mprage"}, None),
                         ({"A": ".", "B": "t1"}, "another rule")):
        if words is None:
            assert {e.domain for e in find_layout(tmp_path, rules=rules).entries} == {"A", "B", "lesion-mask"}
        else:
            with pytest.raises(UserError, match=words):
                find_layout(tmp_path, rules=rules)


@pytest.mark.parametrize(("options", "words"), [
    ({"rules": {"T1": "("}}, "--domain: '.' is no regular expression"), ({"rules": {"T1": ""}}, "empty"),
    ({"subject_regex": "[a"}, "--subject-regex: '.a' is no regular"),
    ({"subject_regex": "zzz"}, "fits no file"),
    ({"subject_regex": "a{99999999999999}"}, "is no regular"),
    ({"subject_regex": "a", "pattern": "{subject}.png"}, "does not go with --pattern")])
def test_regular_expressions_that_cannot_work(tmp_path: Path, options: dict[str, object], words: str) -> None:
    touch(tmp_path, "p1/a.png", "p2/a.png")
    with pytest.raises(UserError, match=words) as caught:
        find_layout(tmp_path, **options)  # type: ignore[arg-type]
    assert caught.value.fix


def test_a_table_says_the_subjects_itself(tmp_path: Path) -> None:
    (tmp_path / "files.csv").write_text("path,subject\nx/1_T1.png,A\nx/1_T2.png,A\n")
    with pytest.raises(UserError, match="does not go with a CSV table"):
        find_layout(tmp_path, subject_regex="x")
    assert {e.domain for e in find_layout(tmp_path, rules={"one": "T1", "two": "T2"}).entries} == {"one", "two"}


def test_volumes_of_every_format_have_no_slice_number(tmp_path: Path) -> None:
    touch(tmp_path, *(f"p{i}/p{i}_T1_3.{suffix}" for i in (1, 2) for suffix in ("nrrd", "mha")), "p1/p1_T1_3.png")
    assert {e.slice for e in find_layout(tmp_path, yes=True).entries if not e.name.endswith("png")} == {None}


def test_a_folder_that_names_the_patient_is_no_class(tmp_path: Path) -> None:
    touch(tmp_path / "one", "Mueller_Anna/a.png", "Mueller_Anna/b.png", "Jones_Carl/c.png")
    layout = find_layout(tmp_path / "one", subject_regex=r"^([^_/]+)_")
    assert {(e.subject, e.label) for e in layout.entries} == {("Mueller", ""), ("Jones", "")}
    touch(tmp_path / "two", "benign/b_1.png", "malign/b_2.png", "malign/c_1.png")
    layout = find_layout(tmp_path / "two", subject_regex=r"/([a-z])_")
    assert {(e.subject, e.label) for e in layout.entries} == {("b", "benign"), ("b", "malign"), ("c", "malign")}


def places(folder: Path) -> set[tuple[str, str, int | None]]:
    return {(subject, domain, number) for subject, session, domain, _, number in found(folder) if not session}


@pytest.mark.parametrize("name", ["{c}/p{s}.nii.gz", "{c}/p{s}_{c}.nii.gz", "{c}/p{s}/scan.nii.gz",
                                  "p{s}/{c}/scan.nii.gz", "p{s}/{c}/p{s}_{c}.nii.gz"])
@pytest.mark.parametrize("contrasts", [("T1", "T2"), ("t1w", "FLAIR"), ("T1-post", "T2_FLAIR"), ("CT", "MR")])
def test_a_folder_per_contrast_above_or_below_the_patients(tmp_path: Path, name: str,
                                                           contrasts: tuple[str, str]) -> None:
    touch(tmp_path, *(name.format(c=c, s=s) for c in contrasts for s in (1, 2, 3)))
    layout = find_layout(tmp_path)
    owners = {(e.subject, e.session) for e in layout.entries}
    assert owners == {("p1", ""), ("p2", ""), ("p3", "")}
    assert len({e.domain for e in layout.entries}) == 2
    assert layout.subjects_known


def test_masks_beside_and_within_folders_of_contrasts(tmp_path: Path) -> None:
    for i, place in enumerate(("labels/p{s}.nii.gz", "T1/labels/p{s}.nii.gz")):
        touch(tmp_path / str(i), *(f"{c}/p{s}.nii.gz" for c in ("T1", "T2") for s in (1, 2)),
             *(place.format(s=s) for s in (1, 2)))
        assert {(s, d) for s, d, _ in places(tmp_path / str(i))} == {
            (f"p{s}", d) for s in (1, 2) for d in ("T1", "T2", "labels")}


def test_images_of_two_machines_numbered_alike_are_asked_about(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{c}/{i:04d}.png" for c in ("CT", "MR") for i in range(3)))
    with pytest.raises(Question, match="ct and mr of one name are one patient's") as caught:
        find_layout(tmp_path)
    pairs, apart, classes = (offer.options for offer in caught.value.offers)
    assert pairs == {"pattern": "{domain}/{subject}.png"} and apart == {**pairs, "unpaired": True}
    assert {e.label for e in find_layout(tmp_path, pattern=classes["pattern"]).entries} == {"CT", "MR"}


def test_views_in_dicom_are_not_paired_by_the_names_of_their_files(tmp_path: Path) -> None:
    """Left and right breast: neither names that a PACS gives nor numbers within series say what belongs together."""
    for name, view in (("a", "L CC"), ("b", "R CC"), ("c", "R MLO"), ("d", "L MLO")):
        write_dicom(tmp_path / "in" / name, np.full((16, 16), 9, np.uint16), modality="MG", series=view,
                    description=view, position=None, orientation=None)
    with pytest.raises(UserError, match="do not say where they lie"):
        prepare(tmp_path / "in", tmp_path / "out", size=16, domain={"CC": "CC", "MLO": "MLO"})
