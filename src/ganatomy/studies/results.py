"""A finished study: every cell's predictions and audits, gathered, analysed, written and shown in a terminal."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy import __version__
from ganatomy.core.errors import UserError
from ganatomy.core.files import disk_errors, write_csv, write_json
from ganatomy.core.origin import nothing_to_do
from ganatomy.core.table import Table
from ganatomy.core.text import counted, number, p_value
from ganatomy.data.manifest import Row
from ganatomy.metrics.base import MIN_SUBJECTS, finite
from ganatomy.statistics.resampling import holm
from ganatomy.studies.answers import (
    CANT_TELL,
    DOES_NOT,
    HELPS,
    HURTS,
    IN_BRACKETS,
    Frame,
    answer_of,
    bracketed,
    controls_of,
    counts_alone,
    pairs_of,
    sentence,
    verdict,
)
from ganatomy.studies.cell import Roles, external_rows, figure_of, light_of, read_audit
from ganatomy.studies.folder import REMOVE_CELL, StudyFolder
from ganatomy.studies.inference import (
    REPLICATES,
    Estimate,
    Grid,
    Pool,
    estimate,
    measure,
    pool_images,
    replicate_weights,
)
from ganatomy.studies.predictions import (
    LOWER_IS_BETTER,
    METRICS,
    Key,
    Outcomes,
    Predictions,
    ignorant,
    read_predictions,
)

SCHEMA_VERSION = 1
COLUMNS = ("set", "arm", "k", "metric", "value", "low", "high", "floor", "images", "subjects", "positive_subjects")


def write_results(folder: StudyFolder, say: Callable[[str], None]) -> dict[str, Any]:
    """Analyse a finished study and write results.json and results.csv, unless they hold just that.

    Raises:
        UserError: cells are missing, or a cell is not what it must be (see `gather`).
    """
    settings = folder.settings()
    try:
        held_out, external, audits = gather(folder)
    except UserError:  # what the cells were before must not be taken for a result of theirs
        with disk_errors(folder.path):
            for stale in (folder.results_file, folder.table_file):
                stale.unlink(missing_ok=True)
        raise
    about = folder.about()
    analysis = analyse(held_out, external, ks=settings.k, folds=settings.folds, seeds=settings.seeds,
                       arms=[arm.name for arm in settings.parsed_arms()], positives=settings.positives,
                       margin=settings.margin, seed=settings.seed)
    results = {"schema_version": SCHEMA_VERSION, "ganatomy": __version__, "dataset": about.dataset,
               "external_dataset": about.external, "settings": settings.model_dump(mode="json"), **analysis,
               "audits": audits}
    written = write_json(folder.results_file, results), write_csv(folder.table_file, _lines(results))
    if any(written):
        say(f"written: {folder.results_file}, {folder.table_file}")
    else:
        nothing_to_do(folder.results_file, say)
    return results


def _lines(results: dict[str, Any]) -> Iterator[Sequence[Any]]:
    """Scores and comparisons, one value a line; k is empty for the mean over k."""
    yield COLUMNS
    for name, part in (("held out", results), ("external", results["external"])):
        if part is None:
            continue
        of_all = part["n_images"], part["n_subjects"], sum(part["n_positive_subjects"].values())
        rows = [(s, s["arm"], s["value"], (s["n_images"], s["n_subjects"], s["n_positive_subjects"]))
                for s in part["scores"]]
        rows += [(c, f"{c['treatment']} - {c['reference']}", c["difference"], of_all) for c in part["contrasts"]]
        for row, arm, value, counts in rows:
            yield [name, arm, row["k"], row["metric"], value, *(row["interval"] or ("", "")), row["floor"], *counts]


def gather(folder: StudyFolder) -> tuple[Outcomes, Outcomes | None, list[dict[str, Any]]]:
    """All cells' predictions, those of the external set where there is one, and the audit of every GAN.

    Raises:
        UserError: cells are missing; held-out patients are among the training images of a classifier or a GAN;
            predictions are of other images; or a file is not as it was when its cell was done.
    """
    missing = folder.cells_left()
    if missing:
        raise UserError(f"{counted(len(missing), 'cell')} of {len(folder.all_cells())} not done, the first is "
                        f"{missing[0].name}",
                        where=folder.path, fix="run `ganatomy study DATASET STUDY` to go on")
    dataset, other = folder.open_dataset(), folder.open_external()
    settings = folder.settings()
    folder.refuse_difference(settings, dataset, other)
    outside = external_rows(other, settings) if other else []
    held_out, external, audits = dict[Key, Predictions](), dict[Key, Predictions](), []
    for cell in folder.all_cells():
        roles, place = Roles(folder, cell, dataset), folder.cell(cell)
        roles.refuse_leaks()
        place.check_files()
        for arm in settings.parsed_arms():
            key = (cell.k, cell.fold, cell.seed, arm.name)
            held_out[key] = _predictions(place.predictions(arm.name), roles.held_out, roles.halves)
            if other:  # each image is judged by the choice of either half
                external[key] = _predictions(place.predictions(arm.name, external=True), [*outside, *outside],
                                             np.repeat(np.arange(2), len(outside)))
        for label in roles.synthetic:
            audit = read_audit(place.gan(roles.number[label]).audit_file)
            del audit["of"]
            audits.append({"cell": cell.name, "k": cell.k, "fold": cell.fold, "seed": cell.seed, **audit})
    return held_out, external if other else None, audits


def _predictions(path: Path, rows: Sequence[Row], halves: NDArray[np.intp]) -> Predictions:
    """An arm's predictions, if they are of these images."""
    predictions = read_predictions(path)
    expected = [tuple(getattr(r, name) for r in rows) for name in ("image_id", "subject", "label")]
    if [predictions.image_ids, predictions.subjects, predictions.labels] != expected or \
            not np.array_equal(predictions.half, halves):
        raise UserError("its predictions are not of the images and halves that this cell tests", where=path,
                        fix=REMOVE_CELL)
    return predictions


