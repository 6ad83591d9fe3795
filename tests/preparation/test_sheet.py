"""contact-sheet.png: large enough to see, right and left marked only where they are known."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from ganatomy.preparation.prepare import prepare
from ganatomy.preparation.sheet import GAP, MARK, NAME, TILE
from tests.builders import cohort, pictures


def sheet(folder: Path) -> np.ndarray:
    return np.asarray(Image.open(folder / NAME))


def marks(folder: Path) -> bool:
    return bool((sheet(folder) == MARK).all(-1).any())


def test_few_patients_are_shown_large_with_three_slices_each(tmp_path: Path) -> None:
    prepare(cohort(tmp_path / "in"), tmp_path / "out", size=16)
    picture = sheet(tmp_path / "out")
    assert picture.shape[1] == 4 * 3 * (TILE + GAP) - GAP and picture.shape[0] > 3 * TILE
    assert (picture == (255, 60, 60)).all(-1).any()  # outlines of masks


def test_many_patients_are_shown_once(tmp_path: Path) -> None:
    prepare(pictures(tmp_path / "in", 12), tmp_path / "out", size=24)
    assert sheet(tmp_path / "out").shape[1] == 10 * (6 * 24 + GAP) - GAP
    assert not marks(tmp_path / "out")  # pictures do not say where the patient's right is


def test_pixels_are_enlarged_by_a_whole_factor_and_not_blurred(tmp_path: Path) -> None:
    dataset = prepare(pictures(tmp_path / "in", 12), tmp_path / "out", size=16)
    tile = sheet(tmp_path / "out")[16 : 16 + TILE, :TILE, 0]
    assert any(np.array_equal(tile[4::8, 4::8], image) for image in dataset.pixels(dataset.rows()))
    assert np.array_equal(tile, tile[::8, ::8].repeat(8, 0).repeat(8, 1))


@pytest.mark.parametrize(("axis", "codes", "expected"), [
    ("axial", 1, True), ("coronal", 1, True), ("sagittal", 1, False), ("axial", 0, False)])
def test_right_and_left_are_marked_where_the_files_say_them(tmp_path: Path, axis: str, codes: int,
                                                           expected: bool) -> None:
    source = cohort(tmp_path / "in", domains=("T1",), mask=False)
    for path in source.rglob("*.nii.gz"):
        image = nibabel.load(path)
        image = nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine)
        image.set_sform(image.affine, codes)
        image.set_qform(image.affine, codes)
        nibabel.save(image, path)
    dataset = prepare(source, tmp_path / "out", size=16, axis=axis)  # type: ignore[arg-type]
    assert marks(tmp_path / "out") == expected
    assert any("which side is left is unknown" in w for w in dataset.info.fingerprint["warnings"]) == (codes == 0)
