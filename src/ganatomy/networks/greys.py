"""An image with the grey values of another, rank by rank: histogram matching inside of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

BACKGROUND = -0.8
"""Pixels below are background and stay what they are."""


@torch.no_grad()
def with_greys_of(like: Tensor, images: Tensor, falling: bool) -> Tensor:
    """`images` [n, c, h, w] with the foreground's grey values of `like` [n, c, h, w], image by image, in [-1, 1].

    Args:
        like: where the values come from; it need not show the same.
        images: where the anatomy comes from.
        falling: the brightest pixel gets the darkest value, and so on; otherwise the brightest the brightest.
    """
    out = images.clone()
    for made, image, other in zip(out, images, like, strict=True):
        for channel, values in enumerate(other):
            inside = image[channel] > BACKGROUND
            known = values[values > BACKGROUND].sort(descending=falling).values
            count = int(inside.sum())
            if count and len(known):
                ranks = image[channel][inside].argsort().argsort()
                places = ranks.double() * ((len(known) - 1) / max(1, count - 1))
                made[channel][inside] = known[places.round().long()]
    return out
