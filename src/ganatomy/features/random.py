"""Images to features by a network that has learnt nothing: for data on which the features of photographs mislead."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ganatomy.features.base import Extractor
from ganatomy.features.fused import FusedConv

_SEED, _INPUT = 20150601, 96
_WIDTHS = (3, 32, 64, 128, 256)  # channels of the image and after each convolution


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
        digest = hashlib.sha256(f"random {_INPUT} bilinear mean {_WIDTHS}".encode())
        for kernel in _kernels():
            digest.update(kernel.tobytes())
        self.identity = digest.hexdigest()

    def rows(self, images: torch.Tensor) -> torch.Tensor:
        x = nn.functional.interpolate(images, size=_INPUT, mode="bilinear", antialias=True)
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
