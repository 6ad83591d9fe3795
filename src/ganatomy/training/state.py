"""Everything that changes while training: networks, optimisers, average, counters; one file resumes it all."""

from __future__ import annotations

import copy
import hashlib
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from ganatomy import gans
from ganatomy.core.errors import UserError
from ganatomy.core.hardware import all_finite, place, prefers_channels_last
from ganatomy.core.recipe import Recipe
from ganatomy.core.run import Damaged, Run, checkpoint_step, damaged, write_checkpoint
from ganatomy.core.text import Say
from ganatomy.gans.base import GAN, load_weights, misfit
from ganatomy.generators.folder import load_generator
from ganatomy.generators.sampler import Sampler, trained_sampler


def seed_step(seed: int, step: int) -> None:
    """Seed torch's generators from (seed, step): a resumed run then needs no generator's state."""
    torch.manual_seed(zlib.crc32(f"{seed}/{step}".encode()))


class EMA:
    """Averages `source`'s weights into `target`; the half-life is a share of the images seen so far.

    A half-life that grows with training (Karras et al. 2020, "rampup") suits runs of any length. Buffers are copied.
    """

    def __init__(self, target: nn.Module, share: float) -> None:
        self.target, self.share, self.seen = target.requires_grad_(False), share, 0

    @torch.no_grad()
    def update(self, source: nn.Module, images: int) -> None:
        """Move towards `source` after a step that saw `images` images."""
        self.seen += images
        weight = 1.0 - 0.5 ** (images / (self.share * self.seen))
        averaged: list[Tensor] = list(self.target.parameters())
        torch._foreach_lerp_(averaged, [p.detach() for p in source.parameters()], weight)
        for kept, new in zip(self.target.buffers(), source.buffers(), strict=True):
            kept.copy_(new)


class TrainingState:
    """Networks, optimisers, weight average and counters of one training.

    Attributes:
        channels_last: how images are laid out in memory for this model.
        step: generator updates done.
        seconds: time trained, over all sessions.
        best: step and score of the best checkpoint so far, if the recipe selects.
        scored: the last step that was scored.
        notes: what a user of the generator must know of the dataset.
        epoch_sums, epoch_steps: the losses of the epoch so far, summed, and over how many steps.
    """

    def __init__(self, recipe: Recipe, channels: int, device: torch.device) -> None:
        seed_step(recipe.seed, -1)
        self.recipe, self.channels, self.device = recipe, channels, device
        model = gans.resolve(recipe, channels)
        self.channels_last = prefers_channels_last(model, device, recipe.batch_size)
        self.model: GAN = place(model, device, self.channels_last)
        rate = recipe.learning_rate
        self.optimiser_g = _adam(self.model.generator, rate.generator, recipe.betas)
        self.optimiser_d = _adam(self.model.discriminator, rate.discriminator, recipe.betas)
        self.ema = EMA(copy.deepcopy(self.model.generator), recipe.ema) if recipe.ema else None
        self.step, self.seconds = 0, 0.0
        self.best: dict[str, float] | None = None
        self.scored: int | None = None
        self.notes: dict[str, Any] = {}
        self.epoch_sums: dict[str, Tensor] = {}
        self.epoch_steps = 0

    def save(self, path: Path) -> None:
        """Write a checkpoint, atomically."""
        ema = {"weights": self.ema.target.state_dict(), "seen": self.ema.seen} if self.ema else None
        state = {"model": self.model.state_dict(), "optimiser_g": self.optimiser_g.state_dict(),
                 "optimiser_d": self.optimiser_d.state_dict(), "ema": ema, "step": self.step, "seconds": self.seconds,
                 "best": self.best, "scored": self.scored, "notes": self.notes, "channels": self.channels,
                 "epoch_sums": self.epoch_sums, "epoch_steps": self.epoch_steps,
                 "recipe": self.recipe.model_dump(mode="json")}
        write_checkpoint(path, state)

    def load(self, run: Run, step: int) -> None:
        """Take up the state of a run's checkpoint. Raises what `Run.read_checkpoint` does.

        Of what could not be loaded whole nothing may be used.
        """
        path = run.checkpoint(step)
        state = run.read_checkpoint(path, self.device)
        try:
            load_weights(self.model, state.model)
            self.optimiser_g.load_state_dict(state.optimiser_g)
            self.optimiser_d.load_state_dict(state.optimiser_d)
            if self.ema:
                if state.ema is None:
                    raise ValueError("it has no averaged weights")
                load_weights(self.ema.target, state.ema.weights)
                self.ema.seen = state.ema.seen
            self.step, self.seconds = state.step, state.seconds
            self.best = state.best.model_dump(exclude_none=True) if state.best else None
            self.scored, self.notes = state.scored, state.notes
            self.epoch_sums = {name: torch.as_tensor(value) for name, value in state.epoch_sums.items()}
            self.epoch_steps = state.epoch_steps
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise damaged(path, error) from error

    def is_finite(self) -> bool:
        """Whether no weight, average or statistic is NaN or infinite."""
        return all_finite([*self.model.state_dict().values(), *self.generator_weights().values()])

    def sampler(self) -> Sampler:
        """A sampler of what would be exported now: averaged weights where the recipe averages."""
        return trained_sampler(self.model, self.generator_weights(), self.recipe, self.device,
                               refresh=self.ema is not None)

    def generator_weights(self) -> dict[str, Tensor]:
        """The weights of `sampler`."""
        return (self.ema.target if self.ema else self.model.generator).state_dict()


