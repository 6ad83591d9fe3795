"""What a classifier's training images are changed by, at random, each time they are seen."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor


def generator(seed: int, step: int) -> torch.Generator:
    """Random numbers of one step, on the CPU so that every device sees the same; a function of (seed, step) alone."""
    return torch.Generator().manual_seed(zlib.crc32(f"study/{seed}/{step}".encode()))


def flip(images: Tensor, random: torch.Generator) -> Tensor:
    """Each image [n, c, h, w] mirrored left-right or not and up-down or not, each with probability 1/2."""
    across, down = torch.rand((2, len(images)), generator=random).to(images.device) < 0.5
    images = torch.where(across[:, None, None, None], images.flip(3), images)
    return torch.where(down[:, None, None, None], images.flip(2), images)
