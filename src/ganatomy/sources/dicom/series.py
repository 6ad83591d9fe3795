"""From the frames of DICOM files to volumes: what belongs together, in which order, and what is left out and why."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ganatomy.core.text import counted
from ganatomy.data.images import check_size
from ganatomy.formats import Header, Unreadable
from ganatomy.formats.dicom import common_dtype
from ganatomy.formats.dicom.tags import Facts
from ganatomy.sources.dicom.slices import FARTHEST, Collection, Skipped, Slice, split, untangle, without_copies
from ganatomy.sources.dicom.stack import Stack, plane, stack

SCOUT_PLANES, SCOUT_SLICES = 3, 60
"""A series of three planes with no more slices than this is a localiser, whatever it is called."""
CAPTURE, CAPTURE_CLASS = "secondary capture", "1.2.840.10008.5.1.4.1.1.7."
_SCOUT = re.compile(r"\b(loc\b|locali[sz]er|scout|survey|surview|topogram|scanogram|smart\s?brain|aahead|"
                    r"3[- ]?pl(ane)?|calibration|asset cal|ref(erence)? scan|senseref)", re.IGNORECASE)
_PROJECTION = re.compile(r"\b(mip|mnip|minip|max(imum)? ?ip|vrt?|volume rendering)\b", re.IGNORECASE)
_PROJECTION_TYPES = {"MIP", "MNIP", "MINIP", "MIN IP", "MINIMUM INTENSITY PROJECTION", "PROJECTION IMAGE",
                     "MAXIMUM INTENSITY PROJECTION", "VOLUME RENDERING", "VRT", "CSA MIP", "CSA MINIP"}


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """One volume, or one file of pictures without positions.

    Attributes:
        facts: tags of its files, without those that differ from file to file.
        path, name: of the first file.
        frames: (path, frame) of each slice along k; () for a file that is read whole.
        header: affine to mm (right, anterior, superior); None for pictures.
        plane: axial, coronal or sagittal, the nearest; "" for pictures. tilt: degrees off that plane.
        step: mm from slice to slice, 0 for pictures.
        echo: echo time in ms, None where unknown.
        image_type: of its slices, in capitals.
        number: InstanceNumber of the first file. time: content time of the last.
        location: SliceLocation of a picture, mm.
        files: how many it comes from.
        notes: what is odd about it, each beginning with a kind and a colon.
    """

    facts: Facts
    path: Path
    name: str
    frames: tuple[tuple[str, int], ...]
    header: Header
    plane: str = ""
    tilt: float = 0.0
    step: float = 0.0
    echo: float | None = None
    image_type: tuple[str, ...] = ()
    number: int | None = None
    time: str = ""
    files: int = 1
    notes: tuple[str, ...] = ()
    location: float | None = None

    @property
    def session(self) -> tuple[str, str]:
        """Patient and study."""
        return self.facts.patient_id, self.facts.study_uid

    @property
    def slices(self) -> int:
        """Number of slices or pictures."""
        return self.header.shape[2] if self.frames else self.header.shape[0]


@dataclass
class _Study:
    """The parts of one patient's one study, whether each is of a localiser, and (modality, kinds) of all others."""

    parts: list[tuple[list[Slice], bool]] = field(default_factory=list)
    present: set[tuple[str, frozenset[str]]] = field(default_factory=set)

    def add(self, parts: Sequence[list[Slice]]) -> None:
        """Take in the parts of one series."""
        scout = _is_scout(parts)
        for part in parts:
            self.parts.append((part, scout or "LOCALIZER" in part[0].image_type))
            if not self.parts[-1][1]:
                self.present.add((part[0].facts.modality, frozenset(_kinds(part[0]))))

    def has_better(self, kind: str, modality: str) -> bool:
        """Whether there are images that are not of this kind; of the same modality, but for secondary captures."""
        return any(kind not in kinds and CAPTURE not in kinds and (kind == CAPTURE or other == modality)
                   for other, kinds in self.present)


def build(facts: Iterable[tuple[str, Path, Facts]], allow_gaps: bool = False,
          keep_derived: bool = False) -> tuple[list[Volume], Skipped]:
    """Volumes from the facts of files, in the order of studies, series and time.

    Args:
        facts: (name, path, facts) of each file, in any order; taken one by one.
        allow_gaps: take volumes with missing slices, uneven gaps or a gantry tilt too.
        keep_derived: take derived images, projections and secondary captures too where the study has originals.

    Returns:
        The volumes, and (name, reason) of what is left out: one for each duplicate, and one for each series, under the
        name of its first file. A reason begins with its kind and a colon.
    """
    files = Collection()
    for name, path, tags in facts:
        files.add(name, path, tags)
    studies: dict[tuple[str, str], _Study] = defaultdict(_Study)
    for (patient, study, _), slices in files.series.items():
        studies[patient, study].add(split(slices))
    volumes, skipped = [], files.skipped
    for parts in studies.values():
        left_out: dict[tuple[str, str], list[Slice]] = defaultdict(list)
        for part, scout in parts.parts:
            reason, notes = ("localiser", []) if scout else _left_out(part[0], parts, keep_derived)
            if reason:
                left_out[reason, part[0].facts.series_uid] += part
                continue
            good, faulty = _volumes(part, [f"{note}: {_series(part)}" for note in notes], allow_gaps)
            volumes += good
            skipped += faulty
        skipped += [(part[0].name, f"{reason}: {_series(part)}") for (reason, _), part in left_out.items()]
    return sorted(volumes, key=order), skipped


def order(volume: Volume) -> tuple[str, str, str, int, str, int, str]:
    """A sorting key: patients, studies, series, time."""
    facts = volume.facts
    return (facts.patient_id, facts.study_date, facts.study_uid, facts.series_number or 0, volume.time,
            volume.number or 0, volume.name)


