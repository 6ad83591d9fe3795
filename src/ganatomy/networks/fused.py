"""A convolution and what follows it, its batch norm and its activation, in one pass over memory."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

Activation = Literal["none", "relu", "relu6"]
Pair = tuple[int, int]
_ATTRIBUTE: dict[Activation, tuple[str, list[float]]] = {
    "none": ("none", []), "relu": ("relu", []), "relu6": ("hardtanh", [0.0, 6.0])}


class FusedConv(nn.Module):
    """A convolution with bias, then an activation; nothing in it is learnt, and gradients pass to its input.

    Without gradients, on a processor both are one call of oneDNN, by the operator that torch's own compiler uses; it
    also spares 1 x 1 kernels the slow way that torch goes on a single thread (features of Lite0: 7 ms an image instead
    of 14). Where that operator is missing, or does not give what the two steps give, they are two steps. float32,
    channels-last.
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, activation: Activation, stride: Pair = (1, 1),
                 padding: Pair = (0, 0), groups: int = 1) -> None:
        super().__init__()
        # what is never learnt is no part of a checkpoint
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last), persistent=False)
        self.register_buffer("bias", bias, persistent=False)
        self.activation, self.stride, self.padding, self.groups = activation, stride, padding, groups

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The activation of the convolution of x [n, c, h, w]."""
        with_gradient = x.requires_grad and torch.is_grad_enabled()  # the one call has none, and gives zeros in silence
        if x.device.type == "cpu" and not with_gradient and _fuses():
            return _in_one(x, self)
        return _in_two(x, self)


def fold(weight: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor, beta: torch.Tensor, eps: float,
         gamma: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of the convolution that equals one without bias and the batch norm after it.

    Computed in float64, so that the folded network is as exact as the two steps.
    """
    scale = 1 / torch.sqrt(variance.double() + eps)
    if gamma is not None:
        scale = scale * gamma.double()
    return (weight.double() * scale[:, None, None, None]).float(), (beta.double() - mean.double() * scale).float()


def _in_one(x: torch.Tensor, conv: FusedConv) -> torch.Tensor:
    attribute, scalars = _ATTRIBUTE[conv.activation]
    out: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
        x, conv.weight, conv.bias, list(conv.padding), list(conv.stride), [1, 1], conv.groups, attribute, scalars, "")
    return out


def _in_two(x: torch.Tensor, conv: FusedConv) -> torch.Tensor:
    out = F.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding, groups=conv.groups)
    if conv.activation == "none":
        return out
    return F.relu(out, inplace=True) if conv.activation == "relu" else F.hardtanh(out, 0.0, 6.0, inplace=True)


@lru_cache(maxsize=1)
def _fuses() -> bool:
    """Whether the one call is there and gives what the two steps give, for every activation."""
    def image(*shape: int) -> torch.Tensor:
        steps = torch.arange(torch.Size(shape).numel(), dtype=torch.float32)
        return (8 * torch.sin(steps * 0.7)).reshape(shape).contiguous(memory_format=torch.channels_last)

    try:
        for activation in _ATTRIBUTE:
            for weight, groups in ((image(16, 16, 1, 1), 1), (image(16, 1, 3, 3), 16)):
                conv = FusedConv(weight, image(16, 1, 1, 1).flatten(), activation, (2, 2), (1, 1), groups)
                x = image(2, 16, 8, 8)
                if not torch.allclose(_in_one(x, conv), _in_two(x, conv), rtol=1e-4, atol=1e-2):
                    return False
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return False
    return True
