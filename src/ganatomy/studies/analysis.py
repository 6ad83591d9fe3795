"""The tables and the answer of a study, from the predictions of all its cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from ganatomy.comparison.differences import holm
from ganatomy.metrics.base import MIN_SUBJECTS, finite
from ganatomy.studies.answers import Frame, Pair, answer_of, controls_of, pairs_of, sentence, verdict
from ganatomy.studies.inference import (
    REPLICATES,
    Estimate,
    Grid,
    Measured,
    Pool,
    estimate,
    measure,
    measure_external,
    pool_external,
    pool_held_out,
    replicate_weights,
)
from ganatomy.studies.predictions import LOWER_IS_BETTER, METRICS, Outcomes, ignorant

COMPARED = ("f1", "average_precision", "roc_auc")  # F1 is what answers are about


def analyse(outcomes: Outcomes, external: Outcomes | None, ks: Sequence[int], folds: int, seeds: int,
            arms: Sequence[str], positives: Sequence[str], margin: float = 0.02, seed: int = 0) -> dict[str, Any]:
    """Everything that a study's report says, JSON-ready: finite numbers or None.

    With several positive classes every value is the mean over them, each one against the rest. Intervals are 95%,
    [low, high], None below five test subjects with or without a positive class. A row's "k" is None for the mean over
    all k. The result has the keys

        ks, folds, seeds, arms, positives, margin: as given.
        n_images, n_subjects: of the test images. n_positive_subjects: by positive class.
        scores: rows of arm, k, metric (of scores.METRICS), value, interval, bootstrap_interval, refit_interval,
            limited_by, floor (what a classifier scores that knows nothing, see scores.ignorant; None for some), better
            (higher or lower), per_seed [seeds], per_fold [folds], n_images, n_subjects, n_positive_subjects
            (those with any).
        cells: rows of arm, k, fold, seed, f1, average_precision, roc_auc: of one classifier on its own test images.
        contrasts: rows of treatment, reference, metric (f1, average_precision, roc_auc), k, difference (treatment less
            reference), interval (the wider of the next two), bootstrap_interval (over test subjects and seeds),
            refit_interval (Nadeau and Bengio's), limited_by (subjects or refits: which is the wider; "" without), p,
            p_holm (over all rows of F1 and no k but the primary one; else None), floor (mean difference between
            two seeds of the reference; None with one seed), answer (helps, hurts, does not help, can't tell; None for
            rows that only describe: other metrics, single k), sentence, primary, control (FRESH, COPIES, NOISE or "").
            The rows with an answer come first, the primary one before all.
        controls: the rows of contrasts of a control against OVERSAMPLE that have an answer, with source, expected,
            as_expected, says.
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
    pool = pool_held_out(outcomes, grid, positives)
    weights = replicate_weights(pool, REPLICATES, seed)
    measured = {name: measure(pool, metric, weights) for name, metric in METRICS.items()}
    results = {"ks": list(ks), "folds": folds, "seeds": seeds, "arms": list(arms), "positives": list(positives),
               "margin": margin, **tables(pool, measured, grid, margin), "external": None}
    if external is not None:
        outside = pool_external(external, grid, positives)
        weights = replicate_weights(outside, REPLICATES, seed)
        measured = {name: measure_external(outside, metric, weights) for name, metric in METRICS.items()}
        results["external"] = tables(outside, measured, grid, margin, True)
    clean: dict[str, Any] = finite(results)
    return clean


def tables(pool: Pool, measured: Mapping[str, Measured], grid: Grid, margin: float,
           external: bool = False) -> dict[str, Any]:
    """What `analyse` says of one set of test images."""
    with_, n = {c: len(pool.subjects_with(c)) for c in pool.truth}, len(pool.names)
    without = {c: len(np.unique(pool.subjects[~truth])) for c, truth in pool.truth.items()}
    few = min(*with_.values(), *without.values()) < MIN_SUBJECTS
    freedom = None if few else pool.freedom()
    counts = {"n_images": len(pool.fold), "n_subjects": n, "n_positive_subjects": with_}
    pairs = pairs_of(grid.arms)
    frame = Frame(margin, {c: (with_[c], without[c]) for c in with_}, grid.ks, len(grid.folds), len(grid.seeds),
                  sum(not pair.primary for pair in pairs), external)
    contrasts = contrast_rows(pairs, measured, grid, freedom, frame)
    controls = controls_of(contrasts, margin)
    scores = score_rows(pool, measured, grid, freedom, external)
    return {**counts, "scores": scores,
            "cells": cell_rows(measured, grid), "contrasts": contrasts, "controls": controls,
            "answer": verdict(contrasts, controls, grid.arms, frame, scores),
            "per_subject": right_by_subject(pool, grid) if few else None}


def score_rows(pool: Pool, measured: Mapping[str, Measured], grid: Grid, freedom: int | None,
               external: bool) -> list[dict[str, Any]]:
    """The rows of "scores"."""
    shares = [float(truth.mean()) for truth in pool.truth.values()]
    counts = {"n_images": len(pool.fold), "n_subjects": len(pool.names),
              "n_positive_subjects": len({s for c in pool.truth for s in pool.subjects_with(c)})}
    rows = []
    for place, arm in enumerate(grid.arms):
        for k, places in _ks(grid):
            for name, one in measured.items():
                score = estimate(one, places, place, None, freedom, external)
                floors = [f for f in (ignorant(name, share) for share in shares) if f is not None]
                rows.append({"arm": arm, "k": k, "metric": name, "value": score.value, **_intervals(score, (0.0, 1.0)),
                             "floor": float(np.mean(floors)) if floors else None,
                             "better": "lower" if name in LOWER_IS_BETTER else "higher",
                             "per_seed": one.per_seed[place, places].mean(0).tolist(),
                             "per_fold": one.refits[place, places].mean((0, 2)).tolist(), **counts})
    return rows


def cell_rows(measured: Mapping[str, Measured], grid: Grid) -> list[dict[str, Any]]:
    """The rows of "cells"."""
    return [{"arm": arm, "k": k, "fold": fold, "seed": seed,
             **{name: float(measured[name].refits[a, b, c, d]) for name in COMPARED}}
            for a, arm in enumerate(grid.arms) for b, k in enumerate(grid.ks)
            for c, fold in enumerate(grid.folds) for d, seed in enumerate(grid.seeds)]


def contrast_rows(pairs: Sequence[Pair], measured: Mapping[str, Measured], grid: Grid, freedom: int | None,
                  frame: Frame) -> list[dict[str, Any]]:
    """The rows of "contrasts"; first those with an answer, which alone are corrected by Holm."""
    estimates = {(pair, name, k): estimate(measured[name], places, grid.arms.index(pair.treatment),
                                           grid.arms.index(pair.reference), freedom, frame.external)
                 for name in COMPARED for k, places in _ks(grid) for pair in pairs}
    p = {key: one.p for key, one in estimates.items()
         if key[1:] == (COMPARED[0], None) and not key[0].primary and one.p is not None}
    adjusted = dict(zip(p, holm([v for v in p.values() if v is not None]), strict=True))
    rows = []
    for key, difference in estimates.items():
        (pair, metric, k), p_holm = key, adjusted.get(key)
        answer = answer_of(difference, frame.margin, p_holm) if (metric, k) == (COMPARED[0], None) else None
        row = {"treatment": pair.treatment, "reference": pair.reference, "metric": metric, "k": k,
               "difference": finite(difference.value), **_intervals(difference, (-1.0, 1.0)), "p": difference.p,
               "p_holm": p_holm, "floor": finite(_floor(measured[metric], grid, pair.reference, k)), "answer": answer,
               "primary": pair.primary, "control": pair.control}
        rows.append({**row, "sentence": sentence(row, frame)})
    return rows


def _ks(grid: Grid) -> list[tuple[int | None, list[int]]]:
    """None with the places of all k, then each with its own."""
    return [(None, list(range(len(grid.ks)))), *((k, [place]) for place, k in enumerate(grid.ks))]


def _intervals(one: Estimate, limits: tuple[float, float]) -> dict[str, Any]:
    each = {"interval": one.interval, "bootstrap_interval": one.bootstrap_interval,
            "refit_interval": one.refit_interval}
    low, high = limits
    return {**{name: span and (max(low, span[0]), min(high, span[1])) for name, span in each.items()},
            "limited_by": one.limited_by}


def _floor(measured: Measured, grid: Grid, arm: str, k: int | None) -> float | None:
    """The mean difference between two seeds of an arm; None with one seed."""
    values = measured.per_seed[grid.arms.index(arm), dict(_ks(grid))[k]].mean(0)
    return float(np.mean([abs(a - b) for a, b in combinations(values, 2)])) if len(values) > 1 else None


def right_by_subject(pool: Pool, grid: Grid) -> dict[str, dict[str, float]]:
    """The share of every subject's images that are called right, by arm: the mean over classes and all classifiers."""
    shares = {}
    for place, arm in enumerate(grid.arms):
        right = np.mean([(pool.decisions[c][place] == truth).reshape(-1, len(truth)).mean(0)
                         for c, truth in pool.truth.items()], axis=0)
        shares[arm] = {name: float(right[pool.subjects == s].mean()) for s, name in enumerate(pool.names)}
    return shares
