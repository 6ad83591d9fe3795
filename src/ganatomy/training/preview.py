"""Progress pictures: generated samples in the run folder; what a translation makes of real images beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ganatomy.core.files import private_folder
from ganatomy.core.recipe import Recipe
from ganatomy.core.run import Run
from ganatomy.data.batches import Feed
from ganatomy.data.manifest import Row
from ganatomy.data.pictures import error_colours, grid, sheet, to_uint8, write_png
from ganatomy.gans.base import Batch, Context
from ganatomy.generators.sampling import TRANSLATION, Sampler
from ganatomy.training.images import partners
from ganatomy.training.validation import preview_rows

SEED, IMAGES, COLUMNS = 1, 32, 8
Array = NDArray[np.float32]


@dataclass
class Preview:
    """Pictures of the generator on a schedule, always of the same latents and the same real images.

    Attributes:
        feed: of the training.
        recipe: with its domains named.
        run: whose folders they go to.
    """

    feed: Feed
    recipe: Recipe
    run: Run

    def __post_init__(self) -> None:
        self.source: Array | None = None
        if self.feed.source is None:
            return
        dataset, recipe = self.feed.dataset, self.recipe
        rows, held_out = preview_rows(self.feed, recipe)
        self.source = dataset.images(rows, recipe.size)
        self.truth = self._truth(rows) if dataset.info.paired else None
        self.title = f"{recipe.source} to {recipe.domain}, " + ("validation images" if held_out else "training images")

    def _truth(self, rows: list[Row]) -> Array:
        assert self.recipe.domain is not None
        return self.feed.dataset.images(partners(self.feed.dataset, rows, self.recipe.domain), self.recipe.size)

    def draw(self, sampler: Sampler, ctx: Context) -> Array:
        """Write the pictures of this moment; returns images [n, c, s, s] of what training is at."""
        name = f"step-{ctx.step:06d}.png"
        if not sampler.model.translates:
            samples = sampler.sample(IMAGES, SEED)
            write_png(self.run.samples / name, grid(samples, COLUMNS))
        if self.source is None:
            return samples
        return self.translations(sampler, ctx, self.run.private_progress / name)

    def translations(self, sampler: Sampler, ctx: Context, path: Path) -> Array:
        """Write a sheet of what is made of real images to `path`, in RUN.private; returns the images made."""
        assert self.source is not None
        made = _made(sampler, self.source, ctx)
        private_folder(self.run.path)
        write_png(path, self._sheet(sampler, made), mode=0o600)
        return made

    def _sheet(self, sampler: Sampler, made: Array) -> NDArray[np.uint8]:
        """Input, output, and truth and error where there is a truth; one image a column."""
        assert self.source is not None
        rows = {"input": to_uint8(self.source), "output": to_uint8(made)}
        if self.truth is not None:
            rows |= {"truth": to_uint8(self.truth), "error": error_colours(made, self.truth)}
        if sampler.model.two_way:
            again = sampler.translate(made, backward=True)
            rows |= {"and back": to_uint8(again), "error of it": error_colours(again, self.source)}
        return sheet(rows, self.title)


@torch.inference_mode()
def _made(sampler: Sampler, source: Array, ctx: Context) -> Array:
    """What the model makes of the sources where training stands; every image has noise of its own."""
    model = sampler.model
    noise = None
    if "noise" in model.needs:
        noise = model.draw_noise(len(source), np.random.default_rng((TRANSLATION, SEED))).to(sampler.device)
    made = model.preview(Batch(noise=noise, source=torch.from_numpy(source).to(sampler.device)), ctx).target
    assert made is not None
    array: Array = made.clamp(-1, 1).float().contiguous().cpu().numpy()
    return array
