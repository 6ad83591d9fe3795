"""Which file is which patient, contrast and class: an explicit pattern, a CSV table, or what the folders show."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ganatomy.core.errors import UserError
from ganatomy.core.run import Run
from ganatomy.core.text import counted, printable
from ganatomy.data.vocabulary import is_mask_name
from ganatomy.sources.bids import is_bids, read_bids
from ganatomy.sources.csv_table import find_table, read_table
from ganatomy.sources.dicom import read_dicom
from ganatomy.sources.entry import (
    Entry,
    Found,
    Layout,
    compiled,
    is_prepared,
    natural,
    safe_name,
    subject_group,
    subject_in,
    walk,
)
from ganatomy.sources.stacks import SUFFIXES as STACKS
from ganatomy.sources.stacks import read_stacks
from ganatomy.sources.templates import (
    is_sided,
    looks_side_by_side,
    match_pattern,
    read_folders,
    read_side_by_side,
    read_sides,
)

KINDS = ("auto", "folders", "bids", "sides", "side-by-side", "stacks", "dicom", "csv")
READS = "DICOM, NIfTI (.nii, .nii.gz), NRRD, MetaImage (.mha), PNG, JPEG, TIFF, .npy and .npz"

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Wishes:
    """What the user asked for; see `find_layout`."""

    kind: str = "auto"
    pattern: str | None = None
    split_by: str | None = None
    domains: Sequence[str] = ()
    rules: Mapping[str, str] = field(default_factory=dict)
    subject_regex: str | None = None
    allow_gaps: bool = False
    keep_derived: bool = False
    scratch: Path | None = None
    workers: int = 1
    say: Say = lambda message: None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"there is no layout {self.kind!r}", where="--layout", fix=f"use {', '.join(KINDS)}")
        if self.pattern is not None and self.kind not in ("auto", "folders"):
            raise UserError(f"--pattern does not go with --layout {self.kind}", fix="leave one of them out")
        if self.pattern is not None and self.subject_regex is not None:
            raise UserError("--subject-regex does not go with --pattern", fix="say the subject with {subject}")
        for text in self.rules.values():
            compiled(text, "--domain")
        if self.subject_regex is not None:
            compiled(self.subject_regex, "--subject-regex")

    @property
    def regexes(self) -> dict[str, re.Pattern[str]]:
        """Domain -> what its files' names hold."""
        return {safe_name(name): compiled(text, "--domain") for name, text in self.rules.items()}

    def owner(self, name: str) -> str:
        """The subject that --subject-regex finds in a file's name, or ""."""
        return subject_in(name, compiled(self.subject_regex, "--subject-regex")) if self.subject_regex else ""


