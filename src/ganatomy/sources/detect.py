"""Which file is which patient, contrast and class: an explicit pattern, a CSV table, or what the folders show."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unicodedata import normalize

from ganatomy import formats
from ganatomy.core.errors import UserError
from ganatomy.core.run import Run
from ganatomy.core.text import counted, listed, printable
from ganatomy.data.vocabulary import is_mask_name
from ganatomy.sources import templates
from ganatomy.sources.bids import is_bids, read_bids
from ganatomy.sources.csv_table import find_table, read_table
from ganatomy.sources.dicom import read_dicom
from ganatomy.sources.entry import (
    Entry,
    Files,
    Layout,
    compiled,
    is_prepared,
    natural,
    safe_name,
    subject_group,
    subject_in,
    walk,
)
from ganatomy.sources.folders import read_folders
from ganatomy.sources.metadata import with_metadata
from ganatomy.sources.stack_folder import is_stack_folder, read_stack_folder
from ganatomy.sources.stacks import SUFFIXES as STACKS
from ganatomy.sources.stacks import read_stacks
from ganatomy.sources.words import words_of

KINDS = ("auto", "folders", "bids", "sides", "side-by-side", "stacks", "dicom", "csv")
CONVERT = ("convert them to NIfTI, in Python by nibabel.save(nibabel.load(name), name[:-4] + '.nii'), and pictures to "
           "PNG")
READS = "DICOM, NIfTI (.nii, .nii.gz), NRRD, MetaImage (.mha), PNG, JPEG, TIFF, .npy and .npz"


@dataclass(frozen=True)
class Wishes:
    """What the user asked for. Raises `UserError` where it does not go together.

    Attributes:
        kind: one of KINDS; it must fit.
        pattern: such as "{subject}/{subject}_{domain}.nii.gz"; goes before everything else.
        split_by: a column of the CSV file; see `csv_table.read_table`.
        metadata: FILE.csv or FILE.csv:COLUMN; see `metadata.with_metadata`.
        yes: take the likeliest of several readings of folders and names.
        domains: names to look for first where {domain} could be read in several ways.
        rules: domain -> regular expression searched in a series' description (DICOM), in BIDS entities and suffix, or
            in a file's relative path without the subject; for A|B pictures " left" or " right" follows it. The first
            that fits counts; files that fit none are left out. Masks keep their domain, and rules named like masks
            take only masks.
        subject_regex: searched in a file's relative path; its group "subject", or 1, or all of it is the subject.
        allow_gaps, keep_derived, workers: see `dicom.read_dicom`.
        scratch: a folder for what is unpacked from archives; it must outlive the entries.
        say: takes messages while something lasts.
    """

    kind: str = "auto"
    pattern: str | None = None
    split_by: str | None = None
    metadata: str | None = None
    yes: bool = False
    domains: Sequence[str] = ()
    rules: Mapping[str, str] = field(default_factory=dict)
    subject_regex: str | None = None
    allow_gaps: bool = False
    keep_derived: bool = False
    scratch: Path | None = None
    workers: int = 1
    say: Callable[[str], None] = lambda message: None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"there is no layout {self.kind!r}", where="--layout", fix=f"use {', '.join(KINDS)}")
        if self.pattern is not None and self.kind not in ("auto", "folders"):
            raise UserError(f"--pattern does not go with --layout {self.kind}", fix="leave one of them out")
        if self.pattern is not None and self.subject_regex is not None:
            raise UserError("--subject-regex does not go with --pattern", fix="say the subject with {subject}")
        _ = self.regexes, self.subject  # raise where they are no regular expressions

    @property
    def regexes(self) -> dict[str, re.Pattern[str]]:
        """Domain -> what its files' names hold."""
        return {safe_name(name): compiled(text, "--domain") for name, text in self.rules.items()}

    @property
    def subject(self) -> re.Pattern[str] | None:
        """What tells a file's subject from its name."""
        return None if self.subject_regex is None else compiled(self.subject_regex, "--subject-regex")


