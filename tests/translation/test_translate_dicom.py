"""A derived DICOM series: at the source's place, with the values meant, valid tags, and no one's secrets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import validate_value

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


# ------------------------------------------------------------------ tags

KNOWN = """
    SpecificCharacterSet ImageType SOPClassUID SOPInstanceUID StudyDate ContentDate StudyTime ContentTime
    AccessionNumber Modality ConversionType Manufacturer ReferringPhysicianName SeriesDescription ManufacturerModelName
    DerivationDescription SourceImageSequence ReferencedSOPClassUID ReferencedSOPInstanceUID ReferencedFrameNumber
    SpatialLocationsPreserved PurposeOfReferenceCodeSequence CodeValue CodingSchemeDesignator CodeMeaning
    PatientName PatientID PatientBirthDate PatientSex ScanningSequence SequenceVariant ScanOptions MRAcquisitionType
    SliceThickness KVP RepetitionTime EchoTime SpacingBetweenSlices EchoTrainLength SoftwareVersions PatientPosition
    ContentQualification StudyInstanceUID SeriesInstanceUID StudyID SeriesNumber AcquisitionNumber InstanceNumber
    ImagePositionPatient ImageOrientationPatient FrameOfReferenceUID PositionReferenceIndicator SamplesPerPixel
    PhotometricInterpretation Rows Columns PixelSpacing BitsAllocated BitsStored HighBit PixelRepresentation
    BurnedInAnnotation RecognizableVisualFeatures WindowCenter WindowWidth RescaleIntercept RescaleSlope RescaleType
    LossyImageCompression LossyImageCompressionRatio LossyImageCompressionMethod PixelData
