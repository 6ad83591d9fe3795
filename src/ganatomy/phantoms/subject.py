"""A virtual subject: how much grey matter, white matter, fluid and lesion is at each point, and what a 3 T scanner
would measure of it (tissue properties, sequences and noise).

Everything is a function of position in millimetres, so a subject looks the same at every image size.

The average brain is the ICBM152 2009a symmetric atlas (Fonov et al., NeuroImage 54:313, 2011) inside nilearn.

Tissue values, in the middle of what is published for 3 T:
    T1: Wansapura et al., J Magn Reson Imaging 9:531, 1999 (grey matter 1331, white matter 832 ms); Wright et al.,
        MAGMA 21:121, 2008 (cortex 1607, putamen 1332, white matter 838 ms; here for nuclei against cortex).
    T2: Wansapura (grey matter 110, white matter 80 ms); Stanisz et al., Magn Reson Med 54:507, 2005 (99, 69 ms);
        Gelman et al., Radiology 210:759, 1999 (prefrontal cortex 69, white matter 56, globus pallidus 39 ms).
    Proton density relative to fluid: Whittall et al., Magn Reson Med 37:34, 1997.
Fluid is taken as nearly free water. Lesions are given the contrast to white matter that multiple-sclerosis plaques
have in the scans of docs/phantom.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]
Values = NDArray[np.float64]

FIELD_OF_VIEW = 214.0  # mm; the atlas brain is 178 mm long, which is 83 % of it
CENTRE = np.array([0.0, -17.0])  # x, y of the middle of the atlas brain, mm
_ATLAS_BOTTOM, _ATLAS_TOP = -45, 80  # mm; slices beyond are never reached
_COARSE = 2  # voxels of the atlas per voxel of the distance map


class Atlas(NamedTuple):
    """Tissue maps [z, y, x] at 1 mm, the way to the ventricles in mm, and voxel 0's position (z, y, x) in mm."""

    grey: Array
    white: Array
    mask: Array
    ventricle_distance: Array
    origin: Array


@lru_cache(maxsize=1)
def atlas() -> Atlas:
    """Load the atlas from nilearn's own files; nothing is downloaded."""
    from nilearn import datasets

    images = [datasets.load_mni152_gm_template(resolution=1), datasets.load_mni152_wm_template(resolution=1),
              datasets.load_mni152_brain_mask(resolution=1)]
    x, y, z = images[0].affine[:3, 3]
    part = slice(int(_ATLAS_BOTTOM - z), int(_ATLAS_TOP - z))
    grey, white, mask = (np.asarray(image.dataobj)[:, :, part].T.astype(np.float32, order="C") for image in images)
    origin = np.array([_ATLAS_BOTTOM, y, x], np.float32)
    return Atlas(grey, white, mask, _ventricle_distance(grey, white, mask, origin), origin)


def _ventricle_distance(grey: Array, white: Array, mask: Array, origin: Array) -> Array:
    step = (slice(None, None, _COARSE),) * 3
    fluid = (mask - grey - white)[step] > 0.5
    z, y, x = np.meshgrid(*(start + _COARSE * np.arange(n) for start, n in zip(origin, fluid.shape, strict=True)),
                          indexing="ij", sparse=True)
    fluid &= (np.abs(x) < 40) & (y > -55) & (y < 38) & (z > -15) & (z < 34)
    return np.asarray(ndimage.distance_transform_edt(~fluid, sampling=_COARSE), np.float32)


