"""Whether the domains of a visit lie on one grid, and bringing them onto one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.data.geometry import View, canonical_affine, canonical_shape, orientation
from ganatomy.formats import Header
from ganatomy.preparation.scanned import Scanned

GRID_TOLERANCE = 0.05
"""Share of the smallest voxel side by which the corners of two domains' grids may differ."""

LEAST_OVERLAP = 0.2
"""Share of a volume that must lie within another that is brought to its grid."""

Numbered = Mapping[str, dict[int, Scanned]]


def refuse_other_grids(subject: str, files: Numbered, masks: Numbered) -> None:
    """Raise `UserError` unless all domains and masks of a visit lie on one grid."""
    reference_name, reference = next(iter(files.items()))
    for name, found in (*files.items(), *masks.items()):
        for number in found.keys() & reference.keys():
            one, other = reference[number], found[number]
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
    for name, found in numbered.items():
        one, other = next(iter(reference.values())), next(iter(found.values()))
        volumes = all(len({id(item) for item in items.values()}) == 1 for items in (reference, found))
        if volumes and not same_grid(one, other):
            _refuse_unplaced(one, other, domain, name, subject)
            _refuse_apart(one, other, domain, name, subject)
            header = replace(one.header, dtype=np.dtype(np.float32), modality=other.header.modality,
                             lossy=other.header.lossy)
            moved = Scanned(other.entry, header, one.view, native=other.header)
            out[name] = dict.fromkeys(reference, moved)
        else:
            out[name] = found
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


def _grid(seen: View) -> str:
    return f"{seen.slices} slices of {seen.height}x{seen.width}"


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
