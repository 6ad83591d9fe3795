"""The first pass of `prepare`: what the source is, from names and headers, and what is to be made of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ganatomy.core.errors import UserError
from ganatomy.core.text import counted
from ganatomy.data.parallel import progress
from ganatomy.formats import LEFT_OUT, is_synthetic
from ganatomy.preparation.convert import Outcome
from ganatomy.preparation.convert_visit import Plan
from ganatomy.preparation.options import Options, names
from ganatomy.preparation.plan import make_plan
from ganatomy.preparation.private import read_key
from ganatomy.preparation.scanned import Scanned, Skipped, scan_files
from ganatomy.preparation.splits import known_subjects
from ganatomy.preparation.visits import Visit, choose_domains, group_visits, unpaired_visits, without_lost_masks
from ganatomy.sources.detect import find_layout
from ganatomy.sources.entry import Layout

Say = Callable[[str], None]


@dataclass
class Survey:
    """What the first pass found and decided."""

    layout: Layout
    visits: list[Visit]
    plan: Plan
    outcome: Outcome
    warnings: list[str]


def make_survey(source: Path, dataset: Path, scratch: Path, options: Options, say: Say) -> Survey:
    """Find the layout, scan the headers, bring files together and plan the second pass, all said aloud.

    Raises:
        UserError: a source or options of which nothing can be made.
    """
    layout = _find(source, dataset, scratch, options, say)
    options.check_against(layout)
    chosen, mask_names = choose_domains(layout.entries, names(options.domains), names(options.masks),
                                        options.unpaired or layout.unpaired, say)
    unpaired = (options.unpaired or layout.unpaired) and len(chosen) > 1
    if unpaired and mask_names:
        say(f"left out, since masks need images that belong together: {', '.join(mask_names)}")
        mask_names = []
    layout = replace(layout, entries=[e for e in layout.entries if e.domain in (*chosen, *mask_names)],
                     unpaired=unpaired)
    visits, outcome = _first_pass(source, layout, chosen, mask_names, options, say)
    plan, warnings = make_plan(visits, chosen, mask_names, unpaired, options, read_key(dataset), say)
    if not layout.subjects_known:
        warnings.insert(0, "nothing says which images belong to one patient: each counts as a subject of its own, so "
                           "one patient may be in train and in test, and results will look better than they are; "
                           "give a CSV with the columns path and subject, --pattern with {subject}, or "
                           "--subject-regex")
    return Survey(layout, visits, plan, outcome, warnings)


def _find(source: Path, dataset: Path, scratch: Path, options: Options, say: Say) -> Layout:
    """The layout, said aloud, cut down to the classes asked for."""
    layout = find_layout(source, kind=options.layout, rules=options.domain, pattern=options.pattern,
                         subject_regex=options.subject_regex, split_by=options.split_by,
                         domains=names(options.domains) or (), allow_gaps=options.allow_gaps,
                         keep_derived=options.keep_derived, leave_out=[dataset], scratch=scratch,
                         workers=options.processes, say=say)
    layout = layout if options.keep_derived else _without_synthetic(layout, source, say)
    entries = layout.entries
    wanted = names(options.labels) or []
    known = sorted({entry.label for entry in entries} - {""})
    for label in wanted:
        if label not in known:
            raise UserError(f"there is no class {label!r}", where="--labels",
                            fix=f"found: {', '.join(known) or 'no classes'}")
    entries = [entry for entry in entries if not wanted or entry.label in wanted]
    subjects = {entry.subject for entry in entries}
    known_subjects(options.fixed, subjects, "--val-subjects / --test-subjects")
    domains = ", ".join(f"{name} {n}" for name, n in Counter(e.domain for e in entries).most_common(8))
    owners = Counter(label for label, _ in {(e.label, e.subject) for e in entries} if label)
    classes = ", ".join(f"{name} {owners[name]}" for name in sorted(owners, key=lambda n: (-owners[n], n))[:8])
    what = "volume" if any(entry.piece.frames for entry in entries) else "file"
    say(f"found {layout.kind}: {counted(len(subjects), 'subject')}, {counted(len(entries), what)}; "
        f"{what}s per domain: {domains}" + (f"; subjects per class: {classes}" if classes else ""))
    for note in layout.notes:
        say(note)
    return replace(layout, entries=entries)


def _without_synthetic(layout: Layout, source: Path, say: Say) -> Layout:
    """Leave out the files that `ganatomy translate` made: a model's images are no truth to learn from or compare with.

    Of DICOM series `read_dicom` has left them out already.
    """
    whole = {entry.path: entry.name for entry in layout.entries if not entry.piece.frames}
    made = {path: name for path, name in whole.items() if is_synthetic(path)}
    if not made:
        return layout
    if len(made) == len({entry.path for entry in layout.entries}):
        raise UserError("holds only images that a model made", where=source, fix="give scans, or add --keep-derived")
    say(f"warning: left out {counted(len(made), 'file')} that a model made (synthetic), for example "
        f"{next(iter(made.values()))}; --keep-derived takes them")
    return replace(layout, entries=[entry for entry in layout.entries if entry.path not in made],
                   unmatched=[*layout.unmatched, *((name, LEFT_OUT) for name in made.values())])


def _first_pass(source: Path, layout: Layout, domains: Sequence[str], masks: Sequence[str], options: Options,
                say: Say) -> tuple[list[Visit], Outcome]:
    """Scan the headers and bring the files together; what drops out is said and noted."""
    scanned, skipped = scan_files(layout.entries, options.axis, options.processes,
                                  progress(len(layout.entries), "headers", say))
    refuse_skipped(skipped, options.strict)
    if not any(item.entry.domain in domains for item in scanned):
        name, reason = skipped[0] if skipped else ("", "no file has the domain")
        raise UserError(f"none of {counted(len(layout.entries), 'file')} can be read, for example {name}: {reason}",
                        where=source, fix="check that these are images and that they were copied whole")
    visits, left_out = (unpaired_visits(scanned, domains) if layout.unpaired else
                        group_visits(scanned, domains, masks, options.resample_to))
    if not visits:
        raise UserError(f"no subject has all of {', '.join(domains)}", where=source,
                        fix="add --unpaired, or prepare one domain alone with --domains NAME")
    lost = {name for name, _ in skipped}
    visits, bare = without_lost_masks(visits, [e for e in layout.entries if e.name in lost and e.domain in masks])
    if not visits:
        raise UserError(f"the masks cannot be read, for example {skipped[0][0]}: {skipped[0][1]}", where=source,
                        fix="mend them, or remove them")
    left_out += bare
    told = left_out if layout.kind.startswith("DICOM") else [*layout.unmatched, *left_out]  # of DICOM the notes tell
    if told:
        name, reason = told[0]
        say(f"left out {counted(len(told), 'file')}, for example {name}: {reason.removeprefix('left out: ')}")
    left_out = [*layout.unmatched, *left_out]
    _say_lacking(scanned, visits, domains, layout.unpaired, say)
    return visits, Outcome(skipped=skipped, left_out=left_out)


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
        more = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
        raise UserError(f"cannot be used: it {reason}{more}" if not reason.startswith(("the", "its")) else
                        f"cannot be used: {reason}{more}", where=name,
                        fix="mend or remove it, or leave --strict out to skip such files")
