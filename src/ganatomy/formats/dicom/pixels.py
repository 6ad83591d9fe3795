"""From the bytes of a DICOM file to stored numbers, from these to the values they mean, and the dtype they are kept in.

The rule of the dtype, known from the header alone: colour is uint8. Grey is uint8, uint16 or int16 (the first that
holds all that the file *could* hold, by its bits stored, after adding the intercept) where every slope is 1 and every
intercept whole; CT is then always int16, and what lies beyond saturates (only padding does). Anything else is float32.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid

from ganatomy.data.images import Pixels, Unreadable, check_size
from ganatomy.formats.dicom.file import Opened, item, items, number, numbers, text, value, whole

MAX_BYTES = 2**30
"""Pictures of a file or volume that take more memory than this are refused."""
MAX_PIXELS = 2**26
"""Pixels of one picture, each channel counted: decoding and converting takes several times their memory."""
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_UPTAKE = ("PT", "NM")
_NO_IMAGES = {
    uid.SegmentationStorage: "a segmentation", uid.SurfaceSegmentationStorage: "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a segmentation", uid.RTDoseStorage: "a map of radiation dose",
}


@dataclass(frozen=True, slots=True)
class Stored:
    """How the pictures of a file are stored, and how their numbers become values.

    Attributes:
        scales: (slope, intercept) of each frame, or of all in one.
        table: [entries] or [entries, 3], and the stored number of its first entry, where values are looked up.
        inverted: bright is dark in the stored numbers.
        dtype, channels: of the values.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    allocated: int
    bits: int
    high: int
    signed: bool
    photometric: str
    planar: int
    scales: tuple[tuple[float, float], ...]
    table: tuple[NDArray[Any], int] | None
    inverted: bool
    dtype: np.dtype[Any]
    channels: int

    @property
    def span(self) -> tuple[int, int]:
        """The least and the largest number that could be stored."""
        return (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1) if self.signed else (0, (1 << self.bits) - 1)


def common_dtype(dtypes: list[np.dtype[Any]]) -> np.dtype[Any]:
    """The dtype of a volume whose slices have these: one that holds them all, float32 if no small whole one does."""
    joint = np.result_type(*dtypes)
    return joint if joint in (np.uint8, np.uint16, np.int16) else np.dtype(np.float32)


def stored(file: Opened) -> Stored:
    """How pictures are stored, checked. Raises `Unreadable` where there is none or it is of no kind read here."""
    data = file.dataset
    _refuse_no_image(file)
    rows, columns = whole(data, "Rows") or 0, whole(data, "Columns") or 0
    frames = whole(data, "NumberOfFrames") or 1
    check_size((frames, rows, columns))
    floating = file.keyword != "PixelData"
    allocated = whole(data, "BitsAllocated") or (0 if not floating else 32)
    bits = whole(data, "BitsStored") or allocated
    high = whole(data, "HighBit")
    if allocated not in (1, 8, 16, 32, 64) or not 0 < bits <= allocated:
        raise Unreadable(f"stores {bits} bits in {allocated}, which is no format read here")
    samples = whole(data, "SamplesPerPixel") or 1
    if rows * columns * samples > MAX_PIXELS:
        raise Unreadable(f"claims a picture of {rows} x {columns} x {samples} values; {MAX_PIXELS:,} are read at most")
    photometric = text(data, "PhotometricInterpretation").upper() or ("MONOCHROME2" if samples == 1 else "")
    signed = whole(data, "PixelRepresentation") == 1
    _check_photometric(photometric, samples, allocated)
    table = _table(file, photometric, signed)
    inverted = photometric == "MONOCHROME1" and text(data, "Modality") not in _UPTAKE and not floating
    scales = ((1.0, 0.0),) if samples == 3 or table or inverted else _scales(data, frames)
    channels = 3 if samples == 3 or (table is not None and table[0].ndim == 2) else 1
    known = Stored(rows, columns, frames, samples, allocated, bits, high if high is not None else bits - 1, signed,
                   photometric, whole(data, "PlanarConfiguration") or 0, scales, table, inverted,
                   np.dtype(np.float32), channels)
    dtype = np.dtype(np.float32) if floating else _dtype(known, text(data, "Modality"))
    if rows * columns * frames * channels * dtype.itemsize > MAX_BYTES:
        raise Unreadable(f"its pictures would take more than {MAX_BYTES // 2**30} GB of memory")
    return replace(known, dtype=dtype)


