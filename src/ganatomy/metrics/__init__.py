"""Every metric, by its file, and what each says of its values; `base` says what a metric is."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ganatomy.metrics.base import About, Result


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


def is_of(name: str, metric: str) -> bool:
    """Whether a result of this name is the metric's, as KD-Lite0 is of KD, but Critic-A not of Critic-JS."""
    one = about(name)
    return name == metric or (one is not None and one.name == metric)


def bounded(result: Result) -> Result:
    """A result whose values and intervals, all alike, are cut at the ends of the values that there can be.

    The estimate of a bound or a distance can lie beyond, as a divergence below 0, which says nothing of the images.
    """
    from ganatomy.metrics.base import POSITIVE
    from ganatomy.statistics.subjects import clipped

    one = about(result.name)
    if one is None:
        return result
    low, high = one.span

    def cut(value: float | None) -> float | None:
        return None if value is None else min(max(value, low), high)

    reference = result.reference and result.reference.model_copy(
        update={"value": cut(result.reference.value), "interval": clipped(result.reference.interval, one.span)})
    return result.model_copy(update={
        "value": cut(result.value), "interval": clipped(result.interval, one.span), "floor": cut(result.floor),
        "floor_interval": clipped(result.floor_interval, one.span), "reference": reference,
        "ratio_interval": clipped(result.ratio_interval, POSITIVE)})


def factor(name: str) -> float:
    """By what a value of this name is multiplied where it is shown: kernel distances by 1000, as is the custom."""
    one = about(name)
    return one.factor if one else 1.0


def shown(name: str) -> str:
    """A result's name with the factor it is shown by: KD-Lite0 × 1000."""
    return name if factor(name) == 1 else f"{name} × {factor(name):g}"


def titled(result: Result) -> str:
    """A result's name as it is shown; it is said of features that the training looked through."""
    return f"{shown(result.name)} (flattering)" if result.flattering else shown(result.name)


def forget() -> None:
    """Look for metrics again, where there may be other files than before."""
    _modules.cache_clear()
    about.cache_clear()