""".split()  # noqa: SIM905 - a list of 75 lines
"""Every element that a derived file may have."""
SECRET = "Geheim"


def test_uids_are_new_and_unique(tmp_path: Path) -> None:
    oblique(tmp_path / "source")
    volume, = volumes(tmp_path / "source")
    sources = [pydicom.dcmread(path) for path, _ in volume.frames]
    files, again = derive(volume, tmp_path / "out"), derive(volume, tmp_path / "again")
    old = {d[k].value for d in sources for k in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")}
    assert len({f.SOPInstanceUID for f in files + again}) == 10
    for keyword in ("SeriesInstanceUID", "StudyInstanceUID"):
        assert len({f[keyword].value for f in files}) == len({f[keyword].value for f in again}) == 1
        assert files[0][keyword].value != again[0][keyword].value
    for file in files + again:
        assert not old & {file.SOPInstanceUID, file.SeriesInstanceUID, file.StudyInstanceUID}
        assert file.FrameOfReferenceUID == sources[0].FrameOfReferenceUID
        assert file.file_meta.MediaStorageSOPInstanceUID == file.SOPInstanceUID


def test_files_say_what_they_are(tmp_path: Path) -> None:
    oblique(tmp_path / "source", SeriesNumber=12)
    lines: list[str] = []
    volume, = volumes(tmp_path / "source")
    write_series(volume, read_frames(volume.frames), tmp_path / "out", T2, lines.append)
    file = pydicom.dcmread(tmp_path / "out" / "slice-0001.dcm")
    assert list(file.ImageType)[:2] == ["DERIVED", "SECONDARY"]
    assert "synthetic, not for diagnosis" in file.DerivationDescription
    assert "T2 from T1 by the model pix2pix-brain-128" in file.DerivationDescription
    assert file.SeriesDescription == "synthetic T2 (ganatomy), not for diagnosis"
    assert (file.SeriesNumber, file.Manufacturer, file.ContentQualification) == (9012, "ganatomy", "RESEARCH")
    assert (file.BurnedInAnnotation, file.LossyImageCompression) == ("NO", "00")
    assert lines == ["5 slices: stored value = 10 x arbitrary units"]


def test_every_element_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    oblique(tmp_path / "source", SeriesNumber=-3)
    volume, = volumes(tmp_path / "source")
    odd = About("m" * 90, "T1", "T2\\Müller " + "x" * 60, "arbitrary units", "w" * 2000)
    derive(volume, tmp_path / "mr", odd)
    derive(volume, tmp_path / "ct", HU)
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.RAISE)
    for name in ("mr", "ct"):
        for path in (tmp_path / name).iterdir():
            for element in pydicom.dcmread(path).iterall():
                for value in element.value if isinstance(element.value, MultiValue) else [element.value]:
                    plain = str(value) if element.VR in ("DS", "IS") and value is not None else value
                    validate_value(element.VR, plain, pydicom.config.RAISE)


def planted(dataset: Dataset) -> None:
    """Put a secret into every text tag there is that the reading of a series does not depend on."""
    used = {"Modality", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "ImageType",
            "FrameOfReferenceUID", "PatientName", "PatientID", "PatientBirthDate", "PhotometricInterpretation"}
    texts = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT", "UR", "DA", "TM", "DT", "AS"}
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if vr in texts and keyword and keyword not in used and 0x0008 <= tag >> 16 <= 0x4010:
            dataset[tag] = pydicom.DataElement(tag, vr, f"{SECRET}{keyword}", validation_mode=pydicom.config.IGNORE)
    dataset.OtherPatientIDsSequence = [Dataset()]
    dataset.OtherPatientIDsSequence[0].PatientID = f"{SECRET}other"
    block = dataset.private_block(0x0011, f"{SECRET} private", create=True)
    block.add_new(1, "LO", f"{SECRET} block")
    dataset.preamble = SECRET.encode().ljust(128, b"\0")
    dataset.file_meta.SourceApplicationEntityTitle = f"{SECRET}AE"


@pytest.mark.filterwarnings("ignore:.*")
@pytest.mark.parametrize("about", [T2, HU, PET])
def test_nothing_of_the_source_but_the_patient_s_own_tags_comes_through(tmp_path: Path, about: About) -> None:
    oblique(tmp_path / "source", name="Muster^Erika", patient="HN-4711", PatientBirthDate="19440229",
            SeriesDescription="T1")
    for path in (tmp_path / "source").iterdir():
        dataset = pydicom.dcmread(path)
        planted(dataset)
        dataset.save_as(path)
    assert (tmp_path / "source" / "0.dcm").read_bytes().count(SECRET.encode()) > 500
    volume, = volumes(tmp_path / "source" / "0.dcm")
    for file in derive(volume, tmp_path / "out", about):
        assert {element.keyword for element in file.iterall()} <= set(KNOWN)
        assert (file.PatientName, file.PatientID, file.PatientBirthDate, file.PatientSex) == (
            "Muster^Erika", "HN-4711", "19440229", "")
    for path in (tmp_path / "out").iterdir():
        assert SECRET.encode() not in path.read_bytes()


@pytest.mark.parametrize(("characters", "name"), [
    ("ISO_IR 100", "Müller^Jörg"), ("ISO_IR 192", "Zażółć^Gęślą"),
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう")])
def test_names_keep_their_letters(tmp_path: Path, characters: str | list[str], name: str) -> None:
    oblique(tmp_path / "source", slices=1, SpecificCharacterSet=characters, name=name)
    file, = derive(volumes(tmp_path / "source")[0], tmp_path / "out")
    assert str(file.PatientName) == name
    assert file.SpecificCharacterSet == pydicom.dcmread(tmp_path / "source" / "0.dcm").SpecificCharacterSet


def test_what_was_lossy_or_shows_a_face_or_text_still_is_and_does(tmp_path: Path) -> None:
    oblique(tmp_path / "source", LossyImageCompression="01", LossyImageCompressionRatio=12.5,
            LossyImageCompressionMethod="ISO_10918_1", RecognizableVisualFeatures="YES", BurnedInAnnotation="YES",
            PatientPosition="HFS")
    for file in derive(volumes(tmp_path / "source")[0], tmp_path / "out"):
        assert (file.LossyImageCompression, file.LossyImageCompressionRatio) == ("01", 12.5)
        assert file.LossyImageCompressionMethod == "ISO_10918_1"
        assert (file.RecognizableVisualFeatures, file.BurnedInAnnotation, file.PatientPosition) == ("YES", "YES", "HFS")


@pytest.mark.filterwarnings("ignore:Invalid value")
def test_a_birth_date_that_is_none_stays_behind(tmp_path: Path) -> None:
    oblique(tmp_path / "source", slices=1)
    dataset = pydicom.dcmread(tmp_path / "source" / "0.dcm")
    dataset["PatientBirthDate"] = pydicom.DataElement("PatientBirthDate", "DA", SECRET, pydicom.config.IGNORE)
    dataset.save_as(tmp_path / "source" / "0.dcm")
    file, = derive(volumes(tmp_path / "source")[0], tmp_path / "out")
    assert file.PatientBirthDate == ""
