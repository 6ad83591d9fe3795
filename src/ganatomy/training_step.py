"""One step of training, the same for every kind of GAN."""

from __future__ import annotations

import torch
from torch import Tensor

from ganatomy.data.feed import Feed
from ganatomy.models.base import GAN, Batch, Context, Fakes, Losses
from ganatomy.nn.hardware import autocast
from ganatomy.training_state import TrainingState, seed_step


def update(state: TrainingState, feed: Feed, precision: str, steps: int) -> dict[str, Losses]:
    """One step: `d_steps` discriminator updates and a generator update, in the recipe's order; then the average."""
    recipe, model, step = state.recipe, state.model, state.step
    seed_step(recipe.seed, step)
    model.train()
    ctx = Context(step, int(step * recipe.d_steps / feed.draws_per_epoch), step / steps)
    fakes: Fakes | None = None
    losses: dict[str, Losses] = {}
    for network in ("d", "g") if recipe.order == "d_first" else ("g", "d"):
        for i in range(recipe.d_steps if network == "d" else 1):
            batch = _batch(model, feed, step * recipe.d_steps + i)
            with autocast(state.device, precision):
                if fakes is None or not recipe.reuse_fake:
                    with torch.set_grad_enabled(network == "g" or recipe.reuse_fake):
                        fakes = model(batch, ctx)
                if network == "d":
                    losses["discriminator"] = model.discriminator_loss(batch, fakes, ctx)
                else:
                    model.discriminator.requires_grad_(False)
                    losses["generator"] = model.generator_loss(batch, fakes, ctx)
            optimiser = state.optimiser_d if network == "d" else state.optimiser_g
            optimiser.zero_grad(set_to_none=True)
            losses["discriminator" if network == "d" else "generator"].total.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            model.discriminator.requires_grad_(True)
    if state.ema:
        state.ema.update(model.generator, recipe.batch_size)
    state.step += 1
    return losses


def _batch(model: GAN, feed: Feed, draw: int) -> Batch:
    target = feed.draw(draw) if "target" in model.needs else None
    noise = model.draw_noise(feed.batch_size).to(feed.device) if "noise" in model.needs else None
    return Batch(noise=noise, target=target)


def add_losses(sums: dict[str, Tensor], losses: dict[str, Losses]) -> None:
    """Add a step's losses to running sums, on the device: reading a number would wait for it."""
    for network, found in losses.items():
        parts = {network: found.total.detach()}
        parts |= {f"{network}/{name}": weight * value.detach() for name, (weight, value) in found.terms.items()}
        parts |= {f"{network}/{name}": value for name, value in found.diagnostics.items()}
        for name, value in parts.items():
            sums[name] = sums[name] + value if name in sums else value
