"""The study folder: the only place that knows its paths."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from ganatomy import __version__
from ganatomy.core.errors import UserError
from ganatomy.core.files import (
    claimed,
    disk_errors,
    file_sha256,
    private_folder,
    private_path,
    write_csv,
    write_json,
    write_text,
)
from ganatomy.core.reading import FileName, Record, read_csv, read_json, reading
from ganatomy.core.recipe import Frozen, differences
from ganatomy.data.dataset import Dataset
from ganatomy.studies.folds import Place
from ganatomy.studies.protocol import StudySettings

ATTEMPTS = 3  # at a cell whose process is killed
REMOVE_CELL = "remove this cell's folder and run the study again"
_FOLDS = ("subject", "fold", "half")
_OTHER = "start the study again in another folder"
_LEFT_OVER = re.compile(r"folds\.csv$|\.(folds\.csv|study\.json)\.(lock|partial-[0-9a-f]+)$")  # by a killed start


@contextmanager
def mended(where: str | Path | None = None, fix: str | None = None) -> Iterator[None]:
    """What is refused in here lies at another place, or is mended in another way, than its reader knows."""
    try:
        yield
    except UserError as error:
        raise UserError(error.what, where=where or error.where, fix=fix or error.fix) from error


class CellTaken(UserError):
    """Another process holds a cell's lock: it is to be waited for."""


@dataclass(frozen=True, order=True)
class Cell:
    """One subset, its GANs and its classifiers: what a worker does in one go."""

    k: int
    fold: int
    seed: int

    @property
    def name(self) -> str:
        """Its folder's name."""
        return f"k{self.k:04d}-fold{self.fold}-seed{self.seed}"


def cells_of(settings: StudySettings) -> list[Cell]:
    """Every cell of a study, the smallest k first."""
    return [Cell(k, fold, seed) for k in settings.k for fold in range(settings.folds) for seed in range(settings.seeds)]


class About(Frozen):
    """What study.json holds; `dataset` and `external` are the SHA-256 of the datasets' content."""

    schema_version: Literal[1] = 1
    ganatomy: str = ""
    dataset: str
    external: str | None = None
    settings: StudySettings


class _Places(Record):
    """STUDY.private/datasets.json: where the datasets are."""

    dataset: str | None = None
    external: str | None = None


class _Done(Record):
    """What of a cell's done.json is read back: its files and the SHA-256 of each."""

    files: dict[FileName, str]


