"""A PACS export as hospitals hand it out, written by the tests: every kind of mess, and what is to come out of it."""

from __future__ import annotations

import shutil
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from tests.dicom_files import SECONDARY, uid, write_dicom

PATIENTS = (("HN-4711-A", "Nachtigall^Ottilie", "19440229"), ("HN-0815-B", "Quastenflosser^Egon", "19710803"),
            ("HN-2342-C", "Zwiebelfisch^Ludmilla", "19990117"))
WIDTHS = {"T1": (18, 22), "T2": (24, 20), "FLAIR": (16, 16), "CT": (20, 20)}
SLICES = {"T1": 9, "T2": 7, "FLAIR": 8, "CT": 6}
TIMES = {"T1": (500.0, 12.0, None), "T2": (4200.0, 98.0, None), "FLAIR": (9000.0, 110.0, 2500.0), "CT": (None,) * 3}
MISSING = 3


@dataclass(frozen=True)
class Planted:
    """A series as it was written: grid, affine to mm (right, anterior, superior), pixels, files in anatomical order."""

    affine: NDArray[np.float64]
    voxels: NDArray[np.uint16]
    files: tuple[Path, ...]


@dataclass
class Export:
    """The folder, what is in it, and the identifiers that were planted.

    Attributes:
        series: (PatientID, description) -> series; those of SERIES are to be taken, but for the one that lacks a slice.
        others: what is to be left out, by kind.
    """

    folder: Path
    series: dict[tuple[str, str], Planted] = field(default_factory=dict)
    others: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    identifiers: set[str] = field(default_factory=set)

    @property
    def names(self) -> list[str]:
        """Relative paths of all files, as the file system lists them."""
        return [path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()]


def rotation(rng: np.random.Generator, angle: float) -> NDArray[np.float64]:
    """A rotation by up to `angle` degrees about a random axis."""
    axis = rng.normal(size=3)
    x, y, z = axis / np.linalg.norm(axis)
    turn = np.radians(rng.uniform(0.3, 1) * angle)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(turn) * cross + (1 - np.cos(turn)) * cross @ cross)


def ras_affine(turn: NDArray[np.float64], spacing: tuple[float, float], step: float,
               origin: NDArray[np.float64]) -> NDArray[np.float64]:
    """4x4 of (column, row, slice) to mm (right, anterior, superior), written out from DICOM PS3.3 C.7.6.2.1.1.

    `turn` holds the directions of row, column and normal in DICOM's axes as its columns.
    """
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = turn[:, 0] * spacing[1], turn[:, 1] * spacing[0], turn[:, 2] * step
    affine[:3, 3] = origin
    return np.asarray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)


def pacs_export(folder: Path, seed: int = 0) -> Export:
    """Write 3 patients of 4 series each, and what lies about beside them."""
    rng, export = np.random.default_rng(seed), Export(folder)
    for patient, (key, name, birth) in enumerate(PATIENTS):
        turn = rotation(rng, 12)
        planned = [("T1", "T1 tse tra", 2), ("T2", "T2_tse_tra", 3), ("FLAIR", "FLAIR cor", 4)]
        planned.append(("T1", "T1 tse tra", 7) if patient == 1 else ("CT", "CCT nativ", 5))
        for kind, description, number in planned:
            planted = _write_series(export, rng, patient, kind, description, number, turn)
            title = description if (key, description) not in export.series else f"{description} again"
            export.series[key, title] = planted
        export.identifiers |= {key, name, birth, f"ACC-{key}", uid(key, "study")}
    _write_the_rest(export, rng)
    return export


