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

    The first file of each domain stands for all of them. A fourth axis in steps of time, or a long one that nothing
    names, is no axis of contrasts.

    Args:
        source: the folder.
        layout: of it.
        domains: the contrasts in their order, where nothing else names them.
    """
    first: dict[str, Entry] = {}
    for entry in layout.entries:
        if entry.piece == WHOLE and entry.path.name.lower().endswith(nifti.SUFFIXES) and not is_mask_name(entry.domain):
            first.setdefault(entry.domain, entry)
    names = {domain: own for domain, entry in first.items() if (own := _contrasts(source, entry, domains or ()))}
    if not names:
        return layout
    entries = []
    for entry in layout.entries:
        own = names.get(entry.domain, [""])
        prefix = f"{entry.domain}-" if entry.domain != "image" else ""
        entries += [replace(entry, domain=f"{prefix}{name}", piece=Piece(contrast=number)) if name else entry
                    for number, name in enumerate(own)]
    notes = [f"the fourth axis of {domain} ({counted(sum(e.domain == domain for e in layout.entries), 'file')}) holds "
             f"contrasts, in this order: {listed(own)}{UNNAMED if own[0] == 'channel-0' else ''}"
             for domain, own in names.items()]
    return replace(layout, entries=entries, notes=[*layout.notes, *notes])


def _contrasts(source: Path, entry: Entry, domains: Sequence[str]) -> list[str]:
    """What the volumes of a 4-D file are called, [] if it is none of contrasts."""
    try:
        count, timed = nifti.contrasts(entry.path)
    except (Unreadable, OSError):
        return []
    named = _named(source, entry.path.parent, count) or (list(domains) if len(domains) == count else [])
    if count < 2 or (not named and (timed or count > MOST)):
        return []
    return named or [f"channel-{number}" for number in range(count)]


def _named(source: Path, folder: Path, count: int) -> list[str]:
    """As many names of contrasts as dataset.json (Decathlon, nnU-Net) beside or above a folder gives, else []."""
    for place in (folder, *folder.parents):
        try:
            said = json.loads((place / "dataset.json").read_text(encoding="utf-8"))
            names = said.get("channel_names") or said.get("modality") or {}
            if len(names) == count:
                return [safe_name(str(names[key])) for key in sorted(names, key=int)]
        except (OSError, ValueError, AttributeError, TypeError):
            pass
        if place == source.parent:
            break
    return []
