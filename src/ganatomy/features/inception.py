"""Images to features: the InceptionV3 of 2015, with which alone a distance may be called FID or KID."""

from __future__ import annotations

import hashlib

import torch

from ganatomy.features.base import Extractor
from ganatomy.features.inception_network import STAGES, Inception
from ganatomy.features.weights import load

SIZE = 299  # pixels along each side of what the network sees
_NAMES = {"KD": "KID", "FD": "FID"}


class Inception2015(Extractor):
    """The 2,048 pooled features of FID, or those of an earlier layer (for comparison with other programs).

    Images become 8-bit grey levels or colours, as the network is used everywhere else, then are resized as TensorFlow
    1 did (`resize`), then (level - 128) / 128.

    Source: Heusel et al., NeurIPS 2017 (FID); Binkowski et al., ICLR 2018 (KID).
    """

    name = "Inception"
    batch = 10

    def __init__(self, feature: int = 2048) -> None:
        """Take the layer: 64, 192, 768 or 2048 features. Raises `UserError` if weights are missing or damaged."""
        if feature not in STAGES:
            raise ValueError(f"{feature} is none of {', '.join(map(str, STAGES))}")
        tensors, sha256 = load("inception")
        self.dimensions = feature
        self.identity = hashlib.sha256(f"inception 299 tf1 levels {feature} {sha256}".encode()).hexdigest()
        self._net = Inception(tensors, feature).eval()

    def rows(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self._net.to(images.device)(_prepare(images))
        return features

    def metric(self, kind: str) -> str:
        """FID and KID; other metrics carry the network's name: Precision-Inception."""
        return _NAMES.get(kind, super().metric(kind))


def _prepare(batch: torch.Tensor) -> torch.Tensor:
    levels = batch.mul(127.5).add_(127.5).round_().clamp_(0, 255)
    scaled = (resize(levels, SIZE) - 128) / 128
    return scaled.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def resize(images: torch.Tensor, size: int) -> torch.Tensor:
    """Images [n, c, h, w] to [n, c, size, size], bilinearly, as TensorFlow 1 did.

    Output pixel i lies at input pixel i x h / size, counted from the first pixel's centre: the image is moved by up to
    half a pixel, and nothing is averaged when it shrinks. Better ways give other features, and then no FID.
    """
    return _along(_along(images, size, 3), size, 2)


def _along(images: torch.Tensor, size: int, axis: int) -> torch.Tensor:
    length = images.shape[axis]
    if length == size:
        return images
    place = torch.arange(size, dtype=torch.float32, device=images.device) * (length / size)
    low = place.long().clamp_(max=length - 1)
    high = (low + 1).clamp_(max=length - 1)
    share = (place - low).reshape([-1 if i == axis else 1 for i in range(4)])
    near, far = images.index_select(axis, low), images.index_select(axis, high)
    return near + (far - near) * share
