"""`ganatomy prepare`: from a folder of scans to a dataset folder.

Two passes: headers of all files first, which settles layout, domains, pixel size and channels; then the pixels, one
visit at a time. Dataset and private folder appear when whole.
"""

from __future__ import annotations

import inspect
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np

from ganatomy import __version__
from ganatomy.data.contact_sheet import write_contact_sheet
from ganatomy.data.convert import Outcome, Plan, convert_visits
from ganatomy.data.dataset import Dataset, DatasetInfo, Intensity
from ganatomy.data.fingerprint import describe, fingerprint
from ganatomy.data.geometry import Axis, Fit
from ganatomy.data.layouts import find_layout
from ganatomy.data.prepare_masks import MANY_LABELS, settle_masks
from ganatomy.data.prepare_options import Options, changed, check_places, names
from ganatomy.data.prepare_plan import make_plan
from ganatomy.data.prepare_private import is_private, read_key, write_private
from ganatomy.data.sources import Entry, Layout, printable, typed
from ganatomy.data.splits import draw_splits, known_subjects
from ganatomy.data.visits import Skipped, Visit, choose_domains, group_visits, scan_files
from ganatomy.data.writers import DatasetWriter, new_dataset
from ganatomy.errors import UserError
from ganatomy.files import private_path, staged_folder
from ganatomy.wording import counted

Say = Callable[[str], None]
PROGRESS_SECONDS = 10.0


def prepare(source: str | Path, dataset: str | Path, *, size: int = 128, fit: Fit = "resize",
            domains: Sequence[str] | None = None, pattern: str | None = None, axis: Axis = "axial",
            slices: str = "content", split: str | Sequence[float] = (70, 15, 15), val_subjects: Sequence[str] = (),
            test_subjects: Sequence[str] = (), split_by: str | None = None, masks: Sequence[str] | None = None,
            intensity: Literal["auto", "identity", "percentile", "minmax"] = "auto",
            channels: Literal["auto", "1", "3", 1, 3] = "auto", spacing: float | None = None,
            background: float | Literal["auto"] = "auto", labels: Sequence[str] = (), seed: int = 0,
            strict: bool = False, overwrite: bool = False, say: Say = lambda text: None) -> Dataset:
    """Make a dataset folder from NIfTI, PNG, JPEG, TIFF or npy files.

    Args:
        source: a folder, or a CSV file with the columns path and subject.
        dataset: the folder to make; DATASET.private appears beside it and must not travel with it.
        size: height and width of the stored images, pixels.
        fit: resize (the cohort's largest field of view just fits), crop (keep the pixel size, cut at the centre) or
            pad (keep the pixel size, never cut).
        domains: which contrasts, in this order; all that are common if None.
        pattern: such as "{subject}/{subject}_{domain}.nii.gz"; see `layouts.match_pattern`.
        axis: axial, coronal or sagittal; see `geometry` for the directions.
        slices: "content", "all", "60:120" or "60:120:2" (the end not included).
        split: shares of train, val and test among subjects.
        val_subjects, test_subjects: original names of the subjects that make up these splits.
        split_by: column of the CSV with the splits, or with groups that must not be parted.
        masks: domains that are masks; those called like one if None, none if empty.
        intensity: auto keeps bytes and maps other values from percentiles of each volume; see `intensity`.
        channels: auto stores colour where all images have it.
        spacing: mm per stored pixel, with fit crop or pad.
        background: value around the patient in the files' units; auto finds it.
        labels: keep only these classes.
        seed: of the split and of the contact sheet's choice.
        strict: refuse when any file cannot be read, instead of leaving it out.
        overwrite: replace an existing dataset.
        say: takes each line of what is found.

    Returns:
        The dataset, opened.

    Raises:
        UserError: anything about the input that must be mended; nothing is left behind then.
    """
    options = Options(size, fit, domains, pattern, axis, slices, split, val_subjects, test_subjects, split_by, masks,
                      intensity, channels, spacing, background, labels, seed, strict)
    source, dataset = check_places(source, dataset, overwrite)
    if source.resolve() in dataset.resolve().parents:
        say("warning: DATASET and its private folder lie within SOURCE: whoever copies the one copies the others")
    layout = _find(source, dataset, options, say)
    chosen, mask_names = choose_domains(layout.entries, names(domains), names(masks), say)
    layout = replace(layout, entries=[e for e in layout.entries if e.domain in (*chosen, *mask_names)])
    visits, outcome = _first_pass(source, layout, chosen, mask_names, options, say)
    key = read_key(dataset)
    plan, warnings = make_plan(visits, chosen, mask_names, options, key, say)
    if not layout.subjects_known:
        warnings.insert(0, "nothing says which images belong to one patient: each counts as a subject of its own, so "
                           "one patient may be in train and in test, and results will look better than they are; "
                           "give a CSV with the columns path and subject, or --pattern with {subject}")
    with (new_dataset(dataset, (size, size), plan.channels, plan.dtype, overwrite) as writer,
          staged_folder(private_path(dataset), overwrite=True, ours=is_private) as private):
        private.chmod(0o700)
        convert_visits(visits, plan, writer, outcome, _progress(len(visits), say),
                       lambda: _refuse_skipped(outcome.skipped, options.strict))
        _finish(writer, outcome, plan, layout, options, warnings, say)
        write_private(private, key, outcome)
    say(f"wrote {printable(str(dataset))}, with contact-sheet.png to look at")
    say(f"{printable(str(private_path(dataset)))} leads back to the patients: keep it apart, never share it")
    say(f"next: ganatomy train {typed(dataset)} RUN" + (f" --domain {chosen[0]}" if len(chosen) > 1 else ""))
    return Dataset.open(dataset)


