"""Where a patient's left ends up, and how pixels are resampled."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganatomy import formats
from ganatomy.core.errors import UserError
from ganatomy.data.geometry import Frame, View, choose_slices, common_frame, planes, view
from ganatomy.data.intensity import mapping, measure

# in RAS: x to the patient's right, y to the front, z up
SHAPE = (9, 11, 7)
RIGHT, FRONT, TOP = (8, 5, 3), (4, 10, 3), (4, 5, 6)


def patient() -> nibabel.Nifti1Image:
    """Marks of 1 at the patient's right, 2 at the front, 3 at the top; voxels of 1 x 2 x 3 mm."""
    values = np.zeros(SHAPE, dtype=np.int16)
    for mark, place in enumerate((RIGHT, FRONT, TOP), start=1):
        values[place] = mark
    affine = np.diag([1.0, 2, 3, 1])
    affine[:3, 3] = (-5, 40, 7)
    return nibabel.Nifti1Image(values, affine)


def where(picture: np.ndarray, mark: int) -> tuple[int, int]:
    y, x = np.argwhere(picture == mark)[0]
    return int(y), int(x)


@pytest.mark.parametrize("codes", ["RAS", "LAS", "LPS", "PIR", "SLA", "ASR"])
def test_directions_do_not_depend_on_the_voxel_order(tmp_path: Path, codes: str) -> None:
    nibabel.save(patient().as_reoriented(nibabel.orientations.io_orientation(np.eye(4)) if codes == "RAS" else
                                         nibabel.orientations.axcodes2ornt(codes)), tmp_path / "p.nii.gz")
    header, pixels = formats.scan(tmp_path / "p.nii.gz"), formats.read(tmp_path / "p.nii.gz")
    axial, coronal, sagittal = (planes(pixels, header, axis) for axis in ("axial", "coronal", "sagittal"))
    assert [axial.shape, coronal.shape, sagittal.shape] == [(7, 11, 9), (11, 7, 9), (9, 7, 11)]
    # the patient's right is on the picture's left, the front at the top
    assert where(axial[RIGHT[2]], 1) == (5, 0) and where(axial[FRONT[2]], 2) == (0, 4)
    assert where(coronal[RIGHT[1]], 1) == (3, 0) and where(coronal[TOP[1]], 3) == (0, 4)
    # sagittal: the front at the left, the top at the top
    assert where(sagittal[FRONT[0]], 2) == (3, 0) and where(sagittal[TOP[0]], 3) == (0, 5)
    assert view(header, "axial") == View(7, 11, 9, (2, 1))
    assert view(header, "coronal") == View(11, 7, 9, (3, 1))
    assert view(header, "sagittal") == View(9, 7, 11, (3, 2))


def disc(height: int, width: int, spacing: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    y, x = (y - (height - 1) / 2) * spacing[0], (x - (width - 1) / 2) * spacing[1]
    return (np.hypot(y, x) < radius).astype(np.float32)


def test_a_round_thing_stays_round_and_its_area_stays_its_area() -> None:
    spacing = (0.5, 2.0)
    frame = common_frame([View(1, 200, 50, spacing)], 64, "resize", None)
    assert frame.mm == pytest.approx(100 / 64)
    picture = frame.apply(disc(200, 50, spacing, 30.0), spacing, 0.0)
    assert picture.sum() * frame.mm**2 == pytest.approx(np.pi * 30**2, rel=0.02)
    rows, columns = (picture.sum(axis) > 1).sum() if (axis := 1) else 0, (picture.sum(0) > 1).sum()
    assert abs(int(rows) - int(columns)) <= 2


def test_whole_blocks_are_averaged_and_equal_sizes_untouched() -> None:
    values = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    blocks = values.reshape(16, 4, 16, 4).mean((1, 3))
    np.testing.assert_allclose(Frame(16, None, "resize").apply(values, None, 0.0), blocks, atol=1e-6)
    np.testing.assert_array_equal(Frame(64, None, "resize").apply(values, None, 0.0), values)


def test_a_fine_pattern_becomes_grey_not_stripes() -> None:
    stripes = np.tile(np.array([0, 1], dtype=np.float32), (100, 50))
    picture = Frame(32, None, "resize").apply(stripes, None, 0.0)
    assert picture.std() < 0.12 and picture.mean() == pytest.approx(0.5, abs=0.01)


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 90), width=st.integers(1, 90), size=st.integers(8, 64), level=st.floats(-1000, 1000),
       y=st.floats(0.2, 5), x=st.floats(0.2, 5), fit=st.sampled_from(["resize", "crop", "pad"]))
