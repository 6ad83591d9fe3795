"""NRRD and MetaImage: the same voxels in the same place as NIfTI, and plain reasons for what cannot be read."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ganatomy import formats
from ganatomy.formats import Unreadable, itk, nifti

sitk = pytest.importorskip("SimpleITK")
NAMES = ("a.nrrd", "a.nhdr", "a.mha", "a.mhd")


def volume(folder: Path, signs: tuple[int, int, int] = (1, 1, 1)) -> tuple[np.ndarray[Any, Any], Any, Any]:
    """An oblique volume: its voxels [i, j, k], its affine by nibabel, and what SimpleITK reads of it."""
    values = np.random.default_rng(0).integers(-1000, 1000, (7, 6, 5)).astype(np.int16)
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", (20, -35, 110), degrees=True).as_matrix()
    affine[:3, :3] = turn @ np.diag(np.multiply(signs, (0.9, 1.3, 4.5)))
    affine[:3, 3] = 12.3, -45.6, 78.9
    nibabel.save(nibabel.Nifti1Image(values, affine), folder / "a.nii")
    return values, affine, sitk.ReadImage(str(folder / "a.nii"))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (1, -1, -1)])
def test_the_same_voxels_in_the_same_place_as_nifti(tmp_path: Path, name: str, packed: bool,
                                                    signs: tuple[int, int, int]) -> None:
    values, affine, image = volume(tmp_path, signs)
    sitk.WriteImage(image, str(tmp_path / name), packed)
    header = formats.scan(tmp_path / name)
    assert header.affine is not None and np.abs(header.affine - affine).max() < 0.001
    assert (header.shape, header.dtype, header.oriented, header.volumetric) == ((7, 6, 5), np.int16, True, True)
    pixels = formats.read(tmp_path / name)
    assert pixels.dtype == np.int16 and (pixels == values).all()
    corner = np.array([6, 5, 4, 1])
    assert np.abs(header.affine @ corner - nifti.scan(tmp_path / "a.nii").affine @ corner).max() < 0.01


def test_pictures_and_colour(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 255, (4, 5, 6, 3)).astype(np.uint8)
    for name in ("c.mha", "c.nrrd"):
        sitk.WriteImage(sitk.GetImageFromArray(colour, isVector=True), str(tmp_path / name))
        header = formats.scan(tmp_path / name)
        assert (header.shape, header.channels, header.affine, header.volumetric) == ((4, 5, 6), 3, None, True)
        assert (formats.read(tmp_path / name) == colour).all()
    picture = sitk.GetImageFromArray(colour[0, :, :, 0])
    picture.SetSpacing((0.5, 0.25))
    sitk.WriteImage(picture, str(tmp_path / "p.mha"))
    header = formats.scan(tmp_path / "p.mha")
    assert (header.shape, header.spacing, header.volumetric) == ((1, 5, 6), (0.25, 0.5), False)
    assert (formats.read(tmp_path / "p.mha")[0] == colour[0, :, :, 0]).all()


@pytest.mark.parametrize(("dtype", "kept"), [(np.uint8, np.uint8), (np.uint16, np.uint16), (np.int32, np.float32),
                                             (np.float64, np.float32), (np.int8, np.float32)])
def test_types(tmp_path: Path, dtype: Any, kept: Any) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(24).reshape(2, 3, 4).astype(dtype)), str(tmp_path / "a.nrrd"))
    assert formats.read(tmp_path / "a.nrrd").dtype == formats.scan(tmp_path / "a.nrrd").dtype == kept


def test_what_is_not_read(tmp_path: Path) -> None:
    def reason(image: Any, name: str = "a.nrrd") -> str:
        sitk.WriteImage(image, str(tmp_path / name))
        with pytest.raises(Unreadable) as caught:
            formats.read(tmp_path / name)
        return str(caught.value)

    zeros = np.zeros((2, 3, 4, 5), np.float32)
    assert "4 dimensions" in reason(sitk.GetImageFromArray(zeros, isVector=False))
    assert "5 values of float32 a voxel" in reason(sitk.GetImageFromArray(zeros, isVector=True), "a.mha")
    assert "complex" in reason(sitk.GetImageFromArray(zeros[0].astype(np.complex64)))
    assert "NaN" in reason(sitk.GetImageFromArray(zeros[0] * np.nan))


def test_data_apart_must_be_there_and_whole(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = volume(tmp_path)[2]
    for name, data in (("a.nhdr", "a.raw"), ("b.mhd", "b.raw")):
        sitk.WriteImage(image, str(tmp_path / name))
        whole = (tmp_path / data).read_bytes()
        (tmp_path / data).write_bytes(whole[:-4])
        with pytest.raises(Unreadable, match="cut short"):
            formats.scan(tmp_path / name)
        (tmp_path / data).unlink()
        with pytest.raises(Unreadable, match=f"'{data}', which is missing"):
            formats.scan(tmp_path / name)
        text = (tmp_path / name).read_text()
        for other in ("../secret.raw", "/etc/hostname", "LIST", "a%03d.raw 1 5 1"):
            (tmp_path / name).write_text(text.replace(data, other))
            with pytest.raises(Unreadable, match=r"another folder|several files"):
                formats.scan(tmp_path / name)
    sitk.WriteImage(image, str(tmp_path / "c.mha"), True)
    packed = bytearray((tmp_path / "c.mha").read_bytes())
    packed[-60] ^= 255
    (tmp_path / "c.mha").write_bytes(bytes(packed))
    with pytest.raises(Unreadable, match=r"damaged|broken"):
        formats.read(tmp_path / "c.mha")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("name", "old", "new", "words"), [
    ("a.nrrd", "sizes: 7 6 5", "sizes: 90000 90000 90000", "claims"),
    ("a.nrrd", "sizes: 7 6 5", "sizes: 70 60 50", "cut short"),
    ("a.mha", "DimSize = 7 6 5", "DimSize = 90000 90000 90000", "claims"),
    ("a.mha", "ElementDataFile", "ElementToIntensityFunctionSlope = 10\nElementDataFile", "intensity slope"),
    ("a.mha", "ElementDataFile", "DistanceUnits = um\nElementDataFile", "not in mm")])
def test_headers_that_would_give_wrong_values_are_refused(tmp_path: Path, name: str, old: str, new: str,
                                                          words: str) -> None:
    sitk.WriteImage(volume(tmp_path)[2], str(tmp_path / name))
    raw = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(raw.replace(old.encode(), new.encode(), 1))
    with pytest.raises(Unreadable, match=words):
        formats.scan(tmp_path / name)


def test_without_simpleitk_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sitk.WriteImage(volume(tmp_path)[2], str(tmp_path / "a.mha"))
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(Unreadable, match=re.escape("pip install 'ganatomy[itk]'")):
        formats.scan(tmp_path / "a.mha")


def test_text_is_not_taken_for_meta_image() -> None:
    assert itk.is_mine(b"Comment = made by hand\nObjectType = Image\nNDims = 3\n") and itk.is_mine(b"NDims = 3\n")
    assert not itk.is_mine(b"Comment = hello\n") and not itk.is_mine(b"x = 1\nObjectType = Image\n")
    assert not itk.is_mine(b"ObjectType = Mesh\n")
