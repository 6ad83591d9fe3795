"""compare: a leaderboard over runs, seeds and kinds of model, with intervals and no more claims than seeds allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ganatomy.comparison.groups import CLAIM_SEEDS, NONE, Difference, Group, differences, groups_of
from ganatomy.comparison.runs import (
    COPIES,
    TRANSLATION_COLUMNS,
    Estimate,
    Evaluated,
    Primary,
    head,
    noise_columns,
    read_runs,
    refuse_incomparable,
    task_of,
    typical,
    with_direction,
    with_values,
)
from ganatomy.core.errors import UserError
from ganatomy.core.text import Say, counted, duration, estimate
from ganatomy.metrics import factor
from ganatomy.metrics.base import Column
from ganatomy.metrics.schema import OF_DATASET, Direction, TranslationMetrics, finite
from ganatomy.statistics.subjects import size_warning

SCHEMA_VERSION = 1
UNEQUAL = 0.1  # of the larger: by more than this, updates or times are not equal


def compare(runs: str | Path | Sequence[str | Path], *, primary: Primary = "kd",
            say: Say = lambda text: None) -> dict[str, Any]:
    """Rank evaluated runs by their mean over seeds, and say who is ahead of whom.

    Runs of one recipe that differ in nothing but the seed are one group. Runs from noise and runs that translate are
    ranked in separate tables, translations one table a direction.

    Args:
        runs: run folders (or one), each with its metrics.json.
        primary: by what to rank, named beforehand: the kernel distance, the critic's Jensen-Shannon divergence, or the
            Frechet distance, all against test; less is better. Translations are always ranked by the kernel distance.
        say: called with lines for the user.

    Returns:
        {"schema_version", "primary", "tables"}; docs/compare.md has the keys of a table. Values are unscaled, as in
        metrics.json.

    Raises:
        UserError: no run folder, a run that was not evaluated, runs that cannot be compared, two runs of one recipe
            and seed, or no value of the primary outcome.

    Example:
        >>> board = ganatomy.compare(["run"])
        >>> board["tables"][0]["primary"]
        'KD-Lite0'
    """
    if primary not in get_args(Primary):
        raise UserError(f"there is no primary outcome {primary!r}", where="--primary",
                        fix=f"choose from {', '.join(get_args(Primary))}")
    evaluated = read_runs(runs, say)
    translating = [run for run in evaluated if isinstance(run.metrics, TranslationMetrics)]
    from_noise = [run for run in evaluated if run not in translating]
    refuse_incomparable(from_noise)
    refuse_incomparable(translating)
    boards = [_board([with_values(run) for run in from_noise], noise_columns(), primary)] if from_noise else []
    boards += _translations(translating) if translating else []
    if translating and primary != "kd":
        say(f"translations have no {primary} to be ranked by: ranked by the kernel distance")
    return {"schema_version": SCHEMA_VERSION, "primary": primary, "tables": [finite(_table(b)) for b in boards]}


@dataclass(frozen=True)
class Board:
    """What one table shows: groups in their order, those that cannot rank first behind the others, and the columns that
    any run has.
    """

    groups: Sequence[Group]
    known: Sequence[Column]
    primary: Column
    direction: Direction | None

    @property
    def runs(self) -> list[Evaluated]:
        return [run for group in self.groups for run in group.runs]

    @property
    def ranked(self) -> list[Group]:
        return [group for group in self.groups if not group.barred]

    @property
    def columns(self) -> list[Column]:
        """Those that a group has: all of its runs have the value."""
        return [c for c in self.known if any(c.key in group.summaries for group in self.groups)]

    @property
    def named_beforehand(self) -> list[Column]:
        """The primary outcomes: what ranks, the kernel distance, and the critic, as far as all runs have them."""
        return [c for c in self.columns if c.key in (self.primary.key, "kd", "critic")
                and all(c.key in run.values for run in self.runs)]

    @property
    def test_subjects(self) -> int | None:
        """How many subjects were tested on; None where metrics.json does not say."""
        test = self.direction or self.runs[0].metrics.test
        return test.n_subjects if isinstance(test, Direction) else test.subjects if test else None

    def name(self, column: Column) -> str:
        """Of a column, in metrics.json."""
        return next(run.values[column.key].name for run in self.runs if column.key in run.values)


def _translations(runs: list[Evaluated]) -> list[Board]:
    """A table for each direction that all of them were measured in."""
    directions = [{(d.source, d.target): d for d in getattr(run.metrics, "directions", ())} for run in runs]
    shared = [way for way in directions[0] if all(way in own for own in directions)]
    if not shared:
        other = next(i for i, own in enumerate(directions) if not own.keys() & directions[0].keys())
        ways = [" and ".join(f"{source} to {target}" for source, target in own) or "nothing" for own in directions]
        raise UserError(f"cannot be compared with {runs[0].name}: it translates {ways[other]}, that one {ways[0]}",
                        where=runs[other].name, fix="compare runs of one direction in one call")
    for way, first in directions[0].items():
        for run, own in zip(runs, directions, strict=True):
            if way in shared and (own[way].n_images, own[way].n_subjects) != (first.n_images, first.n_subjects):
                raise UserError(f"cannot be compared with {runs[0].name}: it was measured on {own[way].n_images} test "
                                f"slices of {own[way].n_subjects} subjects, that one on {first.n_images} of "
                                f"{first.n_subjects}", where=run.name, fix="evaluate both again with the same -n")
    return [_board([with_direction(run, own[way]) for run, own in zip(runs, directions, strict=True)],
                   TRANSLATION_COLUMNS, "kd", directions[0][way]) for way in shared]


def _board(runs: list[Evaluated], columns: Sequence[Column], primary: Primary,
           direction: Direction | None = None) -> Board:
    by = next(c for c in columns if c.key == primary)
    lacking = [run.name for run in runs if primary not in run.values]
    if lacking:
        more = " --critic" if primary == "critic" else ""
        raise UserError(f"{', '.join(lacking)}: metrics.json has no {by.head} against test, by which to rank",
                        where="--primary", fix="; ".join(f"ganatomy evaluate {name}{more}" for name in lacking))
    groups = sorted(groups_of(runs, columns), key=lambda g: (bool(g.barred), g.summaries[primary].mean))
    return Board(groups, [c for c in columns if any(c.key in run.values for run in runs)], by, direction)


def _table(board: Board) -> dict[str, Any]:
    first, direction, metric = board.runs[0], board.direction, board.name(board.primary)
    task, names = task_of(first), {c: board.name(c) for c in board.columns}
    references = {c.key: [run.references[c.key] for run in board.runs if c.key in run.references] for c in board.known}
    controls = _controls(board.runs)
    pairs = differences([g.summaries[board.primary.key].values for g in board.groups]) if board.ranked else []
    return {"kind": first.metrics.kind, "dataset": first.metrics.dataset, "domain": task.get("domain"),
            "class": task["class"], "size": task["size"], "extractor": task["extractor"],
            "direction": [direction.source, direction.target] if direction else None,
            "test_images": direction.n_images if direction else task["number of test images"],
            "test_subjects": board.test_subjects, "synthetic_images": task.get("number of synthetic images"),
            "primary": metric,
            "columns": [{"key": c.key, "name": name, "head": head(c, name), "better": c.better,
                         "factor": 1.0 if c.ratio else factor(name),
                         "primary": c in (board.primary, *board.named_beforehand)} for c, name in names.items()],
            "groups": [_group(group, board.ranked) for group in board.groups],
            "reference": {key: typical(own).to_json() for key, own in references.items() if own},
            "controls": {name: {key: one.to_json() for key, one in own.items()} for name, own in controls.items()},
            "differences": [_difference(one, board.groups[0], other, factor(metric))
                            for one, other in zip(pairs, board.groups[1:], strict=False)],
            "notes": [*_notes_on_groups(board, controls), *_notes_on_runs(board)]}


def _group(group: Group, ranked: Sequence[Group]) -> dict[str, Any]:
    runs = group.runs
    return {"rank": ranked.index(group) + 1 if group in ranked else None, "name": group.name,
            "recipe": runs[0].recipe.name, "differs": dict(group.differs), "seeds": [run.recipe.seed for run in runs],
            "runs": [run.name for run in runs], "steps": [run.steps for run in runs],
            "seconds": [run.seconds for run in runs], "mean_steps": group.steps, "mean_seconds": group.seconds,
            "words": group.words, "barred": group.barred or None,
            "figures": {key: summary.to_json() for key, summary in group.summaries.items()}}


def _controls(runs: Sequence[Evaluated]) -> dict[str, dict[str, Estimate]]:
    """Controls that every run has, each value the median over the runs."""
    shared = [name for name in runs[0].controls if all(name in run.controls for run in runs)]
    return {name: {key: typical([run.controls[name][key] for run in runs]) for key in runs[0].controls[name]
                   if all(key in run.controls[name] for run in runs)} for name in shared}


def _difference(d: Difference, best: Group, other: Group, k: float) -> dict[str, Any]:
    """The best group against another one, with a sentence in which values are multiplied by `k`."""
    unequal = " and ".join(
        f"{shown(a)} against {shown(b)}" for a, b, shown in ((best.steps, other.steps, lambda n: f"{n:,.0f} updates"),
                                                             (best.seconds, other.seconds, duration))
        if a and b and abs(a - b) > UNEQUAL * max(a, b))
    return {"best": best.name, "other": other.name, **vars(d), "unequal": unequal,
            "sentence": _sentence(d, best, other, unequal, k)}


def _sentence(d: Difference, best: Group, other: Group, unequal: str, k: float) -> str:
    first, second, sign = (best, other, k) if d.ahead_by >= 0 else (other, best, -k)
    interval = sorted(sign * end for end in d.interval) if d.interval else None
    p = "" if d.p_holm is None else f"Holm's p = {d.p_holm:.2g}"
    by = estimate(sign * d.ahead_by, interval, more="; ".join(part for part in (p, d.method) if part not in ("", NONE)))
    few = f" ({' and '.join(dict.fromkeys(counted(n, 'seed') for n in d.seeds))}, {CLAIM_SEEDS} a side are needed)" \
        if min(d.seeds) < CLAIM_SEEDS else ""
    verdict = "" if d.claim else "No interval over seeds" if d.p_holm is None else "Not told apart"
    text = f"{verdict}{few}: on average {first.name}" if verdict else first.name
    cost = f" Not at equal cost: {unequal}." if unequal else ""
    barred = f" {other.name} {other.barred}." if other.barred else ""
    return f"{text} is ahead of {second.name} by {by}.{cost}{barred}"


def _notes_on_groups(board: Board, controls: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    """Sentences about a table, the most important first."""
    key, subjects, ranked = board.primary.key, board.test_subjects, board.ranked
    whose = counted(subjects, "test patient") if subjects else "test patients"
    notes = [f"Intervals over seeds say what other seeds would give on the same {whose}; those over patients what "
             "other patients would, with the same seeds. Neither covers both."]
    if len(ranked) > 1:
        notes.append(f"Winner's curse: the first is the best of {len(ranked)} by its mean, so its own value flatters.")
    notes += [f"{group.name} is not ranked: it {group.barred}." for group in board.groups if group.barred]
    unknown = [group.name for group in board.groups if any(run.words.get(COPIES) == "-" for run in group.runs)]
    if unknown:
        notes.append(f"Not every run was searched for copies: {'; '.join(unknown)}. Evaluate them again to know.")
    if not ranked:
        notes.append("No group can rank first, so there are no comparisons.")
    for column in board.named_beforehand if len(ranked) > 1 else ():
        best = min(ranked, key=lambda group: group.summaries[column.key].mean)
        if best is not ranked[0]:
            notes.append(f"The primary outcomes disagree: by {column.head} the first would be {best.name}.")
    for name, values in controls.items():
        behind = [g.name for g in board.groups if key in values and g.summaries[key].mean >= values[key].value]
        if behind:
            notes.append(f"NOT ahead of the control “{name}” by {head(board.primary, board.name(board.primary))}: "
                         f"{'; '.join(behind)}.")
    missing = {g.name: [c.head for c in board.known if c.key not in g.summaries] for g in board.groups}
    return notes + [f"{name}: not every run has {', '.join(heads)}; evaluate them again to see it."
                    for name, heads in missing.items() if heads]


def _notes_on_runs(board: Board) -> list[str]:
    """Runs that are not what they seem, and what was warned of when they were evaluated; each once."""
    notes, runs = [], board.runs
    devices = sorted({run.device for run in runs} - {""})
    if len(devices) > 1:
        notes.append(f"Trained on different machines ({'; '.join(devices)}), so times do not compare.")
    by_images: dict[str, list[str]] = {}
    for run in runs:
        by_images.setdefault(run.metrics.synthetic or run.name, []).append(run.name)
        step, measured, state = run.generator_step, run.metrics.step, run.run.status()["state"]
        if None not in (step, measured) and step != measured:
            notes.append(f"{run.name}: metrics.json is of step {measured:,}, its generator of step {step:,}: run "
                         f"`ganatomy evaluate {run.name}` again.")
        if state not in ("finished", "new"):
            notes.append(f"{run.name}: its training is not finished ({state} at step {run.steps}).")
        if "" not in (run.measured_on, run.learnt_from) and run.measured_on != run.learnt_from:
            notes.append(f"{run.name}: it was measured on another dataset than it was trained on.")
    notes += [f"The images of these runs are the same: {', '.join(names)}. They are no independent evidence."
              for names in by_images.values() if len(names) > 1]
    notes += [text for run in runs for text in run.metrics.warnings if text.startswith(OF_DATASET)]
    return list(dict.fromkeys([*notes, *(size_warning(board.test_subjects) if board.test_subjects else [])]))
