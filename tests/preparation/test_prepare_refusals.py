"""What `prepare` refuses, and that nothing half-made is left behind."""

from __future__ import annotations

import os
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest

from ganatomy.core.errors import UserError
from ganatomy.data.dataset import Dataset
from ganatomy.preparation import finish as module
from ganatomy.preparation.prepare import prepare
from tests.builders import NAMES, cohort, head, pictures, save, table, touch


def test_existing_folders_are_safe(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in")
    prepare(source, tmp_path / "out", size=16)
    with pytest.raises(UserError, match="is a dataset already, and the options differ"):
        prepare(source, tmp_path / "out")
    with pytest.raises(UserError, match="no dataset folder"):
        prepare(tmp_path / "out", source, overwrite=True)
    for place in (source, tmp_path):
        with pytest.raises(UserError, match="take the place"):
            prepare(source, place, overwrite=True)
    with pytest.raises(UserError, match="is a dataset folder already"):
        prepare(tmp_path / "out", tmp_path / "new")


def test_failing_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = cohort(tmp_path / "in")
    before = prepare(source, tmp_path / "old", size=16)
    key = (tmp_path / "old.private" / "key").read_text()

    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(module, "write_contact_sheet", fail)
    for name in ("old", "new"):
        with pytest.raises(RuntimeError):
            prepare(source, tmp_path / name, size=32, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "old", "old.private"]
    assert Dataset.open(tmp_path / "old").info == before.info
    assert (tmp_path / "old.private" / "key").read_text() == key


def test_a_file_that_breaks_while_it_is_read_keeps_domains_in_step(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in")
    bad = source / NAMES[2] / f"{NAMES[2]}_T2.nii.gz"
    bad.write_bytes(bad.read_bytes()[:-2000])
    dataset = prepare(source, tmp_path / "out", size=16)
    one, two = dataset.rows("T1"), dataset.rows("T2")
    assert [r.image_id for r in one] == [r.image_id for r in two] and len({r.subject for r in one}) == 3
    assert len(np.load(tmp_path / "out" / "masks.npy")) == len(one)
    with pytest.raises(UserError, match=f"{NAMES[2]}_T2.nii.gz: cannot be used"):
        prepare(source, tmp_path / "strict", size=16, strict=True)
    assert not list(tmp_path.glob("strict*"))


@pytest.mark.parametrize(("depth", "moved"), [(15, 0.0), (16, 3.0)])
def test_domains_on_different_grids_are_refused(tmp_path: Path, depth: int, moved: float) -> None:
    source = cohort(tmp_path / "in", mask=False)
    affine = np.eye(4)
    affine[0, 3] = moved
    save(source / NAMES[1] / f"{NAMES[1]}_T2.nii.gz", head(1, (20, 24, depth)), affine)
    with pytest.raises(UserError, match="T1 and T2 of subject Bert-Jones8 lie on different grids"):
        prepare(source, tmp_path / "out", size=16)


def test_named_subjects(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in", mask=False)
    dataset = prepare(source, tmp_path / "out", size=16, val_subjects=[NAMES[0]], test_subjects=[NAMES[1]])
    assert {r.subject: r.split for r in dataset.rows("T1")} == {
        "sub-0001": "val", "sub-0002": "test", "sub-0003": "train", "sub-0004": "train"}
    with pytest.raises(UserError, match="did you mean Anna-Smith7"):
        prepare(source, tmp_path / "x", val_subjects=["Anna-Smith"])
    with pytest.raises(UserError, match="both for val and for test"):
        prepare(source, tmp_path / "x", val_subjects=[NAMES[0]], test_subjects=[NAMES[0]])


@pytest.mark.parametrize(("options", "words"), [
    ({"size": 4}, "equal to 8"), ({"fit": "squeeze"}, "'crop' or 'pad'"), ({"slices": "5"}, "no choice of slices"),
    ({"slices": "90:99"}, "none of its 16 slices"), ({"domains": ["T3"]}, "no domain 'T3'.*did you mean T"),
    ({"resample_to": "T9"}, "no domain 'T9'.*did you mean T"),
    ({"spacing": 2.0}, "--fit crop or pad"), ({"fit": "pad", "size": 16}, "needs 24 pixels.*--size 32"),
    ({"split": "1,2"}, "no split"), ({"labels": ["x"]}, "no class"), ({"split_by": "site"}, "needs a CSV"),
    ({"background": "black"}, "no number"), ({"masks": ["T1", "T2"]}, "nothing but masks"),
])
def test_impossible_wishes_are_refused_with_the_way_out(tmp_path: Path, options: dict[str, object], words: str) -> None:
    source = cohort(tmp_path / "in", mask=False)
    with pytest.raises(UserError, match=words) as caught:
        prepare(source, tmp_path / "out", **options)  # type: ignore[arg-type]
    assert caught.value.fix
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.private").exists()


def test_a_refusal_says_the_cause(tmp_path: Path) -> None:
    for suffix in (".hdr", ".img"):
        touch(tmp_path / "pairs", f"p1/p1_T1{suffix}")
    with pytest.raises(UserError, match=r"1 \.hdr file and 1 \.img file \(pairs of Analyze.*convert them to NIfTI"):
        prepare(tmp_path / "pairs", tmp_path / "out")
    for i, name in enumerate(NAMES):
        save(tmp_path / "series" / name / f"{name}_T1.nii.gz", np.repeat(head(i)[..., None], 9, -1))
    with pytest.raises(UserError, match="has 4 dimensions") as caught:
        prepare(tmp_path / "series", tmp_path / "out")
    assert "copied whole" not in str(caught.value)


def test_what_others_keep_beside_the_dataset_is_safe(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in", mask=False)
    (tmp_path / "out.private").mkdir()
    (tmp_path / "out.private" / "diary.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="holds other things"):
            prepare(source, tmp_path / "out", size=16, overwrite=overwrite)
    assert (tmp_path / "out.private" / "diary.txt").read_text() == "mine" and not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="holds other things"):
        prepare(cohort(tmp_path / "x.private"), tmp_path / "x", size=16)


@pytest.mark.parametrize("name", ["", ".", "/", "loop", "loop/x", "x" * 250, "x" * 300, f"a/{'x' * 300}/b", "a\0b"])
def test_paths_that_are_none(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = cohort(tmp_path / "in", names=NAMES[:1], mask=False)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        prepare(source, name, size=16)
    if name not in (".", "/"):
        with pytest.raises(UserError):
            prepare(name, tmp_path / "out", size=16)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "loop"]


@pytest.mark.parametrize(("options", "where"), [
    ({"size": "32"}, "--size"), ({"size": 32.5}, "--size"), ({"size": None}, "--size"), ({"seed": "x"}, "--seed"),
    ({"background": None}, "--background"), ({"spacing": "1"}, "--spacing"), ({"source": None}, "SOURCE"),
    ({"dataset": None}, "DATASET"), ({"domains": 3}, "--domains"), ({"test_subjects": [1]}, "--test-subjects"),
    ({"pattern": 5}, "--pattern"), ({"split": "1e999,1,1"}, "--split"), ({"split": None}, "--split"),
    ({"slices": "0:" + "9" * 5000}, "--slices"), ({"slices": None}, "--slices"),
])
def test_values_of_the_wrong_kind_are_named(tmp_path: Path, options: dict[str, object], where: str) -> None:
    places = {"source": tmp_path / "in", "dataset": tmp_path / "out"}
    with pytest.raises(UserError) as caught:
        prepare(**(places | options))  # type: ignore[arg-type]
    assert caught.value.where == where and caught.value.fix and len(str(caught.value)) < 200


def test_names_that_are_no_text_come_through(tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", 3)
    (source / "p0.png").rename(source / os.fsdecode(b"M\xfcller.png"))
    (source / os.fsdecode(b"bad\xff\n.png")).write_text("no image")
    lines: list[str] = []
    dataset = prepare(source, tmp_path / "out", size=16, say=lines.append)
    assert len(dataset.rows()) == 3 and all(line.isprintable() for line in lines)
    assert r"M\udcfcller.png" in {o["path"] for o in table(tmp_path / "out.private" / "sources.csv")}
    assert [(s["path"], s["reason"].isprintable()) for s in table(tmp_path / "out.private" / "skipped.csv")] == [
        (r"bad\udcff\n.png", True)]


def test_names_that_differ_only_as_they_are_written_are_told(tmp_path: Path) -> None:
    """The same accent on two systems is one name; case and blanks are for the user to judge."""
    said: list[str] = []
    accents = [normalize(form, "bénin") for form in ("NFC", "NFD")]
    lines = [f"{i:03d}.png,{'Anna' if i else 'anna'}{i // 4},{label}\n"
             for i, label in enumerate([*["benign", "Benign"] * 4, *accents * 2])]
    pictures(tmp_path / "in", 12)
    names = sorted(path.name for path in (tmp_path / "in").iterdir())
    (tmp_path / "in" / "files.csv").write_text("path,subject,label\n" + "".join(
        name + line[line.index(","):] for name, line in zip(names, lines, strict=True)), encoding="utf-8-sig")
    data = prepare(tmp_path / "in", tmp_path / "out", size=16, say=said.append)
    assert data.info.classes == ("Benign", "benign", accents[0])
    warnings = " ".join(data.info.fingerprint["warnings"])
    assert "the classes 'Benign' and 'benign' differ only in case" in warnings
    assert "1 subject called as another" in warnings and "nna0" not in warnings
    assert "subjects called nearly the same: 'Anna0' and 'anna0'" in said


def test_domains_that_are_one_file_on_many_systems_are_refused(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 4)
    names = sorted(path.name for path in (tmp_path / "in").iterdir())
    (tmp_path / "in" / "files.csv").write_text("path,subject,domain\n" + "".join(
        f"{name},s{i // 2},{('Flow', 'flow')[i % 2]}\n" for i, name in enumerate(names)))
    with pytest.raises(UserError, match="the domains Flow and flow differ only in case"):
        prepare(tmp_path / "in", tmp_path / "out", size=16)
    data = prepare(tmp_path / "in", tmp_path / "out", size=16, domains=["Flow"])
    assert data.info.domains == ("Flow",)
