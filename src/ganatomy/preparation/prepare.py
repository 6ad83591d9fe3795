"""`ganatomy prepare`: from a folder of scans to a dataset folder.

Two passes: headers of all files first, which settles layout, domains, pixel size and channels; then the pixels, one
visit at a time. Dataset and private folder appear when whole.
"""

from __future__ import annotations

import inspect
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ganatomy.core.files import private_path, staged_folder
from ganatomy.core.text import counted, printable, typed
from ganatomy.data.dataset import Dataset, new_dataset
from ganatomy.data.geometry import Axis, Fit
from ganatomy.data.parallel import progress
from ganatomy.preparation.convert import convert_visits
from ganatomy.preparation.finish import finish_dataset
from ganatomy.preparation.options import Options, check_places
from ganatomy.preparation.private import collect_identifiers, is_private, write_private
from ganatomy.preparation.state import State, is_unchanged, read_state
from ganatomy.preparation.survey import Survey, make_survey, refuse_skipped
from ganatomy.sources.dicom import tags_of

Say = Callable[[str], None]


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
        found = make_survey(source, dataset, scratch, options, say)
        _make(found, source, dataset, options, state, overwrite, say)
    say(f"wrote {printable(str(dataset))}, with contact-sheet.png to look at")
    say(f"{printable(str(private_path(dataset)))} leads back to the patients: keep it apart, never share it")
    made = Dataset.open(dataset)
    learnable = [name for name in made.info.domains if made.rows(name, "train")]
    several = f" --domain {learnable[0]}" if len(made.info.domains) > 1 and learnable else ""
    say(f"next: ganatomy train {typed(dataset)} RUN{several}")
    return made


def survey(source: str | Path, dataset: str | Path | None = None, say: Say = lambda text: None,
           **options: Any) -> None:
    """Say what `prepare` would find and decide, from the headers alone; nothing is written.

    Args:
        source, dataset, options: as for `prepare`; the dataset's place matters only if it lies in the source.
        say: takes each line.

    Raises:
        UserError: what `prepare` would refuse up to there.
    """
    asked = Options(**{name: options.get(name, value) for name, value in _defaults().items()})
    with TemporaryDirectory() as scratch:
        source, dataset = check_places(source, Path(scratch) / "dataset" if dataset is None else dataset)
        found = make_survey(source, dataset, Path(scratch) / "unpacked", asked, say)
    for text in found.warnings:
        say(f"warning: {text}")
    slices = sum(len(visit.slices) for visit in found.visits)
    subjects = counted(len({visit.subject for visit in found.visits}), "subject")
    say(f"{counted(len(found.visits), 'visit')} of {subjects} with up to {counted(slices, 'slice')} would be prepared; "
        "nothing was written")


def _defaults() -> dict[str, Any]:
    """The options that shape a dataset, and their defaults."""
    parameters = inspect.signature(prepare).parameters
    return {name: {} if name == "domain" else parameters[name].default for name in Options.__dataclass_fields__}


@contextmanager
def _scratch(dataset: Path) -> Iterator[Path]:
    """A place beside the dataset where archives may be unpacked; `staged_folder` removes those of killed processes."""
    folder = Path(os.path.realpath(dataset))
    folder = folder.with_name(f".{folder.name}.partial-scratch-{os.getpid()}")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make(found: Survey, source: Path, dataset: Path, options: Options, state: State, overwrite: bool,
          say: Say) -> None:
    """The second pass."""
    plan, outcome = found.plan, found.outcome
    with (new_dataset(dataset, (options.size, options.size), plan.channels, plan.dtype, overwrite) as writer,
          staged_folder(private_path(dataset), overwrite=True, ours=is_private) as private):
        private.chmod(0o700)
        convert_visits(found.visits, plan, writer, outcome, options.processes,
                       progress(len(found.visits), "visits", say),
                       lambda: refuse_skipped(outcome.skipped, options.strict))
        content = finish_dataset(writer, outcome, plan, found.layout, options, _defaults(), found.warnings, say)
        write_private(private, plan.key, outcome, _identifiers(found, source))
        state.write(private, content)


def _identifiers(found: Survey, source: Path) -> set[tuple[str, str]]:
    """What names patients: the audit looks for it."""
    layout = found.layout
    if not layout.identifiers:  # DICOM files may have come by a table or a pattern, too
        listed = {item.entry.path for visit in found.visits for files in visit.files.values()
                  for item in files.values() if item.header.modality}
        layout = replace(layout, identifiers=tags_of(listed))
    return collect_identifiers(layout, source, found.outcome.origins)
