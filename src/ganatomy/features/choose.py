"""Extractors by name, or by the file that holds one."""

from __future__ import annotations

import importlib
from functools import lru_cache
from pathlib import Path

from ganatomy.core.errors import UserError
from ganatomy.features.base import Extractor

NAMES = {"lite0": "Lite0", "inception": "Inception2015", "random": "Random"}  # classes of the files of these names


def choose(name: str = "lite0") -> Extractor:
    """The extractor of that name (lite0, inception, random), or that of a TorchScript or ONNX file.

    Raises:
        UserError: no such extractor or file, weights that are not installed, or a file that holds no network.
    """
    if name in NAMES:
        return _named(name)
    from ganatomy.features.custom import SUFFIXES, Custom

    path = Path(name)
    if path.suffix.lower() in SUFFIXES:
        return Custom(path)
    raise UserError(f"no feature extractor is called {name!r}", where="--features",
                    fix=f"choose from {', '.join(NAMES)}, or give a file ({', '.join(SUFFIXES)})")


@lru_cache(maxsize=4)
def _named(name: str) -> Extractor:
    module = importlib.import_module(f"ganatomy.features.{name}")  # only now: they import torch
    extractor: Extractor = getattr(module, NAMES[name])()
    return extractor
