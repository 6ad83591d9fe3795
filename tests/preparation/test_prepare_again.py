"""A second run, processes side by side, domains that are not paired, and grids that differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from ganatomy.core.errors import UserError
from ganatomy.formats import Header
from ganatomy.preparation.grids import resample
from ganatomy.preparation.prepare import prepare, survey
from tests.builders import NAMES, cohort, head, pictures, save


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def said(*arguments: object, **options: object) -> list[str]:
    lines: list[str] = []
    prepare(*arguments, say=lines.append, **options)  # type: ignore[arg-type]
    return lines


def test_a_second_run_over_unchanged_files_does_nothing_and_says_so(tmp_path: Path) -> None:
    cohort(tmp_path / "in")
    prepare(tmp_path / "in", tmp_path / "out", size=16)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}
    lines = said(tmp_path / "in", tmp_path / "out", size=16, workers=2)  # their number is no change
    assert len(lines) == 1
    assert "nothing to do" in lines[0]
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()} == before


def change_a_file(folder: Path) -> None:
    save(folder / NAMES[0] / f"{NAMES[0]}_T1.nii.gz", head(99))


def test_changed_files_are_told(tmp_path: Path) -> None:
    cohort(tmp_path / "in", mask=False)
    prepare(tmp_path / "in", tmp_path / "out", size=16)
    added = tmp_path / "in" / "Eve-White11" / "Eve-White11_T1.nii.gz"
    for change in (lambda: save(added, head(99)), added.unlink, lambda: change_a_file(tmp_path / "in")):
        change()
        with pytest.raises(UserError, match=r"the files differ from then.*--overwrite"):
            prepare(tmp_path / "in", tmp_path / "out", size=16)
        prepare(tmp_path / "in", tmp_path / "out", size=16, overwrite=True)


def test_changes_behind_links_and_in_files_that_a_table_names_are_told(tmp_path: Path) -> None:
    cohort(tmp_path / "elsewhere", mask=False)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "all").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "listed").mkdir()
    lines = [f"../elsewhere/{n}/{n}_{d}.nii.gz,{n},{d}" for n in NAMES for d in ("T1", "T2")]
    (tmp_path / "listed" / "files.csv").write_text("\n".join(["path,subject,domain", *lines]))
    pattern = {"linked": "all/{subject}/{subject}_{domain}.nii.gz", "listed": None}
    for name, fields in pattern.items():
        prepare(tmp_path / name, tmp_path / f"{name}-out", size=16, pattern=fields)
        assert "nothing to do" in said(tmp_path / name, tmp_path / f"{name}-out", size=16, pattern=fields)[0]
    change_a_file(tmp_path / "elsewhere")
    for name, fields in pattern.items():
        with pytest.raises(UserError, match="the files differ from then"):
            prepare(tmp_path / name, tmp_path / f"{name}-out", size=16, pattern=fields)


def test_what_prepare_passes_over_is_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort(tmp_path / "in")
    prepare(tmp_path / "in", tmp_path / "in" / "out", size=16)
    (tmp_path / "in" / ".DS_Store").write_bytes(b"made by looking")
    prepare(cohort(tmp_path / "others"), tmp_path / "in" / "another", size=16)
    assert "nothing to do" in said(tmp_path / "in", tmp_path / "in" / "out", size=16)[0]
    monkeypatch.chdir(tmp_path)
    assert "nothing to do" in said("in", "in/out", size=16)[0]


def test_a_file_that_may_be_read_now_is_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort(tmp_path / "in")
    with monkeypatch.context() as closed:  # the tests may run as root, who may read everything
        closed.setattr("os.access", lambda path, mode: NAMES[0] not in str(path))
        prepare(tmp_path / "in", tmp_path / "out", size=16)
    with pytest.raises(UserError, match="the files differ from then"):
        prepare(tmp_path / "in", tmp_path / "out", size=16)


def test_a_damaged_dataset_is_no_finished_work(tmp_path: Path) -> None:
    cohort(tmp_path / "in")
    prepare(tmp_path / "in", tmp_path / "out", size=16)
    (tmp_path / "out" / "images-T1.npy").unlink()
    with pytest.raises(UserError, match="--overwrite"):
        prepare(tmp_path / "in", tmp_path / "out", size=16)
    prepare(tmp_path / "in", tmp_path / "out", size=16, overwrite=True)
    assert "nothing to do" in said(tmp_path / "in", tmp_path / "out", size=16)[0]


def test_the_result_does_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    cohort(tmp_path / "volumes")
    pictures(tmp_path / "pictures", 150)
    for name in ("volumes", "pictures"):
        one = prepare(tmp_path / name, tmp_path / f"{name}1", size=16, workers=1)
        three = prepare(tmp_path / name, tmp_path / f"{name}3", size=16, workers=3)
        assert one.info.content == three.info.content
        left, right = tree(one.path), tree(three.path)
        manifests = [tree_.pop("manifest.csv").decode().splitlines() for tree_ in (left, right)]
        assert left == right
        # all but the keyed hash of the source, whose key is drawn anew for every dataset
        assert [line.split(",")[:11] for line in manifests[0]] == [line.split(",")[:11] for line in manifests[1]]


def test_an_error_in_another_process_reaches_the_user_whole(tmp_path: Path) -> None:
    cohort(tmp_path / "in", names=NAMES[:2], mask=False)
    for name in NAMES[:2]:
        labels = np.arange(20 * 24 * 16).reshape(20, 24, 16) % 300 + 1
        save(tmp_path / "in" / name / f"{name}_mask.nii.gz", labels.astype(np.int16))
    with pytest.raises(UserError, match="more than 255 different values") as caught:
        prepare(tmp_path / "in", tmp_path / "out", size=16, workers=2)
    assert caught.value.where == "--masks"


def lopsided(folder: Path) -> Path:
    """T1 of all, T2 of the last two, who are on another grid."""
    for i, name in enumerate(NAMES):
        save(folder / name / f"{name}_T1.nii.gz", head(i))
        if i >= 2:
            save(folder / name / f"{name}_T2.nii.gz", head(i, (14, 16, 12)), np.diag([2.0, 2.0, 2.0, 1.0]))
    return folder


def test_unpaired_domains_keep_every_subject(tmp_path: Path) -> None:
    lines: list[str] = []
    source = lopsided(tmp_path / "in")
    dataset = prepare(source, tmp_path / "out", size=16, unpaired=True, domains=["T1", "T2"], slices="all",
                      say=lines.append)
    assert not dataset.info.paired
    assert len({r.subject for r in dataset.rows("T1")}) == 4
    assert len({r.subject for r in dataset.rows("T2")}) == 2
    assert len(dataset.rows("T1")) == 4 * 16
    assert len(dataset.rows("T2")) == 2 * 12
    assert any(f"kept without T2: 2 subjects: {NAMES[0]}, {NAMES[1]}" in line for line in lines)
    splits = {(r.subject, r.split) for d in ("T1", "T2") for r in dataset.rows(d)}
    assert len(splits) == 4  # a subject is in one split, whichever domain
    for name in NAMES[2:]:
        path = source / name / f"{name}_T2.nii.gz"
        path.write_bytes(path.read_bytes()[:-500])
    dataset = prepare(source, tmp_path / "out", size=16, unpaired=True, domains=["T1", "T2"], overwrite=True)
    assert dataset.info.domains == ("T1",)
    assert "no image of T2 could be used" in dataset.info.fingerprint["warnings"]


def test_unpaired_wants_no_masks_and_no_common_grid(tmp_path: Path) -> None:
    cohort(tmp_path / "in")
    lines = said(tmp_path / "in", tmp_path / "out", size=16, unpaired=True)
    assert any("nothing says to which contrast's images they belong: lesion-mask" in line for line in lines)
    assert not (tmp_path / "out" / "masks.npy").exists()
    with pytest.raises(UserError, match="need no common grid"):
        prepare(tmp_path / "in", tmp_path / "again", unpaired=True, resample_to="T1")


def blob(shape: tuple[int, int, int], affine: np.ndarray, centre: tuple[float, float, float]) -> np.ndarray:
    """A Gaussian of 12 mm about a place in the world, mm."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    distance = nibabel.affines.apply_affine(affine, index) - centre
    return (100 * np.exp(-(distance**2).sum(-1) / (2 * 12.0**2))).astype(np.float32)


