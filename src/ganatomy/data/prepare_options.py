"""What `prepare` was asked for, checked before a single file is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ganatomy.data.geometry import Axis, Fit, parse_slices
from ganatomy.data.splits import parse_shares
from ganatomy.errors import UserError

INTENSITIES = ("auto", "identity", "percentile", "minmax")
CHANNELS = ("auto", "1", "3")


@dataclass(frozen=True)
class Options:
    """The options of `prepare`; see there for what each means.

    Raises:
        UserError: a value that cannot be meant.
    """

    size: int
    fit: Fit
    domains: Sequence[str] | str | None
    pattern: str | None
    axis: Axis
    slices: str
    split: str | Sequence[float]
    val_subjects: Sequence[str]
    test_subjects: Sequence[str]
    split_by: str | None
    masks: Sequence[str] | str | None
    intensity: str
    channels: str | int
    spacing: float | None
    background: float | str
    labels: Sequence[str] | str
    seed: int
    strict: bool

    def __post_init__(self) -> None:
        for name, value, allowed in (("--fit", self.fit, get_args(Fit)), ("--axis", self.axis, get_args(Axis)),
                                     ("--intensity", self.intensity, INTENSITIES),
                                     ("--channels", str(self.channels), CHANNELS)):
            if value not in allowed:
                raise UserError(f"{value!r} is unknown", where=name, fix=f"use {', '.join(allowed)}")
        if not 8 <= self.size <= 1024:
            raise UserError(f"{self.size} pixels is out of range", where="--size", fix="use 8 to 1024")
        if self.spacing is not None and not 0 < self.spacing < float("inf"):
            raise UserError(f"{self.spacing} mm is no pixel size", where="--spacing", fix="give mm, such as 1.5")
        parse_slices(self.slices)
        parse_shares(self.split)
        _number_or_auto(self.background)
        both = sorted(set(names(self.val_subjects) or ()) & set(names(self.test_subjects) or ()))
        if both:
            raise UserError(f"named both for val and for test: {', '.join(both[:5])}", where="--test-subjects",
                            fix="put every subject into one split")

    @property
    def shares(self) -> Mapping[str, float]:
        """Shares of train, val and test."""
        return parse_shares(self.split)

    @property
    def level(self) -> float | None:
        """The background's value, None if it is to be found."""
        return _number_or_auto(self.background)

    @property
    def fixed(self) -> dict[str, str]:
        """Original subject -> val or test, where named."""
        return {**dict.fromkeys(names(self.val_subjects) or (), "val"),
                **dict.fromkeys(names(self.test_subjects) or (), "test")}


def _number_or_auto(background: float | str) -> float | None:
    try:
        value = None if background == "auto" else float(background)
    except ValueError:
        value = float("nan")
    if value is not None and not abs(value) < float("inf"):
        raise UserError(f"{background!r} is no number", where="--background", fix="use auto or a value")
    return value


def names(given: str | Sequence[str] | None) -> list[str] | None:
    """Names given as a list or as "T1,T2"; None stays None."""
    if isinstance(given, str):
        given = [part.strip() for part in given.split(",") if part.strip()]
    return None if given is None else list(given)


def check_places(source: Path, dataset: Path, overwrite: bool) -> None:
    """Refuse to write over the source, or over a folder that is no dataset."""
    here, there = source.resolve(), dataset.resolve()
    if there == here or there in here.parents:
        raise UserError("the dataset would take the place of the source", where=dataset, fix="choose another folder")
    occupied = dataset.exists() and (not dataset.is_dir() or any(dataset.iterdir()))
    if occupied and not overwrite:
        raise UserError("already exists", where=dataset, fix="choose another folder, or add --overwrite")
    if occupied and not (dataset / "dataset.json").is_file():
        raise UserError("exists and is no dataset folder; it is not overwritten", where=dataset,
                        fix="choose another folder")
