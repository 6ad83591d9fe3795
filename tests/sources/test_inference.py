"""What names alone tell: random folders are read right or asked about, the marks of a mistake, and words."""

from __future__ import annotations

import pickle
import re
import sys
from collections import Counter
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from ganatomy import formats
from ganatomy.cli.main import main
from ganatomy.core.errors import Offer, Question, UserError
from ganatomy.data.dataset import Dataset
from ganatomy.data.vocabulary import is_mask_name
from ganatomy.sources import folders
from ganatomy.sources.detect import find_layout
from ganatomy.sources.doubts import pattern_of
from ganatomy.sources.entry import Entry, natural
from ganatomy.sources.folders import read_folders
from ganatomy.sources.templates import match_pattern
from tests.builders import head, pictures, save, touch
from tests.sources.random_layouts import layout_of, verdict

X = Path("x")


def named(*patterns: str) -> list[str]:
    """Names by brace expansion: {P1,P2}/{T1,T2}.nii.gz are four."""
    parts = [[part.split(",") for part in re.split(r"[{}]", pattern)] for pattern in patterns]
    return sorted(("".join(one) for own in parts for one in product(*own)), key=natural)


def read(*patterns: str) -> set[tuple[str, ...]]:
    """(subject, session, domain) of the files."""
    return {(e.subject, e.session, e.domain) for e in read_folders(X, named(*patterns)).entries}


def images_of(seed: int) -> list[str]:
    """The images of a random layout, in the order in which a source's files are walked."""
    return sorted((name for name in layout_of(seed).names if name.lower().endswith(formats.SUFFIXES)), key=natural)


@pytest.mark.parametrize("number", [150, pytest.param(2000, marks=pytest.mark.slow)])
def test_random_folders_are_read_right_or_asked_about(number: int) -> None:
    told, wrong = Counter[str](), list[str]()
    for seed in range(number):
        try:
            fault = verdict(read_folders(X, images_of(seed)).entries, layout_of(seed))
        except Question:
            told["asked about"] += 1
            continue
        told["wrong" if fault else "right"] += 1
        wrong += [f"{seed}: {fault}"] if fault else []
    print(f"of {number} folders: {dict(told)}")
    assert not wrong
    assert told["right"] >= 0.9 * number


