"""What the tags of one DICOM file say, without its pixels: of the file, and of each of its frames.

Frames are those of classic slices, enhanced multi-frame files and the tiles of Siemens mosaics.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.datadict import tag_for_keyword

from ganatomy.data.images import Unreadable
from ganatomy.formats.dicom.file import Opened, item, items, number, numbers, opened, text, texts, value, whole
from ganatomy.formats.dicom.pixels import LOSSY, MAYBE_LOSSY, Stored, check_room, check_syntax, stored

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
"""Tags that name the patient, the study, people or places."""
_TEXTS = {
    "patient_id": "PatientID", "patient_name": "PatientName", "birth_date": "PatientBirthDate",
    "study_uid": "StudyInstanceUID", "study_date": "StudyDate", "series_uid": "SeriesInstanceUID",
    "series_description": "SeriesDescription", "protocol": "ProtocolName", "modality": "Modality",
    "sop_class": "SOPClassUID", "sop_uid": "SOPInstanceUID", "frame_uid": "FrameOfReferenceUID",
    "body_part": "BodyPartExamined"}
_WHOLE = {"series_number": "SeriesNumber", "instance_number": "InstanceNumber",
          "acquisition_number": "AcquisitionNumber", "temporal_position": "TemporalPositionIdentifier"}
_NUMBERS = {"echo_time": "EchoTime", "repetition_time": "RepetitionTime", "inversion_time": "InversionTime",
            "slice_location": "SliceLocation"}
_OTHERS = (
    "ImageType", "ScanOptions", "ContrastBolusAgent", "ContentTime", "AcquisitionTime", "BurnedInAnnotation",
    "RecognizableVisualFeatures", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness",
    "SpacingBetweenSlices", "OtherPatientIDsSequence", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "SequenceOfUltrasoundRegions", "DirectoryRecordSequence",
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelSpacing", "ImagerPixelSpacing",
    "NominalScannedPixelSpacing", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "LossyImageCompression",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    *(f"{kind}PaletteColorLookupTable{what}" for colour in ("Red", "Green", "Blue")
      for kind, what in ((colour, "Descriptor"), (colour, "Data"), (f"Segmented{colour}", "Data"))))
_SIEMENS = [tag for block in range(0x10, 0x18) for tag in
            (0x190000 + block, 0x190000 + (block << 8) + 0x0A, 0x290000 + block, 0x290000 + (block << 8) + 0x10)]
_KEYWORDS = dict.fromkeys((*IDENTIFYING, *_TEXTS.values(), *_WHOLE.values(), *_NUMBERS.values(), *_OTHERS))
TAGS = [*(tag for keyword in _KEYWORDS if (tag := tag_for_keyword(keyword)) is not None), *_SIEMENS]
"""What is read of a file."""
Vector = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """Where one frame of a file lies, and what it is; mm in DICOM's patient axes (left, posterior, superior).

    Attributes:
        position: centre of the first pixel, 3 numbers.
        orientation: directions of growing column and growing row number, 6 numbers.
        spacing: between the centres of neighbouring rows and columns (row, column).
        thickness, gap: of the slice; SpacingBetweenSlices, centre to centre.
        stack, indices: StackID and DimensionIndexValues of a multi-frame file.
        temporal, echo: number of the point in time; echo time in ms.
        image_type: FrameType of a multi-frame file, else the file's ImageType.
    """

    position: Vector = ()
    orientation: Vector = ()
    spacing: Vector = ()
    thickness: float | None = None
    gap: float | None = None
    stack: str = ""
    indices: tuple[int, ...] = ()
    temporal: int | None = None
    echo: float | None = None
    image_type: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tiles:
    """A Siemens mosaic: `count` slices side by side, row by row, `across` in a row, of rows x columns pixels each."""

    count: int
    across: int
    rows: int
    columns: int

    def corner(self, tile: int) -> tuple[int, int]:
        """The first row and column of a tile."""
        return tile // self.across * self.rows, tile % self.across * self.columns


def tiles(data: Any) -> Tiles | None:
    """How a mosaic is cut up, None for any other file. Raises `Unreadable` where it cannot be known."""
    if "MOSAIC" not in texts(data, "ImageType") or (whole(data, "NumberOfFrames") or 1) > 1:
        return None
    rows, columns = whole(data, "Rows") or 0, whole(data, "Columns") or 0
    count = _private(data, 0x0A)
    if count is None:
        count = _csa(data, "NumberOfImagesInMosaic")
    try:
        slices = int(np.asarray(count, dtype=np.float64).reshape(-1)[0])
    except (TypeError, ValueError, IndexError, OverflowError):
        raise Unreadable("is a mosaic that does not say of how many slices") from None
    across = math.isqrt(max(slices, 1) - 1) + 1
    if not 1 <= slices <= 4096 or rows % across or columns % across or min(rows, columns) < across:
        raise Unreadable(f"is a mosaic that cannot be cut into {slices} slices")
    return Tiles(slices, across, rows // across, columns // across)


def frames(data: Any, count: int, cut: Tiles | None) -> tuple[Frame, ...]:
    """Each frame of a file with `count` of them, or each tile of a mosaic."""
    whole_file = _classic(data)
    if cut is not None:
        return _mosaic(data, whole_file, cut)
    if count == 1 and value(data, "PerFrameFunctionalGroupsSequence") is None:
        return (whole_file,)
    groups = items(data, "PerFrameFunctionalGroupsSequence")[:count]
    shared = item(data, "SharedFunctionalGroupsSequence")
    if not groups:
        return (replace(whole_file, position=()),) * count
    placed = [_grouped(group, shared, whole_file) for group in groups]
    return tuple(placed + [Frame(spacing=whole_file.spacing)] * (count - len(placed)))


def _classic(data: Any) -> Frame:
    return Frame(
        position=_vector(data, "ImagePositionPatient", 3), orientation=_vector(data, "ImageOrientationPatient", 6),
        spacing=_spacing(data), thickness=_positive(number(data, "SliceThickness")),
        gap=_positive(number(data, "SpacingBetweenSlices")), temporal=whole(data, "TemporalPositionIdentifier"),
        echo=number(data, "EchoTime"), image_type=texts(data, "ImageType"))


def _grouped(group: Any, shared: Any, file: Frame) -> Frame:
    def of(keyword: str) -> Any:
        own = item(group, keyword)
        return own if own is not None else item(shared, keyword)

    measures, content = of("PixelMeasuresSequence"), of("FrameContentSequence")
    types = (texts(of(f"{kind}FrameTypeSequence"), "FrameType") for kind in ("MRImage", "CTImage", "PET", "XRay3D"))
    echo = number(of("MREchoSequence"), "EffectiveEchoTime")
    gap = _positive(number(measures, "SpacingBetweenSlices"))
    thickness = _positive(number(measures, "SliceThickness"))
    return Frame(
        position=_vector(of("PlanePositionSequence"), "ImagePositionPatient", 3),
        orientation=_vector(of("PlaneOrientationSequence"), "ImageOrientationPatient", 6) or file.orientation,
        spacing=_vector(measures, "PixelSpacing", 2, positive=True) or file.spacing,
        thickness=thickness if thickness is not None else file.thickness, gap=gap if gap is not None else file.gap,
        stack=text(content, "StackID"), indices=tuple(int(x) for x in numbers(content, "DimensionIndexValues")),
        temporal=whole(content, "TemporalPositionIndex"), echo=echo if echo is not None else file.echo,
        image_type=next(filter(None, types), file.image_type))


def _mosaic(data: Any, file: Frame, cut: Tiles) -> tuple[Frame, ...]:
    """The file's position is that of a slice as large as the whole mosaic and with the same centre as the first tile's
    slice; the slices follow each other along the normal."""
    step = file.gap if file.gap is not None else file.thickness
    if not (file.position and file.orientation and file.spacing and step):
        return (replace(file, position=()),) * cut.count
    along_row, along_column = np.asarray(file.orientation).reshape(2, 3)
    margin_rows, margin_columns = cut.rows * (cut.across - 1) / 2, cut.columns * (cut.across - 1) / 2
    first = np.asarray(file.position) + along_row * margin_columns * file.spacing[1]
    first = first + along_column * margin_rows * file.spacing[0]
    normal = np.cross(along_row, along_column)
    own = _csa(data, "SliceNormalVector")
    try:
        if own is not None and float(np.dot(np.asarray(own, dtype=np.float64), normal)) < 0:
            normal = -normal
    except (TypeError, ValueError):
        pass  # a damaged vector says nothing
    places = [first + normal * step * k for k in range(cut.count)]
    return tuple(replace(file, position=tuple(float(x) for x in place)) for place in places)


def _spacing(data: Any) -> Vector:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        if spacing := _vector(data, keyword, 2, positive=True):
            return spacing
    regions = items(data, "SequenceOfUltrasoundRegions")
    if len(regions) != 1 or {whole(regions[0], f"PhysicalUnits{axis}Direction") for axis in "XY"} != {3}:
        return ()
    down, across = (abs(number(regions[0], f"PhysicalDelta{axis}") or 0.0) * 10 for axis in "YX")  # cm to mm
    return (down, across) if min(down, across) > 0 else ()


def _vector(data: Any, keyword: str, length: int, positive: bool = False) -> Vector:
    vector = numbers(data, keyword)
    return () if len(vector) != length or (positive and min(vector) <= 0) else vector


def _positive(length: float | None) -> float | None:
    return length if length is not None and length > 0 else None


def _private(data: Any, element: int) -> Any:
    """An element of Siemens' block in group 0019, wherever in the group it was put."""
    try:
        return data.private_block(0x0019, "SIEMENS MR HEADER")[element].value
    except Exception:  # absent or damaged
        return None


