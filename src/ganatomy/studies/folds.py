"""Who is held out and who is learnt from: folds, halves and nested training subsets, all by subject.

The subjects are dealt into folds; a fold's part is held out for every k, seed and arm. It is divided into two halves:
what is tested in one uses the checkpoint and the threshold chosen on the other, so that every subject is tested once
and no choice has seen the subject that it is applied to. The dataset's own splits are not used.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from ganatomy.core.errors import UserError
from ganatomy.core.text import counted, listed
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import Row
from ganatomy.studies.protocol import StudySettings

FOLDS, SUBSET = 1, 2  # what random numbers are drawn for


@dataclass(frozen=True)
class Place:
    """Where a subject is held out: in which fold, and in which half of it."""

    fold: int
    half: int


def deal(rows: Sequence[Row], folds: int, seed: int) -> dict[str, Place]:
    """Deal the subjects of all images of one domain into folds and halves, stratified by the classes that each has."""
    classes: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        classes[row.subject].add(row.label)
    strata: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for subject in sorted(classes):
        strata[tuple(sorted(classes[subject]))].append(subject)
    rng, places, dealt = np.random.default_rng((FOLDS, seed)), dict[str, Place](), 0
    more = Counter[tuple[int, str]]()  # by fold and class: how many subjects half 0 has more than half 1
    for stratum in sorted(strata):
        nexts = [_first_half(fold, sum(more[fold, label] for label in stratum)) for fold in range(folds)]
        for index in rng.permutation(len(strata[stratum])):
            fold = dealt % folds  # goes on where the last stratum ended, so that no fold gets all the odd ones
            places[strata[stratum][index]] = Place(fold, nexts[fold])
            more.update({(fold, label): 1 - 2 * nexts[fold] for label in stratum})
            nexts[fold], dealt = 1 - nexts[fold], dealt + 1
    return places


def _first_half(fold: int, more: int) -> int:
    """Where a stratum begins: in the half that has fewer subjects of its classes, or else in each in turn."""
    return fold % 2 if more == 0 else int(more > 0)


def check_places(places: Mapping[str, Place], rows: Sequence[Row], settings: StudySettings, where: Path) -> None:
    """Raise `UserError` unless folds.csv has the folds that this dataset and seed give."""
    if places != deal(rows, settings.folds, settings.seed):
        raise UserError("its folds are not those that this dataset and seed give: the file has been changed, or is of "
                        "another version", where=where, fix="start the study again in another folder")


def check_held_out(rows: Sequence[Row], places: Mapping[str, Place], settings: StudySettings) -> None:
    """Raise `UserError` unless every half of every fold has images of each positive class and of others."""
    there, folds = {(places[r.subject], r.label) for r in rows}, settings.folds
    others = sorted({r.label for r in rows} - set(settings.positives))
    for fold, half, wanted in product(range(folds), (0, 1), [*([c] for c in settings.positives), others]):
        if not any((Place(fold, half), label) in there for label in wanted):
            subjects = len({r.subject for r in rows if r.label in wanted})
            raise UserError(f"half {half} of fold {fold} would have no images of class {listed(wanted, 'or')}: nothing "
                            f"to test, or to choose a threshold on ({counted(subjects, 'subject')} in all {folds} "
                            "folds)", where="--folds", fix=f"each class needs at least {2 * folds} subjects: use fewer "
                            "folds, more subjects, or another --seed")


@dataclass(frozen=True)
class Subset:
    """What one cell learns from.

    Attributes:
        rows: the real training images: k of each positive class, imbalance x k of the others.
        fresh: by positive class, further images of other subjects, for the control FRESH.
        unseen: by class, images of other subjects outside of the fold, by which the audit calibrates itself.
    """

    rows: list[Row]
    fresh: dict[str, list[Row]]
    unseen: dict[str, list[Row]]

    def of(self, label: str) -> list[Row]:
        """The real training images of a class."""
        return [r for r in self.rows if r.label == label]

    @property
    def fresh_rows(self) -> list[Row]:
        """The further images of all positive classes."""
        return [row for rows in self.fresh.values() for row in rows]


def draw_subset(rows: Sequence[Row], places: Mapping[str, Place], settings: StudySettings, k: int, fold: int,
                seed: int) -> Subset:
    """The training images of a cell: whole subjects in an order that depends on fold and seed, the last one cut.

    The images for a smaller k are among those for a larger one. Raises `UserError` for too few images outside of the
    fold.
    """
    pool = [r for r in rows if places[r.subject].fold != fold]
    ordered = _in_order(pool, (SUBSET, settings.seed, fold, seed))
    others = [c for c in sorted({r.label for r in rows}) if c not in settings.positives]
    wanted = dict.fromkeys(settings.positives, k) | _shares(others, round(settings.imbalance * k))
    chosen: list[Row] = []
    for label, count in wanted.items():
        own = [r for r in ordered if r.label == label]
        if len(own) < count:
            raise UserError(f"{count} training images of class {label} are asked for, and outside of fold {fold} there "
                            f"are {len(own)}", where=f"--k {k}",
                            fix="use a smaller --k or --imbalance, or more --folds (less is held out)")
        chosen += own[:count]
    subjects = {r.subject for r in chosen}
    rest = [r for r in ordered if r.subject not in subjects]
    unseen = {label: [r for r in rest if r.label == label] for label in wanted}
    most = max((a.added(k) for a in settings.parsed_arms() if a.source == "FRESH"), default=0)
    fresh = {label: unseen[label][:most] for label in settings.positives}
    for label, own in fresh.items():
        if len(own) < most:
            raise UserError(f"the control FRESH needs {most} images of further subjects of class {label}, and outside "
                            f"of fold {fold} there are {len(own)}", where=f"--k {k}",
                            fix="use a smaller --k or --synthetic, or leave FRESH out")
    return Subset(chosen, fresh, unseen)


def _in_order(pool: Sequence[Row], seeds: tuple[int, ...]) -> list[Row]:
    """The pool's images subject by subject, subjects and the images of each at random."""
    rng, own = np.random.default_rng(seeds), defaultdict[str, list[Row]](list)
    for row in sorted(pool, key=lambda r: (r.subject, r.row)):
        own[row.subject].append(row)
    names = sorted(own)
    return [own[names[s]][i] for s in rng.permutation(len(names)) for i in rng.permutation(len(own[names[s]]))]


def _shares(classes: Sequence[str], total: int) -> dict[str, int]:
    """A number divided among classes as evenly as can be."""
    return {c: total // len(classes) + (i < total % len(classes)) for i, c in enumerate(classes)}


def refuse_twins(dataset: Dataset, rows: Sequence[Row]) -> None:
    """Raise `UserError` if two subjects share an image: one patient under two names would leak across folds."""
    owner: dict[str, Row] = {}
    for row in rows:
        first = owner.setdefault(row.sha256, row)
        if first.subject != row.subject:
            raise UserError(f"{first.image_id} of subject {first.subject} and {row.image_id} of subject {row.subject} "
                            "are the same image, so a test patient could be in the training data", where=dataset.path,
                            fix="prepare it again with one subject for both, or without one of them")
