"""Augmentations that let gradients through, applied alike to real and generated images (Zhao et al. 2020)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BACKGROUND = -1.0


def translate(images: Tensor, ratio: float) -> Tensor:
    """Shift every image by its own random whole number of pixels, filling with background.

    Args:
        images: [n, c, h, w] in [-1, 1].
        ratio: largest shift as a share of the side; 0 leaves the images alone.

    Returns:
        [n, c, h, w].
    """
    n, _, h, w = images.shape
    reach = int(h * ratio + 0.5)
    if reach == 0:
        return images
    padded = F.pad(images, (reach, reach, reach, reach), value=BACKGROUND)
    # drawn on the CPU, so that every device sees the same shifts
    shifts = torch.randint(0, 2 * reach + 1, (n, 2)).tolist()
    moved = [padded[i, :, y : y + h, x : x + w] for i, (y, x) in enumerate(shifts)]
    return torch.stack(moved).contiguous(memory_format=torch.channels_last)