def find_layout(source: Path, *, kind: str = "auto", pattern: str | None = None, split_by: str | None = None,
                domains: Sequence[str] = (), rules: Mapping[str, str] | None = None, subject_regex: str | None = None,
                allow_gaps: bool = False, keep_derived: bool = False, leave_out: Sequence[Path] = (),
                scratch: Path | None = None, workers: int = 1, say: Say = lambda message: None) -> Layout:
    """Find out what the source is: pattern, CSV, BIDS, trainA/trainB, stacks, DICOM, A|B pictures or folders.

    Args:
        source: a folder, a CSV file, or an .npy or .npz file of many pictures.
        kind: one of KINDS; it must fit.
        pattern: such as "{subject}/{subject}_{domain}.nii.gz"; goes before everything else.
        split_by: a column of the CSV file; see `table.read_table`.
        domains: names to look for first where {domain} could be read in several ways.
        rules: domain -> regular expression searched in a series' description (DICOM), in BIDS entities and suffix, or
            in a file's relative path without the subject; for A|B pictures " left" or " right" follows it. The first
            that fits counts; files that fit none are left out. Masks keep their domain, and rules named like masks
            take only masks.
        subject_regex: searched in a file's relative path; its group "subject", or 1, or all of it is the subject.
        allow_gaps, keep_derived, workers: see `dicom.read_dicom`.
        leave_out: folders below the source that are not looked into.
        scratch: a folder for what is unpacked from archives; it must outlive the entries.
        say: takes messages while something lasts.

    Raises:
        UserError: nothing there, nothing that can be read, a pattern or rule that fits no file, a broken table, a
            layout that does not fit.
    """
    wishes = _Wishes(kind, pattern, split_by, domains, rules or {}, subject_regex, allow_gaps, keep_derived, scratch,
                     workers, say)
    _check_source(source)
    table = _table(source, wishes)
    if table is not None:
        layout = read_table(table, split_by)
        return _printable(with_domains(_refuse_subjects(layout, wishes), wishes.regexes))
    if split_by is not None:
        raise UserError("--split-by needs a CSV file", where=source, fix="give a .csv with that column as SOURCE")
    if source.is_file():
        if kind not in ("auto", "stacks"):
            raise UserError(f"is a file of pictures, which --layout {kind} does not read", where=source,
                            fix="leave --layout out")
        return _printable(_settled(_stacks([(source.name, source)], wishes), wishes))
    found = walk(source, [*leave_out, *([scratch] if scratch else [])])
    if not (found.images or found.dicom or found.archives):
        raise _nothing(source, found.passed)
    chosen = _detected(source, found) if kind == "auto" and pattern is None else kind
    layout = _read(source, found, chosen, wishes)
    return _printable(replace(layout, notes=[*layout.notes, *_passed_over(found, chosen, pattern is not None)]))


def _table(source: Path, wishes: _Wishes) -> Path | None:
    """The CSV file to read, if any."""
    if source.suffix.lower() == ".csv" and source.is_file():
        if wishes.kind not in ("auto", "csv"):
            raise UserError(f"is a table, which --layout {wishes.kind} does not read", where=source,
                            fix="leave --layout out")
        return source
    if source.is_file() or wishes.pattern is not None or wishes.kind not in ("auto", "csv"):
        return None
    table = find_table(source)
    if table is None and wishes.kind == "csv":
        raise UserError("holds no .csv file with the columns path and subject", where=source,
                        fix="leave --layout out, or give the table as SOURCE")
    return table


def _detected(source: Path, found: Found) -> str:
    if found.images and is_bids(source, found.images):
        return "bids"
    if is_sided(found.images):
        return "sides"
    if found.archives and not found.images and not found.dicom:
        return "stacks"
    if len(found.dicom) > len(found.images):
        return "dicom"
    return "side-by-side" if looks_side_by_side(source, found.images) else "folders"


def _read(source: Path, found: Found, chosen: str, wishes: _Wishes) -> Layout:
    if wishes.pattern is not None:
        names = sorted([*found.images, *found.dicom], key=natural)
        return with_domains(match_pattern(source, names, wishes.pattern, wishes.domains), wishes.regexes)
    if chosen == "dicom":
        if not found.dicom:
            raise UserError("holds no DICOM files", where=source, fix="leave --layout out")
        return read_dicom(source, found.dicom, rules=wishes.rules, subject_regex=wishes.subject_regex,
                          allow_gaps=wishes.allow_gaps, keep_derived=wishes.keep_derived, workers=wishes.workers,
                          say=wishes.say)
    if chosen == "bids":
        return check_rules(_refuse_subjects(read_bids(source, found.images, wishes.regexes), wishes), wishes.regexes)
    if chosen == "stacks":
        stacks = sorted([*found.archives, *(n for n in found.images if n.lower().endswith(STACKS))], key=natural)
        if not stacks:
            raise UserError("holds no .npz or .npy files", where=source, fix="leave --layout out")
        return _settled(_stacks([(name, source / name) for name in stacks], wishes), wishes)
    if not found.images:
        held = "DICOM files" if found.dicom else ".npz files"
        raise UserError(f"holds only {held}, which --layout {chosen} does not read", where=source,
                        fix="leave --layout out")
    if chosen == "folders":
        return _settled(read_folders(source, found.images, wishes.owner), wishes)
    reader = read_sides if chosen == "sides" else read_side_by_side
    return _settled(reader(source, found.images), wishes)


