"""Masks and slices: the right place, the right values, and nothing taken for a label that is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganatomy.core.errors import UserError
from ganatomy.data.dataset import Dataset
from ganatomy.phantoms.cohort import phantom
from ganatomy.preparation.prepare import prepare
from tests.builders import head, save, table


def picture(path: Path, value: int) -> None:
    """16 x 16 pixels of 10, with a block of `value` in the corner."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.full((16, 16), 10, dtype=np.uint8)
    values[:8, :8] = value
    Image.fromarray(values).save(path)


def block(*values: int | tuple[int, int, int]) -> np.ndarray:
    """A 16 x 16 mask with a stripe of two rows for each value from the top, 0 elsewhere."""
    colour = any(isinstance(value, tuple) for value in values)
    mask = np.zeros((16, 16, 3) if colour else (16, 16), dtype=np.uint8)
    for i, value in enumerate(values):
        mask[2 * i : 2 * i + 2] = value
    return mask


def masked(folder: Path, masks: list[np.ndarray], suffix: str = ".png") -> Path:
    """Pictures p0.png, p1.png, ... and their masks."""
    for i, mask in enumerate(masks):
        picture(folder / f"p{i}.png", 100 + i)
        Image.fromarray(mask).save(folder / f"p{i}_mask{suffix}", quality=90)
    return folder


def stripes(dataset: Dataset) -> list[list[int]]:
    """The values of each image's mask from the top down."""
    return [[int(v) for v in dict.fromkeys(mask[:, 0].tolist()) if v] for mask in dataset.masks(dataset.rows())]


def series(folder: Path, **files: tuple[str, str]) -> Path:
    """A CSV of pictures: name = (subject, domain)."""
    lines = ["path,subject,domain"]
    for i, (name, (subject, domain)) in enumerate(files.items()):
        picture(folder / f"{name}.png", 100 + i)
        lines.append(f"{name}.png,{subject},{domain}")
    (folder / "files.csv").write_text("\n".join(lines))
    return folder


def test_unnumbered_masks_go_to_the_slice_of_their_name(tmp_path: Path) -> None:
    files = {f"{s}_{z}": (s, "T1") for s in ("s0", "s1") for z in "abc"}
    files |= {f"{s}_{z}_mask": (s, "mask") for s in ("s0", "s1") for z in "bc"}
    dataset = prepare(series(tmp_path / "in", **files), tmp_path / "out", size=16)
    assert [row.has_mask for row in dataset.rows()] == [False, True, True] * 2
    assert all(mask.any() for mask in dataset.masks([row for row in dataset.rows() if row.has_mask]))


@pytest.mark.parametrize("masks", [["x", "y"], ["b", "d"], ["b", "c", "d"]])
def test_masks_that_match_no_slice_are_refused(tmp_path: Path, masks: list[str]) -> None:
    files = {f"s0_{z}": ("s0", "T1") for z in "abc"} | {f"s0_{z}_mask": ("s0", "mask") for z in masks}
    with pytest.raises(UserError, match="nothing says which belong together"):
        prepare(series(tmp_path / "in", **files), tmp_path / "out", size=16)


def test_numbered_masks_without_their_slice_are_left_out_aloud(tmp_path: Path) -> None:
    for name in ("s0/s0_T1_z1", "s0/s0_T1_z2", "s0/s0_mask_z2", "s0/s0_mask_z7", "s1/s1_T1_z1", "s1/s1_mask_z1"):
        picture(tmp_path / "in" / f"{name}.png", 100)
    dataset = prepare(tmp_path / "in", tmp_path / "out", size=16)
    assert [row.has_mask for row in dataset.rows()] == [False, True, True]
    assert [(line["path"], "slice of this mask" in line["reason"])
            for line in table(tmp_path / "out.private" / "skipped.csv")] == [("s0/s0_mask_z7.png", True)]


def two_classes(folder: Path) -> Path:
    for i, name in enumerate(("benign/p0/p0_T1_z1", "benign/p0/p0_T1_z2", "benign/p0/p0_T2_z1", "benign/p0/p0_T2_z2",
                              "malignant/p0/p0_T1_z1", "malignant/p0/p0_T1_z2", "malignant/p0/p0_T2_z2",
                              "malignant/p1/p1_T1_z1", "malignant/p1/p1_T2_z1")):
        picture(folder / f"{name}.png", 100 + i)
    return folder


