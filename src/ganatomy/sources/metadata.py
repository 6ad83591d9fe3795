"""`--metadata`: a table of labels, patients, splits or visits, joined to the files of any layout by names or ids."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ganatomy.core.errors import UserError
from ganatomy.core.text import counted, listed, printable
from ganatomy.data.manifest import evenly
from ganatomy.data.vocabulary import SPLITS_BY_NAME, is_mask_name
from ganatomy.formats import SUFFIXES
from ganatomy.sources.csv_table import read_cells
from ganatomy.sources.entry import Entry, Layout

ROLES = {
    "label": ("label", "labels", "class", "classes", "classname", "diagnosis", "diagnoses", "dx", "dxgroup", "finding",
              "findings", "findinglabel", "findinglabels", "target", "pathology", "benignmalignant", "grade", "group"),
    "subject": ("patient", "patientid", "patients", "subject", "subjectid", "participant", "participantid", "ptid",
                "case", "caseid", "lesionid"),
    "split": ("split", "set", "subset", "partition", "fold"),
    "session": ("session", "sessionid", "visit", "visitid", "timepoint", "followup")}
"""What a column says -> how it is called, in small letters without anything between, the likeliest first."""
MANY_CLASSES = 20
SAMPLE = 200
"""By so many files it is decided which ids belong to which part of the names."""
MOST_WORDS = 8
_ENDING = re.compile(f"(?:{'|'.join(map(re.escape, sorted(SUFFIXES, key=len, reverse=True)))})$", re.IGNORECASE)
Cells = Mapping[str, str]
Parts = tuple[str, ...]


@dataclass(frozen=True)
class _Ids:
    """A column's values as paths, or one level of them counted from the end: path, or end of a path -> its rows."""

    column: str
    level: int
    whole: Mapping[Parts, Sequence[Cells]]
    ends: Mapping[Parts, Sequence[Cells]]


_Way = Callable[[_Ids, Entry], Sequence[Cells]]
"""Gives the rows whose id a file has."""


def metadata_file(given: str) -> tuple[Path, str]:
    """The table and the column of its labels, "" where that is not said, of FILE.csv or FILE.csv:COLUMN."""
    path, _, column = given.rpartition(":")
    named = not Path(given).is_file() and Path(path).is_file()
    return (Path(path), column.strip().lower()) if named else (Path(given), "")


def with_metadata(layout: Layout, given: str) -> Layout:
    """The layout with what a table says of its files: label, subject, split and session, by the columns in `ROLES`.

    The column that tells which file a row is of is sought. Its values are paths of the files or of their folders, the
    ends of these, or names, with or without ending; else subjects; else, between separators, the same part of all names
    or folders. Files without a row are left out; masks go with the image of their place.

    Args:
        layout: of any kind.
        given: FILE.csv, or FILE.csv:COLUMN with the column of the labels.

    Raises:
        UserError: the table cannot be read, says nothing that can be used, has several columns that may be the label,
            or tells of fewer than half of the files.
    """
    path, wanted = metadata_file(given)
    columns, numbered, _ = read_cells(path)
    rows = list(numbered.values())
    used = _used(path, columns, rows, wanted)
    images = [entry for entry in layout.entries if not is_mask_name(entry.domain)] or layout.entries
    way, chosen = _best_way(images, [one for name in columns for one in _ids(name, rows, used)], used,
                            layout.subjects_known)
    matches = {entry.name: own for entry in layout.entries
             if (own := next((own for one in chosen if (own := _agreeing(way(one, entry), used))), ()))}
    known = {name: own[0] for name, own in matches.items()}
    told = [known[entry.name] for entry in images if entry.name in known]
    if 2 * len(told) < len(images) or not told:
        example = ", ".join(filter(None, rows[0].values()))[:120] if rows else ""
        raise UserError(f"tells of {len(told)} of {counted(len(images), 'file')}; the first file is "
                        f"{printable(images[0].name)!r}, the first row {printable(example)!r}", where=path,
                        fix="add a column with the files' names or paths, or with the subjects as the files have them")
    identity = chosen[0].column
    if "subject" not in used and not layout.subjects_known and len({row[identity] for row in told}) < len(told):
        used["subject"] = identity  # several files have the id of one row
    notes = [note for note in layout.notes if "label" not in used or "taken for classes" not in note]
    unused = len(rows) - len({id(row) for own in matches.values() for row in own})
    says = ", ".join(f"{role} from {name}" for role, name in used.items())
    notes.append(f"{path.name}: {says}; rows belong to files by {identity}: {len(told)} of "
                 f"{counted(len(images), 'file')} have one, {counted(unused, 'row')} no file")
    classes = {row[used["label"]] for row in told} - {""} if "label" in used else set()
    if len(classes) > MANY_CLASSES:
        notes.append(f"warning: {used['label']} has {len(classes)} classes, such as {listed(sorted(classes)[:3])}")
    names = {_key(row[name]) for row in rows for name in (identity, used.get("subject", identity))}
    return _joined(replace(layout, notes=notes), known, used, names)


