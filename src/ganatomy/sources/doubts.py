"""Whether a reading of a folder is beyond doubt; if not, the question, with the pattern that settles each answer."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ganatomy.core.errors import Offer, Question, UserError
from ganatomy.core.text import counted, listed
from ganatomy.data.vocabulary import MACHINES, SPLITS_BY_NAME, is_mask_name
from ganatomy.sources.columns import Group
from ganatomy.sources.entry import Entry, example
from ganatomy.sources.inference import CLASS, DOMAIN, PARCEL, SLICE, SUBJECT, VISIT, Reading, is_alone
from ganatomy.sources.marks import mark_of
from ganatomy.sources.templates import match_pattern
from ganatomy.sources.words import FileName, take_apart

MARGIN = 0.75
"""A reading whose score is not higher by this than another's, which reads something otherwise, is asked about."""
WIDE = 4.0
"""The margin within which other readings are offered where the best has the marks of a mistake."""
OFFERS, EXAMPLES, SHAPES, LOOKED_AT = 3, 3, 3, 30
_FIELDS = {SUBJECT: "{subject}", VISIT: "{session}", SLICE: "{slice}", DOMAIN: "{domain}", CLASS: "{label}",
           PARCEL: "*", "contrast": "{domain}", "visit": "{session}", "date": "{session}", "slice": "{slice}",
           "split": "{split}"}


def refuse_doubtful(source: Path, tried: Sequence[Reading], entries: Sequence[Entry], known: bool,
                    read: Callable[[Reading], list[Entry]]) -> None:
    """Raise `Question` if the best reading is not clearly the best, or has the marks of a mistake.

    Args:
        source: the folder.
        tried: readings, the best first.
        entries: what the best makes of the files.
        known: whether the best tells whose each image is.
        read: what another makes of them.
    """
    reading = tried[0]
    kinds = {is_alone(group, roles) for group, roles in zip(reading.groups, reading.roles, strict=True)
             if not group.volume}
    problem = mark_of(entries, known) or (
        "some pictures would be subjects of their own, and others not" if len(kinds) > 1 else "")
    others = _others(tried, entries, read, MARGIN)
    if others and not problem:
        problem = "its folders and names can be read in several ways"
    offers = []
    if problem:
        others = _others(tried, entries, read, WIDE)
        offers = [Offer(_told(entries), _settles(source, reading, entries) or {"yes": True})]
        offers += [Offer(_told(own), options) for other, own in others if (options := _settles(source, other, own))]
        if len(offers) == 1:
            offers.append(Offer("it is as shown first", {"yes": True}))
    if machines := _machines(reading):
        problem = f"nothing says whether {machines} of one name are one patient's"
        pattern = pattern_of(reading, [entry for entry in entries if is_mask_name(entry.domain)])
        apart = re.sub(r"\{domain\}[^/|{}]*\{subject\}", "{subject}", pattern)  # ct_train_1001, not 1001
        offers = [Offer("they are: pairs", {"pattern": pattern}),
                  Offer("they are not: contrasts without pairs", {"pattern": apart, "unpaired": True}),
                  Offer("they are not: classes of one data set", {"pattern": pattern.replace("{domain}", "{label}")})]
    if problem:
        raise Question(f"{problem}; say which is right", offers, where=source)


def _others(tried: Sequence[Reading], entries: Sequence[Entry], read: Callable[[Reading], list[Entry]],
            margin: float) -> list[tuple[Reading, Sequence[Entry]]]:
    """The readings, within a margin of the best, that make something else of the files."""
    out: list[tuple[Reading, Sequence[Entry]]] = [(tried[0], entries)]
    for other in tried[1:]:
        if tried[0].score - other.score <= margin and len(out) < OFFERS:
            own = read(other)
            if all(_differ(own, known) for _, known in out):
                out.append((other, own))
    return out[1:]


def _machines(reading: Reading) -> str:
    """The modalities of different machines that folders tell, where mere numbers tell the patients."""
    for group, roles in zip(reading.groups, reading.roles, strict=True):
        subjects = [column for column, role in zip(group.columns, roles, strict=True) if role == SUBJECT]
        contrasts = {file.contrast.lower() for file in group.files}
        above = all(any(word.kind == "contrast" for words in file.words[:-1] for word in words) for file in group.files)
        if len(contrasts) > 1 and contrasts <= MACHINES and above and all(
                column.numeric == 1 and column.in_name and (column.bare or column.prefix in SPLITS_BY_NAME)
                for column in subjects):
            return listed(sorted(contrasts))
    return ""


def _differ(one: Sequence[Entry], other: Sequence[Entry]) -> bool:
    """Whether two readings make other subjects, contrasts or classes of the same files."""
    theirs = {entry.name: entry for entry in other}
    pairs = [(entry, theirs[entry.name]) for entry in one if entry.name in theirs]
    if any(bool(a.label) != bool(b.label) for a, b in pairs):
        return True
    for name in ("subject", "domain"):
        both = {(getattr(a, name), getattr(b, name)) for a, b in pairs}
        if not len(both) == len({a for a, _ in both}) == len({b for _, b in both}):
            return True
    return False


