"""A derived DICOM series: what its files take from the source's, what is new, and how values become whole numbers."""

from __future__ import annotations

import math
import re
import warnings
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy import __version__
from ganatomy.core.errors import UserError
from ganatomy.core.files import staged_folder
from ganatomy.core.text import Say, counted
from ganatomy.data.images import Unreadable
from ganatomy.data.intensity import HOUNSFIELD
from ganatomy.formats.dicom.file import numbers, opened, text, texts, value
from ganatomy.formats.dicom.tags import TAGS, Frame, described, frames, is_lossy
from ganatomy.sources.dicom.series import Volume
from ganatomy.translation.conversion import NOT_FOR_DIAGNOSIS, About

KEEPS = ("the DICOM files keep the patient's name, ID, birth date and sex, and refer to the source's images: they are "
         "not anonymous")
# storage classes of what is written: classic CT and MR images, and secondary captures for what is neither
CT, MR, CAPTURE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.7"
# taken from the source only with one of these values: a tag of a code may hold anything in truth
_CHOICES = {
    "PatientSex": ("M", "F", "O"), "RecognizableVisualFeatures": ("YES", "NO"),
    "PatientPosition": ("HFP", "HFS", "HFDR", "HFDL", "FFDR", "FFDL", "FFP", "FFS", "LFP", "LFS", "RFP", "RFS", "AFDR",
                        "AFDL", "PFDR", "PFDL")}
_LOSSY_METHODS = ("ISO_10918_1", "ISO_14495_1", "ISO_15444_1", "ISO_15444_15", "ISO_18181_1", "ISO_13818_2",
                  "ISO_14496_10", "ISO_23008_2")
# all that is taken from a source's file, but for the UIDs by which it is referred to
TAKEN = ("SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "BurnedInAnnotation", *_CHOICES,
         "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod", "FrameOfReferenceUID",
         "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices")
