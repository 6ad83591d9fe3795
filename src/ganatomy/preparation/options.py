"""What `prepare` was asked for, checked before a single file is read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ganatomy.core.errors import UserError
from ganatomy.data.geometry import MAX_SIZE, Axis, Fit, parse_slices
from ganatomy.data.parallel import MOST_WORKERS, default_workers
from ganatomy.preparation.modality import parse_intensity
from ganatomy.preparation.splits import parse_shares
from ganatomy.sources.entry import Layout, safe_name

CHANNELS = ("auto", "1", "3")
MIN_SIZE = 8
LONGEST_NAME = 200
"""Bytes of the dataset's name, which others beside it begin with; file systems take 255."""


@dataclass(frozen=True)
class Options:
    """The options of `prepare`; see there for what each means.

    Raises:
        UserError: a value that cannot be meant.
    """

    size: int
    fit: Fit
    layout: str
    domain: Mapping[str, str]
    domains: Sequence[str] | str | None
    pattern: str | None
    subject_regex: str | None
    axis: Axis
    slices: str
    split: str | Sequence[float]
    val_subjects: Sequence[str]
    test_subjects: Sequence[str]
    split_by: str | None
    masks: Sequence[str] | str | None
    unpaired: bool
    resample_to: str | None
    allow_gaps: bool
    keep_derived: bool
    intensity: str
    channels: str | int
    spacing: float | None
    background: float | str
    labels: Sequence[str] | str
    seed: int
    workers: int | None
    strict: bool

    def __post_init__(self) -> None:
        for name, value, allowed in (("--fit", self.fit, get_args(Fit)), ("--axis", self.axis, get_args(Axis)),
                                     ("--channels", str(self.channels), CHANNELS)):
            if value not in allowed:
                raise UserError(f"{value!r} is unknown", where=name, fix=f"use {', '.join(allowed)}")
        for name, number in (("--size", self.size), ("--seed", self.seed)):
            if not isinstance(number, int):
                raise UserError(f"{number!r} is no whole number", where=name, fix="give one, such as 128")
        if not MIN_SIZE <= self.size <= MAX_SIZE:
            raise UserError(f"{self.size} pixels is out of range", where="--size", fix=f"use {MIN_SIZE} to {MAX_SIZE}")
        if self.spacing is not None and not isinstance(self.spacing, int | float):
            raise UserError(f"{self.spacing!r} is no number", where="--spacing", fix="give mm, such as 1.5")
        if self.spacing is not None and not 0 < self.spacing < float("inf"):
            raise UserError(f"{self.spacing} mm is no pixel size", where="--spacing", fix="give mm, such as 1.5")
        self._check_words()
        self._check_domain_rules()
        if self.workers is not None and not (isinstance(self.workers, int) and 1 <= self.workers <= MOST_WORKERS):
            raise UserError(f"{self.workers!r} is no number of processes", where="--workers",
                            fix=f"use 1 to {MOST_WORKERS}")
        parse_intensity(self.intensity)
        parse_slices(self.slices)
        parse_shares(self.split)
        _number_or_auto(self.background)
        both = sorted(set(names(self.val_subjects) or ()) & set(names(self.test_subjects) or ()))
        if both:
            raise UserError(f"named both for val and for test: {', '.join(both[:5])}", where="--test-subjects",
                            fix="put every subject into one split")

    def _check_words(self) -> None:
        for name, text in (("--pattern", self.pattern), ("--split-by", self.split_by),
                           ("--subject-regex", self.subject_regex), ("--resample-to", self.resample_to)):
            if not isinstance(text, str | None):
                raise UserError(f"{text!r} is no text", where=name, fix="give text")
        for name, given in (("--domains", self.domains), ("--masks", self.masks), ("--labels", self.labels),
                            ("--val-subjects", self.val_subjects), ("--test-subjects", self.test_subjects)):
            if not isinstance(given, Sequence | None) or not all(isinstance(part, str) for part in given or ()):
                raise UserError(f"{given!r} is no list of names", where=name, fix="give names, such as T1,T2")

    def _check_domain_rules(self) -> None:
        if not isinstance(self.domain, Mapping) or not all(isinstance(part, str) for rule in self.domain.items()
                                                           for part in rule):
            raise UserError(f"{self.domain!r} is no mapping of names to expressions", where="--domain",
                            fix="give names and regular expressions, such as T1='mprage|t1w'")
        for name in self.domain:
            if safe_name(name) != name:
                raise UserError(f"{name!r} cannot be part of a file's name", where="--domain",
                                fix=f"call it {safe_name(name)}")
        both = self.resample_to is not None and self.unpaired
        if both:
            raise UserError("unpaired domains need no common grid", where="--resample-to", fix="leave one of both out")

    def check_against(self, layout: Layout) -> None:
        """Raise `UserError` where an option names what the source does not have."""
        found = {entry.domain for entry in layout.entries}
        if self.resample_to is not None and self.resample_to not in found:
            raise UserError(f"there is no domain {self.resample_to!r}", where="--resample-to",
                            fix=f"found: {', '.join(sorted(found))}")

    @property
    def processes(self) -> int:
        """How many of them read."""
        return default_workers() if self.workers is None else self.workers

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
    except (TypeError, ValueError, OverflowError):
        value = float("nan")
    if value is not None and not abs(value) < float("inf"):
        raise UserError(f"{background!r} is no number", where="--background", fix="use auto or a value")
    return value


def names(given: str | Sequence[str] | None) -> list[str] | None:
    """Names given as a list or as "T1,T2"; None stays None."""
    if isinstance(given, str):
        given = [part.strip() for part in given.split(",") if part.strip()]
    return None if given is None else list(given)


def changed(options: Options, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The options that shape a dataset and differ from their defaults, under their names on the command line.

    Of what could name patients or paths only the number, or that it was given. Fit for JSON.
    """
    splits = [round(share, 6) for share in options.shares.values()]
    values = {
        "fit": options.fit, "domains": names(options.domains), "pattern": options.pattern is not None,
        "layout": options.layout, "domain": sorted(options.domain), "subject-regex": options.subject_regex is not None,
        "unpaired": options.unpaired, "resample-to": options.resample_to, "allow-gaps": options.allow_gaps,
        "keep-derived": options.keep_derived, "axis": options.axis, "slices": options.slices, "split": splits,
        "val-subjects": len(names(options.val_subjects) or ()),
        "test-subjects": len(names(options.test_subjects) or ()),
        "split-by": options.split_by is not None, "masks": names(options.masks), "intensity": options.intensity,
        "channels": str(options.channels), "spacing": options.spacing,
        "background": "auto" if options.level is None else options.level, "labels": names(options.labels) or [],
        "seed": options.seed,
    }
    usual = {**{name.replace("_", "-"): value for name, value in defaults.items()},
             "pattern": False, "domain": [], "subject-regex": False,
             "split-by": False, "val-subjects": 0, "test-subjects": 0, "labels": [],
             "split": [round(share, 6) for share in parse_shares(defaults["split"]).values()]}
    return {name: value for name, value in values.items() if value != usual[name]}


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
