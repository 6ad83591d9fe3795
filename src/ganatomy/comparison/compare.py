"""compare: a leaderboard over runs, seeds and kinds of model, with intervals and no more claims than seeds allow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from ganatomy.comparison.groups import Board, Group, differences, groups_of
from ganatomy.comparison.runs import (
    TRANSLATION_COLUMNS,
    Evaluated,
    Figure,
    Measured,
    Primary,
    Say,
    facts,
    measured,
    measured_direction,
    noise_columns,
    read_runs,
    refuse_incomparable,
    shown_name,
    typical,
)
from ganatomy.comparison.table import notes
from ganatomy.core.errors import UserError
from ganatomy.metrics.registry import factor
from ganatomy.metrics.schema import Direction, TranslationMetrics, finite

SCHEMA_VERSION = 1


def compare(runs: Sequence[str | Path], *, primary: Primary = "kd", say: Say = lambda text: None) -> dict[str, Any]:
    """Rank evaluated runs by their mean over seeds, and say who is ahead of whom.

    Runs of one recipe that differ in nothing but the seed are one group. Runs from noise and runs that translate are
    ranked in separate tables, translations one table a direction.

    Args:
        runs: run folders, each with its metrics.json.
        primary: by what to rank, named beforehand: the kernel distance, the critic's Jensen-Shannon divergence, or the
            Frechet distance, all against test; less is better. Translations are always ranked by the kernel distance.
        say: called with lines for the user.

    Returns:
        {"schema_version", "primary", "tables"}; docs/compare.md has the keys of a table. Figures are unscaled, as in
        metrics.json.

    Raises:
        UserError: no run folder, a run that was not evaluated, runs that cannot be compared, two runs of one recipe
            and seed, or no figure of the primary outcome.

    Example:
        >>> board = ganatomy.compare(["run"])
        >>> board["tables"][0]["primary"]
        'KD-Lite0'
    """
    if primary not in get_args(Primary):
        raise UserError(f"there is no primary outcome {primary!r}", where="--primary",
                        fix=f"choose from {', '.join(get_args(Primary))}")
    found = read_runs(runs, say)
    translating = [run for run in found if isinstance(run.metrics, TranslationMetrics)]
    from_noise = [run for run in found if run not in translating]
    boards = [_board(from_noise, [measured(run) for run in from_noise], primary)] if from_noise else []
    if translating:
        boards += _translations(translating)
        if primary != "kd":
            say(f"translations have no {primary} to be ranked by: ranked by the kernel distance")
    return {"schema_version": SCHEMA_VERSION, "primary": primary, "tables": [finite(_table(b)) for b in boards]}


def _translations(runs: list[Evaluated]) -> list[Board]:
    """A table for each direction that all of them were measured in."""
    refuse_incomparable(runs)
    directions = [{(d.source, d.target): d for d in getattr(run.metrics, "directions", ())} for run in runs]
    shared = [way for way in directions[0] if all(way in found for found in directions)]
    if not shared:
        ways = [" and ".join(f"{source} to {target}" for source, target in found) or "nothing" for found in directions]
        other = next(i for i, found in enumerate(directions) if not found.keys() & directions[0].keys() or not found)
        raise UserError(f"cannot be compared with {runs[0].name}: it translates {ways[other]}, that one {ways[0]}",
                        where=runs[other].name, fix="compare runs of one direction in one call")
    boards = []
    for way in shared:
        own = [found[way] for found in directions]
        _refuse_other_slices(runs, own)
        figures = [measured_direction(run, d) for run, d in zip(runs, own, strict=True)]
        boards.append(_board(runs, figures, "kd", own[0]))
    return boards


def _refuse_other_slices(runs: list[Evaluated], directions: list[Direction]) -> None:
    first = directions[0]
    for run, own in zip(runs, directions, strict=True):
        if (own.n_images, own.n_subjects) != (first.n_images, first.n_subjects):
            raise UserError(f"cannot be compared with {runs[0].name}: it was measured on {own.n_images} test slices of "
                            f"{own.n_subjects} subjects, that one on {first.n_images} of {first.n_subjects}",
                            where=run.name, fix="evaluate both again with the same -n")


def _board(runs: list[Evaluated], figures: list[Measured], primary: Primary,
           direction: Direction | None = None) -> Board:
    if direction is None:
        refuse_incomparable(runs)
    columns = TRANSLATION_COLUMNS if direction else noise_columns()
    by = next(c for c in columns if c.key == primary)
    lacking = [m.run.name for m in figures if primary not in m.figures]
    if lacking:
        more = " --critic" if primary == "critic" else ""
        raise UserError(f"{', '.join(lacking)}: metrics.json has no {by.head} against test, by which to rank",
                        where="--primary", fix="; ".join(f"ganatomy evaluate {name}{more}" for name in lacking))
    groups = sorted(groups_of(figures, columns), key=lambda g: (bool(g.barred), g.figures[primary].mean))
    known = [c for c in columns if any(c.key in m.figures for m in figures)]
    return Board(runs[0].metrics.kind, direction, runs, groups, known, by)


def _table(board: Board) -> dict[str, Any]:
    ranked = [group for group in board.groups if not group.barred]
    found = differences([g.side(board.primary.key) for g in board.groups], factor(board.metric)) if ranked else []
    controls, references = _controls(board.measured), _references(board.measured)
    known = facts(board.runs[0])
    task = {"dataset": board.runs[0].metrics.dataset, "domain": known.get("domain"), "class": known["class"],
            "size": known["size"], "extractor": known["extractor"],
            "direction": [board.direction.source, board.direction.target] if board.direction else None,
            "test_images": board.direction.n_images if board.direction else known["number of test images"],
            "test_subjects": board.test_subjects(), "synthetic_images": known.get("number of synthetic images")}
    names = {key: name for m in board.measured for key, name in m.names.items()}
    return {"kind": board.kind, **task, "primary": board.metric,
            "columns": [{"key": c.key, "name": names[c.key], "head": shown_name(c, names[c.key]), "better": c.better,
                         "factor": factor(names[c.key]) if not c.ratio else 1.0,
                         "primary": c.key in (board.primary.key, *board.named_beforehand())} for c in board.columns],
            "groups": [_group(g, ranked.index(g) + 1 if g in ranked else None) for g in board.groups],
            "reference": {key: vars(f) for key, f in references.items()},
            "controls": {name: {key: vars(f) for key, f in own.items()} for name, own in controls.items()},
            "differences": [d.to_json() for d in found], "notes": notes(board, controls)}


def _group(group: Group, rank: int | None) -> dict[str, Any]:
    cost = group.cost()
    steps, seconds = [m.run.steps for m in group.runs], [m.run.seconds for m in group.runs]
    return {"rank": rank, "name": group.name, "recipe": group.recipe, "differs": dict(group.differs),
            "seeds": group.seeds, "runs": [m.run.name for m in group.runs], "steps": steps, "seconds": seconds,
            "mean_steps": cost["updates"], "mean_seconds": cost["seconds"], "words": group.words(),
            "barred": group.barred or None,
            "figures": {key: {**vars(s), "values": list(s.values.values())} for key, s in group.figures.items()}}


def _controls(runs: Sequence[Measured]) -> dict[str, dict[str, Figure]]:
    """Controls that every run has, each figure the median over the runs."""
    shared = [name for name in runs[0].controls if all(name in m.controls for m in runs)]
    return {name: {key: typical([m.controls[name][key] for m in runs]) for key in runs[0].controls[name]
                   if all(key in m.controls[name] for m in runs)} for name in shared}


def _references(runs: Sequence[Measured]) -> dict[str, Figure]:
    found: dict[str, list[Figure]] = {}
    for run in runs:
        for key, figure in run.references.items():
            found.setdefault(key, []).append(figure)
    return {key: typical(own) for key, own in found.items()}