def _stacks(files: Sequence[tuple[str, Path]], wishes: _Wishes) -> Layout:
    if wishes.scratch is None:
        raise ValueError("find_layout needs a scratch folder to unpack archives into")
    return read_stacks(files, wishes.scratch, wishes.say)


def _settled(layout: Layout, wishes: _Wishes) -> Layout:
    """The layout with the subjects and domains that the user's regular expressions find."""
    if wishes.subject_regex is not None:
        layout = with_subjects(layout, compiled(wishes.subject_regex, "--subject-regex"))
    return with_domains(layout, wishes.regexes)


def _refuse_subjects(layout: Layout, wishes: _Wishes) -> Layout:
    if wishes.subject_regex is not None:
        raise UserError(f"--subject-regex does not go with {layout.kind}, which says the subjects itself",
                        fix="leave it out, or add --layout folders")
    return layout


def _passed_over(found: Found, chosen: str, by_pattern: bool) -> list[str]:
    """What of the folder is not used, in words."""
    notes = []
    others = found.passed["other"]
    if others:
        notes.append(f"passed over {counted(others, 'other file')}, no images by name")
    if chosen == "dicom" and found.images:
        notes.append(f"passed over {counted(len(found.images), 'file')} other than DICOM; --layout folders takes those")
    if chosen != "dicom" and found.dicom and not by_pattern:
        notes.append(f"passed over {counted(len(found.dicom), 'DICOM file')}; --layout dicom takes them instead")
    if chosen != "stacks" and found.archives:
        notes.append(f"passed over {counted(len(found.archives), '.npz file')}; --layout stacks takes them instead")
    closed = found.passed["closed folder"]
    if closed:
        notes.append(f"warning: {counted(closed, 'folder')} could not be opened")
    return notes


def _check_source(source: Path) -> None:
    if not source.exists():
        raise UserError("there is no such file or folder", where=source, fix="check the path")
    if not source.is_file() and not source.is_dir():
        raise UserError("is neither a folder nor a file", where=source, fix="give the folder of the scans")
    if source.is_file() and not source.name.lower().endswith((".csv", *STACKS)):
        raise UserError("is a file", where=source, fix="give a folder, a .csv with the columns path and subject, or an "
                        ".npz or .npy file of many pictures")
    for known, what in ((is_prepared, "dataset"), (Run.is_run, "run")):
        if source.is_dir() and known(source):
            raise UserError(f"is a {what} folder already", where=source, fix="give the folder of the original scans")


def _printable(layout: Layout) -> Layout:
    """What is shown, stored and written down can be; `path` stays as the file system has it."""
    def mended(e: Entry) -> Entry:
        if all(map(str.isprintable, (e.name, e.subject, e.session, e.label, e.group))):
            return e
        return replace(e, name=printable(e.name), subject=printable(e.subject), session=printable(e.session),
                       label=printable(e.label), group=printable(e.group))

    notes = ["\n".join(map(printable, note.split("\n"))) for note in layout.notes]
    return replace(layout, entries=[mended(entry) for entry in layout.entries], notes=notes,
                   unmatched=[(printable(name), why) for name, why in layout.unmatched])


def _nothing(source: Path, passed: Counter[str]) -> UserError:
    if not sum(passed.values()):
        return UserError("the folder is empty", where=source, fix=f"put images into it: {READS}")
    if set(passed) == {"closed folder"}:
        return UserError("cannot be opened", where=source, fix="check who owns the folder")
    return UserError(f"holds no images ({sum(passed.values())} other files)", where=source,
                     fix=f"what can be read: {READS}")


