"""Reading back what was written, and what others hand on or edit: one schema a file, one error for every fault in it.

JSON is read by `read_json`, CSV by `read_csv`; whatever else is parsed (YAML, arrays, tensors) is parsed in `reading`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ganatomy.core.errors import UserError

Kind = TypeVar("Kind")
Whole = Annotated[int, Field(strict=True, ge=0, le=10**12)]
"""A count, a step or a size: neither true nor false, nor below 0."""
MOST = 1e30  # what is larger is no measurement, and its square or a margin around it would no longer be finite
Bounded = Annotated[float, Field(ge=-MOST, le=MOST)]
"""A measured value."""
MOST_FAULTS = 3  # that a message names


def _inside(name: str) -> str:
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError("it leads out of its folder")
    return name


FileName = Annotated[str, AfterValidator(_inside)]
"""Of a file in the folder of the one that names it."""


class Record(BaseModel):
    """Base of what a file of ours holds: frozen, numbers finite; keys of a newer version are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


@contextmanager
def reading(path: Path, fix: str | None = None) -> Iterator[None]:
    """Turn whatever is wrong with a file into a `UserError` that names it and says how to mend it."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise UserError("this file is missing", where=path, fix=fix) from error
    except ValidationError as error:
        raise UserError(faults(error), where=path, fix=fix) from error
    except Exception as error:  # parsers raise nearly anything over a damaged file
        reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        raise UserError(f"cannot be read ({' '.join(reason.split())[:200]})", where=path, fix=fix) from error


def read_json(path: Path, kind: type[Kind], fix: str | None = None, strict: bool | None = True) -> Kind:
    """A JSON file of this kind, such as a `Record` or dict[str, str]; `UserError` if it is missing or of another.

    Values must have the very type, unless `strict` is None: then each schema's own rule holds.
    """
    with reading(path, fix):
        value: Kind = TypeAdapter(kind).validate_json(path.read_bytes(), strict=strict)
    return value


def read_csv(path: Path, fix: str | None = None) -> tuple[list[str], list[list[str]]]:
    """The head of a CSV file and its lines, each of as many cells. Raises `UserError` if it is missing or broken."""
    with reading(path, fix):
        lines = list(csv.reader(io.StringIO(path.read_bytes().decode(), newline="")))
        if not lines:
            raise ValueError("it is empty")
        head, *rest = lines
        for number, line in enumerate(rest, start=2):
            if len(line) != len(head):
                raise ValueError(f"line {number} has not as many cells as the first one")
        return head, rest


def faults(error: ValidationError) -> str:
    """What pydantic complains of, in one line: the first faults, each with the place of the value."""
    named = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}".removeprefix(": ").replace(
        "Input should be", "should be").replace("Value error, ", "") for e in error.errors()]
    more = f"; and {len(named) - MOST_FAULTS} more" if len(named) > MOST_FAULTS else ""
    return f"does not hold what it should ({'; '.join(named[:MOST_FAULTS])}{more})"
