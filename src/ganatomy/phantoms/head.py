"""A virtual head: the tissues of brain, skull and scalp at each point, for slices at the level of the ventricles.

Brain: the tissue maps of the ICBM152 atlas (`subject.atlas`), sharpened. An average of 152 people is blurred by what
differs between them, but the sulci they share are there, and unsharp masking brings them out. Individuals come of
smooth random displacements, along z too, so that another level of the atlas shows from place to place.

Skull and scalp: layers around the inner table, the smoothed outline of the atlas brain. Displacements of the brain
slide along the inner table and never cross it, so that a head stays smooth however far its folds are moved.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ganatomy.phantoms.subject import (
    CENTRE,
    Lesion,
    SmoothField,
    TissueValues,
    atlas,
    bounded_normal,
    brain_mask,
    deep_grey,
    draw_lesions,
    draw_values,
    lesion_fraction,
    sample,
    soft_step,
    to_atlas,
)

Array = NDArray[np.float32]

TISSUES = ("cortex", "nuclei", "white matter", "fluid", "lesion", "bone", "marrow", "muscle", "fat", "skin", "air")
LESION = TISSUES.index("lesion")
_COARSE = 2  # mm a voxel of the map of distances
# knot distance in mm, and the standard deviation in mm along z and in the plane
_SCALES = ((48.0, 3.5, 2.2), (24.0, 3.0, 1.5), (13.0, 1.5, 0.8))

# Bone, marrow, muscle, fat, skin, as TYPICAL in `subject`. Bone's signal is gone within a millisecond: next to nothing
# is left of its density. Muscle: Stanisz et al. 2005. Fat: T1 of Gold et al., AJR 183:343, 2004, and the T2 that a
# train of echoes shows, longer than a single echo's. Marrow and skin lie between their neighbours.
COVERS = TissueValues(
    density=np.array([0.03, 0.40, 0.75, 0.45, 0.70]),
    t1=np.array([800.0, 550.0, 1410.0, 380.0, 1000.0]),
    t2=np.array([50.0, 75.0, 40.0, 180.0, 45.0]))


class Maps(NamedTuple):
    """White matter and fluid [z, y, x] at 1 mm, sharpened; the depth below the inner table in mm and its slope."""

    white: Array
    fluid: Array
    depth: Array
    slope: tuple[Array, Array, Array]


def with_covers(values: TissueValues, rng: np.random.Generator) -> TissueValues:
    """The values of one subject's brain, and those drawn for what covers it."""
    return TissueValues(*(np.concatenate(pair) for pair in zip(values, draw_values(rng, COVERS), strict=True)))


@lru_cache(maxsize=1)
def maps() -> Maps:
    """Sharpen the atlas, and measure the way to its smoothed outline."""
    source = atlas()

    def sharp(volume: Array) -> Array:
        return np.asarray(volume + 2.5 * (volume - ndimage.gaussian_filter(volume, 2.5)), np.float32)

    inside = source.mask[::_COARSE, ::_COARSE, ::_COARSE] > 0.5
    depth = _COARSE * (ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside))
    depth = ndimage.gaussian_filter(depth, 2.5).astype(np.float32)
    z, y, x = (np.asarray(part, np.float32) for part in np.gradient(depth, _COARSE))
    return Maps(sharp(source.white), sharp(1 - source.grey - source.white), depth, (z, y, x))


@dataclass(frozen=True)
class Head:
    """The random numbers that make one head; lengths in mm."""

    level: float  # z of the middle slice in the atlas
    linear: Array  # 2x2, in-plane rotation and scaling from head to atlas
    tilt: Array  # change of atlas z along y and x
    bend: Array  # sideways displacement of the front and of the back at 90 mm from the middle
    shape: tuple[SmoothField, SmoothField]  # displacement of the whole head along y and x
    warps: tuple[tuple[SmoothField, ...], ...]  # per scale: along z, y, x
    swelling: Array  # of the ventricles: mean, right minus left, front minus back; 0 is the atlas
    gap: float  # fluid between brain and inner table
    folds: SmoothField
    openness: SmoothField
    sulci: float  # fluid fraction from which a sulcus is open
    cortex: float  # white fraction from which white matter begins
    layers: SmoothField  # varies skull and scalp from place to place
    skull: float
    fat: float
    muscle: float
    sinus: float  # z in the atlas up to which the frontal sinus reaches
    lesion_edge: SmoothField
    lesions: tuple[Lesion, ...] = ()


