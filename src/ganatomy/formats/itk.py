"""NRRD (.nrrd, .nhdr) and MetaImage (.mha, .mhd), by SimpleITK, voxels in file order with their affine."""

from __future__ import annotations

import math
import os
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganatomy.data.images import Header, Pixels, Unreadable, check_affine, check_finite, check_size, simple_dtype

SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
_NRRD = b"NRRD000"
_META = re.compile(rb"\s*(Comment|ObjectType|ObjectSubType|NDims)[ \t]*=")
_META_SURE = re.compile(rb"^(ObjectType[ \t]*=[ \t]*Image|NDims[ \t]*=[ \t]*\d)", re.MULTILINE)
_HEAD_LIMIT = 2**20
_CHUNK = 2**20


class _Text(NamedTuple):
    """The text at the head of a file: ITK's name of what reads it, the file that the values are in and where they begin
    in it, whether they are stored as they are or packed, and whether it says how the patient lies."""

    reader: str
    data: Path
    start: int
    plain: bool
    packed: bool
    oriented: bool


def is_mine(head: bytes) -> bool:
    """Whether these first bytes are those of an NRRD or MetaImage header."""
    return head.startswith(_NRRD) or bool(_META.match(head) and _META_SURE.search(head))


def scan(path: Path) -> Header:
    """Read the header only. Raises `Unreadable`."""
    return _opened(path)[1]


def read(path: Path) -> Pixels:
    """Voxels [i, j, k] in file order; [slices, h, w] or [slices, h, w, 3] for 2-D and colour. Raises `Unreadable`."""
    import SimpleITK

    reader, header, text = _opened(path)
    try:
        with _quiet():
            image = reader.Execute()
    except Exception as error:
        raise _broken(error) from error
    values = SimpleITK.GetArrayViewFromImage(image)
    if text.packed:
        _check_packed(text, values.nbytes)
    colour = (3,) if header.channels == 3 else ()
    if header.affine is not None:
        values = values.transpose(2, 1, 0)
    if values.size != int(np.prod((*header.shape, *colour))):
        raise Unreadable("holds another number of voxels than its header says")
    with np.errstate(over="ignore"):  # what float32 cannot hold is told as infinite below
        return check_finite(np.array(values, dtype=header.dtype).reshape(*header.shape, *colour))


def _opened(path: Path) -> tuple[Any, Header, _Text]:
    try:
        import SimpleITK
    except ImportError as error:
        raise Unreadable("is NRRD or MetaImage, which needs the extra: pip install 'ganatomy[itk]'") from error

    text = _read_text(path)
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # its warnings go to the terminal by themselves
    reader = SimpleITK.ImageFileReader()
    try:
        reader.SetImageIO(text.reader)
        reader.SetFileName(str(path))
        with _quiet():
            reader.ReadImageInformation()
    except Exception as error:
        raise _broken(error) from error
    return reader, _header(reader, text), text


def _header(reader: Any, text: _Text) -> Header:
    size = tuple(int(n) for n in reader.GetSize())
    if len(size) not in (2, 3):
        raise Unreadable(f"has {len(size)} dimensions {size}; split the series into 3-D volumes first")
    stored, components = _stored(reader), int(reader.GetNumberOfComponents())
    check_size((*size, components), stored.itemsize)
    if components != 1 and not (components == 3 and stored == np.uint8):
        raise Unreadable(f"holds {components} values of {stored} a voxel; 1, or 3 bytes of colour, are read")
    if text.plain and text.data.stat().st_size - text.start < math.prod(size) * components * stored.itemsize:
        raise Unreadable("is cut short: fewer bytes than its header promises")
    spacing = [float(n) for n in reader.GetSpacing()]
    if len(size) == 2 or components == 3:
        shape = (size[2] if len(size) == 3 else 1, size[1], size[0])
        return Header(shape, simple_dtype(stored), channels=components, volumetric=len(size) == 3,
                      spacing=(spacing[1], spacing[0]))
    return Header((size[0], size[1], size[2]), simple_dtype(stored), affine=_affine(reader), volumetric=True,
                  oriented=text.oriented)


def _stored(reader: Any) -> np.dtype[Any]:
    import SimpleITK

    name = SimpleITK.GetPixelIDValueAsString(reader.GetPixelID())  # such as "vector of 8-bit unsigned integer"
    number = re.fullmatch(r"(?:vector of )?(\d+)-bit (unsigned integer|signed integer|float)", name)
    if number is None:
        raise Unreadable(f"its values are {name}, not plain numbers")
    return np.dtype(f"{number[2][0].replace('s', 'i')}{int(number[1]) // 8}")


