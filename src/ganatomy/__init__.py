"""Ganatomy: learn to synthesise 2-D medical images from small data sets, and tell the truth about the result."""

from __future__ import annotations

import os
from importlib import metadata
from typing import TYPE_CHECKING, Any

# waiting threads that spin make a step several times slower as soon as anything else runs on the machine
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = metadata.version("ganatomy")
__all__ = ["__version__", "evaluate", "generate", "phantom", "prepare", "report", "train"]

if TYPE_CHECKING:
    from ganatomy.data.phantom import phantom
    from ganatomy.data.prepare import prepare
    from ganatomy.evaluation import evaluate
    from ganatomy.generation import generate
    from ganatomy.reporting.report import report
    from ganatomy.training import train

_HOMES = {"phantom": "ganatomy.data.phantom", "prepare": "ganatomy.data.prepare", "train": "ganatomy.training",
          "generate": "ganatomy.generation", "evaluate": "ganatomy.evaluation", "report": "ganatomy.reporting.report"}


def __getattr__(name: str) -> Any:
    # the verbs need torch and more; `import ganatomy` alone stays fast
    if name not in _HOMES:
        raise AttributeError(f"module 'ganatomy' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
