"""Files in space: whether those of a visit lie on one grid, bringing one onto another's grid, and where a stored image
lies in the patient (the geometry that the manifest keeps, in mm of the source's own space)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.data.geometry import (
    NORMAL,
    Axis,
    Frame,
    View,
    canonical_affine,
    canonical_shape,
    line_start,
    orientation,
)
from ganatomy.data.images import Header, Pixels
from ganatomy.data.intensity import border_value
from ganatomy.sources.entry import Entry

GRID_TOLERANCE = 0.05
"""Share of the smallest voxel side by which the corners of two domains' grids may differ."""

LEAST_OVERLAP = 0.2
"""Share of a volume that must lie within another that is brought to its grid."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """A file, its header, and how it looks along the chosen axis.

    `native` is the file's own header where `header` is that of the grid it is to be resampled to.
    """

    entry: Entry
    header: Header
    view: View
    native: Header | None = None


Numbered = Mapping[str, dict[int, Scanned]]
"""Domain -> slice number -> file; a volume stands under every one of its slices."""


def refuse_other_grids(subject: str, files: Numbered, masks: Numbered) -> None:
    """Raise `UserError` unless all domains and masks of a visit lie on one grid."""
    reference_name, reference = next(iter(files.items()))
    for name, numbered in (*files.items(), *masks.items()):
        for number in numbered.keys() & reference.keys():
            one, other = reference[number], numbered[number]
            if same_grid(one, other):
                continue
            reason, fix = _why(one, other, reference_name)
            raise UserError(f"{reference_name} and {name} of subject {subject} lie on different grids "
                            f"({_grid(one.view)} and {_grid(other.view)}{reason})", where=other.entry.name, fix=fix)


def onto_grid(numbered: Mapping[str, dict[int, Scanned]], domain: str, subject: str) -> dict[str, dict[int, Scanned]]:
    """The files of a visit as they look after resampling to the grid of `domain`, where their own is another.

    Raises:
        UserError: different frames of reference, or pictures, which have no place in space.
    """
    reference = numbered[domain]
    out: dict[str, dict[int, Scanned]] = {}
    for name, own in numbered.items():
        one, other = next(iter(reference.values())), next(iter(own.values()))
        volumes = all(len({id(item) for item in items.values()}) == 1 for items in (reference, own))
        if volumes and not same_grid(one, other):
            _refuse_unplaced(one, other, domain, name, subject)
            _refuse_apart(one, other, domain, name, subject)
            header = replace(one.header, dtype=np.dtype(np.float32), modality=other.header.modality,
                             lossy=other.header.lossy)
            moved = Scanned(other.entry, header, one.view, native=other.header)
            out[name] = dict.fromkeys(reference, moved)
        else:
            out[name] = own
    return out


def _refuse_unplaced(one: Scanned, other: Scanned, domain: str, name: str, subject: str) -> None:
    lost = one.header.affine is None or other.header.affine is None
    uneven = one.header.starts or other.header.starts
    if lost or uneven or not _one_frame(one, other):
        why = ("do not both say where they lie in space" if lost else "are not both evenly spaced" if uneven else
               "lie in different frames of reference, so positions in them cannot be compared")
        raise UserError(f"{domain} and {name} of subject {subject} {why}", where=other.entry.name,
                        fix="register them first, add --unpaired, or prepare one alone with --domains")


def _refuse_apart(one: Scanned, other: Scanned, domain: str, name: str, subject: str) -> None:
    """Raise `UserError` if hardly anything of one volume lies within the other."""
    assert one.header.affine is not None and other.header.affine is not None
    points = np.stack(np.meshgrid(*(np.linspace(0, n - 1, 9) for n in one.header.shape), indexing="ij"), -1)
    places = np.linalg.inv(other.header.affine) @ one.header.affine @ [*points.reshape(-1, 3).T, np.ones(9**3)]
    inside = ((places[:3] >= -0.5) & (np.array(other.header.shape) - 0.5 >= places[:3].T).T).all(0)
    if inside.mean() < LEAST_OVERLAP:
        raise UserError(f"{domain} and {name} of subject {subject} hardly overlap: {inside.mean():.0%} of {domain} "
                        f"lies within {name}", where=other.entry.name,
                        fix="check that they are of one visit, or prepare one alone with --domains")


def same_grid(one: Scanned, other: Scanned) -> bool:
    """Whether two files have the same voxels in the same places, in whichever order they store them."""
    a, b = one.view, other.view
    if (a.slices, a.height, a.width) != (b.slices, b.height, b.width):
        return False
    if one.header.affine is None or other.header.affine is None:
        return one.header.affine is other.header.affine
    if not _one_frame(one, other):
        return False
    corners = np.array([[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    size = np.array([*canonical_shape(one.header), 1]) - [1, 1, 1, 0]
    apart = (canonical_affine(one.header) - canonical_affine(other.header)) @ (corners * size).T
    allowed = GRID_TOLERANCE * np.linalg.norm(one.header.affine[:3, :3], axis=0).min()
    return bool(np.abs(apart).max() <= allowed) and _same_slips(one.header, other.header, allowed)


def _same_slips(one: Header, other: Header, allowed: float) -> bool:
    """Whether unevenly spaced slices lie at the same places: volumes of equal corners may lack different slices."""
    if not (one.starts or other.starts):
        return True
    (axis, slips), (others_axis, others) = _slips(one), _slips(other)
    return axis == others_axis and bool(np.abs(slips - others).max() <= allowed)


def _slips(header: Header) -> tuple[int, NDArray[np.float64]]:
    """The patient's axis along which the slices are counted, and how far each lies off its even place, mm [n, 3]."""
    assert header.affine is not None
    axis, direction = (int(n) for n in orientation(header.affine)[2])
    count = header.shape[2]
    slips = np.zeros((count, 3))
    if header.starts:
        even = header.affine @ np.stack([np.zeros(count), np.zeros(count), np.arange(count), np.ones(count)])
        slips = np.asarray(header.starts) - even[:3].T
    return axis, slips[::direction]


