"""Minibatch discrimination: lets a discriminator see how alike the samples of its batch are (Salimans et al. 2016)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class MinibatchDiscrimination(nn.Module):
    """Appends to each sample's features how near the other samples of the batch are, one number a kernel.

    M_i = f(x_i) T, of `kernels` rows of `dims`; o(x_i)_b = sum over j other than i of exp(-|M_i,b - M_j,b|_1). A batch
    of real and one of generated images are to be given apart, so that neither tells anything of the other. Over a
    mixed-precision pass the distances are taken in fp32.

    Args:
        features: length of a sample's features, A.
        kernels: B, how many numbers are appended.
        dims: C, dimensions in which a kernel measures its distance.

    Source: Salimans et al., Improved Techniques for Training GANs, NeurIPS 2016, section 3.2. There j includes i, which
    adds 1 to every number.
    """

    def __init__(self, features: int, kernels: int = 100, dims: int = 5) -> None:
        super().__init__()
        self.kernels, self.dims = kernels, dims
        self.weight = nn.Parameter(torch.empty(features, kernels * dims))
        nn.init.normal_(self.weight, 0.0, 1 / math.sqrt(features))

    def forward(self, x: Tensor) -> Tensor:
        """[n, features] to [n, features + kernels]."""
        projected = x @ self.weight
        with torch.autocast(x.device.type, enabled=False):
            m = projected.float().view(-1, self.kernels, self.dims)
            apart = (m[:, None] - m[None]).abs().sum(3)
            near = torch.exp(-apart).sum(1) - 1  # a sample's distance to itself is 0
        return torch.cat([x, near.to(x.dtype)], 1)
