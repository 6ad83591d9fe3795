"""What was trained on what, how the training went, and how to make it again."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np

from ganatomy.core import table
from ganatomy.core.text import compact, grouped, number, typed_time
from ganatomy.reports import drawings
from ganatomy.reports.blocks import Block, Columns, Drawing, Fold, Heading, Table, Terms, Words
from ganatomy.reports.context import NO_DATASET, Context

STATES = {"finished": "finished", "running": "still running, or killed", "interrupted": "interrupted",
          "stopped": "stopped", "new": "not started"}
AVERAGED = ("Averaged weights", "A running mean of the generator's weights over training, which draws better images "
            "than the last ones.")


def state(context: Context) -> str:
    """How the training stands, in words."""
    return STATES[context.status["state"]]


def notices(context: Context) -> Iterator[Block]:
    """Warnings about the data, and about a training that has not come to its end."""
    message, steps = context.status.get("message", ""), context.recipe.steps
    if context.notes:
        yield Words(lead="Warnings about the data", items=context.notes, style="warn")
    if context.status.get("state") != "finished":
        of = f" of {steps:,}" if steps else ""
        yield Words(lead=f"Training is {state(context)} at step {context.steps:,}{of}.",
                    text=f"What follows is a look at an unfinished run. {message}", style="warn")
    elif message:
        yield Words(message, style="banner")


def duration_words(context: Context) -> str:
    """`in 1,000 steps and 3 min on a GPU`, for a sentence."""
    time = f" and {context.time}" if context.time else ""
    device = f" on a {context.device}" if context.device else ""
    return f"in {context.steps:,} steps{time}{device}"


# ------------------------------------------------------------------ what was trained on what

def trained(context: Context) -> Iterator[Block]:
    """The training's facts, and how many images and subjects are in each split."""
    yield Heading("What was trained on what", "data")
    yield Terms([(term, text) for term, text in _facts(context) if text])
    if not context.splits:
        yield Words(f"{NO_DATASET}, so its counts are not given.", style="note")
        return
    rows = [[name, f"{count.images:,}", "unknown" if not context.known else
             f"{count.subjects:,}" if count.subjects is not None else "not given"]
            for name, count in context.splits.items()]
    whose = "A subject is in one split only." if context.known else "One patient's images may be in several splits."
    choose = "validation images choose among checkpoints; " if context.recipe.select != "last" else ""
    yield Columns([Table(table.Table(["Split", "Images", "Subjects"], rows)),
                   Words(f"{whose} The generator learned from the training images and from no others; {choose}test "
                         "images serve the figures below and nothing else.", style="note")])


def _facts(context: Context) -> list[tuple[str, str]]:
    recipe, gan, status = context.recipe, context.gan, context.status
    total = recipe.steps or status.get("steps")
    weights = sum(tensor.numel() for tensor in context.sampler.model.generator.parameters()) if context.sampler else 0
    rates = [e["images_per_second"] for e in context.log if e.get("images_per_second")]
    rule = ("best on validation" if recipe.select != "last" else "the last") + (", averaged" if recipe.ema else "")
    return [("Recipe", recipe.name), ("GAN" if gan.adversarial else "Network", recipe.gan),
            ("Discriminator", "" if gan.adversarial else "none"),
            ("Image size", f"{recipe.size} × {recipe.size} pixels"),
            ("Translates", f"{recipe.source} to {context.domain}" if gan.translates else ""),
            ("Domain", "" if gan.translates else context.domain), ("Class", recipe.label or "all"),
            ("Started from", f"the {recipe.init_from}" if recipe.init_from else ""),
            ("Steps", f"{context.steps:,}" + (f" of {total:,}" if total else "")),
            ("Budget", typed_time(recipe.budget) if recipe.budget else ""),
            ("Batch size", str(recipe.batch_size)), ("Seed", str(recipe.seed)), ("Time", context.time),
            ("Speed", f"{number(statistics.median(rates))} images a second: training steps only, without checkpoints, "
                      "previews and validation" if rates else ""),
            ("Device", ": ".join(filter(None, (context.device, context.environment.get("device"))))),
            ("Precision", context.environment.get("precision", recipe.precision)),
            ("Generator", f"{compact(weights)} weights" if weights else ""),
            ("Weights used", f"step {context.step:,}, {rule}" if context.step else ""),
            ("Dataset", context.run.dataset_content()[:12])]


# ------------------------------------------------------------------ how training went

def _loss_series(log: list[dict[str, Any]]) -> dict[str, drawings.Points]:
    """The losses of the log's training lines by their name in the log, each as (step, value) in order."""
    series: dict[str, drawings.Points] = {}
    for entry in log:
        if entry.get("kind") == "train":
            for name, value in entry.get("losses", {}).items():
                series.setdefault(name, []).append((entry["step"], value))
    return series


