"""Where translated volumes go, and in which format: that of the source as far as it can hold them."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ganatomy import formats
from ganatomy.core.errors import UserError
from ganatomy.core.files import atomic_path, write_json
from ganatomy.core.origin import Origin, file_hash
from ganatomy.core.reading import Record, read_json
from ganatomy.core.run import Run
from ganatomy.core.text import Say, printable
from ganatomy.data.images import Header
from ganatomy.formats import is_synthetic
from ganatomy.formats.nifti import opened
from ganatomy.sources.entry import is_prepared
from ganatomy.translation.conversion import NOT_FOR_DIAGNOSIS, About, Conversion
from ganatomy.translation.inputs import Item

MARK, KIND, SCHEMA_VERSION = "translation.json", "ganatomy translation", 1
NOTICE = f"synthetic, {NOT_FOR_DIAGNOSIS}"
_LITTER = (".DS_Store", "Thumbs.db", "desktop.ini")  # what file managers leave in folders
_PACKED = 4  # of gzip: higher levels take much longer and save little
_TIFF_DESCRIPTION = 270
# of a NIfTI header: what may name the patient, or is not true of what a model makes
_TEXTS = ("aux_file", "intent_name", "db_name", "data_type")
_NUMBERS = ("intent_code", "intent_p1", "intent_p2", "intent_p3", "glmin", "glmax", "slice_code", "slice_start",
            "slice_end", "slice_duration", "toffset")


class _Mark(Record):
    """What of translation.json is read back."""

    kind: str
    schema_version: int
    notice: str
    files: tuple[str, ...]
    command: str = ""
    inputs: str = ""
    sha256: str = ""  # of a single file


def check_place(source: Path, out: Path, run: Path | None = None) -> None:
    """Raise `UserError` if writing OUT would touch INPUT, RUN, or any run or dataset."""
    given, target = _real(source), _real(out)
    if given == target or (given.exists() and target.exists() and given.samefile(target)):
        _refuse(out, "is INPUT itself, which is never written over")
    if given in target.parents and given.is_dir():
        _refuse(out, "lies in INPUT, into which nothing is written")
    for folder in (target, *target.parents):
        # a recipe.yaml alone makes no run of the folder it lies in
        begun = Run.is_run(folder) and (Run(folder).status_file.exists() or Run(folder).generator.exists())
        if begun or is_prepared(folder) or (run is not None and folder == _real(run)):
            kind = "dataset" if is_prepared(folder) else "run"
            _refuse(out, f"is the {kind} {printable(folder.name)} or lies in it, into which nothing is written")


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _refuse(out: Path, why: str, fix: str = "choose another OUT") -> NoReturn:
    raise UserError(why, where=out, fix=fix)


def check_folder(source: Path, out: Path, run: Path | None) -> None:
    """Raise `UserError` if OUT is no place for a folder: it holds INPUT or RUN, is called like a file, or lies in the
    folder of the series that INPUT, a file, stands for.
    """
    given, target = _real(source), _real(out)
    for what, place in (("INPUT", source), ("RUN", run)):
        if place is not None and target in _real(place).parents:
            _refuse(out, f"holds {what}, and would be replaced")
    if not given.is_dir() and given.parent in target.parents:
        _refuse(out, "lies in the folder of INPUT's series, into which nothing is written")
    if target.name.lower().endswith(formats.SUFFIXES):
        _refuse(out, "is called like a file, and a folder or a DICOM series becomes a folder",
                f"call it {formats.stem(out.name) or 'translated'}")


def check_file(item: Item, header: Header, out: Path, overwrite: bool) -> None:
    """Raise `UserError` if OUT is no place for a file, or not called like what the source becomes.

    With `overwrite` only what was written here is replaced; of .npy that cannot be known.
    """
    known = suffixes(item, header)
    if out.is_dir():
        _refuse(out, "is a folder, and one file becomes one file",
                f"give {out / (formats.stem(item.path.name) + known[0])}")
    if not formats.stem(out.name) or not out.name.lower().endswith(known):
        _refuse(out, f"{item.name} becomes a file that ends in {' or '.join(known)}",
                f"call it {formats.stem(out.name) or 'translated'}{known[0]}")
    if out.exists() and not overwrite:
        _refuse(out, "already exists", "choose another name, or add --overwrite")
    if out.exists() and not is_synthetic(out):
        _refuse(out, "will not be overwritten: nothing in it says that this command wrote it",
                "choose another name, or remove it yourself")


def suffixes(item: Item, header: Header) -> tuple[str, ...]:
    """Endings that the file may have which a source becomes; the first is taken where the user names none."""
    if header.affine is not None:
        return (".nii", ".nii.gz") if item.name.lower().endswith(".nii") else (".nii.gz", ".nii")
    if formats.format_of(item.path) is formats.npy:
        return (".npy",)
    return (".tif", ".tiff") if header.shape[0] > 1 else (".png",)


def free_name(item: Item, suffix: str, taken: set[str]) -> str:
    """A relative name for what a file of a folder becomes: that of the source, but each once; added to `taken`."""
    place = Path(item.name)
    name = str(place.with_name(formats.stem(place.name) + suffix))
    if name.lower() in taken:
        name = item.name + suffix
    while name.lower() in taken:
        name = name.removesuffix(suffix) + "-2" + suffix
    taken.add(name.lower())
    return name


def is_ours(folder: Path) -> bool:
    """Whether a folder is one that was written here: translation.json lists its files, or it is a synthetic series.

    Raises:
        UserError: it is, and holds something else too.
    """
    listed, files = _listed(folder), _files(folder)
    others = [name for name in files if not _is_translation(folder, name, listed)]
    if others and len(others) < len(files):
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise UserError(f"will not be replaced: it holds {printable(others[0])}{more}, which this command did not make",
                        where=folder, fix="choose another folder, or move your own files out of it")
    return bool(files) and not others


def _is_translation(folder: Path, name: str, listed: set[str] | None) -> bool:
    """Whether a file of a folder was written here; of .npy only the list can tell."""
    if listed is None:
        return "/" not in name and name.endswith(".dcm") and is_synthetic(folder / name)
    return name == MARK or (name in listed and (name.endswith(".npy") or is_synthetic(folder / name)))


def _listed(folder: Path) -> set[str] | None:
    """The files that a folder's translation.json lists; None if it has none that was written here."""
    mark = _read_mark(folder / MARK)
    return None if mark is None else set(mark.files)


