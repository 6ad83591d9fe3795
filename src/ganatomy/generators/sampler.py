"""Images from a trained generator: the same seed gives the same images, however many are asked for."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganatomy import gans
from ganatomy.core.errors import whole
from ganatomy.core.recipe import Recipe, load
from ganatomy.gans.base import GAN, Batch
from ganatomy.networks.blocks import refresh_batch_norm

TRANSLATED = 8  # slices translated at a time
CHUNK = 32  # images computed at a time; part of the result, since kernels differ between batch sizes
STATISTICS_PASSES = 16
IMAGES, STATISTICS, TRANSLATION = 1, 2, 5  # what latents are drawn for; no two purposes share any


@dataclass
class Sampler:
    """A generator ready to sample, in evaluation mode, with the recipe that it was trained by."""

    model: GAN
    recipe: Recipe
    device: torch.device
    notes: dict[str, Any] | None = None

    @property
    def size(self) -> int:
        """Side of the images, pixels."""
        return self.model.shape.size

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return self.model.shape.channels

    def sample(self, n: int, seed: int) -> NDArray[np.float32]:
        """`n` images [n, c, size, size] in [-1, 1]; image i depends on the seed and i alone."""
        empty = np.empty((0, self.channels, self.size, self.size), np.float32)
        return np.concatenate([empty, *self.stream(n, seed)])

    def stream(self, n: int, seed: int) -> Iterator[NDArray[np.float32]]:
        """The images of `sample` in portions, for numbers that memory cannot hold."""
        self.model.eval()
        for number in range(-(-n // CHUNK)):
            yield self._chunk(seed, number)[: n - number * CHUNK]

    @torch.inference_mode()
    def _chunk(self, seed: int, number: int) -> NDArray[np.float32]:
        rng = np.random.default_rng((IMAGES, seed, number))
        return _to_array(self.model.generate(_drawn(self.model, CHUNK, rng, self.device)).target)

    def translate(self, images: NDArray[np.float32], seed: int = 0, backward: bool = False) -> NDArray[np.float32]:
        """Images [n, c, size, size] in [-1, 1] in the other contrast, likewise.

        Where the generator takes noise beside the image, all images get the same: neighbouring slices must not differ
        by chance.

        Args:
            images: of the source domain; of the target domain with `backward`, which needs a two-way model.
            seed: of the noise.
            backward: from the target's contrast to the source's.
        """
        self.model.eval()
        parts = [self._translate(images[i:i + TRANSLATED], seed, backward) for i in range(0, len(images), TRANSLATED)]
        return np.concatenate([np.empty((0, self.channels, self.size, self.size), np.float32), *parts])

    @torch.inference_mode()
    def _translate(self, images: NDArray[np.float32], seed: int, backward: bool) -> NDArray[np.float32]:
        given = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
        noise = None
        if "noise" in self.model.needs:
            noise = self.model.draw_noise(1, np.random.default_rng((TRANSLATION, seed))).to(self.device)
            noise = noise.expand(len(images), *noise.shape[1:])
        batch = Batch(noise=noise, target=given) if backward else Batch(noise=noise, source=given)
        translated = self.model.generate(batch)
        return _to_array(translated.source if backward else translated.target)


def _drawn(model: GAN, n: int, rng: np.random.Generator, device: torch.device) -> Batch:
    """Noise, and classes where the model needs them, for `n` images."""
    noise = model.draw_noise(n, rng).to(device)
    return Batch(noise=noise, label=model.draw_label(n, rng).to(device) if "label" in model.needs else None)


def _to_array(images: torch.Tensor | None) -> NDArray[np.float32]:
    assert images is not None
    array: NDArray[np.float32] = images.clamp(-1, 1).float().contiguous().cpu().numpy()
    return array


@torch.no_grad()
def recompute_statistics(model: GAN, device: torch.device) -> None:
    """Give the generator's batch norms the statistics of its own (averaged) weights, from fixed latents.

    A generator that starts from images has none here to do it with; it keeps the statistics of training.
    """
    model.generator.eval()
    if model.translates or not refresh_batch_norm(model.generator):
        return
    rng = np.random.default_rng(STATISTICS)
    for _ in range(STATISTICS_PASSES):
        model.generate(_drawn(model, 2 * CHUNK, rng, device))
    model.generator.eval()


def trained_sampler(model: GAN, weights: dict[str, torch.Tensor], recipe: Recipe, device: torch.device,
                    refresh: bool) -> Sampler:
    """A sampler over a copy of `model` whose generator has `weights`; `refresh` recomputes batch-norm statistics."""
    model = copy.deepcopy(model).eval().requires_grad_(False)
    model.generator.load_state_dict(weights)
    if refresh:
        recompute_statistics(model, device)
    return Sampler(model, recipe, device)


def untrained_generator(sampler: Sampler | None, size: int, channels: int, seed: int = 0) -> Sampler:
    """A generator of the same kind before any training (our own kind if None): a control for metrics."""
    recipe = sampler.recipe if sampler else load("rpgan-64", {"size": size})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = gans.resolve(recipe, channels)
    model = model.eval().requires_grad_(False)
    recompute_statistics(model, torch.device("cpu"))
    return Sampler(model, recipe, torch.device("cpu"))


def check_seed(seed: int) -> int:
    """The seed. Raises `UserError` unless it is a whole number from 0 to 2^31 - 1."""
    return whole(seed, "--seed", 0, 2**31 - 1)
