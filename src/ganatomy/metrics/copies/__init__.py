"""The memorisation audit: copies of training patients among synthetic images, and of test patients among training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ganatomy.core.text import counted
from ganatomy.metrics.base import MIN_SUBJECTS, About, Result, Sample, Samples
from ganatomy.metrics.copies.calibration import (
    TARGET,
    Calibration,
    Group,
    by_chance,
    share_of_copies,
    verdict,
)
from ganatomy.metrics.copies.nearest import CHANNELS, FEWEST_SUBJECTS, Index, Nearest, Reference, nearest, view_name
from ganatomy.statistics.resampling import Array

ORDER, CONTROLS = 10, False
ABOUT = (
    About("Copies", "Share of generated images that are copies of training images, beyond what images of new patients"
          " give by chance.", "copies", "lower"),
    About("Copies-test", "The same for test images: the generator never saw them, so that any share above 0 is "
          "chance, or patients in two splits.", "copies", "lower"),
    About("Leak", "Test images that are copies of training images: the split is not clean, and every figure against "
          "test flatters.", "copies", "lower"),
)
MOST_CALIBRATION = 2000  # images of a split
WORST, MOST_LISTED = 12, 1000
_NO_TRAIN = "there is no train split: what the model has learnt from is not there to compare with"
_UNCALIBRATED = f"needs {MIN_SUBJECTS} subjects to know how near other patients come"
_FEW = f"needs {FEWEST_SUBJECTS} subjects to compare with whose images show something"
_NOT_FINITE = "there are values that are not finite"
_EMPTY = "no image shows enough to be judged"
_BLIND = "copies that are turned by more than a few degrees, cut up or strongly warped may be missed"


@dataclass(frozen=True)
class Audit:
    """One question: which images of the sample `query` are copies of images of the sample `reference`?

    It is calibrated by samples of patients who have nothing to do with the query; the reference's own images are
    compared with its other subjects.
    """

    name: str
    query: str
    reference: str
    calibrated: tuple[str, ...]


AUDITS = (Audit("Copies", "synthetic", "train", ("train", "val", "test")),
          Audit("Copies-test", "synthetic", "test", ("train", "val", "test")),
          Audit("Leak", "test", "train", ("train",)))


def compute(samples: Samples) -> list[Result]:
    """Copies of train, and of test, among the synthetic images, and of train among the test images.

    An image's statistic is the distance to its nearest reference image, by itself and over that to the third nearest
    subject, in features and in pixels (there over shifts, zooms and flips), on a common scale (`Calibration`).
    Mirrored copies show in pixels: features of mirrored images would take as long again, and tell no more.

    "Copies" against train is the audit. "Copies-test" finds a generator that has seen the test patients. "Leak" finds
    test patients who are in train under another name; they also take no part in the calibration of the other two.

    Returns:
        Shares of copies (`share_of_copies`) with details: verdict, rates, counts and the worst pairs.
    """
    named = {"train": samples.train, "val": samples.val, "test": samples.test, "synthetic": samples.synthetic}
    present = {name: sample for name, sample in named.items() if sample is not None}
    references = {name: Reference(sample) for name, sample in present.items() if name in ("train", "test")}
    usable = {name: reference for name, reference in references.items() if not _unusable(reference)}
    rows = {name: _rows(sample, name, samples.seed) for name, sample in present.items()}
    nearness = {name: dict(zip(usable, nearest(sample, list(usable.values()), rows[name]), strict=True))
                for name, sample in present.items() if usable}
    return [_result(audit, _Material(present, references, rows, nearness)) for audit in AUDITS]


def _rows(sample: Sample, name: str, seed: int) -> Index:
    """All rows; of a larger split, as many of every subject as possible, drawn at random."""
    if name in ("synthetic", "test") or sample.n_images <= MOST_CALIBRATION:
        return np.arange(sample.n_images)
    order = np.random.default_rng((seed, 300)).permutation(sample.n_images)
    turn = np.zeros(sample.n_images, np.intp)
    taken = np.zeros(sample.n_subjects, np.intp)
    for row in order:
        turn[row] = taken[sample.subjects[row]]
        taken[sample.subjects[row]] += 1
    return np.sort(order[np.argsort(turn[order], kind="stable")][:MOST_CALIBRATION])


@dataclass(frozen=True)
class _Material:
    """Samples, references, the rows of each sample that were looked at, and what is nearest to them in which."""

    present: Mapping[str, Sample]
    references: Mapping[str, Reference]
    rows: Mapping[str, Index]
    nearness: Mapping[str, Mapping[str, Nearest]]

    def group(self, name: str, reference: str) -> Group:
        """How near one sample's images are."""
        sample = self.present[name]
        owners = np.array(sample.names, dtype=object)[sample.subjects[self.rows[name]]]
        return Group.of(self.nearness[name][reference], owners, 0.5 if name == reference else 1.0)