def _settles(source: Path, reading: Reading, entries: Sequence[Entry]) -> dict[str, str | bool] | None:
    """The pattern that reads the files so, None where patterns cannot say it."""
    pattern = pattern_of(reading, [entry for entry in entries if is_mask_name(entry.domain)])
    try:
        again = match_pattern(source, [entry.name for entry in entries], pattern).entries
    except UserError:
        return None
    before, after = ([len({getattr(entry, name) for entry in own}) for name in ("name", "subject", "label")]
                     for own in (entries, again))
    return {"pattern": pattern} if before == after else None


def _told(entries: Sequence[Entry]) -> str:
    """What a reading makes of the files, in lines."""
    subjects = len({entry.subject for entry in entries})
    labels = sorted({entry.label for entry in entries} - {""})
    domains = sorted({entry.domain for entry in entries})
    what = [counted(subjects, "subject"), f"contrasts {some(domains)}" if len(domains) > 1 else "",
            f"classes {some(labels)}" if labels else ""]
    return "\n".join([", ".join(filter(None, what)), *(f"     {example(entry)}" for entry in spread(entries))])


def some(names: Sequence[str]) -> str:
    """At most five names, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def spread(entries: Sequence[Entry]) -> list[Entry]:
    """A few entries of different subjects."""
    first = list({entry.subject: entry for entry in reversed(entries)}.values())
    return first[::max(1, len(first) // EXAMPLES)][:EXAMPLES]


def pattern_of(reading: Reading, masks: Sequence[Entry] = ()) -> str:
    """What `--pattern` takes for a reading: patterns of its masks and for each shape of the paths, with | between."""
    images = [_pattern(group, own, roles) for group, roles in zip(reading.groups, reading.roles, strict=True)
              for own in _shapes(group)]
    some = Counter(_mask_pattern(entry) for entry in masks[::max(1, len(masks) // LOOKED_AT)])
    return "|".join(dict.fromkeys([*(pattern for pattern, _ in some.most_common(SHAPES)), *images[:SHAPES]]))


def _shapes(group: Group) -> list[list[FileName]]:
    """The files of a group by the numbers of words in their components, the most first."""
    shapes: dict[tuple[int, ...], list[FileName]] = defaultdict(list)
    for file in group.files:
        shapes[tuple(map(len, file.words))].append(file)
    return sorted(shapes.values(), key=len, reverse=True)


def _pattern(group: Group, files: Sequence[FileName], roles: str) -> str:
    by_place = {(column.level, column.position): role for column, role in zip(group.columns, roles, strict=True)}
    alone = len(files) == len(group.files)
    parts = [_component(files, number, by_place, alone) for number in range(len(files[0].components))]
    endings = {file.name[len("/".join(file.components)):] for file in files}
    if "{subject}" not in "/".join(parts):
        parts[-1] = "{subject}"
    return "/".join(parts) + (endings.pop() if len(endings) == 1 else ".*")


def _component(files: Sequence[FileName], number: int, by_place: Mapping[tuple[int, int], str],
               alone: bool) -> str:
    """One component of the pattern: fields for what has a role, the text where it is the same in all files, else *.

    `alone` says that there are no files of other shapes, which may say something else where these are the same.
    """
    first = files[0]
    level = -1 if number == len(first.components) - 1 else first.left.index(number) if number in first.left else None
    if alone and len({file.components[number] for file in files}) == 1:
        return first.components[number]
    whole = by_place.get((level, -1), "") if level is not None else ""
    if whole:
        return _FIELDS.get(whole, "*")
    parts, place, end, barred, within = list[str](), 0, 0, 0, False
    for k, word in enumerate(first.words[number]):
        role = word.kind or (by_place.get((level, place), "") if level is not None else "")
        place += not word.kind
        same = len({file.words[number][k].text for file in files}) == 1
        if within and (role == SUBJECT or (not role and not (same and level == -1))):
            end = word.end  # what varies beside the subject's number belongs to its name
            continue
        parts.append(first.components[number][end:word.start])
        end, within = word.end, role == SUBJECT
        if within:
            before = "".join(parts[barred:])
            parts[barred:] = [before[:len(before) - len(before.lstrip("_-. "))], "{subject}"]
        elif role not in _FIELDS or (same and alone):
            parts.append(word.text if same else "*")
        else:
            parts.append(re.sub(r"\d+$", "{slice}", word.text) if role in (SLICE, "slice") else _FIELDS[role])
        barred = len(parts) if role and role != "image" else barred
    text = "".join([*parts, first.components[number][end:]])
    for field in {*_FIELDS.values()}:  # {subject}_S_{subject} is one
        text = re.sub(rf"{re.escape(field)}(?:[^{{}}*]*{re.escape(field)})+", field, text)
    return text


def _mask_pattern(entry: Entry) -> str:
    """A pattern of one mask: its path, with fields in place of what it says."""
    file = take_apart(entry.name)
    text = entry.name
    values = [(entry.subject.rpartition("/")[2], "{subject}"), (entry.label, "{label}"), (entry.session, "{session}"),
              *((word, "{split}") for word in file.of_kind("split") if entry.split),
              *((word, "{domain}") for word in file.contrasts)]
    for value, field in values:
        if value:
            end = r"(?!\d)" if value[-1].isdigit() else r"(?![^\W_])"
            text = re.sub(rf"(?<![^\W_]){re.escape(value)}{end}", field, text)
    if entry.slice is not None:
        text = re.sub(rf"(?<!\d)0*{entry.slice}(?!.*\d)(?!\d)", "{slice}", text)
    return text