def draw_head(rng: np.random.Generator, lesion_rng: np.random.Generator | None = None) -> Head:
    """Draw a head; with `lesion_rng` it has white-matter lesions, and is otherwise the same."""
    normal = bounded_normal(rng)
    angle, common, slim = normal(4.0), normal(0.015), normal(0.02)
    linear = to_atlas(angle, 0.97 + common + slim, 0.96 + common - slim + normal(0.015))
    atrophy = normal(1.0)
    head = Head(
        level=17.0 + normal(6.0),
        linear=linear,
        tilt=np.array([normal(0.08), normal(0.03)], np.float32),
        bend=np.array([normal(2.0), normal(3.0)], np.float32),
        shape=(SmoothField.draw(rng, 60.0), SmoothField.draw(rng, 60.0)),
        warps=tuple(tuple(SmoothField.draw(rng, step) for _ in range(3)) for step, *_ in _SCALES),
        swelling=np.array([0.12 + 0.14 * atrophy + normal(0.09), normal(0.08), normal(0.08)], np.float32),
        gap=1.9 + 0.8 * atrophy + abs(normal(0.4)),
        folds=SmoothField.draw(rng, 5.0, band=True),
        openness=SmoothField.draw(rng, 12.0),
        sulci=0.48 - 0.07 * atrophy + normal(0.03),
        cortex=0.50 + normal(0.03),
        layers=SmoothField.draw(rng, 35.0),
        skull=6.5 + normal(1.0),
        fat=3.6 + normal(0.9),
        muscle=5.5 + normal(1.5),
        sinus=2.0 + normal(8.0),
        lesion_edge=SmoothField.draw(rng, 4.0),
    )
    if lesion_rng is None:
        return head
    return replace(head, lesions=draw_lesions(lambda z, y, x: _positions(head, z, y, x)[1], lesion_rng))


def _positions(head: Head, z: float, y: Array, x: Array) -> tuple[Array, Array, Array]:
    """Where a head's plane lies in the atlas, [3 (z, y, x), len(y), len(x)] in mm: as skull, and as brain; and the
    depth below the inner table [len(y), len(x)] in mm."""
    yy, xx = np.meshgrid(y, x, indexing="ij")
    along, across = np.tensordot(head.linear, np.stack([yy, xx]), 1)
    across = across + np.where(along > 0, head.bend[0], head.bend[1]) * (along / 90) ** 2
    height = head.level + z + head.tilt[0] * yy + head.tilt[1] * xx
    skull = np.stack([height, along + CENTRE[1], across + CENTRE[0]]).astype(np.float32)
    for axis, field in enumerate(head.shape, 1):
        skull[axis] += np.float32(1.8) * field.at(z, y, x)
    depth = sample(maps().depth, skull, _COARSE)
    brain = skull.copy()
    # the two halves of a brain differ more in their folds than in the ventricles and nuclei
    freedom = (1 - 0.6 * np.exp(-0.5 * (yy**2 + xx**2) / 35.0**2)).astype(np.float32)
    for (_, up, sideways), fields in zip(_SCALES, head.warps, strict=True):
        for axis, (field, size) in enumerate(zip(fields, (up, sideways, sideways), strict=True)):
            brain[axis] += size * freedom * field.at(z, y, x)
    # keep the way to the inner table: along its slope, near it
    slope = np.stack([sample(part, brain, _COARSE) for part in maps().slope])
    miss = depth - np.float32(head.gap) - sample(maps().depth, brain, _COARSE)
    brain += slope * (miss * soft_step(22 - depth, 3.0))
    return skull, _swell(brain, head.swelling), depth


def _swell(position: Array, amounts: Array) -> Array:
    """Magnify the middle of the brain, where the ventricles are, and leave its surface where it is."""
    middle = np.array([15.0, -14.0, 0.0], np.float32)[:, None, None]
    reach = np.array([22.0, 30.0, 15.0], np.float32)[:, None, None]
    offset = position - middle
    amount = amounts[0] + amounts[1] * np.tanh(offset[2] / 6) + amounts[2] * np.tanh(offset[1] / 20)
    offset[1:] *= 1 - np.clip(amount, -0.3, 0.6) * np.exp(-0.5 * np.sum((offset / reach) ** 2, 0))
    return np.asarray(middle + offset, np.float32)


