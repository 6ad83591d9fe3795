"""One step of training, the same for every kind of GAN."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ganatomy.core.hardware import autocast
from ganatomy.data.batches import Feed
from ganatomy.gans.base import Batch, Context, Fakes, Losses
from ganatomy.training.images import real_images
from ganatomy.training.schedule import epochs_done, learning_rates
from ganatomy.training.state import TrainingState, seed_step

NOISE = 3  # what random numbers are drawn for, apart from the purposes in sampling.py and training_images.py


def update(state: TrainingState, feed: Feed, precision: str, steps: int) -> dict[str, Losses]:
    """One step: `d_steps` discriminator updates and a generator update, in the recipe's order; then the average."""
    recipe, model, step = state.recipe, state.model, state.step
    seed_step(recipe.seed, step)
    model.train()
    ctx = Context(step, epochs_done(recipe, feed, step), step / steps)
    _set_rates(state, ctx)
    losses: dict[str, Losses] = {}
    made: tuple[Batch, Fakes] | None = None
    order = ("d", "g") if recipe.order == "d_first" else ("g", "d")
    for network in order if model.adversarial else ("g",):
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
    target, source = (_laid_out(images, state.channels_last) for images in real_images(recipe, feed, draw))
    noise = None
    if "noise" in model.needs:
        rng = np.random.default_rng((NOISE, recipe.seed, draw, ord(network)))
        noise = model.draw_noise(recipe.batch_size, rng).to(state.device)
    batch = Batch(noise=noise, target=target, source=source)
    return batch, model(batch, ctx)


def _laid_out(images: Tensor | None, channels_last: bool) -> Tensor | None:
    if images is None:
        return None
    # one channel counts as both layouts: only a copy is sure to be the one that is asked for
    return images.contiguous(memory_format=torch.channels_last) if channels_last \
        else images.clone(memory_format=torch.contiguous_format)


def _set_rates(state: TrainingState, ctx: Context) -> None:
    optimisers = (state.optimiser_g, state.optimiser_d)
    for optimiser, rate in zip(optimisers, learning_rates(state.recipe, ctx.epoch, ctx.progress), strict=True):
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
