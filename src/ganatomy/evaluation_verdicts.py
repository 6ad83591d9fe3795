"""One traffic light a question: realistic? diverse? copies? enough data to say so? And the gates on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

Light = Literal["green", "amber", "red", "grey"]  # grey: the data do not let one say


def verdicts(results: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """For each question its light and a sentence, from the results of metrics.json."""
    return []


def check_gates(metrics: dict[str, Any], gates: Sequence[str]) -> None:
    """Raise `GateError` if a gate that the user asked for did not pass."""
