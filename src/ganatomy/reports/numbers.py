"""Numbers as text: no more digits than their interval bears out."""

from __future__ import annotations

import math
from typing import Any

Interval = tuple[float, float]
MOST_DECIMALS = 6


def decimals(interval: Interval | None) -> int | None:
    """Decimals that leave two significant digits of the interval's width, never below 0; None without a width."""
    width = interval[1] - interval[0] if interval else 0.0
    return max(0, 1 - math.floor(math.log10(width))) if width > 0 else None


def number(value: float, places: int | None = None) -> str:
    """With that many decimals; if None, three significant digits without an exponent where that is readable."""
    if places is not None and places <= MOST_DECIMALS:
        text = f"{round(value, places) + 0.0:,.{places}f}"  # + 0.0: no minus before a zero
    elif value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e6):
        text = f"{value:.2e}"
    else:
        text = (f"{value:#.3g}" if abs(value) < 999.5 else f"{value:,.0f}").rstrip(".")
    return text.replace("-", "−")


def spanned(value: float, interval: Interval | None, k: float = 1.0) -> tuple[str, str]:
    """k times the value and its interval, rounded by the interval's width; the interval is "" where there is none."""
    scaled = (k * interval[0], k * interval[1]) if interval else None
    places = decimals(scaled)
    span = f"{number(scaled[0], places)} to {number(scaled[1], places)}" if scaled else ""
    return number(k * value, places), span


def bracketed(value: float, interval: Interval | None, k: float = 1.0, more: str = "") -> str:
    """The value with its interval, and `more`, in brackets."""
    text, span = spanned(value, interval, k)
    inside = "; ".join(part for part in (span, more) if part)
    return f"{text} ({inside})" if inside else text


def pair(value: Any) -> Interval | None:
    """An interval of metrics.json, or None where there is none."""
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(v, int | float) for v in value):
        return float(value[0]), float(value[1])
    return None
