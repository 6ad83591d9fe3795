"""The phantom cohort: virtual patients with known anatomy, to try things out and to test with ground truth.

`subject_images` makes one subject in memory, `phantom` writes a cohort as a folder that `prepare` reads.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ganatomy import __version__
from ganatomy.core.errors import UserError, whole
from ganatomy.core.files import staged_folder, write_json
from ganatomy.core.origin import nothing_to_do
from ganatomy.core.reading import read_json
from ganatomy.core.text import counted, listed, printable, typed
from ganatomy.data.images import averaged
from ganatomy.phantoms.head import LESION, TISSUES, draw_head, head_tissues, with_covers
from ganatomy.phantoms.subject import (
    FIELD_OF_VIEW,
    TYPICAL,
    SmoothField,
    draw_subject,
    draw_values,
    inversion_gradient_echo,
    rician,
    spin_echo,
    tissues,
)

Array = NDArray[np.float32]
Say = Callable[[str], None]
CsvRow = dict[str, str | int]
Plane = Callable[[float, Array, Array], tuple[Array, Array]]

SLICE_SPACING = 3.0  # mm
MAX_SLICES = 20
_RANGES = {"subjects": (1, 9999), "size": (16, 512), "seed": (0, 2**31 - 1), "slices": (1, MAX_SLICES),
           "sessions": (1, 99)}
MASK_DOMAIN, TISSUE_DOMAIN = "lesion-mask", "tissue-mask"
Anatomy = Literal["head", "brain", "first"]
# mm a side: so that heads, and brains alone, fill the frame and are never cut
FIELDS_OF_VIEW: dict[Anatomy, float] = {"head": 226.0, "brain": 196.0, "first": FIELD_OF_VIEW}
LABELS = {name: number for number, name in enumerate(TISSUES[:-1], 1)}  # of the tissue mask; 0 is air
MARKER = "phantom.json"
# typical stored values: 600 for white matter in T1, 1000 for fluid in T2
_T1_UNIT = 600.0 / float(inversion_gradient_echo(TYPICAL)[2])
_T2_UNIT = 1000.0 / float(spin_echo(TYPICAL)[3])
_WINDOWS = {"T1": 800.0, "T2": 1200.0}  # stored units shown as white in an 8-bit PNG
_FINE = 192  # smaller images are averaged from ones twice as fine, so that thin sulci do not alias


class SubjectImages(NamedTuple):
    """One session of a subject; row 0 is the front of the head, column 0 the patient's left, slice 0 the lowest.

    Attributes:
        t1, t2: float32 [slices, size, size], at least 0, arbitrary units; exactly 0 outside a brain without its head.
        lesions: uint8 [slices, size, size], 1 where at least half of the pixel is lesion.
        brain: uint8 [slices, size, size], 1 inside the brain.
        tissues: float32 [slices, 11, size, size], fractions of `TISSUES`, which add up to 1; of the first edition
            cortex, nuclei, white matter, fluid and lesion alone, all fluid outside the brain.
        labels: uint8 [slices, size, size], the commonest tissue by the numbers of `LABELS`, 0 in air and in whatever
            the images leave out.
    """

    t1: Array
    t2: Array
    lesions: NDArray[np.uint8]
    brain: NDArray[np.uint8]
    tissues: Array
    labels: NDArray[np.uint8]


def subject_images(index: int, seed: int, size: int, slices: int = 1, session: int = 0, lesion: bool = False,
                   anatomy: Anatomy = "head") -> SubjectImages:
    """Make subject `index` of the cohort of `seed`.

    Anatomy and tissue values depend on (seed, index) alone: the same at every size, and with lesions as without.
    A session has its own noise, coil shading, gain and a position that is off by up to a millimetre.

    Args:
        index: from 0.
        seed: from 0.
        size: pixels a side; the field of view is `FIELDS_OF_VIEW[anatomy]` mm.
        slices: axial slices, `SLICE_SPACING` mm apart, around the subject's level at the ventricles.
        session: from 0.
        lesion: give the subject white-matter lesions.
        anatomy: head, with skull and scalp; brain, the same skull-stripped; first, a brain of the first edition.
    """
    plane = _planes(anatomy, _stream(seed, index, 0), _stream(seed, index, 1) if lesion else None)
    rng = _stream(seed, index, 3 + session)
    shift = np.clip(rng.standard_normal(3), -2, 2) * (0.3, 0.4, 0.4)
    heights = (np.arange(slices) - (slices - 1) / 2) * SLICE_SPACING + shift[0]
    factor, field = 2 if size < _FINE else 1, FIELDS_OF_VIEW[anatomy]
    axis = _axis(size * factor, field)
    planes = [plane(float(z), axis[::-1] + np.float32(shift[1]), axis + np.float32(shift[2])) for z in heights]
    fractions = np.stack([averaged(tissue, factor) for tissue, _ in planes])
    brain = np.stack([averaged(mask, factor) > 0.5 for _, mask in planes])
    shown = np.ones_like(brain) if anatomy == "head" else brain
    t1, t2 = _acquire(fractions, heights, _axis(size, field), _stream(seed, index, 2), rng)
    lesions = brain & (fractions[:, LESION] >= 0.5)
    labels = (fractions.argmax(1) + 1) % len(TISSUES) * shown
    return SubjectImages(t1 * shown, t2 * shown, lesions.astype(np.uint8), brain.astype(np.uint8), fractions,
                         labels.astype(np.uint8))


def _planes(anatomy: Anatomy, rng: np.random.Generator, lesion_rng: np.random.Generator | None) -> Plane:
    """A function of z, y and x that makes one plane's tissue fractions [n, y, x] and its mask of the brain [y, x]."""
    if anatomy == "first":
        subject = draw_subject(rng, lesion_rng)

        def first(z: float, y: Array, x: Array) -> tuple[Array, Array]:
            *fractions, brain = tissues(subject, z, y, x)
            return np.stack(fractions), brain
        return first
    return partial(head_tissues, draw_head(rng, lesion_rng))


