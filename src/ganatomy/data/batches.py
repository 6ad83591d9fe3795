"""Batches for training: which images a draw holds is a function of (seed, draw), so a resumed run sees the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ganatomy.data.dataset import Dataset
from ganatomy.data.images import shrink_factor
from ganatomy.data.manifest import Row


class Feed:
    """An endless stream of the rows in random order, every pass a new permutation; batches may straddle passes.

    Args:
        dataset: where the pixels are.
        rows: the images to draw from.
        size: side of the images handed out, pixels; larger stored ones are averaged down.
        batch_size: images a draw.
        seed: of the permutations; feeds of as many rows, the same seed and stream go through them in the same order.
        device: where batches go.
        stream: sets the order apart from that of other feeds.
        source: the feed of the images to translate from, where there are any.
    """

    def __init__(self, dataset: Dataset, rows: Sequence[Row], size: int, batch_size: int, seed: int,
                 device: torch.device, stream: int = 0, source: Feed | None = None) -> None:
        self.dataset, self.rows, self.batch_size, self.device = dataset, rows, batch_size, device
        self.source = source
        self._seeds = (stream, seed) if stream else (seed,)
        self.factor = shrink_factor(dataset.info.size, size)
        self._pass, self._order = -1, np.empty(0, np.intp)

    @property
    def length(self) -> int:
        """Images that make a pass: of two feeds drawn apart the larger number."""
        return max(len(self.rows), len(self.source.rows) if self.source is not None else 0)

    def indices(self, draw: int) -> list[int]:
        """Which rows the draw of this number holds."""
        first = draw * self.batch_size
        return [self._at(i) for i in range(first, first + self.batch_size)]

    def draw(self, number: int) -> Tensor:
        """Images [batch_size, c, size, size] in [-1, 1], channels-last, on the device."""
        pixels = self.dataset.pixels([self.rows[i] for i in self.indices(number)])
        return to_images(torch.from_numpy(pixels), self.dataset.info.value_range, self.device, self.factor)

    def labels(self, number: int) -> Tensor:
        """Class numbers [batch_size] of the draw's images, as indices into `info.classes`, on the device."""
        return torch.from_numpy(self.dataset.labels([self.rows[i] for i in self.indices(number)])).to(self.device)

    def _at(self, position: int) -> int:
        number, offset = divmod(position, len(self.rows))
        if number != self._pass:
            self._pass = number
            self._order = np.random.default_rng((*self._seeds, number)).permutation(len(self.rows))
        return int(self._order[offset])


def to_images(pixels: Tensor, value_range: tuple[float, float], device: torch.device, factor: int = 1) -> Tensor:
    """Stored values [n, h, w(, c)] to float32 [n, c, h / factor, w / factor] in [-1, 1] on `device`, channels-last."""
    low, high = value_range
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    images = pixels.to(device).permute(0, 3, 1, 2).float()
    images = (images - low) * (2.0 / (high - low)) - 1.0
    if factor > 1:
        images = F.avg_pool2d(images, factor)
    return images.contiguous(memory_format=torch.channels_last)
