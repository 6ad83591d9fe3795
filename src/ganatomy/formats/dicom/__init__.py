"""DICOM images of any transfer syntax that pydicom and pylibjpeg decode.

Values are those the scanner means: rescaled by each frame's slope and intercept or modality lookup table, palettes
resolved, YBR turned to RGB, MONOCHROME1 turned around (least + largest storable number - stored number, rescale left
out, so that bright is bright and no unit is left; not for PET and nuclear medicine, where a large number is a large
uptake). Overlays are ignored, padding values are left. The rule of the dtype is told in `values`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ganatomy.data.images import Header, Pixels, Unreadable, check_finite
from ganatomy.formats.dicom.file import Opened, opened, text
from ganatomy.formats.dicom.pixels import MAX_BYTES, Stored, common_dtype, decoded, values
from ganatomy.formats.dicom.tags import TAGS, Tiles, described, facts, frames, is_lossy

SUFFIXES = (".dcm", ".dicom", ".ima")
__all__ = ["SUFFIXES", "common_dtype", "facts", "is_mine", "read", "read_frames", "scan"]

_FIRST = (0x00020000, 0x00020001, 0x00020002, 0x00080000, 0x00080001, 0x00080005, 0x00080006, 0x00080008, 0x00080012,
          0x00080014, 0x00080016, 0x00080018)
_VRS = (b"UL", b"UI", b"CS", b"DA", b"LO", b"SH", b"TM")


def is_mine(head: bytes) -> bool:
    """Whether these first bytes are those of a DICOM file, also of one that lacks the preamble of 128 bytes."""
    return head[128:132] == b"DICM" or any(_begins(head, order) for order in "<>")


def scan(path: Path) -> Header:
    """Read the header only; [slices, h, w] without affine. Raises `Unreadable`."""
    with opened(path, TAGS) as file:
        return _header(file, *described(file))


def read(path: Path) -> Pixels:
    """Pixels [slices, h, w] or [slices, h, w, 3] of every frame of a file. Raises `Unreadable`."""
    with opened(path, TAGS) as file:
        how, cut = described(file)
        count, rows, columns = _header(file, how, cut).shape
        pixels = np.empty((count, rows, columns, *((3,) if how.channels == 3 else ())), dtype=how.dtype)
        for index, picture in _pictures(file, how, cut, range(count)):
            pixels[index] = picture
        return check_finite(pixels)


def read_frames(frames: Sequence[tuple[str, int]]) -> Pixels:
    """Voxels [columns, rows, slices] of a volume whose slices are frames of files: (path, number from 0) of each.

    The dtype is one that holds those of all files; a file is opened once. Raises `Unreadable` also where slices differ
    in size or are colour.
    """
    places: dict[str, dict[int, list[int]]] = {}
    for place, (path, index) in enumerate(frames):
        places.setdefault(path, {}).setdefault(index, []).append(place)
    volume: Pixels | None = None  # [k, rows, columns] until the end: slices are written in one piece
    for path, wanted in places.items():
        with opened(Path(path), TAGS) as file:
            how, cut = described(file)
            for index, picture in _pictures(file, how, cut, sorted(wanted)):
                volume = _fitting(volume, picture, len(frames))
                volume[wanted[index]] = picture
    if volume is None:
        raise Unreadable("has no slices")
    return check_finite(volume).transpose(2, 1, 0)


def _fitting(volume: Pixels | None, picture: Pixels, count: int) -> Pixels:
    if picture.ndim != 2:
        raise Unreadable("is a colour picture and no slice of a volume")
    if volume is None:
        if picture.nbytes * count > MAX_BYTES:
            raise Unreadable(f"its {count} slices would take more than {MAX_BYTES // 2**30} GB of memory")
        return np.empty((count, *picture.shape), dtype=picture.dtype)
    if volume.shape[1:] != picture.shape:
        raise Unreadable(f"its slices differ in size: {volume.shape[1:]} and {picture.shape}")
    dtype = common_dtype([volume.dtype, picture.dtype])
    return volume if dtype == volume.dtype else volume.astype(dtype)


def _header(file: Opened, how: Stored, cut: Tiles | None) -> Header:
    placed = frames(file.dataset, how.frames, cut)
    spacing = placed[0].spacing
    shape = (cut.count, cut.rows, cut.columns) if cut else (how.frames, how.rows, how.columns)
    return Header(shape, how.dtype, channels=how.channels, volumetric=shape[0] > 1, lossy=is_lossy(file),
                  modality=text(file.dataset, "Modality"), spacing=(spacing[0], spacing[1]) if spacing else None)


def _pictures(file: Opened, how: Stored, cut: Tiles | None, wanted: Sequence[int]) -> Iterator[tuple[int, Pixels]]:
    """(number, values [rows, columns(, 3)]) of frames or of a mosaic's tiles, ascending."""
    if cut is None:
        for index, numbers in decoded(file, how, wanted):
            yield index, values(numbers, how, index)
        return
    if wanted[0] < 0 or wanted[-1] >= cut.count:
        raise Unreadable(f"has {cut.count} slices and no number {wanted[-1] + 1}")
    sheet = next(values(numbers, how, 0) for _, numbers in decoded(file, how, [0]))
    for tile in wanted:
        row, column = cut.corner(tile)
        yield tile, sheet[row:row + cut.rows, column:column + cut.columns]


def _begins(head: bytes, order: str) -> bool:
    """Whether the first two elements are ones that DICOM files begin with."""
    place, tags = 0, []
    for _ in range(2):
        if place + 12 > len(head):
            return False
        group, element = struct.unpack_from(f"{order}HH", head, place)
        tags.append(group << 16 | element)
        vr = head[place + 4:place + 6]
        if vr in (b"OB", b"SQ", b"UN"):
            kind, at, size = "L", 8, 12
        else:
            kind, at, size = ("H", 6, 8) if vr in _VRS else ("L", 4, 8)
        length, = struct.unpack_from(f"{order}{kind}", head, place + at)
        place += size + length
        if length > 256:
            return False
    return tags[0] in _FIRST and tags[0] < tags[1] and tags[1] >> 16 in (0x0002, 0x0008)
