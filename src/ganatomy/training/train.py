"""train: one loop for every kind of GAN (training_loop.py). To resume, run the same command again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganatomy import gans
from ganatomy.core import recipe as recipes
from ganatomy.core.errors import UserError
from ganatomy.core.files import read_json, write_json
from ganatomy.core.hardware import choose_device, choose_precision, environment, make_deterministic
from ganatomy.core.recipe import Recipe, load, parse
from ganatomy.core.run import Run
from ganatomy.core.text import command_line
from ganatomy.data.dataset import Dataset
from ganatomy.training.debug import Debug, cut_back
from ganatomy.training.images import make_feed, with_domains
from ganatomy.training.loop import Interrupted, Loop, OnLog, Say, TrainingStopped
from ganatomy.training.schedule import check_steps, epochs_done
from ganatomy.training.start import initial_weights
from ganatomy.training.state import resume

FLAGS = ("steps", "epochs", "batch_size", "seed", "domain", "source", "label", "precision", "checkpoint_every",
         "select")
"""Keys of a recipe that the command line has an option for; the others are given by --set."""

__all__ = ["Interrupted", "TrainingStopped", "train"]


def train(data: str | Path, run: str | Path, recipe: str | Path | Recipe = "rpgan-64", *,
          set: Mapping[str, Any] | None = None, device: str = "auto", budget: float | None = None,
          debug: bool = False, say: Say = lambda text: None, on_log: OnLog = lambda entry: None) -> Run:
    """Train a GAN on a dataset folder, or take up where a run folder stands.

    Args:
        data: a dataset folder (see `ganatomy.prepare`); its `train` split is learnt, `val` chooses the checkpoint.
        run: the run folder to make or to resume; the same data, recipe, seed, device and number of threads give the
            same weights to the bit, interrupted or not.
        recipe: a packaged recipe's name, a YAML file, or a `Recipe`.
        set: dotted recipe keys to override, such as {"steps": 500, "model.width": 16}.
        device: auto, cpu or cuda.
        budget: seconds of training after which it is ended early, as if `steps` had been reached.
        debug: keep training images, generated images, the generator and the SSIM after every epoch (see
            training_debug.py); it is no part of the recipe and changes no bit of the weights.
        say: called with lines for the user.
        on_log: called with every entry of log.jsonl.

    Returns:
        The finished run.

    Raises:
        UserError: unusable input, settings, or a run folder of something else.
        TrainingStopped: the losses are no longer finite, or the images have all become the same.
        Interrupted: after SIGINT or SIGTERM; the state is saved.
    """
    settings = parse(recipe.to_yaml(), f"recipe {recipe.name}", set) if isinstance(recipe, Recipe) \
        else load(str(recipe), set)
    if budget is not None and not budget > 0:
        raise UserError(f"{budget} seconds are no time to train in", where="budget", fix="give more than 0")
    dataset, folder = Dataset.open(data), Run(run)
    settings = with_domains(settings, dataset)
    if budget is not None and gans.kind(settings).needs_all_steps:
        raise UserError(f"{settings.gan} changes its task up to the last step and cannot be ended early",
                        where="budget", fix="give --steps instead")
    model = gans.resolve(settings, dataset.info.channels)  # what it refuses is told before there is a run folder
    settings, first = initial_weights(settings, folder, model, say)
    where = choose_device(device)
    make_deterministic(where)
    precision = choose_precision(settings, where)
    feed = make_feed(dataset, settings, where)
    check_steps(settings, feed, model.least_steps())
    dataset.verify([*feed.rows, *(feed.source.rows if feed.source else ())])
    with folder.lock():
        given = _given(recipe, settings, set or {}) | {"device": None if device == "auto" else device, "debug": debug}
        folder.start(settings, dataset.path, dataset.info.content)
        if folder.status()["state"] == "finished" and folder.generator.is_dir():
            say(f"{folder.path} is already finished at step {folder.status()['step']}; nothing to do")
            return folder
        state = resume(settings, dataset.info.channels, where, folder, say, first)
        folder.cut_back(state.step)
        folder.record_command(command_line("train", "DATASET", "RUN", **given, budget=budget))
        _note_environment(folder, environment(where, precision), say)
        cut_back(folder, epochs_done(settings, feed, state.step))
        keeper = Debug(folder, feed, say) if debug else None
        Loop(state, folder, feed, precision, budget, keeper, say, on_log).run_to_end()
        if budget is not None:  # as many steps give the same generator, another machine's time does not
            given = {name: value for name, value in given.items() if name != "epochs"} | {"steps": state.step}
            folder.record_command(command_line("train", "DATASET", "RUN", **given))
    return folder


def _note_environment(run: Run, now: dict[str, Any], say: Say) -> None:
    """Write environment.json; a resumed run in another environment will not end with the same bits, and is told so."""
    if run.environment_file.is_file():
        before = read_json(run.environment_file)
        differ = [k for k in now if now[k] != before.get(k)]
        if differ:
            say(f"warning: {', '.join(differ)} differ from the start of this run; it goes on, but not to the same bits")
    write_json(run.environment_file, now)


def _given(recipe: str | Path | Recipe, settings: Recipe, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `ganatomy train` that say the same as these arguments, files and runs by stand-ins."""
    packaged = not isinstance(recipe, Recipe) and str(recipe) in recipes.names()
    return {"recipe": str(recipe) if packaged else "RECIPE.yaml",
            **{key: changes[key] for key in FLAGS if key in changes},
            "init_from": "PRETRAINED" if settings.init_from else None,
            "set": {key: value for key, value in changes.items() if key not in (*FLAGS, "init_from")}}
