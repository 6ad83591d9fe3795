"""GANs, one file each: here by the file's name, elsewhere by the dotted name of a module that can be imported."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from pydantic import ValidationError

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe, validation_error
from ganatomy.gans.base import GAN, GANConfig, Shape


def names() -> list[str]:
    """The names of the GANs that come with ganatomy: the files of this folder that are not the base."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "base")


def resolve(recipe: Recipe, channels: int) -> GAN:
    """Build the GAN that a recipe names, its settings validated.

    Args:
        recipe: its `gan` names a file of this folder, or with dots a module such as my_package.my_gan; its `model`
            holds that module's settings.
        channels: 1 (grey) or 3 (RGB).

    Raises:
        UserError: unknown GAN, unknown or impossible setting, or a size that the networks cannot have.
    """
    module = _module(recipe)
    try:
        config = module.Config.model_validate(recipe.model)
    except ValidationError as error:
        raise validation_error(error, f"recipe {recipe.name}, model", list(module.Config.model_fields)) from error
    return module.Model(config, Shape(recipe.size, channels))


def kind(recipe: Recipe) -> type[GAN]:
    """The class of the GAN that a recipe names. Raises `UserError` for an unknown one."""
    return _module(recipe).Model


def _module(recipe: Recipe) -> ModuleType:
    name, where = recipe.gan, f"recipe {recipe.name}"
    if name in names():
        return importlib.import_module(f"{__name__}.{name}")
    if "." not in name:
        raise UserError(f"no GAN is called {name!r}", where=where,
                        fix=f"choose gan from {', '.join(names())}, or name a module of your own: my_package.my_gan")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # what the module itself imports is missing
        raise UserError(f"there is no module {error.name!r} that gan: {name} could come from", where=where,
                        fix="install its package here, or put its folder on PYTHONPATH") from error
    for kind, base in (("Config", GANConfig), ("Model", GAN)):
        own = getattr(module, kind, None)
        if not (isinstance(own, type) and issubclass(own, base)):
            raise UserError(f"the module {name} has no class {kind} derived from {base.__name__}", where=where,
                            fix="see ganatomy/gans/base.py, and check it with ganatomy.testing.check_gan")
    return module