def values(raw: Pixels, how: Stored, frame: int) -> Pixels:
    """The values [rows, columns(, 3)] of frame `frame` in `how.dtype`, from the numbers decoded."""
    if how.samples == 3:
        return raw.astype(np.uint8, copy=False)
    if how.table is not None:
        table, first = how.table
        looked_up = table[np.clip(_roomy(raw) - first, 0, len(table) - 1)]
        if how.inverted:
            looked_up = np.iinfo(table.dtype).max - looked_up
        return np.asarray(looked_up)
    if how.inverted:
        low, high = how.span
        return _fitted(low + high - _roomy(raw), how.dtype)
    slope, intercept = how.scales[frame if len(how.scales) > 1 else 0]
    if how.dtype.kind == "f":
        with np.errstate(over="ignore"):
            if raw.dtype.itemsize > 2:  # float32 would not hold the stored numbers
                return (raw.astype(np.float64) * slope + intercept).astype(np.float32)
            return raw.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    if intercept == 0 and raw.dtype == how.dtype:
        return raw
    return _fitted(_roomy(raw) + int(intercept), how.dtype)


def _roomy(raw: Pixels) -> Pixels:
    return raw.astype(np.int32 if raw.dtype.itemsize <= 2 else np.int64)


def _fitted(raw: Pixels, dtype: np.dtype[Any]) -> Pixels:
    if dtype.kind == "f":
        return raw.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(raw, limits.min, limits.max).astype(dtype)


def _dtype(how: Stored, modality: str) -> np.dtype[Any]:
    if how.channels == 3:
        return np.dtype(np.uint8)
    if how.table is not None:
        return how.table[0].dtype
    whole_numbers = all(slope == 1 and intercept == int(intercept) for slope, intercept in how.scales)
    if not whole_numbers or how.bits > 32:
        return np.dtype(np.float32)
    low, high = how.span
    low += int(min(intercept for _, intercept in how.scales))
    high += int(max(intercept for _, intercept in how.scales))
    if modality == "CT" and how.bits <= 16:
        return np.dtype(np.int16)
    for dtype in (np.uint8, np.uint16, np.int16):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    return np.dtype(np.float32)


def _refuse_no_image(file: Opened) -> None:
    data = file.dataset
    sop_class = text(data, "SOPClassUID") or text(data.file_meta, "MediaStorageSOPClassUID")
    if sop_class in _NO_IMAGES:
        raise Unreadable(f"holds {_NO_IMAGES[sop_class]}, not an image")
    if not file.keyword or not whole(data, "Rows"):
        kind = uid.UID(sop_class).name.removesuffix(" Storage") if sop_class else "not DICOM, cut short or damaged"
        raise Unreadable(f"holds no image, or no pixel data: {kind}")


def _check_photometric(photometric: str, samples: int, allocated: int) -> None:
    if samples == 1 and photometric in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"):
        return
    if samples != 3 or photometric not in COLOURS:
        raise Unreadable(f"has {samples} samples a pixel of the kind {photometric or 'unknown'}, which is not read")
    if allocated != 8:
        raise Unreadable(f"has {allocated} bits a colour channel; save it as 8-bit colour or 16-bit grey")


def _scales(data: Any, frames: int) -> tuple[tuple[float, float], ...]:
    shared = item(item(data, "SharedFunctionalGroupsSequence"), "PixelValueTransformationSequence")
    base = _scale(shared if shared is not None else data)
    own = [item(group, "PixelValueTransformationSequence")
           for group in items(data, "PerFrameFunctionalGroupsSequence")[:frames]]
    if all(one is None for one in own):
        return (base,)
    return (*(base if one is None else _scale(one) for one in own), *[base] * (frames - len(own)))


def _scale(data: Any) -> tuple[float, float]:
    slope, intercept = (number(data, keyword) if value(data, keyword) is not None else default
                        for keyword, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)))
    if slope is None or intercept is None or slope == 0 or max(abs(slope), abs(intercept)) > 1e30:
        raise Unreadable(f"its RescaleSlope is {slope} and its RescaleIntercept {intercept}, which cannot be meant")
    return slope, intercept


