"""An explicit pattern such as {subject}/{subject}_{domain}.nii.gz."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from ganatomy.core.errors import UserError
from ganatomy.sources.entry import Entry, Layout, safe_name

FIELDS = ("subject", "session", "domain", "label", "slice")
MAX_PARTS = 100


def match_pattern(source: Path, names: Sequence[str], pattern: str, domains: Sequence[str] = ()) -> Layout:
    """Read subject, session, domain, label and slice out of relative paths.

    `*` stands for anything within one folder's or file's name, `**` for anything; a field that occurs twice must
    have the same value in both places.

    Raises:
        UserError: an unknown field, no {subject}, or no file that fits.
    """
    parts = _parts(pattern)
    entries, unmatched = [], []
    for name in names:
        values = _match(parts, name, domains)
        if values is None:
            unmatched.append((name, "does not fit the pattern"))
            continue
        number = values.get("slice")
        entries.append(Entry(source / name, name, values["subject"], values.get("session", ""),
                             safe_name(values.get("domain", "image")), values.get("label", ""),
                             slice=None if number is None else int(number)))
    if not entries:
        raise UserError(f"none of {len(names)} image files fits the pattern {pattern!r}", where=source,
                        fix=f"the first file is {names[0]!r}; write the pattern after it")
    return Layout("files that fit the pattern", entries, unmatched=unmatched)


def _parts(pattern: str) -> list[str]:
    """The pattern cut into fields such as {subject}, the wildcards *, ** and **/, and the text between them."""
    pattern = re.sub(r"\*{3,}", "**", pattern.removeprefix("./"))
    parts = [part for part in re.split(r"(\{[^{}]*\}|\*\*/?|\*)", pattern) if part]
    for part in parts:
        if part.startswith("{") and part[1:-1] not in FIELDS:
            raise UserError(f"unknown field {part} in the pattern", where="--pattern",
                            fix=f"known fields: {', '.join('{' + f + '}' for f in FIELDS)}")
    if "{subject}" not in parts:
        raise UserError("the pattern has no {subject}", where="--pattern",
                        fix="say which part names the patient; splits go by it")
    if len(parts) > MAX_PARTS:
        raise UserError(f"the pattern has {len(parts)} parts", where="--pattern", fix="write fewer * and fields")
    return parts


def _match(parts: list[str], name: str, domains: Sequence[str]) -> dict[str, str] | None:
    """The fields' values if the whole name fits. Each part takes as much as it can.

    What remains to be matched is remembered by place, so that no pattern takes more than polynomial time.
    """
    again = {part for part in parts if part.startswith("{") and parts.count(part) > 1}

    @cache
    def rest(i: int, start: int, known: tuple[tuple[str, str], ...]) -> dict[str, str] | None:
        if i == len(parts):
            return {} if start == len(name) else None
        part, following = parts[i], parts[i + 1] if i + 1 < len(parts) else ""
        text = dict(known).get(part, part)
        if text != part or part[0] not in "*{":
            return rest(i + 1, start + len(text), known) if name.startswith(text, start) else None
        for end in _ends(part, name, start, domains):
            if following and following[0] not in "*{" and not name.startswith(following, end):
                continue
            value = name[start:end]
            found = rest(i + 1, end, (*known, (part, value)) if part in again else known)
            if found is not None:
                return {**found, part[1:-1]: value} if part.startswith("{") else found
        return None

    return rest(0, 0, ())


def _ends(part: str, name: str, start: int, domains: Sequence[str]) -> Iterator[int]:
    """Where a wildcard or field that begins at `start` may end, the best place first."""
    slash = name.find("/", start)
    stop = len(name) if slash < 0 else slash
    if part == "**/":
        yield from (i for i in range(len(name), start, -1) if name[i - 1] == "/")
        yield start
    elif part.startswith("*"):
        yield from range(len(name) if part == "**" else stop, start - 1, -1)
    elif part == "{slice}":
        digits = re.compile(r"\d*").match(name, start)
        yield from range(digits.end() if digits else start, start, -1)
    else:
        if part == "{domain}":
            yield from (start + len(domain) for domain in domains if domain and name.startswith(domain, start))
        yield from range(stop, start, -1)
