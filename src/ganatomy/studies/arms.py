"""The arms of a study: what a classifier is trained on, and how its images are changed on the fly.

A name is [AUG_|AUG2_]SOURCE[@factor]. ORG has the real images alone. The other sources add factor x k positive images:
OVERSAMPLE the training positives again, GAN synthetic ones; GAN_ONLY has synthetic images alone, of every class.
Three more are controls, which tell what the study itself can see: FRESH adds real images of further patients (the
most that a generator could give), COPIES random draws of the training positives (a generator that has learnt by
heart), NOISE grey noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ganatomy.core.errors import UserError

Source = Literal["ORG", "OVERSAMPLE", "GAN", "GAN_ONLY", "FRESH", "COPIES", "NOISE"]
Augment = Literal["none", "flips", "strong"]
SOURCES: tuple[Source, ...] = get_args(Source)
CONTROLS: tuple[Source, ...] = ("FRESH", "COPIES", "NOISE")
PREFIXES: dict[str, Augment] = {"": "none", "AUG_": "flips", "AUG2_": "strong"}
DEFAULT = ("ORG", "AUG_ORG", "OVERSAMPLE", "AUG_OVERSAMPLE", "GAN", "AUG_GAN")


@dataclass(frozen=True)
class Arm:
    """One arm. `factor` is how many images are added, as a multiple of k; 0 for ORG."""

    name: str
    prefix: str
    source: Source
    factor: float

    @property
    def augment(self) -> Augment:
        """What is done to its images on the fly."""
        return PREFIXES[self.prefix]

    @property
    def needs_gan(self) -> bool:
        """Whether synthetic images go into it."""
        return self.source in ("GAN", "GAN_ONLY")

    def added(self, k: int) -> int:
        """How many images are added for each positive class."""
        return round(self.factor * k)


def parse_arms(names: Sequence[str], factors: Sequence[float]) -> tuple[Arm, ...]:
    """The arms of these names, each that adds images once for every factor.

    With one factor an arm keeps its plain name; with several it is named GAN@0.5, GAN@1.5 and so on.

    Raises:
        UserError: an unknown or repeated name.
    """
    arms = []
    for name in names:
        prefix = next(p for p in sorted(PREFIXES, key=len, reverse=True) if name.startswith(p))
        source = next((s for s in SOURCES if s == name.removeprefix(prefix)), None)
        if source is None:
            raise UserError(f"no arm is called {name!r}", where="--arms",
                            fix=f"use {', '.join(SOURCES)}, each also with AUG_ (flips) or AUG2_ (rotation, contrast, "
                                "elastic) before it")
        if source == "ORG":
            arms.append(Arm(name, prefix, source, 0.0))
            continue
        arms += [Arm(name if len(factors) == 1 else f"{name}@{f:g}", prefix, source, f) for f in factors]
    if len({a.name for a in arms}) < len(arms):
        raise UserError("an arm or a factor is given twice", where="--arms, --synthetic", fix="name each once")
    return tuple(arms)
