"""Grey values: how far the synthetic images' intensity histogram is from that of real images."""

from __future__ import annotations

from typing import Any

import numpy as np

from ganatomy.metrics.base import About, Images, Result, Sample, Samples
from ganatomy.metrics.profiles import Profiles, beyond, chosen_rows, chunks, compare, drawn, reference, said
from ganatomy.statistics.resampling import Array

ORDER = 14
NAME = "Histogram"
ABOUT = (
    About(NAME, "How far apart the grey values of real and generated images are, on the grey scale.", "realistic",
          "lower"),
)
LEVELS = 256
LEAST = 0.005  # of the grey range: a smaller difference matters to nobody
_DRAWN = 64  # grey levels of the curves in `details`
_CAVEAT = "the mean difference of grey values, in shares of the grey range; says nothing about where they are"


def histograms(images: Images) -> Array:
    """Share of each image's pixels at each of 256 grey levels, -1 to 1, values rounded: [n, c, s, s] -> [n, c, 256]."""
    n, c = images.shape[:2]
    levels = np.clip((images + 1) * ((LEVELS - 1) / 2) + 0.5, 0, LEVELS - 1).astype(np.intp).reshape(n * c, -1)
    levels += np.arange(n * c)[:, None] * LEVELS
    counts = np.bincount(levels.ravel(), minlength=n * c * LEVELS).reshape(n, c, LEVELS)
    shares: Array = counts / (images.shape[2] * images.shape[3])
    return shares


def wasserstein(a: Array, b: Array) -> Array:
    """The 1-Wasserstein distance between histograms over the same levels, in shares of the grey range (0 to 1).

    On a line it is the area between the two distribution functions (Villani, Topics in Optimal Transportation, 2003,
    eq. 2.48). Over several channels their mean.

    Args:
        a, b: shares [draws, c * 256], either with one row.

    Returns:
        [draws].
    """
    difference = (a - b).reshape(max(len(a), len(b)), -1, LEVELS)
    area: Array = np.abs(difference.cumsum(-1)[..., :-1]).sum(-1) / (LEVELS - 1)
    mean: Array = area.mean(-1)
    return mean


def compute(samples: Samples) -> list[Result]:
    """The distance of grey values between synthetic images and test, and train."""
    synthetic, results = _profiles(samples.synthetic, samples.seed), []
    real = {against: _profiles(sample, samples.seed) for against, sample in samples.real()}
    for against, sample in samples.real():
        own = real[against]
        fields: dict[str, Any] = {}
        if not samples.control:
            fields = {"reference": reference(samples, against, real.get("train"), own, wasserstein),
                      "details": _details(own.mean()[0], synthetic.mean()[0])}
        caveat = said(_CAVEAT, drawn(sample, "real"), drawn(samples.synthetic, "synthetic"))
        results.append(compare(NAME, against, own, synthetic, wasserstein, samples.seed, not samples.control,
                               caveat=caveat, **fields))
    return results


def _profiles(sample: Sample, seed: int) -> Profiles:
    rows = chosen_rows(sample, 401, seed)
    values = [histograms(chunk).reshape(len(chunk), -1) for chunk in chunks(sample, rows)]
    return Profiles.of(np.concatenate(values), sample, rows)


def _details(real: Array, synthetic: Array) -> dict[str, Any]:
    """Curves for a plot, over all channels: shares of the pixels at 64 grey levels, and what the means are.

    `grey` is the middle of each level from 0 (black) to 1 (white); `brighter` the synthetic mean less the real one, in
    shares of the grey range; `channels` the distance of each channel.
    """
    levels = np.arange(LEVELS) / (LEVELS - 1)
    both = {"real": real.reshape(-1, LEVELS), "synthetic": synthetic.reshape(-1, LEVELS)}
    curves = {key: x.mean(0).reshape(_DRAWN, -1).sum(1).tolist() for key, x in both.items()}
    return {"grey": levels.reshape(_DRAWN, -1).mean(1).tolist(), **curves,
            "brighter": float((both["synthetic"].mean(0) - both["real"].mean(0)) @ levels),
            "channels": [float(wasserstein(r[None], s[None])[0]) for r, s in zip(*both.values(), strict=True)]}


def fault(result: Result) -> str:
    """That grey values are off: beyond the floor at equal n, and by at least 0.5% of the grey range."""
    if not beyond(result, LEAST):
        return ""
    brighter = (result.details or {}).get("brighter") or 0.0
    how = ""
    if abs(brighter) >= LEAST:
        how = f", on average {abs(brighter):.1%} {'brighter' if brighter > 0 else 'darker'}"
    return f"Grey values are off by {result.value:.1%} of the grey range{how}."
