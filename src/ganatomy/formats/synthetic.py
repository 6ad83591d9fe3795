"""How files that a model made are known again: by the marks that `ganatomy translate` writes into them."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

from PIL import Image

from ganatomy.formats import Unreadable, dicom, nifti

SYNTHETIC = re.compile(r"synthetic .*\(ganatomy\), not for diagnosis$")
"""SeriesDescription of a derived DICOM series."""
LEFT_OUT = "synthetic, made by a model (add --keep-derived to take it)"
"""Why `ganatomy prepare` leaves such files out."""
_TEXT = re.compile(r"synthetic .* by ganatomy, ")
_TIFF_DESCRIPTION = 270
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"II", b"MM")
_NARROW, _WIDE = slice(148, 228), slice(240, 320)
"""Where a NIfTI-1 and a NIfTI-2 header hold the description."""


def is_synthetic(path: Path) -> bool:
    """Whether a NIfTI, PNG, TIFF or DICOM file says that a model made it.

    Arrays (.npy) have no place to say so. A file that cannot be read says nothing.
    """
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            return False
        with path.open("rb") as handle:
            head = handle.read(nifti.HEAD_BYTES)
        if head.startswith(_PICTURES):
            return bool(_TEXT.match(_picture_text(path)))
        if head.startswith(b"\x1f\x8b"):
            head = nifti.unpacked_head(path)
        if nifti.is_mine(head):
            return bool(_TEXT.match(head[_WIDE if head[4:8] == b"n+2\0" else _NARROW].decode("latin-1")))
        return dicom.is_mine(head) and bool(SYNTHETIC.match(dicom.facts(path).series_description))
    except (OSError, Unreadable):
        return False


def _picture_text(path: Path) -> str:
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=("PNG", "TIFF")) as image:
            tags = getattr(image, "tag_v2", {})
            return str(image.info.get("Description") or tags.get(_TIFF_DESCRIPTION, ""))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, Image.DecompressionBombError):
        return ""
