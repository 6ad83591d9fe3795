"""GANs, one file each, found by name."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from pydantic import ValidationError

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe, validation_error
from ganatomy.gans.base import GAN, Shape


def names() -> list[str]:
    """The names of all GANs: the files of this folder that are not the base."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "base" and not m.name.startswith("_"))


def resolve(recipe: Recipe, channels: int) -> GAN:
    """Build the GAN that a recipe names, its settings validated.

    Args:
        recipe: its `gan` names a file of this folder, its `model` holds that file's settings.
        channels: 1 (grey) or 3 (RGB).

    Raises:
        UserError: unknown GAN, unknown or impossible setting, or a size that the networks cannot have.
    """
    module = _module(recipe)
    try:
        config = module.Config.model_validate(recipe.model)
    except ValidationError as error:
        raise validation_error(error, f"recipe {recipe.name}, model", list(module.Config.model_fields)) from error
    model = module.Model(config, Shape(recipe.size, channels))
    assert isinstance(model, GAN)
    return model


def kind(recipe: Recipe) -> type[GAN]:
    """The class of the GAN that a recipe names. Raises `UserError` for an unknown one."""
    found: type[GAN] = _module(recipe).Model
    return found


def _module(recipe: Recipe) -> ModuleType:
    if recipe.gan not in names():
        raise UserError(f"no GAN is called {recipe.gan!r}", where=f"recipe {recipe.name}",
                        fix=f"choose gan from {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{recipe.gan}")
