"""Independent critics: networks that learn to tell synthetic images from real ones, judged on images they never saw.

Each figure but two is a lower bound, in expectation, of a divergence between real and synthetic images: how far apart
they are for a network trained on this many images. See docs/critic.md, and critic_objectives.py for the formulas.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ganatomy.metrics.base import MIN_SUBJECTS, About, Column, Result, Samples
from ganatomy.metrics.critic.critics import (
    CHI2,
    JS,
    KL,
    PUBLISHED,
    SWAPPED,
    WASSERSTEIN,
    FeatureCritic,
    ImageCritic,
    Objective,
    Plan,
    mirrored_and_shifted,
)
from ganatomy.metrics.critic.judging import (
    Figure,
    Kind,
    Parts,
    blur_figure,
    feature_parts,
    image_parts,
    model_figure,
    real_figure,
    too_little,
)

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
    About("Critic-Wasserstein", "Score of an independent critic with a gradient penalty. No bound of anything: "
          "compare it with real against real only.", "realistic", "lower"),
    About("Critic-A", "Test loss of a critic with the labels swapped: large where real and generated are easily told "
          "apart.", "realistic", "lower"),
)
OURS = Plan(rate=5e-4, patience=4, augment=mirrored_and_shifted)
LINEAR = Plan(rate=1e-3)
SLOPES = replace(OURS, steps=80, batch=16)
BOUND = "a lower bound in expectation: small may also mean that the critic is weak; blind to copies of patients"
_ABOUT = {"JS": f"nats, at most ln 2 = 0.693; {BOUND}", "chi2": f"at most 1; {BOUND}",
          "KL": f"nats, of real against synthetic; {BOUND}",
          "JS-features": f"nats, at most ln 2 = 0.693; of a linear critic over features; {BOUND}",
          "Wasserstein": "a critic's score, not a bound: compare it at the same size and setting only",
          "A": "cross-entropy with labels swapped (Schilling 2020), large means far apart; of a critic trained for "
               "100 batches, about ln 2 = 0.693 or a little more where it can tell nothing"}
TOO_LITTLE = "too little data to tell: critics as these do not detect that real images have been blurred; "


def compute(samples: Samples) -> list[Result]:
    """Critic-JS, the same over features, -chi2, -KL, -Wasserstein and -A against test; None and why where none can be.

    `details` holds the value of each seed and how many steps it was trained, the number of images of each part, the
    figure of blurred real images (`blur`), and whether it is detected (`enough`).
    """
    reason = too_little(samples)
    if reason:
        return [_result(samples, name, value=None, caveat=reason) for name in names(samples)]
    parts = image_parts(samples)
    features = feature_parts(samples, parts)
    return [_measured(samples, kind, features if kind.over_features else parts, name)
            for kind, name in zip(kinds(parts, samples.extractor.dimensions), names(samples), strict=True)]


def names(samples: Samples) -> list[str]:
    """The figures' names, in order."""
    js, *others = (f"Critic-{name}" for name in ("JS", "chi2", "KL", "Wasserstein", "A"))
    return [js, samples.extractor.metric(js), *others]


def kinds(parts: Parts, dimensions: int) -> list[Kind]:
    """The critics of images, and of features of so many `dimensions`, in the order of `names`."""
    _, channels, size, _ = parts["test"].real.shape

    def network() -> ImageCritic:
        return ImageCritic(size, channels)

    # a ratio of densities above the number of held-out fakes was never checked on one, and a single fake that is
    # wrongly scored that high would decide the whole mean of exp(s)
    clip = min(KL.clip, math.log(len(parts["val"].fake)))
    ratio = replace(KL, clip=clip, most=1 + clip)
    return [Kind(JS, network, OURS),
            Kind(JS, lambda: FeatureCritic(dimensions), LINEAR, planted=3, over_features=True),
            Kind(CHI2, network, OURS), Kind(ratio, network, OURS),
            Kind(WASSERSTEIN, lambda: ImageCritic(size, channels, norms=False), SLOPES),
            Kind(SWAPPED, lambda: ImageCritic(size, channels, from_nothing=False), PUBLISHED, stops=False, seeds=1)]


def _measured(samples: Samples, kind: Kind, parts: Parts, name: str) -> Result:
    seed, about = samples.seed, "JS-features" if kind.over_features else kind.objective.name
    model, blur = model_figure(kind, parts, seed), blur_figure(kind, parts, seed)
    real = real_figure(kind, parts, seed)
    floor, spread = real or (None, None)
    enough = detected(blur, floor, kind.objective)
    details: dict[str, Any] = {
        "seeds": model.seeds, "steps": model.steps, "enough": enough,
        "blur": {"value": blur.value, "interval": blur.interval, "seeds": blur.seeds, "steps": blur.steps},
        "images": {split: [len(part.real), len(part.fake)] for split, part in parts.items()}}
    few = len(model.per_subject) < MIN_SUBJECTS
    per_subject = dict(zip(samples.test.names, model.per_subject.tolist(), strict=False)) if few else None
    return _result(samples, name, value=model.value, interval=model.interval, floor=floor,
                   floor_interval=spread, per_subject=per_subject, details=details,
                   caveat=("" if enough else TOO_LITTLE) + _ABOUT[about])


def detected(blur: Figure, floor: float | None, objective: Objective) -> bool:
    """Whether the interval of the blur lies above real against real, and above what a critic that knows nothing has."""
    return blur.interval is not None and blur.interval[0] > max(objective.none, floor or objective.none)


def _result(samples: Samples, name: str, value: float | None, **more: Any) -> Result:
    return samples.result(name, "test", value, "lower", **more)
