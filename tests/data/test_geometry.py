"""Where a patient's left ends up, how pixels are resampled, and the way back to the source's grid."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganatomy import formats
from ganatomy.core.errors import UserError
from ganatomy.data.geometry import Fit, Frame, View, choose_slices, common_frame, planes, restore, view
from ganatomy.formats import Header
from tests.preparation.test_grids import affines

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
    frame = Frame(size, max(height * y, width * x) / size if fit == "resize" else None, fit)
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


# ---- the way back

WIDE = (-1e9, 1e9)


@settings(max_examples=60, deadline=None)
@given(shape=st.tuples(st.integers(1, 40), st.integers(1, 40)), size=st.integers(1, 48), seed=st.integers(0, 99),
       fit=st.sampled_from(["crop", "pad"]))
def test_whole_pixels_come_back_bit_for_bit(shape: tuple[int, int], size: int, seed: int, fit: Fit) -> None:
    picture = np.random.default_rng(seed).normal(0, 1e4, shape).astype(np.float32)
    frame = Frame(size, None, fit)
    back = restore(frame.apply(picture, None, 0.0)[None, None], shape, frame, None, -7.0, WIDE)[0, 0]
    outside = back == -7.0
    assert np.array_equal(back[~outside], picture[~outside])
    assert (~outside).sum() == min(shape[0], size) * min(shape[1], size)


def test_cubic_interpolation_reproduces_parabolas() -> None:
    """Keys' kernel with a = -1/2 is exact for polynomials of the second degree, away from the edge."""
    at = (np.arange(16) + 0.5) * 4 - 0.5  # centres of the stored pixels, in source pixels
    line = 0.03 * (at - 21.7) ** 2 - 5
    images = np.broadcast_to(line.astype(np.float32), (1, 1, 16, 16))
    back = restore(images, (64, 64), Frame(16, 4.0, "resize"), (1.0, 1.0), 0.0, WIDE)[0, 0]
    truth = 0.03 * (np.arange(64) - 21.7) ** 2 - 5
    assert np.abs(back[:, 8:-8] - truth[8:-8]).max() < 1e-4


def test_finer_stored_pixels_are_averaged_exactly() -> None:
    images = np.random.default_rng(0).normal(0, 1, (2, 3, 24, 24)).astype(np.float32)
    back = restore(images, (8, 8), Frame(24, 1.0, "resize"), (3.0, 3.0), 0.0, WIDE)
    assert np.allclose(back, images.reshape(2, 3, 8, 3, 8, 3).mean((3, 5)), atol=1e-6)


def test_parts_of_pixels_count_by_their_area() -> None:
    """24 stored pixels on 16 source pixels: 1.5 each."""
    line = np.arange(24, dtype=np.float32)
    back = restore(np.tile(line, (24, 1))[None, None], (16, 16), Frame(24, 2.0, "resize"), (3.0, 3.0), 0.0, WIDE)
    pairs = line.reshape(8, 3)
    truth = np.stack([(pairs[:, 0] + 0.5 * pairs[:, 1]) / 1.5, (pairs[:, 2] + 0.5 * pairs[:, 1]) / 1.5], 1).ravel()
    assert np.allclose(back[0, 0, 3], truth, atol=1e-5)


def test_outside_of_the_frame_is_background_and_inside_is_not() -> None:
    images = np.ones((1, 1, 10, 10), np.float32)
    back = restore(images, (30, 20), Frame(10, 1.5, "crop"), (1.0, 1.0), -1.0, (-1.0, 1.0))[0, 0]
    assert set(np.unique(back.round(5))) == {-1.0, 1.0}
    rows, columns = np.argwhere(back > 0).T  # from 7.5 to 22.5 and from 2.5 to 17.5: the outermost centres lie on it
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (7, 22, 2, 17)
    finer = restore(images, (30, 20), Frame(10, 0.5, "crop"), (1.0, 1.0), -1.0, (-1.0, 1.0))[0, 0]
    assert np.isclose((finer + 1).sum() / 2, 25)  # 5 mm by 5 mm; pixels at the edge are covered in part


def test_overshoot_is_cut_off() -> None:
    edge = np.where(np.arange(16) < 8, -1.0, 1.0).astype(np.float32)
    images = np.broadcast_to(edge, (1, 1, 16, 16))
    frame = Frame(16, 4.0, "resize")
    assert restore(images, (64, 64), frame, (1.0, 1.0), -1.0, WIDE).max() > 1.01
    back = restore(images, (64, 64), frame, (1.0, 1.0), -1.0, (-1.0, 1.0))
    assert (back.min(), back.max()) == (-1.0, 1.0)


@settings(max_examples=60, deadline=None)
@given(affine=affines(), shape=st.tuples(st.integers(1, 6), st.integers(2, 7), st.integers(1, 8)),
       axis=st.sampled_from(["axial", "coronal", "sagittal"]))
def test_what_is_written_into_the_planes_lands_in_the_voxels(affine: np.ndarray, shape: tuple[int, int, int],
                                                             axis: str) -> None:
    header = Header(shape, np.dtype(np.float32), affine=affine, volumetric=True, oriented=True)
    volume = np.random.default_rng(0).normal(size=shape)
    out = np.zeros(shape)
    pictures = planes(out, header, axis)
    assert len(pictures) == view(header, axis).slices
    for target, source in zip(pictures, planes(volume, header, axis), strict=True):
        target[...] = source
    assert np.array_equal(out, volume)
