"""Which part of a path names class, subject, visit and slice: readings are scored by how well they explain all files.

What the vocabulary knows (splits, contrasts, masks, dates) is settled first. The words that are left are columns, from
the top folder to the end of the name; a reading gives each a role. The roles stand in the order in which people nest
them: classes or parcels, then the subject, then visits, then slices, then what says nothing new; one column may be a
contrast wherever it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from ganatomy.data.vocabulary import CLASSES, COUNTERPARTS, ECHOES, GRADES, PARCELS, PEOPLE, SITES, VISITS
from ganatomy.sources.columns import MOST_CLASSES, Codes, Column, Group, coded, crossed, joined, recurrence
from ganatomy.sources.words import number

CLASS, PARCEL, SUBJECT, VISIT, SLICE, DOMAIN, NOTHING = "CPSVZDX"
MOST_DOMAINS = 12


@dataclass
class Reading:
    """A way to read all files.

    Attributes:
        score: how well it explains them, without unit; of two, the higher is the better.
        groups: the files by the shape of their paths.
        roles: of the columns of each group, one letter a column.
    """

    score: float
    groups: list[Group]
    roles: list[str]


def readings(groups: Sequence[Group], most: int = 24) -> list[Reading]:
    """The ways to read groups whose folders are nested alike, the best first.

    A folder's column has one role in all groups; for the names of each group the best few are tried with those of the
    others.
    """
    by_folders: dict[str, list[list[tuple[float, str]]]] = {}
    for place, group in enumerate(groups):
        for roles in role_strings(group):
            own = by_folders.setdefault(roles[:len(group.folders)], [[] for _ in groups])
            own[place].append((score(group, roles), roles))
    total = sum(len(group.files) for group in groups)
    out = []
    for tried in by_folders.values():
        if all(tried):
            best = [sorted(own, reverse=True)[:2 if k < 3 else 1] for k, own in enumerate(tried)]
            for combination in product(*best):
                local = sum(value * len(group.files) / total
                            for (value, _), group in zip(combination, groups, strict=True))
                out.append(Reading(local, list(groups), [roles for _, roles in combination]))
    for reading in sorted(out, key=lambda r: r.score, reverse=True)[:most]:
        reading.score += _over_all(reading)
    return sorted(out[:], key=lambda r: r.score, reverse=True)[:most]


def _over_all(reading: Reading) -> float:
    """What can only be told of all groups together: whether every place has every contrast."""
    places, contrasts = [], []
    for group, roles in zip(reading.groups, reading.roles, strict=True):
        own = [column for column, role in zip(group.columns, roles, strict=True) if role in SUBJECT + VISIT + SLICE]
        for k, file in enumerate(group.files):
            places.append((*(column.texts[k].lower() for column in own), *file.of_kind("visit", "date", "slice")))
            contrasts.append(file.contrast.lower())
    codes = coded(contrasts)
    return 4 * (crossed(codes, coded(places)) - 0.5) if codes.max() > 0 else 0.0


def role_strings(group: Group) -> Iterator[str]:
    """The roles that the columns of a group may have, one letter each."""
    columns = group.columns
    order = {CLASS: 0, PARCEL: 0, SUBJECT: 1, VISIT: 2, SLICE: 3, NOTHING: 4}

    def further(roles: str, state: int) -> Iterator[str]:
        if len(roles) == len(columns):
            levels = {role: {c.level for c, own in zip(columns, roles, strict=True) if own == role} for role in "CPSD"}
            whole = levels[CLASS] | levels[PARCEL] | levels[DOMAIN] - {-1}  # a folder's whole name
            if (SUBJECT in roles or not group.names) and not whole & levels[SUBJECT]:
                yield roles
            return
        column = columns[len(roles)]
        for role, place in order.items():
            if place >= state and (place < 2 or SUBJECT in roles) and not (role == SLICE == roles[-1:]) \
                    and _may_be(column, role, group):
                yield from further(roles + role, place)
        if DOMAIN not in roles and _may_be(column, DOMAIN, group):
            yield from further(roles + DOMAIN, state)
        if state == 0 and not column.in_name and VISIT not in roles and (
                column.prefix in VISITS or all(re.fullmatch(r"(19|20)\d\d", text) for text in column.texts)):
            yield from further(roles + VISIT, state)

    return further("", 0)


def _may_be(column: Column, role: str, group: Group) -> bool:
    if role == CLASS:
        return not column.in_name and column.distinct <= MOST_CLASSES
    if role == PARCEL:
        return not column.in_name and column.numeric == 1 and column.prefix not in PEOPLE
    if role == SLICE:
        return column.in_name and column.numeric > 0.9 and not group.volume and group.slice.max() == 0
    if role == DOMAIN:
        alone = column.in_name or len(group.files[0].open(column.level)) == 1
        lettered = column.numeric <= 0.5 or column.prefix in ECHOES
        return alone and 2 <= column.distinct <= (MOST_DOMAINS if column.wordy else 6) and lettered
    return True


def score(group: Group, roles: str) -> float:
    """How well roles explain the files of a group; files that they do not tell apart cost most."""
    if not roles:
        return 0.0
    pairs = list(zip(group.columns, roles, strict=True))
    owners = group.of(roles, SUBJECT)
    classes = group.of(roles, CLASS + PARCEL, group.split)
    places = group.of(roles, VISIT + SLICE, owners, group.visit, group.slice)
    domains = group.of(roles, DOMAIN, group.contrast)
    alone = is_alone(group, roles)
    keys = joined([places, domains, *([classes] if alone else [])], len(owners))
    lost = 1 - len(np.unique(keys)) / len(keys)
    rest = [(column, role) for column, role in pairs if role in (VISIT, SLICE)]
    again = not rest or recurrence(rest[0][0].codes, owners) > 0.2
    count = len(np.unique(joined([owners, *([classes] if alone else [])], len(owners))))
    total = -15 * lost + _subjects(group, pairs, count, again)
    bare = all(column.in_name and column.bare for column, role in pairs if role == SUBJECT)
    for column, role in pairs:
        if role == CLASS:
            total += _as_class(column, owners, bare)
            total -= 1.5 * (column.wordy and any(map(str.isdigit, group.files[0].component(column.level))))
        elif role == PARCEL:
            total += 1.5 if column.prefix in PARCELS else -1.0
            total -= 2 * (3 * column.distinct > int(owners.max()) + 1)
        elif role == NOTHING:
            total -= 0.7
    if rest:
        first = joined([column.codes for column, _ in rest if column.level == rest[0][0].level], len(owners))
        timed = rest[0][0].prefix in VISITS and rest[0][1] == VISIT
        total += 3 * (max(recurrence(first, owners), 0.9 * timed, 0.7 * _runs(group, rest, owners)) - 0.5)
        total -= 3 * (roles.find(VISIT) < roles.find(SUBJECT) and bare and VISIT in roles)
        total += sum(_as_visit(column, owners) if role == VISIT else 0.3 - 3 * (column.prefix in PEOPLE)
                     for column, role in rest)
    return total + sum(_as_domain(group, roles, k, bare) for k, role in enumerate(roles) if role == DOMAIN)


def _runs(group: Group, rest: Sequence[tuple[Column, str]], owners: Codes) -> bool:
    """Whether slices are numbered on from one subject's folder to the next, without a gap in each."""
    column, role = rest[-1]
    if role != SLICE or group.columns[0].in_name or owners.max() < 2 or column.prefix in PEOPLE:
        return False
    numbers = np.array([number(text) or 0 for text in column.texts])
    low, high = np.full(int(owners.max()) + 1, numbers.max()), np.zeros(int(owners.max()) + 1, np.int64)
    np.minimum.at(low, owners, numbers)
    np.maximum.at(high, owners, numbers)
    counts = np.bincount(np.unique(np.stack([owners, numbers]), axis=1)[0])
    return bool(np.median(counts) > 1 and np.mean(high - low + 1 == counts) > 0.8)


