"""`ganatomy prepare`: from a folder of scans to a dataset folder.

Two passes: headers of all files first, which settles layout, domains, pixel size and channels; then the pixels, one
visit at a time. Dataset and private folder appear when whole.
"""

from __future__ import annotations

import inspect
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ganatomy.data.convert import Outcome, convert_visits
from ganatomy.data.convert_visit import Plan
from ganatomy.data.dataset import Dataset
from ganatomy.data.geometry import Axis, Fit
from ganatomy.data.layouts import find_layout
from ganatomy.data.parallel import default_workers
from ganatomy.data.prepare_finish import finish
from ganatomy.data.prepare_options import Options, check_places, names
from ganatomy.data.prepare_plan import make_plan
from ganatomy.data.prepare_private import is_private, read_key, write_private
from ganatomy.data.prepare_state import State, is_unchanged, read_state
from ganatomy.data.scanned import Skipped, scan_files
from ganatomy.data.sources import Layout, printable, typed
from ganatomy.data.splits import known_subjects
from ganatomy.data.visits import Visit, choose_domains, group_visits, unpaired_visits
from ganatomy.data.writers import new_dataset
from ganatomy.errors import UserError
from ganatomy.files import private_path, staged_folder
from ganatomy.wording import counted

Say = Callable[[str], None]
PROGRESS_SECONDS = 10.0


def prepare(source: str | Path, dataset: str | Path, *, size: int = 128, fit: Fit = "resize", layout: str = "auto",
            domain: Mapping[str, str] | None = None, domains: Sequence[str] | None = None, pattern: str | None = None,
            subject_regex: str | None = None, axis: Axis = "axial", slices: str = "content",
            split: str | Sequence[float] = (70, 15, 15), val_subjects: Sequence[str] = (),
            test_subjects: Sequence[str] = (), split_by: str | None = None, masks: Sequence[str] | None = None,
            unpaired: bool = False, resample_to: str | None = None, allow_gaps: bool = False,
            keep_derived: bool = False, intensity: str = "auto", channels: str | int = "auto",
            spacing: float | None = None, background: float | str = "auto", labels: Sequence[str] = (),
            seed: int = 0, workers: int | None = None, strict: bool = False, overwrite: bool = False,
            say: Say = lambda text: None) -> Dataset:
    """Make a dataset folder from DICOM, NIfTI, NRRD, MetaImage, PNG, JPEG, TIFF, npy or npz files.

    Run again with nothing changed, it does nothing and says so.

    Args:
        source: a folder, a CSV file with the columns path and subject, or an npz or npy file.
        dataset: the folder to make; DATASET.private appears beside it and must not travel with it.
        size: height and width of the stored images, pixels.
        fit: resize (the cohort's largest field of view just fits), crop (keep the pixel size, cut at the centre) or
            pad (keep the pixel size, never cut).
        layout: what the source is; see `layouts.find_layout`.
        domain: name of a contrast -> regular expression that its series' descriptions (DICOM), BIDS entities or file
            names match, such as {"T1": "mprage|t1w"}.
        domains: which contrasts, in this order; all that are common if None.
        pattern: such as "{subject}/{subject}_{domain}.nii.gz"; see `layouts.match_pattern`.
        subject_regex: finds the patient in a file's relative path: its group "subject", or 1, or the whole match.
        axis: axial, coronal or sagittal; see `geometry` for the directions.
        slices: "content", "all", "60:120" or "60:120:2" (the end not included).
        split: shares of train, val and test among subjects.
        val_subjects, test_subjects: original names of the subjects that make up these splits.
        split_by: column of the CSV with the splits, or with groups that must not be parted.
        masks: domains that are masks; those called like one if None, none if empty.
        unpaired: keep subjects that lack a domain; images of the domains then do not belong together.
        resample_to: the domain whose grid volumes of the others are brought to, in one frame of reference.
        allow_gaps: take DICOM series with missing slices, uneven gaps or gantry tilt.
        keep_derived: take DICOM images that were derived from others that are there too.
        intensity: auto goes by modality; see `intensity.parse_intensity`.
        channels: auto stores colour where all images have it.
        spacing: mm per stored pixel, with fit crop or pad.
        background: value around the patient in the files' units; auto finds it.
        labels: keep only these classes.
        seed: of the split and of the contact sheet's choice.
        workers: processes that read; one a core if None. The result does not depend on it.
        strict: refuse when any file cannot be read, instead of leaving it out.
        overwrite: replace an existing dataset.
        say: takes each line of what is found.

    Returns:
        The dataset, opened.

    Raises:
        UserError: anything about the input that must be mended; nothing is left behind then.
    """
    options = Options(size, fit, layout, domain or {}, domains, pattern, subject_regex, axis, slices, split,
                      val_subjects, test_subjects, split_by, masks, unpaired, resample_to, allow_gaps, keep_derived,
                      intensity, channels, spacing, background, labels, seed, workers, strict)
    source, dataset = check_places(source, dataset)
    state = read_state(source, dataset, options)
    if not overwrite and is_unchanged(dataset, state):
        say(f"{printable(str(dataset))} is made of these files with these options already, and none has changed; "
            "nothing to do")
        return Dataset.open(dataset)
    state.refuse_occupied(dataset, overwrite)
    if source.resolve() in dataset.resolve().parents:
        say("warning: DATASET and its private folder lie within SOURCE: whoever copies the one copies the others")
    with _scratch(dataset) as scratch:
        _make(_survey(source, dataset, scratch, options, say), dataset, options, state, overwrite, say)
    say(f"wrote {printable(str(dataset))}, with contact-sheet.png to look at")
    say(f"{printable(str(private_path(dataset)))} leads back to the patients: keep it apart, never share it")
    made = Dataset.open(dataset)
    several = f" --domain {made.info.domains[0]}" if len(made.info.domains) > 1 else ""
    say(f"next: ganatomy train {typed(dataset)} RUN{several}")
    return made