_MR_NAMES = re.compile(r"T[12]|PD|FLAIR|STIR|DWI|ADC|SWI|TOF|ASL|PERF|BOLD|MR", re.IGNORECASE)
_OTHER_NAMES = re.compile(r"(CB)?CT|PE?T|NM|SPECT|US|XR|XA|MG", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SERIES_NUMBERS, _HIGHEST_SERIES = 9000, 9999
FINE = 1000  # the largest number stored is at least this: rounding changes no value by more than 0.05% of the largest
_SAMPLED = 64  # so many positions along each axis, at most, from which the window is told


def write_series(volume: Volume, values: NDArray[Any], out: Path, about: About,
                 say: Say = lambda text: None) -> None:
    """Write a derived series: a folder of one file a slice, at the places of the source's slices.

    SOPInstanceUID, SeriesInstanceUID and StudyInstanceUID are new. FrameOfReferenceUID stays the source's: with a new
    one no viewer may lay the series over its source. Name, ID, birth date and sex of the patient stay too, and so do
    orientation in the scanner, whether pixels were once compressed with loss, and what is marked as visible in them;
    nothing else is taken from the source (`TAKEN`), whose slice each file names (SourceImageSequence). Storage classes
    are the classic ones whatever the source was: CT for HU, MR, or a secondary capture for anything else (PET, say).
    Memory is needed for one slice at a time. Numbers are stored as `stored` says.

    Args:
        volume: the source, as `inputs.volumes` gives it.
        values: [i, j, k], finite, as `read_frames(volume.frames)` gives them: HU, or on an arbitrary scale.
        out: the folder to make; it may exist if it is empty.

    Raises:
        UserError: `out` is there already or cannot be written; the source cannot be read any more.
    """
    how = stored(values, about.units)
    tags = _series_tags(volume, about, how.text)
    files: dict[str, list[tuple[int, int]]] = defaultdict(list)  # path -> (slice, frame) of what it holds
    for k, (path, frame) in enumerate(volume.frames):
        files[path].append((k, frame))
    with staged_folder(out) as stage, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is odd about the source's patient name
        for path, places in files.items():
            source = _read_source(Path(path))
            for k, frame in places:
                _write(stage / f"slice-{k + 1:04d}.dcm", _slice_tags(tags, source, frame, k + 1), values[:, :, k], how)
    say(f"{counted(len(volume.frames), 'slice')}: {how.text}")


def _write(path: Path, tags: Any, picture: NDArray[Any], how: Stored) -> None:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    how.describe(tags, picture)
    tags.file_meta = FileMetaDataset()
    tags.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    tags.file_meta.MediaStorageSOPClassUID = tags.SOPClassUID
    tags.file_meta.MediaStorageSOPInstanceUID = tags.SOPInstanceUID
    tags.save_as(path, enforce_file_format=True)


@dataclass(frozen=True, slots=True)
class Source:
    """What one of the source's files gives.

    Attributes:
        taken: a pydicom Dataset of the tags that all its slices share.
        frames: where each of its frames lies (each tile of a mosaic).
        sop_class, sop_uid: "" where it has none that are valid.
        numbered: whether its frames have numbers by which they can be referred to.
    """

    taken: Any
    frames: tuple[Frame, ...]
    sop_class: str
    sop_uid: str
    numbered: bool


def _read_source(path: Path) -> Source:
    """Read a file's header, not its pixels. Raises `UserError` if that cannot be done."""
    from pydicom.datadict import tag_for_keyword

    wanted = [tag for keyword in TAKEN if (tag := tag_for_keyword(keyword)) is not None]
    try:
        with opened(path, [*TAGS, *wanted]) as file:
            how, cut = described(file)
            placed = frames(file.dataset, how.frames, cut)
            sop_class, sop_uid = (_valid_uid(text(file.dataset, f"SOP{what}UID")) for what in ("Class", "Instance"))
            return Source(_taken(file.dataset, is_lossy(file)), placed, sop_class, sop_uid, how.frames > 1)
    except Unreadable as error:
        raise UserError(f"cannot be read any more: {error}", where=path) from error


def _valid_uid(uid: str) -> str:
    """The UID, or "" where it is none."""
    from pydicom.uid import UID

    return uid if UID(uid).is_valid else ""


def _taken(data: Any, lossy: bool) -> Any:
    from pydicom.charset import python_encoding
    from pydicom.dataset import Dataset

    out = Dataset()
    if characters := texts(data, "SpecificCharacterSet"):
        out.SpecificCharacterSet = list(characters) if set(characters) <= set(python_encoding) else "ISO_IR 192"
    name = value(data, "PatientName")
    out.PatientName = _without_control(name if name is None or hasattr(name, "components") else name[0])
    out.PatientID = _CONTROL.sub("", text(data, "PatientID"))
    birth = text(data, "PatientBirthDate")
    out.PatientBirthDate = birth if re.fullmatch(r"\d{8}", birth) else ""
    for keyword, allowed in _CHOICES.items():
        code = text(data, keyword)
        if code in allowed:
            setattr(out, keyword, code)
    out.BurnedInAnnotation = "YES" if text(data, "BurnedInAnnotation") == "YES" else "NO"
    # what was lost once stays lost, whatever the pixels are packed with afterwards
    out.LossyImageCompression = "01" if lossy else "00"
    methods, ratios = texts(data, "LossyImageCompressionMethod"), numbers(data, "LossyImageCompressionRatio")
    if lossy and ratios:
        out.LossyImageCompressionRatio = [_number_string(ratio) for ratio in ratios]
    if lossy and methods and set(methods) <= set(_LOSSY_METHODS):
        out.LossyImageCompressionMethod = list(methods)
    return out


def _without_control(name: Any) -> Any:
    """A person's name without control characters, which some viewers and terminals obey."""
    from pydicom.valuerep import PersonName

    if name is None or not _CONTROL.search(str(name)):
        return name
    return PersonName(_CONTROL.sub("", str(name)), getattr(name, "encodings", None))


def _number_string(number: float) -> str:
    """A number as DICOM writes decimal strings: at most 16 characters."""
    from pydicom.valuerep import format_number_as_ds

    return str(int(number)) if number == int(number) and abs(number) < 1e15 else format_number_as_ds(float(number))


def _storage_class(volume: Volume, about: About) -> str:
    """CT for values in HU; MR for contrasts of MR; a secondary capture for what is neither."""
    if about.units == HOUNSFIELD:
        return CT
    if _MR_NAMES.match(about.target) or (volume.facts.modality == "MR" and not _OTHER_NAMES.match(about.target)):
        return MR
    return CAPTURE


def _series_tags(volume: Volume, about: About, stored: str) -> Any:
    """A pydicom Dataset of what all slices share: all of it new, but for the frame of reference.

    `stored` says in words how the stored numbers come from the values.
    """
    from pydicom.dataset import Dataset
    from pydicom.uid import generate_uid

    out, now, sop_class = Dataset(), datetime.now(), _storage_class(volume, about)
    out.SOPClassUID = sop_class
    out.StudyInstanceUID, out.SeriesInstanceUID = generate_uid(), generate_uid()
    out.FrameOfReferenceUID = _valid_uid(volume.facts.frame_uid) or generate_uid()
    for keyword in ("StudyID", "AccessionNumber", "ReferringPhysicianName", "PatientSex", "PatientPosition",
                    "PositionReferenceIndicator"):  # must be there, and may be empty
        setattr(out, keyword, "")
    out.StudyDate = out.ContentDate = now.strftime("%Y%m%d")
    out.StudyTime = out.ContentTime = now.strftime("%H%M%S")
    number = volume.facts.series_number or 0
    out.SeriesNumber = _SERIES_NUMBERS + number if 0 <= number <= _HIGHEST_SERIES else _SERIES_NUMBERS
    out.SeriesDescription = f"synthetic {_plain(about.target, 23)} (ganatomy), {NOT_FOR_DIAGNOSIS}"
    out.DerivationDescription = _plain(
        f"synthetic, {NOT_FOR_DIAGNOSIS}: {about.target} from {about.source} by the model {about.model} of "
        f"ganatomy {__version__} (weights: {about.weights}); {stored}", 1024)
    out.Manufacturer, out.ManufacturerModelName = "ganatomy", _plain(about.model, 64)
    out.SoftwareVersions = _plain(f"ganatomy {__version__}", 64)
    out.ContentQualification = "RESEARCH"
    out.Modality, kind = {CT: ("CT", ["AXIAL"]), MR: ("MR", ["OTHER"]), CAPTURE: ("OT", [])}[sop_class]
    out.ImageType = ["DERIVED", "SECONDARY", *kind]
    # what the storage class asks for besides: a synthetic image has no scanner's settings
    if sop_class == CAPTURE:
        out.ConversionType = "SYN"
    elif sop_class == MR:
        out.ScanningSequence, out.SequenceVariant, out.ScanOptions, out.MRAcquisitionType = "RM", "NONE", "", ""
        out.RepetitionTime, out.EchoTime, out.EchoTrainLength = None, None, None
    else:
        out.KVP, out.AcquisitionNumber = None, None
        out.RescaleSlope, out.RescaleIntercept, out.RescaleType = "1", "0", HOUNSFIELD
    return out


def _slice_tags(series: Any, source: Source, frame: int, number: int) -> Any:
    """A pydicom Dataset of one slice without pixels: a frame of the source's file, a number from 1 in the series."""
    from pydicom.dataset import Dataset
    from pydicom.uid import generate_uid

    out, place = Dataset(), source.frames[frame]
    out.update(series)
    out.update(source.taken)
    out.SOPInstanceUID, out.InstanceNumber = generate_uid(), number
    out.ImagePositionPatient = [_number_string(x) for x in place.position]
    out.ImageOrientationPatient = [_number_string(x) for x in place.orientation]
    out.PixelSpacing = [_number_string(x) for x in place.spacing]
    out.SliceThickness = None if place.thickness is None else _number_string(place.thickness)
    if place.gap is not None:
        out.SpacingBetweenSlices = _number_string(place.gap)
    if source.sop_class and source.sop_uid:
        out.SourceImageSequence = [_reference(source, frame)]
    return out


def _reference(source: Source, frame: int) -> Any:
    from pydicom.dataset import Dataset

    purpose, out = Dataset(), Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
    purpose.CodeMeaning = "Source of Image Processing Operation"
    out.ReferencedSOPClassUID, out.ReferencedSOPInstanceUID = source.sop_class, source.sop_uid
    if source.numbered:
        out.ReferencedFrameNumber = frame + 1
    out.SpatialLocationsPreserved, out.PurposeOfReferenceCodeSequence = "YES", [purpose]
    return out


def _plain(text_: str, most: int) -> str:
    """Text that any character set can hold; a backslash would part values."""
    return re.sub(r"[^ -\[\]-~]", "?", text_)[:most].strip()


@dataclass(frozen=True, slots=True)
class Stored:
    """16-bit numbers: value x `factor`, rounded; `signed` where there are negative ones.

    `window` is centre and width of the numbers that a viewer is to show at first; `text` says the relation in words.
    """

    factor: float
    signed: bool
    window: tuple[float, float]
    text: str

    def describe(self, out: Any, picture: NDArray[Any]) -> None:
        """Put a slice [i, j] and what describes its pixels into a pydicom Dataset."""
        out.Rows, out.Columns = picture.shape[1], picture.shape[0]
        out.SamplesPerPixel, out.PhotometricInterpretation = 1, "MONOCHROME2"
        out.BitsAllocated, out.BitsStored, out.HighBit = 16, 16, 15
        out.PixelRepresentation = int(self.signed)
        out.WindowCenter, out.WindowWidth = (f"{x:.8g}" for x in self.window)
        dtype = np.dtype("<i2" if self.signed else "<u2")
        levels = np.rint(np.asarray(picture, dtype=np.float64).T * self.factor)
        # what does not fit (HU only) becomes the nearest that does
        out.PixelData = np.clip(levels, np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype).tobytes()


def stored(values: NDArray[Any], units: str) -> Stored:
    """How a volume is to be stored.

    HU are stored as they are, rounded to whole ones, signed. All else has no rescale in DICOM's MR image, so the
    numbers themselves must do: values whose largest is between 1000 and what 16 bits hold are rounded; smaller and
    larger ones are multiplied by one power of ten for all slices first. Numbers are signed only if some are negative.
    """
    low, high = float(values.min()), float(values.max())
    if units == HOUNSFIELD:
        return Stored(1.0, True, _window(values, 1.0, air=True), "stored value = HU")
    factor = _factor(max(abs(low), abs(high)), 65535 if low >= 0 else 32767)
    times = "" if factor == 1 else f"{factor:g} x "
    return Stored(factor, low * factor < -0.5, _window(values, factor, air=False), f"stored value = {times}{units}")


def _factor(largest: float, most: int) -> float:
    """The power of ten, the nearest to 1, that brings the largest value to between FINE and `most`."""
    if largest < 1e-30 or FINE <= largest <= most:
        return 1.0
    if largest < FINE:
        return 10.0 ** math.ceil(math.log10(FINE / largest))
    return 10.0 ** -math.ceil(math.log10(largest / most))


def _window(values: NDArray[Any], factor: float, air: bool) -> tuple[float, float]:
    """Centre and width from the 1st to the 99.5th percentile; `air`: only of what is brighter than the mean, since
    most of a CT is air."""
    steps = tuple(slice(None, None, -(-n // _SAMPLED)) for n in values.shape)
    sample = np.asarray(values[steps], dtype=np.float64) * factor
    bright = sample[sample >= sample.mean()]
    low = float(np.percentile(bright if air else sample, 1))
    high = float(np.percentile(bright, 99.5))
    return (low + high) / 2, max(1.0, high - low)
