"""Little DICOM files of many kinds, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.data import data_manager
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR, SECONDARY = "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.7"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
RAMP = np.arange(12 * 10, dtype=np.uint16).reshape(12, 10)


def uid(*names: object) -> str:
    """The same UID for the same names."""
    return str(generate_uid(entropy_srcs=[str(name) for name in names]))


def write_dicom(path: Path, pixels: np.ndarray[Any, Any], *, patient: str = "P1", name: str = "Doe^Jane",
                study: str = "study", series: str = "series", description: str = "T1 axial", number: int = 1,
                position: Sequence[float] | None = (0.0, 0.0, 0.0), orientation: Sequence[float] | None = AXIAL,
                spacing: Sequence[float] | None = (1.0, 1.0), thickness: float = 1.0, modality: str = "MR",
                frame: str = "frame", **tags: Any) -> Path:
    """A classic slice, uncompressed little-endian, as a scanner writes it.

    Args:
        pixels: [rows, columns] or [frames, rows, columns], uint8, uint16 or int16; [rows, columns, 3] is colour.
        study, series, frame: names; UIDs are made of them (the study's together with the patient's).
        tags: any other tag by its keyword; None leaves one out.
    """
    dataset = dicom_dataset(pixels, tags)
    defaults = {
        "PatientID": patient, "PatientName": name, "Modality": modality, "SeriesDescription": description,
        "StudyInstanceUID": uid(patient, study), "SeriesInstanceUID": uid(patient, study, series),
        "SOPInstanceUID": uid(patient, study, series, number, path), "InstanceNumber": number,
        "FrameOfReferenceUID": uid(patient, study, frame), "SliceThickness": thickness,
        "SOPClassUID": CT if modality == "CT" else MR, "ImageType": ["ORIGINAL", "PRIMARY"]}
    if position is not None:
        defaults["ImagePositionPatient"] = [f"{x:.8g}" for x in position]
    if orientation is not None:
        defaults["ImageOrientationPatient"] = [f"{x:.8g}" for x in orientation]
    if spacing is not None:
        defaults["PixelSpacing"] = [float(x) for x in spacing]
    return save(path, dataset, defaults | tags)


def write_enhanced(path: Path, frames: np.ndarray[Any, Any], *, patient: str = "P1", name: str = "Doe^Jane",
                   study: str = "study", series: str = "series", description: str = "T1 axial",
                   positions: Sequence[Sequence[float]] | None = None, orientation: Sequence[float] = AXIAL,
                   spacing: Sequence[float] = (1.0, 1.0), thickness: float = 1.0,
                   rescale: Sequence[tuple[float, float]] | None = None, temporal: Sequence[int] | None = None,
                   echoes: Sequence[float] | None = None, stacks: Sequence[str] | None = None,
                   **tags: Any) -> Path:
    """An enhanced multi-frame MR file.

    Args:
        frames: [frames, rows, columns].
        positions: of the frames; by default a stack along z, `thickness` apart.
        rescale: (slope, intercept) of each frame; temporal: number of the point in time of each; echoes: echo time in
            ms of each; stacks: the stack of each.
        tags: further tags of the file.
    """
    count = len(frames)
    positions = positions if positions is not None else [(0.0, 0.0, k * thickness) for k in range(count)]
    shared = _items(PlaneOrientationSequence=_items(ImageOrientationPatient=list(orientation)),
                    PixelMeasuresSequence=_items(PixelSpacing=list(spacing), SliceThickness=thickness))
    per_frame = []
    for k in range(count):
        group = _items(PlanePositionSequence=_items(ImagePositionPatient=[f"{x:.8g}" for x in positions[k]]))[0]
        content: dict[str, Any] = {
            "StackID": stacks[k] if stacks else "1", "InStackPositionNumber": k + 1,
            "DimensionIndexValues": [1, k + 1]}
        if temporal is not None:
            content["TemporalPositionIndex"] = temporal[k]
        group.FrameContentSequence = _items(**content)
        if rescale is not None:
            slope, intercept = rescale[k]
            group.PixelValueTransformationSequence = _items(RescaleSlope=slope, RescaleIntercept=intercept,
                                                            RescaleType="US")
        if echoes is not None:
            group.MREchoSequence = _items(EffectiveEchoTime=float(echoes[k]))
        per_frame.append(group)
    defaults = {
        "PatientID": patient, "PatientName": name, "Modality": "MR", "SeriesDescription": description,
        "StudyInstanceUID": uid(patient, study), "SeriesInstanceUID": uid(patient, study, series),
        "SOPInstanceUID": uid(patient, study, series, path), "InstanceNumber": 1, "SOPClassUID": ENHANCED_MR,
        "FrameOfReferenceUID": uid(patient, study, "frame"), "ImageType": ["ORIGINAL", "PRIMARY"],
        "NumberOfFrames": count, "SharedFunctionalGroupsSequence": shared,
        "PerFrameFunctionalGroupsSequence": DicomSequence(per_frame)}
    return save(path, dicom_dataset(frames, tags), defaults | tags)


def dicom_dataset(pixels: np.ndarray[Any, Any], tags: dict[str, Any]) -> Dataset:
    """A dataset with these pixels and the tags that describe them."""
    dataset = Dataset()
    colour = pixels.ndim > 2 and pixels.shape[-1] == 3 and tags.get("SamplesPerPixel", 3) == 3
    plane = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    dataset.Rows, dataset.Columns = plane
    frames = pixels.size // (plane[0] * plane[1] * (3 if colour else 1))
    if frames > 1:
        dataset.NumberOfFrames = frames
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        dataset.PlanarConfiguration = 0
    bits = pixels.dtype.itemsize * 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    return dataset


def save(path: Path, dataset: Dataset, tags: dict[str, Any], syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write a dataset after setting `tags` (None removes one) as a DICOM file with preamble."""
    for keyword, value in tags.items():
        if value is not None:
            setattr(dataset, keyword, value)
        elif keyword in dataset:
            delattr(dataset, keyword)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", MR)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", uid(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def bundled() -> list[Path]:
    """The test files inside pydicom's wheel; others would be fetched from the network."""
    root = Path(data_manager.__file__).parent / "test_files"
    return sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size < 4e6)


def _items(**tags: Any) -> DicomSequence:
    item = Dataset()
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    return DicomSequence([item])
