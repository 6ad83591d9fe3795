"""`ganatomy prepare`: from a folder of scans to a dataset folder.

Two passes: headers of all files first (`headers`), which settles layout, domains, pixel size and channels; then the
pixels, one visit at a time (`convert`). Dataset and private folder appear when whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ganatomy.core.errors import UserError
from ganatomy.core.files import private_path, staged_folder
from ganatomy.core.text import counted, printable, typed
from ganatomy.data.dataset import Dataset, new_dataset
from ganatomy.data.parallel import progress
from ganatomy.preparation.convert import Notes, convert_visits
from ganatomy.preparation.finish import finish_dataset
from ganatomy.preparation.headers import Survey, make_survey, refuse_skipped
from ganatomy.preparation.options import Options, describe_options
from ganatomy.preparation.private import (
    State,
    collect_identifiers,
    is_private,
    is_unchanged,
    read_key,
    read_state,
    write_private,
)
from ganatomy.sources.dicom import tags_of

Say = Callable[[str], None]
LONGEST_NAME = 200
"""Bytes of the dataset's name, which others beside it begin with; file systems take 255."""


def prepare(source: str | Path, dataset: str | Path, *, say: Say = lambda text: None, overwrite: bool = False,
            **options: Any) -> Dataset:
    """Make a dataset folder from DICOM, NIfTI, NRRD, MetaImage, PNG, JPEG, TIFF, npy or npz files.

    Run again with nothing changed, it does nothing and tells so.

    Args:
        source: a folder, a CSV file with the columns path and subject, or an npz or npy file.
        dataset: the folder to write; DATASET.private appears beside it and must not travel with it.
        say: takes each line for the user.
        overwrite: replace an existing dataset.
OPTIONS

    Returns:
        The dataset, opened.

    Raises:
        UserError: anything about the input that must be mended; nothing is left behind then.

    Example:
        >>> dataset = ganatomy.prepare("scans", "dataset", size=32, domains=["T1", "T2"])
        >>> dataset.info.domains, dataset.info.classes
        (('T1', 'T2'), ('healthy', 'lesion'))
    """
    chosen = Options.of(**options)
    source, dataset = check_places(source, dataset)
    state = read_state(source, dataset, chosen)
    if not overwrite and is_unchanged(dataset, state):
        say(f"{printable(str(dataset))} holds these files with these options already, and none has changed; nothing to "
            "do")
        return Dataset.open(dataset)
    state.refuse_occupied(dataset, overwrite)
    if source.resolve() in dataset.resolve().parents:
        say("warning: DATASET and its private folder lie within SOURCE: whoever copies the one copies the others")
    folder = Path(os.path.realpath(dataset))
    # beside the dataset, where archives may be unpacked; `staged_folder` removes those of killed processes
    scratch = folder.with_name(f".{folder.name}.partial-scratch-{os.getpid()}")
    try:
        survey = make_survey(source, dataset, scratch, chosen, read_key(dataset), say)
        _write(survey, source, dataset, chosen, state, overwrite, say)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    say(f"wrote {printable(str(dataset))}, with contact-sheet.png to look at")
    say(f"{printable(str(private_path(dataset)))} leads back to the patients: keep it apart, never share it")
    written = Dataset.open(dataset)
    learnable = [name for name in written.info.domains if written.rows(name, "train")]
    several = f" --domain {learnable[0]}" if len(written.info.domains) > 1 and learnable else ""
    say(f"next: ganatomy train {typed(dataset)} RUN{several}")
    return written


prepare.__doc__ = (prepare.__doc__ or "").replace("OPTIONS", describe_options())


def survey(source: str | Path, dataset: str | Path | None = None, say: Say = lambda text: None,
           **options: Any) -> None:
    """Tell what `prepare` would decide, from the headers alone; nothing is written.

    Args:
        source, dataset, options: as for `prepare`; the dataset's place matters only if it lies in the source.
        say: takes each line.

    Raises:
        UserError: what `prepare` would refuse up to there.
    """
    chosen = Options.of(**options)
    with TemporaryDirectory() as scratch:
        source, dataset = check_places(source, Path(scratch) / "dataset" if dataset is None else dataset)
        result = make_survey(source, dataset, Path(scratch) / "unpacked", chosen, b"", say)
    for text in result.warnings:
        say(f"warning: {text}")
    slices = sum(len(visit.slices) for visit in result.visits)
    subjects = counted(len({visit.subject for visit in result.visits}), "subject")
    say(f"{counted(len(result.visits), 'visit')} of {subjects} with up to {counted(slices, 'slice')} would be "
        "prepared; nothing was written")


def _write(survey: Survey, source: Path, dataset: Path, options: Options, state: State, overwrite: bool,
           say: Say) -> None:
    """The second pass, and the private folder."""
    plan, layout = survey.plan, survey.layout
    notes = Notes(skipped=survey.skipped, left_out=survey.left_out)
    with (new_dataset(dataset, (options.size, options.size), plan.channels, plan.dtype, overwrite) as writer,
          staged_folder(private_path(dataset), overwrite=True, ours=is_private) as private):
        private.chmod(0o700)
        convert_visits(survey.visits, plan, writer, notes, options.processes,
                       progress(len(survey.visits), "visits", say),
                       lambda: refuse_skipped(notes.skipped, options.strict))
        content = finish_dataset(writer, notes, plan, layout, options, survey.warnings, say)
        if not layout.identifiers:  # DICOM files may have come by a table or a pattern, too
            listed = {item.entry.path for visit in survey.visits for files in visit.files.values()
                      for item in files.values() if item.header.modality}
            layout = replace(layout, identifiers=tags_of(listed))
        write_private(private, plan.key, notes.origins, [*notes.skipped, *notes.left_out],
                      collect_identifiers(layout, source, notes.origins))
        state.write(private, content)


def check_places(source: str | Path, dataset: str | Path) -> tuple[Path, Path]:
    """Both as paths, the dataset's with a name.

    Raises:
        UserError: they are no paths, or the dataset would be written over the source.
    """
    for name, given in (("SOURCE", source), ("DATASET", dataset)):
        if not isinstance(given, str | os.PathLike) or not os.fspath(given):
            raise UserError(f"{given!r} is no path", where=name, fix="give a folder")
    source, dataset = Path(source), Path(dataset)
    try:
        _check_names(source, dataset)
        if dataset.name in ("", ".."):
            dataset = dataset.resolve()
        _refuse_own_place(source, dataset)
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it holds a zero byte or links in a circle"
        raise UserError(f"one of these cannot be used as a path: {reason}", where=f"{source}, {dataset}",
                        fix="check both, or choose others") from error
    return source, dataset


def _check_names(source: Path, dataset: Path) -> None:
    for name, path, longest in (("SOURCE", source, 255), ("DATASET", dataset, LONGEST_NAME)):
        if len(os.fsencode(path.name)) > longest or any(len(os.fsencode(part)) > 255 for part in path.parts):
            raise UserError("this name is too long", where=name, fix=f"use at most {longest} bytes")
        if path.is_symlink() and not path.exists():
            raise UserError("is a link that leads nowhere", where=path, fix="give the folder itself")


def _refuse_own_place(source: Path, dataset: Path) -> None:
    here, there = source.resolve(), dataset.resolve()
    if there == here or there in here.parents:
        raise UserError("the dataset would take the place of the source", where=dataset, fix="choose another folder")
