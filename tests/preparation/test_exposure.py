"""Burned-in text and whole heads are warned of; ordinary anatomy is not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from ganatomy.phantoms.cohort import FIELDS_OF_VIEW, Anatomy, subject_images
from ganatomy.preparation.exposure import is_other_body_part, likely_text, shows_whole_head

DATA = Path(os.environ.get("GANATOMY_TEST_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
TEXT = "DOE JANE 1970-01-31"


def anatomy(index: int, size: int = 256) -> np.ndarray:
    """A phantom's slice as bytes; air all around it."""
    slice_ = subject_images(index, 0, size, anatomy="first").t1[0]
    return (255 * slice_ / slice_.max()).astype(np.uint8)


def labelled(picture: np.ndarray, height: int, fill: int, outline: int | None = None, at: str = "top",
             text: str = TEXT) -> np.ndarray:
    """With text whose capitals are `height` pixels high."""
    image = Image.fromarray(picture)
    font = next(f for size in range(height, 3 * height) if
                (f := ImageFont.load_default(size)).getbbox("H")[3] - f.getbbox("H")[1] >= height)
    place = (5, 3 if at == "top" else picture.shape[0] // 2)
    ImageDraw.Draw(image).text(place, text, fill, font, stroke_width=outline is not None, stroke_fill=outline)
    return np.asarray(image)


@pytest.mark.parametrize("height", [8, 10, 14])
@pytest.mark.parametrize("fill", [255, 150])
def test_text_beside_the_patient(height: int, fill: int) -> None:
    assert likely_text([anatomy(1), labelled(anatomy(2), height, fill)])
    assert likely_text([labelled(anatomy(3), height, 255, 0, at="middle")])  # outlined, over the patient


def test_text_in_colour_and_in_other_numbers() -> None:
    picture = labelled(anatomy(0), 10, 255)
    assert likely_text([np.stack([picture, picture // 2, picture // 4], -1)])
    assert likely_text([picture.astype(np.int16) * 16 - 1000])
    assert likely_text([255 - picture])
    assert likely_text([picture.astype(np.float32) / 255])


def test_anatomy_is_no_text() -> None:
    rng = np.random.default_rng(0)
    noise = [rng.normal(100, 30, (256, 256)), rng.integers(0, 255, (200, 200, 3)), np.zeros((64, 64)), np.ones((3, 3))]
    slices = [anatomy(i, size) for i in range(6) for size in (128, 256)]
    assert not likely_text([*noise, *slices])
    assert not likely_text([labelled(anatomy(0), 10, 255, text="L")])  # a mark of the side names nobody


@pytest.mark.skipif(not DATA.is_dir(), reason="no real images here")
def test_real_slices_are_no_text() -> None:
    pictures = [np.asarray(Image.open(p)) for p in sorted(DATA.glob("brain-t1ce/*/*.png"))[::20]]
    assert len(pictures) > 50
    assert not likely_text(pictures)


def test_ultrasound_of_the_dicom_library_has_text() -> None:
    from pydicom import dcmread
    from pydicom.data import get_testdata_file
    found = get_testdata_file("examples_rgb_color.dcm")
    assert isinstance(found, str)
    assert likely_text([dcmread(found).pixel_array])


def head(skin: float, bone: float, brain: float, air: float = 0.0, noise: float = 20.0, stripped: bool = False,
         depth: int = 90) -> np.ndarray:
    """An ellipsoid of 150 x 190 mm, layered, 2 mm a voxel."""
    grid = np.meshgrid(*(np.arange(n) * 2.0 - n for n in (100, 120, depth)), indexing="ij")
    radius = np.sqrt((grid[0] / 75) ** 2 + (grid[1] / 95) ** 2 + (grid[2] / 100) ** 2)
    values = np.select([radius > 1, radius > 0.94, radius > 0.87], [air, skin, bone], brain)
    values = values + np.random.default_rng(0).normal(0, noise, radius.shape)
    return (np.where(radius > 0.87, 0, values) if stripped else values).astype(np.float32)


def shows_virtual_head(anatomy: Anatomy) -> bool:
    """Whether one of two virtual subjects' volumes is taken for a whole head: in T1, or in T2."""
    pixel = FIELDS_OF_VIEW[anatomy] / 128
    volumes = [volume for i in (0, 1) for volume in subject_images(i, 0, 128, 20, anatomy=anatomy)[:2]]
    heads = [shows_whole_head(volume.transpose(2, 1, 0)[:, ::-1], (pixel, pixel, 3.0)) for volume in volumes]
    return any(heads)


MM = (2.0, 2.0, 2.0)


def test_whole_heads() -> None:
    assert shows_whole_head(head(900, 80, 500), MM)
    assert shows_whole_head(head(40, 1000, 35, air=-1000), MM)  # CT
    assert shows_virtual_head("head")


@pytest.mark.parametrize(("words", "other"), [
    ("KNEE t1 sag", True), ("ABDOMEN WO/W CONTRAST CT L067/1.IMA", True), ("HEAD AND NECK", False),
    ("t1 mprage", False), ("CHEST CT brain_window/1.dcm", False)])
def test_what_says_that_it_shows_another_part_of_the_body(words: str, other: bool) -> None:
    assert is_other_body_part(words) == other


def test_no_heads() -> None:
    assert not shows_whole_head(head(900, 80, 500, stripped=True), MM)
    assert not shows_whole_head(head(500, 500, 500), MM)
    assert not shows_whole_head(head(900, 80, 500), (1.0, 1.0, 1.0)), "half a head's size"
    assert not shows_whole_head(head(900, 80, 500, depth=10), MM), "a slab of 20 mm"
    assert not shows_whole_head(np.zeros((100, 120, 90)), MM)
    assert not any(map(shows_virtual_head, ("brain", "first")))
