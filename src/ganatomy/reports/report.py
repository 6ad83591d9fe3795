"""One self-contained HTML file about a run or a study: what was trained on what, what came out, what is not shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ganatomy import __version__
from ganatomy.core.errors import UserError
from ganatomy.core.files import private_path
from ganatomy.core.origin import Origin, file_hash, stamp
from ganatomy.core.recipe import Recipe
from ganatomy.core.run import RECIPE_FILE, Run
from ganatomy.core.text import Say, command_line, grouped
from ganatomy.reports import (
    audit_sections,
    evaluation_sections,
    image_sections,
    page,
    run_sections,
    slice_sections,
    translation_sections,
)
from ganatomy.reports.blocks import Block, Heading, Page, Terms, Words
from ganatomy.reports.context import Context
from ganatomy.reports.study_sections import study_page
from ganatomy.studies.folder import StudyFolder

Section = Callable[[Context], Iterator[Block]]
AUDITS = {"copies": "The audit shows copies of patients among them: treat them like the scans of patients.",
          "suspicious": "The audit shows some of them suspiciously near to training images: treat them like the scans "
                        "of patients.",
          "clean": "The audit shows no sign that they copy training images; that is no proof that none does.",
          "": "Whether any of them resembles a training patient has not been audited."}
CARE = "They must not be used to decide on anyone's care."
NO_DIAGNOSIS = "Synthetic images. Not for diagnosis."
# a section of a report is a function that yields blocks; these are in the order of the page
FROM_NOISE: tuple[Section, ...] = (
    run_sections.trained, image_sections.samples, evaluation_sections.good, audit_sections.copies,
    audit_sections.image_map, audit_sections.artefacts, evaluation_sections.not_shown, run_sections.went,
    slice_sections.letting_go, image_sections.film, run_sections.again,
    lambda context: run_sections.words_and_methods(
        context, [*evaluation_sections.GLOSSARY, evaluation_sections.intervals(context)],
        f"Images were generated {_made_with(context)}. {evaluation_sections.methods(context)}"))
TRANSLATION: tuple[Section, ...] = (
    translation_sections.verdict, run_sections.trained, slice_sections.test_slices, translation_sections.values,
    translation_sections.not_shown, run_sections.went, slice_sections.learning, run_sections.again,
    lambda context: run_sections.words_and_methods(
        context, translation_sections.GLOSSARY, f"{context.recipe.source} images were translated to "
        f"{context.recipe.domain} {_made_with(context)}. {translation_sections.methods(context)}"))


def report(run: str | Path, *, data: str | Path | None = None, shareable: bool = False,
           out: Path | None = None, say: Say = lambda text: None) -> Path:
    """Write the report of a run or a study: one HTML file that holds everything it shows and loads nothing.

    Args:
        run: the run folder, or that of a finished study.
        data: a run's dataset folder, where that has moved; a study's report needs none.
        shareable: leave out every block that shows patients, and say so. Otherwise the report shows some and says so on
            top.
        out: the file to write; RUN/report.html if None.
        say: called with progress messages.

    Returns:
        the path of the file.

    Raises:
        UserError: no such run, a broken file in it, an unfinished study, or `data` is not the dataset that it was
            trained on.

    Example:
        >>> ganatomy.report("run", shareable=True).name
        'report.html'
    """
    if StudyFolder(run).exists():
        if data is not None:
            raise UserError("the report of a study needs no dataset", where="--data", fix="leave it out")
        folder = StudyFolder.open(run)
        target = page.target_of(out, folder.report_file)
        origin = _origin(folder.path, target, [], shareable)
        if not page.is_done(target, folder.report_file, origin, say):
            page.write_page(study_page(folder, say), target, [folder.path], origin, shareable=shareable, say=say)
        return target
    opened = Run.open(run)
    target = page.target_of(out, opened.report_file)
    context = Context.of(opened, data, say)
    places = [opened.path, *([context.dataset.path] if context.dataset is not None else [])]
    origin = _origin(opened.path, target, [place / "dataset.json" for place in places[1:]], shareable)
    if not page.is_done(target, opened.report_file, origin, say):
        page.write_page(_run_page(context), target, places, origin, shareable=shareable, say=say)
    return target


def _origin(folder: Path, target: Path, inputs: Sequence[Path], shareable: bool) -> Origin:
    """What a report of the folder comes from: all that is in it or in its private folder, other reports left out."""
    which = next(file_hash(path) for path in (folder / "study.json", folder / RECIPE_FILE) if path.is_file())[:12]
    command = command_line("report", "RUN", shareable=shareable)
    pages = [target, *folder.glob("*.htm*")]
    return Origin.of(f"{command} of {which}", [stamp([folder, private_path(folder)], without=pages),
                                               *map(file_hash, inputs)])


def _run_page(context: Context) -> Page:
    """The report of a run as blocks."""
    translates = context.gan.translates
    opening, sections = (_translation_opening, TRANSLATION) if translates else (_opening, FROM_NOISE)
    key = [*run_sections.notices(context), Terms(_key(context), "key")]
    return Page(context.recipe.name, f"training {run_sections.state(context)}", [*opening(context)], key,
                [block for section in sections for block in section(context)])


def _key(context: Context) -> list[tuple[str, str]]:
    """The large figures at the top."""
    train = context.splits.get("train")
    time = [("Time", context.time)] if context.time else []
    if context.gan.translates:
        learnt = []
        if train and context.known and train.subjects is not None:
            learnt.append(("Training subjects", f"{train.subjects:,} ({grouped(train.images, 'slice')} of "
                                                f"{context.recipe.domain})"))
        elif train:
            learnt.append((f"Training slices of {context.recipe.domain}", f"{train.images:,}"))
        return [*translation_sections.tiles(context), *learnt, *time]
    rows = evaluation_sections.tile(context.metrics) if context.metrics else []
    if train:
        rows.append(("Training images", f"{train.images:,}"))
        if not context.known or train.subjects is not None:
            rows.append(("Training subjects", f"{train.subjects:,}" if context.known else "unknown"))
    return [*rows, ("Steps", f"{context.steps:,}"), *time]


def _opening(context: Context) -> Iterator[Block]:
    recipe, domain = context.recipe, context.domain
    of = f" of the class {recipe.label}" if recipe.label else ""
    on = f" on {context.counted('train')}" if "train" in context.splits else ""
    start = f", starting from a translation of {recipe.source} whose input gave way to noise" if recipe.source else ""
    unmeasured = "" if context.metrics else " How good the images are has not been measured yet."
    yield Heading(_title(recipe) + (f", {domain}" if domain else ""), level=1)
    yield Words(f"A GAN ({recipe.gan}) was trained to draw {recipe.size} × {recipe.size} pixel "
                f"{domain}{' ' if domain else ''}images{of}{on}{start}, {run_sections.duration_words(context)}."
                f"{unmeasured}", style="lede")
    yield evaluation_sections.lights(context.metrics)
    yield Words(f"The generated images were drawn by a model. {CARE} {AUDITS[context.audit]}", lead=NO_DIAGNOSIS,
                style="warn")


def _translation_opening(context: Context) -> Iterator[Block]:
    recipe, gan = context.recipe, context.gan
    what = f"A GAN ({recipe.gan})" if gan.adversarial else f"A network without a discriminator ({recipe.gan}, no GAN)"
    back, of = " and back" if gan.two_way else "", f" (class {recipe.label})" if recipe.label else ""
    learned = translation_sections.learned_from(context)
    verdicts = translation_sections.ledes(context)
    unmeasured = "" if verdicts else " How good the translations are has not been measured yet."
    yield Heading(f"{_title(recipe)}, {recipe.source} to {recipe.domain}", level=1)
    yield Words(f"{what} was trained to turn {recipe.size} × {recipe.size} pixel slices of {recipe.source} into "
                f"{recipe.domain}{back}{of}{f' on {learned}' if learned else ''}, "
                f"{run_sections.duration_words(context)}.{unmeasured}", style="lede")
    for text in verdicts:
        yield Words(lead=text, style="lede")
    yield Words("The translated images were computed by a model, which can remove lesions and invent others. " + CARE,
                lead=NO_DIAGNOSIS, style="warn")


def _title(recipe: Recipe) -> str:
    return ": ".join(filter(None, (recipe.name, recipe.label)))


def _made_with(context: Context) -> str:
    """Recipe, size, steps and data, for a methods section."""
    recipe = context.recipe
    data = translation_sections.learned_from(context) if context.gan.translates else context.counted("train")
    return (f"with Ganatomy {__version__} (recipe {recipe.name}, {recipe.size} × {recipe.size} pixels, "
            f"{context.steps:,} steps, batch size {recipe.batch_size}, seed "
            f"{recipe.seed}){f' trained on {data}' if data else ''}")
