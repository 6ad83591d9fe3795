"""Translating GANs small enough to compute by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ganatomy import gans
from ganatomy.core.recipe import load
from ganatomy.gans.base import GAN, Batch, Context
from tests.builders import SMALL

START = Context(0, 0, 0.0)


def small(name: str, channels: int = 1, **settings: Any) -> GAN:
    torch.manual_seed(0)
    return gans.resolve(load(name, SMALL[name] | settings), channels)


def a_batch(model: GAN, n: int = 3, seed: int = 0) -> Batch:
    torch.manual_seed(seed)
    shape = (n, model.shape.channels, model.shape.size, model.shape.size)
    noise = model.draw_noise(n, np.random.default_rng(seed)) if "noise" in model.needs else None
    return Batch(noise=noise, target=torch.rand(shape) * 2 - 1, source=torch.rand(shape) * 2 - 1)


class Toy(nn.Module):
    """Any function as a network; keeps what it was given."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function, self.given = function, []

    def forward(self, x: Tensor, *more: Any) -> Tensor:
        self.given.append(x.detach().clone())
        return self.function(x)
