"""DICOM images of any transfer syntax that pydicom and pylibjpeg decode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ganatomy.data.readers.volume import Header, Pixels, Unreadable

SUFFIXES = (".dcm", ".dicom", ".ima")


def is_mine(head: bytes) -> bool:
    """Whether these first bytes are those of a DICOM file."""
    return head[128:132] == b"DICM"


def scan(path: Path) -> Header:
    """Read the header only. Raises `Unreadable`."""
    raise Unreadable("DICOM is not built yet")


def read(path: Path) -> Pixels:
    """Pixels of a file. Raises `Unreadable`."""
    raise Unreadable("DICOM is not built yet")


def read_frames(frames: Sequence[tuple[str, int]]) -> Pixels:
    """Voxels [i, j, k] of a volume's frames. Raises `Unreadable`."""
    raise Unreadable("DICOM is not built yet")