def _stream(seed: int, index: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng((seed, index, purpose))


def _axis(size: int, field_of_view: float) -> Array:
    """Pixel centres in mm from the middle of the image."""
    return (np.arange(size, dtype=np.float32) - (size - 1) / 2) * np.float32(field_of_view / size)


def _acquire(fractions: Array, heights: NDArray[np.float64], axis: Array, subject_rng: np.random.Generator,
             rng: np.random.Generator) -> tuple[Array, Array]:
    """T1- and T2-weighted images [slices, size, size] of tissue fractions, before skull-stripping."""
    values, texture = draw_values(subject_rng), SmoothField.draw(subject_rng, 9.0)
    inversion = 900.0
    if fractions.shape[1] == len(TISSUES):
        values = with_covers(values, subject_rng)
        inversion += 60 * float(np.clip(subject_rng.standard_normal(), -2, 2))
    images = []
    for weights, unit, noise, grain in ((inversion_gradient_echo(values, ti=inversion), _T1_UNIT, 11.0, 0.03),
                                        (spin_echo(values), _T2_UNIT, 7.0, -0.03)):
        shading = SmoothField.draw(rng, 60.0)
        signal = np.tensordot(weights * unit, fractions[:, :len(weights)], (0, 1)).astype(np.float32)
        for plane, z in zip(signal, heights, strict=True):
            plane *= 1 + np.float32(grain) * texture.at(float(z), axis[::-1], axis)
            ndimage.gaussian_filter(plane, 0.5 / (axis[1] - axis[0]), output=plane)
            plane *= 1 + np.float32(0.04) * shading.at(float(z), axis[::-1], axis)
        gain, grade = np.exp(np.array([0.06, 0.2]) * np.clip(rng.standard_normal(2), -2, 2))
        images.append(np.float32(gain) * rician(rng, signal, noise * grade))
    return images[0], images[1]


def has_lesions(index: int, seed: int, share: float) -> bool:
    """Whether subject `index` belongs to the share with lesions.

    The golden-ratio sequence from a random start spreads members evenly: of the first n subjects, n x share have
    lesions to within two or so. A larger share keeps the members of a smaller one.
    """
    start = np.random.default_rng((seed, 2**32)).random()
    return bool((start + index * (math.sqrt(5) - 1) / 2) % 1.0 < share)


def phantom(out: str | Path, *, subjects: int = 200, size: int = 128,
            format: Literal["nifti", "png"] = "nifti", seed: int = 0, slices: int = 1, sessions: int = 1,
            lesions: float = 0.0, anatomy: Anatomy = "head", tissues: bool = False, overwrite: bool = False,
            say: Say = lambda _: None) -> Path:
    """Write a cohort of virtual patients as a source folder for `prepare`.

    `out/files.csv` lists path, subject, domain and label of every file (session too where there are several, and
    slice where a slice is a file), `out/phantom.json` the options. Domains are T1, T2 and, with `lesions`,
    lesion-mask, for every subject; labels are then healthy and lesion, else empty. `tissues` adds tissue-mask.

    nifti: `out/sub-0001/sub-0001_T1.nii.gz`, a volume of `slices` axial slices, int16 (masks uint8, 0 and 1), in
    RAS order, in mm. png: `out/sub-0001/sub-0001_T1_z000.png`, 8-bit grey with a fixed window (masks 0 and 255).
    With several sessions names hold `_ses-01`.

    Args:
        out: the folder to make; must not exist, or be empty, or hold this very cohort, unless `overwrite`.
        subjects: how many; subject i of a seed is the same whatever their number.
        size: pixels a side, 16 to 512.
        seed: from 0.
        slices: per subject, 3 mm apart, 1 to 20.
        sessions: visits a subject, with the same anatomy, 1 to 99.
        lesions: share of the subjects with white-matter lesions, 0 to 1.
        anatomy: head, with skull and scalp; brain, the same skull-stripped; first, the brains of the first edition.
        tissues: also write label maps, whose numbers phantom.json lists.
        overwrite: replace a cohort of this function to which nothing was added.

    Returns:
        The path of the folder.

    Raises:
        UserError: an argument out of range, `out` taken, or a disk that cannot be written.

    Example:
        >>> ganatomy.phantom("scans", subjects=24, size=32, lesions=0.4).name
        'scans'
    """
    options = _checked({"subjects": subjects, "size": size, "format": format, "seed": seed, "slices": slices,
                        "sessions": sessions, "lesions": lesions, "anatomy": anatomy, "tissues": tissues})
    out, about = Path(out), {"ganatomy": __version__, **options, "labels": LABELS if tissues else {}}
    if not overwrite and _is_whole(out, about):
        nothing_to_do(out, say)
        return out
    write = _write_nifti if format == "nifti" else _write_png
    with staged_folder(out, overwrite, is_phantom) as stage:
        rows: list[CsvRow] = []
        for index in range(subjects):
            sick, name = has_lesions(index, seed, lesions), f"sub-{index + 1:04d}"
            label = ("lesion" if sick else "healthy") if lesions else ""
            for session in range(sessions):
                visit = f"ses-{session + 1:02d}"
                stem = f"{name}/{name}_{visit}" if sessions > 1 else f"{name}/{name}"
                images = subject_images(index, seed, size, slices, session, sick, anatomy)
                domains: dict[str, NDArray[Any]] = {"T1": images.t1, "T2": images.t2}
                domains |= {MASK_DOMAIN: images.lesions} if lesions else {}
                domains |= {TISSUE_DOMAIN: images.labels} if tissues else {}
                rows += [{"subject": name, "label": label, "session": visit, **row}
                         for row in write(stage, stem, domains, FIELDS_OF_VIEW[anatomy])]
            if (index + 1) % 50 == 0 or index + 1 == subjects:
                say(f"phantom: {index + 1} of {counted(subjects, 'subject')}")
        _write_csv(stage / "files.csv", rows, sessions > 1, format == "png" and slices > 1)
        write_json(stage / MARKER, about)
    say(f"wrote {printable(str(out))}; next: ganatomy prepare {typed(out)} DATASET")
    return out


def is_phantom(folder: Path) -> bool:
    """Whether `phantom` wrote a folder, and nothing has been added to it since."""
    files, written = _files(folder)
    return MARKER in files and files <= written


def _is_whole(folder: Path, about: Mapping[str, Any]) -> bool:
    """Whether a folder is the cohort of these options, and nothing is missing."""
    files, written = _files(folder)
    return MARKER in files and files == written and read_json(folder / MARKER, dict[str, Any]) == about


def _files(folder: Path) -> tuple[set[str], set[str]]:
    """The files in a folder, and those that a cohort there has; neither where there is no table of them."""
    try:
        with (folder / "files.csv").open(newline="", encoding="utf-8") as handle:
            written = {row["path"] for row in csv.DictReader(handle)}
    except (OSError, ValueError, KeyError, csv.Error):
        return set(), set()
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")
            if path.is_symlink() or not path.is_dir()}, written | {MARKER, "files.csv"}


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    if options["format"] not in ("nifti", "png"):
        raise UserError(f"the phantom has no format {options['format']!r}", where="format", fix="use nifti or png")
    if options["anatomy"] not in FIELDS_OF_VIEW:
        raise UserError(f"the phantom has no anatomy {options['anatomy']!r}", where="anatomy",
                        fix=f"use {listed(FIELDS_OF_VIEW, 'or')}")
    if not (isinstance(options["lesions"], Real) and 0 <= float(options["lesions"]) <= 1):
        raise UserError(f"{options['lesions']!r} is not a share", where="lesions", fix="use a number from 0 to 1")
    return {**options, "lesions": float(options["lesions"]),
            **{name: whole(options[name], name, low, high) for name, (low, high) in _RANGES.items()}}


