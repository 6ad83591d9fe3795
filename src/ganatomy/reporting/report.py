"""One self-contained HTML file about a run: what was trained on what, what came out, what is not shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import numpy as np

from ganatomy.data.dataset import Dataset
from ganatomy.errors import UserError
from ganatomy.files import write_text
from ganatomy.pictures import to_uint8
from ganatomy.recipe import Recipe
from ganatomy.reporting import facts, figures, images, reproduce, results
from ganatomy.reporting.images import Layout, Picture, Tiles
from ganatomy.run import Run, checkpoint_step

Say = Callable[[str], None]
WARN_BYTES = 5_000_000
STATES = {"finished": "finished", "running": "still running, or killed", "interrupted": "interrupted",
          "stopped": "stopped", "new": "not started"}


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two grids: its picture, or why there is none."""

    title: str
    picture: Picture | None
    caption: str


def report(run: str | Path, *, data: str | Path | None = None, shareable: bool = False,
           out: Path | None = None, say: Say = lambda _: None) -> Path:
    """Write a run's report: one HTML file that holds everything it shows and loads nothing.

    Args:
        run: the run folder.
        data: its dataset folder, where that has moved.
        shareable: leave out every real image. Otherwise the report shows some and says so on top.
        out: the file to write; RUN/report.html if None.
        say: called with progress messages.

    Returns:
        the path of the file.

    Raises:
        UserError: no such run, a broken file in it, or `data` is not the dataset it was trained on.
    """
    opened = Run.open(run)
    target = Path(out) if out is not None else opened.report_file
    if target.suffix not in (".html", ".htm") and not target.is_dir():
        raise UserError("is no name for a report", where=target, fix="let it end in .html")
    if target.is_dir():
        raise UserError("is a folder, not a file", where=target, fix="name an .html file")
    dataset = _dataset(opened, data, say)
    places = [opened.path] if dataset is None else [opened.path, dataset.path]
    page = _render(_context(opened, dataset, shareable, say), places)
    write_text(target, page)
    size = len(page.encode("utf-8"))
    say(f"wrote {target} ({size / 1e6:.1f} MB)" + (", larger than intended" if size > WARN_BYTES else ""))
    return target


def _dataset(run: Run, data: str | Path | None, say: Say) -> Dataset | None:
    """The run's dataset; None, and said, where it is gone or has changed. One named by `data` must fit."""
    try:
        dataset = Dataset.open(data if data is not None else run.dataset_path())
        if dataset.info.content != run.dataset_content():
            raise UserError("is not the dataset this run was trained on, or has changed since",
                            where=dataset.path, fix="name the right one with --data DATASET")
    except UserError as error:
        if data is not None:
            raise
        say(f"the report goes without real images: {error}")
        return None
    return dataset


def _context(run: Run, dataset: Dataset | None, shareable: bool, say: Say) -> dict[str, Any]:
    """Everything the template shows."""
    recipe, log = run.recipe(), run.log()
    metrics = results.read_metrics(run.metrics_file)
    validation = figures.validation_series(log)
    step = facts.generator_step(run, recipe, validation)
    domain = facts.domain(recipe, dataset)
    real, synthetic = _sides(run, recipe, dataset, shareable, say)
    command = reproduce.train_command(recipe)
    status, splits = run.status(), facts.splits(dataset, recipe, metrics)
    by_name = {split.name: split for split in splits}
    return {
        "recipe": recipe, "recipe_yaml": recipe.to_yaml(), "shareable": shareable,
        "shows_patients": real.picture is not None, "date": datetime.now(UTC).date().isoformat(),
        "version": _version(), "state": STATES.get(str(status.get("state")), "in an unknown state"),
        "finished": status.get("state") == "finished", "ended_early": _ended_early(status),
        "message": status.get("message") or "",
        "training": facts.training(run, recipe, domain, log, step), "domain": domain, "splits": splits,
        "train": by_name.get("train"), "test": by_name.get("test"),
        "dataset_rows": facts.dataset_rows(dataset) if dataset else [],
        "stored_size": dataset.info.size[0] if dataset else recipe.size, "real": real, "synthetic": synthetic,
        "metrics": metrics, "groups": results.groups(metrics) if metrics else [],
        "verdict": _verdict(metrics), "stale": _stale(run, metrics, step), "standing": _standing(metrics),
        "film": _film(run, say), "environment": facts.environment(run), "train_command": command,
        "needs_recipe_file": reproduce.needs_recipe_file(command), "step": step,
        "time": facts.duration(facts.seconds(run, log)), "device": facts.device(run).partition(":")[0],
        "steps_done": int(status.get("step", 0)), "headline": _headline(metrics),
        **_curves(log, validation, step),
    }