def is_alone(group: Group, roles: str) -> bool:
    """Whether every picture, or set of pictures of one name, is taken for a subject of its own."""
    last = max((k for k, role in enumerate(roles) if role == SUBJECT), default=-1)
    in_name = last < 0 or group.columns[last].in_name
    return in_name and not set(roles) & {VISIT, SLICE} and group.slice.max() == 0


def _subjects(group: Group, pairs: list[tuple[Column, str]], count: int, again: bool) -> float:
    total = -8.0 * (len(group.files) > 1) if count == 1 else -1.5 if count == 2 else -0.7 if count == 3 else 0.0
    own = [column for column, role in pairs if role == SUBJECT]
    if not own:
        numbered = any(any(map(str.isdigit, word.text)) for word in group.files[0].open(-1))
        total -= 3 * any(column.numeric == 1 for column, _ in pairs)  # a number would rather be the subject's
        return total - (4 if group.contrast.max() > 0 and not numbered else 1.5)  # what returns everywhere is nobody
    first, codes = own[0], own[0].codes
    if first.prefix in PEOPLE:
        total += 1
    total -= 2 * (first.prefix in PARCELS and not first.in_name) + (first.prefix in VISITS - PEOPLE)
    total -= 2.5 * (first.wordy and not first.in_name and first.distinct <= 6 and own[-1].level != first.level)
    total -= 2 * (first.bare and not first.in_name and first.distinct <= 10 and len(own) == 1 and not again)
    below = [column for column, role in pairs if role == VISIT and column.level not in (first.level, -1)]
    if below and len(own) == 1 and (first.prefix in SITES or (
            first.distinct <= 4 and first.prefix not in PEOPLE and below[0].distinct > 1.5 * first.distinct)):
        total -= 2.5  # few folders, and many in each: sites or visits, and the subjects below them
    if first.numeric:
        total += 0.5
    elif not first.in_name and len(own) == 1:
        total -= 1.5 * (first.distinct <= 6 and group.contrast.max() == 0) + 10 * first.known(CLASSES)
    for k, column in enumerate(own[1:], 1):
        unique = column.distinct == len(codes)  # a number of the file's own
        share = max(recurrence(column.codes, codes), 0.5 * unique, 0.9 * (column.prefix in VISITS),
                    2.0 * (first.prefix in PEOPLE))
        share *= first.prefix not in SITES
        total -= 3 * (share - 0.5) + 1.5 * (own[k - 1].level != column.level)
        codes = joined([codes, column.codes], len(codes))
    return total