def _find(source: Path, dataset: Path, options: Options, say: Say) -> Layout:
    """The layout, said aloud, cut down to the classes asked for."""
    layout = find_layout(source, pattern=options.pattern, split_by=options.split_by,
                         domains=names(options.domains) or (), leave_out=[dataset])
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
    say(f"found {layout.kind}: {counted(len(subjects), 'subject')}, {counted(len(entries), 'file')}; "
        f"files per domain: {domains}" + (f"; subjects per class: {classes}" if classes else ""))
    for note in layout.notes:
        say(note)
    return replace(layout, entries=entries)


def _first_pass(source: Path, layout: Layout, domains: Sequence[str], masks: Sequence[str], options: Options,
                say: Say) -> tuple[list[Visit], Outcome]:
    """Scan the headers and bring the files together; what drops out is said and noted."""
    scanned, skipped = scan_files(layout.entries, options.axis)
    _refuse_skipped(skipped, options.strict)
    if not any(item.entry.domain in domains for item in scanned):
        name, reason = skipped[0] if skipped else ("", "no file has the domain")
        raise UserError(f"none of {counted(len(layout.entries), 'file')} can be read, for example {name}: {reason}",
                        where=source, fix="check that these are images and that they were copied whole")
    visits, left_out = group_visits(scanned, domains, masks)
    if not visits:
        raise UserError(f"no subject has all of {', '.join(domains)}", where=source,
                        fix="prepare one domain alone with --domains NAME")
    left_out = [*layout.unmatched, *left_out]
    if left_out:
        name, reason = left_out[0]
        say(f"left out {counted(len(left_out), 'file')}, for example {name}: {reason.removeprefix('left out: ')}")
    lacking = sorted({item.entry.subject for item in scanned} - {visit.subject for visit in visits})
    if lacking:
        say(f"subjects left out: {', '.join(lacking[:10])}" + (f" and {len(lacking) - 10} more" * (len(lacking) > 10)))
    return visits, Outcome(skipped=skipped, left_out=left_out)


def _refuse_skipped(skipped: Skipped, strict: bool) -> None:
    if strict and skipped:
        name, reason = skipped[0]
        more = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
        raise UserError(f"cannot be used: it {reason}{more}" if not reason.startswith(("the", "its")) else
                        f"cannot be used: {reason}{more}", where=name,
                        fix="mend or remove it, or leave --strict out to skip such files")


