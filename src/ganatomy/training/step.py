"""One step of training, the same for every kind of GAN, and what depends on how far training is."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ganatomy.core.errors import UserError
from ganatomy.core.hardware import autocast
from ganatomy.core.recipe import Decay, Recipe
from ganatomy.core.text import counted
from ganatomy.data.batches import Feed
from ganatomy.gans.base import Batch, Context, Fakes, Losses
from ganatomy.training.draws import real_images
from ganatomy.training.state import TrainingState, seed_step

CHECKPOINTS, PREVIEWS = 10, 20  # of a training whose recipe gives no interval ...
LEAST_CHECKPOINT, LEAST_PREVIEW = 500, 100  # ... which is of so many steps at least
NOISE = 3  # what random numbers are drawn for, apart from the purposes in generators/sampler.py and draws.py


def update(state: TrainingState, feed: Feed, precision: str, steps: int) -> dict[str, Losses]:
    """One step: `d_steps` discriminator updates and a generator update, in the recipe's order; then the average."""
    recipe, model, step = state.recipe, state.model, state.step
    seed_step(recipe.seed, step)
    model.train()
    ctx = Context(step, epochs_done(recipe, feed.length, step), step / steps)
    rates = learning_rates(recipe, ctx.epoch, ctx.progress)
    for optimiser, rate in zip((state.optimiser_g, state.optimiser_d), rates, strict=True):
        optimiser.param_groups[0]["lr"] = rate
    losses: dict[str, Losses] = {}
    passed: tuple[Batch, Fakes] | None = None
    order = ("d", "g") if recipe.order == "d_first" else ("g", "d")
    for network in order if model.adversarial else ("g",):
        for i in range(recipe.d_steps if network == "d" else 1):
            with autocast(state.device, precision):
                if passed is None or not recipe.reuse_fake:
                    with torch.set_grad_enabled(network == "g" or recipe.reuse_fake):
                        passed = _generator_pass(state, feed, ctx, i, network)
            if network == "d":
                losses["discriminator"] = _discriminator_update(state, *passed, ctx, precision)
            else:
                losses["generator"] = _generator_update(state, *passed, ctx, precision)
    if state.ema:
        state.ema.update(model.generator, recipe.batch_size)
    state.step += 1
    return losses


def _generator_pass(state: TrainingState, feed: Feed, ctx: Context, i: int, network: str) -> tuple[Batch, Fakes]:
    model, recipe = state.model, state.recipe
    draw = ctx.step * recipe.d_steps + i
    target, source = (_laid_out(images, state.channels_last) for images in real_images(recipe, feed, draw))
    rng = np.random.default_rng((NOISE, recipe.seed, draw, ord(network)))
    noise = model.draw_noise(recipe.batch_size, rng).to(state.device) if "noise" in model.needs else None
    label = feed.labels(draw) if "label" in model.needs else None
    batch = Batch(noise=noise, target=target, source=source, label=label)
    return batch, model(batch, ctx)


def _laid_out(images: Tensor | None, channels_last: bool) -> Tensor | None:
    if images is None:
        return None
    # one channel counts as both layouts: only a copy is sure to be the one that is asked for
    return images.contiguous(memory_format=torch.channels_last) if channels_last \
        else images.clone(memory_format=torch.contiguous_format)


def _discriminator_update(state: TrainingState, batch: Batch, fakes: Fakes, ctx: Context, precision: str) -> Losses:
    with autocast(state.device, precision):
        losses = state.model.discriminator_loss(batch, fakes, ctx)
    return _descend(state.optimiser_d, losses)


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


def _descend(optimiser: torch.optim.Optimizer, losses: Losses) -> Losses:
    optimiser.zero_grad(set_to_none=True)
    losses.total.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return losses


def add_losses(sums: dict[str, Tensor], losses: dict[str, Losses]) -> None:
    """Add a step's losses to running sums, on the device: reading a number would wait for it."""
    for network, loss in losses.items():
        parts = {network: loss.total.detach()}
        parts |= {f"{network}/{name}": weight * value.detach() for name, (weight, value) in loss.terms.items()}
        parts |= {f"{network}/{name}": value for name, value in loss.diagnostics.items()}
        for name, value in parts.items():
            sums[name] = sums[name] + value if name in sums else value


def mean_losses(sums: dict[str, Tensor], steps: int) -> dict[str, float] | None:
    """Losses summed over so many steps as means; None where one is not finite."""
    losses = {name: float(value) / steps for name, value in sums.items()}
    return losses if all(map(math.isfinite, losses.values())) else None


def total_steps(recipe: Recipe, images: int) -> int:
    """Generator updates that the recipe asks for where there are so many training images; a budget must be settled."""
    if recipe.steps is not None:
        return recipe.steps
    assert recipe.epochs is not None
    return steps_of(recipe, images, recipe.epochs)


def check_steps(recipe: Recipe, images: int, least: int) -> None:
    """Raise `UserError` for fewer generator updates than the GAN needs; those of a budget may not be known yet."""
    if recipe.budget is not None and recipe.steps is None:
        return
    steps = total_steps(recipe, images)
    if steps < least:
        raise UserError(f"{recipe.gan} has {least} stages and cannot go through them in {counted(steps, 'step')}",
                        where="--steps, --budget", fix=f"give at least {least}, better a hundred times as many")


def checkpoint_interval(recipe: Recipe, images: int) -> int:
    """Steps between checkpoints: a tenth of the training, unless the recipe says otherwise."""
    if recipe.checkpoint_epochs is not None:
        return steps_of(recipe, images, recipe.checkpoint_epochs)
    return recipe.checkpoint_every or max(LEAST_CHECKPOINT, math.ceil(total_steps(recipe, images) / CHECKPOINTS))


def preview_interval(recipe: Recipe, images: int) -> int:
    """Steps between pictures of progress: a twentieth of the training, unless the recipe says otherwise."""
    return recipe.preview_every or max(LEAST_PREVIEW, math.ceil(total_steps(recipe, images) / PREVIEWS))


def steps_of(recipe: Recipe, images: int, epochs: float) -> int:
    """Steps that `epochs` passes over the training images take, at least one."""
    # multiplied before it is divided: 50 epochs of 66 images in batches of 30 are 110 steps, 50 * (66 / 30) is above
    return max(1, math.ceil(epochs * images / (recipe.batch_size * recipe.d_steps)))


def epochs_done(recipe: Recipe, images: int, step: int) -> int:
    """How many whole passes over the training images the discriminator has seen after `step` steps."""
    return step * recipe.d_steps * recipe.batch_size // images


def learning_rates(recipe: Recipe, epoch: int, progress: float = 0.0) -> tuple[float, float]:
    """Step sizes of generator and discriminator in this epoch, counted from 0, at this progress from 0 to 1."""
    rate, decay, fade = recipe.learning_rate, recipe.learning_rate_decay, recipe.learning_rate_fade
    left = min(1.0, (1.0 - progress) / fade) if fade > 0 else 1.0
    return (left * _decayed(rate.generator, decay.generator, epoch),
            left * _decayed(rate.discriminator, decay.discriminator, epoch))


def _decayed(rate: float, decay: Decay | None, epoch: int) -> float:
    return rate if decay is None else rate * float(decay.factor ** (epoch // decay.epochs))
