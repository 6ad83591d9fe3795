"""What INPUT is: one file, one DICOM series, a folder of both, or something in memory."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy import formats
from ganatomy.core.errors import UserError
from ganatomy.core.run import Run
from ganatomy.core.text import Say, counted, grouped, printable
from ganatomy.data.images import Header, Pixels, Unreadable, check_finite, check_size, simple_dtype
from ganatomy.data.vocabulary import is_mask_name
from ganatomy.formats import SYNTHETIC, is_synthetic
from ganatomy.formats.dicom.tags import Facts, facts
from ganatomy.formats.nifti import volume_header, volume_shape
from ganatomy.sources.dicom import read_tags
from ganatomy.sources.dicom.series import Volume, build
from ganatomy.sources.dicom.slices import Skipped
from ganatomy.sources.entry import is_hidden, is_prepared, walk

Headers = list[tuple[str, Path, Facts]]
_BESIDE = (".raw", ".zraw", ".img", ".hdr")  # files of values beside one of a header
TOLD = 3  # files or series of one kind that are left out are told one by one
_FAULTS = ("faulty volume:", "several images at one place:")  # why a part of a series that should be a volume is none
# what other commands would do with a file that is left out
_OPTIONS = re.compile(r" \(add --[\w-]+ to take it\)|, or add --[\w-]+ to take it as it is")


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

    def files(self) -> list[Path]:
        """All that it is read from."""
        if self.series:
            return [Path(path) for path, _ in self.series.frames] or [self.path]
        return [self.path, *filter(Path.is_file, map(self.path.with_suffix, _BESIDE))]

    def header(self) -> Header:
        """Shape and geometry. Raises `UserError`."""
        with _user_errors(self.name):
            return self.series.header if self.series else formats.scan(self.path)

    def pixels(self) -> Pixels:
        """As the readers give them. Raises `UserError`."""
        with _user_errors(self.name):
            return formats.read_frames(self.series.frames) if self.series else formats.read(self.path)


@contextmanager
def _user_errors(name: str) -> Iterator[None]:
    """What the readers object to in the file of this name, as a `UserError`."""
    try:
        yield
    except Unreadable as error:
        reason, fix, suffix = str(error), None, Path(name).suffix.lower()
        if suffix in formats.CONVERT:
            reason, fix = f"{suffix} files are not read", f"convert it to {formats.CONVERT[suffix]}"
        elif "NaN" in reason:
            fix = "replace them first, for example by the value of the background"
        raise UserError(reason, where=name, fix=fix) from error


def find(source: Path, say: Say) -> tuple[list[Item], bool]:
    """The volumes of INPUT, and whether it is a single one.

    Raises:
        UserError: there is none, or it is a dataset or a run.
    """
    if source.is_dir():
        return _in_folder(source, say)
    if not source.is_file():
        what = "is neither a file nor a folder" if source.exists() else "there is no such file or folder"
        raise UserError(what, where=source, fix="check the path")
    if is_synthetic(source):
        say(f"warning: {printable(source.name)}: is synthetic, and no scan")
    if _is_dicom(source):
        series = volumes(source, say)
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
    content = walk(folder)
    masks = [name for name in content.images if _is_mask(name)]
    synthetic = [name for name in content.images if not _is_mask(name) and is_synthetic(folder / name)]
    left_out = {"called like a mask": masks, "synthetic, of a model; name one alone to take it": synthetic,
                ".npz archives are not translated": content.archives}
    for kind, names in left_out.items():
        if names:
            say(f"left out {counted(len(names), 'file')}: {kind}, for example {printable(names[0])}")
    if closed := content.passed["closed folder"]:
        say(f"warning: {counted(closed, 'folder')} could not be opened")
    files = [Item(name, folder / name) for name in content.images if name not in {*masks, *synthetic}]
    series: list[Volume] = []
    try:
        series = volumes(folder, say) if content.dicom else []
    except UserError as error:
        if not files:
            raise
        say(f"left out: {error}")
    if not files and not series:
        why = "; ".join(f"{len(names)} {kind}" for kind, names in left_out.items() if names)
        raise UserError(f"holds no image that can be translated{f' ({why})' if why else ''}", where=folder,
                        fix="give NIfTI, DICOM, PNG, JPEG, TIFF or .npy files; convert others to these")
    return [*files, *map(_series, series)], not files and len(series) == 1


def _is_mask(name: str) -> bool:
    return is_mask_name(formats.stem(Path(name).name).rpartition("_")[2])


def _series(volume: Volume) -> Item:
    tags = volume.facts
    number = f" {tags.series_number}" if tags.series_number is not None else ""
    title = f" {tags.series_description!r}" if tags.series_description else ""
    return Item(f"series{number}{title} ({counted(volume.slices, 'slice')})", volume.path, volume)


def series_folders(items: Sequence[Item]) -> dict[Item, str]:
    """Where in OUT each DICOM series goes: the folder of its first file, then series-NUMBER."""
    taken: Counter[str] = Counter()
    folders = {}
    for item in items:
        if item.series is None:
            continue
        number = item.series.facts.series_number
        place = str(Path(item.series.name).parent / (f"series-{number:03d}" if number is not None else "series"))
        taken[place.lower()] += 1  # of two that differ in case many file systems make one
        folders[item] = place if taken[place.lower()] == 1 else f"{place}-{taken[place.lower()]}"
    return folders


def volumes(path: Path, say: Say = lambda text: None) -> list[Volume]:
    """The DICOM volumes of a folder, or of the series that one file belongs to.

    A folder counts with all below it; a file stands for those beside it with the same SeriesInstanceUID. Derived series
    are taken from a folder only where their study has no others, and those that Ganatomy wrote never; a file that is
    named itself may be either.

    Returns:
        Volumes in the order of patients, studies and series. `formats.read_frames(volume.frames)` gives voxels
        [i, j, k], and `volume.header.affine` their place.

    Raises:
        UserError: there is none.
    """
    named = not path.is_dir()
    headers, unreadable = _beside(path, say) if named else _headers(path, walk(path).dicom, say)
    candidates, skipped = build(headers, keep_derived=named)
    owners = {name: _owner(name, tags) for name, _, tags in headers}
    faulty = {owners[name]: reason for name, reason in skipped if reason.startswith(_FAULTS)}
    reasons = [_why_not(volume, named, faulty) for volume in candidates]
    good = [volume for volume, reason in zip(candidates, reasons, strict=True) if not reason]
    refused = [(volume.name, reason) for volume, reason in zip(candidates, reasons, strict=True) if reason]
    told = _told([(name, _OPTIONS.sub("", reason)) for name, reason in [*unreadable, *skipped, *refused]])
    if not good:
        raise UserError(f"none of {grouped(len(headers) + len(unreadable), 'DICOM file')} is a slice of a volume that "
                        f"can be translated ({'; '.join(told) or 'there are none'})", where=path,
                        fix="give a folder with one DICOM series of slices, or one of its files")
    for line in [*(f"left out: {line}" for line in told), *(note for volume in good for note in volume.notes)]:
        say(line)
    return good


def _beside(file: Path, say: Say) -> tuple[Headers, Skipped]:
    """Like `_headers`, of the series that a file belongs to; it alone where it does not say to which."""
    try:
        series = facts(file).series_uid
        names = sorted(item.name for item in file.parent.iterdir()
                       if not is_hidden(item.name) and _is_dicom(item)) if series else []
    except (Unreadable, OSError) as error:
        raise UserError(f"{getattr(error, 'strerror', None) or error}", where=file,
                        fix="give a DICOM file, or a folder with one series") from error
    headers, _ = _headers(file.parent, names or [file.name], say)
    return [header for header in headers if header[2].series_uid == series], []


def _headers(folder: Path, names: Sequence[str], say: Say) -> tuple[Headers, Skipped]:
    """(name, path, tags) of a folder's files, and (name, reason) of the unreadable ones."""
    headers, unreadable = [], []
    for name, tags in read_tags(folder, names, say=say):
        if isinstance(tags, str):
            unreadable.append((name, tags))
        else:
            headers.append((name, folder / name, tags))
    return headers, unreadable


