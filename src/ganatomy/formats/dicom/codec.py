"""Decoding the frames of a DICOM file within bounds: nothing is decoded that its codestream does not announce."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ganatomy.data.images import Pixels, Unreadable
from ganatomy.formats.dicom.file import Opened, value
from ganatomy.formats.dicom.values import Stored

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
RLE = "1.2.840.10008.1.2.5"
JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201",
             "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")
LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81")
MAYBE_LOSSY = ("1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203")
_ITEM = 0xE000FFFE
_FREE_PIXELS, _PIXELS_A_BYTE = 2**25, 1000


class Coded(NamedTuple):
    """What a codestream says of itself."""

    rows: int
    columns: int
    samples: int
    precision: int


def decoded(file: Opened, how: Stored, frames: Sequence[int]) -> Iterator[tuple[int, Pixels]]:
    """(number, stored numbers [rows, columns(, 3)]) of these frames, ascending; colour is RGB.

    Raises:
        Unreadable: a frame is not there, damaged, or of another size than the header says.
    """
    wanted = sorted(set(frames))
    if not wanted or wanted[0] < 0 or wanted[-1] >= how.frames:
        raise Unreadable(f"has {how.frames} frames and no number {wanted[-1] + 1 if wanted else 0}")
    if file.syntax in NATIVE:
        yield from _native(file, how, wanted)
    elif file.syntax == RLE or file.syntax in JPEG + JPEG_LS + JPEG_2000:
        yield from _encapsulated(file, how, wanted)
    else:
        raise Unreadable(_unsupported(file.syntax))


def check_syntax(syntax: str) -> None:
    """Raise `Unreadable` if pixels of this transfer syntax cannot be decoded."""
    if syntax not in (*NATIVE, RLE, *JPEG, *JPEG_LS, *JPEG_2000):
        raise Unreadable(_unsupported(syntax))


def check_room(file: Opened, how: Stored) -> None:
    """Raise `Unreadable` if the file holds fewer bytes than its header promises."""
    if file.syntax in NATIVE:
        bits = how.rows * how.columns * how.samples * how.frames * how.allocated
        needed = (bits * 2 // 3 if how.photometric == "YBR_FULL_422" else bits) // 8
        if file.length < needed:
            raise Unreadable("is cut short: fewer bytes than its header promises")
        return
    place, end, fragments, source = file.start, file.start + file.length, -1, file.source  # the first is a table
    while place + 8 <= end:
        source.seek(place)
        tag, length = struct.unpack("<2L", source.read(8))
        if tag != _ITEM:
            break
        place, fragments = place + 8 + length, fragments + 1
    if place > end or fragments < how.frames:
        raise Unreadable("is cut short: fewer compressed frames than its header promises")


def _unsupported(syntax: str) -> str:
    from pydicom.uid import UID

    return f"its transfer syntax is not read: {UID(syntax).name}"


def _options(file: Opened, how: Stored) -> dict[str, Any]:
    photometric = "MONOCHROME2" if how.samples == 1 else how.photometric
    if photometric == "YBR_FULL_422" and file.syntax in NATIVE:
        whole_size = how.rows * how.columns * 3 * how.frames
        photometric = "YBR_FULL" if file.length >= whole_size else photometric  # not subsampled, whatever the tag says
    return {"rows": how.rows, "columns": how.columns, "number_of_frames": how.frames, "samples_per_pixel": how.samples,
            "bits_allocated": how.allocated, "bits_stored": how.bits, "pixel_representation": int(how.signed),
            "photometric_interpretation": photometric, "planar_configuration": how.planar,
            "pixel_keyword": file.keyword, "pixel_vr": file.vr or "OW"}


def _native(file: Opened, how: Stored, wanted: Sequence[int]) -> Iterator[tuple[int, Pixels]]:
    from pydicom.pixels import get_decoder

    check_room(file, how)
    options = _options(file, how)
    shifted = file.keyword == "PixelData" and how.high != how.bits - 1 and how.bits <= how.high + 1 <= how.allocated
    if shifted:
        options["correct_unused_bits"] = False
    decoder = get_decoder(file.syntax)
    for index in wanted:
        file.source.seek(file.start)
        pixels = decoder.as_array(file.source, index=index, **options)[0]
        if shifted:
            pixels = (pixels << (how.allocated - 1 - how.high)) >> (how.allocated - how.bits)
        yield index, pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _encapsulated(file: Opened, how: Stored, wanted: Sequence[int]) -> Iterator[tuple[int, Pixels]]:
    from pydicom.encaps import generate_frames

    offsets = value(file.dataset, "ExtendedOffsetTable"), value(file.dataset, "ExtendedOffsetTableLengths")
    extended = offsets if all(isinstance(table, bytes) for table in offsets) else None
    file.source.seek(file.start)
    left = set(wanted)
    frames = generate_frames(file.source, number_of_frames=how.frames, extended_offsets=extended)
    for index, code in enumerate(frames):
        if index in left:
            yield index, _frame(code, file, how)
            left.remove(index)
        if not left:
            return
    raise Unreadable("is cut short: fewer frames than its header promises")


def _frame(code: bytes, file: Opened, how: Stored) -> Pixels:
    from pydicom.encaps import encapsulate
    from pydicom.pixels import get_decoder

    if how.rows * how.columns > _FREE_PIXELS + _PIXELS_A_BYTE * len(code):
        raise Unreadable("is cut short: so many pixels cannot come from so few bytes")
    options = _options(file, how) | {"number_of_frames": 1}
    plugin = "pydicom" if file.syntax == RLE else "pylibjpeg"  # the latter panics on damaged run lengths
    if file.syntax == RLE:
        _check_rle(code, how)
    else:
        coded = _jpeg_2000(code) if file.syntax in JPEG_2000 else _jpeg(code)
        if (coded.rows, coded.columns, coded.samples) != (how.rows, how.columns, how.samples):
            raise Unreadable(f"its compressed picture is {coded.rows} x {coded.columns} x {coded.samples}, "
                             f"not {how.rows} x {how.columns} x {how.samples} as its header says")
        options["bits_allocated"] = 8 if coded.precision <= 8 else 16
        options["bits_stored"] = min(how.bits, options["bits_allocated"])
    try:
        pixels, meaning = get_decoder(file.syntax).as_array(
            encapsulate([code], has_bot=False), index=0, decoding_plugin=plugin, **options)
    except (RuntimeError, ValueError) as error:
        text = " ".join(str(error).split()).rpartition("Decode(): ")[2].rpartition("pylibjpeg: ")[2]
        raise Unreadable(f"its compressed picture cannot be decoded ({text[:120]})") from error
    if how.samples == 3 and meaning.get("photometric_interpretation") != "RGB":
        raise Unreadable(f"its colours are of the kind {meaning.get('photometric_interpretation')}, which is not read")
    if how.samples == 3 and pixels.dtype != np.uint8:
        raise Unreadable("has more than 8 bits a colour channel; save it as 8-bit colour or 16-bit grey")
    return np.asarray(pixels)


def _check_rle(code: bytes, how: Stored) -> None:
    """PS3.5 annex G: a head of 64 bytes with the number of segments and where each starts."""
    if len(code) < 64:
        raise Unreadable("is cut short: a run-length encoded frame has no head")
    count, *starts = struct.unpack("<16L", code[:64])
    if count != how.samples * how.allocated // 8:
        raise Unreadable(f"its run-length encoded frame has {count} segments")
    limits = [*starts[:count], len(code)]
    if limits[0] != 64 or any(after < before for before, after in pairwise(limits)):
        raise Unreadable("its run-length encoded frame has segments that do not follow each other")


def _jpeg(code: bytes) -> Coded:
    """The frame header (SOF) of a JPEG or JPEG-LS codestream, ISO/IEC 10918-1 annex B."""
    place = 2
    if not code.startswith(b"\xff\xd8"):
        raise Unreadable("its compressed picture is damaged: it does not start as JPEG")
    while place + 4 <= len(code):
        if code[place] != 0xFF:
            raise Unreadable("its compressed picture is damaged: a JPEG marker is not where it should be")
        marker = code[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        length = int.from_bytes(code[place + 2:place + 4], "big")
        if marker in (0xC0, 0xC1, 0xC2, 0xC3, 0xF7) and place + 10 <= len(code):
            precision, rows, columns, samples = struct.unpack(">BHHB", code[place + 4:place + 10])
            return Coded(rows, columns, samples, precision)
        if marker in (0xD9, 0xDA, 0xDE) or (0xC5 <= marker <= 0xCF and marker not in (0xC8, 0xCC)) or length < 2:
            break
        place += 2 + length
    raise Unreadable("its compressed picture is damaged, or of a kind of JPEG that is not read")


def _jpeg_2000(code: bytes) -> Coded:
    """The SIZ segment of a JPEG 2000 codestream, bare or in a JP2 box, ISO/IEC 15444-1 annex A.5.1."""
    place = _after_boxes(code)
    if code[place:place + 4] != b"\xff\x4f\xff\x51" or len(code) < place + 45:
        raise Unreadable("its compressed picture is damaged: it does not start as JPEG 2000")
    size = struct.unpack(">8L", code[place + 8:place + 40])
    samples, = struct.unpack(">H", code[place + 40:place + 42])
    columns, rows = size[0] - size[2], size[1] - size[3]
    if min(size[4:6]) < 1 or -(-size[0] // size[4]) * -(-size[1] // size[5]) > 4096:
        raise Unreadable("its compressed picture has an absurd number of tiles")
    return Coded(rows, columns, samples, (code[place + 42] & 0x7F) + 1)


def _after_boxes(code: bytes) -> int:
    """Where the codestream starts in a JP2 file, annex I; pydicom never comes back from a box without length."""
    if not code.startswith(b"\0\0\0\x0cjP  "):
        return 0
    place = 12
    while place + 8 <= len(code) and code[place + 4:place + 8] != b"jp2c":
        length = int.from_bytes(code[place:place + 4], "big")
        if length < 8:
            raise Unreadable("its compressed picture is damaged: a JP2 box has no length")
        place += length
    return place + 8
