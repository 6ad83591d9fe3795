"""What is written into translated files of where they come from."""

from __future__ import annotations

from dataclasses import dataclass

NOT_FOR_DIAGNOSIS = "not for diagnosis"


@dataclass(frozen=True)
class About:
    """Where a synthetic volume comes from.

    Attributes:
        model: the recipe that the model was trained by, such as pix2pix.
        source, target: contrast of the input and of the output, as the training data's domains were called.
        units: of the values, such as HU or arbitrary units.
        weights: the first 16 hexadecimal digits of the sha256 of the model's weights.
    """

    model: str
    source: str
    target: str
    units: str
    weights: str

    @property
    def text(self) -> str:
        """One line of at most 79 characters, as much as a NIfTI header holds."""
        return f"synthetic {self.target[:36]} by ganatomy, {NOT_FOR_DIAGNOSIS}"
