"""A pile of DICOM files: read what their tags say, find the volumes, and tell what they are."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from ganatomy.core.errors import UserError
from ganatomy.core.text import counted, grouped
from ganatomy.data.parallel import in_order, progress
from ganatomy.formats import LEFT_OUT, SYNTHETIC, Unreadable
from ganatomy.formats.dicom.tags import Facts, facts
from ganatomy.sources.dicom.contrasts import Named, assign, table
from ganatomy.sources.dicom.series import Volume, build
from ganatomy.sources.dicom.slices import Skipped
from ganatomy.sources.entry import Entry, Layout, Piece, compiled, subject_in

CHUNK = 64
"""Files whose tags are read at a time: fewer make processes wait for each other, more are memory."""
FAULTY = 5
"""So many faulty volumes are told one by one."""
_BY = {"regex": "--subject-regex", "id": "PatientID", "name": "PatientName", "folder": "their first folder",
       "study": "StudyInstanceUID"}


def read_dicom(source: Path, names: Sequence[str], *, rules: Mapping[str, str], subject_regex: str | None,
               allow_gaps: bool, keep_derived: bool, workers: int, say: Callable[[str], None]) -> Layout:
    """Volumes and pictures of DICOM files, whatever the folders and files are called.

    Args:
        source: the folder; names: relative paths of the files in it, in any order.
        rules: domain -> pattern, see `domains.assign`; without any, domains are proposed.
        subject_regex: searched in the relative path; its group `subject`, or 1, or all of it names the patient. Without
            it a patient is a PatientID, else a PatientName, else a first folder where there are several, else a study.
        allow_gaps, keep_derived: see `series.build`.
        workers: processes that read tags.
        say: told now and then how far it is.

    Raises:
        UserError: a rule or expression that is none or fits nothing; nothing that can be used.
    """
    reading = _Reading(source, names, compiled(subject_regex, "--subject-regex") if subject_regex else None, say)
    volumes, skipped = build(reading.facts(workers), allow_gaps, keep_derived)
    volumes, made = (volumes, []) if keep_derived else _without_synthetic(volumes)
    named, left_out = assign(volumes, rules) if volumes else ([], [])
    skipped = [*reading.unreadable, *skipped, *made, *left_out]
    if not named:
        raise _nothing(source, len(names), skipped)
    notes = ["the series, over all patients:", *(f"  {line}" for line in table(volumes, named)),
             *([] if rules else ["if a domain is wrong, tell it with --domain NAME='regular expression' over series "
                                 "description and protocol"]),
             *_left_out(skipped), *reading.notes(), *_oddities(named)]
    studies = len({volume.session for volume, _ in named})
    series = len({(volume.session, volume.facts.series_uid) for volume, _ in named})
    return Layout(f"DICOM: {studies} {'study' if studies == 1 else 'studies'}, {series} series", _entries(named),
                  unmatched=skipped, notes=notes, identifiers=frozenset(reading.identifiers))


@dataclass
class _Reading:
    """Reads the tags of all files, and keeps what is to be said of them.

    Attributes:
        pattern: tells the patient from a file's name.
        unreadable: (name, reason) of files that hold no image.
        identifiers: (keyword, value) of all that names patients.
        known_by: by what the patients of how many files are known.
        marked: files with text burned in, and with recognisable faces.
        people: PatientID -> family names and birth dates.
    """

    source: Path
    names: Sequence[str]
    pattern: re.Pattern[str] | None
    say: Callable[[str], None]
    unreadable: Skipped = field(default_factory=list)
    identifiers: set[tuple[str, str]] = field(default_factory=set)
    known_by: Counter[str] = field(default_factory=Counter)
    marked: Counter[str] = field(default_factory=Counter)
    people: dict[str, tuple[set[str], set[str]]] = field(default_factory=lambda: defaultdict(lambda: (set(), set())))

    def __post_init__(self) -> None:
        self.folders = {name.split("/")[0] for name in self.names if "/" in name}

    def facts(self, workers: int) -> Iterator[tuple[str, Path, Facts]]:
        """(name, path, facts) of every image; `patient_id` is the subject, `study_uid` is never empty."""
        names, told = iter(self.names), progress(len(self.names), "DICOM headers", self.say)
        done = 0
        for chunk in in_order(_read, self._chunks(), workers):
            for name, found in zip(islice(names, len(chunk)), chunk, strict=True):
                if isinstance(found, str):
                    self.unreadable.append((name, found))
                    continue
                self._note(found)
                subject = self._subject(name, found)
                if subject:
                    study = found.study_uid or str(Path(name).parent)
                    yield name, self.source / name, replace(found, patient_id=subject, study_uid=study)
                else:
                    self.unreadable.append((name, "does not fit --subject-regex"))
            done += len(chunk)
            told(done)

    def _chunks(self) -> Iterator[list[str]]:
        for start in range(0, len(self.names), CHUNK):
            yield [str(self.source / name) for name in self.names[start:start + CHUNK]]

    def _subject(self, name: str, found: Facts) -> str:
        if self.pattern is not None:
            by, subject = "regex", subject_in(name, self.pattern)
        elif found.patient_id or found.patient_name:
            by, subject = ("id", found.patient_id) if found.patient_id else ("name", found.patient_name)
        elif len(self.folders) > 1 and "/" in name:
            by, subject = "folder", name.split("/")[0]
        else:
            by, subject = "study", found.study_uid or str(Path(name).parent)
        self.known_by[by] += bool(subject)
        return subject

    def _note(self, found: Facts) -> None:
        self.identifiers |= found.identifiers
        self.marked["text"] += found.burned_in
        self.marked["faces"] += found.recognizable
        if found.patient_id:
            families, births = self.people[found.patient_id]
            families |= {re.split(r"[\^=,\s]", found.patient_name.casefold())[0]} - {""}
            births |= {found.birth_date} - {""}

    def notes(self) -> list[str]:
        """What must be said of the files as a whole."""
        ways = [_BY[by] for by, _ in self.known_by.most_common()]
        out = [f"patients are told apart by {', else by '.join(ways)}"]
        if self.marked["text"]:
            out.append(f"warning: {grouped(self.marked['text'], 'file')} are marked as having text burned into the "
                       "picture (BurnedInAnnotation), which may name the patient; look at them, or leave them out")
        if self.marked["faces"]:
            out.append(f"warning: {grouped(self.marked['faces'], 'file')} are marked as showing a recognisable face "
                       "(RecognizableVisualFeatures)")
        if self.known_by["id"]:
            mixed = sum(len(families) > 1 or len(births) > 1 for families, births in self.people.values())
            if mixed:
                out.append(f"warning: {counted(mixed, 'PatientID')} with several family names or birth dates; images "
                           "of one PatientID are taken for one patient's; tell them apart with --subject-regex")
            elif len(self.people) == 1 and len(self.folders) > 1:
                out.append(f"warning: all files have the same PatientID, though they lie in {len(self.folders)} "
                           "folders; if these are patients, say so with --subject-regex '^([^/]+)/'")
        return out


def _without_synthetic(volumes: Sequence[Volume]) -> tuple[list[Volume], Skipped]:
    """Leave out what `ganatomy translate` made; it is a study of its own, so that its being derived says nothing."""
    made = [volume for volume in volumes if SYNTHETIC.match(volume.facts.series_description)]
    return [volume for volume in volumes if volume not in made], [
        (volume.name, f"{LEFT_OUT}: series {volume.facts.series_description!r}") for volume in made]


def tags_of(paths: Iterable[Path]) -> frozenset[tuple[str, str]]:
    """(keyword, value) of all that names patients in single DICOM files; () where they are none."""
    return frozenset(pair for path in paths for found in _read([str(path)]) if not isinstance(found, str)
                     for pair in found.identifiers)


def _read(paths: list[str]) -> list[Facts | str]:
    """Facts of each file, or why there are none."""
    out: list[Facts | str] = []
    for path in paths:
        try:
            out.append(facts(Path(path)))
        except Unreadable as error:
            out.append(str(error))
    return out


def _entries(named: Named) -> list[Entry]:
    numbers: dict[tuple[tuple[str, str], str], list[int | None]] = defaultdict(list)
    for volume, domain in named:
        numbers[volume.session, domain].append(volume.number)
    entries = []
    for volume, domain in named:
        patient, study = volume.session
        there = numbers[volume.session, domain]
        unique = not volume.frames and None not in there and len(set(there)) == len(there)
        entries.append(Entry(volume.path, volume.name, patient, f"{volume.facts.study_date}-{study}".lstrip("-"),
                             domain, slice=volume.number if unique else None, piece=Piece(frames=volume.frames),
                             header=volume.header, frame=volume.facts.frame_uid))
    return entries


def _left_out(skipped: Skipped) -> list[str]:
    """The reasons in one line, the most frequent first."""
    kinds = Counter(reason if reason.startswith("holds no image") else reason.partition(":")[0]
                    for _, reason in skipped)
    if not kinds:
        return []
    more = f"; and {len(kinds) - 10} other reasons" if len(kinds) > 10 else ""
    faulty = [f"warning: left out {name}: {reason}" for name, reason in skipped if reason.startswith("faulty volume")]
    return [f"left out: {'; '.join(f'{n} x {kind}' for kind, n in kinds.most_common(10))}{more}", *faulty[:FAULTY]]


def _oddities(named: Named) -> list[str]:
    kinds: dict[str, list[Volume]] = defaultdict(list)
    texts: dict[str, str] = {}
    for volume, _ in named:
        for note in volume.notes:
            kind, _, detail = note.partition(": ")
            kinds[kind].append(volume)
            texts.setdefault(kind, f"{volume.name}: {detail}")
    return [f"warning: {kind}: {counted(len(found), 'time')}, first {texts[kind]}" if kind == "faulty volume" else
            f"{kind}: {counted(len(found), 'time')}, first {texts[kind]}" for kind, found in kinds.items()]


def _nothing(source: Path, files: int, skipped: Skipped) -> UserError:
    reasons = " ".join(_left_out(skipped))
    option = next((o for o in ("--allow-gaps", "--keep-derived") if any(o in reason for _, reason in skipped)), "")
    return UserError(f"holds {grouped(files, 'DICOM file')}, and none can be used ({reasons or 'there are none'})",
                     where=source, fix=f"add {option}" if option else "give a folder with images of patients")
