"""How the values of a volume become the whole numbers of a DICOM series."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.data.intensity import HOUNSFIELD

FINE = 1000
"""The largest number stored is at least this, so that rounding changes no value by more than 0.05% of the largest."""
_SAMPLED = 64
"""So many positions along each axis, at most, from which the window is told."""


@dataclass(frozen=True, slots=True)
class Stored:
    """16-bit numbers: value x `factor`, rounded.

    Attributes:
        signed: where there are negative ones.
        window: centre and width of the numbers that a viewer is to show at first.
        text: the relation in words.
    """

    factor: float
    signed: bool
    window: tuple[float, float]
    text: str

    def describe(self, out: Any, picture: NDArray[Any]) -> None:
        """Put a slice [i, j] and what describes its pixels into a pydicom Dataset."""
        out.Rows, out.Columns = picture.shape[1], picture.shape[0]
        out.SamplesPerPixel, out.PhotometricInterpretation = 1, "MONOCHROME2"
        out.BitsAllocated, out.BitsStored, out.HighBit = 16, 16, 15
        out.PixelRepresentation = int(self.signed)
        out.WindowCenter, out.WindowWidth = (f"{x:.8g}" for x in self.window)
        out.PixelData = self.numbers(picture).tobytes()

    def numbers(self, picture: NDArray[Any]) -> NDArray[Any]:
        """[rows, columns], little-endian, of a slice [i, j]; what does not fit (HU only) becomes the nearest that
        does."""
        dtype = np.dtype("<i2" if self.signed else "<u2")
        limits = np.iinfo(dtype)
        numbers = np.rint(np.asarray(picture, dtype=np.float64).T * self.factor)
        return np.ascontiguousarray(np.clip(numbers, limits.min, limits.max).astype(dtype))


def stored(values: NDArray[Any], units: str) -> Stored:
    """How a volume is to be stored; it is looked at slice by slice.

    HU are stored as they are, rounded to whole ones, signed. All else has no rescale in DICOM's MR image, so the
    numbers themselves must do: values whose largest is between 1000 and what 16 bits hold are rounded; smaller and
    larger ones are multiplied by one power of ten for all slices first. Numbers are signed only if some are negative.

    Args:
        values: [i, j, k], finite.

    Raises:
        UserError: NaN or infinite values are among them.
    """
    low, high = _range(values)
    if units == HOUNSFIELD:
        return Stored(1.0, True, _window(values, 1.0, air=True), "stored value = HU")
    factor = _factor(max(abs(low), abs(high)), 65535 if low >= 0 else 32767)
    times = "" if factor == 1 else f"{factor:g} x "
    return Stored(factor, low * factor < -0.5, _window(values, factor, air=False), f"stored value = {times}{units}")


def _range(values: NDArray[Any]) -> tuple[float, float]:
    low, high = math.inf, -math.inf
    for k in range(values.shape[2]):
        picture = values[:, :, k]
        low, high = min(low, float(picture.min())), max(high, float(picture.max()))
        if not (math.isfinite(float(picture.min())) and math.isfinite(float(picture.max()))):
            raise UserError(f"slice {k + 1} of the translated volume holds values that are NaN or infinite",
                            fix="look at the input's values, and at the model's training")
    return low, high


def _factor(largest: float, most: int) -> float:
    """The power of ten, the nearest to 1, that brings the largest value to between FINE and `most`."""
    if largest < 1e-30 or FINE <= largest <= most:
        return 1.0
    if largest < FINE:
        return 10.0 ** math.ceil(math.log10(FINE / largest))
    return 10.0 ** -math.ceil(math.log10(largest / most))


def _window(values: NDArray[Any], factor: float, air: bool) -> tuple[float, float]:
    """Centre and width from the 1st to the 99.5th percentile; `air`: only of what is brighter than the mean, since
    most of a CT is air."""
    steps = tuple(slice(None, None, -(-n // _SAMPLED)) for n in values.shape)
    sample = np.asarray(values[steps], dtype=np.float64) * factor
    bright = sample[sample >= sample.mean()]
    low = float(np.percentile(bright if air else sample, 1))
    high = float(np.percentile(bright, 99.5))
    return (low + high) / 2, max(1.0, high - low)
