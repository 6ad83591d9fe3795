"""What a classifier's training images are changed by, at random, each time they are seen."""

from __future__ import annotations

import math
import zlib

import torch
import torch.nn.functional as F
from torch import Tensor

TURN = math.radians(15)  # at most, either way
POWER = 0.35  # grey values in [0, 1] are raised to exp(-POWER) to exp(POWER)
KNOTS = 5  # a side, that are shifted at random; shifts between them are interpolated, so that bending is smooth
SHIFT = 0.02  # of a knot at most, as a share of the side; the next knot is 12 times as far, so that nothing folds


def generator(seed: int, *step: int) -> torch.Generator:
    """Random numbers of one step, on the CPU so that every device sees the same; a function of (seed, step) alone."""
    return torch.Generator().manual_seed(zlib.crc32("/".join(map(str, ("study", seed, *step))).encode()))


def flip(images: Tensor, random: torch.Generator) -> Tensor:
    """Each image [n, c, h, w] mirrored left-right or not and up-down or not, each with probability 1/2."""
    across, down = torch.rand((2, len(images)), generator=random).to(images.device) < 0.5
    images = torch.where(across[:, None, None, None], images.flip(3), images)
    return torch.where(down[:, None, None, None], images.flip(2), images)


def strong(images: Tensor, random: torch.Generator) -> Tensor:
    """Images [n, c, s, s] in [-1, 1], each mirrored, turned, bent and re-graded at random; -1 from outside.

    What a practitioner would use: rotation by up to 15 degrees, smooth elastic deformation in the manner of Simard et
    al. 2003, and a random power of the grey values, which changes brightness and contrast and leaves background alone.
    """
    images = flip(images, random)
    n, _, side, _ = images.shape
    angles, powers = torch.rand((2, n), generator=random) * 2 - 1
    knots = (torch.rand((n, 2, KNOTS, KNOTS), generator=random) * 2 - 1) * (2 * SHIFT)  # of a grid that is 2 wide
    spread = F.interpolate(torch.eye(KNOTS)[None, None], size=(side, KNOTS), mode="bicubic", align_corners=True)[0, 0]
    shifts = (spread @ knots @ spread.T).to(images.device)  # bicubic along both sides, [n, 2, side, side]
    # turned and bent in one step, which blurs once
    grid = F.affine_grid(_rotations(angles * TURN).to(images.device), list(images.shape), align_corners=False)
    images = F.grid_sample(images + 1, grid + shifts.permute(0, 2, 3, 1), padding_mode="zeros", align_corners=False)
    power = (powers * POWER).exp().to(images.device)[:, None, None, None]
    graded: Tensor = (images / 2).clamp(0, 1) ** power * 2 - 1
    return graded


def _rotations(angles: Tensor) -> Tensor:
    """Matrices [n, 2, 3] of turns about the centre, by angles [n] in radians."""
    zero = torch.zeros_like(angles)
    return torch.stack([torch.stack([angles.cos(), -angles.sin(), zero], 1),
                        torch.stack([angles.sin(), angles.cos(), zero], 1)], 1)
