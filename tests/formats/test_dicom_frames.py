"""Multi-frame DICOM files, volumes made of frames, and Siemens mosaics: values, places and order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ganatomy.data.images import Unreadable
from ganatomy.formats import dicom
from tests.dicom_files import RAMP, dicom_dataset, save, write_dicom, write_enhanced


def test_an_enhanced_file_is_rescaled_and_placed_frame_by_frame(tmp_path):
    frames = np.stack([RAMP, RAMP + 1, RAMP + 2])
    path = write_enhanced(tmp_path / "a.dcm", frames, positions=[(0, 0, 5), (0, 0, 2), (1, 0, -1)],
                          rescale=[(1, 0), (2, 0), (3, -1)], temporal=[1, 2, 3], echoes=[10, 20, 30],
                          stacks=["a", "a", "b"], spacing=(0.5, 0.7), thickness=3)

    facts = dicom.facts(path)

    assert [frame.position for frame in facts.frames] == [(0, 0, 5), (0, 0, 2), (1, 0, -1)]
    assert [(f.temporal, f.echo, f.stack, f.indices) for f in facts.frames] == [
        (1, 10, "a", (1, 1)), (2, 20, "a", (1, 2)), (3, 30, "b", (1, 3))]
    assert facts.frames[2].spacing == (0.5, 0.7) and facts.frames[2].thickness == 3 and not facts.cine
    assert facts.dtype == np.float32 == dicom.scan(path).dtype
    assert np.array_equal(dicom.read(path), np.stack([RAMP, 2 * (RAMP + 1), 3 * (RAMP + 2.0) - 1]))


def test_a_multi_frame_file_without_positions_is_a_cine(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", np.stack([RAMP] * 4), modality="US")

    assert dicom.facts(path).cine and dicom.scan(path).volumetric
    assert dicom.scan(path).shape == (4, 12, 10) == dicom.read(path).shape


def test_a_volume_has_columns_rows_and_frames_in_the_order_asked_for(tmp_path):
    enhanced = write_enhanced(tmp_path / "e.dcm", np.stack([RAMP + k for k in range(5)]))
    slices = [str(write_dicom(tmp_path / f"{k}.dcm", RAMP + 10 * k)) for k in range(3)]

    volume = dicom.read_frames([(slices[2], 0), (str(enhanced), 4), (slices[0], 0), (str(enhanced), 1),
                                (str(enhanced), 4)])

    assert volume.shape == (10, 12, 5) and volume.dtype == np.uint16
    expected = [RAMP + 20, RAMP + 4, RAMP, RAMP + 1, RAMP + 4]
    assert all(np.array_equal(volume[:, :, k], expected[k].T) for k in range(5))


def test_slices_with_rescales_of_their_own_share_a_dtype(tmp_path):
    plain = write_dicom(tmp_path / "a.dcm", RAMP)
    scaled = write_dicom(tmp_path / "b.dcm", RAMP, RescaleSlope=0.5, RescaleIntercept=1)

    volume = dicom.read_frames([(str(plain), 0), (str(scaled), 0)])

    assert volume.dtype == np.float32 == dicom.common_dtype([dicom.facts(p).dtype for p in (plain, scaled)])
    assert np.array_equal(volume[:, :, 0].T, RAMP) and np.array_equal(volume[:, :, 1].T, RAMP * 0.5 + 1)


def test_a_volume_of_odd_slices_is_refused(tmp_path):
    plain = str(write_dicom(tmp_path / "a.dcm", RAMP))
    other = str(write_dicom(tmp_path / "b.dcm", RAMP[:6]))
    colour = str(write_dicom(tmp_path / "c.dcm", np.zeros((12, 10, 3), dtype=np.uint8)))

    for second, reason in ((other, "differ in size"), (colour, "colour")):
        with pytest.raises(Unreadable, match=reason):
            dicom.read_frames([(plain, 0), (second, 0)])
    with pytest.raises(Unreadable, match="no number 2"):
        dicom.read_frames([(plain, 1)])


def mosaic(path: Path, count: int | None) -> tuple[Path, np.ndarray]:
    """A Siemens mosaic of 4 x 4 tiles of 6 x 5 pixels."""
    tiles = np.random.default_rng(2).integers(0, 4096, (16, 6, 5)).astype(np.uint16)
    sheet = tiles.reshape(4, 4, 6, 5).transpose(0, 2, 1, 3).reshape(24, 20)
    dataset = dicom_dataset(sheet, {})
    if count is not None:
        dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", count)
    tags = {"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"], "ImagePositionPatient": [-10, -20, 30],
            "ImageOrientationPatient": [0, 1, 0, 0, 0, -1], "PixelSpacing": [2, 3], "SpacingBetweenSlices": 4,
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}
    return save(path, dataset, tags), tiles


def test_a_mosaic_is_cut_into_slices_with_places_of_their_own(tmp_path):
    path, tiles = mosaic(tmp_path / "a.dcm", 13)

    facts, volume = dicom.facts(path), dicom.read_frames([(str(path), k) for k in (12, 3)])

    assert facts.mosaic and (facts.rows, facts.columns, len(facts.frames)) == (6, 5, 13)
    assert np.array_equal(volume, tiles[[12, 3]].transpose(2, 1, 0))
    assert np.array_equal(dicom.read(path), tiles[:13])
    # 3 tiles of 5 columns at 3 mm along y, 3 of 6 rows at 2 mm against z, both halved; the normal is -x
    assert facts.frames[0].position == (-10, -20 + 22.5, 30 - 18)
    assert facts.frames[3].position == (-10 - 12, 2.5, 12)


@pytest.mark.parametrize("count", [None, 17, 0])
def test_a_mosaic_of_an_unknown_number_of_slices_is_refused(tmp_path, count):
    with pytest.raises(Unreadable, match="mosaic"):
        dicom.facts(mosaic(tmp_path / "a.dcm", count)[0])