def resume(recipe: Recipe, channels: int, device: torch.device, run: Run, say: Say,
           first: dict[str, Tensor] | None = None) -> TrainingState:
    """The state of the newest sound checkpoint of a run; if there is none a new one, with `first` weights if given.

    What is damaged or of another training is set aside. Raises `UserError` if there are checkpoints, and none is sound.
    """
    paths = run.checkpoints()
    for path in reversed(paths):
        state = TrainingState(recipe, channels, device)
        try:
            state.load(run, checkpoint_step(path))
        except Damaged as error:
            path.rename(path.with_suffix(".damaged"))
            say(f"warning: {error.what}; set aside as {path.stem}.damaged")
            continue
        if state.best and not _is_sound(run, int(state.best["step"]), device):
            say(f"warning: the best checkpoint so far, of step {int(state.best['step'])}, is gone or cannot be used; "
                "the choice starts anew")
            state.best = None
        say(f"resuming {run.path} at step {state.step}")
        return state
    if paths:
        raise UserError("none of its checkpoints can be used", where=run.path,
                        fix="move the folder away and train again")
    state = TrainingState(recipe, channels, device)
    if first is not None:
        state.model.generator.load_state_dict(first)
        if state.ema:
            state.ema.target.load_state_dict(first)
    return state


def _is_sound(run: Run, step: int, device: torch.device) -> bool:
    """Whether that checkpoint is there and can be used. Raises `UserError` if it cannot be read now."""
    path = run.checkpoint(step)
    try:
        return path.is_file() and bool(run.read_checkpoint(path, device))
    except Damaged:
        return False


def initial_weights(recipe: Recipe, run: Run, model: GAN,
                    say: Say) -> tuple[Recipe, dict[str, Tensor] | None]:
    """The weights that `init_from` names, and the recipe with their fingerprint in the place of the path.

    A path may name a person, and weights may change behind it: the run's recipe says which weights they were. A run
    that has begun goes on without the other one, should that be gone. Raises `UserError` where there is no generator,
    or one of another shape than the `model`'s.
    """
    if recipe.init_from is None:
        return recipe, None
    if not Path(recipe.init_from).exists():
        begun = run.recipe().init_from if run.checkpoints() or run.status()["state"] == "finished" else None
        if begun is not None:
            return recipe.model_copy(update={"init_from": begun}), None
        raise UserError("there is no such run to start from", where=f"--init-from {recipe.init_from}",
                        fix="name the folder of a finished run")
    sampler = load_generator(recipe.init_from)
    weights = {k: v.detach().cpu().contiguous() for k, v in sampler.model.generator.state_dict().items()}
    if differ := misfit(model.generator, weights):
        raise UserError(f"that run's generator has another shape than this recipe's ({differ})", where="--init-from",
                        fix="use the same size, channels and generator settings (--set model.width=...) as there")
    notes = sampler.notes or {}
    learnt = " to ".join(str(notes[key]) for key in ("source_domain", "domain") if notes.get(key))
    say(f"starting from a generator that has learnt {learnt} (recipe {sampler.recipe.name})")
    fingerprint = hashlib.sha256(save(weights)).hexdigest()[:16]
    return recipe.model_copy(update={"init_from": f"generator {fingerprint}"}), weights


def selected_sampler(state: TrainingState, run: Run) -> tuple[Sampler, int]:
    """The sampler of the best checkpoint if there is a best one, else of `state`; and its step."""
    if state.best is None or state.best["step"] == state.step:
        return state.sampler(), state.step
    best = TrainingState(state.recipe, state.channels, state.device)
    best.load(run, int(state.best["step"]))
    return best.sampler(), best.step


def _adam(network: nn.Module, rate: float, betas: tuple[float, float]) -> torch.optim.Adam:
    # a group, since a model without a discriminator has no parameters there
    return torch.optim.Adam([{"params": list(network.parameters())}], rate, betas, fused=True)