def _is_dicom(path: Path) -> bool:
    try:
        return path.is_file() and formats.format_of(path) is formats.dicom
    except OSError:
        return False


def _owner(name: str, tags: Facts) -> str:
    """The series of a file; without a SeriesInstanceUID it is that of its folder."""
    return tags.series_uid or str(Path(name).parent)


def _why_not(volume: Volume, named: bool, faulty: Mapping[str, str]) -> str:
    """Why a volume is not to be translated, "" if it is; one of its files may have been `named` by the user.

    `faulty` says of a series what is wrong with a part of it: the rest is not what the series was meant to be.
    """
    if not volume.frames:
        return ("pictures: they are in colour" if volume.header.channels > 1 else
                "pictures: no PixelSpacing says how large a pixel is" if volume.header.spacing is None else
                "pictures: no tags say where they lie (ImagePositionPatient, ImageOrientationPatient)")
    if (fault := faulty.get(_owner(volume.name, volume.facts))) is not None:
        return f"part of a faulty series: its other part is a {fault}"
    if SYNTHETIC.match(volume.facts.series_description) and not named:
        return f"synthetic: {volume.facts.series_description!r} is of a model; name one of its files to take it"
    return ""


def _told(skipped: Skipped) -> list[str]:
    """A line for each of the first few of a kind."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for name, reason in skipped:
        kinds[reason.partition(":")[0]].append(f"{name}: {reason}")
    return [line for lines in kinds.values() for line in
            [*lines[:TOLD], *([f"{len(lines) - TOLD} more like these"] if len(lines) > TOLD else [])]]


def from_array(pictures: NDArray[Any], channels: int) -> tuple[Pixels, Header]:
    """Pixels [slices, h, w(, 3)] and header of an array [h, w] or [slices, h, w] (with a last axis of 3 for colour).

    Raises `UserError` if its shape or its values cannot be used.
    """
    colours = (3,) if channels == 3 and pictures.shape[-1:] == (3,) else ()
    shape = pictures.shape[:pictures.ndim - len(colours)]
    if len(shape) not in (2, 3):
        raise UserError(f"its shape {pictures.shape} is neither [h, w] nor [slices, h, w]", where="the volume")
    slices, height, width = shape if len(shape) == 3 else (1, *shape)
    pixels = _checked(pictures, (slices, height, width), colours)
    return pixels, Header((slices, height, width), pixels.dtype, channels=3 if colours else 1)


def from_image(image: Any) -> tuple[Pixels, Header]:
    """Pixels [i, j, k] and header of a nibabel NIfTI image, as the reader gives those of a file.

    Raises `UserError` if it is none, or its values or its affine cannot be used.
    """
    import nibabel

    if not isinstance(image, nibabel.Nifti1Pair):
        raise UserError(f"a {type(image).__name__} cannot be translated",
                        fix="give a path, a nibabel NIfTI image or an array")
    with _user_errors("the volume"):
        shape = volume_shape(image)
        pixels = _checked(np.asanyarray(image.dataobj), shape)
        return pixels, volume_header(image, shape, pixels.dtype)


def _checked(values: NDArray[Any], shape: tuple[int, ...], colours: tuple[int, ...] = ()) -> Pixels:
    """Values as the readers give them: of a simple dtype, all finite."""
    with _user_errors("the volume"), np.errstate(over="ignore"):  # what float32 cannot hold is told as infinite
        check_size(shape)
        return check_finite(values.astype(simple_dtype(values.dtype), copy=False)).reshape(*shape, *colours)
