"""Reading image files: one file a format, chosen by what the file holds, not by how it is called.

A format is a module with SUFFIXES, `is_mine(head)`, `scan(path) -> Header` and `read(path) -> pixels`; add it to
`FORMATS` to have it read.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from PIL import Image

from ganatomy.data.images import Header, Pixels, Unreadable
from ganatomy.formats import dicom, itk, nifti, npy, raster

FORMATS: tuple[ModuleType, ...] = (dicom, nifti, raster, npy, itk)
SUFFIXES = tuple(suffix for module in FORMATS for suffix in module.SUFFIXES)

__all__ = ["FORMATS", "SUFFIXES", "Header", "Pixels", "Unreadable", "is_candidate", "read", "read_frames", "read_one",
           "scan", "stem"]


def is_candidate(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return name.lower().endswith(SUFFIXES)


def stem(name: str) -> str:
    """A file's name without its image suffix (`a.nii.gz` -> `a`)."""
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return Path(name).stem


def scan(path: Path) -> Header:
    """Shape, dtype, channels and geometry without decoding pixels. Raises `Unreadable` with the reason."""
    with _plain_reasons(path):
        header: Header = _format(path).scan(path)
        return header


def read(path: Path) -> Pixels:
    """Pixels, [i, j, k] where the header has an affine, else [slices, h, w(, 3)]; `header.dtype`, all finite.

    Raises:
        Unreadable: with the reason.
    """
    with _plain_reasons(path):
        pixels: Pixels = _format(path).read(path)
        return pixels


def read_one(path: Path, index: int) -> Pixels:
    """One picture [h, w(, 3)] of a stack of them in an .npy file, without reading the rest. Raises `Unreadable`."""
    with _plain_reasons(path):
        return npy.read_one(path, index)


def read_frames(frames: Sequence[tuple[str, int]]) -> Pixels:
    """Voxels [i, j, k] of a volume whose slices are single DICOM frames (path, number). Raises `Unreadable`."""
    with _plain_reasons(Path(frames[0][0])):
        return dicom.read_frames(frames)


@contextmanager
def _plain_reasons(path: Path) -> Iterator[None]:
    """Reasons are one line and name no folder: they are shown and written down, and folders may be patients' names."""
    try:
        yield
    except Unreadable as error:
        text = str(error).replace(f"{path.parent}/", "")
        text = re.sub(r"(?<!\w)/(?:[^\s/'\"]+/)+", "", text)
        raise Unreadable(" ".join(text.split())) from error


def _format(path: Path) -> ModuleType:
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise Unreadable("is no file but a folder, a pipe or a device")
        with path.open("rb") as handle:
            head = handle.read(nifti.HEAD_BYTES)
    except FileNotFoundError as error:
        raise Unreadable("the file is missing") from error
    except (OSError, ValueError) as error:
        raise Unreadable(f"cannot be opened ({getattr(error, 'strerror', error)})") from error
    if not head:
        raise Unreadable("the file is empty")
    if head.startswith(b"\x1f\x8b"):
        head = nifti.unpacked_head(path) or head
    for module in FORMATS:
        if module.is_mine(head):
            return module
    if head.startswith(b"\x1f\x8b"):
        raise Unreadable("is a gzip file that is cut short or holds no NIfTI image")
    raise Unreadable("is not an image: its first bytes are those of no format read here")


SYNTHETIC = re.compile(r"synthetic .*\(ganatomy\), not for diagnosis$")
"""SeriesDescription of a derived DICOM series."""
LEFT_OUT = "synthetic, made by a model (add --keep-derived to take it)"
"""Why `ganatomy prepare` leaves such files out."""
_TEXT = re.compile(r"synthetic .* by ganatomy, ")
_TIFF_DESCRIPTION = 270
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"II", b"MM")
_NARROW, _WIDE = slice(148, 228), slice(240, 320)
"""Where a NIfTI-1 and a NIfTI-2 header hold the description."""


def is_synthetic(path: Path) -> bool:
    """Whether a NIfTI, PNG, TIFF or DICOM file says that a model made it.

    Arrays (.npy) have no place to say so. A file that cannot be read says nothing.
    """
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            return False
        with path.open("rb") as handle:
            head = handle.read(nifti.HEAD_BYTES)
        if head.startswith(_PICTURES):
            return bool(_TEXT.match(_picture_text(path)))
        if head.startswith(b"\x1f\x8b"):
            head = nifti.unpacked_head(path)
        if nifti.is_mine(head):
            return bool(_TEXT.match(head[_WIDE if head[4:8] == b"n+2\0" else _NARROW].decode("latin-1")))
        return dicom.is_mine(head) and bool(SYNTHETIC.match(dicom.facts(path).series_description))
    except (OSError, Unreadable):
        return False


def _picture_text(path: Path) -> str:
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=("PNG", "TIFF")) as image:
            tags = getattr(image, "tag_v2", {})
            return str(image.info.get("Description") or tags.get(_TIFF_DESCRIPTION, ""))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, Image.DecompressionBombError):
        return ""
