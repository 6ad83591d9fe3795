"""A budget of time as a number of steps: found once, by a short trial, so that every GAN of a study gets the same."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from pydantic import ValidationError

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe
from ganatomy.data.dataset import Dataset
from ganatomy.studies.cell_gans import write_images
from ganatomy.studies.folds import Place, draw_subset
from ganatomy.studies.protocol import StudySettings
from ganatomy.training.train import train

SECONDS = 12.0
MANY = 10**7  # steps, more than the trial can make


def with_budget(settings: StudySettings, dataset: Dataset, places: Mapping[str, Place], budget: float, device: str,
                say: Callable[[str], None]) -> StudySettings:
    """The settings with the number of steps that a GAN makes in `budget` seconds, on one thread of this machine.

    Times of a trial vary by some percent with what else the machine does, so two studies of the same budget may differ
    in steps; with `--set steps=N` they do not.

    Raises:
        UserError: no time, too little for a step, or so much that the steps are more than a recipe can have.
    """
    if not 0 < budget < math.inf:
        raise UserError(f"{budget} seconds are no time to train in", where="--budget", fix="give more than 0")
    rows = draw_subset(dataset.rows(settings.domain), places, settings, settings.k[-1], 0, 0).rows
    label = settings.positives[0]
    with tempfile.TemporaryDirectory() as scratch, one_thread():
        data = Path(scratch) / "data"
        write_images(dataset, [r for r in rows if r.label == label], label, data, settings)
        recipe = settings.recipe.model_copy(update={"label": label, "steps": MANY, "epochs": None, "select": "last"})
        run = train(data, Path(scratch) / "run", recipe, device=device, budget=min(SECONDS, budget))
        rates = [e["images_per_second"] for e in run.log() if e["kind"] == "train"]
    if not rates:
        raise UserError(f"{budget:g} seconds are too short to make a step in", where="--budget",
                        fix="give more, such as 4m, or say --set steps=N")
    steps = max(1, int(budget * rates[-1] / recipe.batch_size))
    try:
        chosen = Recipe.model_validate({**settings.recipe.model_dump(), "steps": steps, "epochs": None})
    except ValidationError as error:
        raise UserError(f"{budget:g} seconds would be {steps:,} steps, more than a recipe can have", where="--budget",
                        fix="give less, or say --set steps=N") from error
    say(f"about {steps:,} steps are made in {budget:g} s here: every GAN of the study gets so many")
    return settings.model_copy(update={"recipe": chosen})


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch compute with one thread, as a worker does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