@dataclass(frozen=True)
class SmoothField:
    """A random smooth function of z, y, x: cubic B-splines with normal weights, of about unit variance.

    `step`, the mm between knots, sets the scale of its features.
    """

    weights: Array
    step: float

    @classmethod
    def draw(cls, rng: np.random.Generator, step: float, *, band: bool = False) -> SmoothField:
        """Draw a field that covers the field of view; `band` removes what is much wider than `step`."""
        across, up = (2 * int(np.ceil(half / step)) + 5 for half in (FIELD_OF_VIEW / 2, 48.0))
        weights = rng.standard_normal((up, across, across)).astype(np.float32)
        if band:
            weights -= ndimage.gaussian_filter(weights, 1.2)
        return cls(weights, step)

    def at(self, z: float, y: Array, x: Array) -> Array:
        """Values [len(y), len(x)] on the plane z; coordinates in mm from the middle of the head."""
        along_z, along_y, along_x = (
            _spline_matrix(np.atleast_1d(np.asarray(c, np.float32)), self.step, n)
            for c, n in zip((z, y, x), self.weights.shape, strict=True))
        plane = np.tensordot(along_z[0], self.weights, 1)
        return np.asarray(along_y @ plane @ along_x.T * np.float32(3.0), np.float32)


def _spline_matrix(position: Array, step: float, knots: int) -> Array:
    distance = np.abs(position[:, None] / step - (np.arange(knots, dtype=np.float32) - (knots - 1) / 2))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


class Tissues(NamedTuple):
    """Fractions in 0..1, each [y, x], five tissues that add up to 1; `brain` is 1 in the stripped brain, else 0.

    Outside the brain all is fluid. `nuclei` is the deep grey matter, which iron makes darker than cortex in T2.
    """

    cortex: Array
    nuclei: Array
    white: Array
    fluid: Array
    lesion: Array
    brain: Array


class Lesion(NamedTuple):
    """One ellipsoid in atlas space: centre (z, y, x) in mm and the radii along z, y, x in mm."""

    centre: Array
    radii: Array


@dataclass(frozen=True)
class Subject:
    """The random numbers that make one anatomy; see `draw_subject`."""

    level: float  # z of the middle slice in the atlas, mm
    linear: Array  # 2x2, in-plane rotation and scaling from subject to atlas
    tilt: Array  # change of atlas z along y and x
    warps: tuple[tuple[SmoothField, ...], ...]  # per scale: along z, y, x
    swelling: float  # of the ventricles; 0 is the atlas
    folds: SmoothField
    thickness: SmoothField
    closure: SmoothField
    tightness: float  # of the sulci
    cortex: float  # mean cortical thickness, mm
    lesion_edge: SmoothField
    lesions: tuple[Lesion, ...] = ()


# knot distance in mm, and the standard deviation in mm along z and in the plane
_SCALES = ((48.0, 3.0, 1.6), (24.0, 3.0, 1.1), (13.0, 1.5, 0.8))


def bounded_normal(rng: np.random.Generator) -> Callable[[float], float]:
    """Draws of a normal number with a given standard deviation, cut at twice that."""
    return lambda sd: float(np.clip(rng.standard_normal(), -2, 2)) * sd


def to_atlas(angle: float, length: float, breadth: float) -> Array:
    """The in-plane map, 2x2, to the atlas from a head turned by `angle` degrees and so many times as large."""
    turned = np.deg2rad(angle)
    turn = np.array([[np.cos(turned), -np.sin(turned)], [np.sin(turned), np.cos(turned)]])
    return np.asarray(np.diag([1 / length, 1 / breadth]) @ turn, np.float32)


def draw_subject(rng: np.random.Generator, lesion_rng: np.random.Generator | None = None) -> Subject:
    """Draw an anatomy; with `lesion_rng` it has white-matter lesions, and is otherwise the same."""
    normal = bounded_normal(rng)
    angle, common = normal(2.5), normal(0.03)
    linear = to_atlas(angle, 1 + common + normal(0.025), 1 + common + normal(0.02))
    atrophy = normal(1.0)
    subject = Subject(
        level=18.0 + normal(4.0),
        linear=linear,
        tilt=np.array([normal(0.06), normal(0.02)], np.float32),
        warps=tuple(tuple(SmoothField.draw(rng, step) for _ in range(3)) for step, *_ in _SCALES),
        swelling=0.10 + 0.12 * atrophy + normal(0.08),
        folds=SmoothField.draw(rng, 5.0, band=True),
        thickness=SmoothField.draw(rng, 11.0),
        closure=SmoothField.draw(rng, 7.0),
        tightness=0.4 - 0.5 * atrophy,
        cortex=3.0 - 0.2 * atrophy,
        lesion_edge=SmoothField.draw(rng, 4.0),
    )
    if lesion_rng is None:
        return subject
    return replace(subject, lesions=draw_lesions(lambda z, y, x: atlas_position(subject, z, y, x), lesion_rng))


