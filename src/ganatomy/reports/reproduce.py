"""The commands that make a run again, and text for a methods section."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import yaml

from ganatomy.core import recipe as recipes
from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe, flat
from ganatomy.data.dataset import DatasetInfo
from ganatomy.evaluation.samples import default_n

FLAGS = {"steps": "--steps", "epochs": "--epochs", "batch_size": "--batch-size", "seed": "--seed",
         "source": "--source", "domain": "--domain", "label": "--label", "precision": "--precision",
         "checkpoint_every": "--checkpoint-every"}
ALWAYS = ("steps", "seed")
# flags of prepare that a dataset's provenance holds where they are not the default; "" for the value itself
PREPARE = {"domains": "", "pattern": "PATTERN", "axis": "", "slices": "", "fit": "", "spacing": "", "channels": "",
           "intensity": "", "background": "", "masks": "", "labels": "", "split": "", "split-by": "COLUMN",
           "val-subjects": "IDS", "test-subjects": "IDS", "seed": ""}
PRETRAINED = "PRETRAINED"  # the run that training started from; the recipe has the fingerprint of its weights
STAND_INS = ("PATTERN", "COLUMN", "IDS")  # what was given may name people and is not kept


def train_command(recipe: Recipe, ended: int | None = None) -> str:
    """`ganatomy train DATASET RUN ...` with the packaged recipe's name and every key in which the run differs.

    A recipe that is not packaged, or that the packaged one cannot be turned into key by key, is RECIPE.yaml.

    Args:
        recipe: the run's.
        ended: the step at which a time limit ended the run; training that many steps gives the same.
    """
    steps = ["--steps", str(ended)] if ended else []
    start = ["--init-from", PRETRAINED] if recipe.init_from else []
    if ended:
        recipe = recipe.model_copy(update={"steps": ended, "epochs": None})
    own = flat(recipe.model_dump(mode="json"))
    packaged = _packaged(recipe.name)
    if packaged is None or packaged.keys() - own.keys():
        return shlex.join(["ganatomy", "train", "DATASET", "RUN", "--recipe", "RECIPE.yaml", *steps, *start])
    words = ["ganatomy", "train", "DATASET", "RUN", "--recipe", recipe.name]
    for key, flag in FLAGS.items():
        if own[key] is not None and (key in ALWAYS or own[key] != packaged[key]):
            words += [flag, str(own[key])]
    words += start
    for key, value in own.items():
        # giving steps unsets epochs, and the other way round
        unset = key in ("steps", "epochs") and value is None
        flagged = (key in FLAGS and value is not None) or key == "init_from"
        if not flagged and not unset and value != packaged.get(key, ...):
            words += ["--set", f"{key}={yaml_value(value)}"]
    return shlex.join(words)


def evaluate_command(n_test: int | None, n_synthetic: int | None, seed: int | None) -> str:
    """`ganatomy evaluate RUN` with the number of images and the seed where they are not the defaults."""
    words = ["ganatomy", "evaluate", "RUN"]
    if n_test and n_synthetic and n_synthetic != default_n(n_test):
        words += ["-n", str(n_synthetic)]
    if seed:
        words += ["--seed", str(seed)]
    return shlex.join(words)


def translation_command(n: int | None, beside: Sequence[str], seed: int | None) -> str:
    """`ganatomy evaluate RUN` of a translation: with `n` test images, if not all, and the runs it was put beside."""
    words = ["ganatomy", "evaluate", "RUN", *(["-n", str(n)] if n else [])]
    for name in beside:
        words += ["--beside", beside_name(name)]
    return shlex.join([*words, *(["--seed", str(seed)] if seed else [])])


def beside_name(name: str) -> str:
    """What stands for a run that was put beside: RUN-unet, RUN-unet-2."""
    return f"RUN-{name.replace(' #', '-')}"


def prepare_command(info: DatasetInfo | None, size: int) -> str:
    """`ganatomy prepare SOURCE DATASET ...` with every option that is known to differ from its default."""
    words = ["ganatomy", "prepare", "SOURCE", "DATASET", "--size", str(size)]
    given = info.provenance if info is not None else {}
    for key, stand_in in PREPARE.items():
        value = given.get(key)
        if key == "split" and isinstance(value, list):
            value = [100 * float(share) for share in value]
        if value is not None and value is not False and value not in ([], ""):  # a background of 0 is an option
            words += [f"--{key}", stand_in or _joined(value)]
    return shlex.join(words)


def needs_options(info: DatasetInfo | None) -> bool:
    """Whether the dataset does not say with which options `prepare` made it."""
    return info is None or "ganatomy" not in info.provenance


def _joined(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_joined, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def needs_recipe_file(command: str) -> bool:
    """Whether a command from `train_command` needs the recipe saved as RECIPE.yaml."""
    return "RECIPE.yaml" in command


def _packaged(name: str) -> dict[str, Any] | None:
    if name not in recipes.names():
        return None
    try:
        return flat(recipes.load(name).model_dump(mode="json"))
    except UserError:
        return None


def yaml_value(value: Any) -> str:
    """A value as `--set` takes it."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return text.removesuffix("...\n").strip()
