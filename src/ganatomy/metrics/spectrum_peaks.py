"""Checkerboards: narrow peaks of the synthetic images' mean 2-D spectrum that real images do not have, by name."""

from __future__ import annotations

from typing import Any

import numpy as np

from ganatomy.statistics.resampling import Array

GROUPS = 20  # groups of subjects, of which the spread is taken
LEAST_EXCESS = 3.0  # dB
ERRORS = 6.0  # standard errors, and spreads over frequencies: there are thousands, and 20 groups or fewer
MOST = 8
_LOWEST = 1 / 10  # cycles a pixel: below it anatomy itself is narrow
_NEAR, _FAR = 5, 9  # the neighbourhood of a frequency: a square ring, 9 wide with a hole of 5


def group_means(sums: Array, counts: Array) -> tuple[Array, Array]:
    """Means of the groups that have any images: sums [g, s, k], counts [g]."""
    kept = counts > 0
    return sums[kept] / counts[kept, None, None], counts[kept]


def peaks(real: tuple[Array, Array], synthetic: tuple[Array, Array]) -> list[dict[str, Any]]:
    """The peaks, strongest first, at most eight.

    A frequency stands out by how far it is above the mean of its neighbourhood. It is a peak if synthetic images stand
    out there at least 3 dB and six standard errors more than real ones, and more than the frequencies next to it. A
    few images that are repeated have rough spectra everywhere: six times the spread over all frequencies count, too.

    Args:
        real, synthetic: mean spectra of groups of subjects in dB [g, s, s // 2 + 1], and their numbers of images [g].

    Returns:
        {"period_px", "direction", "excess_db"} of each: "horizontal" repeats from left to right. Stripes both ways, or
        the checks between them, are "both (checkerboard)".
    """
    size = real[0].shape[1]
    (own, own_error), (theirs, error) = _standing_out(*synthetic), _standing_out(*real)
    if error is None or (own_error is not None and len(real[1]) < 5):
        error = None if own_error is None else own_error * synthetic[1].sum() / real[1].sum()
    if error is None:
        return []
    own_error = error * real[1].sum() / synthetic[1].sum() if own_error is None else own_error
    excess = own - theirs
    spread = 1.4826 * float(np.median(np.abs(excess - np.median(excess))))  # of a normal distribution its deviation
    limit = np.maximum(max(LEAST_EXCESS, ERRORS * spread), ERRORS * np.sqrt(own_error + error))
    radius = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    high = (excess >= limit) & (own >= LEAST_EXCESS) & (radius >= max(_LOWEST, 4 / size)) & (excess >= _highest(excess))
    seen = [_named(y, x, size, float(excess[y, x])) for y, x in zip(*np.nonzero(high), strict=True)]
    return _merged(seen)


def _standing_out(maps: Array, counts: Array) -> tuple[Array, Array | None]:
    """How far each frequency is above its neighbourhood, dB, and the square of its standard error (None of one group).

    The error is smoothed over the neighbourhood, as there are only twenty groups.
    """
    from scipy.ndimage import uniform_filter

    above = np.stack([_above(x) for x in maps])
    shares = counts / counts.sum()
    mean: Array = np.tensordot(shares, above, 1)
    if len(maps) < 2:
        return mean, None
    squared = np.tensordot(shares ** 2, np.square(above - mean), 1) * len(maps) / (len(maps) - 1)
    error: Array = np.maximum(uniform_filter(squared, _FAR, mode="nearest"), 0)
    return mean, error


def _above(half: Array) -> Array:
    """A half plane less the mean of each frequency's neighbourhood in the whole plane, which is periodic."""
    from scipy.ndimage import uniform_filter

    size, across = half.shape
    mirrored = np.roll(half[::-1, 1:(size + 1) // 2][:, ::-1], 1, axis=0)
    whole = np.concatenate([half, mirrored], 1)
    far, near = (uniform_filter(whole, width, mode="wrap") * width ** 2 for width in (_FAR, _NEAR))
    found: Array = (whole - (far - near) / (_FAR ** 2 - _NEAR ** 2))[:, :across]
    return found


def _highest(excess: Array) -> Array:
    from scipy.ndimage import maximum_filter

    found: Array = maximum_filter(excess, 3, mode=("wrap", "nearest"))
    return found


def _named(row: int, column: int, size: int, excess: float) -> dict[str, Any]:
    y, x = abs(float(np.fft.fftfreq(size)[row])), float(np.fft.rfftfreq(size)[column])
    tolerance = 1.5 / size  # a window widens a peak
    if y < tolerance or x < tolerance:
        direction, frequency = ("horizontal", x) if y < tolerance else ("vertical", y)
    elif abs(x - y) < tolerance:
        direction, frequency = ("both (checkerboard)" if min(x, y) > 0.5 - tolerance else "diagonal"), max(x, y)
    else:
        direction, frequency = "diagonal", float(np.hypot(x, y))
    return {"period_px": round(1 / frequency, 2), "direction": direction, "excess_db": round(excess, 1)}


def _merged(seen: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry for each period: peaks in two directions make a checkerboard."""
    merged: dict[float, dict[str, Any]] = {}
    for peak in sorted(seen, key=lambda p: -p["excess_db"]):
        first = merged.setdefault(peak["period_px"], dict(peak))
        if peak["direction"] != first["direction"]:
            first["direction"] = "both (checkerboard)"
    return list(merged.values())[:MOST]