def test_slices_of_one_patient_in_two_classes_stay_paired(tmp_path: Path) -> None:
    dataset = prepare(two_classes(tmp_path / "in"), tmp_path / "out", size=16, yes=True)
    pairs = zip(*(dataset.pixels(dataset.rows(domain))[:, 0, 0].tolist() for domain in ("T1", "T2")), strict=True)
    assert list(pairs) == [(100, 102), (101, 103), (105, 106), (107, 108)]
    assert [(r.subject, r.label, r.slice) for r in dataset.rows("T2")] == [
        ("sub-0001", "benign", 1), ("sub-0001", "benign", 2), ("sub-0001", "malignant", 2),
        ("sub-0002", "malignant", 1)]
    assert len({r.image_id for r in dataset.rows("T1")}) == 4


def test_the_same_slice_twice_is_refused_where_domains_are_paired(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="p0 has 4 of T1, 3 of T2, and nothing says"):
        prepare(two_classes(tmp_path / "in"), tmp_path / "out", size=16,
                pattern="*/{subject}/*_{domain}_z{slice}.png")


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
def test_labels_above_a_byte_are_numbered_over_the_whole_cohort(tmp_path: Path, dtype: type) -> None:
    # each patient has other labels, and not every slice has the large ones
    for i, labels in enumerate([(17, 41), (41, 1002), (1002, 2035)]):
        mask = np.zeros((20, 24, 16), dtype=dtype)
        mask[4:10, 4:20, :8], mask[10:16, 4:20, 6:] = labels
        save(tmp_path / "in" / f"p{i}" / f"p{i}_T1.nii.gz", head(i))
        save(tmp_path / "in" / f"p{i}" / f"p{i}_aseg.nii.gz", mask)
    dataset = prepare(tmp_path / "in", tmp_path / "out", size=24, slices="all")
    assert dataset.info.mask_values == {"aseg-17": 1, "aseg-41": 2, "aseg-1002": 3, "aseg-2035": 4}
    rows = {s: [r for r in dataset.rows() if r.subject == s] for s in ("sub-0001", "sub-0002", "sub-0003")}
    found = [set(np.unique(dataset.masks(own))) for own in rows.values()]
    assert found == [{0, 1, 2}, {0, 2, 3}, {0, 3, 4}]


def test_labels_that_fit_keep_their_values(tmp_path: Path) -> None:
    dataset = prepare(masked(tmp_path / "in", [block(4, 2), block(7), block()]), tmp_path / "out", size=16)
    assert dataset.info.mask_values == {"mask-2": 2, "mask-4": 4, "mask-7": 7}
    assert stripes(dataset) == [[4, 2], [7], []]


def test_colours_are_labels_of_their_own(tmp_path: Path) -> None:
    masks = [block((255, 0, 0), (0, 255, 0)), block((0, 255, 0), (255, 255, 255)), block(255)]
    dataset = prepare(masked(tmp_path / "in", masks), tmp_path / "out", size=16)
    assert dataset.info.mask_values == {"mask-255": 1, "mask-#00ff00": 2, "mask-#ff0000": 3}
    assert stripes(dataset) == [[3, 2], [2, 1], [1]]


