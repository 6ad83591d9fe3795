"""What INPUT is: one file, one DICOM series, or a folder of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ganatomy.data import readers
from ganatomy.data.dicom.series import Volume
from ganatomy.data.readers import Header, Pixels, Unreadable
from ganatomy.data.sources import is_mask_name, is_prepared, walk
from ganatomy.errors import UserError
from ganatomy.run import Run
from ganatomy.translation import dicom
from ganatomy.wording import counted

Say = Callable[[str], None]
_FIXES = {"NaN": "replace them first, for example by the value of the background"}


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
            return readers.scan(self.path)
        except Unreadable as error:
            raise refusal(error, self.name) from error

    def pixels(self) -> Pixels:
        """As the readers give them. Raises `UserError`."""
        try:
            return readers.read_frames(self.series.frames) if self.series else readers.read(self.path)
        except Unreadable as error:
            raise refusal(error, self.name) from error


def refusal(error: Unreadable, name: str) -> UserError:
    """What the readers say of a file, as an error of the user's."""
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
    if _is_dicom(source):
        series = dicom.volumes(source, say)
        return [_series(volume) for volume in series], len(series) == 1
    return [Item(source.name, source)], True


def _in_folder(folder: Path, say: Say) -> tuple[list[Item], bool]:
    if is_prepared(folder):
        raise UserError("is a dataset: its images are cut to the model's size and have lost their files", where=folder,
                        fix="give the scans that it was prepared from")
    if Run.is_run(folder):
        raise UserError("is a run, not images", where=folder, fix="write `ganatomy translate RUN INPUT OUT`")
    found = walk(folder)
    masks = [name for name in found.images if is_mask_name(readers.stem(Path(name).name).rpartition("_")[2])]
    for kind, names in (("called like a mask", masks), (".npz archives are not translated", found.archives)):
        if names:
            say(f"left out {counted(len(names), 'file')}: {kind}, for example {names[0]}")
    files = [Item(name, folder / name) for name in found.images if name not in set(masks)]
    series = _all_series(folder, bool(files), say) if found.dicom else []
    if not files and not series:
        raise UserError("holds no image that can be translated", where=folder,
                        fix="give NIfTI, DICOM, PNG, JPEG, TIFF or .npy files")
    return [*files, *(_series(volume) for volume in series)], not files and len(series) == 1


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
        with path.open("rb") as handle:
            return readers.dicom.is_mine(handle.read(readers.nifti.HEAD_BYTES))
    except OSError as error:
        raise UserError(f"cannot be opened ({error.strerror})", where=path, fix="check the path") from error
