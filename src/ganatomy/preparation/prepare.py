"""`ganatomy prepare`: from a folder of scans to a dataset folder.

Two passes: headers of all files first (`headers`), which settles layout, domains, pixel size and channels; then the
pixels, one visit at a time (`convert`). Dataset and private folder appear when whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from ganatomy.core.errors import UserError
from ganatomy.core.files import private_path, scratch_folder, staged_folder
from ganatomy.core.recipe import OWN
from ganatomy.core.text import counted, printable, typed
from ganatomy.data.dataset import Dataset, DatasetWriter, is_dataset
from ganatomy.data.parallel import progress
from ganatomy.preparation import private
from ganatomy.preparation.convert import convert_visits
from ganatomy.preparation.finish import finish_dataset
from ganatomy.preparation.headers import make_survey
from ganatomy.preparation.options import Options, describe_options

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
    source, dataset = _places(source, dataset)
    private_folder, shown = private_path(dataset), printable(str(dataset))
    state = private.read_state(source, dataset, chosen)
    if not overwrite and private.is_unchanged(dataset, state):
        say(f"{shown} holds these files with these options already, and none has changed; nothing to do")
        return Dataset.open(dataset)
    private.refuse_taken(dataset, state, overwrite)
    if source.resolve() in dataset.resolve().parents:
        say("warning: DATASET and its private folder lie within SOURCE: whoever copies the one copies the others")
    with (staged_folder(dataset, overwrite, lambda folder: is_dataset(folder, "real")) as stage,
          staged_folder(private_folder, overwrite=True, ours=private.is_private) as folder):
        unpacked = stage.with_name(f"{stage.name}.unpacked")  # of archives
        cohort = make_survey(source, dataset, unpacked, chosen, private.read_key(dataset), say)
        plan = cohort.plan
        folder.chmod(0o700)
        with closing(DatasetWriter(stage, (chosen.size, chosen.size), plan.channels, plan.dtype)) as writer:
            notes = convert_visits(cohort, writer, chosen, progress(len(cohort.visits), "visits", say))
            content = finish_dataset(writer, notes, cohort, chosen, say)
        private.write_private(folder, cohort, notes, source)
        private.write_state(folder, state, content)
    say(f"wrote {shown}, with contact-sheet.png to look at")
    say(f"{printable(str(private_folder))} leads back to the patients: keep it apart, never share it")
    written = Dataset.open(dataset)
    learnable = [name for name in written.info.domains if written.rows(name, "train")]
    several = f" --domain {learnable[0]}" if len(written.info.domains) > 1 and learnable else ""
    fitting = f" --set size={chosen.size}" if chosen.size % min(OWN) else ""
    say(f"next: ganatomy train {typed(dataset)} RUN{several}{fitting}")
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
    with scratch_folder() as scratch:
        source, dataset = _places(source, scratch / "dataset" if dataset is None else dataset)
        result = make_survey(source, dataset, scratch / "unpacked", chosen, b"", say)
    for text in result.warnings:
        say(f"warning: {text}")
    slices = sum(len(visit.slices) for visit in result.visits)
    subjects = counted(len({visit.subject for visit in result.visits}), "subject")
    say(f"{counted(len(result.visits), 'visit')} of {subjects} with up to {counted(slices, 'slice')} would be "
        "prepared; nothing was written")


def _places(source: str | Path, dataset: str | Path) -> tuple[Path, Path]:
    """Both as paths, the dataset's with a name.

    Raises:
        UserError: they are no paths, or the dataset would be written over the source.
    """
    for name, given, longest in (("SOURCE", source, 255), ("DATASET", dataset, LONGEST_NAME)):
        if not isinstance(given, str | os.PathLike) or not os.fspath(given):
            raise UserError(f"{given!r} is no path", where=name, fix="give a folder")
        sizes = [len(os.fsencode(part)) for part in Path(given).parts]
        if sizes and (sizes[-1] > longest or max(sizes) > 255):
            raise UserError("this name is too long", where=name, fix=f"use at most {longest} bytes")
    source, dataset = Path(source), Path(dataset)
    try:
        here, there = source.resolve(), dataset.resolve()
        broken = dataset.is_symlink() and not dataset.exists()
    except (OSError, RuntimeError, ValueError):
        broken = True
    if broken:
        raise UserError("one of these cannot be used as a path: a zero byte, or a link that leads nowhere",
                        where=f"{source}, {dataset}", fix="check both, or choose others")
    if there == here or there in here.parents:
        raise UserError("the dataset would take the place of the source", where=dataset, fix="choose another folder")
    return source, there if dataset.name in ("", "..") else dataset
