"""What INPUT is: one file, one DICOM series, or a folder of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ganatomy import formats
from ganatomy.core.errors import UserError
from ganatomy.core.run import Run
from ganatomy.core.text import counted, printable
from ganatomy.data.vocabulary import is_mask_name
from ganatomy.formats import Header, Pixels, Unreadable, is_synthetic
from ganatomy.sources.dicom.series import Volume
from ganatomy.sources.entry import is_prepared, walk
from ganatomy.translation import dicom

Say = Callable[[str], None]
_FIXES = {"NaN": "replace them first, for example by the value of the background"}
_CONVERT = {".mgz": "NIfTI", ".mgh": "NIfTI", ".hdr": "NIfTI", ".img": "NIfTI", ".mnc": "NIfTI", ".gif": "PNG",
            ".bmp": "PNG", ".webp": "PNG"}
"""Ending of a format that is not read -> what to convert it to."""


@dataclass(frozen=True)
class Item:
    """One volume or file of pictures.

    Attributes:
        name: as the user knows it.
        path: of the file, of a DICOM volume of its first.
        series: a DICOM volume; None for other files.
    """

    name: str
    path: Path
    series: Volume | None = None

    def header(self) -> Header:
        """Shape and geometry. Raises `UserError`."""
        if self.series is not None:
            return self.series.header
        try:
            return formats.scan(self.path)
        except Unreadable as error:
            raise refusal(error, self.name) from error

    def pixels(self) -> Pixels:
        """As the readers give them. Raises `UserError`."""
        try:
            return formats.read_frames(self.series.frames) if self.series else formats.read(self.path)
        except Unreadable as error:
            raise refusal(error, self.name) from error


def refusal(error: Unreadable, name: str) -> UserError:
    """What the readers say of a file, as an error of the user's."""
    suffix = Path(name).suffix.lower()
    if suffix in _CONVERT:
        return UserError(f"{suffix} files are not read", where=name, fix=f"convert it to {_CONVERT[suffix]}")
    return UserError(str(error), where=name, fix=next((fix for key, fix in _FIXES.items() if key in str(error)), None))


def find(source: Path, say: Say) -> tuple[list[Item], bool]:
    """The volumes of INPUT, and whether it is a single one.

    Raises:
        UserError: there is none, or it is a dataset or a run.
    """
    if not source.exists():
        raise UserError("there is no such file or folder", where=source, fix="check the path")
    if source.is_dir():
        return _in_folder(source, say)
    if not source.is_file():
        raise UserError("is neither a file nor a folder", where=source, fix="check the path")
    if is_synthetic(source):
        say(f"warning: {printable(source.name)}: was made by a model, and is no scan")
    if _is_dicom(source):
        series = dicom.volumes(source, say)
        return [_series(volume) for volume in series], len(series) == 1
    if _is_mask(source.name):
        say(f"warning: {printable(source.name)}: is called like a mask; its values are translated as if it were a scan")
    return [Item(source.name, source)], True


def _in_folder(folder: Path, say: Say) -> tuple[list[Item], bool]:
    if is_prepared(folder):
        raise UserError("is a dataset: its images are cut to the model's size and have lost their files", where=folder,
                        fix="give the scans that it was prepared from")
    if Run.is_run(folder):
        raise UserError("is a run, not images", where=folder, fix="write `ganatomy translate RUN INPUT OUT`")
    found = walk(folder)
    masks = [name for name in found.images if _is_mask(name)]
    made = [name for name in found.images if name not in set(masks) and is_synthetic(folder / name)]
    left_out = {"called like a mask": masks, "synthetic, made by a model; name one alone to take it": made,
                ".npz archives are not translated": found.archives}
    for kind, names in left_out.items():
        if names:
            say(f"left out {counted(len(names), 'file')}: {kind}, for example {printable(names[0])}")
    if closed := found.passed["closed folder"]:
        say(f"warning: {counted(closed, 'folder')} could not be opened")
    files = [Item(name, folder / name) for name in found.images if name not in {*masks, *made}]
    series = _all_series(folder, bool(files), say) if found.dicom else []
    if not files and not series:
        why = "; ".join(f"{len(names)} {kind}" for kind, names in left_out.items() if names)
        raise UserError(f"holds no image that can be translated{f' ({why})' if why else ''}", where=folder,
                        fix="give NIfTI, DICOM, PNG, JPEG, TIFF or .npy files; convert others to these")
    return [*files, *(_series(volume) for volume in series)], not files and len(series) == 1


def _is_mask(name: str) -> bool:
    return is_mask_name(formats.stem(Path(name).name).rpartition("_")[2])


def _all_series(folder: Path, others: bool, say: Say) -> list[Volume]:
    try:
        return dicom.volumes(folder, say)
    except UserError as error:
        if not others:
            raise
        say(f"left out: {error}")
        return []


def _series(volume: Volume) -> Item:
    facts = volume.facts
    number = f" {facts.series_number}" if facts.series_number is not None else ""
    title = f" {facts.series_description!r}" if facts.series_description else ""
    return Item(f"series{number}{title} ({counted(volume.slices, 'slice')})", volume.path, volume)


def series_folders(items: list[Item]) -> dict[Item, str]:
    """Where in OUT each DICOM series goes: the folder of its first file, then series-NUMBER."""
    seen: Counter[str] = Counter()
    folders = {}
    for item in items:
        if item.series is None:
            continue
        number = item.series.facts.series_number
        place = str(Path(item.series.name).parent / (f"series-{number:03d}" if number is not None else "series"))
        seen[place] += 1
        folders[item] = place if seen[place] == 1 else f"{place}-{seen[place]}"
    return folders


def _is_dicom(path: Path) -> bool:
    try:
        return formats.format_of(path) is formats.dicom
    except OSError as error:
        raise UserError(f"cannot be opened ({error.strerror})", where=path, fix="check the path") from error
