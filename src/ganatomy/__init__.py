"""Ganatomy: learn to synthesise 2-D medical images from small data sets, and tell the truth about the result."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

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