def atlas_position(subject: Subject, z: float, y: Array, x: Array) -> Array:
    """Where the points of a subject's plane lie in the atlas: [3 (z, y, x), len(y), len(x)] in mm.

    Args:
        z, y, x: mm from the middle of the head, y towards the front, x towards the right.
    """
    yy, xx = np.meshgrid(y, x, indexing="ij")
    (yy_a, xx_a) = np.tensordot(subject.linear, np.stack([yy, xx]), 1)
    zz_a = subject.level + z + subject.tilt[0] * yy + subject.tilt[1] * xx
    position = np.stack([zz_a, yy_a + CENTRE[1], xx_a + CENTRE[0]]).astype(np.float32)
    # the two halves of a brain differ more in their folds than in the ventricles and nuclei
    freedom = (1 - 0.6 * np.exp(-0.5 * (yy**2 + xx**2) / 35.0**2)).astype(np.float32)
    for (_, up, across), fields in zip(_SCALES, subject.warps, strict=True):
        for axis, (field, size) in enumerate(zip(fields, (up, across, across), strict=True)):
            position[axis] += size * freedom * field.at(z, y, x)
    return _swell(position, subject.swelling)


def _swell(position: Array, amount: float) -> Array:
    """Magnify the middle of the brain, where the ventricles are, and leave its surface where it is."""
    middle = np.array([15.0, -14.0, 0.0], np.float32)[:, None, None]
    reach = np.array([22.0, 30.0, 15.0], np.float32)[:, None, None]
    offset = position - middle
    weight = amount * np.exp(-0.5 * np.sum((offset / reach) ** 2, 0))
    offset[1:] *= 1 - weight
    return np.asarray(middle + offset, np.float32)


def sample(volume: Array, position: Array, step: float = 1.0) -> Array:
    index = (position - atlas().origin[:, None, None]) / np.float32(step)
    return np.asarray(ndimage.map_coordinates(volume, index, order=1, mode="nearest"), np.float32)


def soft_step(value: NDArray[Any], width: float | Array) -> Array:
    """A soft step from 0 to 1 around 0."""
    return np.asarray(0.5 + 0.5 * np.tanh(value / (2 * width)), np.float32)


def deep_grey(position: Array) -> Array:
    """1 in the deep grey nuclei and around the ventricles, 0 in the cortex."""
    z, y, x = position
    radius = ((np.abs(x) - 14) / 20) ** 2 + ((y + 6) / 33) ** 2 + ((z - 8) / 24) ** 2
    radius = np.where(np.abs(x) < 14, radius - ((np.abs(x) - 14) / 20) ** 2, radius)
    return soft_step(1 - radius, 0.05)


def tissues(subject: Subject, z: float, y: Array, x: Array) -> Tissues:
    """The tissue fractions on one plane of a subject; coordinates as for `atlas_position`, evenly spaced.

    The atlas is an average, in which sulci are filled in. Here the white matter gets folds of its own where the
    atlas is unsure, the cortex is a ribbon of a few millimetres around it, and beyond is fluid or the next gyrus.
    """
    maps, pixel = atlas(), float(abs(x[1] - x[0]))
    position = atlas_position(subject, z, y, x)
    grey, white, mask = (sample(m, position) for m in (maps.grey, maps.white, maps.mask))
    deep, fluid = deep_grey(position), soft_step(mask - grey - white - 0.5, 0.08)
    cortex, cortical_white = _cortex(subject, white, deep, pixel, (z, y, x))
    white = (deep * white + (1 - deep) * cortical_white) * (1 - fluid)
    solid = np.clip(1 - white - fluid, 0, 1)
    nuclei, cortex = solid * deep, solid * (1 - deep) * cortex
    brain = brain_mask(cortex + nuclei + white, mask, pixel)
    lesion = lesion_fraction(subject.lesions, subject.lesion_edge, position, (z, y, x), white)
    cortex, nuclei, white, lesion = (fraction * brain for fraction in (cortex, nuclei, white - lesion, lesion))
    fluid = np.clip(1 - cortex - nuclei - white - lesion, 0, 1)
    return Tissues(cortex, nuclei, white, fluid, lesion, brain)


