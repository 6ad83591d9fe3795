"""The evaluation as a paragraph for a methods section: what was measured and how, with the figures."""

from __future__ import annotations

from collections.abc import Callable

from ganatomy.core.text import grouped
from ganatomy.reports import verdict
from ganatomy.reports.copies import percent
from ganatomy.reports.meanings import KERNEL, kind
from ganatomy.reports.numbers import bracketed, number
from ganatomy.reports.results import Metrics, Result, factor, title

EXTRACTORS = {"Lite0": "EfficientNet-Lite0, trained on photographs (ImageNet)",
              "Inception": "InceptionV3 (weights of 2015, ImageNet)", "Random": "a network with fixed random weights"}
BALLS = {"Precision": "precision", "Recall": "recall", "Density": "density", "Coverage": "coverage"}


def paragraph(metrics: Metrics) -> str:
    """Sample, measures, reference, intervals, audit, controls, then what limits them; only what was computed."""
    parts: list[Callable[[Metrics], str]] = [_sample, _distances, _balls, _diversity, _critic, _profiles, _audit]
    said = [text for part in parts if (text := part(metrics))]
    controls = verdict.beside_controls(metrics)
    warned = [text for text in metrics.warnings if not (controls and text.startswith("The control “"))]  # said already
    return " ".join(text for text in (*said, _intervals(metrics), controls, *warned) if text)


def _sample(metrics: Metrics) -> str:
    best = verdict.headline(metrics)
    if best is None:
        return ""
    whose = "patients unknown" if metrics.patients_unknown else grouped(best.n_subjects or 0, "subject")
    n = f"{grouped(best.n_synthetic, 'generated image')} were compared with " if best.n_synthetic else \
        "Generated images were compared with "
    real = f"{grouped(best.n_images, best.against + ' image')} of {whose}" if best.n_images and best.n_subjects else \
        f"the {best.against} images"
    seed = f" (seed {metrics.seed})" if metrics.seed is not None else ""
    return f"{n}{real.replace('of patients unknown', '(patients unknown)')}{seed}."


def _distances(metrics: Metrics) -> str:
    best = verdict.headline(metrics)
    if best is None:
        return ""
    network = best.name.partition("-")[2]
    over = f"features of {EXTRACTORS.get(network, network or 'a network')}"
    what = f"the squared maximum mean discrepancy with a cubic kernel over {over}, between different subjects only" \
        if kind(best.name) in KERNEL else f"over {over}"
    said = f"The primary measure was {title(best.name)} ({what}): {_beside(best)}"
    if best.p_no_difference is not None:
        said += f"; permutation test over subjects, p = {best.p_no_difference:.2g}"
    further = metrics.find("FID", "test") or metrics.find("FD", "test")
    also = f" The Fréchet distance ({further.name}) was {_beside(further)}." if further and further != best else ""
    return f"{said}.{also}"


def _balls(metrics: Metrics) -> str:
    found = [(word, r) for name, word in BALLS.items() if (r := metrics.find(name, "test"))]
    if not found:
        return ""
    figures = ", ".join(f"{word} {_beside(r)}" for word, r in found)
    return f"With five nearest neighbours of other subjects: {figures}."


def _diversity(metrics: Metrics) -> str:
    found = [r for r in metrics.results if kind(r.name) in ("Diversity", "MS-SSIM") and r.against == "test"]
    said = "; ".join(f"{r.name} {_beside(r)}" for r in found)
    repeated = metrics.find("Duplicates")
    more = f" {percent(repeated.value)} of the generated images repeated another." if repeated else ""
    return (f"Diversity over pairs of images: {said}." if said else "") + more


def _critic(metrics: Metrics) -> str:
    found = [r for r in metrics.results if kind(r.name) in ("Critic-JS", "Critic-KL", "Critic-chi2")
             and r.against == "test"]
    if not found:
        return ""
    return ("Independent critics were trained on the training split against generated images, stopped early on "
            "validation and judged on test; their lower bounds: "
            + "; ".join(f"{r.name.removeprefix('Critic-')} {_beside(r)}" for r in found) + ".")


def _profiles(metrics: Metrics) -> str:
    words = {"Histogram": "grey-value histograms (1-Wasserstein, share of the grey range)",
             "Spectrum": "radial power spectra (root mean square, dB)"}
    found = [f"{what} {_beside(r)}" for name, what in words.items() if (r := metrics.find(name, "test"))]
    return f"Distances between {'; '.join(found)}." if found else ""


def _audit(metrics: Metrics) -> str:
    result = metrics.find("Copies", "train")
    if result is None:
        return ""
    d = result.details or {}
    said = ("For copies, the distance of each generated image to its nearest training image (features and pixels) was "
            "set against that of images of other subjects")
    if isinstance(d.get("calibration_subjects"), int):
        said += f" ({d['calibration_subjects']:,})"
    if isinstance(d.get("rate"), int | float):
        said += f", at a false-alarm rate of {percent(d['rate'])}"
    span = f" (95% interval {percent(max(0.0, result.interval[0]))} to {percent(result.interval[1])})" \
        if result.interval else ""
    return f"{said}: the estimated share of copies was {percent(result.value)}{span}."


def _intervals(metrics: Metrics) -> str:
    if not any(r.interval for r in metrics.results):
        return ""
    over = "images (patients unknown)" if metrics.patients_unknown else "subjects"
    return f"In brackets 95% intervals over {over}; real against real is the mean over random halvings of them."


def _beside(result: Result) -> str:
    """The figure with its interval, and real against real."""
    k = factor(result.name)
    real = f", real against real {number(k * result.floor)}" if result.floor is not None else ""
    return bracketed(result.value, result.interval, k) + real
