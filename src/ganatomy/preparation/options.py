"""The options of `prepare`: each one once, with its meaning, its default and what is refused.

The command line builds its options from these fields, and `prepare` and `survey` take them as keywords.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import plain
from ganatomy.core.text import command_line
from ganatomy.data.geometry import MAX_SIZE, Axis, Fit, parse_slices
from ganatomy.data.manifest import SPLITS
from ganatomy.data.parallel import MOST_WORKERS, default_workers
from ganatomy.preparation.rules import parse_intensity
from ganatomy.sources.entry import safe_name

MIN_SIZE = 8
STAND_INS = {"pattern": "PATTERN", "subject-regex": "REGEX", "split-by": "COLUMN", "metadata": "FILE",
             "val-subjects": "IDS", "test-subjects": "IDS"}
LayoutName = Literal["auto", "csv", "folders", "bids", "sides", "side-by-side", "stacks", "dicom"]


def _as_names(given: Any) -> Any:
    """Names as a tuple, from a sequence or from "T1,T2"."""
    if isinstance(given, str):
        return tuple(part.strip() for part in given.split(",") if part.strip())
    return tuple(given) if isinstance(given, Sequence) else given


def _as_rules(given: Any) -> Any:
    """Name -> regular expression, from a mapping or from texts NAME=REGEX."""
    if isinstance(given, Mapping) or not isinstance(given, Sequence):
        return dict(given) if isinstance(given, Mapping) else given
    rules: dict[str, str] = {}
    for item in given:
        name, sign, expression = str(item).partition("=")
        if not sign or not name.strip() or not expression:
            raise UserError(f"{item!r} is not NAME=REGEX", where="--domain", fix="write such as T1='mprage|t1w'")
        if name.strip() in rules:
            raise UserError(f"{name.strip()} is given twice", where="--domain", fix="join both with |")
        rules[name.strip()] = expression
    return rules


def _as_shares(split: Any) -> tuple[float, ...]:
    """Shares of train, val and test, from "70,15,15" or three numbers; they add up to 1."""
    try:
        numbers = [float(part) for part in (split.split(",") if isinstance(split, str) else split)]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != 3 or not all(math.isfinite(n) and n >= 0 for n in numbers) or numbers[0] <= 0:
        raise UserError(f"{split!r} is no split", where="--split", fix="give shares of train,val,test such as 70,15,15")
    numbers = [number / max(numbers) for number in numbers]  # so that their sum is finite
    return tuple(number / sum(numbers) for number in numbers)


def _as_background(given: Any) -> float | str:
    try:
        value = "auto" if given == "auto" else float(given)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if value != "auto" and not math.isfinite(float(value)):
        raise UserError(f"{given!r} is no number", where="--background", fix="use auto or a value")
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_as_names)]


class Options(BaseModel):
    """What `prepare` may be asked for.

    Raises:
        UserError: by `of`, for an option that does not exist or a value that cannot be meant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    size: int = Field(128, ge=MIN_SIZE, le=MAX_SIZE, description="Pixels along each side of the stored images.")
    fit: Fit = Field("resize", description="How images come to that size: scaled, the cohort's largest field of view "
                     "just fits (resize); cut at the centre, the pixel size kept (crop); or padded, never cut (pad).")
    layout: LayoutName = Field("auto", description="What SOURCE is.")
    domain: Annotated[dict[str, str], BeforeValidator(_as_rules)] = Field(
        {}, description="Which series or files are this contrast: T1='mprage|t1w' is searched in descriptions (DICOM), "
        "BIDS entities or file names.")
    domains: Names | None = Field(None, description="Contrasts to keep, in order, such as T1,T2; all common ones "
                                  "unless given.")
    pattern: str | None = Field(None, description="Where files are, such as '{subject}/{subject}_{domain}.nii.gz'; "
                                "several with | between.")
    subject_regex: str | None = Field(None, description="Finds the patient in a file's path, such as 'pat(\\d+)': its "
                                      "group \"subject\", or 1, or the whole match.")
    yes: bool = Field(False, description="Take the likeliest reading where SOURCE could be read in several ways.")
    axis: Axis = Field("axial", description="Along which volumes are cut into slices.")
    slices: str = Field("content", description="content, all, or a range such as 60:120:2 (the end not included).")
    split: Annotated[tuple[float, ...], BeforeValidator(_as_shares)] = Field(
        _as_shares("70,15,15"), description="Shares of train, val, test subjects.")
    val_subjects: Names = Field((), description="These subjects, with commas between, are the validation set.")
    test_subjects: Names = Field((), description="These subjects are the test set.")
    split_by: str | None = Field(None, description="Column of the CSV that says train, val or test, or with groups "
                                 "that must not be parted.")
    metadata: Annotated[str | None, BeforeValidator(lambda f: str(f) if isinstance(f, Path) else f)] = Field(
        None, description="A table of labels, patients, splits or visits by the files' names or ids: FILE.csv, or "
        "FILE.csv:COLUMN with the column of the labels.")
    labels: Names = Field((), description="Keep only these classes, such as benign,malignant.")
    masks: Names | None = Field(None, description="Domains that are masks, not images; those called like one unless "
                                "given.")
    unpaired: bool = Field(False, description="Keep subjects that lack a domain; domains then are not paired.")
    resample_to: str | None = Field(None, description="Bring the other domains to this one's grid.")
    allow_gaps: bool = Field(False, description="Take DICOM series with missing slices, uneven gaps or gantry tilt.")
    keep_derived: bool = Field(False, description="Take derived DICOM images although their originals are there, and "
                               "what translate wrote.")
    intensity: str = Field("auto", description="auto, identity, percentile, minmax, window:brain, window:40/80 or "
                           "fixed:0:3000.")
    channels: Annotated[Literal["auto", "1", "3"], BeforeValidator(lambda n: str(n) if isinstance(n, int) else n)] = \
        Field("auto", description="auto stores colour where all images have it.")
    background: Annotated[float | str, BeforeValidator(_as_background)] = Field(
        "auto", description="Value around the patient, in the files' units.")
    spacing: float | None = Field(None, gt=0, allow_inf_nan=False,
                                  description="Wanted millimetres a pixel, with fit crop or pad.")
    seed: int = Field(0, description="Of the split and of the contact sheet's choice.")
    workers: int | None = Field(None, ge=1, le=MOST_WORKERS, description="Processes that read; one a core unless "
                                "given. The result does not depend on it.")
    strict: bool = Field(False, description="Refuse if any file cannot be read.")

    @classmethod
    def of(cls, **options: Any) -> Self:
        """The options of which some are given. Raises `UserError`, naming the option as the command line does."""
        try:
            return cls(**plain(options))
        except ValidationError as error:
            first = error.errors()[0]
            raise _refusal(str(first["loc"][0]), first) from error

    @model_validator(mode="after")
    def _agree(self) -> Self:
        parse_intensity(self.intensity)
        parse_slices(self.slices)
        for name in self.domain:
            if safe_name(name) != name:
                raise UserError(f"{name!r} cannot be part of a file's name", where="--domain",
                                fix=f"call it {safe_name(name)}")
        both = sorted(set(self.val_subjects) & set(self.test_subjects))
        if both:
            raise UserError(f"named both for val and for test: {', '.join(both[:5])}", where="--test-subjects",
                            fix="put every subject into one split")
        if self.resample_to is not None and self.unpaired:
            raise UserError("unpaired domains need no common grid", where="--resample-to", fix="leave one of both out")
        return self

    @property
    def processes(self) -> int:
        """How many of them read."""
        return default_workers() if self.workers is None else self.workers

    @property
    def shares(self) -> dict[str, float]:
        """Shares of train, val and test."""
        return dict(zip(SPLITS, self.split, strict=True))

    @property
    def level(self) -> float | None:
        """The background's value, None if it is to be measured."""
        return None if self.background == "auto" else float(self.background)

    @property
    def fixed(self) -> dict[str, str]:
        """Original subject -> val or test, where named."""
        return {**dict.fromkeys(self.val_subjects, "val"), **dict.fromkeys(self.test_subjects, "test")}

    def chosen(self) -> dict[str, Any]:
        """The options that shape a dataset and differ from their defaults, under their names on the command line.

        Of what could name patients or paths only the number, or that it was given. Fit for JSON.
        """
        out: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name in ("size", "workers", "strict") or value == field.default:
                continue
            if name in ("pattern", "subject_regex", "split_by", "metadata"):
                value = True
            elif name in ("val_subjects", "test_subjects"):
                value = len(value)
            elif name == "split":
                value = [round(share, 6) for share in value]
            elif isinstance(value, tuple | dict):
                value = sorted(value) if name == "domain" else list(value)
            out[name.replace("_", "-")] = value
        return out

    def command(self) -> str:
        """The command that asks for the same, with stand-ins for what could name patients or paths."""
        given = self.chosen()
        given |= {name: stand_in for name, stand_in in STAND_INS.items() if name in given}
        if "domain" in given:
            given["domain"] = dict.fromkeys(given["domain"], "REGEX")
        if "split" in given:
            given["split"] = [round(100 * share, 4) for share in given["split"]]
        return command_line("prepare", "SOURCE", "DATASET", size=self.size, **given)


def describe_options() -> str:
    """The options as a docstring lists them."""
    return "\n".join(f"        {name}: {field.description}" for name, field in Options.model_fields.items())


def _refusal(name: str, error: Any) -> UserError:
    """What is wrong with an option, as the command line names it."""
    where = f"--{name.replace('_', '-')}"
    if error["type"] == "extra_forbidden":
        near = get_close_matches(name, Options.model_fields, n=1)
        return UserError("there is no such option", where=where,
                         fix=f"did you mean --{near[0].replace('_', '-')}?" if near else "see ganatomy prepare --help")
    return UserError(f"{error['input']!r} cannot be used", where=where,
                     fix=error["msg"].replace("Input should be", "it should be"))