class StudyFolder:
    """Paths and small files of one study; beside it STUDY.private/ with the paths of the datasets.

    cells/ holds the images that the GANs learnt from: real patients.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.settings_file = self.path / "study.json"
        self.folds_file = self.path / "folds.csv"
        self.commands_file = self.path / "commands.json"
        self.cells = self.path / "cells"
        self.results_file = self.path / "results.json"
        self.table_file = self.path / "results.csv"
        self.report_file = self.path / "report.html"
        self.slurm_file = self.path / "slurm.sh"

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """An existing study. Raises `UserError` if the folder is none."""
        folder = cls(path)
        if not folder.exists():
            raise UserError("is not a study folder (it has no study.json)", where=folder.path,
                            fix="start one with `ganatomy study DATASET STUDY`")
        return folder

    def exists(self) -> bool:
        """Whether the study has been started."""
        return self.settings_file.is_file()

    def about(self) -> About:
        """study.json. Raises `UserError` if it is broken or of another version."""
        return read_json(self.settings_file, About, _OTHER, strict=None)

    def settings(self) -> StudySettings:
        """The protocol it was started with."""
        return self.about().settings

    def start(self, settings: StudySettings, places: Mapping[str, Place], dataset: Dataset,
              external: Dataset | None) -> None:
        """Make the folder. Raises `UserError` if another process has been quicker."""
        with claimed(self.path, "another process is beginning a study here"):
            if self.exists():
                raise UserError("another process has just begun a study here", where=self.path,
                                fix="run the command again to go on with it")
            self.note_datasets(dataset, external)
            write_csv(self.folds_file, [_FOLDS,
                                        *((s, p.fold, p.half) for s, p in sorted(places.items()))])
            about = About(ganatomy=__version__, dataset=dataset.info.content,
                          external=external.info.content if external else None, settings=settings)
            write_json(self.settings_file, about.model_dump(mode="json"))  # last: with it the study is there

    def refuse_occupied(self) -> None:
        """Raise `UserError` if something else than a study, or than what a killed start leaves, is there."""
        occupied = not self.path.is_dir() or any(not _LEFT_OVER.match(p.name) for p in self.path.iterdir())
        if self.path.exists() and occupied and not self.exists():
            raise UserError("exists and is not a study folder", where=self.path, fix="choose another folder")

    def note_datasets(self, dataset: Dataset, external: Dataset | None) -> None:
        """Keep where the datasets are, outside of what may travel."""
        paths = {"dataset": dataset, "external": external}
        write_json(private_folder(self.path) / "datasets.json",
                   {name: str(own.path.resolve()) if own else None for name, own in paths.items()}, mode=0o600)

    def path_of(self, name: Literal["dataset", "external"]) -> Path | None:
        """Where the dataset, or the external one, was when the study was last started; None if that is not known."""
        note = private_path(self.path) / "datasets.json"
        fix = "remove it and run `ganatomy study DATASET STUDY`"
        path = getattr(read_json(note, _Places, fix), name) if note.is_file() else None
        return None if path is None else Path(path)

    def open_dataset(self) -> Dataset:
        """The dataset of the study. Raises `UserError` if it is not known where that is."""
        path = self.path_of("dataset")
        if path is None:
            raise UserError("does not know where its dataset is", where=self.path,
                            fix="run `ganatomy study DATASET STUDY` to its end")
        return Dataset.open(path)

    def open_external(self, given: str | Path | None = None) -> Dataset | None:
        """The external dataset, from where it is given or was last; None in a study without. `UserError` if gone."""
        if self.about().external is None:
            return None
        path = Path(given) if given is not None else self.path_of("external")
        if path is None or not path.is_dir():
            raise UserError("does not know where its external dataset is now", where=self.path,
                            fix="name it with --external")
        return Dataset.open(path)

    def refuse_difference(self, settings: StudySettings, dataset: Dataset, external: Dataset | None) -> None:
        """Raise `UserError` if the study was started with other settings (naming the keys that differ) or data."""
        changes = differences(self.settings(), settings)
        if changes:
            raise UserError(f"was started with other settings: {changes}", where=self.path,
                            fix="leave the options out to go on with it, or choose another folder")
        for called, begun, given in (("dataset", self.about().dataset, dataset),
                                     ("external dataset", self.about().external, external)):
            if begun != (given.info.content if given else None):
                raise UserError(f"was started with another {called}, or the {called} has changed since",
                                where=self.path, fix="give the one it was started with, or choose another folder")

    def places(self) -> dict[str, Place]:
        """folds.csv. Raises `UserError` if it is broken."""
        head, lines = read_csv(self.folds_file, _OTHER)
        with reading(self.folds_file, _OTHER):
            if head != list(_FOLDS):
                raise ValueError(f"its columns are not {', '.join(_FOLDS)}")
            return {subject: Place(int(fold), int(half)) for subject, fold, half in lines}

    def cell(self, cell: Cell) -> CellFolder:
        return CellFolder(self.cells / cell.name)

    def all_cells(self) -> list[Cell]:
        return cells_of(self.settings())

    def cells_left(self) -> list[Cell]:
        """The cells that are not done, in the order in which they are begun."""
        return [c for c in self.all_cells() if not self.cell(c).is_done()]

    def failures(self) -> list[Cell]:
        """The cells that have failed, and are not to be begun again by a worker."""
        return [c for c in self.all_cells() if self.cell(c).failed_file.is_file()]


class CellFolder:
    """Paths of one cell: manifest.csv, a folder gan-<number of the class> for each GAN, arms/, done.json."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest_file = path / "manifest.csv"
        self.fresh_file = path / "fresh.csv"
        self.done_file = path / "done.json"
        self.log_file = path / "log.txt"
        self.failed_file = path / "failed.txt"  # why it failed
        self.attempts_file = path / "attempts.txt"  # how often it was begun, while one is at it or was killed

    def gan(self, number: int) -> GanFolder:
        """By the class's number."""
        return GanFolder(self.path / f"gan-{number}")

    def gans(self) -> list[GanFolder]:
        return [GanFolder(p) for p in sorted(self.path.glob("gan-*")) if p.is_dir()]

    def predictions(self, arm: str, external: bool = False) -> Path:
        """The file of an arm's predictions, on the held-out subjects or on the external set."""
        return self.path / ("external" if external else "arms") / f"{arm}.csv"

    def log(self, text: str) -> None:
        with disk_errors(self.log_file), self.log_file.open("a", encoding="utf-8") as handle:
            handle.write(f"{text}\n")

    def is_done(self) -> bool:
        """Whether everything in it is finished: done.json is there, and all the files that it lists."""
        try:
            return all((self.path / name).is_file() for name in self._hashes())
        except UserError:
            return False

    def note_done(self, files: Iterable[Path], **more: float) -> None:
        """Write done.json: the cell is finished; these are its files, with the SHA-256 of each."""
        hashes = {f.relative_to(self.path).as_posix(): file_sha256(f) for f in files}
        write_json(self.done_file, {**more, "files": hashes})

    def check_files(self) -> None:
        """Raise `UserError` if a file is not as it was when the cell was done."""
        for name, wanted in self._hashes().items():
            with reading(self.path / name, REMOVE_CELL):
                same = file_sha256(self.path / name) == wanted
            if not same:
                raise UserError("has been changed since its cell was done", where=self.path / name, fix=REMOVE_CELL)

    def _hashes(self) -> dict[str, str]:
        return read_json(self.done_file, _Done, REMOVE_CELL).files

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Claim the cell for this process. Raises `CellTaken` if another one is at it."""
        with claimed(self.path, "another process is at this cell", CellTaken), disk_errors(self.path):
            self.path.mkdir(exist_ok=True)
            yield

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """An attempt at this cell, which is counted until it ends by itself, well or not.

        Raises `UserError` if the processes that began it before have all been killed, and they were too many.
        """
        before = read_json(self.attempts_file, int, "remove it") if self.attempts_file.is_file() else 0
        if before >= ATTEMPTS:
            raise UserError(f"was begun {before} times, and each time its process was killed: memory may have run out",
                            where=self.path, fix="use fewer --workers, or a machine with more memory")
        write_text(self.attempts_file, f"{before + 1}\n")
        self.log(f"begun {time.strftime('%Y-%m-%d %H:%M:%S')}")
        try:
            yield
        finally:
            self.attempts_file.unlink(missing_ok=True)

    def begin_anew(self) -> None:
        """Forget that it failed, and how often it was begun."""
        for path in (self.failed_file, self.attempts_file):
            path.unlink(missing_ok=True)


class GanFolder:
    """Paths of one GAN of a cell: the images it learns from, its runs, its synthetic images, its audit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path / "data"
        self.synthetic = path / "synthetic"
        self.audit_file = path / "audit.json"

    def run(self, attempt: int) -> Path:
        """The run folder of an attempt, from 0."""
        return self.path / ("run" if attempt == 0 else f"run-again-{attempt}")

    def files(self) -> list[Path]:
        """What the study's answer rests on: its audit, the images it learnt from and those that it drew."""
        return [self.audit_file, *(p for folder in (self.data, self.synthetic) for p in sorted(folder.iterdir())
                                   if p.is_file())]
