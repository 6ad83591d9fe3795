"""Are generated images copies of patients? The audit in words, and the worst pairs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError

from ganatomy.core.text import grouped
from ganatomy.reports.gallery import Gallery, Tile, picture
from ganatomy.reports.images import Picture
from ganatomy.reports.numbers import number
from ganatomy.reports.results import Metrics, Read, Result

MOST_PAIRS = 6
ANSWERS = {"clean": ("No sign of copies", "good"), "suspicious": ("Suspicious", "warn"), "copies": ("Copies", "bad")}
OF_PATIENTS = ("Copies", "Copies-test")
AS_IT_IS = "as it is"
MIRRORED = {"mirrored left-right": -1, "mirrored up-down": -2}  # axis of [h, w]
STALE = "The pairs are left out: the figures are of other weights or data."
PICTURES_LEFT_OUT = ("The pairs are left out: this is the version made for sharing, and a copy shows a patient as much "
                     "as the image that it was copied from.")


class Pair(Read):
    """An image and the nearest training image."""

    synthetic: str | None = None
    test: str | None = None
    real: str | None = None
    train: str | None = None
    p: float | None = None
    channel: str = ""
    view: str = ""
    flagged: bool | None = None

    @property
    def left(self) -> str:
        """The image in question."""
        return str(self.synthetic or self.test or "")

    @property
    def right(self) -> str:
        """What it resembles."""
        return str(self.real or self.train or "")


@dataclass(frozen=True, slots=True)
class Beside:
    """A pair as shown: two pictures with words below; either picture may be missing."""

    left: Picture | None
    right: Picture | None
    left_label: str
    right_label: str
    note: str


@dataclass(frozen=True, slots=True)
class Copies:
    """The section: answer, sentences, pictures of the worst pairs or why there are none."""

    answer: str
    tone: str
    words: list[str]
    pairs: list[tuple[str, list[Beside]]]  # title, pairs
    missing: str


def audited(metrics: Metrics | None) -> str:
    """clean, suspicious or copies, of patients in training or test; "" where no audit was made."""
    if metrics is None or metrics.find("Copies", "train") is None:
        return ""
    found = [_verdict(result) for name in OF_PATIENTS if (result := metrics.find(name))]
    return max(found, key=list(ANSWERS).index)


def suspects(metrics: Metrics | None) -> set[str]:
    """Numbers of the generated images that the audit has flagged, or that lie nearest where it does not say which."""
    found = set()
    for result in (metrics.find(name) for name in OF_PATIENTS) if metrics else ():
        listed = (result.details or {}).get("flagged_images") if result else None
        found |= {str(name) for name in listed} if isinstance(listed, list) else set()
        found |= {pair.left for pair in pairs_of(result) if pair.flagged is not False}
    return found


def _verdict(result: Result) -> str:
    verdict = str((result.details or {}).get("verdict", ""))
    return verdict if verdict in ANSWERS else "suspicious"


def pairs_of(result: Result | None) -> list[Pair]:
    """The worst pairs of an audit, as many as are shown; entries that cannot be read are left out."""
    given = (result.details or {}).get("pairs") if result else None
    found = []
    for entry in given if isinstance(given, list) else []:
        try:
            named = {k: str(v) if k in ("synthetic", "test", "real", "train") and v is not None else v
                     for k, v in entry.items()}
            found.append(Pair.model_validate(named))
        except (ValidationError, AttributeError):
            continue
    return [pair for pair in found if pair.left][:MOST_PAIRS]


def named(metrics: Metrics) -> tuple[set[str], set[str]]:
    """The numbers of the generated and the names of the real images that the section shows."""
    own = [pair for name in OF_PATIENTS for pair in pairs_of(metrics.find(name))]
    leaked = pairs_of(metrics.find("Leak"))
    return ({pair.left for pair in own},
            {pair.right for pair in own} | {name for pair in leaked for name in (pair.left, pair.right)})


def copies(metrics: Metrics | None, gallery: Gallery, shareable: bool, stale: bool) -> Copies | None:
    """The section; None where copies were not looked for."""
    result = metrics.find("Copies", "train") if metrics else None
    if metrics is None or result is None:
        return None
    answer, tone = ANSWERS[audited(metrics)]
    missing = PICTURES_LEFT_OUT if shareable and pairs_of(result) else STALE if stale and pairs_of(result) else ""
    pairs = [] if shareable or stale else _pictures(metrics, gallery)
    return Copies(answer, tone, _words(metrics, result), pairs, missing)


def _pictures(metrics: Metrics, gallery: Gallery) -> list[tuple[str, list[Beside]]]:
    """The worst pairs; those with test images only where something was found."""
    made, real = gallery.generated, gallery.real
    found = [("The generated images nearest to training images",
              _beside(pairs_of(metrics.find("Copies", "train")), made, real, "Generated no.", "Training"))]
    seen, leak = metrics.find("Copies-test"), metrics.find("Leak")
    if seen and _verdict(seen) != "clean":
        found.append(("The generated images nearest to test images",
                      _beside(pairs_of(seen), made, real, "Generated no.", "Test")))
    if leak and _verdict(leak) != "clean":
        found.append(("The test images nearest to training images",
                      _beside(pairs_of(leak), real, real, "Test", "Training")))
    return [(title, pairs) for title, pairs in found if pairs]


def _words(metrics: Metrics, result: Result) -> list[str]:
    """The audit's finding, how sure it is, and what the neighbouring figures say."""
    d = result.details or {}
    said = [f"Estimated share of copies among {grouped(result.n_synthetic or 0, 'generated image')}: "
            f"{_share(result)}."]
    flagged, rate = d.get("flagged"), d.get("rate")
    if isinstance(flagged, int) and isinstance(rate, float | int):
        expected = d.get("expected")
        chance = f"; by chance alone {expected:.1f} would be" if isinstance(expected, int | float) else ""
        said.append(f"{grouped(flagged, 'image')} {'lies' if flagged == 1 else 'lie'} nearer to a training image than "
                    f"{percent(1 - rate)} of other patients' images do (false-alarm rate {percent(rate)}){chance}.")
    if isinstance(d.get("evident"), int) and d["evident"]:
        said.append(f"Evident copies: {d['evident']:,}.")
    said += _limits(d)
    return said + [text for text in (_test(metrics), _leak(metrics), _membership(metrics), _gaps(metrics)) if text]