def _used(path: Path, columns: Sequence[str], rows: Sequence[Cells], wanted: str) -> dict[str, str]:
    """What the table says -> the column that says it."""
    plain = {name: re.sub(r"[^a-z0-9]", "", name) for name in columns if any(row[name] for row in rows)}
    likely = {role: [name for word in words for name in plain if plain[name] == word] for role, words in ROLES.items()}
    likely["split"] = [name for name in likely["split"] if {row[name].lower() for row in rows} <= {"", *SPLITS_BY_NAME}]
    known = ", ".join(filter(None, columns)) or "no rows"
    if wanted:
        if wanted not in plain:
            raise UserError(f"has no column {printable(wanted)!r} with values", where=path, fix=f"it has {known}")
        likely["label"] = [wanted]
    if len({tuple(row[name] for row in rows) for name in likely["label"]}) > 1:
        raise UserError(f"has several columns that may be the label: {', '.join(likely['label'])}", where=path,
                        fix=f"say which: --metadata {printable(str(path))}:{likely['label'][0]}")
    if not any(likely.values()):
        raise UserError("no column is called like a label, a patient, a split or a visit", where=path,
                        fix=f"name that of the labels: --metadata FILE.csv:COLUMN; it has {known}")
    return {role: names[0] for role, names in likely.items() if names}


def _key(text: str) -> str:
    """A name or id for comparison: case and zeros before a number do not count."""
    return (text.lstrip("0") or "0") if text.isdecimal() else text.casefold()


def _parts(path: str) -> Parts:
    """The folders and the name of a path, without the ending of an image."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")] or [""]
    return tuple(map(_key, (*parts[:-1], _ENDING.sub("", parts[-1]))))


def _ids(column: str, rows: Sequence[Cells], used: Mapping[str, str]) -> Iterator[_Ids]:
    """A column's values, then, of paths, their levels from the innermost folder out; nothing of what are no ids."""
    values = {row[column] for row in rows}
    counts = all(value.isdecimal() for value in values) and 2 * len(values) < len(rows)  # ages, not patients
    named = column == used.get("subject") or column.endswith("id")
    if column.startswith("unnamed") or column in ("", used.get("label"), used.get("split")) or (counts and not named):
        return
    paths = {value: _parts(value) for value in values if value}
    for level in (0, *range(2, min(map(len, paths.values()), default=0) + 1)):
        whole, ends = defaultdict[Parts, list[Cells]](list), defaultdict[Parts, list[Cells]](list)
        for row in rows:
            path = paths.get(row[column], ())
            own = path[-level:][:1] if level else path
            if own:
                whole[own].append(row)
            for start in range(len(own)):
                ends[own[start:]].append(row)
        yield _Ids(column, level, whole, ends)


def _by_path(ids: _Ids, entry: Entry) -> Sequence[Cells]:
    """By the path of the file, or else of its folders; one of the two is the other's end."""
    parts = _parts(entry.name)
    for stop in range(len(parts), 0, -1):
        if parts[:stop] in ids.ends:
            return ids.ends[parts[:stop]]
        for start in range(1, stop):
            if parts[start:stop] in ids.whole:
                return ids.whole[parts[start:stop]]
    return ()


def _by_end(ids: _Ids, entry: Entry) -> Sequence[Cells]:
    """By what the ends of both paths share, which begin otherwise."""
    parts = _parts(entry.name)
    return next((ids.ends[parts[i:]] for i in range(len(parts)) if parts[i:] in ids.ends), ())


def _by_subject(ids: _Ids, entry: Entry) -> Sequence[Cells]:
    return ids.whole.get((_key(entry.subject),), ())


def _runs(text: str) -> dict[tuple[int, int], str]:
    """(First, behind the last) word -> what stands there, for words in sequence."""
    places = [match.span() for match in re.finditer(r"[^\W_]+", text)][:MOST_WORDS]
    return {(i, j): _key(text[places[i][0]:places[j - 1][1]]) for i in range(len(places))
            for j in range(len(places), i, -1)}