def _folders_in(name: str, regex: re.Pattern[str]) -> list[str]:
    """The parts of a path in which the regular expression finds the subject."""
    match = regex.search(name)
    start, end = match.span(subject_group(regex)) if match else (0, 0)
    finish = name.find("/", end)
    return name[name.rfind("/", 0, start) + 1:finish if finish >= 0 else len(name)].split("/")


def with_subjects(layout: Layout, regex: re.Pattern[str]) -> Layout:
    """The layout with the subjects that the regular expression finds in the files' names.

    Its group "subject", or 1, or all of it is the subject; files that it does not fit are left out. Where it brings
    subjects of the layout together, they become sessions.

    Raises:
        UserError: it fits no file.
    """
    subjects = [subject_in(entry.name, regex) for entry in layout.entries]
    if not any(subjects):
        example = next((entry.name for entry in layout.entries), "")
        raise UserError("the regular expression fits no file", where="--subject-regex",
                        fix=f"the first file is {printable(example)!r}")
    merged: dict[str, set[str]] = defaultdict(set)
    for subject, entry in zip(subjects, layout.entries, strict=True):
        merged[subject].add(entry.subject)
    entries, lost = [], {}
    for subject, entry in zip(subjects, layout.entries, strict=True):
        if not subject:
            lost[entry.name] = "does not fit --subject-regex"
            continue
        sessions = layout.subjects_known and len(merged[subject]) > 1
        session = "/".join(filter(None, (entry.subject, entry.session))) if sessions else entry.session
        # a folder that names the patient is no class: its name must not be stored
        label = "" if entry.label in _folders_in(entry.name, regex) else entry.label
        entries.append(replace(entry, subject=subject, session=session, label=label))
    return replace(layout, entries=entries, subjects_known=True, unmatched=[*layout.unmatched, *lost.items()])


def with_domains(layout: Layout, rules: Mapping[str, re.Pattern[str]]) -> Layout:
    """The layout with the domain of the first rule that fits a file's name; others are left out, masks aside.

    Where the subject is known it is cut out of the name first: t1 shall not be found in patient19. Masks keep their
    domain, and a rule that is called like a mask takes only masks.

    Raises:
        UserError: a rule fits no file.
    """
    if not rules:
        return layout
    entries, lost = [], {}
    for entry in layout.entries:
        domain = _ruled(entry, rules, layout.subjects_known)
        if domain:
            entries.append(replace(entry, domain=domain))
        else:
            lost[entry.name] = "fits no --domain"
    return check_rules(replace(layout, entries=entries, unmatched=[*layout.unmatched, *lost.items()]), rules)


def _ruled(entry: Entry, rules: Mapping[str, re.Pattern[str]], known: bool) -> str:
    """The domain of an entry by the rules, "" if it has none."""
    mask = is_mask_name(entry.domain)
    text = f"{entry.name} {entry.piece.half}" if entry.piece.half else entry.name
    if known:
        text = re.sub(rf"(?<![^\W_]){re.escape(entry.subject)}(?![^\W_])", "", text)
    fitting = (name for name, regex in rules.items() if is_mask_name(name) == mask and regex.search(text))
    return next(fitting, entry.domain if mask else "")


def check_rules(layout: Layout, rules: Mapping[str, re.Pattern[str]]) -> Layout:
    """The layout, if every rule has found a file; else `UserError` with some of what there is."""
    known = {entry.domain for entry in layout.entries}
    for name, regex in rules.items():
        if name not in known:
            taken = any(regex.search(entry.name) for entry in layout.entries)
            names = dict.fromkeys([*(n for n, _ in layout.unmatched), *(e.name for e in layout.entries)])
            raise UserError(f"{name}={regex.pattern} fits no file" + (" that another rule has not taken" * taken),
                            where="--domain",
                            fix=f"it is searched in names such as {', '.join(map(printable, list(names)[:3]))}")
    return layout
