"""The way back from stored pictures to the source's grid."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ganatomy.data.geometry import Fit, Frame, planes, restore, view
from ganatomy.formats import Header
from tests.preparation.test_grids import affines

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
    pictures = planes(out, header, axis)  # type: ignore[arg-type]
    assert len(pictures) == view(header, axis).slices  # type: ignore[arg-type]
    for target, source in zip(pictures, planes(volume, header, axis), strict=True):  # type: ignore[arg-type]
        target[...] = source
    assert np.array_equal(out, volume)
