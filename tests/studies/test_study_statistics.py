"""The study's statistics: known answers, planted effects, what must not be claimed; and metrics that are sklearn's."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.metrics import f1_score, roc_auc_score

from ganatomy.core.errors import UserError
from ganatomy.studies.inference import (
    ALIKE,
    Error,
    Grid,
    pool_images,
    replicate_weights,
    with_training,
)
from ganatomy.studies.predictions import METRICS, Key, Predictions, calibration_error, f1, ignorant, precision
from ganatomy.studies.results import analyse
from tests.studies.study_outcomes import SIX, outcomes, shuffled

KS = (25, 50)
TWO = ("OVERSAMPLE", "GAN")


def analysed(said: dict[Key, Predictions], arms: tuple[str, ...] = SIX, **kwargs: object) -> dict:
    settings = {"ks": KS, "folds": 3, "seeds": 2, "arms": arms, "positives": ("lesion",), "external": None, **kwargs}
    return analyse(said, **settings)


def score(result: dict, arm: str, k: int | None, metric: str = "f1") -> dict:
    return next(r for r in result["scores"] if (r["arm"], r["k"], r["metric"]) == (arm, k, metric))


def contrast(result: dict, treatment: str, reference: str, k: int | None = None, metric: str = "f1") -> dict:
    return next(r for r in result["contrasts"]
                if (r["treatment"], r["reference"], r["k"], r["metric"]) == (treatment, reference, k, metric))


@pytest.fixture(scope="module")
def better() -> dict:
    """Of a study whose GAN arms are better by construction."""
    return analysed(outcomes(subjects=150, ks=(50,), images=2, gain={"GAN": 1.5, "AUG_GAN": 1.5}), ks=(50,))


def test_a_score_is_pooled_over_folds_and_averaged_over_seeds_and_k() -> None:
    said = outcomes(TWO)
    result = analysed(said, TWO)
    by_seed = {}
    for k in KS:
        for s in (0, 1):
            parts = [said[k, f, s, "GAN"] for f in range(3)]
            truth = np.concatenate([[label == "lesion" for label in p.labels] for p in parts])
            by_seed[k, s] = f1_score(truth, np.concatenate([p.decisions["lesion"] for p in parts]))
        assert score(result, "GAN", k)["value"] == pytest.approx((by_seed[k, 0] + by_seed[k, 1]) / 2)
    whole = score(result, "GAN", None)
    assert whole["value"] == pytest.approx(np.mean(list(by_seed.values())))
    one = said[25, 1, 0, "GAN"], said[25, 1, 1, "GAN"]
    fold = [f1_score([label == "lesion" for label in p.labels], p.decisions["lesion"]) for p in one]
    assert score(result, "GAN", 25)["per_fold"][1] == pytest.approx(np.mean(fold))
    cells = {(c["arm"], c["k"], c["fold"], c["seed"]): c["f1"] for c in result["cells"]}
    assert len(cells) == 2 * 2 * 3 * 2
    assert [cells["GAN", 25, 1, s] for s in (0, 1)] == pytest.approx(fold)
    assert (whole["n_images"], whole["n_subjects"], whole["n_positive_subjects"]) == (180, 60, 30)
    assert whole["floor"] == pytest.approx(2 / 3)


def test_better_images_help(better: dict) -> None:
    assert better["answer"]["verdict"] == "helps"
    assert better["answer"]["primary"] == ["AUG_GAN", "AUG_OVERSAMPLE"]
    assert better["contrasts"][0]["primary"] and better["contrasts"][0]["k"] is None
    assert contrast(better, "GAN", "OVERSAMPLE")["answer"] == "helps"
    assert contrast(better, "OVERSAMPLE", "ORG")["answer"] != "helps"


def test_the_same_predictions_differ_by_exactly_0_and_do_not_help() -> None:
    said = outcomes(("AUG_OVERSAMPLE",), ks=(25, 50, 100), seeds=3)
    said |= {(k, f, s, "AUG_GAN"): p for (k, f, s, _), p in said.items()}
    whose = {s: lab for f in range(3) for s, lab in zip(said[25, f, 0, "AUG_GAN"].subjects,
                                                        said[25, f, 0, "AUG_GAN"].labels, strict=True)}
    few = min(Counter(whose.values()).values())
    q = 1 - 0.025 ** (1 / few)  # of so many subjects none differs; of others so large a share may
    for margin, answer in ((1.01 * q / (2 - q), "does not help"), (0.99 * q / (2 - q), "can't tell")):
        result = analysed(said, ("AUG_OVERSAMPLE", "AUG_GAN"), ks=(25, 50, 100), seeds=3, margin=margin)
        found = contrast(result, "AUG_GAN", "AUG_OVERSAMPLE")
        assert (found["difference"], found["p"]) == (0, 1)
        assert found["interval"] == pytest.approx([-q / (2 - q), q / (2 - q)])
        assert found["answer"] == result["answer"]["verdict"] == answer


def test_scores_of_different_classifiers_are_not_ranked_together() -> None:
    """A fold whose scores are all shifted ranks as well as before: pooled, it would look worse."""
    said = outcomes(TWO, ks=(25,))
    shifted = {key: replace(p, scores={c: v / 10 ** key[1] for c, v in p.scores.items()}) for key, p in said.items()}
    rows = [score(analysed(own, TWO, ks=(25,)), "GAN", None, "roc_auc") for own in (said, shifted)]
    assert rows[0] == rows[1]
    each = [roc_auc_score([label == "lesion" for label in p.labels], p.scores["lesion"])
            for (_, _, _, arm), p in said.items() if arm == "GAN"]
    assert rows[0]["value"] == pytest.approx(np.mean(each))


def test_the_interval_agrees_with_p(better: dict) -> None:
    for row in better["contrasts"]:
        low, high = row["interval"]
        assert low <= row["difference"] <= high
        assert (low > 0 or high < 0) == (row["p"] < 0.05)
    for row in better["scores"]:
        assert 0 <= row["interval"][0] <= row["value"] <= row["interval"][1] <= 1


def test_only_f1_averaged_over_k_has_an_answer(better: dict) -> None:
    for row in better["contrasts"]:
        assert (row["answer"] is not None) == ((row["metric"], row["k"]) == ("f1", None))
        alone = row["primary"] or (row["treatment"], row["reference"]) == ("GAN", "OVERSAMPLE")  # these must agree
        assert (row["p_holm"] is not None) == (row["answer"] is not None and not alone)
    others = [row for row in better["contrasts"] if row["p_holm"] is not None]
    assert len(others) == 5
    assert min(row["p_holm"] for row in others) == pytest.approx(5 * min(row["p"] for row in others))
    answered = [row["answer"] is not None for row in better["contrasts"]]
    assert answered == sorted(answered, reverse=True)


def test_every_key_is_documented_and_json(better: dict) -> None:
    json.dumps(better, allow_nan=False)
    keys = {*better, *better["answer"], *better["scores"][0], *better["contrasts"][0], *better["cells"][0]}
    assert [key for key in keys if key not in (analyse.__doc__ or "")] == []


def test_the_order_of_outcomes_and_rows_does_not_matter() -> None:
    said, rng = outcomes(TWO), np.random.default_rng(1)
    other = {key: shuffled(said[key], rng) for key in reversed(list(said))}
    assert analysed(other, TWO) == analysed(said, TWO)


@pytest.mark.parametrize(("folds", "seeds"), [(3, 2), (5, 3), (6, 1)])
def test_training_adds_what_refits_differ_by_beyond_their_test_subjects(folds: int, seeds: int) -> None:
    """Refits of variance 4 + 1, the 1 being that of their test subjects; half of what these do is alike in a fold."""
    rng, added = np.random.default_rng(0), []
    for _ in range(1000):
        def tested(count: int) -> np.ndarray:
            alike = rng.normal(0, 0.5 ** 0.5, (folds, 1, count))
            return alike + rng.normal(0, 0.5 ** 0.5, (folds, seeds, count))

        refits = np.concatenate([rng.normal(0, 2, (folds, seeds, 1)) + tested(1), tested(50)], axis=2)
        added.append(with_training(Error(1.0, 20), refits).variance - 1)
    assert np.mean(added) == pytest.approx(4 * (1 / (folds * seeds) + ALIKE), rel=0.1)


def test_seeds_that_differ_by_their_test_subjects_alone_add_nothing_and_few_seeds_have_few_degrees_of_freedom() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(0, 1, (3, 2, 200))
    small, large = (np.concatenate([np.tile([-size, size], (3, 1))[..., None], draws], axis=2) for size in (0.5, 3.0))
    subjects = Error(0.3, 20)
    assert with_training(subjects, small) == subjects
    total = with_training(subjects, large)
    assert total.variance > 0.3 + 10 * (1 / 6 + ALIKE)
    assert 3 <= total.freedom < 6  # of three pairs of seeds


def test_resampled_subjects_vary_as_independent_strata_of_whole_subjects_do() -> None:
    """The variance of a total over replicates is the textbook one, S/(S-1) and all; prevalence of subjects is kept."""
    pool = pool_images(outcomes(TWO, subjects=18, images=2), Grid(KS, (0, 1, 2), (0, 1), TWO), ["lesion"])
    weights = replicate_weights(pool, 20_000, 0)
    each = np.array([weights[:, pool.subjects == s].T for s in range(18)])
    assert (each[:, 0] == each[:, 1]).all()  # a subject's images come together
    truth = pool.truth["lesion"]
    for fold in range(3):
        for stratum in (truth, ~truth):
            assert weights[:, stratum & (pool.fold == fold)].sum(1) == pytest.approx(np.full(20_000, 6.0))
    values = np.random.default_rng(1).normal(size=len(truth))
    strata = [[values[pool.subjects == s].sum() for s in np.unique(pool.subjects[(pool.fold == f) & (truth == y)])]
              for f in range(3) for y in (True, False)]
    assert (weights @ values).var() == pytest.approx(sum(len(s) * np.var(s, ddof=1) for s in strata), rel=0.05)


def test_few_positive_subjects_have_no_interval() -> None:
    said = {key: replace(p, labels=tuple("lesion" if label == "lesion" and s < "s008" else "none"
                                         for s, label in zip(p.subjects, p.labels, strict=True)))
            for key, p in outcomes(TWO).items()}
    result = analysed(said, TWO)
    assert result["n_positive_subjects"] == {"lesion": 4}
    assert all(row["interval"] is None for row in result["scores"] + result["contrasts"])
    assert result["answer"]["verdict"] == "can't tell"
    assert "too few" in contrast(result, "GAN", "OVERSAMPLE")["sentence"]
    right = [f == (label == "lesion") for (_, _, _, arm), p in said.items() if arm == "GAN"
             for s, label, f in zip(p.subjects, p.labels, p.decisions["lesion"], strict=True) if s == "s003"]
    assert result["per_subject"]["GAN"]["s003"] == pytest.approx(np.mean(right))
    assert len(result["per_subject"]["GAN"]) == 60


def test_several_positive_classes_are_averaged() -> None:
    said = outcomes(TWO, classes=("none", "lesion", "cyst"))
    both, *each = (analysed(said, TWO, positives=c) for c in (("lesion", "cyst"), ("lesion",), ("cyst",)))
    assert both["n_positive_subjects"] == {"lesion": 20, "cyst": 20}
    assert score(both, "GAN", 50)["value"] == pytest.approx(np.mean([score(r, "GAN", 50)["value"] for r in each]))


def test_cells_that_are_missing_or_judged_other_images_are_refused() -> None:
    said = outcomes(TWO)
    with pytest.raises(UserError, match=r"k = 50, fold 2, seed 1, arm GAN"):
        analysed({key: p for key, p in said.items() if key != (50, 2, 1, "GAN")}, TWO)
    p = said[25, 1, 1, "GAN"]
    with pytest.raises(UserError, match="other images"):
        analysed({**said, (25, 1, 1, "GAN"): replace(p, labels=p.labels[::-1])}, TWO)


def test_an_external_set_is_the_mean_of_all_classifiers() -> None:
    said = outcomes(TWO, subjects=40, images=2, gain={"GAN": 1.5}, external=True)
    result = analysed(outcomes(TWO), TWO, external=said)["external"]
    assert (result["n_images"], result["n_subjects"]) == (80, 40)
    values = []
    for key, p in said.items():
        for half in (0, 1):
            rows = np.flatnonzero(p.half == half)
            truth = [p.labels[i] == "lesion" for i in rows]
            values += [f1_score(truth, p.decisions["lesion"][rows])] if key[3] == "GAN" else []
    assert score(result, "GAN", None)["value"] == pytest.approx(np.mean(values))
    assert "external set" in contrast(result, "GAN", "OVERSAMPLE")["sentence"]
    assert len(score(result, "GAN", None)["per_fold"]) == 3


def test_classifiers_that_agree_on_external_subjects_still_leave_the_subjects_uncertain() -> None:
    """All refits say the same of the same subjects: refits then tell nothing of how other subjects would fare."""
    judged = outcomes(TWO, subjects=40, images=2, gain={"GAN": 0.6}, external=True)
    same = {key: judged[25, 0, 0, key[3]] for key in judged}
    row = contrast(analysed(outcomes(TWO), TWO, external=same)["external"], "GAN", "OVERSAMPLE")
    assert row["interval"][1] - row["interval"][0] > 0.01


# -- the metrics

N = 60


def random_scores(seed: int, ties: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(N) < 0.3
    values = np.clip(0.3 * truth + rng.random(N) * 0.7, 0, 1)
    values = np.round(values, 1) if ties else values
    return truth, values, values >= 0.5


KNOWN = {"f1": lambda y, p, d: sk.f1_score(y, d), "precision": lambda y, p, d: sk.precision_score(y, d),
         "recall": lambda y, p, d: sk.recall_score(y, d), "brier": lambda y, p, d: sk.brier_score_loss(y, p),
         "balanced_accuracy": lambda y, p, d: sk.balanced_accuracy_score(y, d),
         "average_precision": lambda y, p, d: sk.average_precision_score(y, p),
         "roc_auc": lambda y, p, d: sk.roc_auc_score(y, p)}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("name", KNOWN)
def test_scores_are_those_of_sklearn(name: str, ties: bool) -> None:
    for seed in range(5):
        truth, values, decided = random_scores(seed, ties)
        found = METRICS[name](truth, values, decided, np.ones((1, N)))
        assert found == pytest.approx([KNOWN[name](truth, values, decided)], abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("name", METRICS)
def test_a_weight_is_a_number_of_copies(name: str, ties: bool) -> None:
    truth, values, decided = random_scores(1, ties)
    weights = np.random.default_rng(0).integers(0, 4, (300, N)).astype(float)  # more than are done at once
    found = METRICS[name](truth, values, decided, weights)
    for row in (0, 255, 256, 299):
        copies = np.repeat(np.arange(N), weights[row].astype(int))
        once = np.ones((1, len(copies)))
        repeated = METRICS[name](truth[copies], values[copies], decided[copies], once)[0]
        assert found[row] == pytest.approx(repeated, abs=1e-12)
        if name in KNOWN:
            assert found[row] == pytest.approx(KNOWN[name](truth[copies], values[copies], decided[copies]), abs=1e-12)


def test_nothing_called_positive_scores_0_and_no_positives_are_undefined() -> None:
    truth, never = np.array([True, False, False]), np.zeros(3, bool)
    values, once = np.array([0.2, 0.1, 0.3]), np.ones((1, 3))
    assert f1(truth, values, never, once) == precision(truth, values, never, once) == 0
    for name in ("recall", "average_precision", "roc_auc", "balanced_accuracy"):
        assert np.isnan(METRICS[name](never, values, never, once)).all()


def test_calibration_error_of_known_scores() -> None:
    truth, once = np.tile([True] * 3 + [False] * 7, 10), np.ones((1, 100))
    for score, error in ((0.3, 0.0), (0.5, 0.2), (0.0, 0.3)):
        assert calibration_error(truth, np.full(100, score), truth, once) == pytest.approx([error], abs=1e-12)
    # ten bins: an error of opposite sign in the lower and the upper half of each score's neighbours does not cancel
    values, truth = np.linspace(0, 1, 100), np.arange(100) >= 50
    bins = [abs(values[i:i + 10].mean() - truth[i:i + 10].mean()) for i in range(0, 100, 10)]
    assert calibration_error(truth, values, truth, once) == pytest.approx([np.mean(bins)])


def test_what_knows_nothing_scores_the_floor() -> None:
    truth = np.arange(100) < 20
    always, equal, once = np.ones(100, bool), np.full(100, 0.2), np.ones((1, 100))
    for name in METRICS:
        floor = ignorant(name, 0.2)
        if floor is not None:
            assert METRICS[name](truth, equal, always, once) == pytest.approx([floor])
    assert ignorant("recall", 0.2) is None


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "least"), [(0, 0.4), (3, 0.15), (11, 0.4)])  # 24 + 31 subjects twice, 100 + 100
def test_the_interval_covers_and_sees_a_gain_that_is_there(kind: int, least: float) -> None:
    """Of 400 simulated studies; benchmarks/study_coverage.py has all kinds, and says what they are."""
    from benchmarks.study_coverage import judged, worlds

    rng = np.random.default_rng(3)
    estimates = [judged(replace(worlds()[kind], gain=0.5), rng) for _ in range(400)]
    low, high = np.array([e.interval for e in estimates]).T
    truth = np.mean([e.value for e in estimates])
    assert 0.92 < np.mean((low <= truth) & (truth <= high)) < 0.985  # of 95%: three standard errors
    assert np.mean(low > 0) > least
