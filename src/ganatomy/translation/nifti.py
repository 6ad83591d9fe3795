"""NIfTI as it was, with other values: same grid and geometry, nothing that may name the patient."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy import formats
from ganatomy.core.errors import UserError
from ganatomy.core.files import atomic_path
from ganatomy.data.images import check_finite, check_size, simple_dtype
from ganatomy.formats import Header, Pixels
from ganatomy.formats.nifti import opened, volume_header, volume_shape
from ganatomy.translation.about import About
from ganatomy.translation.way import Way

SUFFIXES = (".nii.gz", ".nii")
_LEVEL = 4  # higher ones take much longer and save little
_TEXTS = ("aux_file", "intent_name", "db_name", "data_type")
_NUMBERS = ("intent_code", "intent_p1", "intent_p2", "intent_p3", "glmin", "glmax", "slice_code", "slice_start",
            "slice_end", "slice_duration", "toffset")


def skeleton(path: Path, header: Header) -> Any:
    """A NIfTI image of the file's class, shape, affine and header, its values not read; one of a file of another
    format is made of its affine."""
    import nibabel

    if formats.format_of(path) is formats.nifti:
        with opened(path) as (image, _):
            return image
    image = nibabel.Nifti1Image(np.zeros((1, 1, 1), np.uint8), header.affine)
    image.header.set_xyzt_units("mm")
    code = int(header.oriented)
    image.set_qform(header.affine, code)
    image.set_sform(header.affine, code)
    return image


def in_memory(image: Any) -> tuple[Pixels, Header]:
    """Pixels [i, j, k] and header of a NIfTI image, as the reader gives those of a file.

    Raises:
        UserError: it is no NIfTI image; Unreadable: its values or its affine cannot be used.
    """
    import nibabel

    if not isinstance(image, nibabel.Nifti1Pair):
        raise UserError(f"a {type(image).__name__} cannot be translated",
                        fix="give a path, a nibabel NIfTI image or an array")
    shape = volume_shape(image)
    check_size(shape)
    data = np.asanyarray(image.dataobj).reshape(shape)
    dtype = simple_dtype(data.dtype)
    with np.errstate(over="ignore"):  # what float32 cannot hold is told as infinite
        pixels = check_finite(data.astype(dtype, copy=False))
    return pixels, volume_header(image, shape, dtype)


def like(image: Any, values: NDArray[Any], way: Way, about: About) -> Any:
    """An image of the same class, shape, affine and geometry that holds translated values [i, j, k].

    Its header keeps the form codes, units and pixel sizes; texts, statistics, timing and extensions of the source are
    left out, since they may name the patient or are not true of it.
    """
    header = image.header.copy()
    header.extensions.clear()
    for name in _TEXTS:
        if name in header:
            header[name] = b""
    for name in _NUMBERS:
        if name in header:
            header[name] = 0
    header["descrip"] = about.text.encode("ascii", "replace")[:79]
    header["cal_min"], header["cal_max"] = way.lowest, way.highest
    header.set_data_dtype(values.dtype)
    header.set_slope_inter(1.0, 0.0)
    header.set_data_offset(0)
    shape = image.shape if np.prod(image.shape) == values.size else values.shape
    return type(image)(values.reshape(shape), image.affine, header)


def write(image: Any, path: Path) -> None:
    """Write an image atomically, packed if the name ends in .gz. Nothing of the time or the name is put into it."""
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile("", "wb", _LEVEL, handle, mtime=0) as packed:
                image.to_stream(packed)
        else:
            image.to_stream(handle)
