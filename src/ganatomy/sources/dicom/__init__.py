"""DICOM files in any order and under any names: their tags, the volumes that they make, and what these are."""

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
from ganatomy.sources.dicom.series import build
from ganatomy.sources.dicom.slices import Skipped
from ganatomy.sources.entry import Entry, Layout, Piece, subject_in

CHUNK = 64
"""Files whose tags are read at a time: fewer make processes wait for each other, more are memory."""
FAULTY = 5
"""So many faulty volumes are told one by one."""


def read_dicom(source: Path, names: Sequence[str], *, rules: Mapping[str, str], subject: re.Pattern[str] | None,
               allow_gaps: bool, keep_derived: bool, workers: int, say: Callable[[str], None]) -> Layout:
    """Volumes and pictures of DICOM files, whatever the folders and files are called.

    Args:
        source: the folder; names: relative paths of the files in it, in any order.
        rules: domain -> pattern, see `contrasts.assign`; without any, domains are proposed.
        subject: tells the patient from the relative path, see `entry.subject_in`. Without it a patient is a PatientID,
            else a PatientName, else a first folder where there are several, else a study.
        allow_gaps, keep_derived: see `series.build`.
        workers: processes that read tags.
        say: told now and then how far it is.

    Raises:
        UserError: a rule that is no expression or fits nothing; nothing that can be used.
    """
    reading = _Reading(source, names, subject)
    volumes, skipped = build(reading.facts(read_tags(source, names, workers, say)), allow_gaps, keep_derived)
    if not keep_derived:  # a translation is a study of its own, so that its being derived says nothing
        ours = [volume for volume in volumes if SYNTHETIC.match(volume.facts.series_description)]
        skipped += [(v.name, f"{LEFT_OUT}: series {v.facts.series_description!r}") for v in ours]
        volumes = [volume for volume in volumes if volume not in ours]
    named, left_out = assign(volumes, rules) if volumes else ([], [])
    skipped = [*reading.unreadable, *skipped, *left_out]
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


def read_tags(folder: Path, names: Sequence[str], workers: int = 1,
              say: Callable[[str], None] = lambda text: None) -> Iterator[tuple[str, Facts | str]]:
    """Each file's name and what its tags say, or why it holds no image; in the order of the names."""
    rest, progressed, done = iter(names), progress(len(names), "DICOM headers", say), 0
    chunks = ([str(folder / name) for name in names[start:start + CHUNK]] for start in range(0, len(names), CHUNK))
    for chunk in in_order(_read, chunks, workers):
        yield from zip(islice(rest, len(chunk)), chunk, strict=True)
        done += len(chunk)
        progressed(done)


def tags_of(paths: Iterable[Path]) -> frozenset[tuple[str, str]]:
    """(keyword, value) of all that names patients in single DICOM files; () where they are none."""
    return frozenset(pair for tags in _read([str(path) for path in paths]) if not isinstance(tags, str)
                     for pair in tags.identifiers)


def _read(paths: list[str]) -> list[Facts | str]:
    out: list[Facts | str] = []
    for path in paths:
        try:
            out.append(facts(Path(path)))
        except Unreadable as error:
            out.append(str(error))
    return out


@dataclass
class _Reading:
    """What is to be told of all files, as their tags pass.

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
    unreadable: Skipped = field(default_factory=list)
    identifiers: set[tuple[str, str]] = field(default_factory=set)
    known_by: Counter[str] = field(default_factory=Counter)
    marked: Counter[str] = field(default_factory=Counter)
    people: dict[str, tuple[set[str], set[str]]] = field(default_factory=lambda: defaultdict(lambda: (set(), set())))

    def __post_init__(self) -> None:
        self.folders = {name.split("/")[0] for name in self.names if "/" in name}

    def facts(self, files: Iterable[tuple[str, Facts | str]]) -> Iterator[tuple[str, Path, Facts]]:
        """(name, path, facts) of every image; `patient_id` is the subject, `study_uid` is never empty."""
        for name, tags in files:
            if isinstance(tags, str):
                self.unreadable.append((name, tags))
                continue
            self._note(tags)
            by, subject = self._subject(name, tags)
            self.known_by[by] += bool(subject)
            if subject:
                study = tags.study_uid or str(Path(name).parent)
                yield name, self.source / name, replace(tags, patient_id=subject, study_uid=study)
            else:
                self.unreadable.append((name, "does not fit --subject-regex"))

    def _subject(self, name: str, tags: Facts) -> tuple[str, str]:
        """By what the patient of a file is known, and who it is."""
        if self.pattern is not None:
            return "--subject-regex", subject_in(name, self.pattern)
        if tags.patient_id:
            return "PatientID", tags.patient_id
        if tags.patient_name:
            return "PatientName", tags.patient_name
        if len(self.folders) > 1 and "/" in name:
            return "their first folder", name.split("/")[0]
        return "StudyInstanceUID", tags.study_uid or str(Path(name).parent)

    def _note(self, tags: Facts) -> None:
        self.identifiers |= tags.identifiers
        self.marked["text"] += tags.burned_in
        self.marked["faces"] += tags.recognizable
        if tags.patient_id:
            families, births = self.people[tags.patient_id]
            families |= {re.split(r"[\^=,\s]", tags.patient_name.casefold())[0]} - {""}
            births |= {tags.birth_date} - {""}

    def notes(self) -> list[str]:
        """What must be told of the files as a whole."""
        out = [f"patients are told apart by {', else by '.join(by for by, _ in self.known_by.most_common())}"]
        if self.marked["text"]:
            out.append(f"warning: {grouped(self.marked['text'], 'file')} are marked as having text burned into the "
                       "picture (BurnedInAnnotation), which may name the patient; look at them, or leave them out")
        if self.marked["faces"]:
            out.append(f"warning: {grouped(self.marked['faces'], 'file')} are marked as showing a recognisable face "
                       "(RecognizableVisualFeatures)")
        if self.known_by["PatientID"]:
            mixed = sum(len(families) > 1 or len(births) > 1 for families, births in self.people.values())
            if mixed:
                out.append(f"warning: {counted(mixed, 'PatientID')} with several family names or birth dates; images "
                           "of one PatientID are taken for one patient's; tell them apart with --subject-regex")
            elif len(self.people) == 1 and len(self.folders) > 1:
                out.append(f"warning: all files have the same PatientID, though they lie in {len(self.folders)} "
                           "folders; if these are patients, say so with --subject-regex '^([^/]+)/'")
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
    faulty = [f"warning: left out {name}: {reason}" for name, reason in skipped if reason.startswith("faulty volume")]
    return [f"left out: {'; '.join(f'{n} x {kind}' for kind, n in kinds.most_common(10))}", *faulty[:FAULTY]]


def _oddities(named: Named) -> list[str]:
    kinds: Counter[str] = Counter()
    texts: dict[str, str] = {}
    for volume, _ in named:
        for note in volume.notes:
            kind, _, detail = note.partition(": ")
            kinds[kind] += 1
            texts.setdefault(kind, f"{volume.name}: {detail}")
    return [f"{'warning: ' * (kind == 'faulty volume')}{kind}: {counted(n, 'time')}, first {texts[kind]}"
            for kind, n in kinds.items()]


def _nothing(source: Path, files: int, skipped: Skipped) -> UserError:
    reasons = " ".join(_left_out(skipped))
    option = next((o for o in ("--allow-gaps", "--keep-derived") if any(o in reason for _, reason in skipped)), "")
    return UserError(f"holds {grouped(files, 'DICOM file')}, and none can be used ({reasons or 'there are none'})",
                     where=source, fix=f"add {option}" if option else "give a folder with images of patients")
