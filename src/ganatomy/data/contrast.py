"""What the images of a domain look like, so that a volume of another contrast is noticed before it is translated."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ganatomy.recipe import Frozen


class Contrast(Frozen):
    """How the foreground's values are distributed in the training volumes of one domain."""


def learn_contrast(volumes: list[NDArray[np.float32]]) -> Contrast:
    """Describe a domain by its training volumes, each [slices, c, s, s] in [-1, 1] as a model sees them."""
    return Contrast()


def objection(volume: NDArray[np.float32], domain: str, known: Mapping[str, Contrast]) -> str:
    """Why a volume [slices, c, s, s] in [-1, 1] is plainly not of `domain`, in words; "" if it may well be.

    Args:
        volume: as a model would see it.
        domain: what it ought to be.
        known: every domain of the training data, `domain` among them.
    """
    return ""
