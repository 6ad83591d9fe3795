"""The tags of a derived DICOM series: what it is, valid, with UIDs of its own, and no one's secrets."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import validate_value

from ganatomy.formats import read_frames
from ganatomy.translation.conversion import About
from ganatomy.translation.dicom import write_series
from ganatomy.translation.inputs import volumes
from tests.translation.test_translate_dicom import HU, PET, T2, derive, oblique

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
