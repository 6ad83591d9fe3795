"""The run folder: the only place that knows its paths, and the only one that writes its small files."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError

from ganatomy.core.errors import UserError
from ganatomy.core.files import (
    atomic_path,
    claimed,
    disk_errors,
    private_folder,
    private_path,
    record_command,
    recorded_commands,
    write_json,
    write_text,
)
from ganatomy.core.reading import Bounded, Record, Whole, faults, read_json, reading
from ganatomy.core.recipe import Recipe, differences, parse, text

if TYPE_CHECKING:
    import torch

CHECKPOINT_VERSION = 1
KEEP_CHECKPOINTS = 2
RECIPE_FILE = "recipe.yaml"
_AGAIN = "train again in another folder"
Seconds = Annotated[float, Field(ge=0, le=1e12)]


class Status(Record):
    """status.json: where a training stands."""

    state: Literal["new", "running", "interrupted", "stopped", "finished"] = "new"
    step: Whole = 0
    steps: Whole | None = None
    seconds: Seconds | None = None
    selected_step: Whole | None = None
    message: str = ""


class Environment(Record):
    """environment.json: what a result depends on besides data and recipe."""

    python: str = ""
    system: str = ""
    device: str = ""
    device_type: str = ""
    threads: Whole | None = None
    processes: Whole | None = None
    precision: str = ""
    packages: dict[str, str] = Field(default_factory=dict)


class Logged(Record):
    """A line of log.jsonl; `kind` is train, epoch or validation."""

    model_config = ConfigDict(extra="allow")

    kind: str = ""
    features: str = "Lite0"
    step: Whole
    epoch: Whole | None = None
    seconds: Seconds | None = None
    images_per_second: Bounded | None = None
    losses: dict[str, Bounded] = Field(default_factory=dict)
    kd: Bounded | None = None
    fd: Bounded | None = None
    critic_js: Bounded | None = None


class _LearntFrom(Record):
    """RUN/dataset.json."""

    content: str


class _Place(Record):
    """RUN.private/dataset.json."""

    path: str


class Damaged(UserError):
    """A checkpoint that cannot be used, or not in this run."""


class Average(Record):
    """The weight average in a checkpoint."""

    weights: dict[str, Any]
    seen: Whole


class Best(Record):
    """The best checkpoint so far."""

    step: Whole
    score: Bounded
    tie: Bounded | None = None


class Checkpoint(Record):
    """What a checkpoint holds; see `training.state.TrainingState`. Dictionaries of `Any` are of tensors."""

    model: dict[str, Any]
    optimiser_g: dict[str, Any]
    optimiser_d: dict[str, Any]
    ema: Average | None
    step: Whole
    seconds: Seconds
    best: Best | None
    scored: Whole | None
    notes: dict[str, Any]
    channels: Literal[1, 3]
    recipe: Recipe | None = None  # which checkpoints of before did not name
    epoch_sums: dict[str, Any] = Field(default_factory=dict)
    epoch_steps: Whole = 0


class Run:
    """Paths and small files of one training; beside it RUN.private/, which must not travel.

    That holds the path of the dataset, which may name a person, and real images: progress pictures, what --debug keeps.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.recipe_file = self.path / RECIPE_FILE
        self.environment_file = self.path / "environment.json"
        self.status_file = self.path / "status.json"
        self.commands_file = self.path / "commands.json"
        self.log_file = self.path / "log.jsonl"
        self.metrics_file = self.path / "metrics.json"
        self.map_file = self.path / "map.json"
        self.report_file = self.path / "report.html"
        self.generator = self.path / "generator"
        self.samples = self.path / "samples"
        self.losses_file = self.path / "losses.csv"
        self.loss_plot = self.path / "loss_plot.png"
        self.debug = self.path / "debug"
        self.private_debug = private_path(self.path) / "debug"
        self.private_progress = private_path(self.path) / "progress"
        self._checkpoints = self.path / "checkpoints"

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def __fspath__(self) -> str:
        return str(self.path)  # what `train` returns can be given to the next verb

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """A run that exists. Raises `UserError` if the folder is missing or is no run folder."""
        run = cls(path)
        if not run.recipe_file.is_file():
            what = "is not a run folder (it has no recipe.yaml)" if run.path.is_dir() else "there is no such folder"
            raise UserError(what, where=run.path, fix="train one with `ganatomy train DATASET RUN`")
        return run

    @classmethod
    def is_run(cls, path: str | Path) -> bool:
        """Whether the folder looks like a run."""
        return (Path(path) / RECIPE_FILE).is_file()  # asked of any folder, of the root too, which no run can be

    def recipe(self) -> Recipe:
        """The recipe this run was started with."""
        return parse(text(str(self.recipe_file)), where=self.recipe_file)

    def check(self, recipe: Recipe, dataset_content: str) -> None:
        """Raise `UserError` if `start` would refuse this recipe and dataset: the folder is another run's, or none's."""
        if self.recipe_file.is_file():
            self._refuse_difference(recipe, dataset_content)
        elif self.path.exists() and not (self.path.is_dir() and all(
                p.name == "dataset.json" or p.name.startswith(".") for p in self.path.iterdir())):
            # a start that was killed early can have left no more than that
            raise UserError("exists and is not a run folder", where=self.path, fix="choose another folder")

    def start(self, recipe: Recipe, dataset: Path, dataset_content: str) -> None:
        """Make the folder, or check that an existing one was started with this recipe on this dataset.

        Raises `UserError` for another recipe (naming the keys that differ), another dataset, or a folder that is no
        run.
        """
        self.check(recipe, dataset_content)
        private = private_folder(self.path)  # first: its name is longer, and can be too long
        # the recipe comes first after the dataset's hash: killed in between, the folder can still be started again
        if not self.recipe_file.is_file():
            write_json(self.path / "dataset.json", {"content": dataset_content})
            write_text(self.recipe_file, recipe.to_yaml())
        with disk_errors(self.path):
            self._checkpoints.mkdir(exist_ok=True)
            self.samples.mkdir(exist_ok=True)
        write_json(private / "dataset.json", {"path": str(dataset.resolve())}, mode=0o600)

    def _refuse_difference(self, recipe: Recipe, dataset_content: str) -> None:
        kept = self.recipe()
        changes = differences(kept, recipe)
        if changes and recipe.budget is not None and kept.budget is None:  # where it once ended a training by the clock
            raise UserError(f"was started without a budget, or by a ganatomy that ended it by the clock: {changes}",
                            where=self.path, fix=f"resume it by its length (--steps {kept.steps or 'N'}), or choose "
                            "another run folder")
        if changes:
            raise UserError(f"was started with another recipe: {changes}", where=self.path,
                            fix="use the same settings to resume; to change or lengthen it, choose another run folder")
        if self.dataset_content() != dataset_content:
            raise UserError("was started on another dataset, or the dataset has changed since", where=self.path,
                            fix="give the dataset it was started on, or choose another run folder")

    def dataset_content(self) -> str:
        """The content hash of the dataset this run learns from."""
        return read_json(self.path / "dataset.json", _LearntFrom, _AGAIN).content

    def dataset_path(self) -> Path:
        """Where the dataset was when the run was last started. Raises `UserError` if that is not known or gone."""
        note = private_path(self.path) / "dataset.json"
        if not note.is_file():
            raise UserError("does not know where its dataset is (the folder RUN.private was left behind)",
                            where=self.path, fix="name the dataset with --data DATASET")
        path = Path(read_json(note, _Place, "name the dataset with --data DATASET").path)
        if not os.path.isdir(path):  # noqa: PTH112 - a name that no file system can have is none either
            raise UserError("the dataset of this run is no longer where it was", where=path,
                            fix="name its new place with --data DATASET")
        return path

    def status(self) -> dict[str, Any]:
        """status.json: state (running, interrupted, stopped or finished), step, steps, and a message."""
        if not self.status_file.is_file():
            return {"state": "new", "step": 0}
        status = read_json(self.status_file, Status, "remove it and run the same `ganatomy train` command again")
        return {"state": status.state, "step": status.step} | status.model_dump(exclude_unset=True)

    def environment(self) -> Environment | None:
        """environment.json; None where there is none."""
        fix = "remove it: only the report shows it"
        return read_json(self.environment_file, Environment, fix) if self.environment_file.is_file() else None

    def write_status(self, state: str, step: int, **more: Any) -> None:
        """Write status.json."""
        write_json(self.status_file, {"state": state, "step": step, **more})

    def record_command(self, command: str) -> None:
        """Keep a command that wrote a part of this run (see `text.command_line`), in the place of its verb's last."""
        record_command(self.commands_file, command)

    def commands(self) -> list[str]:
        """The commands that wrote this run, one a verb, in the order of their first use; none of a run of old."""
        return recorded_commands(self.commands_file)

    def checkpoint(self, step: int) -> Path:
        """Path of the checkpoint of a step."""
        return self._checkpoints / f"step-{step:06d}.pt"

    def checkpoints(self) -> list[Path]:
        """The checkpoints there are, oldest first."""
        paths = (p for p in self._checkpoints.glob("step-*.pt") if checkpoint_step(p) >= 0)
        return sorted(paths, key=checkpoint_step)

    def read_checkpoint(self, path: Path, device: torch.device) -> Checkpoint:
        """A checkpoint of this run, its tensors on `device`; nothing in the file is executed.

        Raises:
            Damaged: the file is damaged, of another training or step, or of another version of ganatomy.
            UserError: it cannot be read now; it may be sound.
            MemoryError, torch.OutOfMemoryError: as they come.
        """
        state = _read_checkpoint(path, device)
        if state.step != checkpoint_step(path):
            raise Damaged(f"this checkpoint is of step {state.step}", where=path, fix="give it its own name again")
        dataset = state.notes.get("dataset", self.dataset_content())
        self.refuse_foreign("checkpoint", path, state.recipe or self.recipe(), dataset, Damaged)
        return state

    def refuse_foreign(self, what: str, path: Path, recipe: Recipe, dataset: str,
                       kind: type[UserError] = UserError) -> None:
        """Raise `kind` if a checkpoint or generator in this run was trained by another recipe or on other data."""
        changes = differences(self.recipe(), recipe)
        if not changes and dataset != self.dataset_content():
            changes = "the dataset differs"
        if changes:
            raise kind(f"this {what} is of another training: {changes}", where=path,
                       fix="put the run's own back, or train again in another folder")

    def prune_checkpoints(self, keep: int | None) -> None:
        """Remove all but the newest two checkpoints and that of step `keep`."""
        for path in self.checkpoints()[:-KEEP_CHECKPOINTS]:
            if checkpoint_step(path) != keep:
                path.unlink()

    def append_log(self, entries: list[dict[str, Any]]) -> None:
        """Append lines to log.jsonl; each has a `step`."""
        with disk_errors(self.log_file), self.log_file.open("a", encoding="utf-8") as handle:
            handle.writelines(json.dumps(entry, allow_nan=False) + "\n" for entry in entries)

    def log(self) -> list[dict[str, Any]]:
        """The lines of log.jsonl, see `Logged`; one that was cut short by a kill, or is none, is left out."""
        entries = []
        if self.log_file.is_file():
            with reading(self.log_file):
                lines = self.log_file.read_bytes().splitlines()
            for line in lines:
                with suppress(ValidationError):
                    entries.append(Logged.model_validate_json(line, strict=True).model_dump(exclude_unset=True))
        return entries

    def cut_back(self, step: int) -> None:
        """Forget log lines, sample grids and temporary files later than the checkpoint of `step`."""
        lines = [json.dumps(entry) + "\n" for entry in self.log() if entry["step"] <= step]
        write_text(self.log_file, "".join(lines))
        for picture in (*self.samples.glob("step-*.png"), *self.private_progress.glob("step-*.png")):
            if checkpoint_step(picture) > step:
                picture.unlink()
        for left in (*self.path.rglob(".*.partial*"), *private_path(self.path).rglob(".*.partial*")):
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink(missing_ok=True)  # it went with the folder that it was in

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this process. Raises `UserError` if another training is writing to it."""
        with claimed(self.path, "another training is writing to this run folder"):
            yield


def checkpoint_step(path: Path) -> int:
    """The step in a file name such as step-000200.pt; -1 in any other."""
    number = path.stem.removeprefix("step-")
    return int(number) if number.isdecimal() else -1


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers and containers of them, atomically."""
    import torch

    buffer = io.BytesIO()  # torch.save would report a full disk as an error of its own kind
    torch.save({"schema_version": CHECKPOINT_VERSION, **state}, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def _read_checkpoint(path: Path, device: torch.device) -> Checkpoint:
    import torch

    from ganatomy.core.hardware import all_finite

    with reading(path, "move it away, or make it readable, and run the same command again"):
        data = path.read_bytes()
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
        version = state["schema_version"]
        if version == CHECKPOINT_VERSION:
            checkpoint = Checkpoint.model_validate(state)
            learnt = [*checkpoint.model.values(), *(checkpoint.ema.weights.values() if checkpoint.ema else ())]
            if not all_finite(learnt):
                raise ValueError("its weights hold NaN or infinity")
            return checkpoint
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a damaged file can raise nearly anything here
        raise damaged(path, error) from error
    raise Damaged(f"this checkpoint has schema version {version}, this ganatomy reads {CHECKPOINT_VERSION}",
                  where=path, fix="go on with the ganatomy that wrote it, or train again in another folder")


def damaged(path: Path, error: Exception) -> Damaged:
    """The error for a checkpoint that cannot be used."""
    why = faults(error) if isinstance(error, ValidationError) else " ".join(str(error).split())[:120]
    return Damaged(f"this checkpoint is damaged ({why})", where=path,
                   fix="move the run folder away and train again")