def alike(one: list[Entry], other: list[Entry], field: str) -> bool:
    """Whether two readings part the files alike by a field."""
    values = {entry.name: getattr(entry, field) for entry in other}
    pairs = {(getattr(entry, field), values.get(entry.name)) for entry in one}
    return len(values) == len(one) and len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_the_pattern_of_a_reading_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    tried, best, same, number = folders._tried, [], 0, 150

    def kept(*args: object) -> object:
        best.append(tried(*args)[0][0])  # type: ignore[arg-type]
        return tried(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(folders, "_tried", kept)
    for seed in range(number):
        entries = read_folders(X, images_of(seed), sure=True).entries
        pattern = pattern_of(best[-1], [entry for entry in entries if is_mask_name(entry.domain)])
        try:
            again = match_pattern(X, [entry.name for entry in entries], pattern).entries
        except UserError:
            continue
        same += alike(entries, again, "subject") and alike(entries, again, "domain")
    print(f"{same} of {number} patterns read the same")
    assert same >= 0.85 * number


MARKS = {
    "two files for one place": (["{P1,P2,P5}/{T1,T1_gado}.nii.gz"], "3 images would have two files or more"),
    "an id that goes on": (["{P1,P2,P5}.png", "P1_xyz.png"], "P1 and what begins with P1 .* xyz would be two subjects"),
    "one subject": (["P1/slice{1,2,3}.png"], "all 3 images would be one subject's"),
    "torn by the split": (["train/{P1,P2,P3}/{1,2}.png", "test/{P3,P4}/{3,4}.png"], "1 subject would lie in more than"),
    "accession numbers": (["1234567_{987654,987659}_T1.nii", "234567_987641_T1.nii", "345678_987642_T1.nii"],
                          "what shares 1234567 would be several subjects"),
    "visits like contrasts": (["{P1,P2,P5}/{80kV,140kV}.nii.gz"], "80kV would be visits, and look like contrasts"),
    "dates of birth": (["{MEIER_19640312,MEIER_19710101,HUBER_19501212}/{T1,T2}.nii.gz"], "the date of a birth"),
    "dates with a number": (["{20190304_01,20190304_02,20190511_01}/{T1,T2}.nii.gz"], "may be the name of a subject"),
    "sites": (["{01,02,03}-{001,002,003}_{T1,T2}.nii.gz"], "may be numbers of subjects"),
    "visits": (["{P1,P2}/{4,5,6}/{T1,T2}.nii.gz"], "2 subjects would have 3 visits"),
    "no times": (["{P1,P2,P5}_{T1,xyz}.nii.gz"], "T1 and xyz would be visits, and do not look like it"),
    "a class as subject": (["{normal,tumor}_{1,2,3,4}.png"], "normal would be a subject, and does not look like one"),
    "classes in names": (["{P1,P2}_benign_{1,2,3}.png", "{P3,P4}_malignant_{1,2,3}.png"], "and may be classes"),
    "many contrasts": (["{P1,P2,P5}/{T1,T1ce,T2,FLAIR,ADC,DWI,PD,SWI,CT,PET,CBCT,MPRAGE,TOF}.nii.gz"],
                       "there would be 13 contrasts"),
    "sides": (["{P1,P2,P5}/{OD,OS}.png"], "OD and OS would be contrasts, and may be sides or views"),
    "one contrast twice": (["{P1,P2,P5}/{T1,T2}/FLAIR.nii.gz"], "are flair: what stands beside it may be a visit"),
    "no contrast": (["{P1,P2,P5}/{T1,scan}.nii.gz"], "some images would have no contrast, while others are T1"),
    "groups of patients": (["{HC,MS}/{sub01,sub02,sub03}/T1.nii.gz"], "HC and MS .* may be classes or groups"),
    "scanners": (["{Siemens,GE}/{001,002,003,004}/{T1,T2}.nii.gz"], "each with the same words beside it"),
    "patients in classes": (["{Gesund,Krank}/{P1,P2,P3}/{1,2,3}.png"], "Gesund/P1 would be a class"),
    "names of two shapes": (["{P1,P2,P3_new}_{001,002}.png"], "some pictures would be subjects of their own"),
    "shared numbers": (["{001,002,003}_{P01,P02,P05}.png"], "what begins with 001 would be several subjects"),
    "several ways": (["{grade1,grade2}/{P1,P2,P3}/{T1,T2}.nii.gz"], "can be read in several ways"),
}


@pytest.mark.parametrize("mark", MARKS)
def test_the_marks_of_a_mistake_are_asked_about_and_each_offer_settles_it(mark: str) -> None:
    names, words = named(*MARKS[mark][0]), MARKS[mark][1]
    with pytest.raises(Question, match=words) as caught:
        read_folders(X, names)
    assert len(caught.value.offers) > 1
    for offer in caught.value.offers:
        pattern = offer.options.get("pattern")
        layout = match_pattern(X, names, str(pattern)) if pattern else read_folders(X, names, sure=True)
        assert {entry.name for entry in layout.entries} == {*names}


def test_a_loose_picture_above_the_splits_leaves_them_as_they_are() -> None:
    folders = "train/{NORMAL,PNEUMONIA}/{1,2,3}.png", "test/{NORMAL,PNEUMONIA}/{4,5}.png"
    layout = read_folders(X, named("loose.png", *folders))
    assert {(e.split, e.label) for e in layout.entries} == {*product(("train", "test"), ("NORMAL", "PNEUMONIA"))}
    assert [name for name, _ in layout.unmatched] == ["loose.png"]


def test_masks_of_nobody_are_asked_about() -> None:
    with pytest.raises(Question, match=r"none of 2 masks, such as Ground Truth/x4.png, belongs to an image") as caught:
        read_folders(X, named("Original/{1,2,3}.png", "Ground Truth/{x4,x5}.png"))
    assert [*caught.value.offers[0].options] == ["yes"] and [*caught.value.offers[1].options] == ["pattern"]


def owned(subjects: str, domains: Iterable[str] = ("image",), visits: Iterable[str] = ("",)) -> set[tuple[str, ...]]:
    return {*product(subjects.split(), visits, domains)}


@pytest.mark.parametrize(("patterns", "expected"), [
    (["{P1,P2,P5}/{t1_tse_tra,t2_tse_tra}.nii.gz"], owned("P1 P2 P5", ("t1", "t2"))),
    (["{P1,P2,P5}/{T0,T1,T2}/FLAIR.nii.gz"], owned("P1 P2 P5", ["FLAIR"], ("T0", "T1", "T2"))),
    (["{P1,P2,P5}_{T0,T1,T2}_FLAIR.nii.gz"], owned("P1 P2 P5", ["FLAIR"], ("T0", "T1", "T2"))),
    (["{c3,5d}63d60e-82d4-c21e-7378-0daa24d2e56b_s{0,1}.png"],
     owned("c363d60e-82d4-c21e-7378-0daa24d2e56b 5d63d60e-82d4-c21e-7378-0daa24d2e56b")),
    (["{4941,A61B,7C2D9}_{T1,T2}.nii.gz"], owned("4941 A61B 7C2D9", ("T1", "T2"))),
    (["person{1,2,3}d{0182,0900}DWI.png"], owned("person1 person2 person3", ["DWI"], ("d0182", "d0900"))),
    (["archive/BraTS2020_TrainingData/{P1,P2,P3}/T1.nii.gz"], owned("P1 P2 P3", ["T1"])),
    (["T1/{P1,P2,P3}.nii.gz"], owned("P1 P2 P3", ["T1"])),
    (["{IXI-T1,IXI-T2}/IXI{002,012}-Guys.nii.gz"], owned("IXI002 IXI012", ("T1", "T2"))),
    (["{P1,P2,P5}_{NCCT,CTA}.nii.gz"], owned("P1 P2 P5", ("NCCT", "CTA"))),
    (["{P1,P2,P5}/{echo1,echo2}.nii.gz"], owned("P1 P2 P5", ("echo1", "echo2"))),
    (["{P1,P2,P5}/{preop,postop}/{T1,FLAIR}.nii.gz"], owned("P1 P2 P5", ("T1", "FLAIR"), ("preop", "postop")))])
def test_words_are_understood(patterns: list[str], expected: set[tuple[str, ...]]) -> None:
    assert read(*patterns) == expected


@pytest.mark.parametrize(("train", "test"), [
    ("train", "test"), ("TrainingData", "TestData"), ("trn", "tst"), ("Train_Data", "Test_Data"),
    ("data/train", "data/test"), ("Training/train", "Training/test"), ("test_project/train", "test_project/test")])
def test_splits(train: str, test: str) -> None:
    names = named(f"{train}/{{P1,P2,P3}}/T1.nii.gz", f"{test}/{{P4,P5}}/T1.nii.gz")
    split = {e.subject: e.split for e in read_folders(X, names).entries}
    assert split == {"P1": "train", "P2": "train", "P3": "train", "P4": "test", "P5": "test"}


@pytest.mark.parametrize("name", ["masks", "msk", "manual_segs", "GT_masks", "masks_png", "lesion_masks", "ROIs",
                                  "contours", "truth", "Maske", "labels_v2", "Segmentierung", "Ground Truth"])
def test_folders_of_masks(name: str) -> None:
    layout = read_folders(X, named("images/{P1,P2,P5}.png", f"{name}/{{P1,P2,P5}}.png"))
    assert {(e.name, e.subject.rpartition("/")[2]) for e in layout.entries if is_mask_name(e.domain)} == {
        (f"{name}/{subject}.png", subject) for subject in ("P1", "P2", "P5")}


@pytest.mark.parametrize("name", ["mask", "msk", "lesionmask", "tumorMask", "truth", "Maske", "manual", "annot", "GTV"])
def test_names_of_masks(name: str) -> None:
    domains = {d for _, _, d in read(f"{{P1,P2,P5}}_{{T1,T2,{name}}}.nii.gz")}
    assert {d for d in domains if not is_mask_name(d)} == {"T1", "T2"} and len(domains) == 3


@pytest.mark.parametrize(("patterns", "out", "why"), [
    (["{P1,P2,P5}/{T1,preview}.nii.gz"], "{P1,P2,P5}/preview.nii.gz", "is called a preview"),
    (["{P1,P2,P5}/T1.nii.gz", "previews/{P1,P2,P5}.png"], "previews/{P1,P2,P5}.png", "is called a preview"),
    (["{P1,P2,P5}/T1.{nii.gz,png}"], "{P1,P2,P5}/T1.png", "a picture among volumes"),
    (["{P1,P2,P3,P4,P5,P6}.png", "P9.nii.gz"], "P9.nii.gz", "a volume among pictures")])
def test_what_is_no_image_of_its_kind_is_left_out(patterns: list[str], out: str, why: str) -> None:
    assert read_folders(X, named(*patterns)).unmatched == [(name, why) for name in named(out)]


@pytest.mark.parametrize("differ", [False, True])
@pytest.mark.parametrize("above", ["", "archive/"])
def test_a_folder_is_a_copy_where_all_bytes_are_the_same(tmp_path: Path, differ: bool, above: str) -> None:
    own, copy = named(above + "{yes,no}/{1,2,3}.png"), named(above + "again/{yes,no}/{1,2,3}.png")
    touch(tmp_path, *own, *copy)
    if differ:
        for name in copy:
            (tmp_path / name).write_bytes(b"y")
    layout = read_folders(tmp_path, [*own, *copy], sure=True)
    assert {name for name, why in layout.unmatched if why.startswith("a copy")} == (set() if differ else {*copy})


def test_a_question_comes_whole_from_another_process_and_names_its_options() -> None:
    asked = Question("whose", [Offer("it is so", {"pattern": "{subject} (a).png", "unpaired": True}),
                               Offer("or so", {"yes": True})], where="scans")
    again = pickle.loads(pickle.dumps(asked))
    assert (str(again), again.offers, again.exit_code) == (str(asked), asked.offers, 2)
    assert str(asked).splitlines() == ["scans: whose", "  1. it is so", "     --pattern '{subject} (a).png' --unpaired",
                                       "  2. or so", "     --yes"]


@pytest.mark.parametrize("more", [[], ["--yes"]])
def test_the_command_asks_and_writes_nothing_or_takes_the_first_reading(
        more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for label in ("CT", "MR"):
        for path in pictures(tmp_path / "in", 6, label).glob(f"{label}/*"):
            path.rename(path.with_name(path.name.removeprefix("p")))
    monkeypatch.setattr(sys, "argv", ["ganatomy", "prepare", *map(str, (tmp_path / "in", tmp_path / "out")),
                                      "--size", "16", *more])
    if more:
        main()
        assert Dataset.open(tmp_path / "out").info.domains == ("CT", "MR")
        return
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2 and [path.name for path in tmp_path.iterdir()] == ["in"]
    assert "--pattern '{domain}/{subject}.png' --unpaired" in capsys.readouterr().err


@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("name", ["abc", "tumor_reader1"])
def test_contrasts_of_few_whole_values_are_masks(tmp_path: Path, few: bool, name: str) -> None:
    for i, subject in enumerate(("P1", "P2", "P5")):
        brain = head(i)
        for contrast in ("T1", "T2"):
            save(tmp_path / f"{subject}/{subject}_{contrast}.nii.gz", brain)
        save(tmp_path / f"{subject}/{subject}_{name}.nii.gz", (brain > 110).astype(np.float32) if few else brain)
    layout = find_layout(tmp_path, yes=True)
    assert {e.name for e in layout.entries if is_mask_name(e.domain)} == (
        {f"{subject}/{subject}_{name}.nii.gz" for subject in ("P1", "P2", "P5")} if few else set())
    assert any("taken for masks by what they hold" in note for note in layout.notes) == few
