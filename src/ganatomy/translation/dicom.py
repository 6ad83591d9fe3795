"""DICOM in, DICOM out: the volumes of a folder or a series, and a derived series that opens at the source's place."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ganatomy import formats
from ganatomy.core.errors import UserError
from ganatomy.core.files import staged_folder
from ganatomy.core.text import counted, grouped
from ganatomy.data.parallel import progress
from ganatomy.formats import SYNTHETIC, Unreadable
from ganatomy.formats.dicom.tags import Facts, facts
from ganatomy.sources.dicom.series import Volume, build
from ganatomy.sources.dicom.slices import Skipped
from ganatomy.sources.entry import is_hidden, walk
from ganatomy.translation.about import About
from ganatomy.translation.dicom_pixels import Stored, stored
from ganatomy.translation.dicom_tags import Source, read_source, series_tags, slice_tags

TOLD = 3
"""So many files or series of one kind that are left out are told one by one."""
_FAULTS = ("faulty volume:", "several images at one place:")
"""How the reasons begin for which a part of a series that should be a volume is none."""
KEEPS = ("the DICOM files keep the patient's name, ID, birth date and sex, and refer to the source's images: they are "
         "not anonymous")
"""What is to be said of derived series."""
_OPTIONS = re.compile(r" \(add --[\w-]+ to take it\)|, or add --[\w-]+ to take it as it is")


def volumes(path: Path, say: Callable[[str], None] = lambda text: None) -> list[Volume]:
    """The DICOM volumes of a folder, or of the series that one file belongs to.

    Args:
        path: a folder, of which all below it counts; or a file, which stands for those beside it with the same
            SeriesInstanceUID. Derived series are taken from a folder only where their study has no others, and those
            that Ganatomy made never; a file that is named itself may be either.
        say: told what is left out, with the reason.

    Returns:
        Volumes in the order of patients, studies and series. `formats.read_frames(volume.frames)` gives voxels
        [i, j, k], and `volume.header.affine` their place.

    Raises:
        UserError: there is none.
    """
    if not path.exists():
        raise UserError("there is no such file or folder", where=path)
    reading = _in_folder(path) if path.is_dir() else _beside(path)
    found, skipped = build(reading.facts(say), keep_derived=reading.named)
    faulty = {reading.owners[name]: reason for name, reason in skipped if reason.startswith(_FAULTS)}
    reasons = [_why_not(volume, reading.named, faulty) for volume in found]
    good = [volume for volume, reason in zip(found, reasons, strict=True) if not reason]
    skipped = [*reading.unreadable, *skipped,
               *((volume.name, reason) for volume, reason in zip(found, reasons, strict=True) if reason)]
    told = _told([(name, _OPTIONS.sub("", reason)) for name, reason in skipped])
    if not good:
        raise UserError(f"{grouped(len(reading.names), 'DICOM file')}, and none is a slice of a volume that can be "
                        f"translated ({'; '.join(told) or 'there are none'})", where=path,
                        fix="give a folder with one DICOM series of slices, or one of its files")
    for line in [*(f"left out: {line}" for line in told), *(note for volume in good for note in volume.notes)]:
        say(line)
    return good


@dataclass
class _Reading:
    """Files whose tags are to be read.

    Attributes:
        names: relative to `folder`. series: only files of this SeriesInstanceUID count; None for any.
        named: the user named one of the files.
        unreadable: (name, reason) of those that hold no image.
        owners: name -> its series, of the files that were read.
    """

    folder: Path
    names: list[str]
    series: str | None = None
    named: bool = False
    unreadable: Skipped = field(default_factory=list)
    owners: dict[str, str] = field(default_factory=dict)

    def facts(self, say: Callable[[str], None]) -> Iterator[tuple[str, Path, Facts]]:
        """(name, path, facts) of each."""
        told = progress(len(self.names), "DICOM headers", say)
        for done, name in enumerate(self.names, 1):
            try:
                found = facts(self.folder / name)
            except Unreadable as error:
                if not self.named:
                    self.unreadable.append((name, str(error)))
                continue
            if self.series is None or found.series_uid == self.series:
                self.owners[name] = _owner(name, found)
                yield name, self.folder / name, found
            told(done)


def _in_folder(folder: Path) -> _Reading:
    return _Reading(folder, walk(folder).dicom)


def _beside(file: Path) -> _Reading:
    try:
        series = facts(file).series_uid
        others = sorted(item.name for item in file.parent.iterdir() if _is_dicom(item)) if series else []
    except (Unreadable, OSError) as error:
        raise UserError(f"{getattr(error, 'strerror', None) or error}", where=file,
                        fix="give a DICOM file, or a folder with one series") from error
    return _Reading(file.parent, others or [file.name], series, named=True)


def _is_dicom(path: Path) -> bool:
    if is_hidden(path.name) or not path.is_file():
        return False
    try:
        return formats.format_of(path) is formats.dicom
    except OSError:
        return False


def _owner(name: str, found: Facts) -> str:
    """The series of a file; without a SeriesInstanceUID it is that of its folder."""
    return found.series_uid or str(Path(name).parent)


def _why_not(volume: Volume, named: bool, faulty: Mapping[str, str]) -> str:
    """Why a volume is not to be translated, "" if it is.

    Args:
        named: the user named one of its files.
        faulty: series -> what is wrong with a part of it: the rest is not what the series was meant to be.
    """
    if not volume.frames:
        return ("pictures: they are in colour" if volume.header.channels > 1 else
                "pictures: no PixelSpacing says how large a pixel is" if volume.header.spacing is None else
                "pictures: no tags say where they lie (ImagePositionPatient, ImageOrientationPatient)")
    if (fault := faulty.get(_owner(volume.name, volume.facts))) is not None:
        return f"part of a faulty series: its other part is a {fault}"
    if SYNTHETIC.match(volume.facts.series_description) and not named:
        return f"synthetic: {volume.facts.series_description!r} was made by a model; name one of its files to take it"
    return ""


def _told(skipped: Skipped) -> list[str]:
    """A line for each of the first few of a kind."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for name, reason in skipped:
        kinds[reason.partition(":")[0]].append(f"{name}: {reason}")
    return [line for lines in kinds.values() for line in
            [*lines[:TOLD], *([f"{len(lines) - TOLD} more like these"] if len(lines) > TOLD else [])]]


