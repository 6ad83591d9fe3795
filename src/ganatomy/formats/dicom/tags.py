"""What the tags of one DICOM file say, without its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.datadict import tag_for_keyword

from ganatomy.formats.dicom.codec import LOSSY, MAYBE_LOSSY, check_room, check_syntax
from ganatomy.formats.dicom.file import Opened, items, number, opened, text, texts, whole
from ganatomy.formats.dicom.frames import Frame, Tiles, frames, tiles
from ganatomy.formats.dicom.values import Stored, stored

__all__ = ["TAGS", "Facts", "Frame", "described", "facts"]

IDENTIFYING = (
    "PatientName", "PatientID", "OtherPatientIDs", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName",
    "PatientBirthDate", "PatientBirthTime", "PatientAddress", "PatientTelephoneNumbers", "PatientComments",
"MedicalRecordLocator", "MilitaryRank", "Occupation", "ResponsiblePerson",
    "IssuerOfPatientID", "EthnicGroup", "AdditionalPatientHistory", "RegionOfResidence", "CountryOfResidence",
    "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID", "StudyID", "AccessionNumber",
    "AdmissionID", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "AcquisitionDateTime",
    "InstanceCreationDate", "PerformedProcedureStepStartDate", "PerformedProcedureStepID", "RequestedProcedureID",
    "ScheduledProcedureStepID", "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName",
    "ReferringPhysicianName", "ReferringPhysicianAddress", "ReferringPhysicianTelephoneNumbers",
    "PerformingPhysicianName", "PhysiciansOfRecord", "NameOfPhysiciansReadingStudy", "RequestingPhysician",
    "OperatorsName", "RequestingService", "StationName", "PerformedStationName", "PerformedStationAETitle",
    "DeviceSerialNumber", "DeviceUID", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID")
_DESCRIBING = (
    "SOPClassUID", "SeriesNumber", "SeriesDescription", "ProtocolName", "Modality",
    "ImageType", "InstanceNumber", "AcquisitionNumber", "EchoTime", "RepetitionTime", "InversionTime",
    "TemporalPositionIdentifier", "ContrastBolusAgent", "ContentTime", "AcquisitionTime", "BurnedInAnnotation",
    "RecognizableVisualFeatures",
    "BodyPartExamined", "GantryDetectorTilt", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness",
    "SpacingBetweenSlices", "OtherPatientIDsSequence", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "SequenceOfUltrasoundRegions", "DirectoryRecordSequence")
_PICTURE = (
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelSpacing", "ImagerPixelSpacing",
    "NominalScannedPixelSpacing", "PixelPaddingValue", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
    "LossyImageCompression", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    *(f"{kind}PaletteColorLookupTable{what}" for colour in ("Red", "Green", "Blue")
      for kind, what in ((colour, "Descriptor"), (colour, "Data"), (f"Segmented{colour}", "Data"))))
_SIEMENS = [tag for block in range(0x10, 0x18) for tag in
            (0x190000 + block, 0x190000 + (block << 8) + 0x0A, 0x290000 + block, 0x290000 + (block << 8) + 0x10)]
TAGS = [*(tag for keyword in (*IDENTIFYING, *_DESCRIBING, *_PICTURE) if (tag := tag_for_keyword(keyword)) is not None),
        *_SIEMENS]
"""What is read of a file."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The tags of a file that finding series needs. Texts are stripped, "" where absent; numbers None where absent.

    Attributes:
        identifiers: (DICOM keyword, value) of every tag that names the patient, the study, people or places.
        rows, columns: of one frame (of one tile of a Siemens mosaic).
        channels: 1, or 3 for colour.
        dtype: of the values after rescale, as `read` and `read_frames` give them: uint8, uint16, int16 or float32.
        units: whether values are those of the scanner (HU, a PET's activity, MR's own scale); not where the grey scale
            had to be turned around (MONOCHROME1) or is a colour picture's.
        lossy: compressed with loss, now or before.
        padding: PixelPaddingValue, stored (before rescale); left in the pixels.
        content_time: ContentTime, else AcquisitionTime, as written (HHMMSS.ffffff).
        contrast_agent: ContrastBolusAgent names one.
        burned_in: BurnedInAnnotation is YES.
        recognizable: RecognizableVisualFeatures is YES.
        gantry_tilt: GantryDetectorTilt in degrees.
        mosaic: a Siemens mosaic, whose tiles are the frames.
        cine: several frames that are no slices: pictures over time.
        frames: one for each picture; a classic file has one.
    """

    patient_id: str = ""
    patient_name: str = ""
    birth_date: str = ""
    study_uid: str = ""
    study_date: str = ""
    identifiers: frozenset[tuple[str, str]] = frozenset()
    series_uid: str = ""
    series_number: int | None = None
    series_description: str = ""
    protocol: str = ""
    modality: str = ""
    image_type: tuple[str, ...] = ()
    sop_class: str = ""
    sop_uid: str = ""
    frame_uid: str = ""
    rows: int = 0
    columns: int = 0
    channels: int = 1
    dtype: np.dtype[np.generic] = np.dtype(np.float32)  # noqa: RUF009 - dtypes are immutable
    units: bool = True
    lossy: bool = False
    padding: int | None = None
    photometric: str = ""
    instance_number: int | None = None
    acquisition_number: int | None = None
    echo_time: float | None = None
    repetition_time: float | None = None
    inversion_time: float | None = None
    temporal_position: int | None = None
    content_time: str = ""
    contrast_agent: bool = False
    burned_in: bool = False
    recognizable: bool = False
    body_part: str = ""
    gantry_tilt: float | None = None
    mosaic: bool = False
    cine: bool = False
    frames: tuple[Frame, ...] = (Frame(),)


def facts(path: Path) -> Facts:
    """What the tags say. Raises `Unreadable` where the file holds no image that could be read, with the reason."""
    with opened(path, TAGS) as file:
        how, cut = described(file)
        return _facts(file, how, cut)


def described(file: Opened) -> tuple[Stored, Tiles | None]:
    """How a file's pictures are stored, and how a mosaic is cut up. Raises `Unreadable`, as far as headers tell."""
    how = stored(file)
    check_syntax(file.syntax)
    check_room(file, how)
    return how, tiles(file.dataset)


