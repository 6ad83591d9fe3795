"""What a training leaves to look at: notes for users of the generator, losses, progress pictures, what --debug keeps.

With --debug, after every epoch: RUN/debug/epoch-001 has generated.png, generator/ (for `ganatomy generate`),
discriminator.safetensors and ssim.json. Training images are of patients: they go to
RUN.private/debug/epoch-001/training.png, which must not travel with the run. Translations show patients too: instead of
generated.png there is translated.png beside training.png and training-source.png. Nothing here changes what is learnt.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from ganatomy.core.files import atomic_path, disk_errors, private_folder, write_json, write_text
from ganatomy.core.recipe import Recipe
from ganatomy.core.run import Run
from ganatomy.core.text import Say
from ganatomy.data.batches import Feed
from ganatomy.data.contrast import Contrast, learn_contrast
from ganatomy.data.manifest import Row
from ganatomy.data.pictures import error_colours, grid, sheet, to_uint8, write_png
from ganatomy.gans.base import Batch, Context
from ganatomy.generators.folder import export
from ganatomy.generators.sampler import TRANSLATION, Sampler
from ganatomy.metrics.base import Sample, Samples
from ganatomy.metrics.similarity import ssim
from ganatomy.metrics.ssim import held_out
from ganatomy.training.draws import partners, real_images, thin
from ganatomy.training.state import TrainingState
from ganatomy.training.validation import preview_rows

MOST_VOLUMES, MOST_SLICES = 64, 16  # of which the notes tell the contrast
MAIN = ("generator", "discriminator")
COLOURS = {"generator": "#0072b2", "discriminator": "#c2410c"}  # of Okabe and Ito's palette: told apart by all
FEW_POINTS = 20  # are marked, so that a line of one or two points can be seen
SEED, IMAGES, COLUMNS = 1, 32, 8
SSIM_FAKES, MOST_REAL = 128, 500
Array = NDArray[np.float32]
Entries = Sequence[dict[str, Any]]


def generator_notes(feed: Feed, recipe: Recipe) -> dict[str, Any]:
    """The part of generator/config.json that is about the data: units, ranges, and how to treat volumes alike."""
    info, row = feed.dataset.info, feed.rows[0]
    intensity = {domain: rule.model_dump(mode="json") for domain, rule in info.intensity.items()}
    notes = {"domain": row.domain, "label": recipe.label, "value_range": info.value_range,
             "dtype": str(feed.dataset.pixels([row]).dtype), "dataset": info.content,
             "intensity": intensity.get(row.domain),
             "spacing": [s * feed.factor for s in info.spacing] if info.spacing else None}
    if feed.source is None:
        return notes
    sides = {row.domain: feed.rows, str(recipe.source): feed.source.rows}
    contrasts = {domain: _contrast(feed, rows, recipe.size).model_dump(mode="json") for domain, rows in sides.items()}
    return notes | {"source_domain": recipe.source, "source_intensity": intensity.get(str(recipe.source)),
                    "grid": info.grid.model_dump(mode="json") if info.grid else None, "factor": feed.factor,
                    "contrasts": contrasts}


def _contrast(feed: Feed, rows: Sequence[Row], size: int) -> Contrast:
    volumes: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        volumes.setdefault((row.subject, row.session), []).append(row)
    return learn_contrast(feed.dataset.images(thin(volumes[name], MOST_SLICES), size)
                          for name in thin(sorted(volumes), MOST_VOLUMES))


def write_curves(run: Run) -> None:
    """Write losses.csv (one line an epoch) and loss_plot.png from the run's log."""
    log = [entry for entry in run.log() if isinstance(entry.get("losses"), dict)]
    epochs = [entry for entry in log if entry.get("kind") == "epoch"]
    steps = [entry for entry in log if entry.get("kind") == "train"]
    write_text(run.losses_file, _table(epochs))
    if epochs or steps:
        _plot(run, epochs, steps)


