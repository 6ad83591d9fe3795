"""One traffic light a question: realistic? diverse? copies? enough data to say so? And the gates on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ganatomy.core.errors import GateError, UserError
from ganatomy.core.text import grouped
from ganatomy.metrics import duplicates, histogram, spectrum, variance
from ganatomy.metrics.base import MIN_SUBJECTS, factor

Light = Literal["green", "amber", "red", "grey"]  # grey: the data do not let one say
Entry = Mapping[str, Any]
LEVEL = 0.05
FAR = 5.0  # false alarms that a perfect generator would have, of which none says that the images are far from everybody
NO_FLOOR = f"Fewer than {MIN_SUBJECTS} test subjects: there is no floor to judge by."
NEAR = 0.5  # of the way from real images to the nearest control: beyond it, a model is nearer to the control
LESS = 0.9  # of the diversity of real images: less is a shortcoming, if surely below 1
DULL = 0.3  # a check for duplicates that allows for so many false alarms shows nothing
HALF = 0.5  # of what real images have: less diversity or coverage than this is a failure, not a shortcoming
MANY_SUBJECTS, FEW_SYNTHETIC, RATE = 30, 50, 0.01


@dataclass(frozen=True)
class Verdict:
    """A question, its light and a sentence that says why."""

    question: Literal["realistic", "diverse", "copies", "enough data"]
    light: Light
    says: str


def verdicts(results: Sequence[Entry], controls: Sequence[Entry]) -> list[dict[str, str]]:
    """The four verdicts as metrics.json holds them, from its `results` and `controls`."""
    of_test = {r["name"]: r for r in reversed(results) if r["against"] == "test"}
    return [vars(v) for v in (_realistic(of_test, controls), _diverse(of_test, results), _copies(results),
                              _enough(of_test, results))]


def check_gates(metrics: Mapping[str, Any], gates: Sequence[str]) -> None:
    """Raise `GateError` if a gate that the user asked for did not pass; what cannot be told does not pass."""
    unknown = [gate for gate in ([gates] if isinstance(gates, str) else gates) if gate != "copies"]
    if unknown:
        raise UserError(f"there is no gate {unknown[0]!r}", where="--fail-on", fix="use copies")
    if not gates:
        return
    if "verdicts" not in metrics:
        raise UserError("the audit of copies is for images made from noise", where="--fail-on", fix="leave it out")
    (verdict,) = (v for v in metrics["verdicts"] if v["question"] == "copies")
    if verdict["light"] in ("red", "grey"):
        raise GateError(f"the gate “copies” did not pass: {verdict['says']}", where="--fail-on")


def _headline(of_test: Mapping[str, Entry]) -> Entry | None:
    return next((r for name, r in of_test.items() if factor(name) == 1000), None)


def _realistic(of_test: Mapping[str, Entry], controls: Sequence[Entry]) -> Verdict:
    head = _headline(of_test)
    if head is None:
        return Verdict("realistic", "grey", NO_FLOOR)
    name, k = head["name"], factor(head["name"])
    ends = head["floor_interval"] or ((head["floor"],) * 2 if head["floor"] is not None else ())
    value, *span = (f"{k * x:.3g}".replace("-", "−") for x in (head["value"], *ends))
    figure = f"{name} × {k:g} is {value}" + (f", between halves of real patients {' to '.join(span)}" if span else "")
    own = [c for c in controls if c["name"] == name]
    nearest = min(own, key=lambda c: float(c["value"]), default=None)
    if nearest is not None and nearest["value"] <= max((0.0, *ends)):
        return Verdict("realistic", "grey",
                       f"{name} takes the control “{nearest['control']}” for real: it is blind here.")
    faults = _faults(of_test, {"Spectrum": spectrum.found, "Sharpness": spectrum.found, "Histogram": histogram.found})
    if nearest is not None and nearest["behind_model"] is False:  # few patients forbid a yes, not a no
        at = f"“{nearest['control']}” ({k * nearest['value']:.3g})"
        said = f"No nearer to real images than the control {at}: {figure}."
        return Verdict("realistic", "red", " ".join([said, *faults]))
    if head["floor"] is None:
        return Verdict("realistic", "grey", NO_FLOOR)
    if nearest is not None:  # real against real is 0 on average over halvings, by construction
        way = head["value"] / nearest["value"]
        figure += f"; that is {max(0.0, way):.0%} of the way to the nearest control, {nearest['control']}"
        if way > NEAR:
            return Verdict("realistic", "red", " ".join([f"Nearer to a bad control than to real images: {figure}.",
                                                         *faults]))
    apart = head["p_no_difference"] is not None and head["p_no_difference"] <= LEVEL
    if apart or faults:
        said = "Can be told apart from real images" if apart else "Not told apart from real images by its features, but"
        return Verdict("realistic", "amber", " ".join([f"{said}: {figure}.", *faults]))
    return Verdict("realistic", "green", f"Not told apart from real images at this number of subjects: {figure}.")


def _faults(of_test: Mapping[str, Entry], checks: Mapping[str, Callable[[Entry], str]]) -> list[str]:
    """What the checks, by the first part of their metric's name, find in the results."""
    pairs = ((checks[kind], r) for name, r in of_test.items() if (kind := name.partition("-")[0]) in checks)
    return [text for check, r in pairs if (text := check(r))]