# -- the table for a terminal

LIGHTS = {HELPS: "[+]", DOES_NOT: "[!]", HURTS: "[x]", CANT_TELL: "[?]"}
AUDITS = {"green": "without a sign of copies", "amber": "with reservations about copies",
          "red": "with copies of training patients", "grey": "not audited for copies"}
MOST_SUBJECTS = 12  # named one by one, where they are too few for intervals
Entry = Mapping[str, Any]


def table(results: Entry) -> str:
    """results.json for a terminal: answer and why, F1, comparisons, audits; then the same of the external set."""
    parts = [_answer(results), *_tables(results, results["ks"]), "\n".join(_audits(results.get("audits") or []))]
    external = results.get("external")
    if external:
        parts += [f"On the external set ({counted(external['n_images'], 'image')} of "
                  f"{counted(external['n_subjects'], 'subject')}):\n{_answer(external)}",
                  *_tables(external, results["ks"])]
    return "\n\n".join(part for part in parts if part)


def _answer(results: Entry) -> str:
    """[+] helps, [!] does not help, [x] hurts, [?] can't tell; then why, a line a reason."""
    answer = results["answer"]
    return "\n".join([f"{LIGHTS.get(answer['verdict'], '[?]')} {answer['verdict']}: {answer['sentence']}",
                      *(f"    {reason}" for reason in answer["why"])])


def _tables(results: Entry, ks: Sequence[int]) -> list[str]:
    """Scores, comparisons with an answer and, where subjects are few, each one's share, of one set of test images."""
    f1 = {(s["arm"], s["k"]): s for s in results["scores"] if s["metric"] == "f1"}
    scores = by_k("F1", f1, ks, "all called positive", "In brackets 95% intervals.")
    shares = results.get("per_subject") or {}
    subjects = list(next(iter(shares.values()), {}))
    right = called_right(shares, subjects).text() if len(subjects) <= MOST_SUBJECTS else ""
    return [scores.text(), comparisons(results["contrasts"]).text(), right]


# -- tables for terminal and report


