"""NIfTI files whose fourth axis holds contrasts: each becomes a domain."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ganatomy.core.text import counted, listed
from ganatomy.data.images import Unreadable
from ganatomy.data.vocabulary import is_mask_name
from ganatomy.formats import nifti
from ganatomy.sources.entry import WHOLE, Entry, Layout, Piece, safe_name

MOST = 8
"""A longer fourth axis counts times or directions."""
UNNAMED = "; --domains with as many names says what they are"


def with_contrasts(source: Path, layout: Layout, domains: Sequence[str] | None) -> Layout:
    """A layout in which every contrast of a 4-D file is an entry.

    The first subject's files of each domain stand for all of them: a series beside its own frames is none of contrasts,
    and neither is a fourth axis in steps of time, or a long one that nothing names.

    Args:
        source: the folder.
        layout: of it.
        domains: the contrasts in their order, where nothing else names them.
    """
    first: dict[str, list[Entry]] = {}
    for entry in layout.entries:
        own = first.setdefault(entry.domain, [entry])
        if own[0].subject == entry.subject and own[0] is not entry:
            own.append(entry)
    names = {domain: titles for domain, own in first.items() if own[0].piece == WHOLE and not is_mask_name(domain)
             and (titles := _contrasts(source, own, domains or ()))}
    if not names:
        return layout
    entries = []
    for entry in layout.entries:
        prefix = f"{entry.domain}-" if entry.domain != "image" else ""
        entries += [replace(entry, domain=f"{prefix}{name}", piece=Piece(contrast=number)) if name else entry
                    for number, name in enumerate(names.get(entry.domain, [""]))]
    notes = [f"the fourth axis of {domain} ({counted(sum(e.domain == domain for e in layout.entries), 'file')}) holds "
             f"contrasts, in this order: {listed(titles)}{UNNAMED if titles[0] == 'channel-0' else ''}"
             for domain, titles in names.items()]
    return replace(layout, entries=entries, notes=[*layout.notes, *notes])


def _contrasts(source: Path, entries: Sequence[Entry], domains: Sequence[str]) -> list[str]:
    """What the volumes of 4-D files are called, [] if these are none of contrasts."""
    axes = set()
    for entry in entries:
        try:
            axes.add(nifti.contrasts(entry.path) if entry.path.name.lower().endswith(nifti.SUFFIXES) else (1, False))
        except (Unreadable, OSError):
            return []
        if len(axes) > 1 or axes == {(1, False)}:
            return []
    (count, timed), = axes
    named = _named(source, entries[0].path.parent, count) or (list(domains) if len(domains) == count else [])
    if count < 2 or (not named and (timed or count > MOST)):
        return []
    return named or [f"channel-{number}" for number in range(count)]


def _named(source: Path, folder: Path, count: int) -> list[str]:
    """As many names of contrasts as dataset.json (Decathlon, nnU-Net) beside or above a folder gives, else []."""
    for place in (folder, *folder.parents):
        try:
            text = json.loads((place / "dataset.json").read_text(encoding="utf-8"))
            names = text.get("channel_names") or text.get("modality") or {}
            if len(names) == count:
                return [safe_name(str(names[key])) for key in sorted(names, key=int)]
        except (OSError, ValueError, AttributeError, TypeError):
            pass
        if place == source.parent:
            break
    return []
