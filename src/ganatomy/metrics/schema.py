"""metrics.json, written and read: what an evaluation holds, of images from noise and of translations.

docs/design.md shows an example of each. Whoever reads a metrics.json, be it of a newer ganatomy with more keys or of
an older one with fewer, reads it with `read_metrics`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from ganatomy.core.errors import UserError
from ganatomy.core.reading import MOST, Whole, reading
from ganatomy.core.text import Interval

SCHEMA_VERSION = 1
NOISE, TRANSLATION = "noise to image", "translation"
MODEL, INPUT_RETURNED, HISTOGRAM_MATCHED = "model", "input returned", "histogram matching"  # names of translators
INSIDE, WHOLE = "foreground", "whole image"  # how the names of paired values end
PRIMARY = f"MAE {INSIDE}"  # by which alone a translator is ahead of another
OF_DATASET = "Dataset: "  # how a warning begins that `prepare` has left in the dataset

MOST_IMAGES = 2000  # of a test split that are measured, unless more are asked for: half a minute on one core

Better = Literal["lower", "higher", "match"]
Light = Literal["green", "amber", "red", "grey"]  # grey: the data do not let one say
Finding = Literal["", "input", "grey values", "unrelated", "alike", "cannot tell"]  # whether the input is returned
Question = Literal["realistic", "diverse", "copies", "enough data"]


def finite(value: Any) -> Any:
    """`value` with tuples as lists, numpy numbers as Python's, and None for what is not finite or above `MOST`."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [finite(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if abs(float(value)) <= MOST else None  # NaN compares as false
    return int(value) if isinstance(value, np.integer) else value


Span = Annotated[Interval | None,
                 BeforeValidator(lambda ends: None if ends is not None and None in [*ends] else ends)]


class Part(BaseModel):
    """A part of metrics.json: frozen; without NaN, infinity and what is as good as that, which are null.

    Keys that are `left_out` are not written where there is nothing to write.
    """

    left_out: ClassVar[tuple[str, ...]] = ()

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _finite(cls, values: Any) -> Any:
        return finite(values)

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = write(self)
        return {key: value for key, value in values.items()
                if key not in self.left_out or not (value is False or value in (None, [], {}))}

    def to_json(self) -> dict[str, Any]:
        """As a dictionary of plain values."""
        return self.model_dump(mode="json")


class Reference(Part):
    """The same value between real images: what it is of, and how sure it is."""

    left_out = ("n_images", "n_subjects", "pairs", "p_no_difference", "beyond")
    what: str = ""
    value: float | None = None
    interval: Span = None
    n_images: Whole | None = None
    n_subjects: Whole | None = None
    pairs: Whole | None = None
    p_no_difference: float | None = None
    beyond: float | None = None


class EqualN(Part):
    """The value with as many images as the floor's halves have: where a value depends on n, only this compares with it.

    `value` and `n_images` are means over halvings, and judge nothing.
    """

    value: float
    n_images: float


class Exchanged(Part):
    """The value that a permutation test is of: with one image a subject, `n_images` real ones at a time.

    `chance` is its mean over permutations of the subjects between real and synthetic images.
    """

    value: float
    chance: float
    n_images: int


