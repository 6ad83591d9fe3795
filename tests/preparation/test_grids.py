"""The manifest's geometry: where each stored pixel lies, held against nibabel.

Volumes hold their own world coordinates as values, so that every stored pixel says where it truly comes from.
"""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganatomy.data.geometry import Axis, Frame, planes, view
from ganatomy.data.manifest import Row
from ganatomy.formats import Header
from ganatomy.preparation.grids import placement
from ganatomy.preparation.prepare import prepare
from tests.builders import save

TOLERANCE = 0.01  # mm
angles = st.floats(-np.pi, np.pi)
sizes = st.floats(0.3, 6.0)


def rotation(x: float, y: float, z: float) -> np.ndarray:
    (cx, cy, cz), (sx, sy, sz) = np.cos([x, y, z]), np.sin([x, y, z])
    return (np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]]) @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
            @ np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]]))


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Oblique, anisotropic, and left-handed or reversed every other time."""
    turn = rotation(draw(angles), draw(angles), draw(angles))
    flip = np.diag([draw(st.sampled_from([-1.0, 1.0])) for _ in range(3)])
    out = np.eye(4)
    out[:3, :3] = turn @ flip @ np.diag([draw(sizes) for _ in range(3)])
    out[:3, 3] = [draw(st.floats(-300, 300)) for _ in range(3)]
    return out


def coordinates(affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """World coordinates [3, i, j, k] of every voxel, as nibabel has them, mm."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 3)
    return nibabel.affines.apply_affine(affine, index).T.reshape(3, *shape)


@settings(max_examples=60, deadline=None)
@given(affine=affines(), shape=st.tuples(*[st.integers(9, 24)] * 3), size=st.integers(8, 30),
       axis=st.sampled_from(["axial", "coronal", "sagittal"]), mm=st.one_of(st.none(), st.floats(0.5, 4.0)))
def test_stored_pixels_lie_where_the_manifest_says(affine: np.ndarray, shape: tuple[int, int, int], size: int,
                                                   axis: Axis, mm: float | None) -> None:
    header = Header(shape, np.dtype(np.float32), affine=affine, volumetric=True, oriented=True)
    frame = Frame(size, mm, "crop")
    seen = view(header, axis)
    number = seen.slices // 2
    places = placement(header, axis, number, frame)
    assert seen.spacing is not None
    stored = [frame.apply(planes(c.astype(np.float64), header, axis)[number], seen.spacing, 0.0)
              for c in coordinates(affine, shape)]
    weight = frame.apply(planes(np.ones(shape), header, axis)[number], seen.spacing, 0.0)
    step_y, step_x = frame.steps(seen.height, seen.width, seen.spacing)
    # averaging over parts of pixels takes each for constant, which moves a ramp by up to an eighth of a pixel
    blur = 0.13 * sum(mm for mm, step in zip(seen.spacing, (step_y, step_x), strict=True)
                      if step > 1 and abs(step - round(step)) > 1e-9)
    for r, c in np.argwhere(weight > 1 - 1e-6):  # only pixels that lie wholly within the volume have one place
        edge_y, edge_x = (seen.height - size * step_y) / 2 + r * step_y, (seen.width - size * step_x) / 2 + c * step_x
        if min(edge_y, edge_x, seen.height - edge_y - step_y, seen.width - edge_x - step_x) < 1:
            continue  # enlarging repeats the outermost value
        told = located(*places, frame.spacing(seen.spacing), r, c)
        assert np.abs(told - [one[r, c] for one in stored]).max() < TOLERANCE + blur


def located(position: str, orientation: str, spacing: tuple[float, float] | None, r: float, c: float) -> np.ndarray:
    assert spacing is not None
    directions = np.fromstring(orientation, sep=" ")
    return np.fromstring(position, sep=" ") + c * spacing[1] * directions[:3] + r * spacing[0] * directions[3:]


def world(row: Row, r: float, c: float) -> np.ndarray:
    """What a user computes from the manifest: the place of the pixel in row r and column c, mm."""
    mm_y, mm_x = map(float, row.spacing.split("x"))
    return located(row.position, row.orientation, (mm_y, mm_x), r, c)


AFFINES = {
    "straight": np.diag([1.0, 1.0, 1.0, 1.0]),
    "left-handed": np.diag([-0.9, 1.1, 2.5, 1.0]),
    "reversed": np.array([[1.0, 0, 0, -10], [0, -1.2, 0, 30], [0, 0, -3.0, 60], [0, 0, 0, 1]]),
    "oblique": np.block([[rotation(0.3, -0.2, 0.1) @ np.diag([0.8, 0.8, 3.0]), np.array([[5.0], [-7.0], [11.0]])],
                         [np.zeros((1, 3)), np.ones((1, 1))]]),
    "sagittal acquisition": np.array([[0, 0, 1.5, -40], [0.9, 0, 0, -60], [0, -0.9, 0, 70], [0, 0, 0, 1.0]]),
}


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("name", AFFINES)
def test_the_manifest_of_a_prepared_volume(tmp_path: Path, name: str, axis: Axis) -> None:
    """Three volumes of x, y and z coordinates through the whole of prepare; read back as a user would."""
    shape = (20, 24, 18)
    for domain, values in zip("XYZ", coordinates(AFFINES[name], shape), strict=True):
        save(tmp_path / "in" / "p1" / f"p1_{domain}.nii.gz", values.astype(np.float32), AFFINES[name])
    dataset = prepare(tmp_path / "in", tmp_path / "out", size=16, fit="crop", intensity="identity", slices="all",
                      axis=axis, domains=["X", "Y", "Z"])
    first = dataset.rows("X")
    pixels = {domain: dataset.pixels(dataset.rows(domain)) for domain in "XYZ"}
    for n in (0, len(first) // 2, len(first) - 1):
        for r, c in ((5, 5), (8, 10), (10, 6)):
            truth = np.array([pixels[domain][n, r, c] for domain in "XYZ"])
            assert np.abs(world(first[n], r, c) - truth).max() < TOLERANCE