def find_layout(source: Path, *, leave_out: Sequence[Path] = (), **wishes: Any) -> Layout:
    """Find out what the source is: pattern, CSV, BIDS, trainA/trainB, stacks, DICOM, A|B pictures or folders.

    Args:
        source: a folder, a CSV file, or an .npy or .npz file of many pictures.
        leave_out: folders below the source that are not looked into.
        wishes: those of `Wishes`.

    Raises:
        UserError: nothing there, nothing that can be read, a pattern or rule that fits no file, a broken table, a
            layout that does not fit.
    """
    asked = Wishes(**wishes)
    _check_source(source)
    table = _table(source, asked)
    if table is not None:
        layout = _refuse_subjects(read_table(table, asked.split_by), asked)
        return _printable(with_domains(layout, asked.regexes))
    if asked.split_by is not None:
        raise UserError("--split-by needs a CSV file", where=source, fix="give a .csv with that column as SOURCE")
    if source.is_file():
        _check_kind(asked.kind in ("auto", "stacks"), source, f"is no {asked.kind} layout but a file of pictures")
        return _printable(_joined(_stacks([(source.name, source)], asked), asked))
    files = walk(source, [*leave_out, *([asked.scratch] if asked.scratch else [])])
    if not (files.images or files.dicom or files.archives):
        if foreign := _foreign(files):
            raise UserError(f"holds no images that are read here, but {foreign}", where=source, fix=CONVERT)
        raise UserError(f"holds no images ({counted(sum(files.passed.values()), 'other file')} or closed folders)"
                        if sum(files.passed.values()) else "the folder is empty", where=source,
                        fix=f"what can be read: {READS}")
    kind = "pattern" if asked.pattern is not None else asked.kind
    if kind == "auto":
        kind = _detected(source, files, asked)
    layout = _joined(_read(source, files, kind, asked), asked)
    return _printable(replace(layout, notes=[*layout.notes, *_passed_over(files, kind)]))


def _joined(layout: Layout, asked: Wishes) -> Layout:
    return with_metadata(layout, asked.metadata) if asked.metadata is not None else layout


def _check_kind(fits: object, source: Path, problem: str) -> None:
    """Raise `UserError` if the layout asked for is not the source's."""
    if not fits:
        raise UserError(problem, where=source, fix="leave --layout out")


def _table(source: Path, asked: Wishes) -> Path | None:
    """The CSV file to read, if any."""
    if asked.metadata is not None and (asked.kind == "csv" or source.suffix.lower() == ".csv"):
        raise UserError("--metadata does not go with a CSV layout", where=source, fix="add its columns to that table")
    if source.suffix.lower() == ".csv" and source.is_file():
        _check_kind(asked.kind in ("auto", "csv"), source, f"is no {asked.kind} layout but a table")
        return source
    if source.is_file() or asked.pattern is not None or asked.metadata is not None or asked.kind not in ("auto", "csv"):
        return None
    table = find_table(source)
    _check_kind(table or asked.kind == "auto", source, "holds no .csv file with the columns path and subject")
    return table


def _detected(source: Path, files: Files, asked: Wishes) -> str:
    inner, names = unwrapped(source, files.images)
    if names and is_bids(inner, names):
        return "bids"
    if templates.is_sided(names):
        return "sides"
    if files.archives and not files.images and not files.dicom:
        return "stacks"
    if len(files.dicom) > len(files.images):
        return "dicom"
    if not files.archives and asked.subject is None and is_stack_folder(source, files.images):
        return "stacks"
    return "side-by-side" if templates.looks_side_by_side(inner, names) else "folders"