def _sides(run: Run, recipe: Recipe, dataset: Dataset | None, shareable: bool, say: Say) -> tuple[Side, Side]:
    """The grids of real and generated images, at one scale."""
    real, told = _real(recipe, dataset, shareable, say)
    made, said = _generated(run, recipe, say)
    shapes = [tiles.shape for tiles in (real, made) if tiles is not None]
    if not shapes:
        return Side("Real", None, told), Side("Generated", None, said)
    channels = 3 if len(shapes[0]) == 4 else 1
    fewest, sheet = min(shape[0] for shape in shapes), images.GRID_WIDTH * (3 - len(shapes))  # one alone: both halves
    how = images.layout(shapes[0][1], shapes[0][2], channels, fewest, sheet)
    return _side("Real", real, how, told), _side("Generated", made, how, said)


def _side(title: str, tiles: Tiles | None, how: Layout, caption: str) -> Side:
    if tiles is None:
        return Side(title, None, caption)
    n = min(len(tiles), how.tiles)
    scale = f"shown {how.zoom} times enlarged" if how.zoom > 1 else "shown pixel by pixel"
    scale = f"shown reduced {how.shrink} times" if how.shrink > 1 else scale
    picture = images.grid(tiles, how, f"{n} {title.lower()} images")
    size = f"{tiles.shape[2]} × {tiles.shape[1]} pixels each, {scale}."
    return Side(title, picture, f"n = {n}. {caption} {size}")


def _real(recipe: Recipe, dataset: Dataset | None, shareable: bool, say: Say) -> tuple[Tiles | None, str]:
    """Real images of the test split, else of train, and a caption; or None and why."""
    if shareable:
        return None, "Left out: this is the version made for sharing, without any real image."
    if dataset is None:
        return None, "The dataset was not at hand when this report was made, so no real images are shown."
    for split in ("test", "train"):
        there = dataset.rows(recipe.domain, split, recipe.label)
        rows = images.spread(there, images.MOST_TILES)
        if rows:
            try:
                tiles = to_uint8(dataset.images(rows, recipe.size))
            except UserError as error:
                say(f"the report goes without real images: {error}")
                return None, "The dataset's images do not fit the size that the recipe learned."
            subjects = results.count(len({row.subject for row in there}), f"{split} subject")
            return tiles, (f"From the {results.count(len(there), 'image')} of {subjects}, spread over the subjects, "
                           f"not picked by hand.")
    return None, "The dataset has no test or train images of this domain and class."


def _generated(run: Run, recipe: Recipe, say: Say) -> tuple[Tiles | None, str]:
    """Images of the generator, else of the newest sample sheet, and a caption; or None and why."""
    if (run.generator / facts.WEIGHTS).is_file():
        from ganatomy.sampling import load_generator

        say(f"generating {images.MOST_TILES} images")
        made = load_generator(run.path).sample(images.MOST_TILES, recipe.seed)
        return to_uint8(made), f"The first ones that seed {recipe.seed} gives, not picked by hand."
    sheets = _sheets(run)
    if sheets:
        step, path = sheets[-1]
        return images.read_sheet(path), f"The preview at step {step:,}; there is no finished generator yet."
    return None, "Nothing has been generated yet."