def _by_words(depth: int, place: tuple[int, int]) -> _Way:
    """By words in one place of the name (depth 1), or of a folder above it."""
    def way(ids: _Ids, entry: Entry) -> Sequence[Cells]:
        parts = _parts(entry.name)
        return ids.whole.get((_runs(parts[-depth]).get(place, ""),), ()) if depth <= len(parts) else ()

    return way


def _agreeing(own: Sequence[Cells], used: Mapping[str, str]) -> Sequence[Cells]:
    """Rows that all say the same, else none."""
    return own if len({tuple(row[name] for name in used.values()) for row in own}) == 1 else ()


def _best_way(images: Sequence[Entry], ids: Sequence[_Ids], used: Mapping[str, str],
              known: bool) -> tuple[_Way, list[_Ids]]:
    """How the ids are in the files' names, and which: of the first way that reaches half of a sample, the best column.

    A coarser way may reach more, but what it reaches more may be files that the table does not hold.
    """
    sample = evenly(images, SAMPLE)
    words = dict.fromkeys((depth, place) for entry in sample for depth, part in enumerate(_parts(entry.name)[::-1], 1)
                          for place in _runs(part))
    whole, levels = ([one for one in ids if bool(one.level) == deep] for deep in (False, True))
    ways: list[tuple[_Way, list[_Ids]]] = [
        (_by_path, whole), (_by_end, whole), *([(_by_subject, whole)] if known else []), (_by_path, levels),
        *((_by_words(*place), whole) for place in words)]
    for way, some in ways:
        reached = [_reached(way, one, sample, used, known) for one in some]
        if 2 * max(reached, default=0) >= len(sample):
            chosen = some[reached.index(max(reached))]
            # the paths of masks and of cut-out images stand in columns of their own
            return way, [chosen, *(one for one in some if one.level == chosen.level > 0 and one is not chosen)]
    return _by_path, whole[:1]


def _reached(way: _Way, ids: _Ids, sample: Sequence[Entry], used: Mapping[str, str], known: bool) -> int:
    """How many files a way reaches; 0 where each subject has several rows and each row several subjects, as numbers of
    slices have."""
    pairs = [(entry.subject, id(own[0])) for entry in sample if (own := _agreeing(way(ids, entry), used))]
    subjects, rows = len({subject for subject, _ in pairs}), len({row for _, row in pairs})
    return 0 if known and len(set(pairs)) > max(subjects, rows) else len(pairs)


def _joined(layout: Layout, known: Mapping[str, Cells], used: Mapping[str, str], names: set[str]) -> Layout:
    """The layout with the rows of its files by name; `names` are the ids that stand in the table."""
    places: dict[tuple[str, str, int | None], Cells] = {}
    for entry in layout.entries:
        for number in (entry.slice, None) if entry.name in known else ():
            places.setdefault((entry.subject, entry.session, number), known[entry.name])
    told: list[tuple[Entry, dict[str, str]]] = []
    lost, merged = list(layout.unmatched), defaultdict[str, set[str]](set)
    for entry in layout.entries:
        row = known.get(entry.name)
        if row is None and is_mask_name(entry.domain):
            row = places.get((entry.subject, entry.session, entry.slice),
                             places.get((entry.subject, entry.session, None)))
        if row is None:
            lost.append((entry.name, "has no row in the table of --metadata, or rows that differ"))
            continue
        told.append((entry, {role: row[name] for role, name in used.items()}))
        merged[row[used["subject"]] if "subject" in used else ""].add(entry.subject)
    entries = []
    for entry, said in told:
        subject = said.get("subject", "")
        together = subject and layout.subjects_known and len(merged[subject]) > 1
        before = "/".join(filter(None, (entry.subject, entry.session))) if together else entry.session
        # a folder that names a patient of the table is no class: its name must not be stored
        person = any(run in names for run in _runs(entry.label).values() if re.search(r"[^\W\d]|\d{4}", run))
        entries.append(replace(entry, subject=subject or entry.subject, session=said.get("session") or before,
                               label=said.get("label", "" if person else entry.label),
                               split=SPLITS_BY_NAME.get(said.get("split", "").lower(), entry.split)))
    return replace(layout, entries=entries, unmatched=lost,
                   subjects_known=layout.subjects_known or all(said.get("subject") for _, said in told))