class Result(Part):
    """One value with what is needed to judge it. Intervals are 95%, over subjects.

    Attributes:
        name: such as KD-Lite0.
        against: which real sample: test or train.
        value: None where it cannot be computed, and `caveat` says why; such a result is not written.
        interval: None below five subjects.
        floor: the same value, real against real: the mean over random halvings of the real subjects; for
            `better: match` the reference's value.
        floor_interval: the central 95% of the halvings (a spread, not a confidence interval), or the reference's.
        equal_n: the value at the floor's number of images.
        reference: the same value between real images.
        ratio, ratio_interval: value / reference value, for `better: match`; of densities at the floor's n.
        p_no_difference, exchanged: from permuting subjects; a small p means the two samples differ.
        fault: what is wrong by it, in a sentence; "" where nothing is shown.
        per_subject: value for each real subject by itself, below five subjects.
        better: lower, higher, or match (near the reference).
        ranked: whether controls are expected behind the model; a value that rises with blur is never ranked.
        details: what a report draws beyond the value, such as a curve or the worst pairs; plain lists and numbers.
        flattering: it is of features that the training looked through: it is shown, and judges nothing.
    """

    left_out = ("flattering",)

    name: str
    against: str = "test"
    value: float | None = None
    interval: Span = None
    floor: float | None = None
    floor_interval: Span = None
    equal_n: EqualN | None = None
    reference: Reference | None = None
    ratio: float | None = None
    ratio_interval: Span = None
    p_no_difference: float | None = None
    exchanged: Exchanged | None = None
    fault: str = ""
    per_subject: dict[str, float | None] | None = None
    n_images: Whole | None = None
    n_subjects: Whole | None = None
    n_synthetic: Whole | None = None
    better: Better = "lower"
    caveat: str = ""
    details: dict[str, Any] | None = None
    flattering: bool = False
    ranked: bool = Field(default=True, exclude=True, repr=False)


class Control(Part):
    """One value of images that are known to be bad; whether the metric places them behind the model."""

    control: str
    name: str
    value: float
    interval: Span = None
    n_synthetic: Whole | None = None
    behind_model: bool | None = None
    caveat: str = ""


class Count(Part):
    """How much of a split was evaluated."""

    left_out = ("subjects",)
    images: Whole
    subjects: Whole | None = None


class Verdict(Part):
    """A question, its light and a sentence that says why."""

    question: Question
    light: Light
    says: str = ""


class Evaluation(Part):
    """What metrics.json holds of any run."""

    left_out = ("patients_unknown", "looks_through")
    schema_version: Whole = SCHEMA_VERSION
    extractor: str = ""
    seconds: float = 0.0
    dataset: str | None = None
    synthetic: str | None = None
    step: Whole | None = None
    seed: Whole | None = None
    domain: str | None = None
    label: str | None = None
    size: Whole | None = None
    warnings: tuple[str, ...] = ()
    patients_unknown: bool = Field(default=False, description="each image counts as a subject of its own")
    looks_through: tuple[str, ...] = Field(default=(), description="networks that the training's losses looked through")
    command: str = ""  # see `core.origin`
    inputs: str = ""

    @property
    def own_warnings(self) -> list[str]:
        """The warnings of the evaluation itself, without those about the dataset."""
        return [text for text in self.warnings if not text.startswith(OF_DATASET)]


class Metrics(Evaluation):
    """What metrics.json holds of images from noise; the first result is the headline."""

    kind: Literal["noise to image"] = Field(default="noise to image", exclude=True)
    counts: dict[str, Count] = {}
    verdicts: tuple[Verdict, ...] = ()
    results: tuple[Result, ...] = ()
    controls: tuple[Control, ...] = ()

    @property
    def test(self) -> Count | None:
        """As counted; of old files as the headline counts."""
        old = next((Count(images=r.n_images, subjects=r.n_subjects) for r in self.results
                    if r.against == "test" and r.n_images is not None), None)
        return self.counts.get("test", old)


class PairedResult(Part):
    """One value of one translator: the mean over subjects of the mean of their slices.

    `value` is None where no image has a foreground; `interval` 95%, Student's t over subjects, None below five;
    `n_images` and `n_subjects` have this value.
    """

    name: str
    value: float | None = None
    units: str = ""
    n_images: Whole = 0
    n_subjects: Whole = 0
    better: Better = "lower"
    interval: Span = None
    per_subject: dict[str, float] = {}