def _duplicates(results: Sequence[Entry]) -> Entry | None:
    """The check for duplicates that rests on more real subjects: training patients are as good a yardstick as others.

    None where it could not be made, or where so few are alike by chance that hardly anything would be called one.
    """
    made = [r for r in results if r["name"].startswith("Duplicates") and r["details"]]
    best = max(made, key=lambda r: int(r["n_subjects"]), default=None)
    return best if best is not None and best["details"]["rate_high"] <= DULL else None


def _diverse(of_test: Mapping[str, Entry], results: Sequence[Entry]) -> Verdict:
    check = _duplicates(results)
    red = [text for text in [duplicates.found(check)] if text] if check is not None else []
    amber = _faults(of_test, {"Variance": variance.found})
    ratios = {n: r["ratio"] for n, r in of_test.items() if n.startswith("Diversity") and r["ratio"] is not None}
    for name, ratio in ratios.items():
        interval = of_test[name]["ratio_interval"]
        text = f"{name} is {ratio:.2f} times that of real images."
        if ratio < HALF:
            red.append(text)
        elif ratio < LESS and interval and interval[1] < 1:
            amber.append(text)
    for kind in ("Coverage", "Recall"):
        share = next((r for n, r in of_test.items() if n.startswith(kind)), None)
        paired = share["paired_difference"] if share else None
        if share and paired and paired["interval"][1] < 0:
            text = f"{kind} is {paired['score_at_equal_n']:.2f}, between real images {share['floor']:.2f}."
            (red if kind == "Coverage" and paired["score_at_equal_n"] < HALF * share["floor"] else amber).append(text)
    if red:
        return Verdict("diverse", "red", " ".join([*red, *amber]))
    if amber:
        return Verdict("diverse", "amber", " ".join(amber))
    if check is None or not any(of_test[name]["ratio_interval"] for name in ratios):
        return Verdict("diverse", "grey", "Too few real subjects to tell: a generator that repeats itself would not be "
                                          "noticed.")
    shown = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
    return Verdict("diverse", "green", f"About as diverse as real images of different patients ({shown} times), and no "
                                       "more duplicates than among these.")


def _copies(results: Sequence[Entry]) -> Verdict:
    audits = [r for r in results if r["name"] in ("Copies", "Copies-test", "Leak") and r["details"]]
    main = next((r for r in audits if r["name"] == "Copies"), None)
    if main is None:
        return Verdict("copies", "grey", "Not audited: there are no training images to compare with, or too few.")
    lights: dict[str, Light] = {"clean": "green", "suspicious": "amber", "copies": "red"}
    found = [lights.get(r["details"]["verdict"], "grey") for r in audits]
    light: Light = next((c for c in ("red", "amber") if c in found), lights.get(main["details"]["verdict"], "grey"))
    said = [_audited(r) for r in audits if r is main or lights.get(r["details"]["verdict"]) in ("red", "amber")]
    if light == "green" and main["details"]["flagged"] == 0 and main["details"]["expected"] >= FAR:
        light = "amber"
        said.append("Fewer than new patients would have: images that are unlike every patient pass, which says little.")
    return Verdict("copies", light, " ".join(said))


def _audited(result: Entry) -> str:
    d = result["details"]
    what = {"Copies": "nearer to a training image", "Copies-test": "nearer to a test image",
            "Leak": "nearer to a training image"}[result["name"]]
    whose = "test images" if result["name"] == "Leak" else "synthetic images"
    n = result["n_images"] if result["name"] == "Leak" else result["n_synthetic"]
    interval = result["interval"]
    spread = f" ({max(0.0, interval[0]):.1%} to {interval[1]:.1%})" if interval else ""
    are = "is" if d["flagged"] == 1 else "are"
    return (f"{d['flagged']} of {n:,} {whose} {are} {what} than at least {1 - d['rate']:.1%} of other "
            f"patients' are (about {d['expected']:.1f} by chance): estimated share of copies {result['value']:.1%}"
            f"{spread}.{_evident(d['evident'])}")


def _evident(n: int) -> str:
    """What no rate explains: the verdict may rest on it alone."""
    return f" {n} of them so near that chance does not explain it." if n else ""


def _enough(of_test: Mapping[str, Entry], results: Sequence[Entry]) -> Verdict:
    head = _headline(of_test)
    if head is None or head["n_subjects"] < MIN_SUBJECTS:
        return Verdict("enough data", "red",
                       f"Fewer than {MIN_SUBJECTS} test subjects: nothing can be said about other patients.")
    said = [f"{grouped(head['n_subjects'], 'test subject')}."]
    few = head["n_subjects"] < MANY_SUBJECTS
    if few:
        said.append("Intervals over so few are wide.")
    if head["n_synthetic"] < FEW_SYNTHETIC:
        few = True
        said.append(f"Only {grouped(head['n_synthetic'], 'synthetic image')}.")
    audit = next((r["details"] for r in results if r["name"] == "Copies" and r["details"]), None)
    coarse = audit is not None and audit["resolution"] > RATE
    if audit is not None:
        said.append(f"The audit's false-alarm rate can be no lower than {audit['resolution']:.1%} with "
                    f"{grouped(audit['calibration_subjects'], 'subject')} (training patients count half).")
    critic = next((r["details"] for r in results if r["name"] == "Critic-JS" and r["details"]), None)
    blind = critic is not None and not critic["enough"]
    if blind:
        said.append("The independent critic does not even notice planted blur.")
    return Verdict("enough data", "amber" if few or coarse or blind else "green", " ".join(said))
