"""Where translated volumes go, and in which format: that of the source as far as it can hold them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ganatomy import formats
from ganatomy.core.errors import UserError
from ganatomy.core.files import write_json
from ganatomy.core.run import Run
from ganatomy.core.text import printable
from ganatomy.formats import Header, is_synthetic
from ganatomy.sources.entry import is_prepared
from ganatomy.translation import dicom, nifti, pictures
from ganatomy.translation.about import NOT_FOR_DIAGNOSIS, About
from ganatomy.translation.inputs import Item
from ganatomy.translation.way import Way

MARK, KIND, SCHEMA_VERSION = "translation.json", "ganatomy translation", 1
NOTICE = f"synthetic, {NOT_FOR_DIAGNOSIS}"
_LITTER = (".DS_Store", "Thumbs.db", "desktop.ini")
"""What file managers leave in folders."""
Say = Callable[[str], None]


@dataclass
class Names:
    """Names of the files of a folder: those of the sources, each once."""

    taken: set[str] = field(default_factory=set)

    def take(self, item: Item, suffix: str) -> str:
        """A relative name for what a file becomes."""
        place = Path(item.name)
        name = str(place.with_name(formats.stem(place.name) + suffix))
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
    if formats.format_of(item.path) is formats.npy:
        return (".npy",)
    return (".tif", ".tiff") if header.shape[0] > 1 else (".png",)


def check_suffix(item: Item, header: Header, out: Path) -> None:
    """Raise `UserError` unless OUT is called like what the source becomes."""
    known = suffixes(item, header)
    if not formats.stem(out.name):
        raise UserError("is an ending without a name", where=out, fix=f"call it translated{known[0]}, for example")
    if out.name.lower().endswith(known):
        return
    raise UserError(f"{item.name} becomes a file that ends in {' or '.join(known)}", where=out,
                    fix=f"call it {formats.stem(out.name)}{known[0]}")


def check_place(source: Path, out: Path, run: Path | None = None) -> None:
    """Raise `UserError` if writing OUT would touch INPUT, RUN, or any run or dataset."""
    one, other = Path(os.path.realpath(source)), Path(os.path.realpath(out))
    if one == other or (one.exists() and other.exists() and one.samefile(other)):
        raise UserError("is INPUT itself, which is never written over", where=out, fix="choose another OUT")
    if one in other.parents and one.is_dir():
        raise UserError("lies in INPUT, into which nothing is written", where=out, fix="choose another OUT")
    above = [other, *other.parents]
    if run is not None and Path(os.path.realpath(run)) in above:
        raise UserError("is RUN or lies in it, into which nothing is written", where=out, fix="choose another OUT")
    for folder in above:
        kind = "run" if _is_run(folder) else "dataset" if is_prepared(folder) else ""
        if kind:
            raise UserError(f"is the {kind} {printable(folder.name)} or lies in it, into which nothing is written",
                            where=out, fix="choose another OUT")


def _is_run(folder: Path) -> bool:
    """Whether a folder is a run that has begun, and not any that a recipe.yaml lies in."""
    return Run.is_run(folder) and any(path.exists() for path in (Run(folder).status_file, Run(folder).generator))


def check_folder(source: Path, out: Path, run: Path | None, single: bool) -> None:
    """Raise `UserError` if OUT is no place for a folder: it holds INPUT or RUN, is called like a file, or lies in the
    folder of the series that INPUT, a file, stands for.

    Args:
        single: INPUT is one DICOM series.
    """
    one, other = Path(os.path.realpath(source)), Path(os.path.realpath(out))
    for what, place in (("INPUT", one), ("RUN", Path(os.path.realpath(run)) if run is not None else None)):
        if place is not None and other in place.parents:
            raise UserError(f"holds {what}, and would be replaced", where=out, fix="choose another OUT")
    if not one.is_dir() and one.parent in other.parents:
        raise UserError("lies in the folder of INPUT's series, into which nothing is written", where=out,
                        fix="choose another OUT")
    if other.name.lower().endswith(formats.SUFFIXES):
        raise UserError(f"is called like a file, and a {'DICOM series' if single else 'folder'} becomes a folder",
                        where=out, fix=f"call it {formats.stem(out.name) or 'translated'}")


def check_file(item: Item, header: Header, out: Path, overwrite: bool) -> None:
    """Raise `UserError` if OUT is no place for a file.

    With `overwrite` only what was made here is replaced; of .npy that cannot be known.
    """
    if out.is_dir():
        name = formats.stem(item.path.name) + suffixes(item, header)[0]
        raise UserError("is a folder, and one file becomes one file", where=out, fix=f"give {out / name}")
    check_suffix(item, header, out)
    if not out.exists():
        return
    if not overwrite:
        raise UserError("already exists", where=out, fix="choose another name, or add --overwrite")
    if not is_synthetic(out):
        raise UserError("will not be overwritten: nothing in it says that this command made it", where=out,
                        fix="choose another name, or remove it yourself")


def is_ours(folder: Path) -> bool:
    """Whether a folder is one that was written here: translation.json lists its files, or it is a synthetic series.

    Raises:
        UserError: it is, and holds something else too.
    """
    listed, found = _listed(folder), _files(folder)
    ours = {name for name in found if _is_made(folder, name, listed)}
    others = [name for name in found if name not in ours]
    if ours and others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise UserError(f"will not be replaced: it holds {printable(others[0])}{more}, which this command did not make",
                        where=folder, fix="choose another folder, or move your own files out of it")
    return bool(ours)


def _is_made(folder: Path, name: str, listed: set[str] | None) -> bool:
    """Whether a file of a folder was written here; of .npy only the list can tell."""
    if listed is None:
        return "/" not in name and name.endswith(".dcm") and is_synthetic(folder / name)
    return name == MARK or (name in listed and (name.endswith(".npy") or is_synthetic(folder / name)))


def _listed(folder: Path) -> set[str] | None:
    """The files that a folder's translation.json lists; None if it has none that was written here."""
    try:
        mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    ours = isinstance(mark, dict) and [mark.get(key) for key in ("kind", "schema_version", "notice")] == [
        KIND, SCHEMA_VERSION, NOTICE]
    return {name for name in mark["files"] if isinstance(name, str)} if ours and isinstance(
        mark.get("files"), list) else None