def _write_series(export: Export, rng: np.random.Generator, patient: int, kind: str, description: str, number: int,
                  turn: NDArray[np.float64]) -> Planted:
    if kind == "FLAIR":  # coronal: rows run to the left, columns to the feet
        turn = turn @ np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    spacing, step = ((0.8, 0.9), 4.4) if kind == "T1" else ((0.7, 0.7), 5.5) if kind == "T2" else ((1.0, 1.0), 3.3)
    width, height, slices = *WIDTHS[kind], SLICES[kind]
    # all series of a patient about one place, as those of a head are
    half = np.array([spacing[1] * (width - 1), spacing[0] * (height - 1), step * (slices - 1)]) / 2
    centre = np.array([10.0 * patient, -20.0, 30.0]) + rng.uniform(-2, 2, 3)
    affine = ras_affine(turn, spacing, step, np.round(centre - turn @ half, 2))
    grid = np.indices((width, height, slices))
    voxels = (4096 * patient + 512 * number + 16 * grid[2] + (grid[0] + 3 * grid[1]) % 16).astype(np.uint16)
    reverse, files = bool(rng.integers(2)), []
    for k in range(slices):
        path = _hidden(export.folder, rng, patient)
        position = (affine @ [0, 0, k, 1])[:3] * [-1, -1, 1]
        repetition, echo, inversion = TIMES[kind]
        key, name, birth = PATIENTS[patient]
        write_dicom(path, voxels[:, :, k].T, patient=key, name=name, series=f"{kind} {number}", description=description,
                    number=slices - k if reverse else k + 1, position=position, orientation=turn[:, :2].T.ravel(),
                    spacing=spacing, thickness=step * 0.9, modality="CT" if kind == "CT" else "MR",
                    frame="ct" if kind == "CT" else "head", SeriesNumber=number, StudyDate="20240229",
                    AccessionNumber=f"ACC-{key}", PatientBirthDate=birth, InstitutionName="Klinikum Hintertupfing",
                    RepetitionTime=repetition, EchoTime=echo, InversionTime=inversion)
        if (patient, kind, k) == (2, "FLAIR", MISSING):
            path.unlink()
        else:
            files.append(path)
    return Planted(affine, voxels, tuple(files))


def _hidden(folder: Path, rng: np.random.Generator, patient: int) -> Path:
    """A new place: folders of varying depth that say little, a name like a UID and no suffix."""
    parts = [f"DISC{rng.integers(1, 3)}", *(f"{rng.integers(16**6):06X}" for _ in range(rng.integers(0, 3))),
             f"S{patient}{rng.integers(1, 4)}"]
    return folder.joinpath(*parts, f"1.2.826.{rng.integers(10**9)}.{rng.integers(10**9)}")


def _write_the_rest(export: Export, rng: np.random.Generator) -> None:
    key, name, _ = PATIENTS[0]
    pixels = rng.integers(0, 900, (16, 16)).astype(np.uint16)
    planes = ((1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1))
    for i in range(9):
        path = _hidden(export.folder, rng, 0)
        write_dicom(path, pixels, patient=key, name=name, series="loc", description="Survey", number=i + 1,
                    position=np.roll([10.0 * (i // 3), 0, 0], 2 - i % 3), orientation=planes[i % 3], SeriesNumber=1)
        export.others["localiser"].append(path)
    for file in export.series[key, "T2_tse_tra"].files:
        path = _hidden(export.folder, rng, 0)
        path.parent.mkdir(parents=True, exist_ok=True)
        export.others["duplicate"].append(Path(shutil.copy(file, path)))
    key, name, _ = PATIENTS[1]
    path = _hidden(export.folder, rng, 1)
    write_dicom(path, rng.integers(0, 255, (30, 40, 3)).astype(np.uint8), patient=key, name=name, series="capture",
                description="Screen Save", modality="OT", position=None, orientation=None, spacing=None,
                SOPClassUID=SECONDARY, ImageType=["DERIVED", "SECONDARY"], SeriesNumber=99)
    export.others["secondary capture"].append(path)
    export.others["no image"] += [_report(export, rng), _directory(export.folder), export.folder / "README.txt"]
    (export.folder / "README.txt").write_text(f"Export for {name}\n")


def _report(export: Export, rng: np.random.Generator) -> Path:
    """A structured report, which has no pixels."""
    path = _hidden(export.folder, rng, 0)
    write_dicom(path, np.zeros((4, 4), np.uint8), patient=PATIENTS[0][0], name=PATIENTS[0][1], series="report",
                modality="SR", description="Befund", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    dataset = pydicom.dcmread(path)
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel",
                    "PhotometricInterpretation", "PixelRepresentation"):
        delattr(dataset, keyword)
    dataset.save_as(path)
    return path


def _directory(folder: Path) -> Path:
    dataset = pydicom.Dataset()
    dataset.FileSetID = "EXPORT"
    dataset.DirectoryRecordSequence = []
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    dataset.file_meta.MediaStorageSOPInstanceUID = uid("dicomdir")
    dataset.save_as(folder / "DICOMDIR", enforce_file_format=True)
    return folder / "DICOMDIR"