def _cortex(subject: Subject, white: Array, deep: Array, pixel: float,
            plane: tuple[float, Array, Array]) -> tuple[Array, Array]:
    """Fractions of grey matter (of what is not white) and of white matter in a folded cortex, each [y, x]."""
    folds = subject.folds.at(*plane)
    unsure = np.sqrt(np.clip(4 * white * (1 - white), 0, 1))
    crest = np.abs(folds)
    ridge = soft_step(white + 0.22 * folds * unsure * (1 - deep) - 0.58, 0.09)
    distance = ndimage.distance_transform_edt(ridge < 0.5, sampling=pixel).astype(np.float32)
    thickness = subject.cortex + 0.5 * subject.thickness.at(*plane)
    depth = ndimage.gaussian_filter(distance, 0.6 / pixel) - thickness
    # beyond the ribbon and a sulcus of a few millimetres lies the bank of the next gyrus, white inside if wide
    closed = soft_step(subject.closure.at(*plane) + subject.tightness, 0.3)
    next_bank = soft_step(depth - 1.9 + 0.6 * closed, 0.35) * soft_step(crest - 0.19 * (1 - closed), 0.06)
    next_white = soft_step(depth - 3.6, 0.5) * soft_step(crest - 0.7, 0.12)
    ribbon = np.maximum(np.maximum(soft_step(-depth, 0.2), next_bank), 0.88 * closed)
    return np.asarray(ribbon, np.float32), np.asarray(np.maximum(ridge, next_white), np.float32)


def brain_mask(solid: Array, mask: Array, pixel: float) -> Array:
    """What a skull-stripping tool would keep: the solid tissue and the fluid between and within it."""
    near = ndimage.gaussian_filter(solid * (mask > 0.5), 3.5 / pixel) > 0.33
    return np.asarray(ndimage.binary_fill_holes(near), np.float32)


def draw_lesions(place: Callable[[float, Array, Array], Array], rng: np.random.Generator) -> tuple[Lesion, ...]:
    """Ellipsoids in the white matter, two thirds of them at the ventricles, several in the middle slice.

    Args:
        place: where a plane lies in the atlas, as `atlas_position`.
    """
    grid = np.arange(-98, 99, 4, dtype=np.float32)
    planes = [(0.0, int(rng.integers(3, 7))), *((float(z), 3) for z in rng.uniform(-33, 33, 8))]
    lesions = []
    for z, count in planes:
        position = place(z, grid, grid)
        away = sample(atlas().ventricle_distance, position, _COARSE)
        white = sample(atlas().white, position) > 0.9
        for _ in range(count):
            near, far = (3, 8) if rng.random() < 0.67 else (8, 35)
            sites = np.argwhere(white & (away > near) & (away < far))
            if len(sites):
                row, column = sites[rng.integers(len(sites))]
                size = np.exp(rng.normal(np.log(4.0), 0.3))
                radii = size * np.array([1.0, rng.uniform(0.9, 1.6), rng.uniform(0.7, 1.1)])
                centre = position[:, row, column] + rng.uniform(-1, 1, 3)
                lesions.append(Lesion(centre.astype(np.float32), radii.astype(np.float32)))
    return tuple(lesions)


def lesion_fraction(lesions: tuple[Lesion, ...], edge: SmoothField, position: Array,
                    plane: tuple[float, Array, Array], white: Array) -> Array:
    """The fraction of lesion in white matter, [y, x]: the union of the ellipsoids with an uneven, soft edge."""
    depth = np.full(position.shape[1:], -1.0, np.float32)
    for centre, radii in lesions:
        offset = (position - centre[:, None, None]) / radii[:, None, None]
        depth = np.maximum(depth, 1 - np.sqrt(np.sum(offset**2, 0)))
    if not lesions:
        return np.zeros_like(depth)
    return soft_step(depth + 0.2 * edge.at(*plane), 0.1) * white * soft_step(white - 0.6, 0.06)


