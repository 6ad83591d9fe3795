"""What the sections of a run's report begin from: the run, its recipe, dataset and metrics, read once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ganatomy import gans
from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe, flat
from ganatomy.core.run import Run
from ganatomy.core.text import Say, duration, grouped, sentence
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import SPLITS, Row
from ganatomy.evaluation.samples import dataset_warnings
from ganatomy.gans.base import GAN
from ganatomy.generators.folder import load_generator
from ganatomy.generators.sampler import Sampler
from ganatomy.metrics import is_of
from ganatomy.metrics.schema import (
    OF_DATASET,
    Count,
    Metrics,
    Result,
    TranslationMetrics,
    read_metrics,
)

AUDITS = ("clean", "suspicious", "copies")
NO_DATASET = "The dataset was not at hand when this report was written"


@dataclass(frozen=True)
class Context:
    """A run and what is known of it.

    Attributes:
        run: the run folder.
        recipe: its recipe.
        dataset: what it was trained on; None where that is gone or has changed.
        evaluation: metrics.json; None where it was not evaluated yet.
        say: called with progress messages.
    """

    run: Run
    recipe: Recipe
    dataset: Dataset | None
    evaluation: Metrics | TranslationMetrics | None
    say: Say

    @classmethod
    def of(cls, run: Run, data: str | Path | None, say: Say) -> Context:
        """Read a run; `data` is its dataset where that has moved.

        Raises:
            UserError: a broken file in it, or `data` is not the dataset that it was trained on.
        """
        evaluation = read_metrics(run.metrics_file) if run.metrics_file.is_file() else None
        context = cls(run, run.recipe(), _dataset(run, data, say), evaluation, say)
        if evaluation is not None and context.gan.translates != isinstance(evaluation, TranslationMetrics):
            raise UserError("is of another kind than this run", where=run.metrics_file,
                            fix="run `ganatomy evaluate RUN` again")
        return context

    @cached_property
    def gan(self) -> type[GAN]:
        """The GAN's class."""
        return gans.kind(self.recipe)

    @property
    def metrics(self) -> Metrics | None:
        """The evaluation of images from noise."""
        return self.evaluation if isinstance(self.evaluation, Metrics) else None

    @property
    def translation(self) -> TranslationMetrics | None:
        """The evaluation of a translation."""
        return self.evaluation if isinstance(self.evaluation, TranslationMetrics) else None

    @cached_property
    def log(self) -> list[dict[str, Any]]:
        """The lines of log.jsonl."""
        return self.run.log()

    @cached_property
    def status(self) -> dict[str, Any]:
        """status.json."""
        return self.run.status()

    @property
    def steps(self) -> int:
        """Steps that were trained."""
        return int(self.status["step"])

    @cached_property
    def sampler(self) -> Sampler | None:
        """The generator; None before the training's end."""
        exported = (self.run.generator / "weights.safetensors").is_file()
        return load_generator(self.run.path) if exported else None

    @cached_property
    def score(self) -> str:
        """Which of the log's validation scores chooses the checkpoint, or is shown where none does."""
        return {"fd": "fd", "critic": "critic_js"}.get(self.recipe.select, "kd")

    @cached_property
    def validation(self) -> list[tuple[int, float]]:
        """(step, score) of the log's validation lines."""
        return [(e["step"], e[self.score]) for e in self.log
                if e.get("kind") == "validation" and e.get(self.score) is not None]

    @property
    def step(self) -> int | None:
        """The step whose weights are the generator; None without one."""
        return self.sampler.notes["step"] if self.sampler and self.sampler.notes else None

    @cached_property
    def domain(self) -> str:
        """The contrast that was learned; "" where none can tell, or where it is only called image."""
        name = self.recipe.domain or (self.dataset.domain() if self.dataset is not None else "")
        return "" if name.lower() in ("image", "images") else name

    @cached_property
    def notes(self) -> list[str]:
        """What `prepare` warned of, from the dataset, or from metrics.json where the dataset is gone."""
        warnings = dataset_warnings(self.dataset) if self.dataset is not None else \
            self.evaluation.warnings if self.evaluation else ()
        return [sentence(text.removeprefix(OF_DATASET)) for text in warnings if text.startswith(OF_DATASET)]

    @cached_property
    def known(self) -> bool:
        """Whether it is known which images belong to one patient."""
        return not ((self.dataset is not None and self.dataset.info.told.patients_unknown)
                    or (self.evaluation is not None and self.evaluation.patients_unknown))

    @property
    def units(self) -> str:
        """What intervals are over."""
        return "subjects" if self.known else "images"

    @cached_property
    def splits(self) -> dict[str, Count]:
        """Images and subjects by split, from the dataset, or from metrics.json where the dataset is gone."""
        if self.dataset is not None:
            own = {name: self.rows(name) for name in SPLITS}
            return {name: Count(images=len(rows), subjects=len({r.subject for r in rows}))
                    for name, rows in own.items() if rows}
        counts = self.metrics.counts if self.metrics else {"test": self.translation.test} if self.translation else {}
        return {name: count for name in SPLITS if (count := counts.get(name)) is not None}

    def rows(self, split: str | None, domain: str | None = None) -> list[Row]:
        """The dataset's rows of the trained domain (or another) and class; [] without the dataset."""
        if self.dataset is None:
            return []
        return self.dataset.rows(domain or self.recipe.domain, split, label=self.recipe.label)

    def counted(self, split: str) -> str:
        """The images and subjects of a split in words: 42 images of 30 subjects; "" of one that is not known."""
        count = self.splits.get(split)
        return grouped(count.images, "image") + self.of_subjects(count.subjects) if count else ""

    def of_subjects(self, n: int | None) -> str:
        """` of 30 subjects`, ` (patients unknown)`, or "" where no number is given."""
        return " (patients unknown)" if not self.known else f" of {grouped(n, 'subject')}" if n else ""

    @cached_property
    def stale(self) -> str:
        """A warning where the metrics are about something else than what stands beside them; else ""."""
        evaluation = self.evaluation
        if evaluation is None:
            return ""
        if evaluation.dataset and evaluation.dataset != self.run.dataset_content():
            return "These figures were computed on another dataset than the run's own."
        if evaluation.step is not None and self.step is not None and evaluation.step != self.step:
            return (f"These figures are of the weights of step {evaluation.step:,}, the generator is now that of step "
                    f"{self.step:,}: run `ganatomy evaluate RUN` again.")
        return ""

    @cached_property
    def audit(self) -> str:
        """The audit's verdict: clean, suspicious or copies; "" without an audit."""
        result = self.result("Copies")
        return "" if result is None else verdict_of(result)

    def result(self, metric: str, against: str | None = None) -> Result | None:
        """The first result of a metric, such as KD of KD-Lite0; against any sample if None."""
        return next((r for r in (self.metrics.results if self.metrics else ())
                     if is_of(r.name, metric) and against in (None, r.against)), None)

    @cached_property
    def time(self) -> str:
        """Wall time of the training in words; "" where it is not known."""
        logged = [entry["seconds"] for entry in self.log if "seconds" in entry]
        seconds = self.status.get("seconds", logged[-1] if logged else None)
        return "" if seconds is None else duration(seconds)

    @cached_property
    def environment(self) -> dict[str, str]:
        """environment.json, flat; what the schema does not know might name a machine or a person, and is left out."""
        known = self.run.environment()
        return {key: str(value) for key, value in flat(known.model_dump(exclude_unset=True)).items()} if known else {}

    @property
    def device(self) -> str:
        """CPU or GPU; "" where it is not known."""
        return {"cpu": "CPU", "cuda": "GPU"}.get(self.environment.get("device_type", ""), "")

    @property
    def pixel(self) -> str:
        """Millimetres a pixel of the generated images, as a sentence; "" where the files did not tell."""
        spacing = self.sampler.notes["spacing"] if self.sampler and self.sampler.notes else None
        if not spacing and self.dataset is not None and self.dataset.info.spacing:
            spacing = [s * self.dataset.info.size[0] / self.recipe.size for s in self.dataset.info.spacing]
        return f"A pixel is {spacing[0]:.3g} × {spacing[1]:.3g} mm (median)." if spacing else ""


def verdict_of(result: Result) -> str:
    """What an audit's result says of itself: clean, suspicious or copies; what cannot be read is suspicious."""
    verdict = str((result.details or {}).get("verdict", ""))
    return verdict if verdict in AUDITS else "suspicious"


def _dataset(run: Run, data: str | Path | None, say: Say) -> Dataset | None:
    """The run's dataset; None, with a message, where it is gone or has changed. One named by `data` must fit."""
    try:
        return Dataset.of_run(run, data)
    except UserError as error:
        if data is not None:
            raise
        say(f"the report goes without real images: {error}")
        return None