def _read_mark(path: Path) -> _Mark | None:
    """A translation.json that was written here, else None."""
    try:
        mark = read_json(path, _Mark)
    except UserError:
        return None
    return mark if (mark.kind, mark.schema_version, mark.notice) == (KIND, SCHEMA_VERSION, NOTICE) else None


def _files(folder: Path) -> list[str]:
    """Relative paths of all below a folder that is no folder, links to folders included."""
    files = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    return sorted(str(path.relative_to(folder)) for path in files if path.name not in _LITTER)


def _mark(about: About, volumes: int, origin: Origin, files: list[str]) -> dict[str, Any]:
    return {"kind": KIND, "schema_version": SCHEMA_VERSION, **asdict(about), "volumes": volumes, **asdict(origin),
            "notice": NOTICE, "files": files}


def write_mark(stage: Path, about: About, volumes: int, origin: Origin) -> None:
    """Write translation.json: the command and the model that the files of a folder come from, and which they are."""
    write_json(stage / MARK, _mark(about, volumes, origin, _files(stage)))


def is_done(out: Path, origin: Origin) -> bool:
    """Whether OUT, a folder or a file, is what this command makes of these inputs, by the mark in it or beside it."""
    mark = _read_mark(out / MARK if out.is_dir() else _beside(out))
    if mark is None or Origin(mark.command, mark.inputs) != origin:
        return False
    return set(_files(out)) == {MARK, *mark.files} if out.is_dir() else mark.sha256 == file_hash(out)


def _beside(out: Path) -> Path:
    return out.with_name(f"{out.name}.{MARK}")