class TissueValues(NamedTuple):
    """Proton density (fluid = 1), T1 and T2 in ms, each [5]: cortex, deep nuclei, white matter, fluid, lesion."""

    density: Values
    t1: Values
    t2: Values


TYPICAL = TissueValues(
    density=np.array([0.82, 0.80, 0.70, 1.00, 0.80]),
    t1=np.array([1331.0, 1110.0, 835.0, 4300.0, 1400.0]),
    t2=np.array([81.0, 65.0, 72.0, 2000.0, 140.0]))


def draw_values(rng: np.random.Generator, typical: TissueValues = TYPICAL, spread: float = 0.03) -> TissueValues:
    """The tissue values of one subject: typical ones with a relative standard deviation of `spread`."""
    factors = 1 + spread * np.clip(rng.standard_normal(np.shape(typical)), -2, 2)
    factors[0] = 1 + (factors[0] - 1) / 2  # water content differs less between people than relaxation does
    density, t1, t2 = (v * f for v, f in zip(typical, factors, strict=True))
    return TissueValues(density, t1, t2)


def spin_echo(values: TissueValues, tr: float = 4500.0, te: float = 98.0) -> Values:
    """S = PD (1 - exp(-TR/T1)) exp(-TE/T2) for each tissue; times in ms."""
    return np.asarray(values.density * (1 - np.exp(-tr / values.t1)) * np.exp(-te / values.t2))


def inversion_gradient_echo(values: TissueValues, tr: float = 2300.0, ti: float = 900.0, spacing: float = 7.0,
                            echoes: int = 176, angle: float = 9.0) -> Values:
    """The signal of an inversion-prepared, spoiled gradient echo (MPRAGE) at the centre of k-space, with its sign.

    The steady state of: inversion; recovery for TA = TI - echoes x spacing / 2; `echoes` excitations by `angle`
    degrees, `spacing` ms apart; recovery for TD until the next inversion, TR after the first. Along the excitations,
    with E = exp(-spacing / T1), the longitudinal magnetisation goes towards m* = (1 - E) / (1 - q) by a factor
    q = E cos(angle) an echo. The magnetisation before the inversion repeats itself, which makes a linear equation
    (Deichmann et al., NeuroImage 12:112, 2000; Marques et al., NeuroImage 49:1271, 2010, appendix). The decay over
    an echo time of about 3 ms, much alike in all tissues, is left out.

    Returns:
        density x sin(angle) x magnetisation at the middle echo, one value a tissue.
    """
    flip = np.deg2rad(angle)
    ta, td = ti - spacing * echoes / 2, tr - ti - spacing * echoes / 2
    q = np.exp(-spacing / values.t1) * np.cos(flip)
    plateau = (1 - np.exp(-spacing / values.t1)) / (1 - q)
    fade_a, fade_d, fade_all = np.exp(-ta / values.t1), np.exp(-td / values.t1), q**echoes
    # start = 1 - fade_a - fade_a * before;  end = plateau + (start - plateau) * fade_all;
    # before = 1 - fade_d + fade_d * end
    fixed = 1 - fade_d + fade_d * (plateau + (1 - fade_a - plateau) * fade_all)
    before = fixed / (1 + fade_d * fade_all * fade_a)
    start = 1 - fade_a - fade_a * before
    middle = plateau + (start - plateau) * q ** (echoes / 2)
    return np.asarray(values.density * np.sin(flip) * middle)


def rician(rng: np.random.Generator, signal: Array, sd: float) -> Array:
    """The magnitude of a signal with normal noise in both channels (Gudbjartsson & Patz, MRM 34:910, 1995)."""
    real, imaginary = rng.standard_normal((2, *signal.shape), dtype=np.float32) * np.float32(sd)
    return np.asarray(np.hypot(signal + real, imaginary), np.float32)