def _one_frame(one: Scanned, other: Scanned) -> bool:
    """Whether coordinates can be compared: where either file does not name its frame they are taken to be."""
    frames = {one.entry.frame, other.entry.frame} - {""}
    return len(frames) < 2


def _grid(grid: View) -> str:
    return f"{grid.slices} slices of {grid.height}x{grid.width}"


def _why(one: Scanned, other: Scanned, domain: str) -> tuple[str, str]:
    """What differs where the numbers of pixels do not, and what can be done."""
    placed = one.header.affine is not None and other.header.affine is not None
    if placed and not _one_frame(one, other):
        return ("; their frames of reference differ",
                "add --unpaired, register them first, or prepare one alone with --domains")
    moved = "; their positions or pixel sizes differ" if _grid(one.view) == _grid(other.view) else ""
    if placed and one.header.volumetric and other.header.volumetric:
        return moved, f"add --resample-to {domain} or --unpaired, or prepare one alone with --domains"
    return moved, "register and resample them first, or prepare one alone with --domains"


def resample(pixels: Pixels, own: Header, target: Header, labels: bool = False) -> Pixels:
    """Voxels [i, j, k] of `own` at the voxel centres of `target`.

    Linear interpolation; for labels the nearest voxel. Along axes where the target's voxels are larger, the values
    are first smoothed to the target's voxel size, or the result would alias. Outside of the volume: its background.

    Args:
        pixels: [i, j, k], with `own.affine`.
        own, target: headers with affines to the same space, mm.
        labels: values are labels, which must not be mixed.

    Returns:
        float32 [target.shape]; the pixels' own dtype for labels.
    """
    from scipy import ndimage

    assert own.affine is not None and target.affine is not None
    # "grid-constant": with "constant" whatever lies beyond the outermost voxels' centres is outside, be it by half a
    # thick slice or by rounding, and a whole face of the volume would turn into background
    to_own = np.linalg.inv(own.affine) @ target.affine
    if labels:
        nearest: Pixels = ndimage.affine_transform(pixels, to_own[:3, :3], to_own[:3, 3], target.shape, order=0,
                                                   mode="grid-constant", cval=0)
        return nearest
    values = pixels.astype(np.float32)
    background = border_value([values[:, :, k] for k in range(values.shape[2])])
    background = float(values.min()) if background is None else background
    for axis, width in enumerate(np.abs(to_own[:3, :3]).max(1)):  # the target's voxel, in voxels of its own
        if width > 1:
            # the spread of a box of this width, less that of the voxel itself
            values = ndimage.gaussian_filter1d(values, float(np.sqrt((width**2 - 1) / 12)), axis=axis, mode="nearest")
    out: Pixels = ndimage.affine_transform(values, to_own[:3, :3], to_own[:3, 3], target.shape, order=1,
                                           mode="grid-constant", cval=background)
    return out


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
