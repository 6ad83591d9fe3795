"""Images to features: Lite0 and random weights, which need no download, and the Inception of 2015, of FID and KID."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ganatomy.features.base import Extractor
from ganatomy.features.inception_network import STAGES, Inception
from ganatomy.features.weights import load
from ganatomy.networks import LITE0
from ganatomy.networks.fused import FusedConv
from ganatomy.networks.lite0 import as_lite0_sees, lite0, lite0_weights

_LITE0_SIDE, _RANDOM_SIDE, _INCEPTION_SIDE = 224, 96, 299  # pixels of what each network sees
_SEED = 20150601  # of the random kernels
_WIDTHS = (3, 32, 64, 128, 256)  # channels of the image and after each random convolution
_FID_NAMES = {"KD": "KID", "FD": "FID"}


class Lite0(Extractor):
    """EfficientNet-Lite0 features, averaged over the last feature map.

    The network is trained on photographs (ImageNet), not on medical images; distances between its features are
    called FD-Lite0 and KD-Lite0, never FID or KID. Images are resized to 224 px (bilinear, antialiased) and scaled
    to (grey level - 127) / 128 as in its training; grey is repeated to 3 channels. Batch norm is folded into the
    convolutions. The same images give the same bits on the same machine with the same number of threads.

    Source: Tan and Le, EfficientNet, ICML 2019; the Lite variant without squeeze-and-excitation, with ReLU6.
    """

    name = "Lite0"
    network = LITE0
    dimensions = 1280
    batch = 8  # larger batches leave the processor's cache

    def __init__(self) -> None:
        self.identity = hashlib.sha256(b"lite0 224 bilinear fused" + lite0_weights().read_bytes()).hexdigest()

    def rows(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = _network(str(images.device))(_prepare(images)).mean((2, 3))
        return features


def _prepare(batch: torch.Tensor) -> torch.Tensor:
    batch = nn.functional.interpolate(batch, size=_LITE0_SIDE, mode="bilinear", antialias=True)
    return as_lite0_sees(batch)


@lru_cache(maxsize=2)
def _network(device: str) -> nn.Module:
    return lite0().to(device)


class Random(Extractor):
    """Four convolutions of 3 x 3 with stride 2 and ReLU, their kernels drawn once and for all.

    The features are the mean of every map of every layer, 480 in all: edges and textures at four scales. They know
    nothing of cats and dogs, nor of anatomy; they are for when a distance by learnt features is doubted.

    Source: Naeem et al., Reliable fidelity and diversity metrics, ICML 2020, for networks with random weights.
    """

    name = "Random"
    dimensions = sum(_WIDTHS[1:])
    batch = 32

    def __init__(self) -> None:
        digest = hashlib.sha256(f"random {_RANDOM_SIDE} bilinear mean {_WIDTHS}".encode())
        for kernel in _kernels():
            digest.update(kernel.tobytes())
        self.identity = digest.hexdigest()

    def rows(self, images: torch.Tensor) -> torch.Tensor:
        x = nn.functional.interpolate(images, size=_RANDOM_SIDE, mode="bilinear", antialias=True)
        x = x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        means = []
        for layer in _layers(str(images.device)):
            x = layer(x)
            means.append(x.mean((2, 3)))
        return torch.cat(means, 1)


def _kernels() -> list[NDArray[np.float32]]:
    """Kernels [outputs, inputs, 3, 3]; the variance keeps the maps' second moment (He et al., ICCV 2015)."""
    rng = np.random.RandomState(_SEED)  # the only generator of numpy's whose numbers will never change
    return [(rng.standard_normal((outputs, inputs, 3, 3)) * np.sqrt(2 / (9 * inputs))).astype(np.float32)
            for inputs, outputs in pairwise(_WIDTHS)]


@lru_cache(maxsize=2)
def _layers(device: str) -> list[nn.Module]:
    return [FusedConv(torch.from_numpy(kernel), torch.zeros(len(kernel)), "relu", (2, 2), (1, 1)).to(device)
            for kernel in _kernels()]


class Inception2015(Extractor):
    """The 2,048 pooled features of FID, or those of an earlier layer (for comparison with other programs).

    Images become 8-bit grey levels or colours, as the network is used everywhere else, then are resized as TensorFlow
    1 did (`resize`), then (level - 128) / 128.

    Source: Heusel et al., NeurIPS 2017 (FID); Binkowski et al., ICLR 2018 (KID).
    """

    name = "Inception"
    network = "Inception-2015"
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
        features: torch.Tensor = self._net.to(images.device)(_levels(images))
        return features

    def metric(self, kind: str) -> str:
        """FID and KID; other metrics carry the network's name: Precision-Inception."""
        return _FID_NAMES.get(kind, super().metric(kind))


def _levels(batch: torch.Tensor) -> torch.Tensor:
    levels = batch.mul(127.5).add_(127.5).round_().clamp_(0, 255)
    scaled = (resize(levels, _INCEPTION_SIDE) - 128) / 128
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
