"""PNG, JPEG and TIFF: 8-bit and 16-bit grey, 8-bit colour; the pages of a TIFF are slices.

Palettes are resolved, alpha is laid on black, and the EXIF orientation of photographs is applied, so that pixels
are as a viewer shows them. Dots per inch are ignored: they describe paper, not anatomy.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ganatomy.data.images import Header, Pixels, Unreadable, check_finite, check_size

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_EIGHT_BIT = ("1", "L", "P", "LA", "La", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_GREY = ("1", "L", "LA", "La")
_ORIENTATION, _PHOTOMETRIC, _DESCRIPTION = 274, 262, 270
MOST_PAGES = 10_000
"""Pages of a TIFF that are read: to count them takes Pillow a time that grows with their square."""
MOST_JPEG_BYTES = 64 * 2**20
"""A JPEG of 300 million pixels has fewer; what is larger is damaged, and Pillow would look through all of it."""


def is_mine(head: bytes) -> bool:
    """Whether these first bytes are those of a PNG, JPEG or TIFF."""
    return head.startswith(_MAGIC)


def scan(path: Path) -> Header:
    """Read the header only. Raises `Unreadable`."""
    with _opened(path) as image:
        return _header(image)


def read(path: Path) -> Pixels:
    """Pixels [slices, h, w] or [slices, h, w, 3], uint8, uint16 or float32. Raises `Unreadable`."""
    with _opened(path) as image:
        header = _header(image)
        pages = [_decode(image, page) for page in range(header.shape[0])]
        if len({p.shape for p in pages}) > 1:
            raise Unreadable("its pages differ in size or colour")
        if pages[0].shape[:2] != header.shape[1:]:
            raise Unreadable("holds another number of pixels than its header says")
        return check_finite(np.stack(pages).astype(header.dtype, copy=False))


def description(path: Path) -> str:
    """What a PNG or TIFF says of itself, "" where it says nothing. Raises `Unreadable`."""
    with _opened(path) as image:
        return str(image.info.get("Description") or getattr(image, "tag_v2", {}).get(_DESCRIPTION, ""))


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # given a path, Pillow maps a plain TIFF into memory and mixes up the sides of one that is to be turned
            with path.open("rb") as handle:
                size = path.stat().st_size
                if size > MOST_JPEG_BYTES and handle.read(3) == _MAGIC[1]:
                    raise Unreadable(f"is a JPEG of {size / 2**20:,.0f} MB; more than {MOST_JPEG_BYTES // 2**20} are "
                                     "not read")
                handle.seek(0)
                with Image.open(handle, formats=("PNG", "JPEG", "TIFF")) as image:
                    yield image
    except Unreadable:
        raise
    except UnidentifiedImageError as error:
        raise Unreadable("is broken: its first bytes are an image's, the rest is not") from error
    except Image.DecompressionBombError as error:
        raise Unreadable("claims an absurd number of pixels") from error
    except Exception as error:  # Pillow raises almost anything on a damaged file
        raise Unreadable(f"cannot be decoded ({str(error)[:120] or type(error).__name__})") from error


def _header(image: Image.Image) -> Header:
    width, height = image.size
    pages = _pages(image) if image.format == "TIFF" else 1
    check_size((pages, height, width))
    if image.format in ("JPEG", "MPO") and image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8):
        width, height = height, width
    _refuse_deep_colour(image)
    if image.mode in _EIGHT_BIT:
        dtype: np.dtype[Any] = np.dtype(np.uint8)
    elif image.mode in _SIXTEEN_BIT or (image.mode == "I" and image.format == "PNG"):
        dtype = np.dtype(np.uint16)
    elif image.mode in ("I", "F"):
        dtype = np.dtype(np.float32)
    else:
        raise Unreadable(f"its pixel format {image.mode} is not supported")
    lossy = image.format in ("JPEG", "MPO") or image.info.get("compression") in ("jpeg", "tiff_jpeg")
    return Header((pages, height, width), dtype, channels=3 if _is_colour(image) else 1, volumetric=pages > 1,
                  lossy=lossy)


def _pages(image: Image.Image) -> int:
    """How many pages a TIFF has."""
    for page in range(1, MOST_PAGES + 1):  # one by one: Pillow miscounts after a seek beyond the last
        try:
            image.seek(page)
        except EOFError:
            image.seek(0)
            return page
    raise Unreadable(f"has more than {MOST_PAGES:,} pages; cut it into parts")


def _refuse_deep_colour(image: Image.Image) -> None:
    # Pillow would quietly cut such pixels to 8 bits
    if image.mode in _EIGHT_BIT and ";16" in str(getattr(image, "tile", "")):
        raise Unreadable("has 16 bits a colour or alpha channel; save it as 16-bit grey or 8-bit colour")


def _is_colour(image: Image.Image) -> bool:
    if image.mode in ("P", "PA"):
        palette = np.asarray(image.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3)
        return bool((palette != palette[:, :1]).any())
    return image.mode in _EIGHT_BIT and image.mode not in _GREY


def _decode(image: Image.Image, page: int) -> Pixels:
    if page:
        image.seek(page)
    colour = _is_colour(image)
    inverted = image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0  # type: ignore[attr-defined]
    if image.format in ("JPEG", "MPO"):
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode in _SIXTEEN_BIT:
        pixels = np.asarray(image).astype(np.uint16)
        return np.uint16(65535) - pixels if inverted else pixels
    if image.mode == "I" and image.format == "PNG":
        return np.asarray(image).astype(np.uint16)
    if image.mode in ("I", "F"):
        return np.asarray(image).astype(np.float32)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        opaque = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", opaque.size, (0, 0, 0, 255)), opaque).convert("RGB")
    return np.asarray(image.convert("RGB" if colour else "L"))
