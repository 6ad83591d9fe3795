"""Where a stored image lies in the patient: the geometry that the manifest keeps, in mm of the source's own space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganatomy.data.geometry import NORMAL, Axis, Frame, canonical_affine, canonical_shape, line_start, orientation
from ganatomy.formats import Header


@dataclass(frozen=True, slots=True)
class Placement:
    """Position and orientation of a stored image, in mm: x to the patient's right, y to the front, z up (as NIfTI).

    The centre of the pixel in row r and column c lies at position + c * spacing_x * right + r * spacing_y * down.

    Attributes:
        position: of the centre of the first pixel, top left.
        right, down: unit vectors along a row and along a column.
    """

    position: NDArray[np.float64]
    right: NDArray[np.float64]
    down: NDArray[np.float64]

    def texts(self) -> tuple[str, str]:
        """Position and orientation (right, then down) as the manifest writes them: numbers with spaces between."""
        return (" ".join(f"{v:.4f}" for v in self.position),
                " ".join(f"{v:.8g}" for v in (*self.right, *self.down)))


def placement(header: Header, axis: Axis, number: int, frame: Frame) -> Placement | None:
    """Where slice `number` of a volume, seen along `axis` and brought into `frame`, lies; None without an affine."""
    if header.affine is None:
        return None
    to_mm = _picture_to_mm(header, axis)
    width, height = _picture_size(header, axis)
    spacing = (float(np.linalg.norm(to_mm[:3, 1])), float(np.linalg.norm(to_mm[:3, 0])))
    step_y, step_x = frame.steps(height, width, spacing)
    column = line_start(width, frame.size, round(step_x, 9)) + step_x / 2.0 - 0.5
    row = line_start(height, frame.size, round(step_y, 9)) + step_y / 2.0 - 0.5
    position = (to_mm @ np.array([column, row, number, 1.0]))[:3] + _slip(header, axis, number)
    return Placement(position, to_mm[:3, 0] / spacing[1], to_mm[:3, 1] / spacing[0])


def _picture_to_mm(header: Header, axis: Axis) -> NDArray[np.float64]:
    """4x4: (column, row, slice) of the pictures that `geometry.planes` gives to mm."""
    width, height = _picture_size(header, axis)
    across, down = [i for i in range(3) if i != NORMAL[axis]]
    turn = np.zeros((4, 4))
    turn[across, 0], turn[across, 3] = -1.0, width - 1
    turn[down, 1], turn[down, 3] = -1.0, height - 1
    turn[NORMAL[axis], 2] = turn[3, 3] = 1.0
    out: NDArray[np.float64] = canonical_affine(header) @ turn
    return out


def _picture_size(header: Header, axis: Axis) -> tuple[int, int]:
    shape = canonical_shape(header)
    across, down = [i for i in range(3) if i != NORMAL[axis]]
    return shape[across], shape[down]


def _slip(header: Header, axis: Axis, number: int) -> NDArray[np.float64]:
    """How far a slice of an unevenly spaced volume lies from where the affine would have it, mm.

    Only pictures along the volume's own slices have one place; along other axes there is none.
    """
    if header.affine is None or not header.starts:
        return np.zeros(3)
    turned = orientation(header.affine)
    if int(turned[2, 0]) != NORMAL[axis]:
        return np.zeros(3)
    k = number if turned[2, 1] > 0 else header.shape[2] - 1 - number
    even = header.affine @ np.array([0.0, 0.0, k, 1.0])
    slip: NDArray[np.float64] = np.asarray(header.starts[k], dtype=np.float64) - even[:3]
    return slip