def _as_class(column: Column, owners: Codes, bare: bool) -> float:
    total = 0.3 + 2 * column.known(CLASSES)
    if column.prefix in GRADES:
        total += 1.5
    elif column.numeric > 0.5:
        total -= 0.8 if column.numeric == 1 and not column.prefix and column.distinct <= 10 else 2.5
    if column.distinct == len(owners) > 2:
        total -= 3
    if owners.max() == 0:
        return total
    if column.distinct > (int(owners.max()) + 1) / 2:
        total -= 2
    return total - 1.5 * (not bare and recurrence(owners, column.codes) > 0.8)


def _as_visit(column: Column, owners: Codes) -> float:
    pairs = np.unique(np.stack([owners, column.codes]), axis=1)
    several = np.bincount(pairs[0])
    named = bool(column.prefix) and column.prefix not in VISITS and column.distinct <= 6 and several.min() > 1
    if column.prefix in PEOPLE:
        return -3.0
    return 0.3 * (not column.in_name) - 2 * bool(np.median(several) > 8) - 1 * (column.numeric == 0) - 1 * named


def _as_domain(group: Group, roles: str, k: int, bare: bool) -> float:
    column = group.columns[k]
    others = roles[:k] + NOTHING + roles[k + 1:]
    share = crossed(column.codes, group.of(others, SUBJECT + VISIT + SLICE + CLASS, group.contrast, group.visit,
                                           group.slice, group.split))
    known = column.known(COUNTERPARTS)
    known = max(known, float(column.prefix in ECHOES))
    total = 4 * (share - 0.6) + 2 * known - (not column.wordy and not known)
    total -= 8 * column.known(CLASSES) + (column.distinct > 6)
    if k < roles.find(SUBJECT):
        total -= 0.5 + 2 * (bare and not known)
    return total if share > (0.45 if known else 0.7) else total - 5