def test_jpeg_masks_are_taken_only_with_two_values(tmp_path: Path) -> None:
    two = [block(255, 255, 255), block(255, 255), block()]
    dataset = prepare(masked(tmp_path / "two", two, ".jpg"), tmp_path / "out", size=16)
    assert dataset.info.mask_values == {"mask": 1}
    np.testing.assert_array_equal(dataset.masks(dataset.rows()), [m // 255 for m in two])
    for name, mask in (("grey", block(255, 255, 120, 120)), ("colour", block((255, 0, 0), (0, 255, 0))),
                       ("dark", block(1, 2, 3))):
        with pytest.raises(UserError, match="mask in JPEG, which changes values"):
            prepare(masked(tmp_path / name, [mask] * 3, ".jpg"), tmp_path / "x", size=16)


@pytest.mark.parametrize(("values", "words"), [
    (np.arange(16 * 24 * 20).reshape(20, 24, 16), "more than 255 different values"),
    (-head(1).astype(np.int16), "below 0"),
    (head(1) * 1.37, "holds fractions")])
def test_what_is_no_mask_is_refused(tmp_path: Path, values: np.ndarray, words: str) -> None:
    save(tmp_path / "in" / "p1" / "p1_T1.nii.gz", head(1))
    save(tmp_path / "in" / "p1" / "p1_mask.nii.gz", values.astype(np.float32))
    with pytest.raises(UserError, match=words):
        prepare(tmp_path / "in", tmp_path / "out", size=24)
    assert not (tmp_path / "out").exists()


def test_several_masks_keep_names_apart(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / "in" / f"p{i}.png", 100 + i)
        for j, name in enumerate(("mask", "mask_1", "seg")):
            Image.fromarray(block(*[0] * j, 255)).save(tmp_path / "in" / f"p{i}_{name}.png")
    dataset = prepare(tmp_path / "in", tmp_path / "out", size=16)
    assert dataset.info.mask_values == {"mask": 1, "mask_1": 2, "seg": 3} and stripes(dataset) == [[1, 2, 3]] * 3
    two = {f"{s}_{d}": (s, d) for s in ("A", "B") for d in ("T1", "tumour-mask", "tumour-seg")}
    dataset = prepare(series(tmp_path / "two", **two), tmp_path / "two-out", size=16)
    assert dataset.info.mask_values == {"tumour-mask": 1, "tumour-seg": 2}


def test_a_missing_mask_file_is_no_empty_mask(tmp_path: Path) -> None:
    phantom(tmp_path / "in", subjects=6, size=64, lesions=1.0, anatomy="first")
    (tmp_path / "in" / "files.csv").unlink()
    whole = prepare(tmp_path / "in", tmp_path / "whole", size=64)
    assert "has_mask" not in table(whole.path / "manifest.csv")[0] and all(row.has_mask for row in whole.rows("T1"))
    without = ["sub-0002", "sub-0005"]
    for name in without:
        (tmp_path / "in" / name / f"{name}_lesion-mask.nii.gz").unlink()
    lines: list[str] = []
    dataset = prepare(tmp_path / "in", tmp_path / "out", size=64, say=lines.append)
    for domain in dataset.info.domains:
        rows = dataset.rows(domain)
        assert sorted({row.subject for row in rows if not row.has_mask}) == without
    assert {line["has_mask"] for line in table(dataset.path / "manifest.csv")} == {"0", "1"}
    lost = sum(not row.has_mask for row in rows)
    assert f"warning: {lost} of {len(rows)} slices have no mask" in "\n".join(lines)
    with pytest.raises(UserError, match=f"{lost} of {len(rows)} images have no mask"):
        dataset.masks(rows)


def test_masks_of_several_kinds_are_all_needed(tmp_path: Path) -> None:
    files = {f"{s}_{d}": (s, d) for s in ("A", "B", "C") for d in ("T1", "lesion-mask", "brain-mask", "brain-mask_1")}
    del files["A_brain-mask_1"], files["B_lesion-mask"]
    dataset = prepare(series(tmp_path / "in", **files), tmp_path / "out", size=16)
    assert [row.has_mask for row in dataset.rows()] == [True, False, True]


def test_a_mask_that_cannot_be_read_is_not_taken_for_no_lesion(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / "volumes" / f"p{i}" / f"p{i}_T1.nii.gz", head(i))
        save(tmp_path / "volumes" / f"p{i}" / f"p{i}_mask.nii.gz", (head(i) > 110).astype(np.uint8))
    (tmp_path / "volumes" / "p1" / "p1_mask.nii.gz").write_bytes(b"cut short")
    assert len({r.subject for r in prepare(tmp_path / "volumes", tmp_path / "out", size=16).rows()}) == 2
    assert ("p1/p1_T1.nii.gz", "left out: its mask cannot be read") in [
        (line["path"], line["reason"]) for line in table(tmp_path / "out.private" / "skipped.csv")]
    for name in ("s0/s0_T1_z1", "s0/s0_T1_z2", "s0/s0_mask_z2", "s0/s0_mask_z1", "s1/s1_T1_z1", "s1/s1_mask_z1"):
        picture(tmp_path / "pictures" / f"{name}.png", 100)
    (tmp_path / "pictures" / "s0" / "s0_mask_z2.png").write_bytes(b"")
    dataset = prepare(tmp_path / "pictures", tmp_path / "second", size=16)
    assert [(r.subject, r.slice) for r in dataset.rows()] == [("sub-0001", 1), ("sub-0002", 1)]
    assert all(mask.any() for mask in dataset.masks(dataset.rows()))
