"""The one place where numbers, intervals, durations, names and lists become words.

A value shows no more digits than its interval bears out, and no two places can round the same value differently.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unicodedata import normalize

Interval = tuple[float, float]
Say = Callable[[str], None]  # what is called with lines for the user
MOST_DECIMALS = 6
NOTHING = "-"  # of a value that there is not
_TIME = re.compile(r"(?:(\d*\.?\d+)h)?(?:(\d*\.?\d+)m)?(?:(\d*\.?\d+)s?)?")
ALIKE = "case, blanks or the form of their letters"


def counted(n: int, noun: str) -> str:
    """A number and its noun, without separators, as file names and logs want it: 1 file, 1200 files."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def grouped(n: int, noun: str) -> str:
    """Like `counted`, for prose: 1 subject, 1,200 subjects."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def compact(n: int) -> str:
    """A large count with three digits: 1.07 million."""
    for size, word in ((1_000_000, " million"), (1_000, " thousand")):
        if n >= size:
            return f"{n / size:#.3g}".rstrip(".") + word
    return str(n)


def printable(text: str) -> str:
    """A name with line breaks, other control characters and bytes that are no UTF-8 written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def alike(names: Iterable[str]) -> list[list[str]]:
    """Those among the names that differ only in `ALIKE`, together; people and many file systems take them for one."""
    groups: dict[str, set[str]] = defaultdict(set)
    for name in names:
        groups["".join(normalize("NFKC", name).casefold().split())].add(name)
    return [sorted(own) for own in groups.values() if len(own) > 1]


def typed(path: Path) -> str:
    """A path as one would type it into a shell."""
    return printable(shlex.quote(str(path)))


def listed(words: Iterable[str], last: str = "and") -> str:
    """A list in words: a; a and b; a, b and c. `last` is the word before the last one."""
    *first, end = [*words] or [""]
    return f"{', '.join(first)} {last} {end}" if first else end


def sentence(text: str) -> str:
    """Words that begin with a capital and end with a full stop; "" of none."""
    return text[:1].upper() + text[1:].rstrip(".") + "." if text else ""


def command_line(verb: str, *places: str, **options: Any) -> str:
    """A command of ganatomy as one would type it, for a record that may travel: no path of this machine is in it.

    Args:
        verb: such as train.
        places: what stands for its folders: DATASET, RUN.
        options: by their Python names; None, False and what is empty are left out, True is the flag alone, a sequence
            has commas between, a mapping is the option repeated with KEY=VALUE, several paths are it repeated. A
            `Path` becomes its option's name in capitals; what else may name a patient must be given as a stand-in.
    """
    words = [verb, *places]
    for name, value in options.items():
        flag, stand_in = "-n" if name == "n" else f"--{name.replace('_', '-')}", name.upper().replace("_", "-")
        if value is None or value is False or value in ("", (), [], {}):
            continue
        if value is True:
            words.append(flag)
        elif isinstance(value, Mapping):
            words += [word for key, item in value.items() for word in (flag, f"{key}={_setting(item)}")]
        elif isinstance(value, Path):
            words += [flag, stand_in]
        elif isinstance(value, list | tuple) and isinstance(value[0], Path):
            numbers = range(1, len(value) + 1) if len(value) > 1 else ("",)
            words += [word for number in numbers for word in (flag, f"{stand_in}{number}")]
        else:
            words += [flag, ",".join(map(_plain, value)) if isinstance(value, list | tuple) else _plain(value)]
    return shlex.join(["ganatomy", *words])


def _setting(value: Any) -> str:
    """A value as `--set` reads it: JSON is YAML."""
    return value if isinstance(value, str) else json.dumps(value)


def _plain(value: Any) -> str:
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)


def decimals(interval: Sequence[float] | None) -> int | None:
    """Decimals that leave two significant digits of the interval's width, never below 0; None without a width."""
    width = interval[1] - interval[0] if interval else 0.0
    return max(0, 1 - math.floor(math.log10(width))) if width > 0 and math.isfinite(width) else None


def number(value: float | None, places: int | None = None, sign: bool = False) -> str:
    """A value with that many decimals; if None, with three significant digits, without an exponent where readable.

    `sign` writes a plus before a positive value, as of a difference.
    """
    if value is None or math.isnan(value):
        return NOTHING
    plus = "+" if sign and value > 0 else ""
    if places is not None and places <= MOST_DECIMALS:
        text = f"{round(value, places) + 0.0:,.{places}f}"  # + 0.0: no minus before a zero
    elif value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e6):
        text = f"{value:.2e}"
    else:
        text = (f"{value:#.3g}" if abs(value) < 999.5 else f"{value:,.0f}").rstrip(".")
    return plus + text.replace("-", "−")


def interval(value: Sequence[float] | None, k: float = 1.0, sign: bool = False) -> str:
    """k times an interval, as "0.12 to 0.34"; "" where there is none."""
    if not value:
        return ""
    low, high = sorted((k * value[0], k * value[1]))
    places = decimals((low, high))
    return f"{number(low, places, sign)} to {number(high, places, sign)}"


def rounded(value: float, span: Sequence[float] | None, k: float = 1.0, sign: bool = False) -> str:
    """k times a value alone, with the digits that its interval bears out."""
    return number(k * value, decimals((k * span[0], k * span[1]) if span else None), sign)


def estimate(value: float | None, span: Sequence[float] | None = None, k: float = 1.0, *, unit: str = "",
             more: str = "", sign: bool = False) -> str:
    """k times a value and its unit, with its interval, and `more`, in brackets: "0.23 mm (0.12 to 0.34; n = 40)"."""
    if value is None:
        return NOTHING
    text = rounded(value, span, k, sign) + unit
    inside = "; ".join(part for part in (interval(span, k, sign), more) if part)
    return f"{text} ({inside})" if inside else text


def percent(value: float) -> str:
    """A share in per cent, with no more than three digits."""
    return f"{100 * value:.3g}%".replace("-", "−")


def p_value(p: float | None) -> str:
    """A p-value with two significant digits; below 0.0001 only that."""
    return NOTHING if p is None else "<0.0001" if p < 1e-4 else f"{p:.2g}"


def typed_time(seconds: float) -> str:
    """Seconds as one would type them, to the millisecond: 90 is 1m30s; `seconds_of` reads it again."""
    hours, rest = divmod(round(seconds, 3), 3600)
    minutes, rest = divmod(rest, 60)
    parts = ((f"{hours:.0f}", "h"), (f"{minutes:.0f}", "m"), (f"{rest:.3f}".rstrip("0").rstrip("."), "s"))
    return "".join(number + unit for number, unit in parts if number != "0") or "0s"


def seconds_of(text: str) -> float:
    """The seconds of a time as it is typed: 90, 90s, 5m, 1h30m, 0.5h. Raises ValueError for other text."""
    parts = _TIME.fullmatch(text.strip())
    if parts is None or not any(parts.groups()):
        raise ValueError(f"{text!r} is not a time, such as 90s, 5m or 1h30m")
    return sum(unit * float(number or 0) for unit, number in zip((3600, 60, 1), parts.groups(), strict=True))


def duration(seconds: float) -> str:
    """Seconds in words: 48 s, 11 min, 3 h 20 min, 52 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours < 10 and rest else f"{round(minutes / 60)} h"
