"""`--metadata`: a table of labels, patients, splits or visits, joined to the files of any layout by names or ids."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
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
_IDS = re.compile(r"id$|name|file|path|image|scan|case|series|study|number|code")
"""Columns whose values may be ids though they are numbers."""
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
    if way is _by_end:  # a name that returns in several folders tells nobody
        times = Counter((entry.domain, id(matches[entry.name])) for entry in layout.entries if entry.name in matches)
        matches = {entry.name: matches[entry.name] for entry in layout.entries
                   if times[entry.domain, id(matches.get(entry.name))] == 1}
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
    if column in ("", *(used.get(role) for role in ("label", "split", "session"))):
        return
    if all(value.isdecimal() for value in values) and column != used.get("subject") and not _IDS.search(column):
        return  # ages are nobody's names
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
        if 2 * len(whole) >= len(paths):  # a folder of many files tells none of them
            yield _Ids(column, level, whole, ends)


def _by_name(ids: _Ids, entry: Entry) -> Sequence[Cells]:
    """By the file's path; one of the two is the other's end."""
    return _path(ids, _parts(entry.name))


def _by_folder(ids: _Ids, entry: Entry) -> Sequence[Cells]:
    """By the path of a folder above, the innermost first; one of the two is the other's end."""
    parts = _parts(entry.name)
    above = [parts[:stop] for stop in range(len(parts) - 1, 0, -1)]
    # one word may be the name of a file in the table, such as T1
    return next((own for part in above if (own := ids.whole.get(part) if len(part) == 1 else _path(ids, part))), ())


def _path(ids: _Ids, parts: Parts) -> Sequence[Cells]:
    ends = (parts[start:] for start in range(1, len(parts)))
    return ids.ends.get(parts) or next((ids.whole[own] for own in ends if own in ids.whole), ())


def _by_end(ids: _Ids, entry: Entry) -> Sequence[Cells]:
    """By what the ends of both paths share, which begin otherwise."""
    parts = _parts(entry.name)
    return next((ids.ends[parts[i:]] for i in range(len(parts)) if parts[i:] in ids.ends), ())


def _by_subject(ids: _Ids, entry: Entry) -> Sequence[Cells]:
    return ids.whole.get((_key(entry.subject),), ())


def _runs(text: str) -> dict[tuple[int, int], str]:
    """(First, behind the last) word -> what stands there, for words in sequence, but for numbers after a number: those
    are of slices."""
    places = [match.span() for match in re.finditer(r"[^\W_]+", text)][:MOST_WORDS]
    runs = {(i, j): text[places[i][0]:places[j - 1][1]] for i in range(len(places)) for j in range(len(places), i, -1)}
    return {(i, j): _key(run) for (i, j), run in runs.items()
            if not (run.isdecimal() and re.search(r"\d\d", text[:places[i][0]]))}


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
    """How the ids are in the files' names, and which ids: of the first ways that reach half of a sample, the best.

    Coarser ways may reach more, but what they reach more may be files that the table does not hold.
    """
    sample = evenly(images, SAMPLE)
    words = dict.fromkeys((depth, place) for entry in sample for depth, part in enumerate(_parts(entry.name)[::-1], 1)
                          for place in _runs(part))
    whole, levels = ([one for one in ids if bool(one.level) == deep] for deep in (False, True))
    finest: list[_Way] = [_by_name, _by_folder, *([_by_subject] if known else [])]
    paths: list[tuple[list[_Way], list[_Ids]]] = [(finest, whole), ([_by_end], whole), (finest[:2], levels)]
    for ways, some in (*paths, *(([_by_words(*place)], whole) for place in words)):
        reached = {(way, i): _reached(way, one, sample, used, known) for way in ways for i, one in enumerate(some)}
        most = max(reached.values(), default=0)
        if 2 * most >= len(sample):
            way, i = next(key for key, number in reached.items() if number >= 0.95 * most)
            # the paths of masks and of cut-out images stand in columns of their own
            return way, [some[i], *(one for one in some if one.level == some[i].level > 0 and one is not some[i])]
        if 10 * most >= len(sample) and (ways, some) in paths:
            break  # this is how they belong together, of too few files
    return _by_name, whole[:1]


def _reached(way: _Way, ids: _Ids, sample: Sequence[Entry], used: Mapping[str, str], known: bool) -> int:
    """How many files a way reaches; 0 where the same numbers or names return in every subject: they are of slices."""
    pairs = [(entry, id(own[0])) for entry in sample if (own := _agreeing(way(ids, entry), used))]
    rows, subjects = {row for _, row in pairs}, {entry.subject for entry, _ in pairs}
    crossed = known and len({(entry.subject, row) for entry, row in pairs}) > max(len(subjects), len(rows))
    returning = way in (_by_name, _by_end) and len(pairs) > 2 * len({(entry.domain, row) for entry, row in pairs})
    return 0 if crossed or returning else len(pairs)


def _joined(layout: Layout, known: Mapping[str, Cells], used: Mapping[str, str], names: set[str]) -> Layout:
    """The layout with the rows of its files by name; `names` are the ids that stand in the table."""
    places = defaultdict[tuple[str, str, int | None], list[Cells | None]](list)
    for entry in layout.entries:
        for number in (entry.slice, None) if not is_mask_name(entry.domain) else ():
            places[entry.subject, entry.session, number].append(known.get(entry.name))
    told: list[tuple[Entry, dict[str, str]]] = []
    lost, merged = list(layout.unmatched), defaultdict[str, set[str]](set)
    for entry in layout.entries:
        row = known.get(entry.name)
        if row is None and is_mask_name(entry.domain):
            visit = (entry.subject, entry.session)
            beside = places.get((*visit, entry.slice)) or places[*visit, None]
            row = beside[0] if beside and all(other == beside[0] for other in beside) else None
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
