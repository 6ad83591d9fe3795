"""MS-SSIM diversity: how alike two synthetic images are, beside two real images of different patients."""

from __future__ import annotations

from typing import Any

import numpy as np

from ganatomy.metrics.base import MIN_SUBJECTS, About, Column, Result, Sample, Samples
from ganatomy.metrics.similarity import FEW, RADIUS, ms_ssim_name, similarity
from ganatomy.metrics.ssim import NOTHING, interval, of_other_subjects
from ganatomy.statistics.resampling import Array

ORDER = 3.5
ABOUT = (
    About("MS-SSIM", "Mean similarity of pairs of generated images. Above that of real pairs, the generator repeats "
          "itself.", "diverse", "match", column=Column("ms_ssim_ratio", "MS-SSIM ratio", ratio=True, order=7)),
)
CONTROLS = False  # it is never ranked, and what it says of them is known: 1 for the mean image
_MOST_PAIRS, _FEWEST_PAIRS, _PIXELS = 1000, 200, 4_000_000
_SMALLEST = (2 * RADIUS + 1) * 2 ** (FEW - 1)
_CAVEAT = "lower is more diverse, and blur and empty background raise it: it should match real vs real"
_FEW_SCALES = f"; {FEW} scales, weighted as the first {FEW} of MS-SSIM's but to sum 1, so not to be compared with it"


class _Pairs:
    """MS-SSIM of random pairs of images of different subjects of one sample: every image as often as any other first.

    A structure term whose mean is negative counts as 0, or its power would not be a number (torchmetrics' "relu").
    """

    def __init__(self, sample: Sample, pairs: int, seed: int) -> None:
        rng = np.random.default_rng((seed, 503))
        self.sample = sample
        self.first = np.resize(rng.permutation(sample.n_images), pairs)
        self.second = of_other_subjects(sample, self.first, rng)
        _, values = similarity(sample.images[self.first], sample.images[self.second])
        assert values is not None  # the caller has looked at the size
        self.values: Array = values

    def summary(self, pairs: int) -> tuple[float, tuple[float, float] | None]:
        """Mean and interval over the first so many pairs."""
        values, first, second = self.values[:pairs], self.first[:pairs], self.second[:pairs]
        return float(values.mean()), interval(values, (self.sample, first), (self.sample, second))


def compute(samples: Samples) -> list[Result]:
    """MS-SSIM between synthetic images, beside that between test (train) images of different patients.

    Five scales; three below 176 px, and then it is called MS-SSIM-3; none below 44 px, where the window of 11 pixels
    outgrows the coarsest scale. The dynamic range is fixed, black counts as 0, pairs are equally many on both sides.

    Sources: Wang et al., Asilomar 2003, eq. 7; as a measure of diversity: Odena et al., ICML 2017, sec. 4.2.
    """
    missing = _missing(samples.synthetic)
    pairs = {against: number_of_pairs(real, samples.synthetic) for against, real in samples.real()}
    own = None if missing else _Pairs(samples.synthetic, max(pairs.values()), samples.seed)
    return [_result(samples, against, real, own, pairs[against], missing) for against, real in samples.real()]


def number_of_pairs(real: Sample, synthetic: Sample) -> int:
    """How many pairs to compare: up to eight an image, and fewer for large images."""
    affordable = max(_FEWEST_PAIRS, min(_MOST_PAIRS, _PIXELS // int(np.prod(real.images.shape[1:]))))
    return min(8 * min(real.n_images, synthetic.n_images), affordable)


def _missing(sample: Sample) -> str:
    """Why there is no figure, or nothing."""
    if sample.images.shape[-1] < _SMALLEST:
        return f"MS-SSIM needs images of {_SMALLEST} px at least"
    return "needs two synthetic images, of different subjects" if sample.n_subjects < 2 else ""


def _result(samples: Samples, against: str, real: Sample, own: _Pairs | None, pairs: int,
            missing: str) -> Result:
    name = ms_ssim_name(samples.synthetic.images.shape[-1]) or "MS-SSIM"
    value, span, extra = None, None, dict[str, Any]()
    if own is not None:
        value, span = own.summary(pairs)
        extra = _beside(value, span, real, against, pairs, samples.seed)
    few = real.n_subjects < MIN_SUBJECTS
    return samples.result(name, against, value, "match", interval=None if few else span, ranked=False,
                          caveat=missing or _caveat(name, pairs, bool(extra)), **extra)


def _beside(value: float, span: tuple[float, float] | None, real: Sample, against: str, pairs: int,
            seed: int) -> dict[str, Any]:
    """The same between real images, and the ratio to it with the errors of both."""
    if real.n_subjects < 2:
        return {}
    reference, over = _Pairs(real, pairs, seed).summary(pairs)
    extra: dict[str, Any] = {
        "reference": {"what": f"{against} images of different patients", "value": reference, "interval": over,
                      "pairs": pairs}, "floor": reference, "floor_interval": over}
    if reference <= NOTHING:
        return extra
    ratio = extra["ratio"] = value / reference
    if span is not None and over is not None:
        half = np.hypot(span[1] - span[0], ratio * (over[1] - over[0])) / reference / 2
        extra["ratio_interval"] = (ratio - half, ratio + half)
    return extra


def _caveat(name: str, pairs: int, beside: bool) -> str:
    few = _FEW_SCALES if name != "MS-SSIM" else ""
    alone = "" if beside else "; here there are no two real patients to compare with"
    return f"{_CAVEAT}; {pairs} pairs{few}{alone}"
