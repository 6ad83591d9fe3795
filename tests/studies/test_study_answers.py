"""What a study compares, which comparison counts, what it then says, and the summary that it prints."""

from __future__ import annotations

from typing import Any

import pytest

from ganatomy.core.errors import UserError
from ganatomy.studies.answers import (
    Frame,
    answer_of,
    companion_of,
    controls_of,
    pairs_of,
    primary_of,
    sentence,
    verdict,
)
from ganatomy.studies.inference import Estimate
from ganatomy.studies.protocol import named
from ganatomy.studies.results import comparisons, poor_gans, table
from tests.studies.study_outcomes import SIX, audits, simulated

FRAME = Frame(0.02, {"lesion": (24, 31)}, (25, 50), 3, 2, 6)


@pytest.mark.parametrize(("value", "half", "p_holm", "answer"), [
    (0.05, 0.03, None, "helps"), (0.05, 0.03, 0.04, "helps"), (0.05, 0.03, 0.06, "can't tell"),
    (0.015, 0.01, None, "can't tell"), (0.05, 0.06, None, "can't tell"), (0.01, 0.005, None, "does not help"),
    (0.0, 0.01, 1.0, "does not help"), (-0.05, 0.03, None, "hurts"), (-0.01, 0.005, None, "does not help"),
    (-0.05, 0.06, None, "does not help"), (-0.05, 0.08, None, "can't tell"), (-0.05, 0.03, 0.06, "does not help")])
def test_an_answer_needs_interval_margin_and_holm(value: float, half: float, p_holm: float | None, answer: str) -> None:
    assert answer_of(Estimate(value, (value - half, value + half), p=0.01), 0.02, p_holm) == answer


def pairs(*arms: str) -> list[tuple[str, str]]:
    return [(p.treatment, p.reference) for p in pairs_of(arms)]


def test_the_six_arms_are_compared_by_what_is_added() -> None:
    assert pairs(*SIX)[0] == ("AUG_GAN", "AUG_OVERSAMPLE")
    assert set(pairs(*SIX)) == {
        ("AUG_GAN", "AUG_OVERSAMPLE"), ("GAN", "OVERSAMPLE"), ("GAN", "ORG"), ("AUG_GAN", "AUG_ORG"),
        ("OVERSAMPLE", "ORG"), ("AUG_OVERSAMPLE", "AUG_ORG"), ("AUG_ORG", "ORG")}
    assert [p.primary for p in pairs_of(SIX)].count(True) == 1


def test_every_factor_and_augmentation_has_its_own_reference() -> None:
    assert pairs("ORG", "OVERSAMPLE@0.5", "OVERSAMPLE@5", "GAN@0.5", "GAN@5") == [
        ("GAN@0.5", "OVERSAMPLE@0.5"), ("OVERSAMPLE@0.5", "ORG"), ("OVERSAMPLE@5", "ORG"), ("GAN@0.5", "ORG"),
        ("GAN@5", "OVERSAMPLE@5"), ("GAN@5", "ORG")]
    assert pairs("ORG", "AUG_ORG", "AUG2_ORG", "GAN_ONLY") == [
        ("AUG_ORG", "ORG"), ("AUG2_ORG", "AUG_ORG"), ("GAN_ONLY", "ORG")]
    assert pairs("GAN", "AUG_OVERSAMPLE") == []


@pytest.mark.parametrize(("arms", "primary"), [
    (SIX, ("AUG_GAN", "AUG_OVERSAMPLE")), (("GAN", "OVERSAMPLE", "AUG_GAN"), ("GAN", "OVERSAMPLE")),
    (("AUG2_GAN", "AUG2_OVERSAMPLE", "AUG_FRESH", "AUG_OVERSAMPLE"), ("AUG2_GAN", "AUG2_OVERSAMPLE")),
    (("AUG2_GAN", "AUG2_OVERSAMPLE", "GAN", "OVERSAMPLE"), ("GAN", "OVERSAMPLE")),
    (("NOISE", "COPIES", "OVERSAMPLE", "AUG_NOISE", "AUG_OVERSAMPLE"), ("COPIES", "OVERSAMPLE")),
    (("AUG_GAN@5", "AUG_GAN@0.5", "AUG_OVERSAMPLE@0.5", "AUG_OVERSAMPLE@5"), ("AUG_GAN@5", "AUG_OVERSAMPLE@5")),
    (("ORG", "GAN"), None), (("OVERSAMPLE@1", "GAN@2"), None)])
def test_the_primary_comparison_is_named_beforehand(arms: tuple[str, ...], primary: tuple[str, str] | None) -> None:
    assert primary_of(arms) == primary


def test_names_come_apart() -> None:
    assert named("AUG2_GAN_ONLY@0.5").source == "GAN_ONLY"
    assert (named("AUG2_GAN").prefix, named("AUG_GAN@1.5").at, named("GAN").at) == ("AUG2_", "1.5", "")
    with pytest.raises(UserError, match="no arm is called 'GANS'"):
        named("GANS")
    assert companion_of(("AUG_GAN@5", "AUG_OVERSAMPLE@5"), ("GAN@5", "OVERSAMPLE@5")) == ("GAN@5", "OVERSAMPLE@5")
    assert companion_of(("GAN", "OVERSAMPLE"), SIX) is None


