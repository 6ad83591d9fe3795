"""What must be said beside a leaderboard: what its intervals cover, and what in it is not as it should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ganatomy.comparison.differences import CLAIM_SEEDS
from ganatomy.comparison.figures import COPIES, Figure, shown_name
from ganatomy.comparison.groups import Board, Group
from ganatomy.comparison.runs import Evaluated
from ganatomy.core.text import counted
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
