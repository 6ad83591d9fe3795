"""A budget of time as a number of steps: settled once, by a short trial, before the first step of a training.

From then on a training is one of so many steps: its schedules run to their end, and however slow the machine becomes or
how often it is killed, it ends with the same bits. The trial trains a state of its own and touches nothing of the run.
"""

from __future__ import annotations

import math
import statistics
import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ganatomy.core.errors import UserError
from ganatomy.core.files import scratch_folder
from ganatomy.core.recipe import Recipe
from ganatomy.core.run import Run
from ganatomy.core.text import typed_time
from ganatomy.data.batches import Feed
from ganatomy.gans.base import Context
from ganatomy.training.record import Preview
from ganatomy.training.state import TrainingState
from ganatomy.training.step import checkpoint_interval, preview_interval, total_steps, update
from ganatomy.training.validation import Validator

CYCLE = 8  # steps that are timed together: what a GAN does only now and then, as a lazy penalty, recurs in so many
HALFWAY = 1000 * CYCLE  # where the trial stands in its training, so that what fades in or out has its mean cost
LEAST_CYCLES, TRIAL_SECONDS = 2, 3.0  # are timed at least ...
MOST_SHARE = 0.05  # ... but for no more than this share of the budget
RESERVE = 0.02  # of a budget, for what is not timed: curves, log lines
MOST_STEPS = 10**8  # that a recipe can have
DIGITS = 3  # of a number of steps, that can be read and typed


@dataclass(frozen=True)
class Pace:
    """What the parts of a training cost on this machine, in seconds.

    Attributes:
        step: a step, on the mean of those between which something recurs.
        checkpoint: scoring the generator, where the recipe selects, and saving.
        preview: a picture of progress.
        ends: beginning and ending: building the networks, and the export.
    """

    step: float
    checkpoint: float
    preview: float
    ends: float

    def total(self, recipe: Recipe, images: int) -> float:
        """Seconds that a training takes, with its checkpoints and previews."""
        steps = total_steps(recipe, images)
        checkpoints = math.ceil(steps / checkpoint_interval(recipe, images))
        previews = 1 + math.ceil(steps / preview_interval(recipe, images))
        return self.ends + steps * self.step + checkpoints * self.checkpoint + previews * self.preview

    def steps_in(self, seconds: float, recipe: Recipe, images: int) -> int:
        """Steps of the longest training that takes no more than this time; 0 if there is none."""
        def needed(steps: int) -> float:
            return self.total(recipe.model_copy(update={"steps": steps}), images)

        steps = bisect_right(range(1, MOST_STEPS), (1 - RESERVE) * seconds, key=needed)
        return steps if steps < 10**DIGITS else int(float(f"{steps:.{DIGITS}g}"))


def measure(recipe: Recipe, feed: Feed, validator: Validator, device: torch.device, precision: str,
            seconds: float = math.inf) -> Pace:
    """The pace of a training here, by a trial that takes no more than about a twentieth of `seconds`, if it can."""
    def timed(work: Callable[[], object]) -> float:
        begun = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - begun

    def train(steps: int) -> float:
        return timed(lambda: [update(state, feed, precision, 2 * HALFWAY) for _ in range(steps)]) / steps

    begun = time.perf_counter()
    state = TrainingState(recipe, feed.dataset.info.channels, device)
    built = time.perf_counter() - begun
    state.step = HALFWAY
    train(1)  # the first one chooses kernels and takes memory
    step = train(1)
    allowed = MOST_SHARE * seconds
    if step * CYCLE > allowed:
        step = statistics.fmean([step, *(train(1) for _ in range(int(allowed / step) - 1))])
    else:
        train(CYCLE - 2)
        cycles = min(max(LEAST_CYCLES, TRIAL_SECONDS / (CYCLE * step)), allowed / (CYCLE * step))
        step = statistics.median(train(CYCLE) for _ in range(math.ceil(cycles)))
    scored = 0.0
    if validator.scores:
        validator.prepare(state.sampler())
        scored = timed(lambda: validator.score(state.sampler()))
    with scratch_folder() as folder:
        preview = Preview(feed, recipe, Run(folder / "run"))
        preview.run.samples.mkdir(parents=True)
        drawn = timed(lambda: preview.draw(state.sampler(), Context(HALFWAY, 0, 0.5)))
        saved = timed(lambda: state.save(folder / "state.pt"))
    return Pace(step, scored + saved, drawn, built + 2 * saved)


def settle(recipe: Recipe, feed: Feed, validator: Validator, device: torch.device, precision: str,
           begun: float | None = None) -> tuple[Recipe, Pace]:
    """The recipe with the steps that its budget holds, and the pace. It includes the time since `begun`.

    Raises:
        UserError: the budget holds no step.
    """
    assert recipe.budget is not None
    pace = measure(recipe, feed, validator, device, precision, recipe.budget)
    spent = time.perf_counter() - begun if begun is not None else 0.0
    steps = pace.steps_in(recipe.budget - spent, recipe, feed.length)
    if steps < 1:
        raise UserError(f"{typed_time(recipe.budget)} is too short to train in: a step takes {pace.step:.3g} s, a "
                        f"checkpoint {pace.checkpoint:.2g} s, and getting ready took {spent:.2g} s", where="--budget",
                        fix="give more, such as 5m, or --steps N")
    return recipe.model_copy(update={"steps": steps}), pace


def as_begun(recipe: Recipe, run: Run) -> Recipe:
    """The recipe with the steps that its budget became in a run that has begun; as it is where there is none."""
    if not run.recipe_file.is_file():
        return recipe
    kept = run.recipe()
    same = recipe.budget == kept.budget if recipe.budget is not None else recipe.steps == kept.steps
    return recipe.model_copy(update={"steps": kept.steps, "budget": kept.budget}) if kept.budget and same else recipe
