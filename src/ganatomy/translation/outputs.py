"""Where translated volumes go, and in which format: that of the source as far as it can hold them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ganatomy.data import readers
from ganatomy.data.readers import Header, Unreadable
from ganatomy.errors import UserError
from ganatomy.files import write_json
from ganatomy.translation import dicom, nifti, pictures
from ganatomy.translation.about import NOT_FOR_DIAGNOSIS, About
from ganatomy.translation.dicom_tags import SYNTHETIC
from ganatomy.translation.inputs import Item
from ganatomy.translation.way import Way

MARK = "translation.json"
Say = Callable[[str], None]


@dataclass
class Names:
    """Names of the files of a folder: those of the sources, each once."""

    taken: set[str] = field(default_factory=set)

    def take(self, item: Item, suffix: str) -> str:
        """A relative name for what a file becomes."""
        place = Path(item.name)
        name = str(place.with_name(readers.stem(place.name) + suffix))
        if name.lower() in self.taken:
            name = item.name + suffix
        while name.lower() in self.taken:
            name = name.removesuffix(suffix) + "-2" + suffix
        self.taken.add(name.lower())
        return name


def suffixes(item: Item, header: Header) -> tuple[str, ...]:
    """Endings that the file may have which a source becomes; the first is taken where the user names none."""
    if header.affine is not None:
        return (".nii", ".nii.gz") if item.name.lower().endswith(".nii") else (".nii.gz", ".nii")
    if _is_npy(item.path):
        return (".npy",)
    return (".tif", ".tiff") if header.shape[0] > 1 else (".png",)


def check_suffix(item: Item, header: Header, out: Path) -> None:
    """Raise `UserError` unless OUT is called like what the source becomes."""
    known = suffixes(item, header)
    if out.name.lower().endswith(known):
        return
    raise UserError(f"{item.name} becomes a file that ends in {' or '.join(known)}", where=out,
                    fix=f"call it {readers.stem(out.name)}{known[0]}")


def check_place(source: Path, out: Path) -> None:
    """Raise `UserError` if writing OUT would touch INPUT."""
    one, other = Path(os.path.realpath(source)), Path(os.path.realpath(out))
    if one == other or (one.exists() and other.exists() and one.samefile(other)):
        raise UserError("is INPUT itself, which is never written over", where=out, fix="choose another OUT")
    if one in other.parents and one.is_dir():
        raise UserError("lies in INPUT, into which nothing is written", where=out, fix="choose another OUT")


def check_folder(source: Path, out: Path) -> None:
    """Raise `UserError` if OUT, a folder to be made or replaced, holds INPUT."""
    if Path(os.path.realpath(out)) in Path(os.path.realpath(source)).parents:
        raise UserError("holds INPUT, and would be replaced", where=out, fix="choose another OUT")


def check_file(item: Item, header: Header, out: Path, overwrite: bool) -> None:
    """Raise `UserError` if OUT is no place for a file.

    With `overwrite` only what was made here is replaced; of .npy that cannot be known.
    """
    if out.is_dir():
        name = readers.stem(item.path.name) + suffixes(item, header)[0]
        raise UserError("is a folder, and one file becomes one file", where=out, fix=f"give {out / name}")
    check_suffix(item, header, out)
    if not out.exists():
        return
    if not overwrite:
        raise UserError("already exists", where=out, fix="choose another name, or add --overwrite")
    if not (nifti.is_ours(out) if header.affine is not None else pictures.is_ours(out)):
        raise UserError("will not be overwritten: nothing in it says that this command made it", where=out,
                        fix="choose another name, or remove it yourself")


def is_ours(folder: Path) -> bool:
    """Whether a folder is one that was written here: it says so, or is a synthetic DICOM series."""
    if (folder / MARK).is_file():
        return True
    items = list(folder.iterdir())
    return bool(items) and all(item.suffix == ".dcm" and _is_synthetic(item) for item in items)


def _is_synthetic(path: Path) -> bool:
    try:
        return bool(SYNTHETIC.match(readers.dicom.facts(path).series_description))
    except Unreadable:
        return False


def write_file(item: Item, header: Header, values: NDArray[Any], out: Path, way: Way, about: About, say: Say) -> None:
    """Write one file's translation: NIfTI, .npy, PNG or TIFF."""
    if header.affine is not None:
        nifti.write(nifti.like(nifti.skeleton(item.path, header), values, way, about), out)
    elif _is_npy(item.path):
        pictures.write_array(out, values, values.shape if header.volumetric else values.shape[1:])
    else:
        pictures.write_pictures(out, values, header, way, about, say)


def write_series(item: Item, values: NDArray[Any], stage: Path, about: About, say: Say) -> None:
    """Write a derived DICOM series into an empty folder."""
    assert item.series is not None
    made = stage / "series"
    dicom.write_series(item.series, values, made, about, say)
    for file in list(made.iterdir()):
        file.replace(stage / file.name)
    made.rmdir()


def write_mark(stage: Path, about: About, volumes: int) -> None:
    """Write translation.json: what made the files of a folder."""
    write_json(stage / MARK, {**asdict(about), "volumes": volumes, "notice": f"synthetic, {NOT_FOR_DIAGNOSIS}"})


def _is_npy(path: Path) -> bool:
    with path.open("rb") as handle:
        return readers.npy.is_mine(handle.read(8))
