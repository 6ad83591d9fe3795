"""What depends on how far training is: its length, epochs, checkpoints, step sizes. Pure functions of the step."""

from __future__ import annotations

import math

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Decay, Recipe
from ganatomy.core.text import counted
from ganatomy.data.batches import Feed


def total_steps(recipe: Recipe, feed: Feed) -> int:
    """Generator updates that the recipe asks for."""
    return steps_for(recipe, feed.length)


def steps_for(recipe: Recipe, images: int) -> int:
    """Generator updates that the recipe asks for where there are so many training images."""
    if recipe.steps is not None:
        return recipe.steps
    assert recipe.epochs is not None
    return _steps_of(recipe, images, recipe.epochs)


def check_steps(recipe: Recipe, feed: Feed, least: int) -> None:
    """Raise `UserError` for fewer generator updates than the GAN needs."""
    steps = total_steps(recipe, feed)
    if steps < least:
        raise UserError(f"{recipe.gan} has {least} stages and cannot go through them in {counted(steps, 'step')}",
                        where="--steps", fix=f"give at least {least}, better a hundred times as many")


def checkpoint_interval(recipe: Recipe, feed: Feed) -> int:
    """Steps between checkpoints."""
    return recipe.checkpoint_every if recipe.checkpoint_epochs is None \
        else steps_of(recipe, feed, recipe.checkpoint_epochs)


def steps_of(recipe: Recipe, feed: Feed, epochs: float) -> int:
    """Steps that `epochs` passes over the training images take, at least one."""
    return _steps_of(recipe, feed.length, epochs)


def _steps_of(recipe: Recipe, images: int, epochs: float) -> int:
    # multiplied before it is divided: 50 epochs of 66 images in batches of 30 are 110 steps, 50 * (66 / 30) is above
    return max(1, math.ceil(epochs * images / (recipe.batch_size * recipe.d_steps)))


def epochs_done(recipe: Recipe, feed: Feed, step: int) -> int:
    """How many whole passes over the training images the discriminator has seen after `step` steps."""
    return step * recipe.d_steps * recipe.batch_size // feed.length


def learning_rates(recipe: Recipe, epoch: int, progress: float = 0.0) -> tuple[float, float]:
    """Step sizes of generator and discriminator in this epoch, counted from 0, at this progress from 0 to 1."""
    rate, decay, fade = recipe.learning_rate, recipe.learning_rate_decay, recipe.learning_rate_fade
    left = min(1.0, (1.0 - progress) / fade) if fade > 0 else 1.0
    return (left * _decayed(rate.generator, decay.generator, epoch),
            left * _decayed(rate.discriminator, decay.discriminator, epoch))


def _decayed(rate: float, decay: Decay | None, epoch: int) -> float:
    return rate if decay is None else rate * float(decay.factor ** (epoch // decay.epochs))