def _write_nifti(folder: Path, stem: str, domains: Mapping[str, NDArray[Any]], field: float) -> Iterator[CsvRow]:
    import nibabel

    for domain, volume in domains.items():
        slices, size, _ = volume.shape
        pixel = field / size
        affine = np.diag([pixel, pixel, SLICE_SPACING, 1.0])
        affine[:3, 3] = -pixel * (size - 1) / 2, -pixel * (size - 1) / 2, -SLICE_SPACING * (slices - 1) / 2
        path = folder / f"{stem}_{domain}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        dtype = np.int16 if domain in _WINDOWS else np.uint8
        stored = np.rint(volume).astype(dtype)[:, ::-1].transpose(2, 1, 0)
        image = nibabel.Nifti1Image(np.ascontiguousarray(stored), affine)
        image.header.set_xyzt_units("mm")
        nibabel.save(image, path)
        yield {"path": path.relative_to(folder).as_posix(), "domain": domain}


def _write_png(folder: Path, stem: str, domains: Mapping[str, NDArray[Any]], _: float) -> Iterator[CsvRow]:
    from PIL import Image

    for domain, volume in domains.items():
        white = _WINDOWS.get(domain, 255.0 if domain == TISSUE_DOMAIN else 1.0)
        for number, plane in enumerate(volume):
            path = folder / f"{stem}_{domain}_z{number:03d}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.rint(255 * np.clip(plane / white, 0, 1)).astype(np.uint8)).save(path)
            yield {"path": path.relative_to(folder).as_posix(), "domain": domain, "slice": number}


def _write_csv(path: Path, rows: list[CsvRow], with_sessions: bool, with_slices: bool) -> None:
    columns = ["path", "subject", "domain", "label"] + ["session"] * with_sessions + ["slice"] * with_slices
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
