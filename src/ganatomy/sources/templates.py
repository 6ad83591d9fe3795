"""Layouts that are told by fixed names: trainA and trainB, A|B pictures, and a pattern that the user gives."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ganatomy import formats
from ganatomy.core.errors import UserError
from ganatomy.data.vocabulary import SPLITS_BY_NAME, is_mask_name
from ganatomy.formats import Unreadable
from ganatomy.sources.entry import Entry, Layout, Piece, example, safe_name
from ganatomy.sources.words import count_wrappers, take_apart

SHOWN = 10
"""Files of which is told how a pattern reads them."""
SAMPLE = 64
"""Pictures whose sizes are looked at."""
_SIDE = re.compile(r"(train|val|valid|validation|test)[-_]?([AB])", re.IGNORECASE)
_HALVES = (("A", Piece(half="left")), ("B", Piece(half="right")))


def is_sided(names: Sequence[str]) -> bool:
    """Whether there are folders trainA and trainB, or others called so, on the first level."""
    sides = {side for name in names if (side := _side(name)) is not None}
    return {"A", "B"} <= {side for _, side in sides}


def read_sides(source: Path, names: Sequence[str]) -> Layout:
    """trainA, trainB, testA, testB (and valA, valB): domains A and B, the splits from the folders.

    Where every split has the same file names in A and B, images of one name are pairs and share a subject; else the
    layout is unpaired. Each image, or pair, is a subject of its own.

    Raises:
        UserError: there are no such folders.
    """
    if not is_sided(names):
        raise UserError("has no folders trainA and trainB", where=source,
                        fix="leave --layout out, or call the folders of the two domains so")
    known = {name: place for name in names if (place := _side(name)) is not None}
    paired = _agree(known)
    entries = [Entry(source / name, name, f"{split}{'' if paired else side}/{formats.stem(name.partition('/')[2])}",
                     domain=side, split=split) for name, (split, side) in known.items()]
    unmatched = [(name, "lies outside of the folders trainA, trainB and so on") for name in names if name not in known]
    note = ("the file names in A and B agree: images of one name are taken for pairs; add --unpaired if they are none"
            if paired else "the file names in A and B do not agree: A and B are taken for unpaired")
    return Layout("folders trainA and trainB", entries, subjects_known=False, unmatched=unmatched, notes=[note],
                  unpaired=not paired)


def looks_side_by_side(source: Path, names: Sequence[str]) -> bool:
    """Whether all pictures lie in train, val and test, and those of a sample are twice as wide as high."""
    splits = {SPLITS_BY_NAME.get(_top(name), "") for name in names}
    if "" in splits or "train" not in splits or any(name.count("/") > 1 for name in names):
        return False
    sizes = _sizes(source, names)
    return bool(sizes) and all(width == 2 * height for height, width in sizes)


def read_side_by_side(source: Path, names: Sequence[str]) -> Layout:
    """Pictures that hold A in their left half and B in the right one, a subject each.

    Raises:
        UserError: no picture of the sample can be read, or some cannot be halved.
    """
    sizes = _sizes(source, names)
    odd = [size for size in sizes if size[1] % 2 or size[1] < size[0]]
    if odd or not sizes:
        reason = f"there is one of {odd[0][0]} rows and {odd[0][1]} columns" if odd else "none can be read"
        raise UserError(f"its pictures are not two halves side by side: {reason}", where=source,
                        fix="leave --layout out")
    splits = {name: SPLITS_BY_NAME.get(_top(name), "") for name in names}
    known = all(splits.values())
    entries = [Entry(source / name, name, formats.stem(name), domain=domain, split=splits[name] if known else "",
                     piece=half) for name in names for domain, half in _HALVES]
    note = ("every picture is taken for two side by side: its left half is domain A, its right half B; "
            "if that is wrong, add --layout folders")
    return Layout("pictures A|B side by side", entries, subjects_known=False, notes=[note])


def _side(name: str) -> tuple[str, str] | None:
    """(split, A or B) of a file, None where its folder says none."""
    match = _SIDE.fullmatch(name.partition("/")[0]) if "/" in name else None
    return (SPLITS_BY_NAME[match[1].lower()], match[2].upper()) if match else None


def _top(name: str) -> str:
    """The first folder of a path, "" where it has none."""
    return name.partition("/")[0].lower() if "/" in name else ""


def _agree(places: Mapping[str, tuple[str, str]]) -> bool:
    """Whether A and B hold files of the same names in every split."""
    stems: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, place in places.items():
        stems[place].append(formats.stem(name.partition("/")[2]))
    other = {"A": "B", "B": "A"}
    return all(len(set(names)) == len(names) and set(names) == set(stems.get((split, other[side]), ()))
               for (split, side), names in stems.items())


def _sizes(source: Path, names: Sequence[str]) -> list[tuple[int, int]]:
    """(height, width) of a sample of the pictures; volumes count as nothing that has halves."""
    sizes = []
    for name in names[::max(1, len(names) // SAMPLE)]:
        try:
            header = formats.scan(source / name)
        except Unreadable:
            continue
        sizes.append((header.shape[1], header.shape[2]) if not header.volumetric else (1, 1))
    return sizes


FIELDS = {"subject": "[^/]+", "session": "[^/]+", "domain": "[^/]+", "label": "[^/]+", "slice": r"\d+",
          "split": f"(?i:{'|'.join(sorted(SPLITS_BY_NAME, key=len, reverse=True))})|[^/]+?",
          "side": "[ABab]", "*": "[^/]*"}
_WILD = {"*": "[^/]*", "**": ".*", "**/": "(?:.*/)?"}


def match_pattern(source: Path, names: Sequence[str], pattern: str, domains: Sequence[str] = ()) -> Layout:
    """Read subject, session, domain, label, slice, split and side (A or B, a domain) out of relative paths.

    `*` and {*} stand for anything within one folder's or file's name, `**` for anything; each part takes as much as it
    can. A field that occurs twice must have the same value in both places; of several patterns with | between them the
    first that fits counts. Files of a pattern without {domain} are masks if their names say so. `domains` are tried
    first for {domain}.

    Raises:
        UserError: an unknown field, no {subject}, a split that is none, or no file that fits.
    """
    regexes = [_as_regex(part, domains) for part in pattern.split("|")]
    entries, unmatched, masks, wrappers = [], [], dict[str, str](), count_wrappers(names)
    for name in names:
        match = next(filter(None, (regex.fullmatch(name) for regex in regexes)), None)
        if match is None:
            unmatched.append((name, "does not fit the pattern"))
            continue
        values = match.groupdict()
        split = values.get("split", "")
        if split and split.lower() not in SPLITS_BY_NAME:
            raise UserError(f"{split!r} is no split", where=name, fix="{split} must be train, val or test in all files")
        domain, mask = values.get("domain") or values.get("side", "").upper(), take_apart(name, wrappers=wrappers).mask
        masks[name] = safe_name(mask) if mask else ""
        domain = domain if is_mask_name(domain) else "-".join(filter(None, (domain, mask))) or "image"
        entries.append(Entry(source / name, name, values["subject"], values.get("session", ""), safe_name(domain),
                             values.get("label", ""), SPLITS_BY_NAME[split.lower()] if split else "",
                             int(values["slice"]) if "slice" in values else None))
    entries = _plain_masks(entries, masks)
    if not entries:
        raise UserError(f"none of {len(names)} image files fits the pattern {pattern!r}", where=source,
                        fix=f"the first file is {names[0]!r}; write the pattern after it")
    return Layout("files that fit the pattern", entries, unmatched=unmatched,
                  examples=[example(entry) for entry in entries[:SHOWN]])


def _plain_masks(entries: list[Entry], masks: Mapping[str, str]) -> list[Entry]:
    """The entries, masks of one name in all contrasts called by it alone where no visit has two of them."""
    plain = {e.name: mask for e in entries
             if is_mask_name(e.domain) and (mask := masks[e.name]) and e.domain.endswith(f"-{mask}")}
    places = Counter((e.subject, e.session, e.slice, plain[e.name]) for e in entries if e.name in plain)
    if max(places.values(), default=0) > 1:
        return entries
    return [replace(e, domain=plain.get(e.name, e.domain)) for e in entries]


def _as_regex(pattern: str, domains: Sequence[str]) -> re.Pattern[str]:
    """The pattern, with fields such as {subject} and the wildcards *, ** and **/, as a regular expression."""
    pattern = re.sub(r"\*{3,}", "**", pattern.strip().removeprefix("./"))
    text, fields = "", set()
    for part in re.split(r"(\{[^{}]*\}|\*\*/?|\*)", pattern):
        field = part[1:-1] if part.startswith("{") else ""
        if field in fields:
            text += f"(?P={field})"
        elif field == "*":
            text += FIELDS[field]
        elif field in FIELDS:
            first = map(re.escape, filter(None, domains)) if field == "domain" else ()
            text += f"(?P<{field}>{'|'.join([*first, FIELDS[field]])})"
            fields.add(field)
        elif part.startswith("{"):
            raise UserError(f"unknown field {part} in the pattern", where="--pattern",
                            fix=f"known fields: {', '.join('{' + f + '}' for f in FIELDS)}")
        else:
            text += _WILD.get(part) or re.escape(part)
    if "subject" not in fields:
        raise UserError("the pattern has no {subject}", where="--pattern",
                        fix="say which part names the patient; splits go by it")
    return re.compile(text, re.DOTALL)