def by_k(first: str, rows: Mapping[tuple[str, int | None], Entry], ks: Sequence[int], floor: str = "",
         note: str = "") -> Table:
    """Scores or contrasts of one metric: a line an arm or comparison, a column a k, the mean over k last.

    `floor` has the words for what knows nothing, whose value is the last line; "" for none.
    """
    shown: list[int | None] = [*ks, *([None] if len(ks) > 1 else [])]
    lines = [[name, *(_with_interval(rows.get((name, k))) for k in shown)]
             for name in dict.fromkeys(name for name, _ in rows)]
    value = next((row["floor"] for row in rows.values() if row["floor"] is not None), None)
    if floor and value is not None:
        lines.append([floor, *([number(value, 3)] * len(shown))])
    return Table([first, *("mean over k" if k is None else f"k = {k:,}" for k in shown)], lines, notes=[note])


def comparisons(contrasts: Sequence[Entry]) -> Table:
    """Those that have an answer."""
    return Table(["Comparison", "Difference in F1", "p", "Holm's p", "Two seeds differ by", "Answer"], [
        [name_of(c) + (" (primary)" if c["primary"] else ""), _with_interval(c), p_value(c["p"]), p_value(c["p_holm"]),
         number(c["floor"], 3), bracketed(c)] for c in contrasts if c["answer"] is not None],
        notes=[] if all(map(counts_alone, contrasts)) else [IN_BRACKETS])


def called_right(shares: Mapping[str, Mapping[str, float | None]], names: Sequence[str]) -> Table:
    """The share of each subject's images that is called right, by arm; `names` for the subjects, in their order."""
    subjects = next(iter(shares.values()), {})
    return Table(["Called right", *shares], [
        [name, *(number(own.get(subject), 2) for own in shares.values())]
        for name, subject in zip(names, subjects, strict=True)])


def name_of(contrast: Entry) -> str:
    """A comparison's name: treatment − reference."""
    return f"{contrast['treatment']} − {contrast['reference']}"


def _with_interval(row: Entry | None) -> str:
    """A score or difference with its interval, three decimals each, so that those of a table can be compared."""
    value = None if row is None else row.get("value", row.get("difference"))
    if row is None or value is None:
        return ""
    first, *ends = (number(x, 3, sign="difference" in row) for x in (value, *(row["interval"] or ())))
    return first + (f" ({ends[0]} to {ends[1]})" if ends else "")


def _audits(audits: Sequence[Entry]) -> list[str]:
    """All GANs in one line: how many copy, and the kernel distance by k."""
    if not audits:
        return []
    distances = dict[int, list[float]]()
    copying = [a["cell"] for a in audits if light_of(a) == "red"]
    names = f" ({', '.join(dict.fromkeys(copying))})" if copying else ""
    for a in audits:
        if distance := figure_of(a, "KD"):
            distances.setdefault(a["k"], []).append(1000 * distance["value"])
    medians = ", ".join(f"{number(statistics.median(values))} (k = {k})" for k, values in sorted(distances.items()))
    far = f"; median kernel distance x 1000 from held-out patients: {medians}; real images 0 on average" \
        if medians else ""
    return [f"{counted(len(audits), 'GAN')}: {audited(audits)}{names}{far}", *poor_gans(audits)]


def audited(audits: Sequence[Entry]) -> str:
    """How many GANs are without a sign of copies, and so on."""
    lights = [light_of(audit) for audit in audits]
    return ", ".join(f"{lights.count(light)} {what}" for light, what in AUDITS.items() if light in lights)


def poor_gans(audits: Sequence[Entry]) -> list[str]:
    """A sentence if GANs are farther from the held-out patients than blurred real images are."""
    far = [a for a in audits if a.get("blurred") is not None
           and (distance := figure_of(a, "KD")) and a["blurred"] < distance["value"]]
    if not far:
        return []
    return [f"The synthetic images of {len(far)} of {counted(len(audits), 'GAN')} are farther from held-out patients "
            "than blurred real images are: where they are many, the answer is about poor images. Train longer "
            "(--budget, --set steps=N)."]


COMPARED = ("f1", "average_precision", "roc_auc")  # F1 is what answers are about


