"""SSIM of held-out against generated images, MS-SSIM between generated ones, both beside different real patients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.metrics.base import MIN_SUBJECTS, SHARE, About, Column, Images, Result, Sample, Samples
from ganatomy.metrics.similarity import FEW, RADIUS, ms_ssim_name, similarity, ssim
from ganatomy.statistics.resampling import Array, pair_variance, student

ORDER = 2
ABOUT = (
    About("SSIM", "Mean structural similarity of pairs of images. Should match that of real pairs; blur and empty "
          "background raise it.", "realistic", "match", span=(-1.0, 1.0)),
    About("MS-SSIM", "Mean similarity of pairs of generated images. Above that of real pairs, the generator repeats "
          "itself.", "diverse", "match", column=Column("ms_ssim_ratio", "MS-SSIM ratio", ratio=True, order=7),
          span=SHARE),
)
NOTHING = 0.01  # images that have less in common have nothing in common, and a ratio to that says nothing
_MOST_PAIRS, _FEWEST_PAIRS = 1000, 200
_PIXELS, _MS_PIXELS = 6_000_000, 4_000_000  # of all pairs together, of SSIM and of MS-SSIM
_SMALLEST = (2 * RADIUS + 1) * 2 ** (FEW - 1)
_CAVEAT = "rises with blur and with empty background: it should match the value between real patients, never beat it"
_MS_CAVEAT = "lower is more diverse, and blur and empty background raise it: it should match real vs real"
_FEW_SCALES = f"; {FEW} scales, weighted as the first {FEW} of MS-SSIM's but to sum 1, so not to be compared with it"
_ALONE = "; here there are no two real patients to compare with"
Rows = NDArray[np.intp]
Span = tuple[float, float]


class Pairs:
    """The similarity of pairs of images: `values` [pairs], their mean, and its interval over subjects on both sides."""

    def __init__(self, one: Sample, first: Rows, other: Sample, second: Rows,
                 measure: Callable[[Images, Images], Array] = ssim) -> None:
        """Compare rows of one sample with rows of another, pair by pair."""
        self.one, self.first, self.other, self.second = one, first, other, second
        self.values = measure(one.images[first], other.images[second])

    def summary(self, pairs: int | None = None) -> tuple[float, Span | None]:
        """Mean and 95% interval over the first so many pairs, or all; no interval below five subjects on a side.

        A synthetic image is a subject of its own.
        """
        values, mean = self.values[:pairs], float(self.values[:pairs].mean())
        first, second = self.one.subjects[self.first[:pairs]], self.other.subjects[self.second[:pairs]]
        fewest = min(len(np.unique(first)), len(np.unique(second)))
        if fewest < MIN_SUBJECTS:
            return mean, None
        variance = pair_variance(values, first, second, same=self.one is self.other)
        return mean, student(mean, float(np.sqrt(variance)), fewest)


def number_of_pairs(n_images: int, pixels: int, most_pixels: int = _PIXELS) -> int:
    """How many pairs to compare: up to eight an image, and fewer for large images."""
    return min(8 * n_images, max(_FEWEST_PAIRS, min(_MOST_PAIRS, most_pixels // pixels)))


def compute(samples: Samples) -> list[Result]:
    """SSIM of held-out (and training) images against generated ones, and MS-SSIM between generated images.

    Black counts as 0 (see `similarity.ssim`). Intervals are over the subjects and the synthetic images of the pairs.
    Of controls there is no MS-SSIM: it is never ranked, and what it says of them is known, 1 for the mean image.
    """
    return [_ssim(samples, against, real) for against, real in samples.real()] + \
        ([] if samples.control else ms_ssim(samples))


def held_out(samples: Samples) -> Result:
    """SSIM of the held-out images, `samples.test`, alone; the same value as `compute` gives against test."""
    return _ssim(samples, "test", samples.test)


def _ssim(samples: Samples, against: str, real: Sample) -> Result:
    rng = np.random.default_rng((samples.seed, 6))
    pairs = number_of_pairs(real.n_images, int(np.prod(real.images.shape[1:])))
    first = np.resize(rng.permutation(real.n_images), pairs)
    second = rng.integers(samples.synthetic.n_images, size=pairs)
    own = Pairs(real, first, samples.synthetic, second)
    value, span = own.summary()
    extra, caveat = dict[str, Any](interval=span), _CAVEAT
    if not samples.control:
        reference = _between_real(samples, against, first, rng)
        extra["reference"] = reference
        if reference:
            extra |= {"floor": reference["value"], "floor_interval": reference["interval"],
                      "ratio": value / reference["value"] if reference["value"] > NOTHING else None}
        else:
            caveat += _ALONE
        if real.n_subjects < MIN_SUBJECTS:
            extra["per_subject"] = {name: float(own.values[real.subjects[first] == i].mean())
                                    for i, name in enumerate(real.names) if i in real.subjects[first]}
    return samples.result("SSIM", against, value, "match", caveat=f"{caveat}; {pairs} pairs", ranked=False, **extra)


def _between_real(samples: Samples, against: str, first: Rows, rng: np.random.Generator) -> dict[str, Any] | None:
    """The same images, each against one of another real patient, on the same number of pairs."""
    real = samples.test if against == "test" else samples.train
    if real is None:
        return None
    if against == "test" and samples.train is not None:  # no patient is in both
        other, second = samples.train, rng.integers(samples.train.n_images, size=len(first))
        what = "test against train images: different patients"
    elif real.n_subjects > 1:
        other, second = real, of_other_subjects(real, first, rng)
        what = f"{against} images of different patients"
    else:
        return None
    value, span = Pairs(real, first, other, second).summary()
    return {"what": what, "value": value, "interval": span, "pairs": len(first)}


def of_other_subjects(real: Sample, first: Rows, rng: np.random.Generator) -> Rows:
    """For each of these rows one of another subject, drawn at random; there must be two subjects."""
    second = rng.integers(real.n_images, size=len(first))
    while (same := real.subjects[first] == real.subjects[second]).any():
        second[same] = rng.integers(real.n_images, size=np.count_nonzero(same))
    return second


def ms_ssim(samples: Samples) -> list[Result]:
    """MS-SSIM between synthetic images, beside that between test (train) images of different patients.

    Five scales; three below 176 px, and then it is called MS-SSIM-3; none below 44 px, where the window of 11 pixels
    outgrows the coarsest scale. The dynamic range is fixed, black counts as 0, pairs are equally many on both sides.

    Sources: Wang et al., Asilomar 2003, eq. 7; as a measure of diversity: Odena et al., ICML 2017, sec. 4.2.
    """
    synthetic, missing = samples.synthetic, ""
    if synthetic.images.shape[-1] < _SMALLEST:
        missing = f"MS-SSIM needs images of {_SMALLEST} px at least"
    elif synthetic.n_subjects < 2:
        missing = "needs two synthetic images, of different subjects"
    pairs = {against: number_of_pairs(min(real.n_images, synthetic.n_images), int(np.prod(real.images.shape[1:])),
                                      _MS_PIXELS) for against, real in samples.real()}
    own = None if missing else _within(synthetic, max(pairs.values()), samples.seed)
    return [_ms_ssim(samples, against, real, own, pairs[against], missing) for against, real in samples.real()]


def _within(sample: Sample, pairs: int, seed: int) -> Pairs:
    """Random pairs of images of different subjects of one sample: every image as often as any other first.

    A structure term whose mean is negative counts as 0, or its power would not be a number (torchmetrics' "relu").
    """
    rng = np.random.default_rng((seed, 503))
    first = np.resize(rng.permutation(sample.n_images), pairs)

    def measure(a: Images, b: Images) -> Array:
        _, values = similarity(a, b)
        assert values is not None  # `ms_ssim` has looked at the size
        return values

    return Pairs(sample, first, sample, of_other_subjects(sample, first, rng), measure)


def _ms_ssim(samples: Samples, against: str, real: Sample, own: Pairs | None, pairs: int, missing: str) -> Result:
    name = ms_ssim_name(samples.synthetic.images.shape[-1]) or "MS-SSIM"
    value, span, extra = None, None, dict[str, Any]()
    if own is not None:
        value, span = own.summary(pairs)
        extra = _ratio(value, span, real, against, pairs, samples.seed)
    caveat = f"{_MS_CAVEAT}; {pairs} pairs{_FEW_SCALES if name != 'MS-SSIM' else ''}{'' if extra else _ALONE}"
    return samples.result(name, against, value, "match", interval=None if real.n_subjects < MIN_SUBJECTS else span,
                          ranked=False, caveat=missing or caveat, **extra)


def _ratio(value: float, span: Span | None, real: Sample, against: str, pairs: int, seed: int) -> dict[str, Any]:
    """The same between real images, and the ratio to it with the errors of both."""
    if real.n_subjects < 2:
        return {}
    reference, over = _within(real, pairs, seed).summary()
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
