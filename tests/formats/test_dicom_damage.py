"""DICOM files that hold no image, claim what cannot be, or are damaged: each is told with a reason, at once."""

from __future__ import annotations

import time

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from ganatomy.data.images import Unreadable
from ganatomy.formats import dicom
from ganatomy.formats.dicom import file
from tests.dicom_files import CT, RAMP, save, write_dicom, write_enhanced


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_a_compressed_file_that_is_cut_short_is_told_by_its_header(tmp_path, syntax):
    frames = np.random.default_rng(3).integers(0, 4096, (2, 80, 70)).astype(np.uint16)
    dataset = pydicom.dcmread(write_enhanced(tmp_path / "a.dcm", frames))
    dataset.compress(syntax)
    dataset.save_as(tmp_path / "b.dcm")
    content = (tmp_path / "b.dcm").read_bytes()

    for left in (len(content) - 20, len(content) - 5000, len(content) - 12000):
        (tmp_path / "c.dcm").write_bytes(content[:left])
        with pytest.raises(Unreadable, match="cut short"):
            dicom.scan(tmp_path / "c.dcm")


@pytest.mark.parametrize(("sop_class", "reason"), [
    ("1.2.840.10008.5.1.4.1.1.88.11", "Basic Text SR"), ("1.2.840.10008.5.1.4.1.1.104.1", "Encapsulated PDF"),
    ("1.2.840.10008.5.1.4.1.1.481.3", "RT Structure Set"), ("1.2.840.10008.5.1.4.1.1.9.1.1", "12-lead ECG Waveform"),
    ("1.2.840.10008.5.1.4.1.1.11.1", "Presentation State"), ("1.2.840.10008.1.3.10", "Media Storage Directory"),
    (CT, "no pixel data"), ("1.2.840.10008.5.1.4.1.1.66.4", "segmentation"),
])
def test_what_holds_no_image_is_told_by_name(tmp_path, sop_class, reason):
    path = save(tmp_path / "a.dcm", Dataset(), {"SOPClassUID": sop_class, "Modality": "OT"})

    for attempt in (dicom.scan, dicom.facts, dicom.read):
        with pytest.raises(Unreadable, match=reason):
            attempt(path)


def test_a_transfer_syntax_that_is_not_read_is_named(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", RAMP)
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4.100\0")
                     .replace(b"UI\x14\0001.2.840.10008.1.2.4", b"UI\x18\0001.2.840.10008.1.2.4"))

    with pytest.raises(Unreadable, match="MPEG2"):
        dicom.scan(path)


@pytest.mark.parametrize("tags", [
    {"Rows": 65535, "Columns": 65535}, {"Rows": 10000, "Columns": 10000}, {"NumberOfFrames": 2000000000},
    {"BitsStored": 17}, {"BitsAllocated": 12},
    {"SamplesPerPixel": 4}, {"PhotometricInterpretation": "HSV"}, {"RescaleSlope": 0}, {"RescaleSlope": 1e38},
    {"Rows": 0}, {"Columns": None}, {"PixelData": None}, {"PixelData": b""},
])
def test_absurd_headers_are_refused_at_once(tmp_path, tags):
    path = write_dicom(tmp_path / "a.dcm", RAMP, **tags)
    before = time.perf_counter()

    for attempt in (dicom.scan, dicom.facts, dicom.read):
        with pytest.raises(Unreadable):
            attempt(path)
    assert time.perf_counter() - before < 2


def test_a_deflated_file_is_read_unless_it_grows_without_end(tmp_path, monkeypatch):
    dataset = pydicom.dcmread(write_dicom(tmp_path / "a.dcm", RAMP))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "b.dcm")
    assert np.array_equal(dicom.read(tmp_path / "b.dcm")[0], RAMP)
    monkeypatch.setattr(file, "MAX_INFLATED", 100)
    with pytest.raises(Unreadable, match="when inflated"):
        dicom.scan(tmp_path / "b.dcm")


def test_an_element_longer_than_its_file_takes_no_memory(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", RAMP)
    content = path.read_bytes()
    place = content.index(b"\xe0\x7f\x10\x00OW")
    (tmp_path / "b.dcm").write_bytes(content[:place] + b"\x08\0\x05\0UT\0\0\xf0\xff\xff\x7f" + content[place:])

    with pytest.raises(Unreadable):
        dicom.read(tmp_path / "b.dcm")


def test_sequences_nested_without_end_are_told(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", RAMP)
    nested = (b"\x08\0\x15\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 20000
    (tmp_path / "b.dcm").write_bytes(path.read_bytes()[:-len(RAMP.tobytes()) - 12] + nested)

    with pytest.raises(Unreadable):
        dicom.facts(tmp_path / "b.dcm")


def test_a_run_length_beyond_its_picture_is_no_panic(tmp_path, capfd):
    dataset = pydicom.dcmread(write_dicom(tmp_path / "a.dcm", RAMP))
    dataset.compress(RLELossless)
    content = dataset.PixelData
    place = content.index(b"\x02\0\0\0\x40\0\0\0") + 64
    dataset.PixelData = content[:place] + b"\x81\x01" * 20 + content[place + 40:]
    dataset.save_as(tmp_path / "b.dcm")

    assert dicom.read(tmp_path / "b.dcm").shape == (1, 12, 10)  # what is too long is left, as padding
    assert capfd.readouterr() == ("", "")