def analyse(outcomes: Outcomes, external: Outcomes | None, ks: Sequence[int], folds: int, seeds: int,
            arms: Sequence[str], positives: Sequence[str], margin: float = 0.02, seed: int = 0) -> dict[str, Any]:
    """Everything that a study's report says, JSON-ready: finite numbers or None.

    With several positive classes every value is the mean over them, each one against the rest. Intervals are 95%,
    [low, high], None below five test subjects with or without a positive class. A row's "k" is None for the mean over
    all k. The result has the keys

        ks, folds, seeds, arms, positives, margin: as given.
        n_images, n_subjects: of the test images. n_positive_subjects: by positive class.
        scores: rows of arm, k, metric (of predictions.METRICS), value, interval, floor (what a classifier scores that
            knows nothing, see predictions.ignorant; None for some), better (higher or lower), per_seed [seeds],
            per_fold [folds], n_images, n_subjects, n_positive_subjects (those with any).
        cells: rows of arm, k, fold, seed, f1, average_precision, roc_auc: of one classifier on its own test images.
        contrasts: rows of treatment, reference, metric (f1, average_precision, roc_auc), k, difference (treatment less
            reference), interval, p, p_holm (over the rows of F1 and no k but the primary one and its companion; else
            None), floor (mean difference between two seeds of the reference; None with one seed), answer (helps, hurts,
            does not help, can't tell; None for rows that only describe: other metrics, single k), sentence, primary.
            The rows with an answer come first, the primary one before all.
        controls: the rows of contrasts of a control against OVERSAMPLE that have an answer, with source (FRESH, COPIES,
            NOISE), as_expected, says.
        answer: verdict, sentence, why [sentences], primary [treatment, reference] or None.
        per_subject: below five subjects of a kind, the share of its images that are called right: by arm, by subject,
            the mean over positive classes, k and seeds; else None.
        external: None, or n_images, n_subjects, n_positive_subjects, scores, cells, contrasts, controls, answer,
            per_subject of the external set: each value is the mean over folds, halves and seeds of a classifier's.

    Args:
        outcomes: predictions of all held-out images, by (k, fold, seed, arm); folds and seeds are numbered from 0.
        external: the same of an external set, every image twice, for half 0 and 1; None without.
        ks, folds, seeds, arms, positives: what there is.
        margin: smallest difference in F1 that would matter, above 0.
        seed: of the bootstrap.

    Raises:
        UserError: predictions are missing, or not of the same images in all cells of a fold.
    """
    grid = Grid(tuple(ks), tuple(range(folds)), tuple(range(seeds)), tuple(arms))
    images = pool_images(outcomes, grid, positives)
    others = None if external is None else pool_images(external, grid, positives, external=True)
    results: dict[str, Any] = finite({
        "ks": list(ks), "folds": folds, "seeds": seeds, "arms": list(arms), "positives": list(positives),
        "margin": margin, **_Tables(images, grid, margin, seed).all(),
        "external": others and _Tables(others, grid, margin, seed).all()})
    return results


