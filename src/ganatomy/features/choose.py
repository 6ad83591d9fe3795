"""Extractors by name."""

from __future__ import annotations

from functools import lru_cache

from ganatomy.errors import UserError
from ganatomy.features.base import Extractor
from ganatomy.features.lite0 import Lite0

NAMES = ("lite0",)


@lru_cache(maxsize=4)
def choose(name: str = "lite0") -> Extractor:
    """The extractor of that name, or that of a file.

    Raises:
        UserError: no such extractor.
    """
    if name == "lite0":
        return Lite0()
    raise UserError(f"no feature extractor is called {name!r}", where="--features",
                    fix=f"choose from {', '.join(NAMES)}")
