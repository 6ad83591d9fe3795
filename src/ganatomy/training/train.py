"""train: one loop for every kind of GAN, and what happens on its way. To resume, run the same command again.

And `plan`, what a training would be: the resolved recipe, the networks' sizes, the memory to expect.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from ganatomy import gans
from ganatomy.core import recipe as recipes
from ganatomy.core.errors import UserError
from ganatomy.core.files import write_json
from ganatomy.core.hardware import choose_device, choose_precision, environment, make_deterministic
from ganatomy.core.interrupts import noted
from ganatomy.core.recipe import LENGTHS, Recipe, chosen, plain
from ganatomy.core.run import Run
from ganatomy.core.text import Say, command_line, counted, duration, typed_time
from ganatomy.data.batches import Feed
from ganatomy.data.dataset import Dataset
from ganatomy.gans.base import GAN, Batch, Context
from ganatomy.generators.folder import export
from ganatomy.training.budget import Pace, as_begun, settle
from ganatomy.training.draws import make_feed, with_domains
from ganatomy.training.record import Debug, Preview, cut_back, generator_notes, write_curves
from ganatomy.training.state import TrainingState, initial_weights, resume, selected_sampler
from ganatomy.training.step import (
    add_losses,
    check_steps,
    checkpoint_interval,
    epochs_done,
    mean_losses,
    preview_interval,
    steps_of,
    total_steps,
    update,
)
from ganatomy.training.validation import Validator

FLAGS = ("steps", "epochs", "budget", "batch_size", "seed", "domain", "source", "label", "precision",
         "checkpoint_every", "select")
"""Keys of a recipe that the command line has an option for; the others are given by --set."""
BYTES = 4  # of a weight
TORCH_ITSELF = 350 * 2**20  # a process that has imported torch and this package, measured
LOG_EVERY = 50
DRAW_EVERY = 30.0  # seconds between drawings of the losses, at least
SAVE_EVERY = 180.0  # seconds between checkpoints, about at most: so much can be lost to a kill
TELL_EVERY = 2.0  # seconds between looks at where training stands, at least
DAY = 86400.0
FIRST_LOOK = 5.0  # seconds of training after which it is said when it will be done, where no budget has told
LOWER_RATES = "lower the learning rates, or try --precision fp32"
OnLog = Callable[[dict[str, Any]], None]


class Interrupted(Exception):
    """Training was asked to stop; a checkpoint has been saved."""


class TrainingStopped(UserError):
    """Training cannot usefully go on; the last good checkpoint is kept."""


def train(data: str | Path, run: str | Path, recipe: str | Path | Recipe | None = None, *,
          set: Mapping[str, Any] | None = None, device: str = "auto", budget: float | str | None = None,
          debug: bool = False, say: Say = lambda text: None, on_log: OnLog = lambda entry: None) -> Run:
    """Train a GAN on a dataset folder, or take up where a run folder stands.

    Args:
        data: a dataset folder (see `ganatomy.prepare`); its `train` split is learnt, `val` chooses the checkpoint.
        run: the run folder to make or to resume; the same data, recipe, seed, device and number of threads give the
            same weights to the bit, interrupted or not.
        recipe: a packaged recipe's name, a YAML file, or a `Recipe`; None is our own for images of the dataset's size.
        set: dotted recipe keys to override, such as {"steps": 500, "model.width": 16}.
        device: auto, cpu or cuda.
        budget: seconds, or a time such as "5m", in the place of the recipe's `steps`, `epochs` or `budget`: a trial
            when a run begins finds how many steps it holds on this machine, and these are trained.
        debug: keep training images, generated images, the generator and the SSIM after every epoch (see record.py);
            it is no part of the recipe and changes no bit of the weights.
        say: called with lines for the user.
        on_log: called with every entry of log.jsonl, and between them with some of the kind `progress`: step, steps and
            seconds_left, which the other entries have too.

    Returns:
        The finished run.

    Raises:
        UserError: unusable input, settings, or a run folder of something else.
        TrainingStopped: the losses are no longer finite, or the images have all become the same.
        Interrupted: after SIGINT, SIGTERM or SIGHUP; the state is saved.

    Example:
        >>> small = {"size": 32, "steps": 10, "batch_size": 8, "model.width": 8}
        >>> run = ganatomy.train("dataset", "run", "rpgan-64", set={"domain": "T1", **small})
        >>> run.status()["state"]
        'finished'
    """
    begun = time.perf_counter()
    changes = plain(set or {}) | ({} if budget is None else {"budget": plain(budget)})  # recorded as a command, too
    recipe = recipe or own_recipe(data)
    settings = chosen(recipe, changes)
    checked, folder = _check(settings, data, run, device, say), Run(run)
    if folder.status()["state"] == "finished" and folder.generator.is_dir():
        say(f"{folder.path} is already finished at step {folder.status()['step']}; nothing to do")
        return folder
    settings, feed, where = checked.recipe, checked.feed, checked.device
    dataset = feed.dataset
    make_deterministic(where)
    precision = choose_precision(settings, where)
    dataset.verify([*feed.rows, *(feed.source.rows if feed.source else ())])
    with folder.lock():
        expected = None
        if settings.budget is not None and settings.steps is None:
            say(f"a short trial: how many steps are {typed_time(settings.budget)} on this machine?")
            settings, expected = settle(settings, feed, checked.validator, where, precision, begun)
            check_steps(settings, feed.length, checked.model.least_steps())
        folder.start(settings, dataset.path, dataset.info.content)
        state = resume(settings, dataset.info.channels, where, folder, say, checked.first)
        folder.cut_back(state.step)
        folder.record_command(_command(recipe, settings, changes, device, debug))
        _note_environment(folder, environment(where, precision), say)
        cut_back(folder, epochs_done(settings, feed.length, state.step))
        keeper = Debug(folder, feed, say) if debug else None
        Loop(state, folder, feed, checked.validator, precision, keeper, say, on_log).run_to_end(expected)
    return folder


def own_recipe(data: str | Path) -> str:
    """The recipe that trains on a dataset where none is named."""
    return recipes.own(Dataset.open(data).info.size[0])


@dataclass(frozen=True)
class _Checked:
    """What a training starts from: nothing of it can be refused any more, and nothing has been written yet."""

    recipe: Recipe
    model: GAN
    first: dict[str, Tensor] | None
    device: torch.device
    feed: Feed
    validator: Validator


def _check(recipe: Recipe, data: str | Path, run: str | Path, device: str, say: Say) -> _Checked:
    """Raises `UserError` for whatever cannot be trained, or not in this folder."""
    dataset, folder = Dataset.open(data), Run(run)
    recipe = with_domains(recipe, dataset)
    model = gans.resolve(recipe, dataset.info.channels)
    recipe, first = initial_weights(as_begun(recipe, folder), folder, model, say)
    where = choose_device(device)
    feed = make_feed(dataset, recipe, where)
    check_steps(recipe, feed.length, model.least_steps())
    folder.check(recipe, dataset.info.content)
    return _Checked(recipe, model, first, where, feed, Validator(feed, recipe))


def _command(recipe: str | Path | Recipe, settings: Recipe, changes: Mapping[str, Any], device: str,
             debug: bool) -> str:
    """The command that trains the same again, files and runs by stand-ins, and a budget as the steps that it became."""
    if settings.budget is not None:
        changes = {key: value for key, value in changes.items() if key not in LENGTHS} | {"steps": settings.steps}
    packaged = not isinstance(recipe, Recipe) and str(recipe) in recipes.names()
    options = {"recipe": str(recipe) if packaged else "RECIPE.yaml",
               **{key: changes[key] for key in FLAGS if key in changes},
               "init_from": "PRETRAINED" if settings.init_from else None,
               "set": {key: value for key, value in changes.items() if key not in (*FLAGS, "init_from")},
               "device": None if device == "auto" else device, "debug": debug}
    return command_line("train", "DATASET", "RUN", **options)


def _note_environment(run: Run, now: dict[str, Any], say: Say) -> None:
    """Write environment.json; a resumed run in another environment will not end with the same bits, and is told so."""
    before = run.environment()
    if before is not None and (differ := [k for k in now if now[k] != getattr(before, k)]):
        say(f"warning: {', '.join(differ)} differ from the start of this run; it goes on, but not to the same bits")
    write_json(run.environment_file, now)


class Loop:
    """The training loop and what happens on its way: log, pictures, checkpoints, the end."""

    def __init__(self, state: TrainingState, run: Run, feed: Feed, validator: Validator, precision: str,
                 debug: Debug | None, say: Say, on_log: OnLog) -> None:
        self.state, self.run, self.feed, self.precision = state, run, feed, precision
        self.debug, self.say, self.on_log = debug, say, on_log
        self.recipe = state.recipe
        self.steps, self.interval = total_steps(self.recipe, feed.length), checkpoint_interval(self.recipe, feed.length)
        self.preview_every = preview_interval(self.recipe, feed.length)
        self.validator, self.preview = validator, Preview(feed, self.recipe, run)
        self.sums: dict[str, Tensor] = {}
        self.summed = 0
        self.clock = self.drawn = self.saved = self.told = self.begun = time.perf_counter()
        self.first, self.announced = state.step, False
        self.state.notes = generator_notes(feed, self.recipe)

    def run_to_end(self, expected: Pace | None) -> None:
        """Train, save, export; say at once when it will be done, where that is known."""
        self.run.write_status("running", self.state.step, steps=self.steps)
        self._say_start()
        if expected is not None:
            self._announce(expected.total(self.recipe, self.feed.length), expected.step)
        if self.state.step == 0:
            self._preview()
        with noted() as stop:
            self._tick()
            self.begun = self.clock
            while self.state.step < self.steps:
                self._step()
                self._tell()
                if stop():
                    self._interrupt()
        self._finish()

    def _step(self) -> None:
        losses = update(self.state, self.feed, self.precision, self.steps)
        add_losses(self.sums, losses)
        add_losses(self.state.epoch_sums, losses)
        self.summed, self.state.epoch_steps = self.summed + 1, self.state.epoch_steps + 1
        step = self.state.step
        at_checkpoint = step % self.interval == 0 or step == self.steps
        self._end_epoch()
        if at_checkpoint or step % LOG_EVERY == 0:
            self._log()
        if step % self.preview_every == 0 or step == self.steps:
            self._preview()
        if at_checkpoint:
            self._checkpoint()
        elif step % LOG_EVERY == 0 and time.perf_counter() - self.saved >= SAVE_EVERY:
            self._refuse_nan()
            self._save()

    def _end_epoch(self) -> None:
        """Note the losses of an epoch that this step has ended, and with debug all else of it."""
        epoch = epochs_done(self.recipe, self.feed.length, self.state.step)
        if epoch == epochs_done(self.recipe, self.feed.length, self.state.step - 1):
            return
        losses = mean_losses(self.state.epoch_sums, self.state.epoch_steps)
        self.state.epoch_sums, self.state.epoch_steps = {}, 0
        if losses is not None:  # else training is about to be stopped for it
            self._write({"kind": "epoch", "epoch": epoch, "step": self.state.step, "losses": losses})
        if self.debug is not None:
            self._refuse_nan()
            self.debug.keep(self.state, epoch)
            write_curves(self.run)

    def _left(self) -> float:
        """Seconds to the end, as long as those since the loop began were for their steps."""
        passed = time.perf_counter() - self.begun
        return (self.steps - self.state.step) * passed / max(1, self.state.step - self.first)

    def _tell(self) -> None:
        """Where training stands, for who watches; once, when it will be done."""
        now = time.perf_counter()
        if now - self.told >= TELL_EVERY:
            self.told, step = now, self.state.step
            self.on_log({"kind": "progress", "step": step, "steps": self.steps, "seconds_left": self._left()})
        if not self.announced and now - self.begun >= FIRST_LOOK:
            self._announce(self._left(), (now - self.begun) / (self.state.step - self.first))

    def _announce(self, seconds: float, a_step: float) -> None:
        self.announced = True
        clock = time.strftime("%H:%M" if seconds < DAY / 2 else "%A %H:%M", time.localtime(time.time() + seconds))
        each = f"{a_step:.1f} s" if a_step >= 1 else f"{1000 * a_step:.0f} ms"
        self.say(f"about {duration(seconds)}, done at {clock}: {self.steps - self.state.step:,} steps of {each}")

    def _tick(self) -> float:
        """Seconds since the last tick, added to the time trained."""
        now = time.perf_counter()
        passed, self.clock = now - self.clock, now
        self.state.seconds += passed
        return passed

    def _log(self) -> None:
        if not self.summed:
            return
        losses, passed = mean_losses(self.sums, self.summed), self._tick()
        if losses is None:
            self._stop(f"the losses are no longer finite at step {self.state.step}", LOWER_RATES)
        entry = {"kind": "train", "step": self.state.step, "seconds": round(self.state.seconds, 3),
                 "images_per_second": round(self.summed * self.recipe.batch_size / max(passed, 1e-9), 1),
                 "losses": losses}
        self.sums, self.summed = {}, 0
        self._write(entry, seconds_left=self._left())

    def _write(self, entry: dict[str, Any], **live: Any) -> None:
        """Add a line to log.jsonl, and hand it on with what is of use only now."""
        self.told = time.perf_counter()
        self.run.append_log([entry])
        self.on_log(entry | {"steps": self.steps} | live)

    def _preview(self) -> None:
        ctx = Context(self.state.step, epochs_done(self.recipe, self.feed.length, self.state.step),
                      max(0, self.state.step - 1) / self.steps)  # of the step that was trained last
        images = self.preview.draw(self.state.sampler(), ctx)
        if self.validator.collapsed(images, self.state.step, self.steps):
            self._stop(f"by step {self.state.step} all generated images are nearly the same (mode collapse)",
                       "start again with another --seed, lower learning rates, or the recipe projected-64")

    def _checkpoint(self) -> None:
        """Save, after scoring the generator on the validation images if the recipe selects by a score."""
        self._refuse_nan()
        if self.validator.scores:
            scores = self.validator.score(self.state.sampler())
            self._write({"kind": "validation", "step": self.state.step, "features": self.validator.features, **scores})
            self.state.scored, best = self.state.step, self.state.best
            score, tie = self.validator.rank(scores)
            if best is None or (score, tie) < (best["score"], best.get("tie", tie)):
                self.state.best = {"step": self.state.step, "score": score, "tie": tie}
        self._save()

    def _refuse_nan(self) -> None:
        """A checkpoint is only good if it is finite; the losses of its step were taken before its update."""
        if not self.state.is_finite():
            self._stop(f"the networks' weights are no longer finite at step {self.state.step}", LOWER_RATES)

    def _save(self) -> None:
        self._tick()
        self.state.save(self.run.checkpoint(self.state.step))
        self.run.prune_checkpoints(int(self.state.best["step"]) if self.state.best else None)
        self._status("running")
        self.saved = time.perf_counter()
        if self.saved - self.drawn >= DRAW_EVERY:
            self.drawn = self.saved
            write_curves(self.run)

    def _status(self, now: str, **more: Any) -> None:
        seconds = round(self.state.seconds, 1)
        self.run.write_status(now, self.state.step, steps=self.steps, seconds=seconds, **more)

    def _finish(self) -> None:
        sampler, step = selected_sampler(self.state, self.run)
        export(sampler, self.run.generator, {"step": step, **self.state.notes})
        write_curves(self.run)
        self._status("finished", selected_step=step)
        why = f"best of the validation scores, {self._score(self.state.best['score'])}" if self.state.best \
            else "the last"
        self.say(f"finished at step {self.state.step}; generator of step {step} ({why}) in {self.run.generator}")

    def _score(self, value: float) -> str:
        space = self.validator.features
        return {"fd": f"FD-{space} = {value:.1f}", "kd": f"KD-{space} x 1000 = {1e3 * value:.1f}",
                "critic": f"Jensen-Shannon bound of a fresh critic = {value:.3f} nats"}[self.recipe.select]

    def _interrupt(self) -> None:
        self._log()
        self._refuse_nan()
        self._save()
        self._status("interrupted")
        write_curves(self.run)
        raise Interrupted(f"stopped and saved at step {self.state.step} of {self.steps}; "
                          "run the same command again to go on")

    def _stop(self, what: str, fix: str) -> NoReturn:
        kept = self.run.checkpoints()
        self.run.write_status("stopped", self.state.step, steps=self.steps, message=what)
        write_curves(self.run)
        last = f"; the last good checkpoint is {kept[-1].name}" if kept else ""
        raise TrainingStopped(what + last, where=self.run.path, fix=fix)

    def _say_start(self) -> None:
        rows, recipe = self.feed.rows, self.recipe
        subjects = counted(len({r.subject for r in rows}), "subject")
        task = f"{recipe.source} to {recipe.domain}, " if recipe.source else ""
        self.say(f"recipe {recipe.name}: {task}{len(rows)} training images of {subjects}, {recipe.size} px, batch "
                 f"{recipe.batch_size}, {self.steps} steps, {self.precision} on {self.state.device}")
        for warning in self.feed.dataset.info.told.warnings:
            self.say(f"warning about the dataset: {warning}")
        if self.state.model.starts_from and recipe.init_from is None:
            self.say(f"warning: it starts from random weights, and is meant to start from "
                     f"{self.state.model.starts_from} (--init-from RUN)")
        if self.validator.note:
            self.say(self.validator.note)


def plan(recipe: Recipe, data: str | Path, run: str | Path, device: str = "auto", say: Say = lambda text: None) -> str:
    """The text of `--dry-run`: what a training would be. Raises `UserError` for whatever training would refuse."""
    checked = _check(recipe, data, run, device, say)
    recipe, model, where = checked.recipe, checked.model, checked.device
    rows, images = checked.feed.rows, checked.feed.length
    open_end = recipe.budget is not None and recipe.steps is None
    steps = f"as many as {typed_time(recipe.budget or 0)} hold here, by a trial when it starts" if open_end \
        else f"{total_steps(recipe, images):,}"
    every = "tenth of them" if open_end and not (recipe.checkpoint_every or recipe.checkpoint_epochs) \
        else counted(checkpoint_interval(recipe, images), "step")
    lines = [recipe.to_yaml().rstrip(), "",
             f"training images   {len(rows)} of {counted(len({r.subject for r in rows}), 'subject')}",
             f"steps             {steps}; {steps_of(recipe, images, 1):,} an epoch",
             f"checkpoints       every {every}",
             f"device            {where}, {choose_precision(recipe, where)}",
             f"generator         {_count(model.generator):,} parameters",
             f"discriminator     {_count(model.discriminator):,} parameters",
             f"expected memory   {_expected_memory(model, recipe) / 2**20:,.0f} MB"]
    return "\n".join(lines)


def _expected_memory(model: GAN, recipe: Recipe) -> float:
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
