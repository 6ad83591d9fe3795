"""Invented patients: images of a few smooth blobs in fine grain, or features alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from ganatomy.metrics.base import Sample


def textures(n: int, rng: np.random.Generator, size: int = 32, grain: float = 0.1) -> np.ndarray:
    """Float32 [n, 1, size, size] in [-1, 1]."""
    smooth = gaussian_filter(rng.standard_normal((n, 1, size, size)), (0, 0, size / 16, size / 16), mode="wrap")
    images = -0.3 + 0.4 * smooth / smooth.std() + grain * rng.standard_normal(smooth.shape)
    return np.clip(images, -1, 1).astype(np.float32)


def smooth(n: int, size: int, seed: int = 0, alike: float = 0.0, channels: int = 1) -> np.ndarray:
    """Float32 [n, channels, size, size] in [-1, 1] without grain; `alike` is the share that all have in common."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(n + 1, channels, size, size)), (0, 0, 2, 2))
    noise /= noise.std()
    return np.clip(0.4 * (alike * noise[:1] + (1 - alike) * noise[1:]), -1, 1).astype(np.float32)


def sample(images: np.ndarray, subjects: list[str] | None = None) -> Sample:
    """Images with features that nothing looks at."""
    return Sample(images.astype(np.float32), subjects, np.zeros((len(images), 2)))


def points(features: Any, subjects: Any = None) -> Sample:
    """Features [n, d] or [n] with images that nothing looks at."""
    features = np.asarray(features, np.float64).reshape(len(features), -1)
    names = None if subjects is None else list(map(str, subjects))
    return Sample(np.zeros((len(features), 1, 2, 2), np.float32), names, features)