def test_a_constant_picture_stays_constant(height: int, width: int, size: int, level: float, y: float, x: float,
                                           fit: str) -> None:
    frame = Frame(size, max(height * y, width * x) / size if fit == "resize" else None, fit)  # type: ignore[arg-type]
    picture = frame.apply(np.full((height, width), level, dtype=np.float32), (y, x), level)
    np.testing.assert_allclose(picture, level, rtol=1e-4, atol=1e-3)


def test_crop_and_pad_move_no_value() -> None:
    values = np.arange(20 * 30, dtype=np.float32).reshape(20, 30)
    picture = Frame(24, None, "crop").apply(values, None, -7.0)
    np.testing.assert_array_equal(picture[2:22], values[:, 3:27])
    assert (picture[:2] == -7).all() and (picture[22:] == -7).all()
    with pytest.raises(UserError, match="needs 30 pixels"):
        common_frame([View(1, 20, 30, None)], 24, "pad", None)


def test_one_pixel_size_for_all_patients() -> None:
    views = [View(1, 100, 100, (1.0, 1.0)), View(1, 100, 100, (2.0, 2.0))]
    frame = common_frame(views, 50, "resize", None)
    small, large = (frame.apply(disc(100, 100, v.spacing, 20.0), v.spacing, 0.0) for v in views if v.spacing)
    assert frame.mm == 4 and abs(small - large).mean() < 0.02


def test_masks_keep_their_values_and_their_place() -> None:
    mask = np.zeros((40, 40), dtype=np.uint8)
    mask[8:16, 8:20], mask[24:32, 24:28] = 3, 7
    small = Frame(10, None, "resize").apply_mask(mask, None)
    assert (small[2:4, 2:5] == 3).all() and (small[6:8, 6] == 7).all()
    assert (small == 3).sum() == 6 and (small == 7).sum() == 2


def test_slices_with_content_and_ranges() -> None:
    numbers, content = list(range(10)), [0, 0.1, 0.5, 0.9, 1, 1, 0.8, 0.45, 0.2, 0]
    assert choose_slices(numbers, "content", content) == [2, 3, 4, 5, 6, 7]
    assert choose_slices(numbers, "all", content) == numbers
    assert choose_slices(numbers, "2:8:3") == [2, 5] and choose_slices(numbers, "7:") == [7, 8, 9]
    assert choose_slices(numbers, "content", [0.0] * 10) == []


def scan(background: float, low: float, high: float, noise: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    values = np.where(disc(60, 60, (1, 1), 22) > 0, rng.uniform(low, high, (60, 60)), background)
    return (values + rng.normal(0, noise, values.shape) * (noise > 0)).astype(np.float32)


@pytest.mark.parametrize(("values", "low", "background"), [
    (scan(0, 100, 900), 0, 0),                    # skull-stripped
    (scan(0, -40, 900), 0, 0),                    # with small negatives left by interpolation
    (scan(-1024, -100, 1200), -1024, -1024),      # CT with air of one value
    (np.abs(scan(0, 300, 900, noise=8)), 0, 0),   # magnitude image with noise
    (scan(255, 20, 180), 20, 255),                # bright paper around a dark object
])
def test_the_low_end_suits_the_background(values: np.ndarray, low: float, background: float) -> None:
    levels = measure([values])
    found = mapping("percentile", levels, np.dtype(np.uint16))
    assert found.offset == pytest.approx(low, abs=1) and levels.background == pytest.approx(background)
    assert levels.foreground(values).mean() == pytest.approx(np.pi * 22**2 / 3600, rel=0.15)
    stored = found.encode(values)
    assert stored.min() == 0 and stored.max() == 65535


def test_one_bright_vessel_does_not_darken_the_rest() -> None:
    values = scan(0, 100, 900)
    values[30, 30] = 50_000
    assert measure([values]).high < 1000