def test_resampling_brings_other_grids_to_the_same_places(tmp_path: Path) -> None:
    fine, coarse = np.diag([1.5, 1.5, 3.0, 1.0]), np.diag([-3.0, 2.5, 4.0, 1.0])
    coarse[:3, 3] = [70.0, -10.0, -8.0]
    for i, name in enumerate(NAMES):
        centre = (30.0 + 2 * i, 33.0, 28.0)
        for domain, affine, shape in (("T1", fine, (40, 44, 20)), ("T2", coarse, (28, 32, 20))):
            save(tmp_path / "in" / name / f"{name}_{domain}.nii.gz", blob(shape, affine, centre), affine)
    with pytest.raises(UserError, match=r"different grids.*add --resample-to T1"):
        prepare(tmp_path / "in", tmp_path / "out", size=32)
    dataset = prepare(tmp_path / "in", tmp_path / "out", size=32, resample_to="T1", intensity="fixed:0:100",
                      slices="all")
    one, two = (dataset.pixels(dataset.rows(d)).astype(np.float32) / 655.35 for d in ("T1", "T2"))
    assert len(one) == len(two) == 4 * 20
    assert [r.position for r in dataset.rows("T1")] == [r.position for r in dataset.rows("T2")]
    assert np.abs(one - two).max() < 6.0  # of 100: what linear interpolation over 4 mm does to a peak of 12 mm
    assert np.abs(one - two).mean() < 0.4


