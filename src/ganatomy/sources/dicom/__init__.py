"""DICOM files in any order and under any names: their tags, the volumes that they make, and what these are."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from pathlib import Path

from ganatomy.core.errors import UserError
from ganatomy.core.text import counted, grouped
from ganatomy.data.parallel import in_order, progress
from ganatomy.data.vocabulary import CLASSES, SPLITS_BY_NAME, is_contrast_name
from ganatomy.formats import LEFT_OUT, SYNTHETIC, Unreadable
from ganatomy.formats.dicom.tags import Facts, facts
from ganatomy.sources.dicom.contrasts import Named, assign, table
from ganatomy.sources.dicom.patients import TAGS, known_by, tell_patients
from ganatomy.sources.dicom.series import Volume, build
from ganatomy.sources.dicom.slices import Skipped
from ganatomy.sources.entry import Entry, Layout, Piece, subject_in

CHUNK = 64
"""Files whose tags are read at a time: fewer make processes wait for each other, more are memory."""
FAULTY = 5
"""So many faulty volumes are told one by one."""
MOST_GROUPS = 10
"""Folders that may be classes."""
SAME_PLACE = 0.1
"""mm by which the SliceLocations of two pictures of one place may differ."""


def read_dicom(source: Path, names: Sequence[str], *, rules: Mapping[str, str], subject: re.Pattern[str] | None,
               allow_gaps: bool, keep_derived: bool, workers: int, say: Callable[[str], None],
               fields: Mapping[str, Entry] | None = None, sure: bool = False) -> Layout:
    """Volumes and pictures of DICOM files, whatever the folders and files are called.

    Args:
        source: the folder; names: relative paths of the files in it, in any order.
        rules: domain -> pattern, see `contrasts.assign`; without any, domains are proposed.
        subject: tells the patient from the relative path, see `entry.subject_in`, or is the name of one of
            `patients.TAGS`. Without it, see `patients.tell_patients`.
        allow_gaps, keep_derived: see `series.build`.
        workers: processes that read tags.
        say: told now and then how far it is.
        fields: what a pattern tells of each file; it goes before the tags, but for slices. The domain "image" is none.
        sure: see `patients.tell_patients`.

    Raises:
        UserError: a rule that is no expression or fits nothing; nothing that can be used; patients that cannot be told.
    """
    fields = fields or {}
    reading = _Reading(source, subject, fields)
    volumes, skipped = build(reading.facts(read_tags(source, names, workers, say)), allow_gaps, keep_derived)
    if not keep_derived:  # a translation is a study of its own, so that its being derived says nothing
        ours = [volume for volume in volumes if SYNTHETIC.match(volume.facts.series_description)]
        skipped += [(v.name, f"{LEFT_OUT}: series {v.facts.series_description!r}") for v in ours]
        volumes = [volume for volume in volumes if volume not in ours]
    if subject or fields:
        patients = [f"patients are told apart by {'--subject-regex' if subject else '--pattern'}"]
    else:
        volumes, patients = tell_patients(volumes, sure) if volumes else ([], [])
    if fields and not any(entry.session for entry in fields.values()):
        volumes = _as_one_visit(volumes, fields)
    domains = {v: fields[v.name].domain for v in volumes if fields and fields[v.name].domain != "image"}
    named, left_out = assign(volumes, rules, domains) if volumes else ([], [])
    skipped = [*reading.unreadable, *skipped, *left_out]
    if not named:
        raise _nothing(source, len(names), skipped)
    labels, about = ({}, []) if fields else _groups(named)
    notes = ["the series, over all patients:", *(f"  {line}" for line in table(volumes, named)),
             *([] if rules or domains else ["if a domain is wrong, tell it with --domain NAME='regular expression' "
                                            "over series description, protocol and path"]),
             *_left_out(skipped), *patients, *about, *reading.notes(), *_oddities(named)]
    studies = len({volume.session for volume, _ in named})
    series = len({(volume.session, volume.facts.series_uid) for volume, _ in named})
    return Layout(f"DICOM: {studies} {'study' if studies == 1 else 'studies'}, {series} series",
                  _entries(named, fields, labels), unmatched=skipped, notes=notes,
                  identifiers=frozenset(reading.identifiers))


def _as_one_visit(volumes: Sequence[Volume], fields: Mapping[str, Entry]) -> list[Volume]:
    """The volumes, a patient's with one of each domain as one study: a pattern without {session} knows no visits."""
    several = Counter((v.facts.patient_id, fields[v.name].domain) for v in volumes if v.frames)
    visited = {patient for (patient, _), count in several.items() if count > 1}
    return [v if v.facts.patient_id in visited or not v.frames else
            replace(v, facts=replace(v.facts, study_uid="", study_date="")) for v in volumes]


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
        pattern: tells the patient from a file's name; fields: see `read_dicom`.
        unreadable: (name, reason) of files that hold no image.
        identifiers: (keyword, value) of all that names patients.
        marked: files with text burned in, and with recognisable faces.
        people: PatientID -> family names and birth dates.
    """

    source: Path
    pattern: re.Pattern[str] | None
    fields: Mapping[str, Entry]
    unreadable: Skipped = field(default_factory=list)
    identifiers: set[tuple[str, str]] = field(default_factory=set)
    marked: Counter[str] = field(default_factory=Counter)
    people: dict[str, tuple[set[str], set[str]]] = field(default_factory=lambda: defaultdict(lambda: (set(), set())))

    def facts(self, files: Iterable[tuple[str, Facts | str]]) -> Iterator[tuple[str, Path, Facts]]:
        """(name, path, facts) of every image, with what the user tells of it; `study_uid` is never empty."""
        for name, tags in files:
            if isinstance(tags, str):
                self.unreadable.append((name, tags))
                continue
            self._note(tags)
            tags = replace(tags, study_uid=tags.study_uid or str(Path(name).parent))
            if self.fields:
                own = self.fields[name]
                study = filter(None, (own.session or tags.study_uid, own.label, own.split))
                series = (tags.series_uid or str(Path(name).parent), own.domain)
                tags = replace(tags, patient_id=own.subject, study_uid="/".join(study), series_uid="/".join(series))
            elif self.pattern is not None:
                tag = TAGS.get(self.pattern.pattern)
                subject: str = getattr(tags, tag) if tag else subject_in(name, self.pattern)
                if not subject:
                    self.unreadable.append((name, "does not fit --subject-regex"))
                    continue
                tags = replace(tags, patient_id=subject)
            yield name, self.source / name, tags

    def _note(self, tags: Facts) -> None:
        self.identifiers |= tags.identifiers
        self.marked["text"] += tags.burned_in
        self.marked["faces"] += tags.recognizable
        if known_by(tags)[0] == "PatientID" and not self.fields and self.pattern is None:
            families, births = self.people[tags.patient_id]
            families |= {re.split(r"[\^=,\s]", tags.patient_name.casefold())[0]} - {""}
            births |= {tags.birth_date} - {""}

    def notes(self) -> list[str]:
        """What must be told of the files as a whole."""
        out = []
        if self.marked["text"]:
            out.append(f"warning: {grouped(self.marked['text'], 'file')} are marked as having text burned into the "
                       "picture (BurnedInAnnotation), which may name the patient; look at them, or leave them out")
        if self.marked["faces"]:
            out.append(f"warning: {grouped(self.marked['faces'], 'file')} are marked as showing a recognisable face "
                       "(RecognizableVisualFeatures)")
        mixed = sum(len(families) > 1 or len(births) > 1 for families, births in self.people.values())
        if mixed:
            out.append(f"warning: {counted(mixed, 'PatientID')} with several family names or birth dates; images "
                       "of one PatientID are taken for one patient's; tell them apart with --subject-regex")
        return out


def _splits(named: Named) -> dict[Volume, str]:
    """What folders called train, val and test say, where all volumes lie in one of several."""
    out = {v: next(filter(None, map(SPLITS_BY_NAME.get, re.findall("[a-z]+", v.name.rpartition("/")[0].lower()))), "")
           for v, _ in named}
    return out if "" not in out.values() and len(set(out.values())) > 1 else {}


def _groups(named: Named) -> tuple[dict[Volume, str], list[str]]:
    """Classes by folders, and what is told of folders called by words that part the patients or return in all."""
    paths = [volume.name.split("/")[:-1] for volume, _ in named]
    for level in range(deepest := min(map(len, paths))):
        owners: dict[str, set[str]] = defaultdict(set)
        kinds: dict[str, set[str]] = defaultdict(set)
        for path, (volume, domain) in zip(paths, named, strict=True):
            owners[path[level]].add(volume.facts.patient_id)
            kinds[path[level]].add(domain)
        words = all(name.isalpha() and name.lower() not in SPLITS_BY_NAME and not is_contrast_name(name)
                    for name in owners)
        apart = sum(map(len, owners.values())) == len(set().union(*owners.values()))
        if not words or not 1 < len(owners) <= MOST_GROUPS or min(map(len, owners.values())) < 2:
            continue
        if len(set(map(frozenset, owners.values()))) == len(set(map(frozenset, kinds.values()))) == 1:
            return {}, [f"warning: the folders {', '.join(sorted(owners)[:5])} return in every patient and are read as "
                        "visits; if they are contrasts, say so with --pattern, such as '{subject}/{domain}/**'"]
        if apart and level + 1 < deepest:
            if CLASSES.issuperset(map(str.lower, owners)):
                return ({volume: path[level] for path, (volume, _) in zip(paths, named, strict=True)},
                        [f"the folders {', '.join(sorted(owners))} are taken for classes"])
            return {}, [f"the folders {', '.join(sorted(owners)[:5])} part the patients, and are not read as classes; "
                        f"that does --pattern '{'*/' * level}{{label}}/{{subject}}/**'"]
    return {}, []


def _places(named: Named) -> dict[Volume, int]:
    """The number of the place of each picture in whose session all have a SliceLocation, and no two of a domain one."""
    sessions: dict[tuple[str, str], Named] = defaultdict(list)
    placed = {volume.session for volume, _ in named if volume.frames}
    for volume, domain in named:
        if volume.session not in placed:
            sessions[volume.session].append((volume, domain))
    out: dict[Volume, int] = {}
    for pictures in sessions.values():
        places = {v: v.location for v, _ in pictures if v.location is not None}
        ordered, number = sorted(places, key=places.__getitem__), 0
        numbers = {}
        for before, volume in pairwise([*ordered[:1], *ordered]):
            number += places[volume] - places[before] > SAME_PLACE
            numbers[volume] = number
        if len({(numbers.get(v), domain) for v, domain in pictures}) == len(pictures) == len(numbers):
            out |= numbers
    return out


def _entries(named: Named, fields: Mapping[str, Entry], labels: Mapping[Volume, str]) -> list[Entry]:
    numbers: dict[tuple[tuple[str, str], str], list[int | None]] = defaultdict(list)
    places, splits = _places(named), _splits(named)
    for volume, domain in named:
        numbers[volume.session, domain].append(places.get(volume, volume.number))
    entries = []
    for volume, domain in named:
        patient, study = volume.session
        there = numbers[volume.session, domain]
        unique = not volume.frames and None not in there and len(set(there)) == len(there)
        own = fields.get(volume.name)
        session = own.session if own and own.session else f"{volume.facts.study_date}-{study}".lstrip("-")
        number = places.get(volume, volume.number) if unique else None
        entries.append(Entry(volume.path, volume.name, patient, session, domain,
                             own.label if own else labels.get(volume, ""),
                             own.split if own else splits.get(volume, ""), number, piece=Piece(frames=volume.frames),
                             header=volume.header, frame=volume.facts.frame_uid,
                             counted=not volume.frames and volume not in places))
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