class _Tables:
    """What `analyse` says of one set of test images."""

    def __init__(self, images: Pool, grid: Grid, margin: float, seed: int) -> None:
        self.images, self.grid, truth = images, grid, images.truth
        positive = {c: set(images.subjects[own].tolist()) for c, own in truth.items()}
        negative = {c: set(images.subjects[~own].tolist()) for c, own in truth.items()}
        self.any_positive = len(set[int]().union(*positive.values()))
        self.few = min(map(len, [*positive.values(), *negative.values()])) < MIN_SUBJECTS
        self.freedom = None if self.few else images.freedom()
        weights = replicate_weights(images, REPLICATES, seed)
        self.measured = {name: measure(images, metric, weights) for name, metric in METRICS.items()}
        self.pairs = pairs_of(grid.arms)
        self.frame = Frame(margin, {c: (len(positive[c]), len(negative[c])) for c in truth}, grid.ks, len(grid.folds),
                           len(grid.seeds), sum(pair.corrected for pair in self.pairs), images.external)
        self.ks: dict[int | None, list[int]] = {  # places in the grid of all k, then of each
            None: list(range(len(grid.ks))), **{k: [place] for place, k in enumerate(grid.ks)}}

    def all(self) -> dict[str, Any]:
        """All tables by name."""
        contrasts, scores = self.contrasts(), self.scores()
        controls = controls_of(contrasts)
        return {"n_images": len(self.images.fold), "n_subjects": len(self.images.names),
                "n_positive_subjects": {c: own for c, (own, _) in self.frame.positives.items()},
                "scores": scores, "cells": self.cells(), "contrasts": contrasts, "controls": controls,
                "answer": verdict(contrasts, controls, self.grid.arms, self.frame, scores),
                "per_subject": self.right_by_subject() if self.few else None}

    def scores(self) -> list[dict[str, Any]]:
        """A row for each arm, k and metric."""
        shares = [float(truth.mean()) for truth in self.images.truth.values()]
        rows = []
        for place, arm in enumerate(self.grid.arms):
            for (k, places), (name, measured) in product(self.ks.items(), self.measured.items()):
                floors = [f for f in (ignorant(name, share) for share in shares) if f is not None]
                score = self._estimate(name, k, arm)
                rows.append({
                    "arm": arm, "k": k, "metric": name, "value": score.value, "interval": _within(score, 0, 1),
                    "floor": float(np.mean(floors)) if floors else None,
                    "better": "lower" if name in LOWER_IS_BETTER else "higher",
                    "per_seed": measured.per_seed[place, places].mean(0).tolist(),
                    "per_fold": measured.refits[place, places][..., 0].mean((0, 2)).tolist(),
                    "n_images": len(self.images.fold), "n_subjects": len(self.images.names),
                    "n_positive_subjects": self.any_positive})
        return rows

    def cells(self) -> list[dict[str, Any]]:
        """A row for each classifier."""
        grid = self.grid
        return [{"arm": arm, "k": k, "fold": fold, "seed": seed,
                 **{name: float(self.measured[name].refits[a, b, c, d, 0]) for name in COMPARED}}
                for (a, arm), (b, k), (c, fold), (d, seed) in product(*map(enumerate, (
                    grid.arms, grid.ks, grid.folds, grid.seeds)))]

    def contrasts(self) -> list[dict[str, Any]]:
        """A row for each metric, k and pair; first those with an answer, which alone are corrected by Holm."""
        estimates = {(pair, name, k): self._estimate(name, k, pair.treatment, pair.reference)
                     for name, k, pair in product(COMPARED, self.ks, self.pairs)}
        p = {key: one.p for key, one in estimates.items()
             if key[1:] == (COMPARED[0], None) and key[0].corrected and one.p is not None}
        adjusted = dict(zip(p, holm(list(p.values())), strict=True))
        rows = []
        for (pair, metric, k), difference in estimates.items():
            p_holm = adjusted.get((pair, metric, k))
            answer = answer_of(difference, self.frame.margin, p_holm) if (metric, k) == (COMPARED[0], None) else None
            row = {"treatment": pair.treatment, "reference": pair.reference, "metric": metric, "k": k,
                   "difference": finite(difference.value), "interval": _within(difference, -1, 1), "p": difference.p,
                   "p_holm": p_holm, "floor": finite(self._floor(metric, k, pair.reference)), "answer": answer,
                   "primary": pair.primary}
            rows.append({**row, "sentence": sentence(row, self.frame)})
        return rows

    def _estimate(self, metric: str, k: int | None, arm: str, reference: str | None = None) -> Estimate:
        place = self.grid.arms.index
        return estimate(self.measured[metric], self.ks[k], place(arm), None if reference is None else place(reference),
                        self.freedom, self.images.external)

    def _floor(self, metric: str, k: int | None, arm: str) -> float | None:
        """The mean difference between two seeds of an arm; None with one seed."""
        values = self.measured[metric].per_seed[self.grid.arms.index(arm), self.ks[k]].mean(0)
        return float(np.mean([abs(a - b) for a, b in combinations(values, 2)])) if len(values) > 1 else None

    def right_by_subject(self) -> dict[str, dict[str, float]]:
        """The share of every subject's images that are called right, by arm: over classes and all classifiers."""
        images, shares = self.images, {}
        truth = np.stack(list(images.truth.values()))
        for place, arm in enumerate(self.grid.arms):
            decided = images.decisions[:, place].reshape(len(truth), -1, truth.shape[1])
            right = (decided == truth[:, None]).mean(1).mean(0)
            shares[arm] = {name: float(right[images.subjects == s].mean()) for s, name in enumerate(images.names)}
        return shares


def _within(one: Estimate, least: float, most: float) -> tuple[float, float] | None:
    return one.interval and (max(least, one.interval[0]), min(most, one.interval[1]))
