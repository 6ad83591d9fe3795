"""A leaderboard as text: for a terminal, as CSV or Markdown, and what must be noted beside it."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganatomy.comparison.groups import CLAIM_SEEDS, Board, Group, duration, number
from ganatomy.comparison.runs import COPIES, Evaluated, Figure, shown_name
from ganatomy.core.errors import UserError
from ganatomy.core.files import write_text
from ganatomy.core.table import Table
from ganatomy.core.text import counted, printable
from ganatomy.metrics.schema import OF_DATASET, OTHER_DATASET, size_warning

MOST_NAMED = 12


def notes(board: Board, controls: Mapping[str, Mapping[str, Figure]]) -> list[str]:
    """Sentences about a table, the most important first."""
    return [*_intervals(board), *_first(board), *_barred(board), *_other_primary(board), *_behind(board, controls),
            *_differ(board.groups), *_missing(board), *_machines(board), *_of_runs(board.runs),
            *_same_images(board), *_warnings(board)]


def _intervals(board: Board) -> list[str]:
    subjects = board.test_subjects()
    whose = f"the same {counted(subjects, 'test patient')}" if subjects and subjects > 1 else "the same test patients"
    said = [f"Intervals over seeds say what other seeds would give on {whose}; those over patients what other patients "
            "would, with the same seeds. Neither covers both: every group is tested on the same patients."]
    if len(board.groups) > 1 and min(len(g.runs) for g in board.groups) < CLAIM_SEEDS:
        said.append(f"Who is ahead is claimed only with at least {CLAIM_SEEDS} seeds a side.")
    return said


def _first(board: Board) -> list[str]:
    ranked = [g for g in board.groups if not g.barred]
    if len(ranked) < 2:
        return []
    return [f"Winner's curse: the first is the best of {len(ranked)} by its mean, so its own figure is on average "
            "better than it deserves. Train it with fresh seeds for one that is not."]


def _barred(board: Board) -> list[str]:
    said = [f"{g.name} is not ranked: it {g.barred}." for g in board.groups if g.barred]
    unknown = [g.name for g in board.groups if any(m.words.get(COPIES) == "-" for m in g.runs)]
    if unknown:
        said.append(f"Not every run was searched for copies: {'; '.join(unknown)}. Evaluate them again to know.")
    if board.groups[-1].barred and all(g.barred for g in board.groups):
        said.append("No group can rank first, so there are no comparisons.")
    return said


def _other_primary(board: Board) -> list[str]:
    """Where the two outcomes that are named beforehand disagree about the first."""
    ranked = [g for g in board.groups if not g.barred]
    if len(ranked) < 2:
        return []
    said = []
    for key in board.named_beforehand():
        best = min(ranked, key=lambda g: g.figures[key].mean)
        if best is not ranked[0]:
            head = next(c.head for c in board.columns if c.key == key)
            said.append(f"The primary outcomes disagree: by {head} the first would be {best.name}.")
    return said


def _behind(board: Board, controls: Mapping[str, Mapping[str, Figure]]) -> list[str]:
    """Groups whose mean is no better than a control's."""
    key, said = board.primary.key, []
    for name, figures in controls.items():
        lost = [g.name for g in board.groups if key in figures and g.figures[key].mean >= figures[key].value]
        if lost:
            said.append(f"NOT ahead of the control “{name}” by {shown_name(board.primary, board.metric)}: "
                        f"{'; '.join(lost)}.")
    return said


def _differ(groups: Sequence[Group]) -> list[str]:
    keys = [key for key in groups[0].differs if key != "name"]
    if not keys:
        return []
    more = f" and {len(keys) - MOST_NAMED} more (--json has all)" if len(keys) > MOST_NAMED else ""
    return [f"The groups differ in {', '.join(keys[:MOST_NAMED])}{more}."]


def _missing(board: Board) -> list[str]:
    said = []
    for group in board.groups:
        heads = [c.head for c in board.known if c.key not in group.figures]
        if heads:
            said.append(f"{group.name}: not every run has {', '.join(heads)}; evaluate them again to see it.")
    return said


def _machines(board: Board) -> list[str]:
    found = sorted({run.environment("device") for run in board.runs} - {""})
    said = [f"Trained on different machines ({'; '.join(found)}), so times do not compare."] if len(found) > 1 else []
    for group in board.groups:
        used = sorted({m.run.environment("precision") for m in group.runs} - {""})
        if len(used) > 1:
            said.append(f"{group.name}: some runs were trained in {' and some in '.join(used)}.")
    return said


def _of_runs(runs: Sequence[Evaluated]) -> list[str]:
    said = []
    for run in runs:
        made, state = run.generator_step(), run.run.status()["state"]
        if None not in (made, run.metrics.step) and made != run.metrics.step:
            said.append(f"{run.name}: metrics.json is of step {run.metrics.step:,}, its generator of step {made:,}: "
                        f"run `ganatomy evaluate {run.name}` again.")
        if state not in ("finished", "new"):
            said.append(f"{run.name}: its training is not finished ({state} at step {run.steps}).")
        said += [f"{run.name}: {text}" for text in run.metrics.warnings if text == OTHER_DATASET]
    return said


