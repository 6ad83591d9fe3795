"""The traffic lights: what they say of results whose meaning is plain, and what the gate lets pass."""

from __future__ import annotations

from typing import Any

import pytest

from ganatomy.core.errors import GateError, UserError
from ganatomy.evaluation.verdicts import check_gates, verdicts, with_fault
from ganatomy.metrics import is_of
from ganatomy.metrics.schema import Control, Result, Verdict


def entry(name: str, value: float, against: str = "test", subjects: int = 40, **more: Any) -> Result:
    return Result(name=name, against=against, value=value, n_images=2 * subjects, n_subjects=subjects,
                  n_synthetic=500, **more)


def distance(value: float, p: float = 0.002, subjects: int = 40, name: str = "KD-Lite0") -> Result:
    return entry(name, value, subjects=subjects, floor=0.0, floor_interval=(-0.01, 0.01),
                 interval=(value - 0.01, value + 0.01), p_no_difference=p)


def control(value: float, model: float, name: str = "KD-Lite0") -> Control:
    return Control(control="blurred real images", name=name, value=value, behind_model=value > model)


def audit(verdict: str, name: str = "Copies", resolution: float = 0.005, against: str = "train",
          **more: Any) -> Result:
    details = {"verdict": verdict, "rate": 0.01, "resolution": resolution, "calibration_subjects": 150, "judged": 60,
               "training_subjects": 50, "expected_subjects": 0.5, "flagged": 4, "evident": 0, "exact": 0,
               "held_out_evident": 0, "copied": [{"subject": "sub-1"}], "pairs": []}
    return entry(name, 0.0, against, interval=(0.0, 0.01), details=details | more)


def repeats(share: float = 0.01, against: str = "test", subjects: int = 40, rate_high: float = 0.1) -> Result:
    details = {"rate": 0.01, "rate_high": rate_high, "compared": 40, "groups": [], "effective": None}
    return entry("Duplicates-Lite0", share, against, subjects, interval=(share - 0.01, share + 0.01), details=details)


def lights(results: list[Result], controls: list[Control] | None = None) -> dict[str, str]:
    return {v.question: v.light for v in verdicts(results, controls or [])}


def of(question: str, results: list[Result], controls: list[Control] | None = None) -> Verdict:
    return next(v for v in verdicts(results, controls or []) if v.question == question)


@pytest.mark.parametrize(("model", "blur", "p", "light"), [
    (0.005, 0.3, 0.4, "green"), (0.08, 0.3, 0.002, "amber"), (0.2, 0.3, 0.002, "red"), (0.4, 0.3, 0.002, "red")])
def test_realistic_is_how_far_a_model_has_come_from_the_controls(model: float, blur: float, p: float,
                                                                 light: str) -> None:
    for name in ("KD-Lite0", "KID"):
        assert lights([distance(model, p, name=name)], [control(blur, model, name)])["realistic"] == light


def test_a_fault_named_by_a_check_takes_the_green_away() -> None:
    peaks = [{"period_px": 2.0, "direction": "both (checkerboard)", "excess_db": 12.0}]
    results = [distance(0.005, 0.4), entry("Spectrum", 3.0, details={"peaks": peaks})]
    verdict = of("realistic", results, [control(0.3, 0.005)])
    assert verdict.light == "amber" and "every 2 px" in verdict.says


def test_of_too_few_patients_nothing_is_red() -> None:
    few = entry("KD-Lite0", 0.4, subjects=3)
    assert lights([few], [control(0.2, 0.4)])["realistic"] == "amber"
    assert lights([few], [control(2.0, 0.4)])["realistic"] == "grey"


@pytest.mark.parametrize("blur", [0.2, 0.5])
def test_nothing_is_red_that_the_test_does_not_show(blur: float) -> None:
    verdict = of("realistic", [distance(0.4, 0.3)], [control(blur, 0.4)])
    assert verdict.light == "grey" and "not told apart" in verdict.says
    verdict = of("realistic", [distance(0.4, 0.01)], [control(blur, 0.4)])
    assert verdict.light == "red" and "not told apart" not in verdict.says.lower()


def test_a_measure_that_takes_a_control_for_real_is_blind() -> None:
    assert lights([distance(-0.02)], [control(-0.01, -0.02)])["realistic"] == "grey"


def test_without_a_floor_nothing_is_said() -> None:
    found = lights([entry("KD-Lite0", 0.1, subjects=3)])
    assert found == {"realistic": "grey", "diverse": "grey", "copies": "grey", "enough data": "red"}


