"""Scanning and reading the entries of a source: whole files, volumes of DICOM frames, pictures of a stack, halves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ganatomy import formats
from ganatomy.formats import Header, Pixels, Unreadable
from ganatomy.sources.entry import Entry


def scan_entry(entry: Entry) -> Header:
    """The header of an entry, pixels not decoded. Raises `Unreadable` with the reason."""
    if entry.header is not None:
        return entry.header
    header = formats.scan(entry.path)
    slices, height, width = header.shape
    if entry.piece.index is not None:
        if not 0 <= entry.piece.index < slices:
            raise Unreadable(f"has {slices} pictures and no number {entry.piece.index}")
        return replace(header, shape=(1, height, width), volumetric=False)
    if entry.piece.half:
        if header.volumetric or width < 2:
            raise Unreadable("is no picture of two halves")
        return replace(header, shape=(1, height, width // 2))
    return header


def read_entry(entry: Entry) -> Pixels:
    """Pixels of an entry as `formats.read` gives them; all finite. Raises `Unreadable` with the reason."""
    piece = entry.piece
    if piece.frames:
        return formats.read_frames(piece.frames)
    if piece.index is not None:
        return np.asarray(formats.read_one(entry.path, piece.index)[None])
    pixels = formats.read(entry.path)
    if not piece.half:
        return pixels
    middle = pixels.shape[2] // 2
    return pixels[:, :, :middle] if piece.half == "left" else pixels[:, :, pixels.shape[2] - middle:]