def _table(epochs: Entries) -> str:
    logged = {name for entry in epochs for name in entry["losses"]}
    names = [*(name for name in MAIN if name in logged), *sorted(logged - set(MAIN))]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", "step", *names])
    for entry in epochs:
        writer.writerow([entry["epoch"], entry["step"], *(entry["losses"].get(name, "") for name in names)])
    return text.getvalue()


def _plot(run: Run, epochs: Entries, steps: Entries) -> None:
    """Losses against epochs, or against steps where the log has more lines by step than epochs."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    by_epoch = len(epochs) >= len(steps)
    entries, unit = (epochs, "epoch") if by_epoch else (steps, "step")
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot(xlabel=f"{unit} (mean loss since the one before)" if by_epoch else "training step",
                              ylabel="loss", title=f"{run.recipe().name}: loss in training")
    for name in MAIN:
        points = [(entry[unit], entry["losses"][name]) for entry in entries if name in entry["losses"]]
        if not points:  # a model without a discriminator
            continue
        marker = "o" if len(points) <= FEW_POINTS else None
        axes.plot(*zip(*points, strict=True), label=name, color=COLOURS[name], marker=marker, markersize=4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#d8dde2", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with atomic_path(run.loss_plot) as temporary:
        figure.savefig(temporary, format="png")


class Preview:
    """Pictures of the generator on a schedule, in the run's folders: always of the same latents and real images."""

    def __init__(self, feed: Feed, recipe: Recipe, run: Run) -> None:
        self.run = run
        self.source: Array | None = None
        if feed.source is None:
            return
        dataset = feed.dataset
        rows, held_out = preview_rows(feed, recipe)
        self.source = dataset.images(rows, recipe.size)
        self.truth = dataset.images(partners(dataset, rows, str(recipe.domain)), recipe.size) \
            if dataset.info.paired else None
        self.title = f"{recipe.source} to {recipe.domain}, " + ("validation images" if held_out else "training images")

    def draw(self, sampler: Sampler, ctx: Context) -> Array:
        """Write the pictures of this moment; returns images [n, c, s, s] of what training is at."""
        name = f"step-{ctx.step:06d}.png"
        if not sampler.model.translates:
            samples = sampler.sample(IMAGES, SEED)
            write_png(self.run.samples / name, grid(samples, COLUMNS))
        if self.source is None:
            return samples
        return self.translations(sampler, ctx, self.run.private_progress / name)

    def translations(self, sampler: Sampler, ctx: Context, path: Path) -> Array:
        """Write a sheet of translations of real images to `path`, in RUN.private; returns the translations."""
        assert self.source is not None
        outputs = _outputs(sampler, self.source, ctx)
        private_folder(self.run.path)
        write_png(path, self._sheet(sampler, outputs), mode=0o600)
        return outputs

    def _sheet(self, sampler: Sampler, outputs: Array) -> NDArray[np.uint8]:
        """Input, output, and truth and error where there is a truth; one image a column."""
        assert self.source is not None
        rows = {"input": to_uint8(self.source), "output": to_uint8(outputs)}
        if self.truth is not None:
            rows |= {"truth": to_uint8(self.truth), "error": error_colours(outputs, self.truth)}
        if sampler.model.two_way:
            again = sampler.translate(outputs, backward=True)
            rows |= {"and back": to_uint8(again), "error of it": error_colours(again, self.source)}
        return sheet(rows, self.title)


@torch.inference_mode()
def _outputs(sampler: Sampler, source: Array, ctx: Context) -> Array:
    """What the model makes of the sources where training stands; every image has noise of its own."""
    model, rng = sampler.model, np.random.default_rng((TRANSLATION, SEED))
    noise = model.draw_noise(len(source), rng).to(sampler.device) if "noise" in model.needs else None
    outputs = model.preview(Batch(noise=noise, source=torch.from_numpy(source).to(sampler.device)), ctx).target
    assert outputs is not None
    array: Array = outputs.clamp(-1, 1).float().contiguous().cpu().numpy()
    return array


