"""Frames of DICOM files, kept small, and the splitting of a series into volumes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import TypeVar

import numpy as np

from ganatomy import formats
from ganatomy.formats import Unreadable
from ganatomy.formats.dicom.tags import Facts, Frame
from ganatomy.sources.dicom.stack import places, usable

ANGLE, MM, ECHO = 1e-3, 1e-3, 0.02
"""Slices of one volume differ by no more: in a direction's components, in mm of pixel spacing, as a share of the echo
time (some scanners write the effective one, slice by slice)."""
FARTHEST = 1e5
"""mm that a position or a pixel size may be; more is a broken tag."""

Skipped = list[tuple[str, str]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Slice:
    """One frame of a file, or a whole file that is no slice of a volume.

    Attributes:
        facts, frame: what the slices of a volume share; those of many slices are one object, to save memory.
        name, path: of the file; number: of the frame in it.
        pictures: how many pictures a file without positions holds; 0 for a slice of a volume.
        position: ImagePositionPatient, mm.
        instance, acquisition, temporal, indices, time: what may tell slices at one place apart.
        location: SliceLocation, mm from some point; it tells the place where there is no position.
    """

    facts: Facts
    frame: Frame
    name: str
    path: str
    number: int = 0
    pictures: int = 0
    position: tuple[float, ...] = ()
    instance: int | None = None
    acquisition: int | None = None
    temporal: int | None = None
    indices: tuple[int, ...] = ()
    time: str = ""
    location: float | None = None

    @property
    def echo(self) -> float | None:
        """Echo time in ms."""
        return self.frame.echo if self.frame.echo is not None else self.facts.echo_time

    @property
    def image_type(self) -> tuple[str, ...]:
        """ImageType, of the frame where it has its own, in capitals."""
        return tuple(part.upper() for part in self.frame.image_type or self.facts.image_type)


@dataclass
class Collection:
    """Slices by patient, study and series, as they are read."""

    series: dict[tuple[str, str, str], list[Slice]] = field(default_factory=lambda: defaultdict(list))
    skipped: Skipped = field(default_factory=list)
    _seen: dict[Hashable, str] = field(default_factory=dict)
    _facts: dict[Facts, Facts] = field(default_factory=dict)
    _frames: dict[Frame, Frame] = field(default_factory=dict)

    def add(self, name: str, path: Path, facts: Facts) -> None:
        """Take the frames of a file in, or note that the same image is there already."""
        first = facts.frames[0].position if facts.frames else ()
        key = (facts.sop_uid, facts.series_uid, facts.instance_number, first)
        known = self._seen.setdefault(key, name) if facts.sop_uid else name
        if known != name:
            self.skipped.append((name, f"duplicate: the same image (SOPInstanceUID) as {known}"))
            return
        shared = replace(facts, identifiers=frozenset(), sop_uid="", instance_number=None, acquisition_number=None,
                         temporal_position=None, slice_location=None, content_time="", frames=())
        shared = self._facts.setdefault(shared, shared)
        series = self.series[facts.patient_id, facts.study_uid, facts.series_uid or str(Path(name).parent)]
        file = Slice(shared, self._shared(facts.frames[0] if facts.frames else Frame()), name, str(path), 0,
                     max(1, len(facts.frames)), (), facts.instance_number, facts.acquisition_number,
                     facts.temporal_position, (), facts.content_time, facts.slice_location)
        if facts.cine or facts.channels > 1 or not facts.frames or not all(_placed(frame) for frame in facts.frames):
            series.append(file)
            return
        for number, frame in enumerate(facts.frames):
            temporal = frame.temporal if frame.temporal is not None else facts.temporal_position
            series.append(replace(file, frame=self._shared(frame), number=number, pictures=0, position=frame.position,
                                  temporal=temporal, indices=frame.indices))

    def _shared(self, frame: Frame) -> Frame:
        shared = replace(frame, position=(), temporal=None, indices=())
        return self._frames.setdefault(shared, shared)


def _placed(frame: Frame) -> bool:
    """Whether position, orientation and spacing are there and can be meant."""
    return (len(frame.position) == 3 and all(abs(x) <= FARTHEST for x in frame.position) and len(frame.spacing) == 2
            and all(0 < x <= FARTHEST for x in frame.spacing) and usable(frame.orientation))


def split(slices: Iterable[Slice]) -> list[list[Slice]]:
    """The slices of a series apart by what a volume has in common: grid, orientation, echo, image type, stack.

    Files without positions are each alone.
    """
    exact: dict[Hashable, list[list[Slice]]] = defaultdict(list)
    alone = []
    for item in slices:
        if item.pictures:
            alone.append([item])
            continue
        facts = item.facts
        join(exact[facts.rows, facts.columns, facts.modality, item.image_type, item.frame.stack], item, _alike)
    return [*(group for groups in exact.values() for group in groups), *alone]


def join(groups: list[list[T]], item: T, alike: Callable[[T, T], bool]) -> None:
    """Put an item into the first group whose first one it is like, or into a group of its own."""
    group = next((group for group in groups if alike(group[0], item)), None)
    if group is None:
        groups.append([item])
    else:
        group.append(item)


def _alike(one: Slice, other: Slice) -> bool:
    if one.frame is not other.frame:
        if max(abs(a - b) for a, b in zip(one.frame.orientation, other.frame.orientation, strict=True)) > ANGLE:
            return False
        if max(abs(a - b) for a, b in zip(one.frame.spacing, other.frame.spacing, strict=True)) > MM:
            return False
    a, b = one.echo, other.echo
    return a == b if a is None or b is None else abs(a - b) <= ECHO * max(a, b)


def without_copies(slices: Sequence[Slice]) -> tuple[list[Slice], Skipped]:
    """Leave out all but one of slices that are at one place and alike in every tag that could tell them apart.

    One that was not compressed with loss is kept rather than one that was. Where the instance numbers say nothing (all
    the same or lacking), or where they lie in different folders, the pixels must be the same too.
    """
    spots = places([s.position for s in slices], slices[0].frame.orientation)
    if len(set(spots)) == len(slices):
        return list(slices), []
    numbered = len({(s.instance, s.number) for s in slices if s.instance is not None}) >= len(set(spots))
    kept: dict[Hashable, list[Slice]] = defaultdict(list)
    copies: Skipped = []
    for spot, item in sorted(zip(spots, slices, strict=True), key=lambda pair: pair[1].facts.lossy):
        same = kept[spot, item.number, item.instance, item.acquisition, item.temporal, item.indices, item.time]
        first = next((other for other in same if (numbered and _may_be_copy(other, item)) or _same_pixels(other, item)),
                     None)
        if first is None:
            same.append(item)
        else:
            copies.append((item.name, f"duplicate: the same place, number and time as {first.name}"))
    return [item for same in kept.values() for item in same], list(dict(copies).items())


def _may_be_copy(one: Slice, other: Slice) -> bool:
    """Whether two slices of one number need not be looked at: an anonymiser may have given all patients one UID."""
    return one.facts.lossy != other.facts.lossy or one.path.rpartition("/")[0] == other.path.rpartition("/")[0]


def _same_pixels(one: Slice, other: Slice) -> bool:
    try:
        return np.array_equal(formats.read_frames([(one.path, one.number)]),
                              formats.read_frames([(other.path, other.number)]))
    except Unreadable:
        return False


def untangle(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Volumes, each with one slice a place, from slices of which several may lie at one place; [] if nothing tells.

    Time, acquisition or a dimension of a multi-frame file must part them into as many volumes as there are slices at
    the fullest place; else, where every place has as many, their order at each place counts.
    """
    spots = places([s.position for s in slices], slices[0].frame.orientation)
    counts = Counter(spots)
    most = max(counts.values())
    if most == 1:
        return [list(slices)]
    numbers = range(max(len(s.indices) for s in slices))
    tells: list[Callable[[Slice], Hashable]] = [
        lambda s: s.temporal, lambda s: s.acquisition,
        *((lambda s, i=i: s.indices[i:i + 1]) for i in numbers), lambda s: s.time, lambda s: s.name]
    for chosen in [*combinations(tells, 1), *combinations(tells[:-2], 2)]:
        parts: dict[Hashable, list[tuple[int, Slice]]] = defaultdict(list)
        for spot, item in zip(spots, slices, strict=True):
            parts[tuple(tell(item) for tell in chosen)].append((spot, item))
        if len(parts) == most and all(len({spot for spot, _ in part}) == len(part) for part in parts.values()):
            return [[item for _, item in part] for part in parts.values()]
    return _by_rank(spots, slices, most) if set(counts.values()) == {most} else []


def _by_rank(spots: Sequence[int], slices: Sequence[Slice], most: int) -> list[list[Slice]]:
    if any(s.instance is None for s in slices):
        return []
    seen: Counter[int] = Counter()
    volumes: list[list[Slice]] = [[] for _ in range(most)]
    for spot, item in sorted(zip(spots, slices, strict=True), key=lambda p: (p[1].instance or 0, p[1].number)):
        volumes[seen[spot]].append(item)
        seen[spot] += 1
    return volumes