def row(treatment: str, reference: str, answer: str, primary: bool = False, low: float = 0.01) -> dict[str, Any]:
    sign = -1 if answer == "hurts" else 1
    return {"treatment": treatment, "reference": reference, "answer": answer, "primary": primary, "p_holm": None,
            "difference": sign * 0.05, "interval": [low, 0.09], "sentence": f"{treatment} {answer}."}


@pytest.mark.parametrize(("primary", "other", "low", "told"), [
    ("helps", "helps", 0.01, "helps"), ("helps", "can't tell", -0.02, "can't tell"),
    ("helps", "can't tell", 0.01, "helps"), ("can't tell", "helps", 0.01, "can't tell"),
    ("does not help", "helps", 0.01, "can't tell"), ("does not help", "can't tell", -0.02, "does not help"),
    ("hurts", "can't tell", -0.02, "hurts")])
def test_helps_needs_both_comparisons(primary: str, other: str, low: float, told: str) -> None:
    found = verdict([row("AUG_GAN", "AUG_OVERSAMPLE", primary, True), row("GAN", "OVERSAMPLE", other, low=low)], [],
                    SIX, FRAME)
    assert found["verdict"] == told
    assert found["primary"] == ["AUG_GAN", "AUG_OVERSAMPLE"]
    assert any("must agree" in why for why in found["why"]) == ((primary == "helps") != (low > 0))
    for words in ("24 subjects with lesion and 31 without", "3 folds, 2 seeds", "k = 25, 50", "0.010 to +0.090"):
        assert words in found["sentence"]


def test_the_companion_says_that_it_counts_only_together_with_the_primary_comparison() -> None:
    more = {"metric": "f1", "k": None, "p": 0.01, "floor": None}
    primary = row("AUG_GAN", "AUG_OVERSAMPLE", "can't tell", True) | more
    other = row("GAN", "OVERSAMPLE", "helps") | more
    words = ", which counts only together with the primary comparison"
    assert f"Helps{words} (0.02" in sentence(other, FRAME) and words not in sentence(primary, FRAME)
    assert "(helps)" in (text := comparisons([primary, other]).text()) and "In brackets" in text
    corrected = row("GAN", "ORG", "helps") | more | {"p_holm": 0.01}
    assert "Helps (0.02" in sentence(corrected, FRAME) and "(helps)" not in comparisons([primary, corrected]).text()


def test_a_negative_control_that_helps_forbids_a_yes() -> None:
    rows = [row("AUG_GAN", "AUG_OVERSAMPLE", "helps", True), row("GAN", "OVERSAMPLE", "helps")]
    controls = controls_of([row("COPIES", "OVERSAMPLE", "helps")])
    found = verdict(rows, controls, (*SIX, "COPIES"), FRAME)
    assert found["verdict"] == "can't tell" and "COPIES came out as helping too" in found["why"][0]
    fresh = controls_of([row("FRESH", "OVERSAMPLE", "can't tell")])
    assert verdict(rows, fresh, (*SIX, "FRESH"), FRAME)["verdict"] == "helps"


@pytest.mark.parametrize("low", [0.45, 0.55])
def test_classifiers_that_have_learnt_nothing_are_a_remark_and_change_no_answer(low: float) -> None:
    arms = ("AUG_GAN", "AUG_OVERSAMPLE")
    scores = [{"arm": arm, "metric": "roc_auc", "k": None, "value": 0.6, "interval": [at, 0.7], "floor": 0.5}
              for arm, at in zip(arms, (low, 0.4), strict=True)]
    found = verdict([row(*arms, "does not help", True)], [], arms, FRAME, scores)
    assert found["verdict"] == "does not help"
    assert any("learnt anything" in why for why in found["why"]) == (low < 0.5)


# -- in a terminal


@pytest.fixture(scope="module")
def six() -> dict[str, Any]:
    return simulated()


@pytest.mark.parametrize(("verdict", "mark"), [("helps", "[+]"), ("hurts", "[x]"), ("does not help", "[!]"),
                                               ("can't tell", "[?]")])
def test_the_answer_is_first(six: dict[str, Any], verdict: str, mark: str) -> None:
    lines = table({**six, "answer": {**six["answer"], "verdict": verdict}}).splitlines()
    assert lines[0] == f"{mark} {verdict}: {six['answer']['sentence']}"
    assert [line.strip() for line in lines[1:1 + len(six["answer"]["why"])]] == six["answer"]["why"]


def test_audits_are_one_line_that_names_copies(six: dict[str, Any]) -> None:
    line = next(line for line in table(six).splitlines() if line.startswith("8 GANs"))
    assert "1 with copies" in line and "(k0025-fold0-seed0)" in line and "1 not audited" in line
    near, far = (float(line.split(f" (k = {k})")[0].split()[-1]) for k in (100, 25))
    assert near == pytest.approx(220, rel=0.01) and far == pytest.approx(880, rel=0.01)  # medians, times 1000


def test_of_few_subjects_each_stands_by_itself() -> None:
    results = simulated(subjects=8)
    _, *lines = table(results).partition("Called right")[2].splitlines()
    assert [line.split()[0] for line in lines[:8]] == [f"s{i:03d}" for i in range(8)]


def test_gans_farther_than_blurred_images_are_named() -> None:
    few = audits([25], 2, 1, ["tumour"])  # distances of 0.8 and 0.84
    assert "of 1 of 2 GANs" in poor_gans([{**few[0], "blurred": 0.7}, {**few[1], "blurred": 0.9}])[0]
    assert poor_gans([{**few[0], "blurred": 0.9}, {**few[1], "blurred": None}]) == []