def unwrapped(source: Path, names: Sequence[str]) -> tuple[Path, list[str]]:
    """The folder in which more than wrappers begins: all files lie in it; and their paths relative to it."""
    folders = [name.split("/")[:-1] for name in names]
    depth = 0
    while folders and all(len(own) > depth for own in folders) and len({own[depth] for own in folders}) == 1 and not (
            folders[0][depth].startswith("sub-") or any(word.kind for word in words_of(folders[0][depth]))):
        depth += 1
    return source.joinpath(*folders[0][:depth]) if names else source, [name.split("/", depth)[-1] for name in names]


def _rewrapped(source: Path, inner: Path, layout: Layout) -> Layout:
    """The layout of an inner folder with names relative to the source."""
    prefix = inner.relative_to(source).as_posix() + "/" if inner != source else ""
    return replace(layout, entries=[replace(entry, name=prefix + entry.name) for entry in layout.entries],
                   unmatched=[(prefix + name, why) for name, why in layout.unmatched])


def _read(source: Path, files: Files, kind: str, asked: Wishes) -> Layout:
    if asked.pattern is not None:
        return _by_pattern(source, files, asked.pattern, asked)
    if kind == "dicom":
        _check_kind(files.dicom, source, "holds no DICOM files")
        return _dicom(source, files.dicom, asked)
    inner, names = unwrapped(source, files.images)
    if kind == "bids":
        layout = _rewrapped(source, inner, read_bids(inner, names, asked.regexes))
        return check_rules(_refuse_subjects(layout, asked), asked.regexes)
    if kind == "stacks":
        stacks = sorted([*files.archives, *(n for n in files.images if n.lower().endswith(STACKS))], key=natural)
        _check_kind(stacks, source, "holds no .npz or .npy files")
        sure = asked.yes or asked.kind == "stacks"
        if not files.archives and (layout_of_stacks := read_stack_folder(source, files.images, sure)):
            return _settled(layout_of_stacks, asked)
        return _stacks([(name, source / name) for name in stacks], asked)
    _check_kind(files.images, source, f"holds only DICOM or .npz files, which --layout {kind} does not read")
    if kind == "folders":
        sure = asked.yes or asked.subject is not None or asked.metadata is not None  # which say the subjects
        return _settled(read_folders(source, files.images, sure, asked.domains), asked)
    reader = templates.read_sides if kind == "sides" else templates.read_side_by_side
    return _settled(_rewrapped(source, inner, reader(inner, names)), asked)


def _by_pattern(source: Path, files: Files, pattern: str, asked: Wishes) -> Layout:
    """What a pattern tells of all files; pictures and the like among DICOM files of their own domain are left out."""
    layout = templates.match_pattern(source, sorted([*files.images, *files.dicom], key=natural), pattern, asked.domains)
    known = set(files.dicom)
    fields = {entry.name: entry for entry in layout.entries if entry.name in known}
    if not fields:
        return _settled(layout, asked)
    dicom = _dicom(source, list(fields), asked, fields)
    domains = {(entry.subject, entry.domain) for entry in dicom.entries}
    images = [entry for entry in layout.entries if entry.name not in known]
    beside = [entry for entry in images if (entry.subject, entry.domain) not in domains]
    lost = [*layout.unmatched, *((entry.name, "is no DICOM file, among some of its domain") for entry in images
                                 if (entry.subject, entry.domain) in domains)]
    notes = [f"left out {counted(len(lost), 'file')}, for example {lost[0][0]}: {lost[0][1]}"] if lost else []
    others = _settled(replace(layout, entries=beside, unmatched=[]), asked).entries if beside else []
    return replace(dicom, entries=[*dicom.entries, *others], unmatched=[*lost, *dicom.unmatched],
                   notes=[*dicom.notes, *notes])


def _dicom(source: Path, names: Sequence[str], asked: Wishes, fields: Mapping[str, Entry] | None = None) -> Layout:
    return read_dicom(source, names, rules=asked.rules, subject=asked.subject, allow_gaps=asked.allow_gaps,
                      keep_derived=asked.keep_derived, workers=asked.workers, say=asked.say, fields=fields,
                      sure=asked.yes or asked.metadata is not None)


