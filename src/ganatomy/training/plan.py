"""What a training would be: the resolved recipe, the networks' sizes, the memory to expect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from ganatomy import gans
from ganatomy.core.hardware import choose_device, choose_precision
from ganatomy.core.recipe import Recipe
from ganatomy.core.text import counted
from ganatomy.data.dataset import Dataset
from ganatomy.gans.base import GAN, Batch, Context
from ganatomy.training.draws import make_feed, with_domains
from ganatomy.training.step import check_steps, checkpoint_interval, steps_of, total_steps

BYTES = 4
TORCH_ITSELF = 350 * 2**20  # a process that has imported torch and this package, measured


def plan(recipe: Recipe, data: str | Path, device: str = "auto") -> str:
    """The text of `--dry-run`. Raises `UserError` for whatever training would refuse."""
    dataset = Dataset.open(data)
    recipe = with_domains(recipe, dataset)
    where = choose_device(device)
    feed = make_feed(dataset, recipe, where)
    rows, images = feed.rows, feed.length
    model = gans.resolve(recipe, dataset.info.channels)
    check_steps(recipe, images, model.least_steps())
    lines = [recipe.to_yaml().rstrip(), "",
             f"training images   {len(rows)} of {counted(len({r.subject for r in rows}), 'subject')}",
             f"steps             {total_steps(recipe, images):,}, {steps_of(recipe, images, 1):,} an epoch",
             f"checkpoints       every {counted(checkpoint_interval(recipe, images), 'step')}",
             f"device            {where}, {choose_precision(recipe, where)}",
             f"generator         {_count(model.generator):,} parameters",
             f"discriminator     {_count(model.discriminator):,} parameters",
             f"expected memory   {expected_memory(model, recipe) / 2**20:,.0f} MB"]
    return "\n".join(lines)


def expected_memory(model: GAN, recipe: Recipe) -> float:
    """Bytes that training will hold at its peak, roughly: networks with their optimisers, activations, torch itself."""
    weights = BYTES * (4 * (_count(model.generator) + _count(model.discriminator)) + 2 * _count(model.generator))
    return TORCH_ITSELF + weights + recipe.batch_size * _activations(model)


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _activations(model: GAN) -> float:
    """Bytes of activations a training image, from one pass of two images with every module's output counted."""
    sizes: list[int] = []

    def note(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            sizes.append(output.numel() * BYTES)

    hooks = [m.register_forward_hook(note) for m in model.modules() if not list(m.children())]
    shape = (2, model.shape.channels, model.shape.size, model.shape.size)
    noise = model.draw_noise(2, np.random.default_rng(0)) if "noise" in model.needs else None
    batch = Batch(noise=noise, target=torch.zeros(shape), source=torch.zeros(shape))
    ctx = Context(1, 0, 0.0)
    fakes = model(batch, ctx)
    if model.adversarial:
        model.discriminator_loss(batch, fakes, ctx)
    for hook in hooks:
        hook.remove()
    return 2.0 * sum(sizes) / 2  # outputs are kept for the backward pass, and their gradients come beside them
