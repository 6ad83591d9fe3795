"""What the report of a run that translates shows beside that of every run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe
from ganatomy.core.run import Run
from ganatomy.core.text import grouped
from ganatomy.data.dataset import Dataset
from ganatomy.metrics.base import MIN_SUBJECTS
from ganatomy.reports import facts, reproduce, translation_tables, translation_words
from ganatomy.reports.images import Picture
from ganatomy.reports.numbers import number, spanned
from ganatomy.reports.translation_film import film
from ganatomy.reports.translation_results import Direction, TranslationMetrics
from ganatomy.reports.translation_sheets import Case, Sheet, cases, error_scale, sheet
from ganatomy.reports.translation_words import Finding

Say = Callable[[str], None]
SHAREABLE = ("Left out: this is the version made for sharing. The translation of a patient's slice shows that "
             "patient's anatomy, so it is left out like the real images.")


@dataclass(frozen=True)
class Part:
    """One direction of the report: words, tables and pictures; those without figures or data are None or empty."""

    title: str
    direction: Direction | None
    findings: list[Finding]
    standing: list[Picture]
    table: translation_tables.Table | None
    by_subject: translation_tables.Table | None
    back: translation_tables.Table | None
    anatomy: list[tuple[str, str, str, str, str, bool]]
    sheet: Sheet | None
    cases: list[Case]


def context(run: Run, recipe: Recipe, dataset: Dataset | None, metrics: TranslationMetrics | None, *,
            shareable: bool, known: bool, stale: bool, say: Say) -> dict[str, Any]:
    """What the template of a translation shows.

    Args:
        known: whether it is known whose each image is.
        stale: the figures are about other weights or data, so that their worst cases are not this model's.
    """
    kind = facts.kind(recipe)
    parts = [_numbers(direction) for direction in metrics.directions] if metrics else []
    seed = metrics.seed or 0 if metrics else 0
    missing = SHAREABLE
    if not shareable:
        shown, missing = _pictures(run, recipe, dataset, parts, seed, known, stale, say)
        parts = shown
    frames = [] if shareable else film(run, recipe)
    first = metrics.directions[0] if metrics else None
    return {"parts": parts, "no_pictures": missing, "frames": frames, "error_scale": error_scale(),
            "shows_patients": bool(frames) or any(part.sheet for part in parts), "kind": kind,
            "verdict": _verdicts(metrics.directions) if metrics else [],
            "learned_from": learned_from(recipe, dataset, kind.paired, known), "tiles": _tiles(first) if first else [],
            "few": first is not None and first.n_subjects < MIN_SUBJECTS,
            "methods": " ".join(map(translation_words.methods, metrics.directions)) if metrics else "",
            "beside": [(name, reproduce.beside_name(name)) for name in first.beside] if first else [],
            "held_out": held_out(recipe, dataset), "pixel": facts.pixel_size(run, recipe, dataset)}


def learned_from(recipe: Recipe, dataset: Dataset | None, paired: bool, known: bool) -> str:
    """The training images in words: 340 pairs of slices of 4 subjects; "" without the dataset."""
    if dataset is None:
        return ""
    targets, sources = (dataset.rows(name, "train", recipe.label) for name in (recipe.domain, recipe.source))
    subjects = len({row.subject for row in (*targets, *sources)})
    who = f" of {grouped(subjects, 'subject')}" if known else " (patients unknown)"
    if paired:
        return f"{grouped(len(targets), 'pair')} of slices{who}"
    pairs = ", without use of their pairing" if dataset.info.paired else ", which are not paired"
    return f"{len(sources):,} {recipe.source} and {len(targets):,} {recipe.domain} slices{who}{pairs}"


def _numbers(direction: Direction) -> Part:
    return Part(f"{direction.source} to {direction.target}", direction, translation_words.findings(direction),
                translation_tables.standing_pictures(direction), translation_tables.main_table(direction),
                translation_tables.subject_table(direction), translation_tables.back_table(direction),
                translation_tables.anatomy_table(direction), None, [])


def _pictures(run: Run, recipe: Recipe, dataset: Dataset | None, parts: list[Part], seed: int, known: bool,
              stale: bool, say: Say) -> tuple[list[Part], str]:
    """The parts with their pictures; or, without any, why."""
    if not (run.generator / facts.WEIGHTS).is_file():
        return parts, "There is no finished generator yet to translate test slices with."
    if dataset is None:
        return parts, "The dataset was not at hand when this report was made, so no slices are shown."
    from ganatomy.generators.folder import load_generator

    sampler = load_generator(run.path)
    ways = [(str(recipe.source), str(recipe.domain)), (str(recipe.domain), str(recipe.source))]
    shown = []
    for i, (source, target) in enumerate(ways[:2 if sampler.model.two_way else 1]):
        part = parts[i] if i < len(parts) else _empty(f"{source} to {target}")
        rows = dataset.rows(source, "test", recipe.label)
        if not rows:
            return parts, f"The dataset has no test images of {source}."
        say(f"translating slices from {source} to {target}")
        try:
            sheets = sheet(sampler, dataset, rows, target, seed, i == 1, known)
            worst = cases(sampler, dataset, part.direction, seed, i == 1) if part.direction and not stale else []
        except UserError as error:
            say(f"the report goes without translated slices: {error}")
            return parts, "The dataset's images do not fit the size that the recipe learned."
        shown.append(Part(**(vars(part) | {"sheet": sheets, "cases": worst})))
    return shown, ""


def _empty(title: str) -> Part:
    return Part(title, None, [], [], None, None, None, [], None, [])


def _verdicts(directions: Sequence[Direction]) -> list[str]:
    """The verdict of each direction; of two each names its own."""
    said = [translation_words.lede(direction) for direction in directions]
    names = [f"{direction.source} to {direction.target}: " for direction in directions]
    return [name + text for name, text in zip(names, said, strict=True)] if len(said) > 1 else said


def _tiles(direction: Direction) -> list[tuple[str, str, str]]:
    """The headline figures for the head of the page: what, value, and what stands beside it."""
    found = []
    own = direction.figure("model", "MAE foreground")
    returned = direction.figure("input returned", "MAE foreground")
    if own and own.value is not None:
        beside = f"input returned {number(returned.value)}%" if returned and returned.value is not None else ""
        found.append(("MAE inside the patient", f"{spanned(own.value, own.interval)[0]}%", beside))
    kernel = direction.kernel.translators.get("model")
    if kernel:
        real, beside = direction.kernel.reference, ""
        if real and real.value is not None:
            beside = f"real train vs test {spanned(real.value, real.interval, 1000)[0]}"
        found.append(("KD-Lite0 × 1000, test", spanned(kernel.value, kernel.interval, 1000)[0], beside))
    return [*found, ("Test subjects", f"{direction.n_subjects:,}", f"{direction.n_images:,} slices")]


def held_out(recipe: Recipe, dataset: Dataset | None) -> str:
    """Which images the progress pictures are of."""
    if dataset is None:
        return "images of the validation split, or of training where there is none"
    return "validation images" if dataset.rows(recipe.source, "val", recipe.label) else \
        "training images (there is no validation split)"
