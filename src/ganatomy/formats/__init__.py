"""Reading image files: one file a format, chosen by what the file holds, not by how it is called.

A format is a module with SUFFIXES, `is_mine(head)`, `scan(path) -> Header` and `read(path) -> pixels`; add it to
`FORMATS` to have it read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from ganatomy.data.images import Header, Pixels, Unreadable
from ganatomy.formats import dicom, itk, nifti, npy, raster

FORMATS: tuple[ModuleType, ...] = (dicom, nifti, raster, npy, itk)
SUFFIXES = tuple(suffix for module in FORMATS for suffix in module.SUFFIXES)
CONVERT = {**dict.fromkeys((".hdr", ".img", ".mgz", ".mgh", ".mnc"), "NIfTI"),
           **dict.fromkeys((".gif", ".bmp", ".webp"), "PNG")}
"""Suffixes of formats that are not read -> what to convert them to."""
SYNTHETIC = re.compile(r"synthetic .*\(ganatomy\), not for diagnosis$")
"""SeriesDescription of a DICOM series that `ganatomy translate` wrote."""
_SYNTHETIC_TEXT = re.compile(r"synthetic .* by ganatomy, ")
LEFT_OUT = "synthetic, made by a model (add --keep-derived to take it)"
"""Why `ganatomy prepare` leaves such files out."""

__all__ = ["CONVERT", "FORMATS", "LEFT_OUT", "SUFFIXES", "SYNTHETIC", "Header", "Pixels", "Unreadable", "format_of",
           "is_synthetic", "read", "read_frames", "read_one", "scan", "stem"]


def stem(name: str) -> str:
    """A file's name without its image suffix (`a.nii.gz` -> `a`)."""
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return Path(name).stem


def scan(path: Path, contrast: int | None = None) -> Header:
    """Shape, dtype, channels and geometry without decoding pixels. Raises `Unreadable` with the reason.

    `contrast` is the number of one volume of a 4-D NIfTI file.
    """
    with _plain_reasons(path):
        header: Header = _readable(path).scan(path) if contrast is None else nifti.scan(path, contrast)
        return header


def read(path: Path, contrast: int | None = None) -> Pixels:
    """Pixels, [i, j, k] where the header has an affine, else [slices, h, w(, 3)]; `header.dtype`, all finite.

    `contrast` is the number of one volume of a 4-D NIfTI file. Raises `Unreadable` with the reason.
    """
    with _plain_reasons(path):
        pixels: Pixels = _readable(path).read(path) if contrast is None else nifti.read(path, contrast)
        return pixels


def read_one(path: Path, index: int) -> Pixels:
    """One picture [h, w(, 3)] of a stack of them in an .npy file, without reading the rest. Raises `Unreadable`."""
    with _plain_reasons(path):
        return npy.read_one(path, index)


def read_frames(frames: Sequence[tuple[str, int]]) -> Pixels:
    """Voxels [i, j, k] of a volume whose slices are single DICOM frames (path, number). Raises `Unreadable`."""
    with _plain_reasons(Path(frames[0][0])):
        return dicom.read_frames(frames)


def format_of(path: str | Path) -> ModuleType | None:
    """The module that reads a file, by its first bytes; None where it is no image. Raises OSError."""
    with open(path, "rb", buffering=0) as handle:  # noqa: PTH123 - a Path for each of 100,000 files costs as much
        head = handle.read(nifti.HEAD_BYTES)
    if head.startswith(nifti.GZIP):
        head = nifti.unpacked_head(Path(path))
    return next((module for module in FORMATS if module.is_mine(head)), None)


def is_synthetic(path: Path) -> bool:
    """Whether a NIfTI, PNG, TIFF or DICOM file says that a model made it.

    Arrays (.npy) have no place to say so. A file that cannot be read says nothing.
    """
    try:
        module = _readable(path)
        if module is dicom:
            return bool(SYNTHETIC.match(dicom.facts(path).series_description))
        return module in (nifti, raster) and bool(_SYNTHETIC_TEXT.match(module.description(path)))
    except Unreadable:
        return False


@contextmanager
def _plain_reasons(path: Path) -> Iterator[None]:
    """Reasons are one line and name no folder: they are shown and written down, and folders may be patients' names."""
    try:
        yield
    except Unreadable as error:
        text = str(error).replace(f"{path.parent}/", "")
        text = re.sub(r"(?<!\w)/(?:[^\s/'\"]+/)+", "", text)
        raise Unreadable(" ".join(text.split())) from error


def _readable(path: Path) -> ModuleType:
    """The module that reads a file. Raises `Unreadable`."""
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise Unreadable("is no file but a folder, a pipe or a device")
        module, size = format_of(path), path.stat().st_size
    except FileNotFoundError as error:
        raise Unreadable("the file is missing") from error
    except (OSError, ValueError) as error:
        raise Unreadable(f"cannot be opened ({getattr(error, 'strerror', error)})") from error
    if module is None:
        raise Unreadable("is not an image: its first bytes are those of no format read here" if size else
                         "the file is empty")
    return module