def _csa(data: Any, name: str) -> Any:
    """A value of Siemens' own header within the header, None where it is absent or damaged."""
    from nibabel.nicom import csareader

    try:
        header = csareader.read(data.private_block(0x0029, "SIEMENS CSA HEADER")[0x10].value)
        return header["tags"][name]["items"] or None
    except Exception:  # absent or damaged
        return None


@dataclass(frozen=True, slots=True)
class Facts:
    """The tags of a file that its series needs. Texts are stripped, "" where absent; numbers None where absent.

    Attributes:
        identifiers: (DICOM keyword, value) of every tag that names the patient, the study, people or places.
        rows, columns: of one frame (of one tile of a Siemens mosaic).
        dtype: of the values after rescale: uint8, uint16, int16 or float32.
        lossy: compressed with loss, now or before.
        content_time: ContentTime, else AcquisitionTime, as written (HHMMSS.ffffff).
        fat_saturated: ScanOptions say that the signal of fat was suppressed.
        cine: several frames that are no slices: pictures over time.
        frames: one for each picture; a classic file has one, a Siemens mosaic one for each tile.
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
    lossy: bool = False
    instance_number: int | None = None
    acquisition_number: int | None = None
    echo_time: float | None = None
    repetition_time: float | None = None
    inversion_time: float | None = None
    temporal_position: int | None = None
    slice_location: float | None = None
    content_time: str = ""
    contrast_agent: bool = False
    fat_saturated: bool = False
    burned_in: bool = False
    recognizable: bool = False
    body_part: str = ""
    mosaic: bool = False
    cine: bool = False
    frames: tuple[Frame, ...] = (Frame(),)


def facts(path: Path) -> Facts:
    """The tags of a file. Raises `Unreadable`, with the reason, where it holds no image that could be read."""
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
    stated = text(file.dataset, "LossyImageCompression")
    return stated == "01" or file.syntax in LOSSY or (file.syntax in MAYBE_LOSSY and stated != "00")


def _facts(file: Opened, how: Stored, cut: Tiles | None) -> Facts:
    data = file.dataset
    placed = frames(data, how.frames, cut)
    known: dict[str, Any] = {field: _first(data, keyword) for field, keyword in _TEXTS.items()}
    known |= {field: whole(data, keyword) for field, keyword in _WHOLE.items()}
    known |= {field: number(data, keyword) for field, keyword in _NUMBERS.items()}
    return Facts(
        **known, identifiers=_identifiers(data), image_type=texts(data, "ImageType"),
        rows=cut.rows if cut else how.rows, columns=cut.columns if cut else how.columns,
        channels=how.channels, dtype=how.dtype, lossy=is_lossy(file),
        content_time=text(data, "ContentTime") or text(data, "AcquisitionTime"),
        contrast_agent=bool(text(data, "ContrastBolusAgent")),
        fat_saturated="FS" in texts(data, "ScanOptions"), burned_in=text(data, "BurnedInAnnotation") == "YES",
        recognizable=text(data, "RecognizableVisualFeatures") == "YES", mosaic=cut is not None,
        cine=cut is None and how.frames > 1 and not any(frame.position for frame in placed), frames=placed)


def _identifiers(data: Any) -> frozenset[tuple[str, str]]:
    others = (text(one, "PatientID") for one in items(data, "OtherPatientIDsSequence"))
    return frozenset([*((keyword, word) for keyword in IDENTIFYING for word in texts(data, keyword) if word),
                      *(("OtherPatientIDs", other) for other in others if other)])


def _first(data: Any, keyword: str) -> str:
    return next(filter(None, texts(data, keyword)), "")
