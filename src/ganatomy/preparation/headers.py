"""The first pass of `prepare`: what the source is, from names and headers, and what it will become."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ganatomy.core.errors import UserError
from ganatomy.core.text import ALIKE, alike, counted, listed
from ganatomy.data.geometry import Axis, View, acquired, orientation, view
from ganatomy.data.images import LONGEST_SIDE, Header, Unreadable
from ganatomy.data.parallel import FEW, in_order, progress
from ganatomy.formats import LEFT_OUT, is_synthetic, npy
from ganatomy.preparation.duplicates import without_copies
from ganatomy.preparation.grids import Scanned
from ganatomy.preparation.options import Options
from ganatomy.preparation.plan import Plan, make_plan
from ganatomy.preparation.visits import (
    Skipped,
    Visit,
    choose_domains,
    group_visits,
    refuse_unknown,
    unequal_counts,
    unpaired_visits,
    without_lost_masks,
)
from ganatomy.sources.detect import find_layout
from ganatomy.sources.entry import WHOLE, Entry, Layout, Piece, scan_entry
from ganatomy.sources.fourth_axis import with_contrasts

Say = Callable[[str], None]
DAMAGE = re.compile(r"cut short|empty|missing|opened|not an image|decoded|broken|cannot be read")
"""What is said of files that were not copied whole."""
CHUNK = 64
"""Headers are read this many at a time."""


@dataclass
class Survey:
    """What the headers say, and what was decided from them.

    Attributes:
        layout: of the source, cut down to what will be used.
        visits: sorted by subject, then session.
        plan: for the second pass.
        skipped, left_out: files that cannot be read, and readable ones that are not used.
        warnings: fit to be stored.
    """

    layout: Layout
    visits: list[Visit]
    plan: Plan
    skipped: Skipped
    left_out: Skipped
    warnings: list[str]


def make_survey(source: Path, dataset: Path, scratch: Path, options: Options, key: bytes, say: Say) -> Survey:
    """Find the layout, scan the headers, bring files together and plan the second pass, telling all of it.

    Archives may be unpacked in the folder `scratch`; `key` is that of the hashes of sources. Raises `UserError` for a
    source or options that lead to no dataset.
    """
    layout = _layout(source, dataset, scratch, options, say)
    refuse_unknown("domain", filter(None, [options.resample_to]), {e.domain for e in layout.entries}, "--resample-to")
    chosen, masks = choose_domains(layout.entries, options.domains, options.masks,
                                   options.unpaired or layout.unpaired, say)
    for twins in alike([*chosen, *masks]):
        raise UserError(f"the domains {listed(twins)} differ only in {ALIKE}, and are one file on many systems",
                        where=source, fix=f"rename them in the source, or add --domain {twins[0]}=REGEX for all")
    unpaired = (options.unpaired or layout.unpaired) and len(chosen) > 1
    if unpaired and masks and not _one_each(layout.entries, chosen):
        say(f"left out, since nothing says to which contrast's images they belong: {', '.join(masks)}")
        masks = []
    layout = replace(layout, entries=[e for e in layout.entries if e.domain in (*chosen, *masks)], unpaired=unpaired)
    visits, skipped, left_out = _visits(source, layout, chosen, masks, options, say)
    plan, warnings = make_plan(visits, chosen, masks, unpaired, options, key, say)
    warnings += unequal_counts(visits)
    warnings += [f"the classes {listed(map(repr, twins))} differ only in {ALIKE}: if they are one, name them alike"
                 for twins in alike(entry.label for entry in layout.entries)]
    if many := alike(entry.subject for entry in layout.entries):  # whose names are not to be stored
        say(f"subjects called nearly the same: {listed(map(repr, many[0]))}")
        warnings.append(f"{counted(len(many), 'subject')} called as another but for {ALIKE}: if they are one patient, "
                        "name them alike, or that one may be in train and in test")
    if not layout.subjects_known:
        warnings.insert(0, "nothing says which images belong to one patient: each counts as a subject of its own, so "
                           "one patient may be in train and in test, and results will look better than they are; "
                           "give a CSV with the columns path and subject, --pattern with {subject}, or "
                           "--subject-regex")
    return Survey(layout, visits, plan, skipped, left_out, warnings)


def _layout(source: Path, dataset: Path, scratch: Path, options: Options, say: Say) -> Layout:
    """The layout, told aloud, cut down to the classes asked for."""
    layout = find_layout(source, kind=options.layout, rules=options.domain, pattern=options.pattern,
                         subject_regex=options.subject_regex, split_by=options.split_by, metadata=options.metadata,
                         yes=options.yes,
                         domains=options.domains or (), allow_gaps=options.allow_gaps,
                         keep_derived=options.keep_derived, leave_out=[dataset], scratch=scratch,
                         workers=options.processes, say=say)
    layout = with_contrasts(source, without_copies(layout, say), options.domains)
    layout = layout if options.keep_derived else _without_synthetic(layout, source, say)
    refuse_unknown("class", options.labels, {entry.label for entry in layout.entries} - {""}, "--labels")
    entries = [entry for entry in layout.entries if not options.labels or entry.label in options.labels]
    subjects = {entry.subject for entry in entries}
    refuse_unknown("subject", options.fixed, subjects, "--val-subjects / --test-subjects")
    domains = ", ".join(f"{name} {n}" for name, n in Counter(e.domain for e in entries).most_common(8))
    owners = Counter(label for label, _ in sorted({(e.label, e.subject) for e in entries}) if label)
    classes = ", ".join(f"{name} {n}" for name, n in owners.most_common(8))
    what = "volume" if any(entry.piece.frames for entry in entries) else "file"
    say(f"found {layout.kind}: {counted(len(subjects), 'subject')}, {counted(len(entries), what)}; "
        f"{what}s per domain: {domains}" + (f"; subjects per class: {classes}" if classes else ""))
    for note in (*(f"  {line}" for line in layout.examples), *layout.notes):
        say(note)
    return replace(layout, entries=entries)


def _one_each(entries: Sequence[Entry], domains: Sequence[str]) -> bool:
    """Whether every session has images of one of the domains alone."""
    images = [entry for entry in entries if entry.domain in domains]
    return len({(e.subject, e.session, e.domain) for e in images}) == len({(e.subject, e.session) for e in images})


def _without_synthetic(layout: Layout, source: Path, say: Say) -> Layout:
    """Leave out the files that `ganatomy translate` wrote: a model's images are no truth to learn from or compare with.

    Of DICOM series `read_dicom` has left them out already.
    """
    whole = {entry.path: entry.name for entry in layout.entries if not entry.piece.frames}
    synthetic = {path: name for path, name in whole.items() if is_synthetic(path)}
    if not synthetic:
        return layout
    if len(synthetic) == len({entry.path for entry in layout.entries}):
        raise UserError("holds only images of a model", where=source, fix="give scans, or add --keep-derived")
    say(f"warning: left out {counted(len(synthetic), 'file')} of a model (synthetic), for example "
        f"{next(iter(synthetic.values()))}; --keep-derived takes them")
    return replace(layout, entries=[entry for entry in layout.entries if entry.path not in synthetic],
                   unmatched=[*layout.unmatched, *((name, LEFT_OUT) for name in synthetic.values())])


def _visits(source: Path, layout: Layout, domains: Sequence[str], masks: Sequence[str], options: Options,
            say: Say) -> tuple[list[Visit], Skipped, Skipped]:
    """Visits, files that cannot be read, and those left out, which is told."""
    scanned, skipped = scan_files(layout.entries, options.axis, options.processes,
                                  progress(len(layout.entries), "headers", say))
    refuse_skipped(skipped, options.strict)
    scanned = _with_colours(scanned, masks, options.axis, say)
    if not any(item.entry.domain in domains for item in scanned):
        name, reason = skipped[0] if skipped else ("", "no file has the domain")
        fix = ("check that these are images and that they were copied whole" if DAMAGE.search(reason) else
               "save what it says otherwise, or convert the files: NIfTI and PNG are sure")
        raise UserError(f"none of {counted(len(layout.entries), 'file')} can be read, for example {name}: {reason}",
                        where=source, fix=fix)
    visits, left_out = ((unpaired_visits(scanned, domains, masks), Skipped()) if layout.unpaired else
                        group_visits(scanned, domains, masks, options.resample_to))
    if not visits:
        raise _no_visit(source, scanned, domains)
    lost = {name for name, _ in skipped}
    visits, bare = without_lost_masks(visits, [e for e in layout.entries if e.name in lost and e.domain in masks])
    if not visits:
        raise UserError(f"the masks cannot be read, for example {skipped[0][0]}: {skipped[0][1]}", where=source,
                        fix="mend them, or remove them")
    left_out = [*layout.unmatched, *left_out, *bare]
    told = left_out[len(layout.unmatched) if layout.kind.startswith("DICOM") else 0:]  # of DICOM the notes tell
    if told:
        name, reason = told[0]
        say(f"left out {counted(len(told), 'file')}, for example {name}: {reason.removeprefix('left out: ')}")
    _say_lacking(scanned, visits, domains, layout.unpaired, say)
    return visits, skipped, left_out


def _with_colours(scanned: Sequence[Scanned], masks: Sequence[str], axis: Axis, say: Say) -> list[Scanned]:
    """Arrays [3, h, w] as colour pictures, channels first, where no other array holds slices."""
    arrays = [item for item in scanned if item.header.volumetric and item.entry.piece == WHOLE
              and item.entry.domain not in masks and item.entry.path.suffix.lower() in npy.SUFFIXES]
    if not arrays or any(i.header.shape[0] != 3 or i.header.along_last for i in arrays):
        return list(scanned)
    say(f"{counted(len(arrays), 'array')} [3, h, w] are taken for colour pictures, the channels first")
    known, out = set(map(id, arrays)), []
    for item in scanned:
        if id(item) in known:
            header = replace(item.header, shape=(1, *item.header.shape[1:]), channels=3, volumetric=False)
            item = Scanned(replace(item.entry, piece=Piece(channels_first=True)), header, view(header, axis))
        out.append(item)
    return out


def _no_visit(source: Path, scanned: Sequence[Scanned], domains: Sequence[str]) -> UserError:
    """Why there is nothing with all domains."""
    owned: dict[str, set[str]] = defaultdict(set)
    for item in scanned:
        owned[item.entry.subject].add(item.entry.domain)
    whole = sum(own.issuperset(domains) for own in owned.values())
    names = ", ".join(domains)
    if not whole:
        return UserError(f"no subject has all of {names}", where=source,
                         fix="add --unpaired, or prepare one domain alone with --domains NAME")
    return UserError(f"no session has all of {names}; {counted(whole, 'subject')} have them in different sessions",
                     where=source, fix="say what belongs together with a --pattern without {session}, such as "
                                       "'{subject}/{domain}/**', or add --unpaired")


def _say_lacking(scanned: Sequence[Scanned], visits: Sequence[Visit], domains: Sequence[str], unpaired: bool,
                 say: Say) -> None:
    """Name the subjects that lack a domain: they are left out, or kept where domains are not paired."""
    kept = {visit.subject for visit in visits}
    lacking = sorted({item.entry.subject for item in scanned} - kept)
    if lacking:
        say(f"subjects left out: {_first(lacking)}; --unpaired would keep those that lack a domain")
    if unpaired:
        for name in domains:
            without = sorted(kept - {visit.subject for visit in visits if name in visit.files})
            if without and len(without) < len(kept):
                say(f"kept without {name}: {counted(len(without), 'subject')}: {_first(without)}")


def _first(subjects: Sequence[str]) -> str:
    return ", ".join(subjects[:10]) + (f" and {len(subjects) - 10} more" if len(subjects) > 10 else "")


def refuse_skipped(skipped: Skipped, strict: bool) -> None:
    """Raise `UserError` if a file was skipped and that is not allowed."""
    if strict and skipped:
        name, reason = skipped[0]
        raise UserError(f"cannot be used ({len(skipped)} in all): {reason}", where=name,
                        fix="mend or remove it, or leave --strict out to skip such files")


def scan_files(entries: Sequence[Entry], axis: Axis, workers: int = 1,
               progress: Callable[[int], None] = lambda done: None) -> tuple[list[Scanned], Skipped]:
    """Read every header: the files that can be seen along `axis`, and (name, reason) of the others.

    Raises:
        UserError: an axis for files that have no orientation.
    """
    scanned, skipped = [], Skipped()
    chunks = (entries[i:i + CHUNK] for i in range(0, len(entries), CHUNK))
    headers = chain.from_iterable(in_order(_scan, chunks, workers if len(entries) > FEW else 1))
    alike: dict[Any, tuple[Header, View]] = {}  # pictures of one shape share one header: there may be many
    for done, (entry, header) in enumerate(zip(entries, headers, strict=True), start=1):
        progress(done)
        reason = header if isinstance(header, str) else _unusable(header, axis)
        if isinstance(header, str) or reason:
            skipped.append((entry.name, reason))
        elif header.affine is not None:
            scanned.append(Scanned(entry, header, view(header, axis)))
        elif header.volumetric and axis != "axial":
            raise UserError(f"has no orientation, so there are no {axis} slices", where=entry.name,
                            fix="leave --axis out: slices are then taken along the first axis")
        else:
            scanned.append(Scanned(entry, *alike.setdefault(header, (header, view(header, axis)))))
    return scanned, skipped


def _scan(entries: Sequence[Entry]) -> list[Header | str]:
    """The header of each file, or the reason why it has none."""
    headers: list[Header | str] = []
    for entry in entries:
        try:
            headers.append(scan_entry(entry))
        except Unreadable as error:
            headers.append(str(error))
    return headers


def _unusable(header: Header, axis: Axis) -> str:
    """Why no pictures along the axis can be taken of a file; "" if they can."""
    if header.affine is not None and not np.isfinite(orientation(header.affine)).all():
        return "its affine (voxels to mm) is almost singular; its directions are unknown"
    own = acquired(header)
    if header.starts and own != axis:
        return f"its slices are unevenly spaced, so that only {own} pictures can be taken of it: --axis {own}"
    side = max(view(header, axis).height, view(header, axis).width)
    return f"claims a side of {side:,} pixels; more than {LONGEST_SIDE:,} are not read" if side > LONGEST_SIDE else ""
