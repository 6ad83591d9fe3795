"""Where the slices of a DICOM volume lie: their order, the affine, and what is wrong with their spacing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.text import counted

Array = NDArray[np.float64]

SAME_PLACE = 0.01
"""mm along the normal below which two slices lie at the same place."""
SHARE, LEAST = 0.01, 0.06
"""A slice may be off its place on an even grid by this share of the step or by this many mm, whichever is more:
scanners that write positions with one decimal are off by up to 0.05 mm, which is a tenth of a pixel and no gap."""
TILT_DEGREES, TILT_DRIFT = 0.5, 0.15
"""A gantry is tilted where the slices leave the normal by this angle, and by this many mm from first to last: the
rounding of the positions alone makes short stacks seem tilted."""
SQUARE = 0.01
"""Directions may differ from unit length, and from a right angle (as a cosine), by this much."""
_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True, slots=True)
class Stack:
    """Slices in their order along the normal.

    Attributes:
        order: which of the given positions is the first slice, the second, ...
        affine: 4x4, voxel (column, row, slice) to mm (right, anterior, superior).
        step: mm from slice to slice.
        faults: what is wrong, in words; () for an even stack.
        starts: mm (right, anterior, superior) of the first voxel of each slice where the affine does not say it.
    """

    order: tuple[int, ...]
    affine: Array
    step: float
    faults: tuple[str, ...] = ()
    starts: tuple[tuple[float, float, float], ...] = ()


def normal(orientation: Sequence[float]) -> Array:
    """Unit vector across the slices, from the directions of row and column (ImageOrientationPatient)."""
    across = np.cross(orientation[:3], orientation[3:])
    return np.asarray(across / np.linalg.norm(across))


def usable(orientation: Sequence[float]) -> bool:
    """Whether these are two directions at a right angle."""
    if len(orientation) != 6:
        return False
    row, column = np.asarray(orientation[:3]), np.asarray(orientation[3:])
    lengths = np.asarray([np.linalg.norm(row), np.linalg.norm(column)])
    return bool((np.abs(lengths - 1) <= SQUARE).all() and abs(row @ column) <= SQUARE)


def plane(orientation: Sequence[float]) -> tuple[str, float]:
    """The nearest of axial, coronal and sagittal, and how many degrees off it the slices are."""
    across = np.abs(normal(orientation))
    nearest = int(across.argmax())
    return ("sagittal", "coronal", "axial")[nearest], float(np.degrees(np.arccos(min(1.0, across[nearest]))))


def places(positions: Sequence[Sequence[float]], orientation: Sequence[float]) -> list[int]:
    """Number, counted along the normal, of the place of each slice; slices at one place have the same number."""
    along = np.asarray(positions, dtype=np.float64) @ normal(orientation)
    order = np.argsort(along, kind="stable")
    numbers = np.zeros(len(along), int)
    numbers[order[1:]] = np.cumsum(np.diff(along[order]) > SAME_PLACE)
    return [int(n) for n in numbers]


def stack(positions: Sequence[Sequence[float]], orientation: Sequence[float], spacing: Sequence[float],
          thickness: float) -> Stack:
    """Put the slices of a volume into order and find their affine.

    Args:
        positions: [n, 3] ImagePositionPatient of the slices, mm in DICOM's axes (left, posterior, superior), no two
            at the same place along the normal.
        orientation: ImageOrientationPatient, 6 numbers.
        spacing: mm between the centres of neighbouring (rows, columns).
        thickness: mm; the step of a single slice.
    """
    points, across = np.asarray(positions, dtype=np.float64), normal(orientation)
    along = points @ across
    order = np.argsort(along, kind="stable")
    points, gaps = points[order], np.diff(along[order])
    if len(points) == 1:
        return Stack((0,), _affine(points[0], across * thickness, orientation, spacing), thickness)
    typical = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    strides = np.maximum(1, np.rint(gaps / typical)).astype(int)
    start, step = _line(points, np.concatenate([[0], np.cumsum(strides)]))
    uneven = _uneven(points, np.concatenate([[0], np.cumsum(strides)]), start, step, across, gaps)
    if uneven:  # whole steps mean nothing here
        start, step = points[0], (points[-1] - points[0]) / np.linalg.norm(points[-1] - points[0]) * typical
    missing = () if uneven else _missing(strides, along[order])
    faults = (*uneven, *missing, *_tilt(step, across, len(points)))
    starts = tuple((float(x), float(y), float(z)) for x, y, z in points @ _RAS) if uneven or missing else ()
    return Stack(tuple(int(i) for i in order), _affine(start, step, orientation, spacing), float(np.linalg.norm(step)),
                 faults, starts)


def _line(points: Array, steps: NDArray[np.int64]) -> tuple[Array, Array]:
    """The straight line of best fit through points at whole steps: its start and its step."""
    centred = steps - steps.mean()
    step = centred @ (points - points.mean(0)) / (centred @ centred)
    return np.asarray(points.mean(0) - step * steps.mean()), np.asarray(step)


def _uneven(points: Array, steps: NDArray[np.int64], start: Array, step: Array, across: Array,
            gaps: Array) -> tuple[str, ...]:
    off = points - (start + steps[:, None] * step)
    along = np.abs(off @ across).max()
    aside = np.linalg.norm(off - np.outer(off @ across, across), axis=1).max()
    allowed = max(LEAST, SHARE * float(np.linalg.norm(step)))
    if along > allowed:
        return (f"its gaps are uneven: {gaps.min():.2f} to {gaps.max():.2f} mm from slice to slice",)
    return (f"its slices are shifted sideways against each other by up to {aside:.2f} mm",) if aside > allowed else ()


def _missing(strides: NDArray[np.int64], along: Array) -> tuple[str, ...]:
    holes = np.flatnonzero(strides > 1)
    if not len(holes):
        return ()
    count = int((strides[holes] - 1).sum())
    where = "; ".join(f"{strides[h] - 1} between slices {h + 1} and {h + 2}, at {along[h]:.1f} and "
                      f"{along[h + 1]:.1f} mm" for h in holes[:3])
    more = f"; and {len(holes) - 3} more places" if len(holes) > 3 else ""
    return (f"it lacks {counted(count, 'slice')} ({where}{more})",)


def _tilt(step: Array, across: Array, slices: int) -> tuple[str, ...]:
    length = float(np.linalg.norm(step))
    aside = float(np.linalg.norm(step - across * (step @ across)))
    angle = float(np.degrees(np.arcsin(min(1.0, aside / length))))
    tilted = angle > TILT_DEGREES and aside * (slices - 1) > TILT_DRIFT
    return (f"its slices are stacked {angle:.1f} degrees off their normal (gantry tilt)",) if tilted else ()


def _affine(start: Array, step: Array, orientation: Sequence[float], spacing: Sequence[float]) -> Array:
    affine = np.eye(4)
    row, column = (np.asarray(v) / np.linalg.norm(v) for v in (orientation[:3], orientation[3:]))
    axes = np.stack([row * spacing[1], column * spacing[0], step], 1)
    affine[:3, :3], affine[:3, 3] = _RAS @ axes, _RAS @ start
    return affine