def test_resampling_a_mask_keeps_its_labels(tmp_path: Path) -> None:
    save(tmp_path / "in" / "p1" / "p1_T1.nii.gz", head(1))
    labels = np.zeros((10, 12, 8), np.uint8)
    labels[3:7, 4:8, 2:6] = 7
    labels[4, 5, 3] = 3
    save(tmp_path / "in" / "p1" / "p1_mask.nii.gz", labels, np.diag([2.0, 2.0, 2.0, 1.0]))
    dataset = prepare(tmp_path / "in", tmp_path / "out", size=24, fit="pad", resample_to="T1", slices="all")
    assert set(np.unique(np.load(dataset.path / "masks.npy")).tolist()) == {0, 3, 7}


def test_resampling_fills_the_whole_volume(tmp_path: Path) -> None:
    """Whatever the affines' rounding: the faces, and the outer halves of thick slices, belong to a volume too."""
    for seed in range(4):
        turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
        fine, thick = np.eye(4), np.eye(4)
        fine[:3, :3], thick[:3, :3] = turn, turn * [1.0, 1.0, 4.0]
        fine[:3, 3] = np.random.default_rng(seed).normal(0, 100, 3)
        thick[:3, 3] = fine[:3, 3] + thick[:3, 2] * 1.5 / 4
        labels = Header((6, 7, 3), np.dtype(np.uint8), affine=thick)
        target = Header((6, 7, 12), np.dtype(np.uint8), affine=fine)
        assert resample(np.ones(labels.shape, np.uint8), labels, target, labels=True).all()
        values = np.full(target.shape, 100.0, np.float32)
        values[:, 0] = values[:, -1] = values[0] = values[-1] = 0.0  # the background
        back = resample(values, target, replace(target, affine=fine @ np.diag([1.0, 1.0, 2.0, 1.0]), shape=(6, 7, 6)))
        assert np.allclose(back[2:-2, 2:-2], 100.0, atol=0.1)


def test_a_survey_writes_nothing(tmp_path: Path) -> None:
    cohort(tmp_path / "in")
    before = tree(tmp_path)
    lines: list[str] = []
    survey(tmp_path / "in", tmp_path / "out", lines.append, size=32)
    assert tree(tmp_path) == before
    assert not (tmp_path / "out").exists()
    assert any("become 32x32" in line for line in lines)
    assert "4 visits of 4 subjects with up to 64 slices would be prepared" in lines[-1]
