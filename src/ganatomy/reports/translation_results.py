"""metrics.json of a translation, checked, and what its numbers let one say of the model beside another translator."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ganatomy.metrics.base import MIN_SUBJECTS
from ganatomy.metrics.schema import MODEL
from ganatomy.metrics.translation.baselines import HISTOGRAM_MATCHED, INPUT_RETURNED
from ganatomy.metrics.translation.paired import INSIDE, WHOLE
from ganatomy.reports.numbers import Interval, bracketed
from ganatomy.reports.results import Count, Metrics, Read, Result

NAMES = {MODEL: "this model", INPUT_RETURNED: "the input returned", HISTOGRAM_MATCHED: "histogram matching"}
Standing = Literal["ahead", "behind", "mixed", "ssim", "open"]


class Figure(Read):
    """One paired figure of one translator: mean over subjects."""

    name: str
    value: float | None = None
    units: str = ""
    n_images: int = 0
    n_subjects: int = 0
    interval: Interval | None = None
    per_subject: dict[str, float] = Field(default_factory=dict)

    @property
    def short(self) -> str:
        """The name without its region: SSIM of "SSIM foreground"."""
        return self.name.removesuffix(f" {INSIDE}").removesuffix(f" {WHOLE}")


class Compared(Read):
    """The model minus another translator by one figure; `ahead` names who leads by the interval."""

    name: str
    second: str
    difference: float | None = None
    units: str = ""
    n_subjects: int = 0
    interval: Interval | None = None
    first_ahead: int = 0
    second_ahead: int = 0
    ahead: str | None = None

    @property
    def leader(self) -> str | None:
        """Who leads; below five subjects who is better on every one of them."""
        if self.interval is not None or self.n_subjects >= MIN_SUBJECTS:
            return self.ahead
        wins = {(self.n_subjects, 0): MODEL, (0, self.n_subjects): self.second}
        return wins.get((self.first_ahead, self.second_ahead)) if self.n_subjects else None

    @property
    def words(self) -> str:
        """The difference with its interval: MAE -2.1 % of range (-2.5 to -1.7)."""
        if self.difference is None:
            return ""
        text = bracketed(self.difference, self.interval)
        sign = "" if text.startswith("\u2212") else "+"
        value, bracket, rest = f"{sign}{text}".partition(" (")
        units = self.units if self.units.startswith("%") else f" {self.units}".rstrip()
        return f"{self.name.removesuffix(f' {INSIDE}')} {value}{units}{bracket}{rest}"


class Reference(Read):
    """A figure between real images."""

    what: str = ""
    value: float | None = None
    interval: Interval | None = None


class Kernel(Read):
    """KD-Lite0 of every translator's images against real ones of the target's contrast."""

    translators: dict[str, Result] = Field(default_factory=dict)
    reference: Reference | None = None


class Worst(Read):
    """An image that stands out by a figure; lesions and blobs have a place (y, x)."""

    image: int
    image_id: str = ""
    value: float | None = None
    place: tuple[int, int] | None = None
    real: float | None = None
    made: float | None = None


class AnatomyFigure(Read):
    """One figure of the anatomy, beside that of real pairs."""

    name: str
    unit: str = ""
    value: float | None = None
    n_images: int = 0
    interval: Interval | None = None
    reference: Reference | None = None
    limit: float | None = None
    beyond: float | None = None
    allowed: float | None = None
    worst: tuple[Worst, ...] = ()


class Anatomy(Read):
    """Whether the anatomy is kept."""

    kept: bool | None = None
    sentence: str = ""
    figures: tuple[AnatomyFigure, ...] = ()


class Blobs(Read):
    """Lesions that only the synthetic image has, per 100 images."""

    per_100: float
    missing_per_100: float = 0.0
    floor_per_100: float = 0.0
    interval: Interval | None = None
    worst: tuple[Worst, ...] = ()


class Lesions(Read):
    """What became of the lesions that stand out in the real target."""

    n_images: int = 0
    n_subjects: int = 0
    n_lesions: int = 0
    n_clear: int = 0
    sentence: str = ""
    slope: float | None = None
    slope_interval: Interval | None = None
    vanished: float | None = None
    vanished_interval: Interval | None = None
    floor_slope: float | None = None
    floor_vanished: float | None = None
    invented: Blobs | None = None
    worst: tuple[Worst, ...] = ()


class Returned(Read):
    """Whether the model only returns its input."""

    finding: str = ""
    sentence: str = ""

    @property
    def found(self) -> bool:
        """Whether it does not translate: returns its input, only changes grey values, or makes something else."""
        return self.finding in ("input", "grey values", "unrelated")


class Direction(Read):
    """All figures of one direction."""

    source: str
    target: str
    paired: bool
    n_images: int
    n_subjects: int
    note: str = ""
    kernel: Kernel = Kernel()
    translators: dict[str, tuple[Figure, ...]] = Field(default_factory=dict)
    comparisons: dict[str, tuple[Compared, ...]] = Field(default_factory=dict)
    returned: Returned | None = None
    anatomy: Anatomy | None = None
    lesions: Lesions | None = None
    cycle: tuple[Figure, ...] = ()
    identity: tuple[Figure, ...] = ()

    @property
    def names(self) -> list[str]:
        """The translators: the model, the runs beside it, then the baselines, the input returned last."""
        return sorted(self.kernel.translators or self.translators,
                      key=lambda name: {MODEL: 0, HISTOGRAM_MATCHED: 2, INPUT_RETURNED: 3}.get(name, 1))

    @property
    def beside(self) -> list[str]:
        """The other runs that were measured beside the model."""
        return [name for name in self.names if name not in NAMES]

    def figure(self, translator: str, name: str) -> Figure | None:
        """One figure of one translator; None where it was not measured."""
        return next((f for f in self.translators.get(translator, ()) if f.name == name and f.value is not None), None)

    def compared(self, other: str) -> list[Compared]:
        """The model against another translator by the figures inside the foreground that need no units."""
        return [c for c in self.comparisons.get(other, ())
                if c.name.endswith(INSIDE) and " in " not in c.name and c.difference is not None]

    def standing(self, other: str) -> Standing:
        """Is the model nearer to the truth than `other`? A lead by SSIM and MS-SSIM alone ranks nothing."""
        leaders = [(c.name, c.leader) for c in self.compared(other) if c.leader is not None]
        won = [who == MODEL for name, who in leaders if "SSIM" not in name]
        if not won:
            return "ssim" if leaders else "open"
        if all(won):
            return "ahead"
        return "mixed" if any(won) else "behind"

    def disagreeing(self, other: str) -> list[str]:
        """SSIM and MS-SSIM where they lead the other way than the figures that decide."""
        loser = {"ahead": other, "behind": MODEL}.get(self.standing(other))
        return [c.name.removesuffix(f" {INSIDE}") for c in self.compared(other)
                if "SSIM" in c.name and loser is not None and c.leader == loser]


class TranslationMetrics(Metrics):
    """What metrics.json of a translation holds."""

    kind: Literal["translation"]
    source: str
    domain: str
    n: int | None = None  # as asked for
    directions: tuple[Direction, ...]

    def counted(self) -> TranslationMetrics:
        """With the counts of the test images, for where the dataset is gone."""
        first: dict[str, Any] = {"images": self.directions[0].n_images, "subjects": self.directions[0].n_subjects}
        return self.model_copy(update={"counts": {"test": Count(**first)}}) if self.directions else self