class Comparison(Part):
    """Two translators on the same images by one value.

    `difference` is the mean over subjects of first minus second; `first_ahead` and `second_ahead` count the subjects on
    which each is better by more than is negligible; `ahead` is who leads by the interval (95%, Student's t) and by more
    than is negligible. `p` is that of the difference, `p_holm` corrected over all the translators that the first one is
    compared with: of the primary value, whose `ahead` goes by it.
    """

    name: str
    first: str = MODEL
    second: str
    difference: float | None = None
    units: str = ""
    n_subjects: Whole = 0
    better: Better = "lower"
    interval: Span = None
    p: float | None = None
    p_holm: float | None = None
    first_ahead: Whole = 0
    second_ahead: Whole = 0
    ahead: str | None = None

    @property
    def inside(self) -> bool:
        """Whether it is a value inside the foreground that needs no units."""
        return self.name.endswith(INSIDE) and " in " not in self.name and self.difference is not None

    @property
    def leader(self) -> str | None:
        """Who leads; where there is no interval, who is better on every one of the subjects."""
        if self.interval is not None or not self.n_subjects:
            return self.ahead
        return {self.first_ahead: self.first, self.second_ahead: self.second}.get(self.n_subjects)


class Kernel(Part):
    """Kernel distances of every translator's images to real ones of the target's contrast, and of these."""

    translators: dict[str, Result] = {}
    reference: Reference | None = None


class Worst(Part):
    """An image that stands out by a value; or a lesion or blob, with its place (y, x) and a lesion's contrasts."""

    image: Whole
    image_id: str = ""
    subject: str | None = None
    value: float | None = None
    place: tuple[Whole, Whole] | None = None
    real: float | None = None
    synthetic: float | None = None


class AnatomyResult(Part):
    """One value of the anatomy: of every image, then of every subject, then the mean over subjects.

    `reference` is that of real pairs (or of the input against itself), `limit` what at most 5% of these are worse than,
    `beyond` the share of the images that are, and `allowed` the most that it may be.
    """

    name: str
    unit: str = ""
    value: float | None = None
    better: Better = "lower"
    n_images: Whole = 0
    n_subjects: Whole = 0
    interval: Span = None
    per_subject: dict[str, float] | None = None
    reference: Reference | None = None
    limit: float | None = None
    beyond: float | None = None
    allowed: float | None = None
    worst: tuple[Worst, ...] = ()

    @property
    def faulty(self) -> bool:
        """Whether more images are beyond the limit than chance and a few hard cases explain."""
        return self.beyond is not None and self.allowed is not None and self.beyond > self.allowed


class Anatomy(Part):
    """Whether the anatomy is kept."""

    kept: bool | None = None
    sentence: str = ""
    figures: tuple[AnatomyResult, ...] = ()

    def __getitem__(self, name: str) -> AnatomyResult:
        """The value of this name."""
        return next(one for one in self.figures if one.name == name)


class Blobs(Part):
    """Spots like lesions per 100 images, per subject, then the mean over subjects; interval 95%, over subjects.

    `per_100` in the synthetic target where the real one has nothing such, `missing_per_100` the other way round: where
    it is as high, the two differ in general. `floor_per_100` in a copy of the real target with as much noise again.
    """

    per_100: float
    missing_per_100: float = 0.0
    floor_per_100: float = 0.0
    n_images: Whole = 0
    n_subjects: Whole = 0
    sentence: str = ""
    interval: Span = None
    per_subject: dict[str, float] | None = None
    worst: tuple[Worst, ...] = ()


class Lesions(Part):
    """What became of the lesions: of each subject, then the mean over subjects. Intervals are 95%, over subjects.

    Attributes:
        n_lesions, n_clear: measured, and those that stand out in the real target, which alone are judged.
        contrast: their median contrast in the real target, in % of the range.
        slope: share of the contrast that is kept: regression of the synthetic on the real contrast, through zero.
        vanished: share of the clear lesions.
        floor_slope, floor_vanished: of a perfect translator: noise in the truth makes small contrasts seem larger than
            they are. None where the noise hides all lesions.
    """

    n_images: Whole = 0
    n_subjects: Whole = 0
    n_lesions: Whole = 0
    n_clear: Whole = 0
    sentence: str = ""
    contrast: float | None = None
    slope: float | None = None
    slope_interval: Span = None
    vanished: float | None = None
    vanished_interval: Span = None
    floor_slope: float | None = None
    floor_vanished: float | None = None
    per_subject: dict[str, dict[str, Any]] | None = None
    invented: Blobs | None = None
    worst: tuple[Worst, ...] = ()


