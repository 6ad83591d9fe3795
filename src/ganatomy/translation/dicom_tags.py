"""What the files of a derived DICOM series hold: what is taken from the source's, by a fixed list, and what is new."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ganatomy import __version__
from ganatomy.data.intensity import HOUNSFIELD
from ganatomy.formats.dicom.file import numbers, opened, text, texts, value
from ganatomy.formats.dicom.tags import TAGS, Frame, described, frames, is_lossy
from ganatomy.sources.dicom.series import Volume
from ganatomy.translation.about import NOT_FOR_DIAGNOSIS, About

CT, MR, CAPTURE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.7"
"""Storage classes of what is written: classic CT and MR images, and secondary captures for what is neither."""
_CHOICES = {
    "PatientSex": ("M", "F", "O"), "RecognizableVisualFeatures": ("YES", "NO"),
    "PatientPosition": ("HFP", "HFS", "HFDR", "HFDL", "FFDR", "FFDL", "FFP", "FFS", "LFP", "LFS", "RFP", "RFS", "AFDR",
                        "AFDL", "PFDR", "PFDL")}
"""Taken from the source only with one of these values: a tag of a code may hold anything in truth."""
_LOSSY_METHODS = ("ISO_10918_1", "ISO_14495_1", "ISO_15444_1", "ISO_15444_15", "ISO_18181_1", "ISO_13818_2",
                  "ISO_14496_10", "ISO_23008_2")
TAKEN = ("SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "BurnedInAnnotation", *_CHOICES,
         "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod", "FrameOfReferenceUID",
         "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices")
"""All that is taken from a source's file, but for the UIDs by which it is referred to."""
_MR_NAMES = re.compile(r"T[12]|PD|FLAIR|STIR|DWI|ADC|SWI|TOF|ASL|PERF|BOLD|MR", re.IGNORECASE)
_OTHER_NAMES = re.compile(r"(CB)?CT|PE?T|NM|SPECT|US|XR|XA|MG", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SERIES_NUMBERS, _HIGHEST_SERIES = 9000, 9999


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


def read_source(path: Path) -> Source:
    """Read a file's header, not its pixels. Raises `Unreadable`."""
    from pydicom.datadict import tag_for_keyword

    wanted = [tag for keyword in TAKEN if (tag := tag_for_keyword(keyword)) is not None]
    with opened(path, [*TAGS, *wanted]) as file:
        how, cut = described(file)
        placed = frames(file.dataset, how.frames, cut)
        sop_class, sop_uid = (valid_uid(text(file.dataset, f"SOP{what}UID")) for what in ("Class", "Instance"))
        return Source(_taken(file.dataset, is_lossy(file)), placed, sop_class, sop_uid, how.frames > 1)


def valid_uid(uid: str) -> str:
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
        found = text(data, keyword)
        if found in allowed:
            setattr(out, keyword, found)
    out.BurnedInAnnotation = "YES" if text(data, "BurnedInAnnotation") == "YES" else "NO"
    _take_lossiness(out, data, lossy)
    return out


def _without_control(name: Any) -> Any:
    """A person's name without control characters, which some viewers and terminals obey."""
    from pydicom.valuerep import PersonName

    if name is None or not _CONTROL.search(str(name)):
        return name
    return PersonName(_CONTROL.sub("", str(name)), getattr(name, "encodings", None))


def _take_lossiness(out: Any, data: Any, lossy: bool) -> None:
    """What was lost once stays lost, whatever the pixels are packed with afterwards."""
    out.LossyImageCompression = "01" if lossy else "00"
    methods, ratios = texts(data, "LossyImageCompressionMethod"), numbers(data, "LossyImageCompressionRatio")
    if lossy and ratios:
        out.LossyImageCompressionRatio = [number_string(ratio) for ratio in ratios]
    if lossy and methods and set(methods) <= set(_LOSSY_METHODS):
        out.LossyImageCompressionMethod = list(methods)


def number_string(number: float) -> str:
    """A number as DICOM writes decimal strings: at most 16 characters."""
    from pydicom.valuerep import format_number_as_ds

    return str(int(number)) if number == int(number) and abs(number) < 1e15 else format_number_as_ds(float(number))


def storage_class(volume: Volume, about: About) -> str:
    """CT for values in HU; MR for contrasts of MR; a secondary capture for what is neither."""
    if about.units == HOUNSFIELD:
        return CT
    if _MR_NAMES.match(about.target) or (volume.facts.modality == "MR" and not _OTHER_NAMES.match(about.target)):
        return MR
    return CAPTURE


def series_tags(volume: Volume, about: About, stored: str) -> Any:
    """A pydicom Dataset of what all slices share: all of it new, but for the frame of reference.

    Args:
        stored: how the stored numbers come from the values, in words.
    """
    from pydicom.dataset import Dataset
    from pydicom.uid import generate_uid

    out, now, sop_class = Dataset(), datetime.now(), storage_class(volume, about)
    out.SOPClassUID = sop_class
    out.StudyInstanceUID, out.SeriesInstanceUID = generate_uid(), generate_uid()
    out.FrameOfReferenceUID = valid_uid(volume.facts.frame_uid) or generate_uid()
    for keyword in ("StudyID", "AccessionNumber", "ReferringPhysicianName", "PatientSex", "PatientPosition",
                    "PositionReferenceIndicator"):  # must be there, and may be empty
        setattr(out, keyword, "")
    out.StudyDate = out.ContentDate = now.strftime("%Y%m%d")
    out.StudyTime = out.ContentTime = now.strftime("%H%M%S")
    number = volume.facts.series_number or 0
    out.SeriesNumber = _SERIES_NUMBERS + number if 0 <= number <= _HIGHEST_SERIES else _SERIES_NUMBERS
    out.SeriesDescription = f"synthetic {_plain(about.target, 23)} (ganatomy), {NOT_FOR_DIAGNOSIS}"
    out.DerivationDescription = _plain(
        f"synthetic, {NOT_FOR_DIAGNOSIS}: {about.target} made from {about.source} by the model {about.model} of "
        f"ganatomy {__version__} (weights: {about.weights}); {stored}", 1024)
    out.Manufacturer, out.ManufacturerModelName = "ganatomy", _plain(about.model, 64)
    out.SoftwareVersions = _plain(f"ganatomy {__version__}", 64)
    out.ContentQualification = "RESEARCH"
    out.Modality, kind = {CT: ("CT", ["AXIAL"]), MR: ("MR", ["OTHER"]), CAPTURE: ("OT", [])}[sop_class]
    out.ImageType = ["DERIVED", "SECONDARY", *kind]
    _add_class(out, sop_class)
    return out


def _add_class(out: Any, sop_class: str) -> None:
    """What a storage class asks for: a synthetic image has no scanner's settings."""
    if sop_class == CAPTURE:
        out.ConversionType = "SYN"
    elif sop_class == MR:
        out.ScanningSequence, out.SequenceVariant, out.ScanOptions, out.MRAcquisitionType = "RM", "NONE", "", ""
        out.RepetitionTime, out.EchoTime, out.EchoTrainLength = None, None, None
    else:
        out.KVP, out.AcquisitionNumber = None, None
        out.RescaleSlope, out.RescaleIntercept, out.RescaleType = "1", "0", HOUNSFIELD


def slice_tags(series: Any, source: Source, frame: int, number: int) -> Any:
    """A pydicom Dataset of one slice without its pixels.

    Args:
        series: see `series_tags`.
        frame: which one of the source's file; number: of the slice in the series, from 1.
    """
    from pydicom.dataset import Dataset
    from pydicom.uid import generate_uid

    out, place = Dataset(), source.frames[frame]
    out.update(series)
    out.update(source.taken)
    out.SOPInstanceUID, out.InstanceNumber = generate_uid(), number
    out.ImagePositionPatient = [number_string(x) for x in place.position]
    out.ImageOrientationPatient = [number_string(x) for x in place.orientation]
    out.PixelSpacing = [number_string(x) for x in place.spacing]
    out.SliceThickness = None if place.thickness is None else number_string(place.thickness)
    if place.gap is not None:
        out.SpacingBetweenSlices = number_string(place.gap)
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
