"""A derived DICOM series: at the source's place, with the values meant, of the volumes that a folder holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ganatomy.core.errors import UserError
from ganatomy.formats import read_frames
from ganatomy.preparation.prepare import prepare
from ganatomy.sources.dicom.series import Volume
from ganatomy.translation.conversion import About
from ganatomy.translation.dicom import write_series
from ganatomy.translation.inputs import volumes
from tests.dicom_files import CT, ENHANCED_MR, MR, SECONDARY, save, uid, write_dicom, write_enhanced
from tests.formats.test_dicom_frames import mosaic
from tests.pacs import PATIENTS, pacs_export, ras_affine, rotation

T2 = About("pix2pix-brain-128", "T1", "T2", "arbitrary units", "0123456789abcdef")
HU = About("pix2pix", "T1", "CT", "HU", "0123456789abcdef")
PET = About("pix2pix", "T1", "PET", "arbitrary units", "0123456789abcdef")


def oblique(folder: Path, slices: int = 5, **tags: object) -> NDArray[np.float64]:
    """A series in a turned plane, its instance numbers against the normal; returns its affine to mm (RAS)."""
    affine = ras_affine(rotation(np.random.default_rng(3), 40), (1.25, 0.8), 3.3, np.array([-31.25, 12.5, 7.125]))
    turn = (affine[:3, :2] * [[-1], [-1], [1]]) / [0.8, 1.25]
    for k in range(slices):
        pixels = np.random.default_rng(k).integers(0, 900, (7, 6)).astype(np.uint16)
        write_dicom(folder / f"{(7 * k) % 5}.dcm", pixels, position=(affine @ [0, 0, k, 1])[:3] * [-1, -1, 1],
                    orientation=turn.T.ravel(), spacing=(1.25, 0.8), thickness=3.0, number=slices - k, **tags)
    return affine


def derive(volume: Volume, out: Path, about: About = T2, values: NDArray[np.float64] | None = None) -> list[Dataset]:
    """The derived files of a volume, in the order of their names; its own values by default."""
    write_series(volume, read_frames(volume.frames) if values is None else values, out, about)
    return [pydicom.dcmread(path) for path in sorted(out.iterdir())]


def noise(volume: Volume, low: float, high: float) -> NDArray[np.float64]:
    return np.random.default_rng(8).uniform(low, high, volume.header.shape)


@pytest.mark.parametrize(("about", "storage", "low", "high", "precision"), [
    (T2, MR, 0, 800, 0.05), (T2, MR, -300, 800, 0.05), (T2, MR, 0, 1, 5e-4), (T2, MR, 0, 2e6, 50),
    (HU, CT, -1024, 3000, 0.5), (PET, SECONDARY, 0, 40000, 0.5)])
def test_simpleitk_reads_the_values_at_the_source_s_places(tmp_path: Path, about: About, storage: str, low: float,
                                                           high: float, precision: float) -> None:
    sitk = pytest.importorskip("SimpleITK")
    affine = oblique(tmp_path / "source")
    volume, = volumes(tmp_path / "source")
    values = noise(volume, low, high)
    files = derive(volume, tmp_path / "out", about, values)
    images = []
    for folder in ("source", "out"):
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / folder)))
        images.append(reader.Execute())
    source, derived = images
    assert derived.GetSize() == source.GetSize()
    for what in ("GetOrigin", "GetSpacing", "GetDirection"):
        assert np.allclose(getattr(derived, what)(), getattr(source, what)(), rtol=0, atol=1e-6), what
    corner = np.asarray(derived.TransformIndexToPhysicalPoint((5, 6, 4))) * [-1, -1, 1]
    assert np.allclose(corner, (affine @ [5, 6, 4, 1])[:3], atol=1e-4)
    factor = float((files[0].DerivationDescription.split("stored value = ")[1] + " x ").split(" x ")[0]
                   if " x " in files[0].DerivationDescription else 1)
    theirs = sitk.GetArrayFromImage(derived).transpose(2, 1, 0) / factor
    assert np.abs(theirs - values).max() <= precision * 1.0001
    assert {file.SOPClassUID for file in files} == {storage}
    assert files[0].PixelRepresentation == (low < 0)


def test_slices_are_numbered_along_the_normal_without_gaps(tmp_path: Path) -> None:
    affine = oblique(tmp_path / "source")
    volume, = volumes(tmp_path / "source")
    files = derive(volume, tmp_path / "out")
    pixels = read_frames(volume.frames)
    assert [file.InstanceNumber for file in files] == [1, 2, 3, 4, 5]
    for k, file in enumerate(files):
        assert np.allclose(np.asarray(file.ImagePositionPatient, float) * [-1, -1, 1], (affine @ [0, 0, k, 1])[:3],
                           atol=1e-5)
        assert np.array_equal(file.pixel_array.T, pixels[:, :, k] * 10)
        source = next(d for path, _ in volume.frames if (d := pydicom.dcmread(path)).InstanceNumber == 5 - k)
        assert file.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
        for keyword in ("ImageOrientationPatient", "PixelSpacing", "SliceThickness", "FrameOfReferenceUID"):
            assert file[keyword].value == source[keyword].value


def test_an_enhanced_file_becomes_single_frames(tmp_path: Path) -> None:
    affine = ras_affine(rotation(np.random.default_rng(5), 30), (2.0, 1.5), 4.0, np.array([10.0, -20.0, 30.0]))
    turn = (affine[:3, :2] * [[-1], [-1], [1]]) / [1.5, 2.0]
    order = [3, 0, 2, 1]
    frames = np.random.default_rng(0).integers(0, 4000, (4, 5, 6)).astype(np.uint16)
    source = write_enhanced(tmp_path / "source" / "a.dcm", frames[order], orientation=turn.T.ravel(), spacing=(2, 1.5),
                            positions=[(affine @ [0, 0, k, 1])[:3] * [-1, -1, 1] for k in order], thickness=4.0)
    volume, = volumes(source)
    for k, file in enumerate(derive(volume, tmp_path / "out")):
        assert np.allclose(np.asarray(file.ImagePositionPatient, float) * [-1, -1, 1], (affine @ [0, 0, k, 1])[:3],
                           atol=1e-5)
        assert np.allclose(file.ImageOrientationPatient, turn.T.ravel(), atol=1e-6)
        assert (file.PixelSpacing, file.SliceThickness, file.SOPClassUID) == ([2, 1.5], 4, MR)
        assert np.array_equal(file.pixel_array, frames[k])
        reference, = file.SourceImageSequence
        assert reference.ReferencedSOPClassUID == ENHANCED_MR
        assert reference.ReferencedFrameNumber == order.index(k) + 1
        assert "NumberOfFrames" not in file


def test_a_mosaic_becomes_single_slices(tmp_path: Path) -> None:
    path, tiles = mosaic(tmp_path / "source" / "a.dcm", 13)
    source = pydicom.dcmread(path)
    save(path, source, {"SOPInstanceUID": uid("mosaic"), "SeriesInstanceUID": uid("series"), "Modality": "MR"})
    volume, = volumes(path)
    files = derive(volume, tmp_path / "out")
    back, = volumes(tmp_path / "out" / "slice-0001.dcm")
    assert np.allclose(back.header.affine, volume.header.affine, atol=1e-6)
    assert sorted(float(f.ImagePositionPatient[0]) for f in files) == [-10 - 4 * k for k in reversed(range(13))]
    for file in files:  # the normal is -x: tile k is at x = -10 - 4 k
        assert (file.Rows, file.Columns, file.SpacingBetweenSlices) == (6, 5, 4)
        tile = round((-10 - float(file.ImagePositionPatient[0])) / 4)
        assert np.array_equal(file.pixel_array, tiles[tile])
        assert "ReferencedFrameNumber" not in file.SourceImageSequence[0]


def test_a_series_of_one_slice_and_one_without_a_frame_of_reference(tmp_path: Path) -> None:
    lines: list[str] = []
    oblique(tmp_path / "source", slices=1, FrameOfReferenceUID=None)
    volume, = volumes(tmp_path / "source", lines.append)
    assert any("single slice" in line for line in lines)
    file, = derive(volume, tmp_path / "out", values=np.zeros((6, 7, 1)))
    assert file.FrameOfReferenceUID.is_valid
    assert not file.pixel_array.any()
    assert file.WindowWidth >= 1


def test_prepare_reads_a_derived_series_back(tmp_path: Path) -> None:
    export = pacs_export(tmp_path / "pacs")
    for number, volume in enumerate(volumes(export.folder)):
        if volume.facts.series_description == "T2_tse_tra":
            derive(volume, tmp_path / "derived" / str(number))
    dataset = prepare(tmp_path / "derived", tmp_path / "dataset", size=24, fit="pad", intensity="identity",
                      slices="all", keep_derived=True)
    assert dataset.info.domains == ("T2",)
    rows = dataset.rows()
    assert len(rows) == 3 * 7 and len({row.subject for row in rows}) == len(PATIENTS)
    assert int(dataset.pixels(rows).max()) == max(
        int(p.voxels.max()) for (_, description), p in export.series.items() if description == "T2_tse_tra")


def test_what_is_left_out_of_a_folder_is_said(tmp_path: Path) -> None:
    export, lines = pacs_export(tmp_path / "pacs"), list[str]()
    found = volumes(export.folder, lines.append)
    assert len(found) == len(export.series) - 1  # one FLAIR lacks a slice
    told = "\n".join(lines)
    for reason in ("localiser: series 1 'Survey' (9 slices)", "secondary capture", "duplicate", "lacks 1 slice",
                   "holds no image"):
        assert reason in told
    assert "--" not in told  # no options of other commands


def test_a_file_stands_for_its_series(tmp_path: Path) -> None:
    oblique(tmp_path / "pile", description="T1")
    write_dicom(tmp_path / "pile" / "other.dcm", np.zeros((9, 9), np.uint16), series="other")
    write_dicom(tmp_path / "pile" / "below" / "more.dcm", np.zeros((7, 6), np.uint16))
    (tmp_path / "pile" / "notes.txt").write_text("no image")
    volume, = volumes(tmp_path / "pile" / "3.dcm")
    assert volume.header.shape == (6, 7, 5)
    assert len(volumes(tmp_path / "pile")) > 1


def test_synthetic_series_are_taken_only_when_named(tmp_path: Path) -> None:
    oblique(tmp_path / "both" / "real")
    lines: list[str] = []
    derive(volumes(tmp_path / "both")[0], tmp_path / "both" / "synthetic")
    assert [v.path.parent.name for v in volumes(tmp_path / "both", lines.append)] == ["real"]
    assert any("synthetic" in line and "left out" in line for line in lines)
    named, = volumes(tmp_path / "both" / "synthetic" / "slice-0001.dcm")
    assert named.header.shape == (6, 7, 5)
    with pytest.raises(UserError, match="is of a model"):
        volumes(tmp_path / "both" / "synthetic")


def test_nothing_usable_is_an_error_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("hello")
    write_dicom(tmp_path / "colour" / "a.dcm", np.zeros((8, 8, 3), np.uint8), position=None, orientation=None)
    for path, reason in ((tmp_path / "empty", "none"), (tmp_path / "a.txt", "no image"),
                         (tmp_path / "gone", "No such file"), (tmp_path / "colour", "pictures")):
        with pytest.raises(UserError, match=reason):
            volumes(path)


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    oblique(tmp_path / "source")
    volume, = volumes(tmp_path / "source")
    derive(volume, tmp_path / "there")
    with pytest.raises(UserError, match="already exists"):
        write_series(volume, noise(volume, 0, 1), tmp_path / "there", T2)
    Path(volume.frames[2][0]).unlink()
    with pytest.raises(UserError, match="cannot be read any more"):
        write_series(volume, noise(volume, 0, 1), tmp_path / "out", T2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source", "there"]