def is_lossy(file: Opened) -> bool:
    """Whether the values were compressed with loss, now or before."""
    told = text(file.dataset, "LossyImageCompression")
    return told == "01" or file.syntax in LOSSY or (file.syntax in MAYBE_LOSSY and told != "00")


def _facts(file: Opened, how: Stored, cut: Tiles | None) -> Facts:
    data = file.dataset
    placed = frames(data, how.frames, cut)
    return Facts(
        **_who(data), **_series(data), sop_class=text(data, "SOPClassUID"),
        sop_uid=text(data, "SOPInstanceUID"), frame_uid=text(data, "FrameOfReferenceUID"),
        rows=cut.rows if cut else how.rows, columns=cut.columns if cut else how.columns,
        channels=how.channels, dtype=how.dtype, units=how.units, lossy=is_lossy(file),
        padding=whole(data, "PixelPaddingValue"), photometric=how.photometric,
        instance_number=whole(data, "InstanceNumber"), acquisition_number=whole(data, "AcquisitionNumber"),
        echo_time=number(data, "EchoTime"), repetition_time=number(data, "RepetitionTime"),
        inversion_time=number(data, "InversionTime"), temporal_position=whole(data, "TemporalPositionIdentifier"),
        content_time=text(data, "ContentTime") or text(data, "AcquisitionTime"),
        contrast_agent=bool(text(data, "ContrastBolusAgent")),
        burned_in=text(data, "BurnedInAnnotation") == "YES",
        recognizable=text(data, "RecognizableVisualFeatures") == "YES", body_part=text(data, "BodyPartExamined"),
        gantry_tilt=number(data, "GantryDetectorTilt"), mosaic=cut is not None,
        cine=cut is None and how.frames > 1 and not any(frame.position for frame in placed), frames=placed)


def _who(data: Any) -> dict[str, Any]:
    named = {keyword: found for keyword in IDENTIFYING if (found := tuple(x for x in texts(data, keyword) if x))}
    others = [other for one in items(data, "OtherPatientIDsSequence") if (other := text(one, "PatientID"))]
    identifiers = {(keyword, found) for keyword, several in named.items() for found in several}
    identifiers |= {("OtherPatientIDs", other) for other in others}

    def first(keyword: str) -> str:
        return named.get(keyword, ("",))[0]

    return {
        "patient_id": first("PatientID"), "patient_name": first("PatientName"), "birth_date": first("PatientBirthDate"),
        "study_uid": first("StudyInstanceUID"), "study_date": first("StudyDate"), "identifiers": frozenset(identifiers)}


def _series(data: Any) -> dict[str, Any]:
    return {
        "series_uid": text(data, "SeriesInstanceUID"), "series_number": whole(data, "SeriesNumber"),
        "series_description": text(data, "SeriesDescription"), "protocol": text(data, "ProtocolName"),
        "modality": text(data, "Modality"), "image_type": texts(data, "ImageType")}
