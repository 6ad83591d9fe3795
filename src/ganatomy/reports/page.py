"""Filling a report's template and writing it: one HTML file, escaped, without paths, loading nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from ganatomy.core.errors import UserError
from ganatomy.core.files import write_text
from ganatomy.core.text import grouped
from ganatomy.reports import facts

WARN_BYTES = 5_000_000
COPIED = "Left out: this is the version made for sharing, and the audit found copies of patients among these images."


def target_of(out: str | Path | None, default: Path) -> Path:
    """The file to write. Raises `UserError` if its name is none for a report."""
    target = Path(out) if out is not None else default
    if target.is_dir():
        raise UserError("is a folder, not a file", where=target, fix="name an .html file")
    if target.suffix not in (".html", ".htm"):
        raise UserError("is no name for a report", where=target, fix="let it end in .html")
    return target


def write(target: Path, page: str, say: Callable[[str], None]) -> Path:
    """Write a page under its name when it is whole, and say how large it is."""
    write_text(target, page)
    size = len(page.encode("utf-8"))
    say(f"wrote {target} ({size / 1e6:.1f} MB)" + (", larger than intended" if size > WARN_BYTES else ""))
    return target


def version() -> str:
    """Ganatomy's."""
    try:
        return metadata.version("ganatomy")
    except metadata.PackageNotFoundError:
        return "(version unknown)"


def render(template: str, context: dict[str, Any], places: Sequence[Path]) -> str:
    """Fill a template. Every value loses its paths and is escaped; only our own data URIs go in as they are."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    def clean(value: Any) -> Any:
        free_text = isinstance(value, str) and not isinstance(value, Markup)
        return facts.without_paths(value, places) if free_text else value

    def source(name: str) -> str:
        return (resources.files("ganatomy.reports") / name).read_text(encoding="utf-8")

    environment = Environment(autoescape=True, finalize=clean, undefined=StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True, loader=FunctionLoader(source))
    environment.filters["count"] = grouped
    environment.filters["uri"] = lambda picture: Markup(picture.uri)
    return environment.get_template(template).render(context)
