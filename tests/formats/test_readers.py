"""Files of every format are read right, and broken ones are named as such instead of crashing."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from ganatomy import formats
from ganatomy.formats import Unreadable

RAMP = np.arange(12 * 10, dtype=np.uint16).reshape(12, 10)


def save_nifti(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
    return path


def png_16bit_colour(path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(8 * 6) for _ in range(8))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
                     + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def one_of_each(folder: Path) -> list[tuple[Path, np.ndarray]]:
    """Files and the values they hold, as [slices, h, w(, 3)] or [i, j, k]."""
    byte, word = RAMP.astype(np.uint8), (RAMP * 500).astype(np.uint16)
    colour = np.stack([byte, byte // 2, 255 - byte], -1)
    stack = np.stack([word, word[::-1].copy()])
    Image.fromarray(byte).save(folder / "a.png")
    Image.fromarray(word).save(folder / "b.png")
    Image.fromarray(colour).save(folder / "c.png")
    Image.fromarray(word).save(folder / "d.tif")
    Image.fromarray(stack[0]).save(folder / "e.tiff", save_all=True, append_images=[Image.fromarray(stack[1])])
    np.save(folder / "f.npy", word)
    np.save(folder / "g.npy", stack.astype(np.float64))
    np.save(folder / "h.npy", colour)
    save_nifti(folder / "i.nii.gz", stack.astype(np.int16))
    save_nifti(folder / "j.nii", byte[..., None])
    return [(folder / "a.png", byte[None]), (folder / "b.png", word[None]), (folder / "c.png", colour[None]),
            (folder / "d.tif", word[None]), (folder / "e.tiff", stack), (folder / "f.npy", word[None]),
            (folder / "g.npy", stack), (folder / "h.npy", colour[None]), (folder / "i.nii.gz", stack.astype(np.int16)),
            (folder / "j.nii", byte[..., None])]


def test_pixels_of_every_format_survive_unchanged(tmp_path: Path) -> None:
    for path, values in one_of_each(tmp_path):
        header, pixels = formats.scan(path), formats.read(path)
        np.testing.assert_array_equal(pixels, values, err_msg=path.name)
        assert pixels.dtype == header.dtype, path.name
        assert pixels.shape == (header.shape if header.channels == 1 else (*header.shape, 3)), path.name


def test_scaled_nifti_gives_physical_values(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(RAMP[..., None].astype(np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, -10)
    nibabel.save(image, tmp_path / "scaled.nii.gz")
    pixels = formats.read(tmp_path / "scaled.nii.gz")
    assert pixels.dtype == formats.scan(tmp_path / "scaled.nii.gz").dtype == np.float32
    np.testing.assert_array_equal(pixels[..., 0], RAMP * 0.5 - 10)


def test_a_wrong_suffix_does_not_matter(tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(np.uint8)).save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(tmp_path / "x.jpg")
    packed = save_nifti(tmp_path / "y.nii.gz", RAMP[..., None].astype(np.int16)).rename(tmp_path / "y.nii")
    np.testing.assert_array_equal(formats.read(tmp_path / "x.jpg")[0], RAMP)
    np.testing.assert_array_equal(formats.read(packed)[..., 0], RAMP)


def test_metres_and_trailing_axes(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(RAMP[..., None, None].astype(np.int16), np.diag([0.001, 0.002, 0.003, 1]))
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "m.nii")
    header = formats.scan(tmp_path / "m.nii")
    assert header.shape == (12, 10, 1)
    np.testing.assert_allclose(np.diag(header.affine)[:3], [1, 2, 3], rtol=1e-6)


def test_alpha_is_laid_on_black_and_palettes_are_resolved(tmp_path: Path) -> None:
    grey = np.full((8, 8), 200, dtype=np.uint8)
    alpha = np.zeros((8, 8), dtype=np.uint8)
    alpha[:4] = 255
    Image.fromarray(np.stack([grey, grey, grey, alpha], -1)).save(tmp_path / "alpha.png")
    pixels = formats.read(tmp_path / "alpha.png")[0]
    assert (pixels[:4] == 200).all() and (pixels[4:] == 0).all()
    palette = Image.fromarray((grey > 0).astype(np.uint8), mode="P")
    palette.putpalette([0, 0, 0, 77, 77, 77])
    palette.save(tmp_path / "palette.png")
    assert formats.scan(tmp_path / "palette.png").channels == 1
    assert (formats.read(tmp_path / "palette.png") == 77).all()


def test_photographs_are_turned_as_a_viewer_turns_them(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    values = np.zeros((16, 32), dtype=np.uint8)
    values[:, :16] = 255  # the left half becomes the top half
    Image.fromarray(values).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    pixels = formats.read(tmp_path / "turned.jpg")[0]
    assert formats.scan(tmp_path / "turned.jpg").shape == (1, 32, 16) and pixels.shape == (32, 16)
    assert pixels[:14].min() > 200 and pixels[18:].max() < 50


def claiming(side: int, values: np.ndarray) -> Callable[[Path], object]:
    """A NIfTI file whose header claims another shape."""
    def write(path: Path) -> None:
        raw = bytearray(nibabel.Nifti1Image(values, np.eye(4)).to_bytes())
        raw[40:56] = struct.pack("<8h", 3, side, side, side, 1, 1, 1, 1)
        path.write_bytes(gzip.compress(bytes(raw)) if path.name.endswith("gz") else bytes(raw))
    return write


NOISE = np.random.default_rng(0).integers(0, 2000, (24, 24, 24)).astype(np.int16)
ONE_NAN = np.where(np.arange(27).reshape(3, 3, 3) == 5, np.nan, 1.0).astype(np.float32)
BROKEN: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "empty": ("a.nii", lambda path: path.write_bytes(b""), "empty"),
    "text": ("a.nii", lambda path: path.write_text("not an image at all" * 50), "not an image"),
    "missing": ("a.png", lambda path: None, "missing"),
    "NaN": ("a.nii", lambda path: save_nifti(path, ONE_NAN), "1 values that are NaN"),
    "4-D": ("a.nii", lambda path: save_nifti(path, np.zeros((3, 3, 3, 4), np.int16)), "4 dimensions"),
    "huge": ("a.nii", claiming(32000, NOISE), "claims"),
    "bomb": ("a.nii.gz", claiming(500, NOISE[:1, :1]), "cut short"),
    "objects": ("a.npy", lambda path: np.save(path, np.array([{"a": 1}]), allow_pickle=True), "Python objects"),
    "deep colour": ("a.png", png_16bit_colour, "16 bits"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_named_with_the_reason(tmp_path: Path, kind: str) -> None:
    name, write, reason = BROKEN[kind]
    write(tmp_path / name)
    with pytest.raises(Unreadable, match=reason):
        formats.read(tmp_path / name)


@pytest.mark.parametrize(("name", "reason"), [
    ("a.png", "decoded|cut short"), ("e.tiff", "decoded|cut short|broken"), ("g.npy", "cut short"),
    ("k.nii", "cut short"), ("k.nii.gz", "cut short|read as NIfTI")])
def test_files_that_are_cut_short_are_told(tmp_path: Path, name: str, reason: str) -> None:
    one_of_each(tmp_path)
    save_nifti(tmp_path / "k.nii", NOISE)
    save_nifti(tmp_path / "k.nii.gz", NOISE)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:len(whole) * 2 // 3])
    with pytest.raises(Unreadable, match=reason):
        formats.read(tmp_path / name)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_plain_tiffs_are_turned_whole(tmp_path: Path, dtype: type, orientation: int) -> None:
    values = np.arange(40 * 48).reshape(40, 48).astype(dtype)
    Image.fromarray(values).save(tmp_path / "o.tif", exif={274: orientation})
    turned = {1: values, 2: values[:, ::-1], 3: values[::-1, ::-1], 4: values[::-1], 5: values.T,
              6: np.rot90(values, -1), 7: values[::-1, ::-1].T, 8: np.rot90(values)}[orientation]
    assert formats.scan(tmp_path / "o.tif").shape[1:] == turned.shape
    np.testing.assert_array_equal(formats.read(tmp_path / "o.tif")[0], turned)


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p1.png")
    with pytest.raises(Unreadable, match="pipe"):
        formats.scan(tmp_path / "p1.png")


def test_reasons_are_one_line_without_folders_and_nothing_else_is_printed(
        tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "Anna Smith" / "x"
    folder.mkdir(parents=True)
    whole = save_nifti(folder / "a.nii", RAMP[..., None].astype(np.int16)).read_bytes()
    for place in range(0, 348, 2):
        raw = bytearray(whole)
        raw[place : place + 2] = b"\xfe\x7f"
        (folder / "bad.nii").write_bytes(raw)
        try:
            formats.read(folder / "bad.nii")
        except Unreadable as error:
            assert "\n" not in str(error) and "Smith" not in str(error) and str(tmp_path) not in str(error)
    assert capfd.readouterr() == ("", "")