def survey(source: str | Path, dataset: str | Path, say: Say, **options: Any) -> None:
    """Say what `prepare` would find and decide, from the headers alone; nothing is written.

    Args:
        source, dataset, options: as for `prepare`.
        say: takes each line.

    Raises:
        UserError: what `prepare` would refuse up to there.
    """
    asked = Options(**{name: options.get(name, value) for name, value in _defaults().items()})
    source, dataset = check_places(source, dataset)
    with _scratch(dataset) as scratch:
        found = _survey(source, dataset, scratch, asked, say)
    for text in found.warnings:
        say(f"warning: {text}")
    say(f"{counted(len(found.visits), 'visit')} of {counted(len({v.subject for v in found.visits}), 'subject')} would "
        "be prepared; nothing was written")


@dataclass
class _Survey:
    """What the first pass found and decided."""

    layout: Layout
    visits: list[Visit]
    plan: Plan
    outcome: Outcome
    warnings: list[str]


def _defaults() -> dict[str, Any]:
    """The options that shape a dataset, and their defaults."""
    parameters = inspect.signature(prepare).parameters
    return {name: {} if name == "domain" else parameters[name].default for name in Options.__dataclass_fields__}


@contextmanager
def _scratch(dataset: Path) -> Iterator[Path]:
    """A place beside the dataset where archives may be unpacked; `staged_folder` removes those of killed processes."""
    import os

    folder = Path(os.path.realpath(dataset))
    folder = folder.with_name(f".{folder.name}.partial-scratch-{os.getpid()}")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _survey(source: Path, dataset: Path, scratch: Path, options: Options, say: Say) -> _Survey:
    layout = _find(source, dataset, scratch, options, say)
    options.check_against(layout)
    chosen, mask_names = choose_domains(layout.entries, names(options.domains), names(options.masks), say)
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
    return _Survey(layout, visits, plan, outcome, warnings)


def _make(found: _Survey, dataset: Path, options: Options, state: State, overwrite: bool, say: Say) -> None:
    """The second pass."""
    plan, outcome = found.plan, found.outcome
    workers = default_workers() if options.workers is None else options.workers
    with (new_dataset(dataset, (options.size, options.size), plan.channels, plan.dtype, overwrite) as writer,
          staged_folder(private_path(dataset), overwrite=True, ours=is_private) as private):
        private.chmod(0o700)
        convert_visits(found.visits, plan, writer, outcome, workers, progress(len(found.visits), "visits", say),
                       lambda: _refuse_skipped(outcome.skipped, options.strict))
        content = finish(writer, outcome, plan, found.layout, options, _defaults(), found.warnings, say)
        write_private(private, plan.key, outcome)
        state.write(private, content)


def _find(source: Path, dataset: Path, scratch: Path, options: Options, say: Say) -> Layout:
    """The layout, said aloud, cut down to the classes asked for."""
    workers = default_workers() if options.workers is None else options.workers
    layout = find_layout(source, kind=options.layout, rules=options.domain, pattern=options.pattern,
                         subject_regex=options.subject_regex, split_by=options.split_by,
                         domains=names(options.domains) or (), allow_gaps=options.allow_gaps,
                         keep_derived=options.keep_derived, leave_out=[dataset], scratch=scratch, workers=workers,
                         say=say)
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


def _first_pass(source: Path, layout: Layout, domains: Sequence[str], masks: Sequence[str], options: Options,
                say: Say) -> tuple[list[Visit], Outcome]:
    """Scan the headers and bring the files together; what drops out is said and noted."""
    workers = default_workers() if options.workers is None else options.workers
    scanned, skipped = scan_files(layout.entries, options.axis, workers, progress(len(layout.entries), "headers", say))
    _refuse_skipped(skipped, options.strict)
    if not any(item.entry.domain in domains for item in scanned):
        name, reason = skipped[0] if skipped else ("", "no file has the domain")
        raise UserError(f"none of {counted(len(layout.entries), 'file')} can be read, for example {name}: {reason}",
                        where=source, fix="check that these are images and that they were copied whole")
    visits, left_out = (unpaired_visits(scanned, domains) if layout.unpaired else
                        group_visits(scanned, domains, masks, options.resample_to))
    if not visits:
        raise UserError(f"no subject has all of {', '.join(domains)}", where=source,
                        fix="add --unpaired, or prepare one domain alone with --domains NAME")
    left_out = [*layout.unmatched, *left_out]
    if left_out:
        name, reason = left_out[0]
        say(f"left out {counted(len(left_out), 'file')}, for example {name}: {reason.removeprefix('left out: ')}")
    _say_lacking(scanned, visits, domains, layout.unpaired, say)
    return visits, Outcome(skipped=skipped, left_out=left_out)


def _say_lacking(scanned: Sequence[Any], visits: Sequence[Visit], domains: Sequence[str], unpaired: bool,
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


def _refuse_skipped(skipped: Skipped, strict: bool) -> None:
    if strict and skipped:
        name, reason = skipped[0]
        more = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
        raise UserError(f"cannot be used: it {reason}{more}" if not reason.startswith(("the", "its")) else
                        f"cannot be used: {reason}{more}", where=name,
                        fix="mend or remove it, or leave --strict out to skip such files")


def progress(total: int, what: str, say: Say) -> Callable[[int], None]:
    """A function to call with the number done: it says a line now and then, when this takes long."""
    start = last = time.monotonic()

    def done_so_far(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_SECONDS and done < total:
            last = now
            say(f"{done} of {total} {what}, about {(now - start) / done * (total - done):.0f} s left")

    return done_so_far