def _left_out(item: Slice, study: _Study, keep_derived: bool) -> tuple[str, list[str]]:
    """Why a part is left out, or "" and what is to be told of it."""
    notes: list[str] = []
    for kind in () if keep_derived else _kinds(item):
        modality = item.facts.modality
        if study.has_better(kind, modality) or (kind == CAPTURE and modality in ("OT", "SC", "")):
            return f"{kind} (add --keep-derived to take it)", []
        notes.append(f"{kind}s kept, since their study has no other images")
    return "", notes


def _volumes(part: list[Slice], notes: Sequence[str], allow_gaps: bool) -> tuple[list[Volume], Skipped]:
    if part[0].pictures:
        return _pictures(part[0], notes)
    if len({s.position for s in part}) == 1 < len({s.location for s in part}):  # a position that was put in for all
        made = [_pictures(replace(s, pictures=1), notes) for s in part]
        return [volume for volumes, _ in made for volume in volumes], [item for _, skipped in made for item in skipped]
    part, skipped = without_copies(part)
    tangled = untangle(part)
    if not tangled:
        return [], [*skipped, (part[0].name, f"several images at one place: {_series(part)}; no tag says which belong "
                                             "together; convert it to NIfTI first")]
    volumes = []
    for slices in tangled:
        frame = slices[0].frame
        thickness = next((mm for mm in (frame.gap, frame.thickness) if mm and 0 < mm <= FARTHEST), 1.0)
        placed = stack([s.position for s in slices], frame.orientation, frame.spacing, thickness)
        slices = [slices[i] for i in placed.order]
        try:
            volumes.append(_volume(slices, placed, notes, allow_gaps))
        except Unreadable as error:
            skipped.append((slices[0].name, str(error)))
    return volumes, skipped


def _volume(slices: list[Slice], placed: Stack, notes: Sequence[str], allow_gaps: bool) -> Volume:
    """The volume of slices in order. Raises `Unreadable` where its geometry is faulty and that is not allowed."""
    first = slices[0]
    faults = " and ".join(placed.faults)
    if faults and not allow_gaps:
        raise Unreadable(f"faulty volume: {_series(slices)}: {faults}; export it again, or add --allow-gaps to take it "
                         "as it is")
    notes = [*notes, *([f"faulty volume: {_series(slices)}: {faults}; taken as it is"] if faults else []),
             *([f"single slice: {_series(slices)}"] if len(slices) == 1 else [])]
    shape = (first.facts.columns, first.facts.rows, len(slices))
    check_size(shape)
    header = Header(shape, common_dtype([np.dtype(s.facts.dtype) for s in slices]), 1, placed.affine, volumetric=True,
                    lossy=any(s.facts.lossy for s in slices), oriented=True, modality=first.facts.modality,
                    body=f"{first.facts.body_part} {first.facts.series_description} {first.facts.protocol}",
                    starts=placed.starts)
    name, tilt = plane(first.frame.orientation)
    return Volume(first.facts, Path(first.path), first.name, tuple((s.path, s.number) for s in slices), header, name,
                  tilt, placed.step, first.echo, first.image_type, first.instance,
                  max(s.time for s in slices), len({s.path for s in slices}), tuple(notes))


def _pictures(file: Slice, notes: Sequence[str]) -> tuple[list[Volume], Skipped]:
    shape = (file.pictures, file.facts.rows, file.facts.columns)
    try:
        check_size(shape)
    except Unreadable as error:
        return [], [(file.name, str(error))]
    spacing = file.frame.spacing
    known = (spacing[0], spacing[1]) if len(spacing) == 2 and min(spacing) > 0 else None
    header = Header(shape, np.dtype(file.facts.dtype), file.facts.channels, volumetric=file.pictures > 1,
                    lossy=file.facts.lossy, modality=file.facts.modality, spacing=known)
    return [Volume(file.facts, Path(file.path), file.name, (), header, echo=file.echo, image_type=file.image_type,
                   number=file.instance, location=file.location, time=file.time, notes=tuple(notes))], []


def _is_scout(parts: Sequence[Sequence[Slice]]) -> bool:
    """Whether a series is a localiser, by its name or its three planes of few slices."""
    first = parts[0][0]
    if _SCOUT.search(_words(f"{first.facts.series_description} {first.facts.protocol}")):
        return True
    planes = {plane(part[0].frame.orientation)[0] for part in parts if not part[0].pictures}
    return len(planes) >= SCOUT_PLANES and sum(map(len, parts)) <= SCOUT_SLICES


def _kinds(item: Slice) -> list[str]:
    """What of derived image, projection and secondary capture a slice is."""
    facts, types = item.facts, item.image_type
    kinds = []
    if f"{facts.sop_class}.".startswith(CAPTURE_CLASS) or facts.modality in ("OT", "SC") or "SCREEN SAVE" in types:
        kinds.append(CAPTURE)
    if types[:1] == ("DERIVED",):
        kinds.append("derived image")
    if _PROJECTION_TYPES & set(types) or _PROJECTION.search(_words(facts.series_description)):
        kinds.append("projection")
    return kinds


def _words(text: str) -> str:
    return text.replace("_", " ")


def _series(part: Sequence[Slice]) -> str:
    """A series in a sentence: series 4 'T2 TSE' (24 slices)."""
    facts = part[0].facts
    number = f" {facts.series_number}" if facts.series_number is not None else ""
    title = facts.series_description or facts.protocol
    count = sum(item.pictures or 1 for item in part)
    return f"series{number}{f' {title!r}' if title else ''} ({counted(count, 'slice')})"
