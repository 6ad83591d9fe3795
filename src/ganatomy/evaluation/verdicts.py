"""One traffic light a question: realistic? diverse? copies? enough data to say so? And the gates on them.

Nothing else judges: the terminal, reports and comparisons print these sentences. Which metrics find faults, and of
which question, they declare themselves (`ABOUT`, `fault`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganatomy.core.errors import GateError, UserError
from ganatomy.core.text import counted, grouped, interval, listed, number
from ganatomy.metrics import duplicates, factor, is_of, metric_modules, shown
from ganatomy.metrics.base import MIN_SUBJECTS, Grave
from ganatomy.metrics.schema import Control, Light, Question, Result, Verdict

Answer = tuple[Light, str]  # to a question, and why
LEVEL = 0.05
NO_FLOOR = f"Fewer than {MIN_SUBJECTS} test subjects: there is no floor to judge by."
FLATTERING = "Training looked through the network of {}, or a relative: its features flatter and judge nothing."
NEAR = 0.5  # of the way from real images to the nearest control: beyond it, a model is nearer to the control
MANY_SUBJECTS, FEW_SYNTHETIC = 30, 50
LIGHTS: Mapping[str, Light] = {"clean": "green", "suspicious": "amber", "copies": "red"}  # of an audit's verdict


def verdicts(results: Sequence[Result], controls: Sequence[Control] = ()) -> tuple[Verdict, ...]:
    """The four verdicts from the results and controls of an evaluation; those that flatter have no say."""
    results = [r for r in results if r.value is not None]
    head = next((r for r in results if r.against == "test" and factor(r.name) == 1000), None)
    if head is not None and head.flattering:
        says = FLATTERING.format(head.name.partition("-")[2])
        honest = [r for r in results if not r.flattering]
        return tuple(Verdict(question=question, light=light, says=text) for question, (light, text) in (
            ("realistic", ("grey", says)), ("diverse", ("grey", says)), ("copies", copies(honest)),
            ("enough data", _enough(head, results))))
    of_test = {r.name: r for r in reversed(results) if r.against == "test"}
    answers: dict[Question, Answer] = {
        "realistic": _realistic(head, controls, faults(results, "realistic")), "diverse": _diverse(of_test, results),
        "copies": copies(results), "enough data": _enough(head, results)}
    return tuple(Verdict(question=question, light=light, says=says) for question, (light, says) in answers.items())


def faults(results: Sequence[Result], question: Question) -> list[str]:
    """What the metrics of a question object to; a `Grave` objection weighs more."""
    texts = []
    for module in metric_modules(None):
        for name in (one.name for one in module.ABOUT if one.question == question and hasattr(module, "fault")):
            own = [r for r in results if is_of(r.name, name)]
            judged = module.judged(own) if hasattr(module, "judged") else \
                next((r for r in own if r.against == "test"), None)
            texts.append(module.fault(judged) if judged else "")
    return [text for text in texts if text]


def with_fault(result: Result) -> Result:
    """A result with what its metric objects to: reports print it, and judge nothing themselves."""
    module = next((m for m in metric_modules(None) if any(is_of(result.name, one.name) for one in m.ABOUT)), None)
    return result.model_copy(update={"fault": str(module.fault(result))}) if hasattr(module, "fault") and module else \
        result


def check_gates(metrics: Mapping[str, Any], gates: Sequence[str]) -> None:
    """Raise `GateError` if a gate that the user asked for did not pass; what cannot be told does not pass."""
    unknown = [gate for gate in ([gates] if isinstance(gates, str) else gates) if gate != "copies"]
    if unknown:
        raise UserError(f"there is no gate {unknown[0]!r}", where="--fail-on", fix="use copies")
    if not gates:
        return
    if "verdicts" not in metrics:
        raise UserError("the audit of copies is for images from noise", where="--fail-on", fix="leave it out")
    (verdict,) = (v for v in metrics["verdicts"] if v["question"] == "copies")
    if verdict["light"] in ("red", "grey"):
        raise GateError(f"the gate “copies” did not pass: {verdict['says']}", where="--fail-on")


def _realistic(head: Result | None, controls: Sequence[Control], objections: Sequence[str]) -> Answer:
    """By the headline: the permutation test, and its distance on the way from real images to the nearest control.

    Nothing is red that the test does not show: a model that is no nearer than a control may be so by chance.
    """
    if head is None or head.value is None:
        return "grey", NO_FLOOR
    more = "".join(f" {text}" for text in objections)
    name, k = head.name, factor(head.name)
    floor = head.floor_interval or ((head.floor, head.floor) if head.floor is not None else None)
    distance = f"{shown(head.name)} is {number(k * head.value)}"
    distance += f", between halves of real patients {interval(floor, k)}" if floor else ""
    nearest, far = min((c for c in controls if c.name == name), key=lambda c: c.value, default=None), ""
    if nearest is not None:
        if nearest.value <= max(0.0, *(floor or (0.0,))):
            return "grey", f"{name} takes the control “{nearest.control}” for real: it is blind here."
        if nearest.behind_model is False:
            far = f"No nearer to real images than the control “{nearest.control}” ({number(k * nearest.value)})"
        else:  # real against real is 0 on average over halvings, by construction
            share = max(0.0, head.value / nearest.value)
            distance += f"; that is {share:.0%} of the way to the nearest control, {nearest.control}"
            far = "Nearer to a bad control than to real images" if share > NEAR else ""
    if head.p_no_difference is None:
        return ("amber", f"{far}, of too few patients for a test: {distance}.{more}") if far else ("grey", NO_FLOOR)
    if head.p_no_difference <= LEVEL:
        return ("red" if far else "amber"), f"{far or 'Can be told apart from real images'}: {distance}.{more}"
    if objections:
        return "amber", f"Not told apart from real images by its features, but: {distance}.{more}"
    if far:
        return "grey", f"{far}, and yet not told apart from real ones at this number of subjects: {distance}."
    return "green", f"Not told apart from real images at this number of subjects: {distance}."


def _diverse(of_test: Mapping[str, Result], results: Sequence[Result]) -> Answer:
    """By what the metrics object to; green only where repeats would have been noticed."""
    objections = sorted(faults(results, "diverse"), key=lambda text: not isinstance(text, Grave))
    if objections:
        return "red" if isinstance(objections[0], Grave) else "amber", " ".join(objections)
    check = duplicates.judged([r for r in results if is_of(r.name, duplicates.NAME)])
    ratios = {name: r for name, r in of_test.items() if is_of(name, "Diversity") and r.ratio is not None}
    if check is None or not any(r.ratio_interval for r in ratios.values()):
        return "grey", "Too few real subjects to tell: a generator that repeats itself would not be noticed."
    values = listed(f"{name} {r.ratio:.2f}" for name, r in ratios.items())
    return "green", f"About as diverse as real images of different patients ({values} times), and no more duplicates " \
                    "than among these."


def copies(results: Sequence[Result]) -> Answer:
    """By the audit of copies of training images; a leak between the splits counts too."""
    audits = {r.name: r for r in results if r.name in ("Copies", "Leak") and r.details}
    if "Copies" not in audits:
        return "grey", "Not audited: there are no training images to compare with, or too few patients."
    lights: dict[str, Light] = {name: LIGHTS.get((r.details or {})["verdict"], "grey") for name, r in audits.items()}
    light: Light = "red" if "red" in lights.values() else "amber" if "amber" in lights.values() else lights["Copies"]
    says = [_audited(audits["Copies"])]
    if lights.get("Leak") in ("red", "amber"):
        says.append(_leaked(audits["Leak"]))
    objections = faults(results, "copies")
    if objections and light == "green":
        light = "amber"
    return light, " ".join([*says, *objections])


def _audited(result: Result) -> str:
    """What the audit of copies counted, as sentences."""
    details = result.details or {}
    flagged, of = details["flagged"], f"{result.n_synthetic or 0:,} synthetic images"
    if "rate" not in details:
        return f"{flagged} of {of} {'is' if flagged == 1 else 'are'} the same picture as a training image."
    low, high = result.interval or (None, None)
    spread = f" ({low:.1%} to {high:.1%})" if low is not None and high is not None else ""
    copied = counted(len(details["copied"]), "training patient")
    chance = f"by chance fewer than {details['expected_subjects']:.1f} of " \
             f"{grouped(details['training_subjects'], 'patient')}"
    near = f"{flagged} of {of} {'is' if flagged == 1 else 'are'} nearer to " \
           f"{copied if flagged else 'a training patient'} than any to " \
           f"{grouped(details['calibration_subjects'], 'held-out patient')} ({chance}): " \
           f"estimated share of copies {result.value:.1%}{spread}."
    evident = f" {details['evident']} so near that chance does not explain it" if details["evident"] else ""
    same = f", {details['exact']} the same picture" if details["exact"] else ""
    seen = f" {counted(details['held_out_evident'], 'image')} as near to held-out patients: the generator has seen " \
           "them, or they are in two splits, or it is chance." if details["held_out_evident"] else ""
    return near + (f"{evident}{same}." if evident else "") + seen


def _leaked(result: Result) -> str:
    """What the search for training patients among the test images counted, as a sentence."""
    details = result.details or {}
    return (f"{details['flagged']} of {grouped(details['judged'], 'test image')} "
            f"{'is' if details['flagged'] == 1 else 'are'} nearly the same as training images of another patient: the "
            "split is not clean, and every figure against test flatters.")


def _enough(head: Result | None, results: Sequence[Result]) -> Answer:
    """By the numbers of subjects and images, and whether audit and critic could have noticed anything."""
    if head is None or (head.n_subjects or 0) < MIN_SUBJECTS:
        return "red", f"Fewer than {MIN_SUBJECTS} test subjects: nothing can be told of other patients."
    subjects, images = head.n_subjects or 0, head.n_synthetic or 0
    details = {r.name: r.details for r in reversed(results) if r.details}
    audit, critic = details.get("Copies") or {}, details.get("Critic-JS")
    blind = critic is not None and not critic["enough"]
    says = [f"{grouped(subjects, 'test subject')}.",
            "Intervals over so few are wide." if subjects < MANY_SUBJECTS else "",
            f"Only {grouped(images, 'synthetic image')}." if images < FEW_SYNTHETIC else "",
            f"The audit's false-alarm rate can be no lower than {audit['resolution']:.1%} a patient with "
            f"{grouped(audit['calibration_subjects'], 'held-out patient')}." if "resolution" in audit
            else "Without an audit of copies that knows its false-alarm rate.",
            "The independent critic does not even notice planted blur." if blind else ""]
    short = subjects < MANY_SUBJECTS or images < FEW_SYNTHETIC or audit.get("resolution", 1.0) > LEVEL
    return "amber" if short or blind else "green", " ".join(text for text in says if text)