def _affine(reader: Any) -> NDArray[np.float64]:
    """Voxel indices to mm. ITK counts to the patient's left and back, the affine to the right and the front."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(reader.GetDirection(), (3, 3)) * np.asarray(reader.GetSpacing())
    affine[:3, 3] = reader.GetOrigin()
    affine[:2] *= -1
    return check_affine(affine)


def _read_text(path: Path) -> _Text:
    with path.open("rb") as handle:
        raw = handle.read(_HEAD_LIMIT)
    return _nrrd_text(path, raw) if raw.startswith(_NRRD) else _meta_text(path, raw)


def _nrrd_text(path: Path, raw: bytes) -> _Text:
    end = re.search(rb"\r?\n\r?\n", raw)
    fields = _fields(raw[:end.start()] if end else raw, ":")
    _check_millimetres(*re.findall(r'"([^"]*)"', fields.get("space units", "")))
    oriented = bool(re.match(r"(left|right|l|r)", fields.get("space", ""), re.IGNORECASE))
    detached = fields.get("data file", fields.get("datafile"))
    data = path if detached is None else _data_file(path, detached)
    return _Text("NrrdImageIO", data, end.end() if end and data == path else 0,
                 fields.get("encoding", "raw").lower() == "raw", False, oriented and "space directions" in fields)


def _meta_text(path: Path, raw: bytes) -> _Text:
    place = re.search(rb"^ElementDataFile[ \t]*=[ \t]*([^\r\n]*)\r?\n?", raw, re.MULTILINE)
    if place is None:
        raise Unreadable("its header is broken: it does not say where the values are")
    fields = _fields(raw[:place.start()], "=")
    _check_millimetres(fields.get("distanceunits", ""))
    scale = fields.get("elementtointensityfunctionslope", "1"), fields.get("elementtointensityfunctionoffset", "0")
    if not (re.fullmatch(r"1(\.0*)?", scale[0]) and re.fullmatch(r"-?0(\.0*)?", scale[1])):
        raise Unreadable("has an intensity slope or offset, which is not applied; save it with the final values")
    name = place.group(1).decode("utf-8", "replace").strip()
    packed, binary = (fields.get(key, default).lower() in ("true", "t", "1")
                      for key, default in (("compresseddata", "false"), ("binarydata", "true")))
    data = path if name.upper() == "LOCAL" else _data_file(path, name)
    return _Text("MetaImageIO", data, place.end() if data == path else 0, binary and not packed, packed,
                 bool({"transformmatrix", "rotation", "orientation"} & fields.keys()))


def _check_millimetres(*units: str) -> None:
    if others := set(units) - {"", "mm", "?"}:
        raise Unreadable(f"gives lengths in {min(others)[:20]!r}, not in mm")


def _fields(raw: bytes, sign: str) -> dict[str, str]:
    """The lines `name: value` or `name = value` of a head, names in lower case."""
    fields: dict[str, str] = {}
    for line in raw.decode("utf-8", "replace").splitlines():
        name, separator, value = line.partition(sign)
        if separator and not line.startswith("#") and not value.startswith("="):  # := is a remark's
            fields.setdefault(name.strip().lower(), value.strip())
    return fields


def _data_file(path: Path, name: str) -> Path:
    """The file beside a header that holds its values."""
    if not name or name.split()[0].upper() == "LIST" or "%" in name:
        raise Unreadable("its values are in several files; save it as one .nrrd or .mha")
    given = Path(name)
    if given.is_absolute() or ".." in given.parts or "\0" in name:
        raise Unreadable("its values are in a file of another folder; save it as one .nrrd or .mha")
    if not (path.parent / given).is_file():
        raise Unreadable(f"its values are in {given.name!r}, which is missing")
    return path.parent / given


def _check_packed(text: _Text, needed: int) -> None:
    """Raise `Unreadable` unless the packed values have their check sum, which ITK does not look at in MetaImage."""
    stream, total = zlib.decompressobj(47), 0
    try:
        with text.data.open("rb") as handle:
            handle.seek(text.start)
            while not stream.eof and total <= needed and (chunk := stream.unconsumed_tail or handle.read(_CHUNK)):
                total += len(stream.decompress(chunk, _CHUNK))
    except (OSError, zlib.error) as error:
        raise Unreadable("its packed values are damaged") from error
    if not stream.eof or total != needed:
        raise Unreadable("its packed values are damaged or cut short")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what ITK's C++ code writes straight to the terminal from it: each problem is told as a reason anyway."""
    sys.stderr.flush()
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)


def _broken(error: BaseException) -> Unreadable:
    last = (str(error).strip().splitlines() or [""])[-1].rpartition("ERROR: ")[2]
    return Unreadable(f"cannot be read as NRRD or MetaImage ({last[:120]})")
