"""What the shape of an array says: single pictures, colour, volumes, contrasts in a fourth axis."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from ganatomy import formats
from ganatomy.core.errors import UserError
from ganatomy.preparation.prepare import prepare
from ganatomy.sources.entry import Entry, Layout
from ganatomy.sources.fourth_axis import with_contrasts
from tests.builders import head, pictures, save

PICTURE = head(0)[:, :, 8]  # 20 x 24


@pytest.mark.parametrize(("array", "shape", "channels"), [
    (PICTURE[..., None], (1, 20, 24), 1), (PICTURE[None], (1, 20, 24), 1), (PICTURE[:, None], (1, 20, 24), 1),
    (head(0, (9, 20, 24))[:, None], (9, 20, 24), 1), (np.stack([head(0, (9, 20, 24))] * 3, 1), (9, 20, 24), 3),
    (PICTURE[None, ..., None], (1, 20, 24), 1), (np.stack([PICTURE] * 3, -1), (1, 20, 24), 3),
    (np.stack([PICTURE] * 3, -1)[None], (1, 20, 24), 3), (head(0, (24, 24, 12)), (12, 24, 24), 1),
    (head(0, (20, 24, 9)), (9, 20, 24), 1), (head(0, (9, 20, 24)), (9, 20, 24), 1),
    (head(0, (24, 24, 24)), (24, 24, 24), 1), (head(0, (24, 24, 12))[None], (12, 24, 24), 1)])
def test_the_axes_of_arrays(tmp_path: Path, array: np.ndarray, shape: tuple[int, ...], channels: int) -> None:
    np.save(tmp_path / "a.npy", array)
    header, pixels = formats.scan(tmp_path / "a.npy"), formats.read(tmp_path / "a.npy")
    assert (header.shape, header.channels, header.volumetric) == (shape, channels, shape[0] > 1)
    assert pixels.shape[:3] == shape and np.allclose(np.sort(pixels, None), np.sort(array, None))
    assert not header.along_last or np.array_equal(pixels[0], array.squeeze()[..., 0])


def test_slices_along_the_last_axis_are_told(tmp_path: Path) -> None:
    lines: list[str] = []
    for i in range(4):
        (tmp_path / "in" / f"p{i}").mkdir(parents=True)
        np.save(tmp_path / "in" / f"p{i}" / f"p{i}_T1.npy", head(i, (24, 24, 12)))
    dataset = prepare(tmp_path / "in", tmp_path / "out", size=16, slices="all", say=lines.append)
    assert dataset.info.fingerprint["original_sizes"] == {"24x24": 48}
    assert any("4 arrays, such as 24x24x12, sliced along the last axis" in line for line in lines)


def test_channels_first_are_colour_where_all_arrays_agree(tmp_path: Path) -> None:
    for i in range(4):
        (tmp_path / "in" / f"p{i}").mkdir(parents=True)
        np.save(tmp_path / "in" / f"p{i}" / f"p{i}_T1.npy", np.stack([PICTURE, PICTURE * 0.5, PICTURE * 0.2]))
    dataset = prepare(tmp_path / "in", tmp_path / "colour", size=16)
    assert dataset.info.channels == 3 and len(dataset.rows()) == 4
    np.save(tmp_path / "in" / "p0" / "p0_T1.npy", head(0, (5, 20, 24)))
    assert prepare(tmp_path / "in", tmp_path / "volumes", size=16, slices="all").info.channels == 1


@pytest.mark.parametrize("named", ["dataset.json", "--domains", "nothing", "time"])
def test_contrasts_in_a_fourth_axis_are_domains(tmp_path: Path, named: str) -> None:
    source = tmp_path / "in"
    for i in range(4):
        image = nibabel.Nifti1Image(np.stack([head(i), head(i) * 2, head(i) * 3], -1), np.eye(4))
        image.header.set_xyzt_units("mm", "sec" if named != "nothing" else "unknown")
        (source / "imagesTr").mkdir(parents=True, exist_ok=True)
        nibabel.save(image, source / "imagesTr" / f"BRATS_{i:03d}.nii.gz")
        save(source / "labelsTr" / f"BRATS_{i:03d}.nii.gz", (head(i) > 110).astype(np.uint8))
    if named == "dataset.json":
        (source / named).write_text(json.dumps({"modality": {"0": "FLAIR", "1": "T1w", "2": "T2 w"}}))
    if named == "time":
        with pytest.raises(UserError, match=r"4 dimensions.*split the series"):
            prepare(source, tmp_path / "out", size=16)
        return
    names = {"dataset.json": ("FLAIR", "T1w", "T2-w"), "--domains": ("T1", "T2", "PD"),
             "nothing": ("channel-0", "channel-1", "channel-2")}[named]
    dataset = prepare(source, tmp_path / "out", size=16, domains=names if named == "--domains" else None)
    assert sorted(dataset.info.domains) == sorted(names) and dataset.info.paired
    scales = [[row.scale for row in dataset.rows(name)] for name in names]
    np.testing.assert_allclose(scales[2], np.multiply(scales[0], 3), rtol=1e-4)
    assert dataset.masks(dataset.rows(names[2])).any()


def test_a_series_beside_its_frames_holds_no_contrasts(tmp_path: Path) -> None:
    save(tmp_path / "p_4d.nii.gz", np.stack([head(0)] * 3, -1))
    save(tmp_path / "p_frame01.nii.gz", head(0))
    layout = Layout("", [Entry(tmp_path / name, name, "p") for name in ("p_4d.nii.gz", "p_frame01.nii.gz")])
    assert with_contrasts(tmp_path, layout, None) is layout


def test_subjects_of_one_group_go_to_one_split(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 6)
    (tmp_path / "in" / "files.csv").write_text(
        "path,subject,family\n" + "\n".join(f"p{i}.png,S{i},f{i // 2}" for i in range(6)))
    with pytest.raises(UserError, match=r"one group.*: S. and S."):
        prepare(tmp_path / "in" / "files.csv", tmp_path / "out", size=16, split_by="family", val_subjects="S0",
                test_subjects="S1")