def _progress(total: int, say: Say) -> Callable[[int], None]:
    """A line now and then, when converting takes long."""
    start = last = time.monotonic()

    def progress(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_SECONDS and done < total:
            last = now
            say(f"{done} of {total} visits, about {(now - start) / done * (total - done):.0f} s left")

    return progress


def _finish(writer: DatasetWriter, outcome: Outcome, plan: Plan, layout: Layout, options: Options,
            warnings: Sequence[str], say: Say) -> None:
    """Draw the splits, write manifest, dataset.json and contact sheet, and say the fingerprint."""
    if not writer.rows:
        name, reason = (outcome.skipped or outcome.left_out)[0]
        raise UserError(f"no image is left to store, for example {name}: {reason}",
                        fix="check the files, or choose others with --slices")
    splits = _splits(outcome, writer, layout.entries, options)
    writer.rows = [replace(row, split=splits[row.subject]) for row in writer.rows]
    writer.close()
    mask_values = settle_masks(writer.stage / "masks.npy", plan.masks, outcome.codes)
    if len(mask_values) > MANY_LABELS:
        warnings = [*warnings, f"the masks hold {len(mask_values)} different values: are these labels, or soft edges?"]
    if outcome.skipped:
        name, reason = outcome.skipped[0]
        say(f"skipped {counted(len(outcome.skipped), 'unreadable file')}, for example {name}: {reason}; "
            "all are in skipped.csv of the private folder")
        warnings = [*warnings, f"{counted(len(outcome.skipped), 'file')} could not be read"]
    found = fingerprint(writer.rows, outcome.tally, layout.kind, len(outcome.skipped), len(outcome.left_out), warnings)
    writer.finish(_info(writer, outcome, plan, options, mask_values).model_copy(update={"fingerprint": found}))
    write_contact_sheet(Dataset.open(writer.stage), options.seed, plan.axis, plan.oriented)
    describe(found, say)


def _info(writer: DatasetWriter, outcome: Outcome, plan: Plan, options: Options,
          mask_values: dict[str, int]) -> DatasetInfo:
    """dataset.json without its content hash and fingerprint."""
    spacings = [tuple(map(float, row.spacing.split("x"))) for row in writer.rows if row.spacing]
    if plan.dtype.kind == "u":
        value_range = (0.0, float(np.iinfo(plan.dtype).max))
    else:
        low, high = outcome.tally.stored_range or (0.0, 1.0)
        value_range = (low, high if high > low else low + 1.0)
    defaults = {name: parameter.default for name, parameter in inspect.signature(prepare).parameters.items()}
    provenance = {"ganatomy": __version__, **changed(options, defaults)}
    intensity = {domain: Intensity(method=plan.method, units="arbitrary units", offset=median(m.offset for m in found),
                                   scale=median(m.scale for m in found))
                 for domain, found in outcome.tally.mappings.items()}
    return DatasetInfo(source="real", run_id=None, size=(options.size, options.size),
                       channels=3 if plan.channels == 3 else 1, value_range=value_range, domains=plan.domains,
                       paired=len(plan.domains) > 1,
                       classes=tuple(sorted({row.label for row in writer.rows} - {""})),
                       spacing=(median(s[0] for s in spacings), median(s[1] for s in spacings)) if spacings else None,
                       intensity=intensity, mask_values=mask_values, provenance=provenance, content="")


def _splits(outcome: Outcome, writer: DatasetWriter, entries: Sequence[Entry], options: Options) -> dict[str, str]:
    """Pseudonym -> split. The source's own splits come first, then named subjects, then the draw."""
    original = {origin[1]: origin[3] for origin in outcome.origins}
    said: dict[str, set[str]] = defaultdict(set)
    groups: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        said[entry.subject].add(options.fixed.get(entry.subject, entry.split))
        groups[entry.subject].add(entry.group or entry.subject)
    torn = sorted(name for name in original.values() if len(said[name]) > 1 or len(groups[name]) > 1)
    if torn:
        raise UserError(f"subjects in more than one split or group: {', '.join(torn[:5])} ({len(torn)} in all)",
                        fix="put every image of a subject into one split")
    group = {pseudonym: next(iter(groups[name])) for pseudonym, name in original.items()}
    labels: dict[str, set[str]] = defaultdict(set)
    for row in writer.rows:
        labels[group[row.subject]].add(row.label)
    fixed = {group[pseudonym]: split for pseudonym, name in original.items() if (split := next(iter(said[name])))}
    drawn = draw_splits({name: "+".join(sorted(found)) for name, found in labels.items()}, options.shares,
                        options.seed, fixed)
    return {pseudonym: drawn[name] for pseudonym, name in group.items()}
