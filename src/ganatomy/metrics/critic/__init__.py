"""Independent critics: networks that learn to tell synthetic images from real ones, judged on images they never saw.

Each value but Critic-A's is a lower bound, in expectation, of a divergence between real and synthetic images: how far
apart they are for a network trained on this many images. See docs/critic.md, and critics.py for the formulas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ganatomy.metrics.base import MIN_SUBJECTS, About, Column, Result, Samples

if TYPE_CHECKING:
    from ganatomy.metrics.critic.judging import Kind, Parts

ORDER = 20
ON_DEMAND = True
CONTROLS = False
ABOUT = (
    About("Critic-JS", "Jensen-Shannon distance by an independent critic: a network trained to tell real from "
          "generated, and judged on subjects it has not seen. A lower bound, 0 to 0.69: a weak critic finds too "
          "little, never too much.", "realistic", "lower", column=Column("critic", "critic JS", order=1)),
    About("Critic-chi2", "Pearson's chi-squared distance by an independent critic. A lower bound, 0 to 1.",
          "realistic", "lower"),
    About("Critic-KL", "Kullback-Leibler divergence by an independent critic. A lower bound.", "realistic", "lower"),
    About("Critic-A", "Test loss of a critic with the labels swapped: large where real and generated are easily told "
          "apart.", "realistic", "lower"),
)
TOO_LITTLE = "too little data to tell: critics as these do not detect that real images have been blurred; "


def compute(samples: Samples) -> list[Result]:
    """Critic-JS, the same over features, -chi2, -KL and -A against test; None and why where none can be.

    `details` holds the value of each seed and how many steps it was trained, the number of images of each part, the
    value of blurred real images (`blur`), and whether it is detected (`enough`).
    """
    from ganatomy.metrics.critic.judging import feature_parts, image_parts, kinds, too_little  # with torch

    reason = too_little(samples)
    if reason:
        return [samples.result(kind.name, "test", None, "lower", caveat=reason) for kind in kinds(samples, 1)]
    images = image_parts(samples)
    features = feature_parts(samples, images)
    return [_measured(samples, kind, features if kind.over_features else images)
            for kind in kinds(samples, len(images["val"].fake))]


def _measured(samples: Samples, kind: Kind, parts: Parts) -> Result:
    from ganatomy.metrics.critic.judging import against_blur, against_fakes, against_real

    model, blur = against_fakes(kind, parts, samples.seed), against_blur(kind, parts, samples.seed)
    floor, spread = against_real(kind, parts, samples.seed)
    none = kind.objective.none
    enough = blur.interval is not None and blur.interval[0] > max(none, floor or none)
    details: dict[str, Any] = {
        "seeds": model.seeds, "steps": model.steps, "enough": enough,
        "blur": {"value": blur.value, "interval": blur.interval, "seeds": blur.seeds, "steps": blur.steps},
        "images": {split: [len(part.real), len(part.fake)] for split, part in parts.items()}}
    few = len(model.per_subject) < MIN_SUBJECTS
    per_subject = dict(zip(samples.test.names, model.per_subject.tolist(), strict=False)) if few else None
    return samples.result(kind.name, "test", model.value, "lower", interval=model.interval, floor=floor,
                          floor_interval=spread, per_subject=per_subject, details=details,
                          caveat=("" if enough else TOO_LITTLE) + kind.caveat)