def write_series(volume: Volume, values: NDArray[Any], out: Path, about: About,
                 say: Callable[[str], None] = lambda text: None) -> None:
    """Write a derived series: a folder of one file a slice, at the places of the source's slices.

    SOPInstanceUID, SeriesInstanceUID and StudyInstanceUID are new. FrameOfReferenceUID stays the source's: it names the
    space that positions are meant in, and with a new one no viewer may lay the series over its source. Name, ID, birth
    date and sex of the patient stay the source's, and so do orientation in the scanner, whether pixels were once
    compressed with loss, and what is marked as visible in them; nothing else is taken from it (`dicom_tags.TAKEN`).
    Each file names the SOPInstanceUID of its source's slice (SourceImageSequence). Storage classes are the classic
    ones whatever the source was: CT for HU, MR, or a secondary capture for anything else (PET, say). Memory is needed
    for one slice at a time. Numbers are stored as `dicom_pixels.stored` says.

    Args:
        volume: the source, as `volumes` gives it.
        values: [i, j, k] as `read_frames(volume.frames)` gives them: HU, or on an arbitrary scale.
        out: the folder to make; it may exist if it is empty.
        say: told how values are stored.

    Raises:
        UserError: `out` is there already or cannot be written; values are not finite; the source has changed.
    """
    if values.shape != volume.header.shape or not volume.frames:
        raise ValueError(f"values of the shape {values.shape} for a volume of {volume.header.shape}")
    how = stored(values, about.units)
    tags = series_tags(volume, about, how.text)
    with staged_folder(out) as stage, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is odd about the source's patient name
        for source, places in _sources(volume):
            for k, frame in places:
                _write(stage / f"slice-{k + 1:04d}.dcm", slice_tags(tags, source, frame, k + 1), values[:, :, k], how)
    say(f"{counted(len(volume.frames), 'slice')}: {how.text}")


def _sources(volume: Volume) -> Iterator[tuple[Source, list[tuple[int, int]]]]:
    """Each file of a volume with (slice, frame) of what it holds of it."""
    files: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for k, (path, frame) in enumerate(volume.frames):
        files[path].append((k, frame))
    for path, places in files.items():
        try:
            source = read_source(Path(path))
        except Unreadable as error:
            raise UserError(f"cannot be read any more: {error}", where=path) from error
        if max(frame for _, frame in places) >= len(source.frames):
            raise UserError("has changed while it was being translated", where=path)
        yield source, places


def _write(path: Path, tags: Any, picture: NDArray[Any], how: Stored) -> None:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    how.describe(tags, picture)
    tags.file_meta = FileMetaDataset()
    tags.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    tags.file_meta.MediaStorageSOPClassUID = tags.SOPClassUID
    tags.file_meta.MediaStorageSOPInstanceUID = tags.SOPInstanceUID
    tags.save_as(path, enforce_file_format=True)
