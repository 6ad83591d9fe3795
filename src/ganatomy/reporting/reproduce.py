"""The commands that make a run again, and text for a methods section."""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from ganatomy import recipe as recipes
from ganatomy.errors import UserError
from ganatomy.recipe import Recipe

FLAGS = {"steps": "--steps", "batch_size": "--batch-size", "seed": "--seed", "precision": "--precision"}
ALWAYS = ("steps", "seed")


def train_command(recipe: Recipe) -> str:
    """`ganatomy train DATASET RUN ...` with the packaged recipe's name and every key in which the run differs.

    A recipe that is not packaged, or that the packaged one cannot be turned into key by key, is RECIPE.yaml.
    """
    own = flat(recipe.model_dump(mode="json"))
    packaged = _packaged(recipe.name)
    if packaged is None or packaged.keys() - own.keys():
        return "ganatomy train DATASET RUN --recipe RECIPE.yaml"
    words = ["ganatomy", "train", "DATASET", "RUN", "--recipe", recipe.name]
    for key, flag in FLAGS.items():
        if own[key] is not None and (key in ALWAYS or own[key] != packaged[key]):
            words += [flag, str(own[key])]
    for key, value in own.items():
        # giving steps unsets epochs, and the other way round
        unset = key in ("steps", "epochs") and value is None
        if key not in FLAGS and not unset and value != packaged.get(key, ...):
            words += ["--set", f"{key}={_yaml(value)}"]
    return shlex.join(words)


def needs_recipe_file(command: str) -> bool:
    """Whether a command from `train_command` needs the recipe saved as RECIPE.yaml."""
    return "RECIPE.yaml" in command


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as dotted ones: {"a": {"b": 1}} becomes {"a.b": 1}."""
    items: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict) and item:
            items |= flat(item, f"{prefix}{key}.")
        else:
            items[f"{prefix}{key}"] = item
    return items


def _packaged(name: str) -> dict[str, Any] | None:
    if name not in recipes.names():
        return None
    try:
        return flat(recipes.load(name).model_dump(mode="json"))
    except UserError:
        return None


def _yaml(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return text.removesuffix("...\n").strip()
