"""Controls: image sets that are known to be bad, and that a metric should place behind a trained model."""

from __future__ import annotations

import numpy as np

from ganatomy.metrics.base import Images, Sample

BLUR = 1 / 32  # standard deviation of the blur, share of the image's width
_CHUNK = 2000  # images read at a time


def controls(real: Sample, n: int, untrained: Images | None, seed: int = 0) -> dict[str, Sample]:
    """The controls by name: mean image, blurred real images and, where given, an untrained generator's images.

    Args:
        real: training images, so that no control has seen the test images.
        n: how many images each has, as many as the model (blurred ones: as many as there are, at most).
        untrained: [n, c, s, s] from a generator that has not been trained; None leaves this control out.
        seed: of the choice of images to blur.
    """
    found = {"mean image": mean_image(real, n), "blurred real images": blurred(real, n, seed)}
    if untrained is not None:
        found["untrained generator"] = Sample(np.clip(untrained, -1, 1), extractor=real.extractor)
    return found


def mean_image(real: Sample, n: int) -> Sample:
    """`n` times the mean of the real images: [n, c, s, s]."""
    starts = range(0, real.n_images, _CHUNK)
    total = sum(real.images[i:i + _CHUNK].sum(0, keepdims=True, dtype=np.float64) for i in starts)
    mean = np.asarray(total / real.n_images, np.float32)
    features = np.repeat(real.extractor(mean), n, axis=0)
    return Sample(np.repeat(mean, n, axis=0), None, features, extractor=real.extractor)


def blurred(real: Sample, n: int, seed: int = 0) -> Sample:
    """Up to `n` of the real images under a Gaussian blur of 1/32 of their width (2 px at 64), with their subjects."""
    from scipy.ndimage import gaussian_filter

    if n < real.n_images:
        real = real.take(np.sort(np.random.default_rng((seed, 10)).choice(real.n_images, n, replace=False)))
    sigma = BLUR * real.images.shape[-1]
    images = gaussian_filter(real.images[:], sigma=(0, 0, sigma, sigma), mode="nearest")
    return Sample(images.astype(np.float32), [real.names[s] for s in real.subjects], extractor=real.extractor)
