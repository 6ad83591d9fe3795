"""Whole heads in volumes: a face can be rebuilt from their skin. A guess that raises a warning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Pixels = NDArray[Any]
Floats = NDArray[np.float32]
Shell = Callable[[NDArray[np.float64]], bool]

WARNING = "these look like whole heads: a face can be rebuilt from such volumes; deface or skull-strip before sharing"
COVERAGE = 40.0
"""mm along every axis; a slab thinner than this shows no face."""
HEAD_PARTS = ("HEAD", "BRAIN", "SKULL", "FACE", "ORBIT", "SINUS", "JAW", "NOSE", "EAR", "EYE", "TMJ", "NEURO")
_HOUNSFIELD_AIR = -200.0
_STEP = 2.0  # mm
_SLICES = 12
_SECTORS = 24
_LONG, _WIDE = (130.0, 260.0), (100.0, 220.0)  # mm, front to back and side to side
_SHELL = 30  # mm below the skin


def shows_face(volume: Pixels, spacing: tuple[float, float, float], body_part: str = "") -> bool:
    """Whether a volume seems to be of a head that still has its skin and skull.

    In axial slices of a head's size, below the skin is looked for a shell: in MR fat that is bright, then dark bone,
    then bright brain; in CT bone that is brighter than what lies on both sides of it. Skull-stripped brains have none.
    Heads whose face alone was removed have it too, and so may limbs whose files do not say what they are.

    Args:
        volume: [i, j, k] to the right, front and top of the patient (canonical RAS axes); CT in Hounsfield units.
        spacing: mm along i, j and k.
        body_part: the tag BodyPartExamined, "" where unknown; where it names another part than the head, no face is
            looked for.
    """
    part = body_part.upper()
    if part and not any(name in part for name in HEAD_PARTS):
        return False
    extent = [n * mm for n, mm in zip(volume.shape, spacing, strict=True)]
    if volume.ndim != 3 or min(extent) < COVERAGE:
        return False
    steps = [max(1, round(_STEP / mm)) for mm in spacing[:2]]
    chosen = np.linspace(0, volume.shape[2] - 1, min(_SLICES, volume.shape[2])).round().astype(int)
    slices = np.asarray(volume[::steps[0], ::steps[1], chosen], np.float32)
    low = float(np.percentile(slices, 1))
    shell = _bright_shell if low < _HOUNSFIELD_AIR else _dark_shell
    slices = slices - low
    top = float(np.percentile(slices, 99))
    if top <= 0:
        return False
    mm = (spacing[0] * steps[0], spacing[1] * steps[1])
    found = sum(_is_head(slices[..., k], mm, 0.1 * top, shell) for k in range(len(chosen)))
    return bool(found / len(chosen) * extent[2] >= COVERAGE / 2)


def _is_head(plane: Floats, mm: tuple[float, float], air: float, shell: Shell) -> bool:
    """Whether an axial slice [i, j] has the size of a head, and skin and skull around at least half of it."""
    labels, count = ndimage.label(ndimage.uniform_filter(plane, 3) > air)
    if not count:
        return False
    body = ndimage.binary_fill_holes(labels == np.bincount(labels.ravel())[1:].argmax() + 1)
    i, j = np.nonzero(body)
    wide, long = float(np.ptp(i)) * mm[0], float(np.ptp(j)) * mm[1]
    if not (_WIDE[0] <= wide <= _WIDE[1] and _LONG[0] <= long <= _LONG[1]):
        return False
    depth = ndimage.distance_transform_edt(body, mm)[i, j]
    angle = np.arctan2((j - j.mean()) * mm[1], (i - i.mean()) * mm[0])
    sector = np.minimum(((angle + np.pi) / (2 * np.pi) * _SECTORS).astype(int), _SECTORS - 1)
    bins = _SHELL // 2
    inside = depth < _SHELL
    place = sector[inside] * bins + (depth[inside] / 2).astype(int)
    counts = np.bincount(place, minlength=_SECTORS * bins).reshape(_SECTORS, bins)
    sums = np.bincount(place, plane[i, j][inside], minlength=_SECTORS * bins).reshape(_SECTORS, bins)
    profiles = sums / np.maximum(counts, 1)
    return sum(map(shell, profiles)) >= _SECTORS // 2


def _dark_shell(profile: NDArray[np.float64]) -> bool:
    """MR: bright, dark, bright, from the skin inwards; `profile` has a value each 2 mm."""
    valley = int(profile[2:11].argmin()) + 2
    outer, inner = profile[:valley].max(), float(np.median(profile[valley + 2:]))
    return bool(profile[valley] < 0.6 * min(outer, inner))


def _bright_shell(profile: NDArray[np.float64]) -> bool:
    """CT: bone between skin and brain."""
    ridge = int(profile[1:9].argmax()) + 1
    return bool(profile[ridge] > 1.3 * max(profile[:ridge].min(), np.median(profile[ridge + 2:])))
