"""Exponential moving average of a generator's weights."""

from __future__ import annotations

import torch
from torch import nn


class EMA:
    """Averages `source`'s weights into `target`; the half-life is a share of the images seen so far.

    A half-life that grows with training (Karras et al. 2020, "rampup") suits runs of any length. Buffers are copied.
    """

    def __init__(self, target: nn.Module, share: float) -> None:
        self.target, self.share, self.seen = target.requires_grad_(False), share, 0

    @torch.no_grad()
    def update(self, source: nn.Module, images: int) -> None:
        """Move towards `source` after a step that saw `images` images."""
        self.seen += images
        weight = 1.0 - 0.5 ** (images / (self.share * self.seen))
        averaged: list[torch.Tensor] = list(self.target.parameters())
        torch._foreach_lerp_(averaged, [p.detach() for p in source.parameters()], weight)
        for kept, new in zip(self.target.buffers(), source.buffers(), strict=True):
            kept.copy_(new)
