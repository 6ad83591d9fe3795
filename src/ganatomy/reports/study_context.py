"""A finished study, read once for its report: its results, of the shape that the report needs, and its warnings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ganatomy.core.errors import UserError
from ganatomy.core.files import read_json
from ganatomy.core.text import counted, listed
from ganatomy.studies.cell_gans import light_of
from ganatomy.studies.folder import StudyFolder
from ganatomy.studies.protocol import StudySettings
from ganatomy.studies.results import SCHEMA_VERSION

TO_ITS_END = "run `ganatomy study DATASET STUDY` to its end, then report again"
Number = Annotated[float, Field(allow_inf_nan=False)]
Interval = Annotated[list[Number], Field(min_length=2, max_length=2)]


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Answer(_Shape):
    verdict: str
    sentence: str
    why: list[str]


class _Score(_Shape):
    arm: str
    k: int | None
    metric: str
    better: str
    value: Number | None
    interval: Interval | None
    floor: Number | None


class _Contrast(_Shape):
    treatment: str
    reference: str
    metric: str
    k: int | None
    difference: Number | None
    interval: Interval | None
    p: Number | None
    p_holm: Number | None
    floor: Number | None
    answer: str | None
    primary: bool
    sentence: str


class _Control(_Shape):
    treatment: str
    says: str
    as_expected: bool


class _Part(_Shape):
    """Of one set of test images."""

    answer: _Answer
    scores: list[_Score]
    contrasts: list[_Contrast]
    controls: list[_Control] = []
    n_images: int
    n_subjects: int
    n_positive_subjects: dict[str, int]
    per_subject: dict[str, dict[str, Number | None]] | None = None


class _Value(_Shape):
    name: str
    against: str
    value: Number | None
    interval: Interval | None = None
    floor: Number | None = None
    ratio: Number | None = None


class _Audit(_Shape):
    cell: str
    k: int
    fold: int
    seed: int
    label: str
    training_subjects: int
    results: list[_Value]
    copies: dict[str, str | None]


class _Results(_Part):
    arms: list[str]
    ks: list[int]
    audits: list[_Audit]
    external: _Part | None


@dataclass(frozen=True)
class StudyContext:
    """A finished study.

    Attributes:
        folder: its folder.
        settings: its protocol.
        results: results.json.
        say: called with progress messages.
    """

    folder: StudyFolder
    settings: StudySettings
    results: dict[str, Any]
    say: Callable[[str], None]

    @classmethod
    def of(cls, folder: StudyFolder, say: Callable[[str], None]) -> StudyContext:
        """Read a study. Raises `UserError` if it is not finished, or a file in it is broken."""
        settings = folder.settings()
        return cls(folder, settings, read_results(folder, settings), say)

    @property
    def audits(self) -> list[dict[str, Any]]:
        """The audits of its GANs, in the order of k, fold and seed."""
        return sorted(self.results["audits"], key=lambda a: (a["k"], a["fold"], a["seed"], a["label"]))

    @property
    def lights(self) -> dict[str, int]:
        """How many GANs have which light."""
        own = [light_of(audit) for audit in self.audits]
        return {light: own.count(light) for light in ("green", "amber", "red", "grey")}

    @property
    def one_class(self) -> bool:
        """Whether there is one class with synthetic images, which need not be named."""
        return len(self.settings.positives) == 1

    @property
    def positives(self) -> str:
        """The rare classes in words."""
        return listed(self.settings.positives)


def read_results(folder: StudyFolder, settings: StudySettings) -> dict[str, Any]:
    """results.json.

    Raises:
        UserError: there are none yet, cells are not done, or results.json is broken or of another study.
    """
    if not folder.results_file.is_file():
        raise UserError("has no results yet", where=folder.path, fix=TO_ITS_END)
    if folder.cells.is_dir():  # a study may be passed on without its cells, which hold images of patients
        left = [c for c in folder.all_cells() if not folder.cell(c).is_done()]
        if left:
            raise UserError(f"{counted(len(left), 'cell')} not done, the first is {left[0].name}", where=folder.path,
                            fix=TO_ITS_END)
    results = read_json(folder.results_file)
    if not isinstance(results, dict) or results.get("schema_version") != SCHEMA_VERSION:
        raise UserError("is not of a study that this ganatomy can read", where=folder.results_file, fix=TO_ITS_END)
    try:
        _Results.model_validate(results)
        of = StudySettings.model_validate(results.get("settings"))
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise UserError(f"is broken ({error.error_count()} faults, the first at {place})", where=folder.results_file,
                        fix=TO_ITS_END) from error
    about = folder.about()
    if of != settings or [results.get("dataset"), results.get("external_dataset")] != \
            [about["dataset"], about["external"]] or (results["external"] is None) != (about["external"] is None):
        raise UserError("is of another study than study.json: its settings or datasets differ",
                        where=folder.results_file, fix=TO_ITS_END)
    return results