def _result(audit: Audit, material: _Material) -> Result:
    reason, calibration = _unusable(material.references.get(audit.reference)), None
    if not reason:
        known = [name for name in audit.calibrated if name in material.present]
        calibration = Calibration.of([material.group(name, audit.reference) for name in known])
        if not material.group(audit.query, audit.reference).judged().n_subjects:
            reason = _EMPTY
        elif calibration is None or calibration.n_subjects < MIN_SUBJECTS:
            reason = _UNCALIBRATED
    beside = audit.reference if audit.query == "synthetic" else audit.query
    base = material.present.get(beside)
    sizes = {"n_images": base.n_images if base else 0, "n_subjects": base.n_subjects if base else 0,
             "n_synthetic": material.present["synthetic"].n_images}
    if reason or calibration is None:
        return Result(name=audit.name, against=beside, **sizes, caveat=reason)
    return Result(name=audit.name, against=beside, **sizes, floor=0.0, **_judged(audit, material, calibration))


def _judged(audit: Audit, material: _Material, calibration: Calibration) -> dict[str, Any]:
    """Value, interval, details and caveat."""
    group = material.group(audit.query, audit.reference)
    queries = [material.present[audit.query].ids[row] for row in material.rows[audit.query]]
    channels, evident = calibration.channels(group), calibration.evident(group)
    scores = channels.min(1)
    flagged = (scores < calibration.threshold) | evident
    judged = np.isfinite(scores)
    of = group.judged().n_subjects
    share = float((group.judged().weights() * flagged[judged]).sum()) / of
    value, interval = share_of_copies(share, of, calibration)
    chance = by_chance(round(share * of), of, calibration)
    details = {
        "verdict": verdict(int(evident.sum()), chance, interval), "rate": calibration.rate,
        "rate_at_most": calibration.rate_at_most(), "resolution": 1 / (calibration.size + 1),
        "calibration_subjects": calibration.n_subjects, "counted_as": calibration.size,
        "left_out": list(calibration.doubles), "flagged": int(flagged.sum()),
        "expected": calibration.usual() * int(judged.sum()), "p_by_chance": chance, "evident": int(evident.sum()),
        "judged": int(judged.sum()), "flagged_images": [queries[i] for i in np.flatnonzero(flagged)[:MOST_LISTED]],
        "pairs": [{audit.query: queries[i], **_pair(audit, material, i, channels[i]),
                   "p": float(calibration.p(scores[i:i + 1])[0]), "flagged": bool(flagged[i])}
                  for i in np.argsort(scores, kind="stable")[:WORST] if judged[i]]}
    caveat = _caveat(calibration, len(judged) - int(judged.sum()))
    return {"value": value, "interval": interval, "details": details | {"caveat": caveat}, "caveat": caveat}


def _pair(audit: Audit, material: _Material, i: int, scores: Array) -> dict[str, Any]:
    """What the i-th image is nearest to, in the channel [2] that has the lower score."""
    nearness, channel = material.nearness[audit.query][audit.reference], int(scores.argmin())
    return {"real": material.present[audit.reference].ids[nearness.row[i, channel]], "channel": CHANNELS[channel],
            "view": view_name(int(nearness.view[i]) if channel else 0),
            "distance": float(nearness.distance[i, channel]), "ratio": float(nearness.ratio[i, channel])}


def _caveat(calibration: Calibration, empty: int) -> str:
    notes = [f"calibrated by {counted(calibration.n_subjects, 'subject')}, which count as {calibration.size:g}: about "
            f"{calibration.rate:.1%} of a perfect generator's images would be flagged, surely less than "
            f"{calibration.rate_at_most():.1%}"]
    if calibration.rate > TARGET:
        notes.append(f"too few for a rate of {TARGET:.0%}, which takes as many as {round(1 / TARGET) - 1}")
    if calibration.doubles:
        notes.append(f"{counted(len(calibration.doubles), 'subject')} left out that are copies of others themselves")
    if empty:
        notes.append(f"{counted(empty, 'image')} not judged, which show too little")
    return "; ".join([*notes, _BLIND])


def _unusable(reference: Reference | None) -> str:
    if reference is None:
        return _NO_TRAIN
    if not reference.finite:
        return _NOT_FINITE
    return _FEW if reference.n_subjects < FEWEST_SUBJECTS else ""