def went(context: Context) -> Iterator[Block]:
    """Losses, their terms, and the score on validation."""
    yield Heading("How training went")
    series = _loss_series(context.log)
    if not series:
        yield Words("The log holds no losses yet.", style="note")
        return
    logged = max(map(len, series.values()))
    totals = {name: points for name, points in series.items() if "/" not in name} or series
    picture, outside, averaged = drawings.losses(totals)
    caption = [f"As named in the log, {grouped(logged, 'logged line')}."]
    caption += ["Light: as logged; bold: running mean over 5% of them."] if averaged else []
    caption += [f"Outside of the frame: {grouped(outside, 'extreme value')}."] if outside else []
    caption += ["A GAN's losses show whether the two networks are in balance, not how good the images are."
                if context.gan.adversarial else "The distance to the truth on the training images; how the model does "
                "on other patients, only the figures against test say."]
    losses = Drawing(picture, "Losses", " ".join(caption))
    if not context.validation:
        yield Columns([losses, _terms(series, logged)])
        return
    title = drawings.DISTANCES[context.score][0]
    score = Drawing(drawings.validation(context.validation, context.step, context.score), f"{title} during training",
                    "On the validation images; lower is better. The lowest of several looks flatters: the figures to "
                    "quote are those against test.")
    yield Columns([losses, score])
    yield Fold([_terms(series, logged)], title="All loss terms")


def _terms(series: dict[str, drawings.Points], logged: int) -> Table:
    """Every loss term: its mean over the first and the last tenth of the log."""
    tenth = max(1, logged // 10)
    rows = []
    for name, points in series.items():
        values = [value for _, value in points]
        rows.append([name, *(number(float(np.mean(part))) for part in (values[:tenth], values[-tenth:]))])
    if logged < 10:
        return Table(table.Table(["Loss term", "First", "Last"], rows))
    return Table(table.Table(["Loss term", "First tenth", "Last tenth"], rows, notes=[
        "Means over the first and the last tenth of the logged lines."]))


# ------------------------------------------------------------------ how to make it again

def again(context: Context) -> Iterator[Block]:
    """The commands as they were given, the recipe, the dataset and the environment."""
    dataset, status, commands = context.dataset, context.status, context.run.commands()
    prepared = str(dataset.info.provenance.get("command", "")) if dataset is not None else ""
    yield Heading("How to make it again")
    if commands:
        yield Words("\n".join(filter(None, [prepared, *commands, "ganatomy report RUN"])), style="code")
        yield Words("SOURCE, DATASET, RUN and other words in capitals stand for your folders and for names that were "
                    "given (they may name patients, so they are not kept); RECIPE.yaml is the full recipe below. The "
                    "dataset's fingerprint must come out the same. Equal bits need the same torch, device and number "
                    "of threads.", style="note")
    else:
        yield Words("The commands were not recorded: this run is of an older ganatomy. Save the recipe below and "
                    "run `ganatomy train DATASET RUN --recipe RECIPE.yaml`.", style="note")
    if status.get("state") == "finished" and context.steps < (status.get("steps") or 0):
        yield Words(f"A time limit ended this training at step {context.steps:,}; training that many steps gives the "
                    "same bits, with the same precision, device and threads.", style="note")
    yield Fold([Words(context.recipe.to_yaml(), style="code")], title="The full recipe")
    if dataset is not None:
        yield Fold([Terms(_of_dataset(context))], title="The dataset")
    environment: Block = Terms([*context.environment.items()]) if context.environment else Words("Not recorded.")
    yield Fold([environment], title="The environment")


def _of_dataset(context: Context) -> list[tuple[str, str]]:
    """How the dataset came to be and what its values mean."""
    assert context.dataset is not None
    info = context.dataset.info
    rows = [("Stored size", f"{info.size[0]} × {info.size[1]} pixels"),
            ("Pixel spacing", f"{info.spacing[0]:.3g} × {info.spacing[1]:.3g} mm (median)" if info.spacing else ""),
            ("Channels", "3 (colour)" if info.channels == 3 else "1 (grey)"),
            ("Value range", f"{info.value_range[0]:g} to {info.value_range[1]:g}, the same for all images"),
            ("Domains", ", ".join(info.domains)), ("Classes", ", ".join(info.classes))]
    rows += [(f"Intensity, {name}", f"{how.method}; {how.units}") for name, how in info.intensity.items()]
    version = info.provenance.get("ganatomy")
    rows.append(("Prepared with", f"ganatomy {version}" if version else ""))
    return [(term, text) for term, text in rows if text]


def words_and_methods(context: Context, glossary: list[tuple[str, str]], methods: str) -> Iterator[Block]:
    """The terms used, with their sources, and a paragraph for a methods section."""
    yield Heading("Words and how to cite")
    yield Terms([*glossary, AVERAGED], "glossary")
    yield Heading("For a methods section", level=3)
    yield Words(methods)


def not_shown(context: Context) -> Iterator[str]:
    """What no report of one training can show, as far as it depends on the data."""
    test = context.splits.get("test")
    if not context.known:
        yield ("It is not known which images belong to one patient: the same patient may be in train and test, and "
               "results then look better than they are.")
    if test is None:
        yield ("No test subjects are known, so nothing here says how the images compare with patients not seen in "
               "training.")
    elif context.known and test.subjects is not None and test.subjects < 30:
        few = "no interval is possible, and nothing is known about other patients" if test.subjects < 5 else \
            "intervals over so few are wide, and rare findings may be absent altogether"
        yield f"The test split has {grouped(test.subjects, 'subject')}: {few}."
    yield (f"This is one training with one seed ({context.recipe.seed}). Another seed gives other figures; comparing "
           "models takes several.")
