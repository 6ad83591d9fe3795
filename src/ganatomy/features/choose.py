"""Extractors by name, or by the file that holds one."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from ganatomy.core.errors import UserError
from ganatomy.features.base import Extractor
from ganatomy.features.custom import SUFFIXES, Custom
from ganatomy.features.inception import Inception2015
from ganatomy.features.lite0 import Lite0
from ganatomy.features.random import Random

NAMES: dict[str, type[Extractor]] = {"lite0": Lite0, "inception": Inception2015, "random": Random}


def choose(name: str = "lite0") -> Extractor:
    """The extractor of that name (lite0, inception, random), or that of a TorchScript or ONNX file.

    Raises:
        UserError: no such extractor or file, weights that are not installed, or a file that holds no network.
    """
    if name in NAMES:
        return _named(name)
    path = Path(name)
    if path.suffix.lower() in SUFFIXES:
        return Custom(path)
    raise UserError(f"no feature extractor is called {name!r}", where="--features",
                    fix=f"choose from {', '.join(NAMES)}, or give a file ({', '.join(SUFFIXES)})")


@lru_cache(maxsize=4)
def _named(name: str) -> Extractor:
    return NAMES[name]()
