"""What the user's regular expressions say of a layout: whose a file is, and which domain."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from ganatomy.core.errors import UserError
from ganatomy.core.text import printable
from ganatomy.sources.entry import Entry, Layout, is_mask_name


def subject_in(name: str, regex: re.Pattern[str]) -> str:
    """The subject that the regular expression finds in a file's name, "" if it finds none."""
    match = regex.search(name)
    return (match[_group(regex)] or "").strip() if match else ""


def _group(regex: re.Pattern[str]) -> str | int:
    return "subject" if "subject" in regex.groupindex else min(regex.groups, 1)


def _folders_in(name: str, regex: re.Pattern[str]) -> list[str]:
    """The parts of a path in which the regular expression finds the subject."""
    match = regex.search(name)
    start, end = match.span(_group(regex)) if match else (0, 0)
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
