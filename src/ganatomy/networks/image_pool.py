"""A pool of images that a generator made earlier (Shrivastava et al. 2017, sec. 2.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Gives a discriminator older fakes beside new ones, so that it does not forget what it has learnt.

    Until it is full, images pass and are kept. Then each image is, with probability one half, kept in the place of a
    random older one, which is handed out instead. The pool is part of a model's state.

    Args:
        size: images it holds; 0 hands out what it is given.
        shape: of one image, [c, h, w].
    """

    images: Tensor
    filled: Tensor

    def __init__(self, size: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.zeros(size, *shape))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def swap(self, new: Tensor) -> Tensor:
        """Images [n, c, h, w] for as many given; draws from torch's global generator on the CPU."""
        if self.size == 0:
            return new
        out, filled = new.detach().clone(), int(self.filled)
        places, kept = torch.randint(self.size, (len(new),)).tolist(), (torch.rand(len(new)) < 0.5).tolist()
        for i, (place, keep) in enumerate(zip(places, kept, strict=True)):
            if filled < self.size:
                self.images[filled] = new[i]
                filled += 1
            elif keep:
                out[i] = self.images[place]
                self.images[place] = new[i]
        self.filled.fill_(filled)
        return out