def _table(file: Opened, photometric: str, signed: bool) -> tuple[NDArray[Any], int] | None:
    if photometric == "PALETTE COLOR":
        return _palette(file, signed)
    lut = item(file.dataset, "ModalityLUTSequence")
    if lut is None:
        return None
    entries, first, bits = _descriptor(lut, "LUTDescriptor", signed)
    dtype = np.dtype(np.uint8 if bits <= 8 else np.uint16)
    table = _numbers(value(lut, "LUTData"), entries, file.syntax)
    if table.size < entries or bits > 16:
        raise Unreadable("its modality lookup table is cut short")
    return table[:entries].astype(dtype), first


def _palette(file: Opened, signed: bool) -> tuple[NDArray[Any], int]:
    data = file.dataset
    entries, first, _ = _descriptor(data, "RedPaletteColorLookupTableDescriptor", signed)
    if value(data, "SegmentedRedPaletteColorLookupTableData") is not None:
        from pydicom.pixels import apply_color_lut

        table = apply_color_lut(np.arange(first, first + entries), data)[:, :3]
    else:
        colours = [_numbers(value(data, f"{colour}PaletteColorLookupTableData"), entries, file.syntax)
                   for colour in ("Red", "Green", "Blue")]
        if min(c.size for c in colours) < entries:
            raise Unreadable("its colour palette is missing or cut short")
        table = np.stack([c[:entries] for c in colours], axis=-1)
    if int(table.max()) > 255:  # told by the table itself: files with 8-bit entries say 16, and the reverse
        table = table >> 8
    table = table.astype(np.uint8)
    grey = bool((table == table[:, :1]).all())
    return (np.ascontiguousarray(table[:, 0]) if grey else table), first


def _descriptor(data: Any, keyword: str, signed: bool) -> tuple[int, int, int]:
    """Entries, first number and bits of a lookup table."""
    descriptor = [int(x) for x in numbers(data, keyword)]
    if len(descriptor) != 3:
        raise Unreadable("its lookup table is not described")
    entries, first, bits = descriptor
    return (entries % 65536) or 65536, first + 65536 if not signed and first < 0 else first, bits


