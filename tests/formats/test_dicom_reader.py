"""Reading one DICOM file: values, dtypes, geometry, and that pydicom's own files come out as pydicom reads them."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless, RLELossless

from ganatomy.data.images import Unreadable
from ganatomy.formats import dicom
from tests.dicom_files import RAMP, SECONDARY, bundled, dicom_dataset, save, write_dicom, write_enhanced

REAL = Path(os.environ.get("GANATOMY_TEST_DATA", Path(__file__).parents[3] / "shared/data")) / "dicom"


@pytest.mark.parametrize(("dtype", "tags", "kept", "value"), [
    (np.uint16, {"BitsStored": 12, "HighBit": 11}, np.uint16, 100),
    (np.uint8, {}, np.uint8, 100),
    (np.uint16, {"BitsStored": 12, "HighBit": 11, "RescaleSlope": 1, "RescaleIntercept": -1024}, np.int16, -924),
    (np.int16, {"RescaleSlope": 1, "RescaleIntercept": -1024, "modality": "CT"}, np.int16, -924),
    (np.uint16, {"RescaleSlope": 2.5, "RescaleIntercept": -10}, np.float32, 240),
    (np.uint16, {"RescaleSlope": 1, "RescaleIntercept": 0.5}, np.float32, 100.5),
    (np.uint16, {"RescaleSlope": 1, "RescaleIntercept": -1024}, np.float32, -924),
])
def test_stored_numbers_become_values_in_the_dtype_that_the_header_tells(tmp_path, dtype, tags, kept, value):
    path = write_dicom(tmp_path / "a.dcm", RAMP.astype(dtype), **tags)

    pixels = dicom.read(path)

    assert dicom.scan(path).dtype == dicom.facts(path).dtype == pixels.dtype == kept
    assert pixels[0, 10, 0] == value
    assert np.array_equal(pixels[0] - pixels[0, 0, 0], RAMP * np.float64(tags.get("RescaleSlope", 1)))


def test_the_hounsfield_units_of_padding_saturate(tmp_path):
    pixels = np.array([[-32768, 0], [40, 2000]], dtype=np.int16)
    path = write_dicom(tmp_path / "a.dcm", pixels, modality="CT", RescaleSlope=1, RescaleIntercept=-1024)

    assert dicom.read(path).tolist() == [[[-32768, -1024], [-984, 976]]]


def test_junk_above_the_stored_bits_is_masked_and_the_sign_kept(tmp_path):
    overlay = RAMP | np.uint16(0xF000)
    unsigned = write_dicom(tmp_path / "a.dcm", overlay, BitsStored=12, HighBit=11)
    signed = write_dicom(tmp_path / "b.dcm", overlay, BitsStored=7, HighBit=6, PixelRepresentation=1)
    shifted = write_dicom(tmp_path / "c.dcm", RAMP << 4, BitsStored=12, HighBit=15)

    assert np.array_equal(dicom.read(unsigned)[0], RAMP)
    assert np.array_equal(dicom.read(signed)[0], np.where(RAMP < 64, RAMP, RAMP.astype(int) - 128))
    assert np.array_equal(dicom.read(shifted)[0], RAMP)


def test_monochrome1_is_turned_around_but_for_uptake(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", RAMP, BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1",
                       RescaleSlope=2, RescaleIntercept=7)

    assert np.array_equal(dicom.read(path)[0], 4095 - RAMP)
    uptake = write_dicom(tmp_path / "b.dcm", RAMP, PhotometricInterpretation="MONOCHROME1", modality="PT")
    assert np.array_equal(dicom.read(uptake)[0], RAMP)


def test_a_modality_lookup_table_is_applied(tmp_path):
    lut = Dataset()
    lut.LUTDescriptor, lut.LUTData = [100, 5, 16], (1000 + 3 * np.arange(100)).astype("<u2").tobytes()
    path = write_dicom(tmp_path / "a.dcm", RAMP, ModalityLUTSequence=Sequence([lut]), modality="CR")

    assert np.array_equal(dicom.read(path)[0], 1000 + 3 * np.clip(RAMP.astype(int) - 5, 0, 99))
    assert dicom.facts(path).dtype == np.uint16


def test_colour_is_rgb_whatever_the_order_of_its_planes(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    mixed = write_dicom(tmp_path / "a.dcm", picture)
    planes = dicom_dataset(picture, {})
    planes.PixelData = picture.transpose(2, 0, 1).tobytes()
    apart = save(tmp_path / "b.dcm", planes, {"PlanarConfiguration": 1, "SOPClassUID": SECONDARY})

    for path in (mixed, apart):
        assert np.array_equal(dicom.read(path)[0], picture)
        assert (dicom.scan(path).channels, dicom.scan(path).shape) == (3, (1, 6, 8))


@pytest.mark.parametrize("grey", [False, True])
def test_a_palette_is_resolved_to_rgb_or_to_grey(tmp_path, grey):
    table = np.random.default_rng(1).integers(0, 256, (3, 256), dtype=np.uint8)
    table = np.repeat(table[:1], 3, axis=0) if grey else table
    tags = {"PhotometricInterpretation": "PALETTE COLOR", "SamplesPerPixel": 1}
    for row, colour in zip(table, ("Red", "Green", "Blue"), strict=True):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tags[f"{colour}PaletteColorLookupTableData"] = (row.astype("<u2") << 8).tobytes()
    path = write_dicom(tmp_path / "a.dcm", RAMP.astype(np.uint8), **tags)

    expected = table[0][RAMP] if grey else table.T[RAMP]
    assert np.array_equal(dicom.read(path)[0], expected)
    assert dicom.scan(path).channels == (1 if grey else 3)


def test_sixteen_bit_colour_is_refused(tmp_path):
    dataset = dicom_dataset(np.zeros((4, 4, 3), dtype=np.uint16), {})

    with pytest.raises(Unreadable, match="16 bits a colour channel"):
        dicom.scan(save(tmp_path / "a.dcm", dataset, {"SOPClassUID": SECONDARY}))


@pytest.mark.parametrize(("tags", "spacing"), [
    ({"PixelSpacing": [0.5, 0.7], "ImagerPixelSpacing": [9, 9]}, (0.5, 0.7)),
    ({"ImagerPixelSpacing": [0.2, 0.3]}, (0.2, 0.3)),
    ({"NominalScannedPixelSpacing": [0.2, 0.4]}, (0.2, 0.4)),
    ({"PixelSpacing": [0, 1]}, None),
    ({}, None),
])
def test_spacing_is_rows_then_columns_and_unknown_where_it_cannot_be_meant(tmp_path, tags, spacing):
    path = write_dicom(tmp_path / "a.dcm", RAMP, spacing=None, **tags)

    assert dicom.scan(path).spacing == spacing
    assert dicom.facts(path).frames[0].spacing == (spacing or ())


@pytest.mark.parametrize("regions", [1, 2])
def test_the_spacing_of_an_ultrasound_region_is_taken_if_there_is_one(tmp_path, regions):
    region = Dataset()
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.05, -0.04
    path = write_dicom(tmp_path / "a.dcm", RAMP, spacing=None, modality="US",
                       SequenceOfUltrasoundRegions=Sequence([region] * regions))

    assert dicom.scan(path).spacing == (pytest.approx((0.4, 0.5)) if regions == 1 else None)


def test_the_facts_of_a_slice(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", RAMP, patient="4711", name="Doe^Jane", description="T2 tra",
                       position=(1, 2, 3.5), spacing=(0.5, 0.7), number=9, EchoTime=80.5, AccessionNumber="ACC1",
                       PatientBirthDate="19700101", ReferringPhysicianName="Grey^Meredith", StationName="MR01",
                       BurnedInAnnotation="YES", OtherPatientIDs=["X1", "X2"])

    facts = dicom.facts(path)

    assert (facts.patient_id, facts.patient_name, facts.instance_number) == ("4711", "Doe^Jane", 9)
    assert (facts.series_description, facts.echo_time) == ("T2 tra", 80.5)
    assert (facts.rows, facts.columns, facts.channels, facts.modality) == (12, 10, 1, "MR")
    assert facts.burned_in and not facts.recognizable and not facts.lossy
    frame, = facts.frames
    assert (frame.position, frame.orientation) == ((1, 2, 3.5), (1, 0, 0, 0, 1, 0))
    assert (frame.spacing, frame.thickness, frame.echo) == ((0.5, 0.7), 1.0, 80.5)
    assert {("PatientID", "4711"), ("PatientName", "Doe^Jane"), ("AccessionNumber", "ACC1"), ("StationName", "MR01"),
            ("PatientBirthDate", "19700101"), ("ReferringPhysicianName", "Grey^Meredith"), ("OtherPatientIDs", "X2"),
            ("SOPInstanceUID", facts.sop_uid)} <= facts.identifiers
    assert pickle.loads(pickle.dumps(facts)) == facts


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_frames_are_decoded_as_they_were(tmp_path, syntax):
    frames = np.random.default_rng(3).integers(0, 4096, (3, 80, 70)).astype(np.uint16)
    dataset = pydicom.dcmread(write_enhanced(tmp_path / "a.dcm", frames, BitsStored=12, HighBit=11))
    dataset.compress(syntax)
    dataset.save_as(tmp_path / "b.dcm")

    assert np.array_equal(dicom.read(tmp_path / "b.dcm"), frames)
    assert np.array_equal(dicom.read_frames([(str(tmp_path / "b.dcm"), 2)])[:, :, 0], frames[2].T)
    dataset.Rows = 81
    dataset.save_as(tmp_path / "c.dcm")
    with pytest.raises(Unreadable):
        dicom.read(tmp_path / "c.dcm")


def test_files_are_known_by_what_they_hold(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", RAMP)
    dataset = pydicom.dcmread(path)
    bare = {}
    for name, implicit, little in (("explicit", False, True), ("implicit", True, True), ("big", False, False)):
        buffer = pydicom.filebase.DicomBytesIO()
        buffer.is_implicit_VR, buffer.is_little_endian = implicit, little
        pydicom.filewriter.write_dataset(buffer, dataset)
        bare[name] = buffer.getvalue()

    assert dicom.is_mine(path.read_bytes()[:352])
    assert all(dicom.is_mine(content[:352]) for content in bare.values())
    for other in (b"", b"\x08\0", b"\x08\0\x05\0" + bytes(348), bytes(352), b"\x02\0\0\0" * 88, b"\x89PNG" + bytes(348),
                  struct.pack("<i", 348) + bytes(348), b"The first words of a letter" * 13):
        assert not dicom.is_mine(other)
    (tmp_path / "bare").write_bytes(bare["explicit"])
    assert np.array_equal(dicom.read(tmp_path / "bare")[0], RAMP)


def reference(path: Path) -> np.ndarray | None:
    """What pydicom itself makes of a file, None if it cannot."""
    try:
        dataset = pydicom.dcmread(path, force=True)
        pixels = dataset.pixel_array
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            return np.asarray(apply_color_lut(pixels, dataset) >> 8)
        return pixels if dataset.SamplesPerPixel == 3 else np.asarray(apply_modality_lut(pixels, dataset))
    except Exception:
        return None


@pytest.mark.filterwarnings("ignore")
def test_pydicoms_own_files_are_read_as_pydicom_reads_them_or_refused_with_a_reason():
    read, undecided = 0, []
    for path in bundled():
        try:
            header, pixels = dicom.scan(path), dicom.read(path)
        except Unreadable as reason:
            assert len(str(reason)) > 10
            if reference(path) is not None and not any(w in str(reason) for w in ("colour channel", "not an image")):
                undecided.append((path.name, str(reason)))
            continue
        assert pixels.shape[:3] == header.shape and pixels.dtype == header.dtype
        expected = reference(path)
        assert expected is not None, path.name
        photometric = pydicom.dcmread(path, force=True).get("PhotometricInterpretation")
        if header.channels == 3 or photometric == "MONOCHROME2":
            assert np.array_equal(pixels.reshape(expected.shape), expected), path.name
        read += 1
    assert undecided == []
    assert read >= 75


@pytest.mark.skipif(not REAL.is_dir(), reason="the real files are not here")
def test_nine_transfer_syntaxes_hold_the_same_pixels():
    volumes = [dicom.read(path) for path in sorted((REAL / "transfer-syntaxes").glob("*.dcm"))]

    assert len(volumes) == 9 and volumes[0].shape == (35, 64, 64) and volumes[0].max() > 1000
    assert all(np.array_equal(volume, volumes[0]) for volume in volumes)