def head_tissues(head: Head, z: float, y: Array, x: Array) -> tuple[Array, Array]:
    """The fractions of `TISSUES` on one plane of a head, [11, len(y), len(x)], and the brain's mask [len(y), len(x)].

    Args:
        z, y, x: mm from the middle of the head, y towards the front, x towards the right, evenly spaced.
    """
    pixel, plane = float(abs(x[1] - x[0])), (z, y, x)
    skull, position, depth = _positions(head, z, y, x)
    inside = soft_step(depth, 0.25)
    brain = _brain(head, position, depth, pixel, plane) * inside
    cortex, nuclei, white = brain
    lesion = lesion_fraction(head.lesions, head.lesion_edge, position, plane, white)
    fluid = np.clip(inside - brain.sum(0), 0, 1)
    covers = _covers(head, skull, -depth, head.layers.at(z, y, x))
    fractions = np.stack([cortex, nuclei, white - lesion, fluid, lesion, *covers])
    air = np.clip(1 - fractions.sum(0, keepdims=True), 0, 1)
    return np.concatenate([fractions, air]), brain_mask(brain.sum(0), inside, pixel) * (depth > pixel / 2)


def _brain(head: Head, position: Array, depth: Array, pixel: float, plane: tuple[float, Array, Array]) -> Array:
    """Fractions of cortex, nuclei and white matter, [3, y, x]."""
    white, fluid = (sample(volume, position) for volume in (maps().white, maps().fluid))
    core, folds = deep_grey(position), head.folds.at(*plane)
    outer = 1 - core
    unsure = np.exp(-(((white - 0.5) / 0.35) ** 2))
    soft = 0.06 + 0.14 * core  # nuclei fade into white matter
    white = soft_step(white - head.cortex + 0.16 * folds * unsure * outer, soft)
    open_from = head.sulci + 0.05 * head.openness.at(*plane) * outer + 0.1 * core
    fluid = soft_step(fluid - open_from, 0.05)
    # grey matter more than a cortex away from white matter: the two banks of a sulcus that the average has filled in
    away = ndimage.distance_transform_edt(white < 0.5, sampling=pixel).astype(np.float32)
    beyond = ndimage.gaussian_filter(away, 0.6 / pixel) - 3.8
    gyrus = soft_step(beyond - 2.0 + 3 * (open_from - 0.45), 0.3)
    cleft = soft_step(beyond, 0.3) * (1 - gyrus)
    fluid = np.maximum(fluid, cleft * outer)
    white = np.maximum(white, soft_step(np.minimum(beyond - 4.5, depth - 7), 0.4) * outer)
    white = white * (1 - fluid)
    grey = np.clip(1 - white - fluid, 0, 1)
    return np.stack([grey * outer, grey * core, white]).astype(np.float32)


def _covers(head: Head, skull: Array, out: Array, variation: Array) -> list[Array]:
    """Fractions of bone, marrow, muscle, fat and skin; `out` is the way from the inner table in mm, [y, x]."""
    z, y, x = skull
    middle = np.exp(-((x / 28) ** 2))
    sinus = middle * soft_step(y - 45, 2.0) * soft_step(head.sinus - z, 2.0)
    ends = middle * soft_step(np.abs(y - CENTRE[1]) - 60, 4.0)  # the frontal crest and the occipital protuberance
    sides = soft_step(np.abs(x) - 50, 4.0)  # the temporal bone is thin under its muscle
    bone = np.maximum(head.skull + variation + 1.5 * ends + 2.5 * sinus - 1.5 * sides, 3.5)
    muscle = head.muscle * np.exp(-(((y - 12) / 30) ** 2)) * soft_step(np.abs(x) - 45, 3.0) * soft_step(38 - z, 8.0)
    fat = np.maximum(head.fat - 0.7 * variation + 1.5 * soft_step(-y - 75, 5.0), 1.5)
    zero = np.zeros_like(bone)
    edges = np.cumsum([zero, 0.26 * bone, 0.48 * bone, 0.26 * bone, muscle, fat, zero + 1.8], 0)
    reached = [soft_step(out - edge, 0.25) for edge in edges]
    inner, marrow, outer, muscle, fat, skin = (a - b for a, b in pairwise(reached))
    return [inner + outer + marrow * sinus, marrow * (1 - sinus), muscle, fat, skin]