def _sheets(run: Run) -> list[tuple[int, Path]]:
    found = [path for path in run.samples.glob("step-*.png") if path.stem.removeprefix("step-").isdecimal()]
    return sorted((checkpoint_step(path), path) for path in found)


def _film(run: Run, say: Say) -> list[tuple[int, Picture]]:
    sheets = _sheets(run)
    if sheets:
        say(f"laying out {len(sheets)} sample sheets")
    return images.film_frames(sheets)


def _curves(log: list[dict[str, Any]], validation: figures.Points, step: int | None) -> dict[str, Any]:
    """Both curves, and a table of every loss term: mean over the first and the last tenth of the log."""
    series = figures.loss_series(log)
    totals = {name: points for name, points in series.items() if "/" not in name} or series
    picture, outside = figures.loss_figure(totals) if totals else (None, 0)
    terms = []
    for name, points in series.items():
        values, tenth = [value for _, value in points], max(1, len(points) // 10)
        means = (float(np.mean(part)) for part in (values[:tenth], values[-tenth:]))
        terms.append((name, *map(results.number, means)))
    return {"loss_curve": picture, "outside": outside, "loss_terms": terms,
            "logged": max(map(len, series.values()), default=0),
            "validation_curve": figures.validation_figure(validation, step) if validation else None}


def _headline(metrics: results.Metrics | None) -> tuple[str, str] | None:
    best = results.headline(metrics) if metrics else None
    if best is None:
        return None
    value = results.number(results.factor(best.name) * best.value)
    return value, f"{results.title(best.name)}, {best.against}"


def _verdict(metrics: results.Metrics | None) -> str:
    best = results.headline(metrics) if metrics else None
    return results.verdict(best) if best else ""


def _standing(metrics: results.Metrics | None) -> Picture | None:
    """The headline metric of real images, of the model and of the controls in one picture."""
    best = results.headline(metrics) if metrics else None
    if metrics is None or best is None:
        return None
    marks: list[figures.Mark] = []
    if best.floor is not None:
        marks.append(("real vs real", best.floor, best.floor_interval, "real"))
    own = [r for r in metrics.results if r.name == best.name]
    marks += [(f"model vs {r.against}", r.value, r.interval, "model") for r in own]
    marks += [(c.control, c.value, c.interval, "control") for c in metrics.controls if c.name == best.name]
    if len(marks) < 2:
        return None
    return figures.standing_figure(results.title(best.name), marks, results.factor(best.name))


def _stale(run: Run, metrics: results.Metrics | None, step: int | None) -> str:
    """A warning where the figures are about something else than what stands beside them."""
    if metrics is None:
        return ""
    if metrics.dataset and metrics.dataset != run.dataset_content():
        return "These figures were computed on another dataset than the run's own."
    if metrics.step is not None and step is not None and metrics.step != step:
        return (f"These figures are of the weights of step {metrics.step:,}, the generator is now that of step "
                f"{step:,}: run ganatomy evaluate RUN again.")
    return ""


def _ended_early(status: dict[str, Any]) -> bool:
    """Whether a time limit ended the training before its steps were done."""
    return status.get("state") == "finished" and int(status.get("step", 0)) < int(status.get("steps") or 0)


def _version() -> str:
    try:
        return metadata.version("ganatomy")
    except metadata.PackageNotFoundError:
        return "(version unknown)"


def _render(context: dict[str, Any], places: list[Path]) -> str:
    """Fill the template. Every value loses its paths and is escaped; only our own data URIs go in as they are."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    def clean(value: Any) -> Any:
        free_text = isinstance(value, str) and not isinstance(value, Markup)
        return facts.without_paths(value, places) if free_text else value

    def source(name: str) -> str:
        return (resources.files("ganatomy.reporting") / name).read_text(encoding="utf-8")

    environment = Environment(autoescape=True, finalize=clean, undefined=StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True, loader=FunctionLoader(source))
    environment.filters["count"] = results.count
    environment.filters["uri"] = lambda picture: Markup(picture.uri)
    return environment.get_template("template.html").render(context)
