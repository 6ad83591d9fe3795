"""Which images a training draws, in pairs or not, and how each is changed at random: functions of (seed, draw)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ganatomy import gans
from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe
from ganatomy.data.batches import Feed
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import Row

T = TypeVar("T")
FLIPS, TURNS, POWERS = 4, 6, 7  # what random numbers are drawn for, apart from the purposes in generators/sampler.py
SOURCES = 8  # the stream of sources that are drawn apart from the targets


def with_domains(recipe: Recipe, dataset: Dataset) -> Recipe:
    """The recipe with the domains named that a translating GAN learns; of two the first is the source if none is given.

    Raises:
        UserError: domains that the dataset lacks or that are the same, none to translate from, or a dataset without
            pairs for a GAN that needs them.
    """
    gan = gans.kind(recipe)
    if "source" not in gan.needs:
        if recipe.source is not None:
            raise UserError(f"{recipe.gan} starts from noise and has no source", where="--source", fix="leave it out")
        return recipe
    known = dataset.info.domains
    if len(known) < 2:
        raise UserError(f"{recipe.gan} translates, and this dataset has the one domain {known[0]}", where=dataset.path,
                        fix="prepare a dataset with two contrasts, such as --domains T1,T2")
    if len(known) > 2 and None in (recipe.source, recipe.domain):
        raise UserError(f"has the domains {', '.join(known)}", where=dataset.path,
                        fix="name the one to start from with --source and the one to make with --domain")
    source, target = recipe.source, recipe.domain
    source = next(name for name in known if name != target) if source is None else source
    target = next(name for name in known if name != source) if target is None else target
    for option, name in (("--source", source), ("--domain", target)):
        if name not in known:
            raise UserError(f"{name!r} is asked for, and this dataset has {', '.join(known)}", where=option,
                            fix="name its domains with --source and --domain, spelt as they are")
    if source == target:
        raise UserError(f"{source} is both what to start from and what to make", where="--source",
                        fix=f"choose two of {', '.join(known)}")
    if gan.paired and not dataset.info.paired:
        raise UserError(f"{recipe.gan} learns from pairs, and the domains of this dataset are unpaired",
                        where=dataset.path, fix="use --recipe cyclegan-mri, or prepare it without --unpaired")
    return recipe.model_copy(update={"source": source, "domain": target})


def partners(dataset: Dataset, rows: Sequence[Row], domain: str) -> list[Row]:
    """The rows of `domain` that belong to the given ones of another domain of a paired dataset, in their order."""
    other = {row.row: row for row in dataset.rows(domain)}
    return [other[row.row] for row in rows]


def make_feed(dataset: Dataset, recipe: Recipe, device: torch.device) -> Feed:
    """The training images of a recipe whose domains are named. Raises `UserError` if there are none."""
    gan = gans.kind(recipe)
    rows = dataset.require("train", recipe.domain, recipe.label)
    source = None
    if "source" in gan.needs:
        assert recipe.source is not None
        from_rows = partners(dataset, rows, recipe.source) if gan.paired \
            else dataset.require("train", recipe.source, recipe.label)
        source = Feed(dataset, from_rows, recipe.size, recipe.batch_size, recipe.seed, device,
                      0 if gan.paired else SOURCES)
    return Feed(dataset, rows, recipe.size, recipe.batch_size, recipe.seed, device, source=source)


def real_images(recipe: Recipe, feed: Feed, draw: int) -> tuple[Tensor, Tensor | None]:
    """A batch of targets [n, c, h, w] and, where there are any, of sources, each changed at random as the recipe says.

    Source and target of a pair are mirrored and turned alike; contrast is changed in the source alone, so that the
    model learns to see past it. Everything follows from (seed, draw).
    """
    target = feed.draw(draw)
    if feed.source is None:
        return _changed(target, recipe, draw, 0, recipe.contrast), None
    source = feed.source.draw(draw)
    paired = gans.kind(recipe).paired
    return (_changed(target, recipe, draw, 0, 0.0 if paired else recipe.contrast),
            _changed(source, recipe, draw, 0 if paired else SOURCES, recipe.contrast))


def thin(items: Sequence[T], most: int) -> list[T]:
    """At most `most` of the items, evenly picked."""
    return [items[i] for i in np.linspace(0, len(items) - 1, min(most, len(items))).astype(int)] if items else []


def _changed(images: Tensor, recipe: Recipe, draw: int, stream: int, contrast: float) -> Tensor:
    seeds = (recipe.seed, draw, stream) if stream else (recipe.seed, draw)
    rng = np.random.default_rng((FLIPS, *seeds))
    for name, axis in (("horizontal", 3), ("vertical", 2)):
        if name in recipe.flips:
            chosen = torch.from_numpy(rng.random(len(images)) < 0.5).to(images.device)
            images = torch.where(chosen[:, None, None, None], images.flip(axis), images)
    if recipe.rotation > 0:
        images = _turned(images, np.random.default_rng((TURNS, *seeds)).uniform(-1, 1, len(images)) * recipe.rotation)
    if contrast > 0:
        powers = np.exp(np.random.default_rng((POWERS, *seeds)).uniform(-contrast, contrast, len(images)))
        power = torch.from_numpy(powers.astype(np.float32)).to(images.device)[:, None, None, None]
        images = ((images + 1) / 2).clamp(0, 1) ** power * 2 - 1
    return images


def _turned(images: Tensor, degrees: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Tensor:
    """Images [n, c, h, w] turned about their centres, with background (-1) from outside."""
    angles = torch.from_numpy(np.deg2rad(degrees).astype(np.float32))
    zero = torch.zeros_like(angles)
    matrices = torch.stack([torch.stack([angles.cos(), -angles.sin(), zero], 1),
                            torch.stack([angles.sin(), angles.cos(), zero], 1)], 1).to(images.device)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images + 1, grid, mode="bilinear", padding_mode="zeros", align_corners=False) - 1