def _same_images(board: Board) -> list[str]:
    """Runs of which one gave the very images of another."""
    by_images: dict[str, list[str]] = {}
    for run in board.runs:
        if run.metrics.synthetic:
            by_images.setdefault(run.metrics.synthetic, []).append(run.name)
    return [f"These runs made the same images: {', '.join(names)}. They are no independent evidence."
            for names in by_images.values() if len(names) > 1]


def _warnings(board: Board) -> list[str]:
    """What `prepare` warned of, and that there are few test subjects; each once."""
    own = dict.fromkeys(text for run in board.runs for text in run.metrics.warnings if text.startswith(OF_DATASET))
    subjects = board.test_subjects()
    return [*own, *(size_warning(subjects) if subjects else [])]


WIDTH = 160
LONGEST_NAME = 44
ONE_SEED = "*"  # behind an interval that is over test patients
Leaderboard = Mapping[str, Any]
Lines = list[list[str]]


def table(found: Mapping[str, Any]) -> str:
    """All tables of `compare` for a terminal, at most 160 columns wide: wide ones go on below."""
    return "\n\n".join("\n".join(_text(one)) for one in found["tables"])


def write_table(found: Mapping[str, Any], path: Path) -> None:
    """Write the tables as CSV or Markdown, by the file's ending. Raises `UserError` as `check_ending` does."""
    check_ending(path)
    write_text(path, _csv(found) if path.suffix.lower() == ".csv" else _markdown(found))


def check_ending(path: Path) -> None:
    """Raise `UserError` unless the file's name ends in .csv or .md."""
    if path.suffix.lower() not in (".csv", ".md"):
        raise UserError("is neither a .csv nor a .md file", where=path, fix="name one of these with --out")


def _text(one: Leaderboard) -> list[str]:
    tables = [Table(heads, rows).text() for heads, *rows in _wrapped(_cells(one))]
    text = [_title(one), *(line for block in tables for line in ["", *block.split("\n")]), "", *_legend(one)]
    if one["differences"]:
        text += ["", f"By {_primary(one)}, over seeds:"]
        text += [line for d in one["differences"] for line in _folded(f"  {d['sentence']}")]
    return [printable(line) for line in [*text, "", *(line for n in one["notes"] for line in _folded(f"note: {n}"))]]


