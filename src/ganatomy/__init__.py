"""Ganatomy: learn to synthesise 2-D medical images from small data sets, and tell the truth about the result."""

from __future__ import annotations

import ctypes
import os
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

# waiting threads that spin make a step several times slower as soon as anything else runs on the machine
os.environ.setdefault("OMP_WAIT_POLICY", "passive")



def _keep_freed_memory() -> None:
    """Tell glibc to keep what is freed for the next tensor instead of handing it back to the system.

    Otherwise every large tensor is mapped and zeroed page by page anew: features took 20 ms an image instead of 12,
    with a third of the time spent in the kernel. Other C libraries have no mallopt and are left alone.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, (1 << 31) - 1)


_keep_freed_memory()

__version__ = metadata.version("ganatomy")
__all__ = ["__version__", "compare", "evaluate", "generate", "phantom", "prepare", "report", "study", "train",
           "translate"]

if TYPE_CHECKING:
    from ganatomy.comparison.compare import compare
    from ganatomy.evaluation.evaluate import evaluate
    from ganatomy.generators.generation import generate
    from ganatomy.phantoms.cohort import phantom
    from ganatomy.preparation.prepare import prepare
    from ganatomy.reports.report import report
    from ganatomy.studies.study import study
    from ganatomy.training.train import train
    from ganatomy.translation.translate import translate

_HOMES = {"phantom": "phantoms.cohort", "prepare": "preparation.prepare", "train": "training.train",
          "generate": "generators.generation", "evaluate": "evaluation.evaluate", "report": "reports.report",
          "translate": "translation.translate", "compare": "comparison.compare", "study": "studies.study"}


def __getattr__(name: str) -> Any:
    # the verbs need torch and more; `import ganatomy` alone stays fast
    if name not in _HOMES:
        raise AttributeError(f"module 'ganatomy' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"ganatomy.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