@pytest.mark.parametrize(("ratio", "interval", "light"), [
    (1.0, (0.9, 1.1), "green"), (0.8, (0.7, 0.9), "amber"), (0.8, (0.6, 1.0), "green"), (0.4, (0.3, 0.5), "red"),
    (0.4, (-0.4, 1.2), "amber"), (0.4, None, "amber")])
def test_diverse_follows_the_ratio_to_real_images_and_is_red_by_its_interval_alone(
        ratio: float, interval: tuple[float, float] | None, light: str) -> None:
    found = entry("Diversity-Lite0", 1.0, ratio=ratio, ratio_interval=interval)
    assert lights([distance(0.01), found, repeats()])["diverse"] == light


def test_duplicates_are_judged_by_the_split_with_more_patients() -> None:
    diverse = entry("Diversity-Lite0", 1.0, ratio=1.0, ratio_interval=(0.9, 1.1))
    few = repeats(0.5, "test", 8, rate_high=0.68)
    assert lights([diverse, few])["diverse"] == "grey"  # 8 patients cannot tell
    assert lights([diverse, few, repeats(0.5, "train", 60)])["diverse"] == "red"
    assert lights([diverse, few, repeats(0.01, "train", 60)])["diverse"] == "green"


@pytest.mark.parametrize(("name", "score", "light"), [
    ("Coverage-Lite0", 0.1, "red"), ("Coverage-Lite0", 0.7, "amber"), ("Recall-Lite0", 0.1, "amber"),
    ("Recall-Lite0", 0.87, "green")])
def test_kinds_that_are_missing_are_no_diversity(name: str, score: float, light: str) -> None:
    exchanged = {"value": score, "chance": 0.9, "n_images": 40}
    diverse = entry("Diversity-Lite0", 1.0, ratio=1.0, ratio_interval=(0.9, 1.1))
    results = [diverse, entry(name, score, exchanged=exchanged, p_no_difference=0.004), repeats()]
    assert lights(results)["diverse"] == light
    chance = entry(name, score, exchanged=exchanged, p_no_difference=0.03)  # four checks stand behind a light
    assert lights([diverse, chance, repeats()])["diverse"] == "green"


def test_a_name_that_begins_alike_is_another_metric() -> None:
    assert is_of("Copies", "Copies") and is_of("KID", "KD")
    assert is_of("Critic-JS-Lite0", "Critic-JS") and not is_of("Critic-A", "Critic-JS")
    assert with_fault(entry("MS-SSIM-3", 0.5, ratio=0.2)).fault == ""
    assert "repeats itself" in with_fault(entry("Diversity-Lite0", 1.0, ratio=0.2, ratio_interval=(0.1, 0.3))).fault


@pytest.mark.parametrize(("verdict", "light"), [("clean", "green"), ("suspicious", "amber"), ("copies", "red")])
def test_the_audits_verdict_is_a_light(verdict: str, light: str) -> None:
    assert lights([audit(verdict)])["copies"] == light


def test_a_leak_is_worse_than_a_clean_audit() -> None:
    verdict = of("copies", [audit("clean"), audit("copies", "Leak", against="test")])
    assert verdict.light == "red" and "test images" in verdict.says


def test_enough_data_needs_images_and_subjects_for_intervals_and_for_the_audit() -> None:
    assert lights([distance(0.01), audit("clean")])["enough data"] == "green"
    assert lights([distance(0.01, subjects=12), audit("clean")])["enough data"] == "amber"
    few = distance(0.01).model_copy(update={"n_synthetic": 3})
    assert lights([few, audit("clean")])["enough data"] == "amber"
    assert lights([distance(0.01), audit("clean", resolution=0.06)])["enough data"] == "amber"
    assert lights([distance(0.01), audit("clean"), entry("Critic-JS", 0.0, details={"enough": False})])[
        "enough data"] == "amber"


def test_an_unknown_gate_never_passes() -> None:
    with pytest.raises(UserError, match="there is no gate 'cop'"):
        check_gates({"verdicts": [of("copies", [audit("clean")]).to_json()]}, "cop")


@pytest.mark.parametrize(("results", "passes"), [
    ([audit("clean")], True), ([audit("suspicious")], True), ([audit("copies")], False), ([], False)])
def test_the_gate_passes_only_what_was_audited(results: list[Result], passes: bool) -> None:
    metrics = {"verdicts": [v.to_json() for v in verdicts(results)]}
    check_gates(metrics, [])
    if passes:
        check_gates(metrics, ["copies"])
    else:
        with pytest.raises(GateError) as caught:
            check_gates(metrics, ["copies"])
        assert caught.value.exit_code == 3