def _limits(d: dict[str, Any]) -> list[str]:
    subjects, resolution = d.get("calibration_subjects"), d.get("resolution")
    if not isinstance(subjects, int):
        return []
    said = f"Calibrated on {grouped(subjects, 'subject')}"
    if isinstance(resolution, int | float):
        said += f", so that no rate below {percent(resolution)} can be claimed"
    return [f"{said}."]


def _test(metrics: Metrics) -> str:
    result = metrics.find("Copies-test")
    if result is None:
        return ""
    return f"The same audit against test images, which the generator never saw, gives {_share(result)}."


def _leak(metrics: Metrics) -> str:
    result = metrics.find("Leak")
    if result is None:
        return ""
    if not result.value or (result.details or {}).get("verdict") == "clean":
        return f"No sign that test images are copies of training images: {_share(result)}."
    return (f"Test images resemble training images too much, by a share of {_share(result)}: one patient may be in "
            "both splits, and figures against test then flatter.")


def _membership(metrics: Metrics) -> str:
    result = metrics.find("Membership")
    return (f"The discriminator tells training from test images with an area under the curve of {_figure(result)}; "
            "0.5 is guessing, and above it, it has memorised training images.") if result else ""


def _gaps(metrics: Metrics) -> str:
    result = metrics.find("Gaps")
    return (f"Gaps filled: {_share(result)} of the test images lie nearer to a generated than to a training image, at "
            "equal numbers; with images of new patients it would be 50%.") if result else ""


def percent(value: float) -> str:
    """A share in per cent, with no more than three digits."""
    return f"{100 * value:.3g}%".replace("-", "−")


def _share(result: Result) -> str:
    low_high = f" (95% interval {percent(max(0.0, result.interval[0]))} to {percent(result.interval[1])})" \
        if result.interval else ""
    return percent(result.value) + low_high


def _figure(result: Result) -> str:
    span = f" ({number(result.interval[0], 2)} to {number(result.interval[1], 2)})" if result.interval else ""
    return number(result.value, 2) + span


def _beside(pairs: Sequence[Pair], lefts: dict[str, Tile], rights: dict[str, Tile], label: str,
            beside: str) -> list[Beside]:
    """Pairs of which both images are at hand, at one scale; of a mirrored pair the real image is mirrored, too."""
    made = []
    for pair in pairs:
        left, right = lefts.get(pair.left), rights.get(pair.right)
        if left is None or right is None or left.shape != right.shape:
            continue
        turned = next((axis for word, axis in MIRRORED.items() if word in pair.view), None)
        if turned is not None:
            right = np.flip(right, turned + 2)
        words = [f"p = {number(pair.p)}" if pair.p is not None else "", f"by {pair.channel}" if pair.channel else "",
                 pair.view.removeprefix(AS_IT_IS).removeprefix(", "), "shown so" if turned is not None else "",
                 "beyond the limit" if pair.flagged else ""]
        names = f"{label} {pair.left}", f"{beside} {pair.right}"
        made.append(Beside(picture(left, names[0]), picture(right, names[1]), *names,
                           ", ".join(word for word in words if word)))
    return made