def _stacks(files: Sequence[tuple[str, Path]], asked: Wishes) -> Layout:
    if asked.scratch is None:
        raise ValueError("find_layout needs a scratch folder to unpack archives into")
    return _settled(read_stacks(files, asked.scratch, asked.say), asked)


def _settled(layout: Layout, asked: Wishes) -> Layout:
    """The layout with the subjects and domains that the user's regular expressions tell."""
    return with_domains(with_subjects(layout, asked.subject) if asked.subject else layout, asked.regexes)


def _refuse_subjects(layout: Layout, asked: Wishes) -> Layout:
    if asked.subject_regex is not None:
        raise UserError(f"--subject-regex does not go with {layout.kind}, which says the subjects itself",
                        fix="leave it out, or add --layout folders")
    return layout


def _passed_over(files: Files, kind: str) -> list[str]:
    """What of the folder is not used, in words."""
    others = [(files.passed["other"], "other file", "no images by name"),
              (len(files.images) * (kind == "dicom"), "file", "no DICOM; --layout folders takes those"),
              (len(files.dicom) * (kind not in ("dicom", "pattern")), "DICOM file",
               "--layout dicom takes them instead"),
              (len(files.archives) * (kind != "stacks"), ".npz file", "--layout stacks takes them instead")]
    notes = [f"passed over {counted(count, what)}; {why}" for count, what, why in others if count]
    closed = files.passed["closed folder"]
    if foreign := _foreign(files):
        notes.append(f"warning: passed over {foreign}, formats not read here; {CONVERT}")
    return [*notes, *([f"warning: {counted(closed, 'folder')} could not be opened"] if closed else [])]


def _foreign(files: Files) -> str:
    """The files of formats that are not read, by suffix, in words."""
    foreign = {kind: count for kind, count in files.passed.items() if kind in formats.CONVERT}
    pairs = " (pairs of Analyze or NIfTI)" if {".hdr", ".img"} & foreign.keys() else ""
    return listed(counted(count, f"{kind} file") for kind, count in sorted(foreign.items())) + pairs if foreign else ""


def _check_source(source: Path) -> None:
    if not source.exists():
        raise UserError("there is no such file or folder", where=source, fix="check the path")
    if not source.is_dir() and not (source.is_file() and source.name.lower().endswith((".csv", *STACKS))):
        raise UserError("is no folder", where=source, fix="give a folder, a .csv with the columns path and subject, "
                        "or an .npz or .npy file of many pictures")
    for known, what in ((is_prepared, "dataset"), (Run.is_run, "run")):
        if source.is_dir() and known(source):
            raise UserError(f"is a {what} folder already", where=source, fix="give the folder of the original scans")


def _printable(layout: Layout) -> Layout:
    """What is shown, stored and written down can be; `path` stays as the file system has it."""
    def plain(text: str) -> str:
        return printable(normalize("NFC", text))  # an accent typed on another system is the same accent

    entries = [e if all(text.isascii() and text.isprintable() for text in (e.name, e.subject, e.session, e.label,
                                                                           e.group)) else
               replace(e, name=plain(e.name), subject=plain(e.subject), session=plain(e.session),
                       label=plain(e.label), group=plain(e.group)) for e in layout.entries]
    return replace(layout, entries=entries, notes=[printable(note) for note in layout.notes],
                   unmatched=[(printable(name), why) for name, why in layout.unmatched])


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

    Where the subject is known it is cut out of the name first: patient19 is no t1. Masks keep their
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
    """The layout, if every rule takes a file; else `UserError` with some of what there is."""
    known = {entry.domain for entry in layout.entries}
    for name in (name for name in rules if name not in known):
        names = dict.fromkeys([*(n for n, _ in layout.unmatched), *(e.name for e in layout.entries)])
        raise UserError(f"{name}={rules[name].pattern} fits no file that another rule has not taken", where="--domain",
                        fix=f"it is searched in names such as {', '.join(map(printable, list(names)[:3]))}")
    return layout
