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
    shown_along,
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
    domain, reference = next(iter(files.items()))
    for name, numbered in (*files.items(), *masks.items()):
        for number in numbered.keys() & reference.keys():
            one, other = reference[number], numbered[number]
            if same_grid(one, other):
                continue
            placed = one.header.affine is not None and other.header.affine is not None
            sizes = [f"{i.view.slices} slices of {i.view.height}x{i.view.width}" for i in (one, other)]
            why = ("; their frames of reference differ" if placed and not _one_frame(one, other) else
                   "; their positions or pixel sizes differ" if sizes[0] == sizes[1] else "")
            able = placed and _one_frame(one, other) and one.header.volumetric and other.header.volumetric
            mend = f"add --resample-to {domain} or --unpaired" if able else "register and resample them first"
            raise UserError(f"{domain} and {name} of subject {subject} lie on different grids ({sizes[0]} and "
                            f"{sizes[1]}{why})", where=other.entry.name,
                            fix=f"{mend}, or prepare one alone with --domains")


def onto_grid(numbered: Mapping[str, dict[int, Scanned]], domain: str, subject: str) -> dict[str, dict[int, Scanned]]:
    """The files of a visit as they look after resampling to the grid of `domain`, where their own is another.

    Raises `UserError` for different frames of reference, and for pictures, which have no place in space.
    """
    reference = numbered[domain]
    out: dict[str, dict[int, Scanned]] = {}
    for name, own in numbered.items():
        one, other = next(iter(reference.values())), next(iter(own.values()))
        out[name] = own
        volumes = all(len({id(item) for item in items.values()}) == 1 for items in (reference, own))
        if volumes and not same_grid(one, other):
            if why := _apart(one.header, other.header, _one_frame(one, other)):
                raise UserError(f"{domain} and {name} of subject {subject} {why}", where=other.entry.name,
                                fix="register them first, add --unpaired, or prepare one alone with --domains")
            header = replace(one.header, dtype=np.dtype(np.float32), modality=other.header.modality,
                             lossy=other.header.lossy)
            out[name] = dict.fromkeys(reference, Scanned(other.entry, header, one.view, native=other.header))
    return out


def _apart(one: Header, other: Header, one_frame: bool) -> str:
    """Why one volume cannot be brought to another's grid; "" if it can."""
    if one.affine is None or other.affine is None:
        return "do not both say where they lie in space"
    if one.starts or other.starts:
        return "are not both evenly spaced"
    if not one_frame:
        return "lie in different frames of reference, so positions in them cannot be compared"
    points = np.stack(np.meshgrid(*(np.linspace(0, n - 1, 9) for n in one.shape), indexing="ij"), -1)
    places = np.linalg.inv(other.affine) @ one.affine @ [*points.reshape(-1, 3).T, np.ones(9**3)]
    share = ((places[:3] >= -0.5) & (np.array(other.shape) - 0.5 >= places[:3].T).T).all(0).mean()
    return "" if share >= LEAST_OVERLAP else f"hardly overlap: {share:.0%} of the one lies within the other"


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
    if np.abs(apart).max() > allowed:
        return False
    if not (one.header.starts or other.header.starts):
        return True
    # unevenly spaced slices: volumes of equal corners may lack different ones
    (axis, slips), (others_axis, others) = _slips(one.header), _slips(other.header)
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


def resample(pixels: Pixels, own: Header, target: Header, labels: bool = False) -> Pixels:
    """Voxels [i, j, k] of `own` at the voxel centres of `target`.

    Linear interpolation; for labels the nearest voxel. Along axes where the target's voxels are larger, the values
    are first smoothed to the target's voxel size, or the result would alias. Outside of the volume: its background.
    The result is float32, of labels their own dtype. Both headers have affines to the same space, mm.
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


def placement(header: Header, axis: Axis, number: int, frame: Frame) -> tuple[str, str]:
    """Position and orientation of a stored image, as the manifest writes them: numbers with spaces between.

    In mm, x to the patient's right, y to the front, z up, as NIfTI has it. The position is that of the centre of the
    first pixel, top left; the orientation are unit vectors along a row (right) and a column (down). The centre of the
    pixel in row r and column c lies at position + c * spacing_x * right + r * spacing_y * down. Both are "" without an
    affine.
    """
    if header.affine is None:
        return "", ""
    shape, normal = canonical_shape(header), NORMAL[shown_along(header, axis)]
    across, down = [i for i in range(3) if i != normal]
    turn = np.zeros((4, 4))  # (column, row, slice) of the pictures that `geometry.planes` gives to canonical voxels
    turn[across, 0], turn[across, 3] = -1.0, shape[across] - 1
    turn[down, 1], turn[down, 3] = -1.0, shape[down] - 1
    turn[normal, 2] = turn[3, 3] = 1.0
    to_mm = canonical_affine(header) @ turn
    spacing = (float(np.linalg.norm(to_mm[:3, 1])), float(np.linalg.norm(to_mm[:3, 0])))
    step_y, step_x = frame.steps(shape[down], shape[across], spacing)
    column = line_start(shape[across], frame.size, round(step_x, 9)) + step_x / 2.0 - 0.5
    row = line_start(shape[down], frame.size, round(step_y, 9)) + step_y / 2.0 - 0.5
    position = (to_mm @ np.array([column, row, number, 1.0]))[:3]
    if header.starts:  # such volumes are seen along their own slices only, see `headers.scan_files`
        position += _slips(header)[1][number]
    directions = (*to_mm[:3, 0] / spacing[1], *to_mm[:3, 1] / spacing[0])
    return " ".join(f"{v:.4f}" for v in position), " ".join(f"{v:.8g}" for v in directions)
