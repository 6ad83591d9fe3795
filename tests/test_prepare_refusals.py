"""What `prepare` refuses, and that nothing half-made is left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ganatomy.data import prepare as module
from ganatomy.data.dataset import Dataset
from ganatomy.data.prepare import prepare
from ganatomy.errors import UserError
from tests.scans import NAMES, cohort, head, save


def test_existing_folders_are_safe(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in")
    prepare(source, tmp_path / "out", size=16)
    with pytest.raises(UserError, match="already exists"):
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
    assert not (tmp_path / "strict").exists() and not (tmp_path / "strict.private").exists()


@pytest.mark.parametrize("what", ["shape", "place"])
def test_domains_on_different_grids_are_refused(tmp_path: Path, what: str) -> None:
    source = cohort(tmp_path / "in", mask=False)
    path = source / NAMES[1] / f"{NAMES[1]}_T2.nii.gz"
    if what == "shape":
        save(path, head(1, (20, 24, 15)))
    else:
        save(path, head(1), np.array([[1, 0, 0, 3.0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
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
    ({"size": 4}, "out of range"), ({"fit": "squeeze"}, "unknown"), ({"slices": "5"}, "no choice of slices"),
    ({"slices": "90:99"}, "none of its 16 slices"), ({"domains": ["T3"]}, "no domain 'T3'.*found: T1, T2"),
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


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_text("no image")
    with pytest.raises(UserError, match=r"none of 1 file can be read.*not an image"):
        prepare(tmp_path / "in", tmp_path / "out")