class Returned(Part):
    """Whether the model only returns its input. Values are medians over subjects, of each one's foreground pixels.

    Attributes:
        finding: "input" is returned; only "grey values" are changed; "unrelated" to input and truth; "alike", source
            and target too much so to tell; "cannot tell", nothing to judge by; "", none of these.
        moved: distance of output and input over that of real target (without one, matched input) and input.
        same_real: share of the real target's variance that the input itself explains.
        curve_made, curve_real: share of output and real target that the best curve of the input's grey value explains.
        reproduced: of what that curve leaves of the real target, the share that the output has too.
        truth_made: share of the output's variance that the best curve of the real target's grey value explains.
    """

    finding: Finding = ""
    moved: float | None = None
    same_real: float | None = None
    curve_made: float | None = None
    curve_real: float | None = None
    reproduced: float | None = None
    truth_made: float | None = None
    n_subjects: Whole = 0
    sentence: str = ""

    @property
    def no_translation(self) -> bool:
        """Whether it returns its input, only changes grey values, or makes something else."""
        return self.finding in ("input", "grey values", "unrelated")


class Direction(Part):
    """All that was measured of a translation from one contrast to another."""

    left_out = ("translators", "comparisons", "headlines", "returned", "anatomy", "lesions", "cycle", "identity")
    source: str
    target: str
    paired: bool = False
    n_images: Whole
    n_subjects: Whole
    note: str = ""
    kernel: Kernel = Kernel()
    translators: dict[str, tuple[PairedResult, ...]] = {}
    comparisons: dict[str, tuple[Comparison, ...]] = {}
    headlines: dict[str, str] = {}
    returned: Returned | None = None
    anatomy: Anatomy | None = None
    lesions: Lesions | None = None
    cycle: tuple[PairedResult, ...] = ()
    identity: tuple[PairedResult, ...] = ()

    @property
    def names(self) -> list[str]:
        """The translators: the model, the runs beside it, then the baselines, the input returned last."""
        return sorted(self.kernel.translators or self.translators,
                      key=lambda name: {MODEL: 0, HISTOGRAM_MATCHED: 2, INPUT_RETURNED: 3}.get(name, 1))

    def value(self, translator: str, name: str) -> PairedResult | None:
        """One value of one translator; None where it was not measured."""
        return next((r for r in self.translators.get(translator, ()) if r.name == name and r.value is not None), None)

    def compared(self, other: str) -> list[Comparison]:
        """The model against another translator by the values inside the foreground that need no units."""
        return [c for c in self.comparisons.get(other, ()) if c.inside]


class TranslationMetrics(Evaluation):
    """What metrics.json holds of a run that translates; `n` as asked for, None for all test slices."""

    kind: Literal["translation"] = "translation"
    source: str | None = None
    n: Whole | None = None
    directions: tuple[Direction, ...] = ()

    @property
    def test(self) -> Count | None:
        """Of the first direction."""
        first = next(iter(self.directions), None)
        return Count(images=first.n_images, subjects=first.n_subjects) if first else None


def parse_metrics(values: Any) -> Metrics | TranslationMetrics:
    """The contents of a metrics.json. Raises pydantic's `ValidationError` where they do not hold what they should."""
    translates = isinstance(values, dict) and values.get("kind") == TRANSLATION
    return TranslationMetrics.model_validate(values) if translates else Metrics.model_validate(values)


def read_metrics(path: Path) -> Metrics | TranslationMetrics:
    """Read a metrics.json. Raises `UserError` where there is none, or it does not hold what it should."""
    if not path.is_file():
        raise UserError("there is no metrics.json: not evaluated yet", where=path.parent,
                        fix=f"run `ganatomy evaluate {path.parent}`")
    with reading(path, f"run `ganatomy evaluate {path.parent}` again"):
        return parse_metrics(json.loads(path.read_bytes()))