def _files(folder: Path) -> list[str]:
    """Relative paths of all below a folder that is no folder, links to folders included."""
    found = []
    for place, folders, files in os.walk(folder):
        names = [*files, *(name for name in folders if Path(place, name).is_symlink())]
        found += [str(Path(place, name).relative_to(folder)) for name in names if name not in _LITTER]
    return sorted(found)


def write_file(item: Item, header: Header, values: NDArray[Any], out: Path, way: Way, about: About, say: Say) -> None:
    """Write one file's translation: NIfTI, .npy, PNG or TIFF."""
    if header.affine is not None:
        nifti.write(nifti.like(nifti.skeleton(item.path, header), values, way, about), out)
    elif formats.format_of(item.path) is formats.npy:
        pictures.write_array(out, values, values.shape if header.volumetric else values.shape[1:])
    else:
        pictures.write_pictures(out, values, header, way, about, say)


def write_series(item: Item, values: NDArray[Any], stage: Path, about: About, say: Say) -> None:
    """Write a derived DICOM series into an empty folder."""
    assert item.series is not None
    dicom.write_series(item.series, values, stage, about, say)


def write_mark(stage: Path, about: About, volumes: int) -> None:
    """Write translation.json: what made the files of a folder, and which they are."""
    write_json(stage / MARK, {"kind": KIND, "schema_version": SCHEMA_VERSION, **asdict(about), "volumes": volumes,
                              "notice": NOTICE, "files": _files(stage)})
