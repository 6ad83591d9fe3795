"""Every metric, by its file, and what each says of its values; `base` says what a metric is."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ganatomy.metrics.base import About


def metric_modules(asked: frozenset[str] | None = frozenset()) -> list[ModuleType]:
    """Every metric, by its `ORDER`; those that are computed on demand only if asked for by name, all if None."""
    return [m for m in _modules() if asked is None or not getattr(m, "ON_DEMAND", False)
            or m.__name__.rpartition(".")[2] in asked]


@cache
def _modules() -> tuple[ModuleType, ...]:
    names = [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return tuple(sorted((m for m in modules if hasattr(m, "ABOUT")),
                        key=lambda m: (getattr(m, "ORDER", 99), m.__name__)))


@cache
def about(name: str) -> About | None:
    """What the metric of a result's name, such as KD-Lite0 or MS-SSIM-3, says of it; None if it is not known.

    By the longest declared name that the result's is, or begins with before a hyphen.
    """
    known = [(own, one) for module in _modules() for one in module.ABOUT for own in (one.name, one.also) if own]
    fitting = [entry for entry in known if name == entry[0] or name.startswith(f"{entry[0]}-")]
    return max(fitting, key=lambda entry: len(entry[0]), default=("", None))[1]


def factor(name: str) -> float:
    """By what a value of this name is multiplied where it is shown: kernel distances by 1000, as is the custom."""
    one = about(name)
    return one.factor if one else 1.0


def shown(name: str) -> str:
    """A result's name with the factor it is shown by: KD-Lite0 × 1000."""
    return name if factor(name) == 1 else f"{name} × {factor(name):g}"


def forget() -> None:
    """Look for metrics again, where there may be other files than before."""
    _modules.cache_clear()
    about.cache_clear()
