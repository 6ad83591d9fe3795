"""From blocks to one HTML file: escaped, without paths, loading nothing; to be shared, without patients."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from ganatomy import __version__
from ganatomy.core.errors import UserError
from ganatomy.core.files import disk_errors, write_text
from ganatomy.core.origin import Origin, check_writable, nothing_to_do
from ganatomy.core.text import Say
from ganatomy.reports.blocks import Block, Heading, Holder, Map, Page, Words, parts

WARN_BYTES = 5_000_000
LEFT_OUT = "[path left out]"
# an absolute path of two parts or more, with or without ~, a drive letter or file://; "and/or" is none
PATHS = re.compile(r"""file:/\S+|~[\\/]\S+
    |(?<![\w/\\.)])(?:~[\w.-]*|[A-Za-z]:)?(?:[\\/]{1,2}[^\s\\/'\"<>,;:|]+){2,}[\\/]?
     (?:[ ][^\s\\/]+[\\/]\S*)*""", re.VERBOSE)  # the last line: names with spaces in them
# each light has a shape of its own (an SVG 24 wide and high): colour alone is lost on paper and on colour-blind readers
SHAPES = {"green": "M12 2a10 10 0 1 0 .01 0zM6.5 12.5l4 4 7-8",
          "amber": "M12 2.5L22.5 21.5H1.5zM12 9.5v5.5M12 17.6v1.2",
          "red": "M7.5 1.5h9l6 6v9l-6 6h-9l-6-6v-9zM8 8l8 8M16 8l-8 8",
          "grey": "M12 2a10 10 0 1 0 .01 0zM9 9.5a3 3 0 1 1 4.6 2.6c-1.1.7-1.6 1.2-1.6 2.4M12 17v1.2"}
PATIENTS = Words(lead="This report contains images of real patients; use --shareable to make a version that does not.",
                 text="Treat this file like the scans themselves.", style="warn")


def target_of(out: str | Path | None, default: Path) -> Path:
    """The file to write. Raises `UserError` if its name is none for a report."""
    target = Path(out) if out is not None else default
    if target.is_dir():
        raise UserError("is a folder, not a file", where=target, fix="name an .html file")
    if target.suffix not in (".html", ".htm"):
        raise UserError("is no name for a report", where=target, fix="let it end in .html")
    return target


def is_done(target: Path, default: Path, origin: Origin, say: Say) -> bool:
    """Whether the report of this origin is there, by its last line.

    Raises `UserError` if `target` cannot be written, or is neither the `default` nor what the same command wrote of
    what the run held before: that is brought up to date.
    """
    before = _last_line(target)
    if before == _line(origin):
        nothing_to_do(target, say)
        return True
    if target.exists() and target != default and not before.startswith(_line(origin, inputs="")):
        raise UserError("already exists, and this command did not write it", where=target,
                        fix="choose another name, or remove it yourself")
    check_writable(target)
    return False


def _line(origin: Origin, inputs: str | None = None) -> str:
    return f"<!-- {origin.command}; {origin.inputs} -->" if inputs is None else f"<!-- {origin.command}; {inputs}"


def _last_line(path: Path) -> str:
    """The end of a file, as much as such a line takes; "" where there is none."""
    if not path.is_file():
        return ""
    with disk_errors(path), path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - 400))
        return handle.read().decode("utf-8", "replace").rstrip("\n").rpartition("\n")[2]


def write_page(page: Page, target: Path, places: Sequence[Path], origin: Origin, *, shareable: bool, say: Say) -> None:
    """Write a page under its name when it is whole, without the names of the folders `places`; say how large it is."""
    text = f"{render(page, places, shareable=shareable)}\n{_line(origin)}\n"
    write_text(target, text)
    size = len(text.encode("utf-8"))
    say(f"wrote {target} ({size / 1e6:.1f} MB)" + (", larger than intended" if size > WARN_BYTES else ""))


def without_paths(text: str, places: Iterable[Path] = ()) -> str:
    """The text without any absolute path, and without `places`: a path may name a person or a machine."""
    for place in {str(form) for path in places for form in (path, path.resolve()) if len(form.parts) > 2}:
        text = text.replace(place, LEFT_OUT)
    return PATHS.sub(LEFT_OUT, text)


def render(page: Page, places: Sequence[Path], *, shareable: bool) -> str:
    """The page as HTML. Every text loses its paths and is escaped; only our own data URIs go in as they are."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup, escape

    def clean(value: Any) -> Any:
        free_text = isinstance(value, str) and not isinstance(value, Markup)
        return without_paths(value, places) if free_text else value

    def inline(text: str) -> Markup:
        return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(clean(text)))))

    environment = Environment(autoescape=True, finalize=clean, undefined=StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True, loader=FunctionLoader(_source))
    environment.filters["parts"], environment.filters["inline"] = parts, inline
    environment.filters["uri"] = lambda picture: Markup(picture.uri)
    if shareable:
        page = replace(page, opening=_shared(page.opening), notices=_shared(page.notices), body=_shared(page.body))
    blocks = [block for part in (page.opening, page.notices, page.body) for own in part for block in own.walk()]
    patients = any(block.patients for block in blocks)
    banner = [PATIENTS] if patients else [_sharing(blocks)] if shareable else []
    script = _source("map.js") if any(isinstance(block, Map) for block in blocks) else ""
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return environment.get_template("page.html").render(
        page=page, header=[*page.opening, *banner, *page.notices], sections=_sections(page.body), patients=patients,
        shareable=shareable, shapes=SHAPES, date=datetime.now(UTC).date().isoformat(), version=__version__,
        script=Markup(script), digest=Markup(digest))


def _source(name: str) -> str:
    return (resources.files("ganatomy.reports") / name).read_text(encoding="utf-8")


def _sharing(blocks: Sequence[Block]) -> Words:
    """The banner of a report that may be shared, with what must be known of the blocks in it."""
    remarks = dict.fromkeys(block.remark for block in blocks if block.remark)
    return Words(lead="No real image is in this file.", text=" ".join(remarks), style="banner")


def _shared(blocks: Sequence[Block]) -> list[Block]:
    """What may be shared; the same reason for leaving something out is given once a section."""
    kept: list[Block] = []
    reasons: set[str] = set()
    for block in (own.shared() for own in blocks):
        reasons = set() if isinstance(block, Heading) and block.level == 2 else reasons
        kept += _told_once(block, reasons)
    return kept


def _told_once(block: Block, reasons: set[str]) -> list[Block]:
    if isinstance(block, Holder):
        return [replace(block, blocks=[kept for own in block.blocks for kept in _told_once(own, reasons)])]
    if isinstance(block, Words) and block.style == "none":
        if block.text in reasons:
            return []
        reasons.add(block.text)
    return [block]


def _sections(body: Sequence[Block]) -> list[tuple[Heading, list[Block]]]:
    """The blocks below each heading of level 2."""
    sections: list[tuple[Heading, list[Block]]] = []
    for block in body:
        if isinstance(block, Heading) and block.level == 2:
            sections.append((block, []))
        else:
            sections[-1][1].append(block)
    return sections
