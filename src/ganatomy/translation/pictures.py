"""Translated pictures: PNG, TIFF where there are several pages, .npy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from ganatomy.core.files import atomic_path
from ganatomy.formats import Header
from ganatomy.translation.about import About
from ganatomy.translation.way import Way

_DESCRIPTION = 270  # of TIFF


def write_array(path: Path, values: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Write values in the target's units as .npy of the source's shape."""
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.save(handle, values.reshape(shape), allow_pickle=False)


def write_pictures(path: Path, values: NDArray[Any], header: Header, way: Way, about: About,
                   say: Callable[[str], None]) -> None:
    """Write pictures [slices, h, w] or [slices, h, w, 3] as PNG, or as the pages of a TIFF.

    Where the target's values are bytes or 16-bit numbers kept as they are, these are written. Others are spread over
    the full range of grey: 8 bits, or 16 where the source has more.
    """
    levels = values
    if values.dtype not in (np.uint8, np.uint16):
        narrow = header.eight_bit or values.ndim == 4
        dtype, most = (np.uint8, 255) if narrow else (np.uint16, 65535)
        share = (values.astype(np.float32) - way.lowest) / (way.highest - way.lowest)
        levels = np.rint(np.clip(share, 0.0, 1.0) * most).astype(dtype)
        say(f"grey from 0 to {most} means {way.lowest:g} to {way.highest:g} {way.units}")
    pages = [Image.fromarray(level) for level in levels]
    with atomic_path(path) as temporary:
        if path.name.lower().endswith(".png"):
            notes = PngImagePlugin.PngInfo()
            notes.add_text("Description", about.text)
            pages[0].save(temporary, format="PNG", pnginfo=notes)
        else:
            pages[0].save(temporary, format="TIFF", save_all=True, append_images=pages[1:],
                          tiffinfo={_DESCRIPTION: about.text}, compression="tiff_deflate")