def _numbers(data: Any, entries: int, syntax: str) -> NDArray[Any]:
    """The numbers of a lookup table; pydicom's `apply_color_lut` and `apply_modality_lut` refuse tables of 12 bits and
    those with a byte of padding, and know neither rescales frame by frame nor small dtypes."""
    if isinstance(data, bytes):
        order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
        wide = len(data) >= 2 * entries
        return np.frombuffer(data[: len(data) // 2 * 2] if wide else data, dtype=f"{order}u2" if wide else np.uint8)
    if data is None or isinstance(data, str):
        return np.zeros(0, dtype=np.uint16)
    return np.atleast_1d(np.asarray(data, dtype=np.int64) & 0xFFFF)


JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
READ = (*uid.UncompressedTransferSyntaxes, uid.RLELossless, *uid.JPEGTransferSyntaxes, *uid.JPEGLSTransferSyntaxes,
        *JPEG_2000)
LOSSY = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless)
MAYBE_LOSSY = (uid.JPEG2000, uid.HTJ2K)
_ITEM = 0xE000FFFE


def decoded(file: Opened, how: Stored, frames: Sequence[int]) -> Iterator[tuple[int, Pixels]]:
    """(number, stored numbers [rows, columns(, 3)]) of these frames, ascending; colour is RGB. Raises `Unreadable`."""
    wanted = sorted(set(frames))
    if not wanted or wanted[0] < 0 or wanted[-1] >= how.frames:
        raise Unreadable(f"has {how.frames} frames and no number {wanted[-1] + 1 if wanted else 0}")
    yield from (_native if file.syntax in uid.UncompressedTransferSyntaxes else _encapsulated)(file, how, wanted)


def check_syntax(syntax: str) -> None:
    """Raise `Unreadable` if pixels of this transfer syntax cannot be decoded."""
    if syntax not in READ:
        raise Unreadable(f"its transfer syntax is not read: {uid.UID(syntax).name}")


def check_room(file: Opened, how: Stored) -> None:
    """Raise `Unreadable` if the file holds fewer bytes than its header promises."""
    if file.syntax in uid.UncompressedTransferSyntaxes:
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


def _options(file: Opened, how: Stored) -> dict[str, Any]:
    photometric = "MONOCHROME2" if how.samples == 1 else how.photometric
    if photometric == "YBR_FULL_422" and file.syntax in uid.UncompressedTransferSyntaxes:
        whole_size = how.rows * how.columns * 3 * how.frames
        photometric = "YBR_FULL" if file.length >= whole_size else photometric  # not subsampled, whatever the tag says
    return {"rows": how.rows, "columns": how.columns, "number_of_frames": how.frames, "samples_per_pixel": how.samples,
            "bits_allocated": how.allocated, "bits_stored": how.bits, "pixel_representation": int(how.signed),
            "photometric_interpretation": photometric, "planar_configuration": how.planar,
            "pixel_keyword": file.keyword, "pixel_vr": file.vr or "OW"}


def _native(file: Opened, how: Stored, wanted: Sequence[int]) -> Iterator[tuple[int, Pixels]]:
    from pydicom.pixels import get_decoder

    options = _options(file, how)
    shifted = file.keyword == "PixelData" and how.high != how.bits - 1 and how.bits <= how.high + 1 <= how.allocated
    if shifted:
        options["correct_unused_bits"] = False
    file.source.seek(file.start)
    pictures = get_decoder(file.syntax).iter_array(file.source, indices=wanted, **options)
    for index, (pixels, _) in zip(wanted, pictures, strict=True):
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
    """One compressed frame. pydicom's own `iter_pixels` trusts the header; the codestream is asked first here."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels import get_decoder

    options = _options(file, how) | {"number_of_frames": 1}
    try:
        if file.syntax != uid.RLELossless:
            precision = _precision(code, file.syntax, how)
            options["bits_allocated"] = 8 if precision <= 8 else 16
            options["bits_stored"] = min(how.bits, options["bits_allocated"])
        pixels, meaning = get_decoder(file.syntax).as_array(
            encapsulate([code], has_bot=False), index=0,
            decoding_plugin="pydicom" if file.syntax == uid.RLELossless else "pylibjpeg", **options)
    except (RuntimeError, ValueError) as error:
        text = " ".join(str(error).split()).rpartition("Decode(): ")[2].rpartition("pylibjpeg: ")[2]
        raise Unreadable(f"its compressed picture cannot be decoded ({text[:120]})") from error
    if how.samples == 3 and meaning.get("photometric_interpretation") != "RGB":
        raise Unreadable(f"its colours are of the kind {meaning.get('photometric_interpretation')}, which is not read")
    if how.samples == 3 and pixels.dtype != np.uint8:
        raise Unreadable("has more than 8 bits a colour channel; save it as 8-bit colour or 16-bit grey")
    return np.asarray(pixels)


def _precision(code: bytes, syntax: str, how: Stored) -> int:
    """Bits of a codestream's numbers. Raises `Unreadable` if it is of another size than the header says."""
    import libjpeg.utils
    import openjpeg.utils

    if syntax in JPEG_2000:
        _refuse_endless_boxes(code)
    coded: dict[str, Any] = (openjpeg if syntax in JPEG_2000 else libjpeg).utils.get_parameters(code)
    size = coded["rows"], coded["columns"], coded.get("samples_per_pixel", coded.get("nr_components"))
    if size != (how.rows, how.columns, how.samples):
        raise Unreadable("its compressed picture is {} x {} x {}, not {} x {} x {} as its header says".format(
            *size, how.rows, how.columns, how.samples))
    return int(coded["precision"])


def _refuse_endless_boxes(code: bytes) -> None:
    """Boxes of a JP2 file, ISO/IEC 15444-1 annex I: pydicom never comes back from one without length."""
    place = 12
    while code.startswith(b"\0\0\0\x0cjP  ") and place + 8 <= len(code) and code[place + 4:place + 8] != b"jp2c":
        length = int.from_bytes(code[place:place + 4], "big")
        if length < 8:
            raise Unreadable("its compressed picture is damaged: a JP2 box has no length")
        place += length