def _folded(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def _title(one: Leaderboard) -> str:
    way = " to ".join(one["direction"]) if one["direction"] else one["domain"]
    whose = f" of {counted(one['test_subjects'], 'patient')}" if one["test_subjects"] else ""
    parts = [one["kind"], way, f"class {one['class']}" if one["class"] != "(all)" else "", f"{one['size']} px",
             f"features {one['extractor']}" if one["extractor"] else "",
             f"{one['test_images']} test images{whose}" if one["test_images"] else "",
             f"{one['synthetic_images']} synthetic" if one["synthetic_images"] else ""]
    return ", ".join(part for part in parts if part)


def _primary(one: Leaderboard) -> str:
    return next((str(c["head"]) for c in one["columns"] if c["name"] == one["primary"]), str(one["primary"]))


def _legend(one: Leaderboard) -> list[str]:
    named = [c["head"] for c in one["columns"] if c["primary"]]
    lines = [f"Mean over seeds (95% interval over seeds). Primary: {' and '.join(named)}; ranked by "
             f"{_primary(one)}.", f"Better: {'; '.join(_better(one))}."]
    if ONE_SEED in "".join(cell for line in _cells(one) for cell in line):
        lines.append(f"{ONE_SEED} interval over test patients: there is none over seeds of one seed, of seeds that are "
                     "all alike, of real images and of controls.")
    return lines


def _better(one: Leaderboard) -> list[str]:
    """Which way each figure should go: "lower KD-Lite0 x 1000, FD-Lite0; higher precision"."""
    ways = {"lower": "lower", "higher": "higher", "match": "near real against real in"}
    found = {way: [c["head"] for c in one["columns"] if c["better"] == way] for way in ways}
    return [f"{ways[way]} {', '.join(heads)}" for way, heads in found.items() if heads]


def _cells(one: Leaderboard) -> Lines:
    """The whole table: heads, groups, real against real, controls."""
    columns, words = one["columns"], _said(one)
    key = next(c["key"] for c in columns if c["name"] == one["primary"])
    heads = ["rank", "group", "seeds", "steps", "time"]
    for c in columns:
        heads += [c["head"], "over patients"] if c["key"] == key else [c["head"]]
    lines = [[*heads, *words]]
    for g in one["groups"]:
        cells = [str(g["rank"] or "-"), g["name"], str(len(g["seeds"])), _count(g["mean_steps"]), _time(g)]
        for c in columns:
            summary = g["figures"].get(c["key"])
            cells.append(_summary(summary, c["factor"]))
            if c["key"] == key:
                cells.append(_interval(summary["over_subjects"], c["factor"]) or "-")
        lines.append([*cells, *(g["words"][word] for word in words)])
    for name, figures in [("real against real", one["reference"]), *one["controls"].items()]:
        if figures:
            lines.append(["", name, "", "", "", *_beside(figures, columns, key), *([""] * len(words))])
    return lines


def _said(one: Leaderboard) -> list[str]:
    """The columns of words that say anything."""
    return [word for word in one["groups"][0]["words"] if any(g["words"][word] != "-" for g in one["groups"])]


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _time(group: Leaderboard) -> str:
    return "-" if group["mean_seconds"] is None else duration(group["mean_seconds"])


def _summary(summary: Leaderboard | None, k: float) -> str:
    if summary is None:
        return "-"
    mark = ONE_SEED if summary["interval_over"] == "subjects" else ""
    return _figure(summary["mean"], summary["interval"], k, mark)


def _figure(value: float, interval: Sequence[float] | None, k: float, mark: str) -> str:
    spread = _interval(interval, k)
    return f"{number(k * value)}" + (f" ({spread}){mark}" if spread else "")


def _interval(interval: Sequence[float] | None, k: float) -> str:
    return f"{number(k * interval[0])} to {number(k * interval[1])}" if interval else ""


def _beside(figures: Mapping[str, Any], columns: Sequence[Leaderboard], key: str) -> list[str]:
    """The cells of real against real, or of a control."""
    cells = []
    for c in columns:
        f = figures.get(c["key"])
        if c["key"] == key:
            cells += [f"{number(c['factor'] * f['value'])}", _interval(f["interval"], c["factor"])] if f else ["", ""]
        else:
            cells.append(_figure(f["value"], f["interval"], c["factor"], ONE_SEED) if f else "")
    return cells


def _wrapped(lines: Lines) -> list[Lines]:
    """Columns as far as the width goes; the rest below, with rank and group again. Long names are cut."""
    lines = [[line[0], _cut(line[1]), *line[2:]] for line in lines]
    widths = [max(len(line[i]) for line in lines) + 2 for i in range(len(lines[0]))]
    blocks, taken, room = list[list[int]](), list[int](), WIDTH - sum(widths[:2])
    for i in range(2, len(widths)):
        if taken and sum(widths[j] for j in taken) + widths[i] - 2 > room:
            blocks.append(taken)
            taken = []
        taken.append(i)
    return [[[*line[:2], *(line[i] for i in own)] for line in lines] for own in (*blocks, taken)]


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME - 1] + "…"


def _markdown(found: Mapping[str, Any]) -> str:
    """Every table with its legend, differences and notes."""
    parts = []
    for one in found["tables"]:
        heads, *rows = [[printable(cell).replace("|", "\\|") for cell in line] for line in _cells(one)]
        rule = ["---"] * len(heads)
        grid = "\n".join(f"| {' | '.join(line)} |" for line in (heads, rule, *rows))
        said = [f"- {d['sentence']}" for d in one["differences"]] + [f"- Note: {note}" for note in one["notes"]]
        parts.append("\n\n".join([f"## {_title(one)}", grid, " ".join(_legend(one)), "\n".join(map(printable, said))]))
    return "\n\n".join(parts) + "\n"


def _csv(found: Mapping[str, Any]) -> str:
    """A row a group, of all tables; figures unscaled, with the ends of their intervals."""
    rows = [_row(one, group) for one in found["tables"] for group in one["groups"]]
    handle = io.StringIO()
    writer = csv.DictWriter(handle, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return handle.getvalue()


def _row(one: Leaderboard, group: Leaderboard) -> dict[str, Any]:
    row: dict[str, Any] = {"kind": one["kind"], "direction": " to ".join(one["direction"] or ()), "rank": group["rank"],
           "group": _harmless(group["name"]), "seeds": len(group["seeds"]), "steps": group["mean_steps"],
           "seconds": group["mean_seconds"]}
    for column in one["columns"]:
        summary, key = group["figures"].get(column["key"]), column["key"]
        if summary:
            low, high = summary["interval"] or (None, None)
            row |= {key: summary["mean"], f"{key}_low": low, f"{key}_high": high,
                    f"{key}_interval_over": summary["interval_over"]}
            if column["name"] == one["primary"]:
                low, high = summary["over_subjects"] or (None, None)
                row |= {f"{key}_subjects_low": low, f"{key}_subjects_high": high}
    return {**row, **group["words"]}


def _harmless(name: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return f"'{name}" if name[:1] in "=+-@" else printable(name)