class Debug:
    """Keeps the parts of a training after every epoch."""

    def __init__(self, run: Run, feed: Feed, say: Say) -> None:
        self._run, self._feed = run, feed
        self._real: tuple[Sample, Sample] | None = None
        self._preview: Preview | None = None
        say(f"debug: every epoch's parts are kept in {run.debug}, real images in "
            f"{run.private_debug}, which must not travel with the run")

    def keep(self, state: TrainingState, epoch: int) -> None:
        """Write the parts of the epoch that has just ended, counted from 1."""
        private_folder(self._run.path)
        folder, private = (place / f"epoch-{epoch:03d}" for place in (self._run.debug, self._run.private_debug))
        sampler, recipe = state.sampler(), state.recipe
        if sampler.model.translates:
            self._preview = self._preview or Preview(self._feed, recipe, self._run)
            self._preview.translations(sampler, Context(state.step, epoch, 0.0), private / "translated.png")
            similarity = self._translation_ssim(sampler, recipe)
        else:
            fakes = sampler.sample(max(IMAGES, SSIM_FAKES), SEED)
            write_png(folder / "generated.png", grid(fakes[:IMAGES], COLUMNS))
            similarity = self._ssim(fakes, recipe)
        export(sampler, folder / "generator", {"step": state.step, **state.notes})
        with atomic_path(folder / "discriminator.safetensors") as temporary:
            weights = {k: v.cpu().contiguous() for k, v in state.model.discriminator.state_dict().items()}
            temporary.write_bytes(save(weights))
        write_json(folder / "ssim.json", {"epoch": epoch, "step": state.step, **similarity})
        last = real_images(recipe, self._feed, state.step * recipe.d_steps - 1)
        for name, real in zip(("training.png", "training-source.png"), last, strict=True):
            if real is not None:
                images = real[:IMAGES].contiguous().cpu().numpy()
                write_png(private / name, grid(images, COLUMNS), mode=0o600)

    def _ssim(self, fakes: NDArray[np.float32], recipe: Recipe) -> dict[str, Any]:
        """SSIM of validation images against generated ones, beside that against other real patients' images."""
        if self._real is None:
            held = self._feed.dataset.rows(recipe.domain, "val", recipe.label)
            if not held:
                return {"ssim": None, "between_real_patients": None, "note": "the dataset has no validation images"}
            self._real = self._sample(held, recipe.size), self._sample(self._feed.rows, recipe.size)
        val, train = self._real
        result = held_out(Samples(val, Sample(fakes), train, seed=recipe.seed))
        beside = result.reference
        return {"ssim": result.value, "between_real_patients": beside and beside.value,
                "pairs": beside and beside.pairs,
                "validation_images": result.n_images, "validation_subjects": result.n_subjects,
                "per_subject": result.per_subject,
                "note": "validation images against generated ones, and against training images of other patients"}

    def _translation_ssim(self, sampler: Sampler, recipe: Recipe) -> dict[str, Any]:
        """SSIM of translated validation images against their truth, where there is one."""
        dataset = self._feed.dataset
        rows = thin(dataset.rows(recipe.source, "val", recipe.label), SSIM_FAKES)
        if not rows or not dataset.info.paired:
            return {"ssim": None, "note": f"the dataset has no {'pairs' if rows else 'validation images'}"}
        truth = dataset.images(partners(dataset, rows, str(recipe.domain)), recipe.size)
        values = ssim(truth, sampler.translate(dataset.images(rows, recipe.size), SEED))
        return {"ssim": float(values.mean()), "validation_images": len(rows),
                "validation_subjects": len({r.subject for r in rows}),
                "note": "translations of validation images against their truth, over the whole image"}

    def _sample(self, rows: Sequence[Row], size: int) -> Sample:
        rows = thin(rows, MOST_REAL)
        return Sample(self._feed.dataset.images(rows, size), [r.subject for r in rows])


def cut_back(run: Run, epoch: int) -> None:
    """Forget what was kept of epochs later than `epoch`, which are about to be trained again."""
    for place in (run.debug, run.private_debug):
        for kept in place.glob("epoch-*"):
            number = re.fullmatch(r"epoch-(\d+)", kept.name)
            if number and int(number[1]) > epoch:
                with disk_errors(kept):
                    shutil.rmtree(kept)