@contextmanager
def marked(out: Path, about: About, origin: Origin) -> Iterator[Path]:
    """Yield a temporary path; the file there becomes OUT, with OUT.translation.json beside it, which is written first:
    there is no moment at which OUT is whole and nothing says what it is."""
    with atomic_path(out) as temporary:
        yield temporary
        write_json(_beside(out), _mark(about, 1, origin, [out.name]) | {"sha256": file_hash(temporary)})


def write_file(item: Item, header: Header, values: NDArray[Any], path: Path, conversion: Conversion, say: Say,
               name: str | None = None) -> None:
    """Write one file's translation, in the format of its name: NIfTI and .npy (in the target's units), PNG, TIFF."""
    name = (name or path.name).lower()
    with path.open("w+b") as handle:
        if header.affine is not None:
            image = nifti_like(_skeleton(item.path, header), values, conversion)
            packed = name.endswith(".gz")
            # nothing of the time or the name is put into it
            with gzip.GzipFile("", "wb", _PACKED, handle, mtime=0) if packed else nullcontext(handle) as stream:
                image.to_stream(stream)
        elif formats.format_of(item.path) is formats.npy:
            shaped = np.moveaxis(values, 0, 2) if header.along_last else values
            np.save(handle, shaped if header.volumetric else values[0], allow_pickle=False)
        else:
            _write_pictures(handle, name.endswith(".png"), values, header, conversion, say)


def _write_pictures(handle: IO[bytes], png: bool, values: NDArray[Any], header: Header, conversion: Conversion,
                    say: Say) -> None:
    """Write pictures [slices, h, w] or [slices, h, w, 3] as PNG, or as the pages of a TIFF.

    Where the target's values are bytes or 16-bit numbers kept as they are, these are written. Others are spread over
    the full range of grey: 8 bits, or 16 where the source has more.
    """
    from PIL import Image, PngImagePlugin

    levels = values
    if values.dtype not in (np.uint8, np.uint16):
        narrow = header.eight_bit or values.ndim == 4
        dtype, most = (np.uint8, 255) if narrow else (np.uint16, 65535)
        share = (values.astype(np.float32) - conversion.lowest) / (conversion.highest - conversion.lowest)
        levels = np.rint(np.clip(share, 0.0, 1.0) * most).astype(dtype)
        say(f"grey from 0 to {most} means {conversion.lowest:g} to {conversion.highest:g} {conversion.about.units}")
    pages = [Image.fromarray(level) for level in levels]
    if png:
        notes = PngImagePlugin.PngInfo()
        notes.add_text("Description", conversion.about.text)
        pages[0].save(handle, format="PNG", pnginfo=notes)
    else:
        pages[0].save(handle, format="TIFF", save_all=True, append_images=pages[1:],
                      tiffinfo={_TIFF_DESCRIPTION: conversion.about.text}, compression="tiff_deflate")


def _skeleton(path: Path, header: Header) -> Any:
    """A NIfTI image of the file's class, shape, affine and header, its values not read; one of a file of another
    format gets its affine."""
    import nibabel

    if formats.format_of(path) is formats.nifti:
        with opened(path) as (image, _):
            return image
    image = nibabel.Nifti1Image(np.zeros((1, 1, 1), np.uint8), header.affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(header.affine, int(header.oriented))
    image.set_sform(header.affine, int(header.oriented))
    return image


def nifti_like(image: Any, values: NDArray[Any], conversion: Conversion) -> Any:
    """An image of the same class, shape, affine and geometry that holds translated values [i, j, k].

    Its header keeps the form codes, units and pixel sizes; texts, statistics, timing and extensions of the source are
    left out, since they may name the patient or are not true of it.
    """
    header = image.header.copy()
    header.extensions.clear()
    for name in (*_TEXTS, *_NUMBERS):
        if name in header:
            header[name] = b"" if name in _TEXTS else 0
    header["descrip"] = conversion.about.text.encode("ascii", "replace")[:79]
    header["cal_min"], header["cal_max"] = conversion.lowest, conversion.highest
    header.set_data_dtype(values.dtype)
    header.set_slope_inter(1.0, 0.0)
    header.set_data_offset(0)
    shape = image.shape if np.prod(image.shape) == values.size else values.shape
    return type(image)(values.reshape(shape), image.affine, header)
