"""One step of training, the same for every kind of GAN."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ganatomy.data.feed import Feed
from ganatomy.models.base import Batch, Context, Fakes, Losses
from ganatomy.nn.hardware import autocast
from ganatomy.recipe import Recipe
from ganatomy.training_schedule import epochs_done, learning_rates
from ganatomy.training_state import TrainingState, seed_step

NOISE, FLIPS = 3, 4  # what random numbers are drawn for, apart from the purposes in sampling.py


def update(state: TrainingState, feed: Feed, precision: str, steps: int) -> dict[str, Losses]:
    """One step: `d_steps` discriminator updates and a generator update, in the recipe's order; then the average."""
    recipe, model, step = state.recipe, state.model, state.step
    seed_step(recipe.seed, step)
    model.train()
    ctx = Context(step, epochs_done(recipe, feed, step), step / steps)
    _set_rates(state, ctx.epoch)
    losses: dict[str, Losses] = {}
    made: tuple[Batch, Fakes] | None = None
    for network in ("d", "g") if recipe.order == "d_first" else ("g", "d"):
        for i in range(recipe.d_steps if network == "d" else 1):
            with autocast(state.device, precision):
                if made is None or not recipe.reuse_fake:
                    with torch.set_grad_enabled(network == "g" or recipe.reuse_fake):
                        made = _generator_pass(state, feed, ctx, i, network)
            if network == "d":
                losses["discriminator"] = _discriminator_update(state, *made, ctx, precision)
            else:
                losses["generator"] = _generator_update(state, *made, ctx, precision)
    if state.ema:
        state.ema.update(model.generator, recipe.batch_size)
    state.step += 1
    return losses


def _generator_pass(state: TrainingState, feed: Feed, ctx: Context, i: int, network: str) -> tuple[Batch, Fakes]:
    model, recipe = state.model, state.recipe
    draw = ctx.step * recipe.d_steps + i
    target = real_images(recipe, feed, draw) if "target" in model.needs else None
    noise = None
    if "noise" in model.needs:
        rng = np.random.default_rng((NOISE, recipe.seed, draw, ord(network)))
        noise = model.draw_noise(recipe.batch_size, rng).to(state.device)
    batch = Batch(noise=noise, target=target)
    return batch, model(batch, ctx)


def real_images(recipe: Recipe, feed: Feed, draw: int) -> Tensor:
    """Draw a batch of real images [n, c, h, w], each mirrored at random as the recipe says, from (seed, draw)."""
    images = feed.draw(draw)
    rng = np.random.default_rng((FLIPS, recipe.seed, draw))
    for name, axis in (("horizontal", 3), ("vertical", 2)):
        if name in recipe.flips:
            chosen = torch.from_numpy(rng.random(len(images)) < 0.5).to(images.device)
            images = torch.where(chosen[:, None, None, None], images.flip(axis), images)
    return images.contiguous(memory_format=torch.channels_last)


def _set_rates(state: TrainingState, epoch: int) -> None:
    optimisers = (state.optimiser_g, state.optimiser_d)
    for optimiser, rate in zip(optimisers, learning_rates(state.recipe, epoch), strict=True):
        for group in optimiser.param_groups:
            group["lr"] = rate


def _discriminator_update(state: TrainingState, batch: Batch, fakes: Fakes, ctx: Context, precision: str) -> Losses:
    with autocast(state.device, precision):
        losses = state.model.discriminator_loss(batch, fakes, ctx)
    _descend(state.optimiser_d, losses)
    return losses


def _generator_update(state: TrainingState, batch: Batch, fakes: Fakes, ctx: Context, precision: str) -> Losses:
    # the discriminator's own gradients are of no use here and cost a third of its backward pass
    learning = [p for p in state.model.discriminator.parameters() if p.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    with autocast(state.device, precision):
        losses = state.model.generator_loss(batch, fakes, ctx)
    _descend(state.optimiser_g, losses)
    for parameter in learning:
        parameter.requires_grad_(True)
    return losses


def _descend(optimiser: torch.optim.Optimizer, losses: Losses) -> None:
    optimiser.zero_grad(set_to_none=True)
    losses.total.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def add_losses(sums: dict[str, Tensor], losses: dict[str, Losses]) -> None:
    """Add a step's losses to running sums, on the device: reading a number would wait for it."""
    for network, found in losses.items():
        parts = {network: found.total.detach()}
        parts |= {f"{network}/{name}": weight * value.detach() for name, (weight, value) in found.terms.items()}
        parts |= {f"{network}/{name}": value for name, value in found.diagnostics.items()}
        for name, value in parts.items():
            sums[name] = sums[name] + value if name in sums else value
