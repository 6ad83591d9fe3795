"""What a study is: everything that decides its result, in one frozen, validated value kept in study.json.

An arm is what a classifier is trained on, and how its images are changed on the fly. ORG has the real images alone. The
other sources add factor x k positive images: OVERSAMPLE the training positives again, GAN synthetic ones; GAN_ONLY has
synthetic images alone, of every class. Three are controls, which tell what the study itself can see: FRESH adds real
images of further patients (the most that a generator could give), COPIES random draws of the training positives (a
generator that has learnt by heart), NOISE grey noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from ganatomy import gans
from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Frozen, Recipe, plain, validation_error
from ganatomy.data.dataset import Dataset

Augment = Literal["none", "flips", "strong"]
CONTROLS = ("FRESH", "COPIES", "NOISE")
SOURCES = ("ORG", "OVERSAMPLE", "GAN", "GAN_ONLY", *CONTROLS)
PREFIXES: dict[str, Augment] = {"": "none", "AUG_": "flips", "AUG2_": "strong"}
DEFAULT = ("ORG", "AUG_ORG", "OVERSAMPLE", "AUG_OVERSAMPLE", "GAN", "AUG_GAN")
Factor = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
Images = Annotated[int, Field(ge=2, le=100_000)]


@dataclass(frozen=True)
class Arm:
    """One arm: the parts of its name, [AUG_|AUG2_]SOURCE[@factor].

    Attributes:
        at: what stands behind the @; "" without.
        factor: how many images are added, as a multiple of k; 0 for ORG.
    """

    name: str
    prefix: str
    source: str
    at: str = ""
    factor: float = 0.0

    @property
    def augment(self) -> Augment:
        """What is done to its images on the fly."""
        return PREFIXES[self.prefix]

    @property
    def needs_gan(self) -> bool:
        """Whether synthetic images go into it."""
        return self.source in ("GAN", "GAN_ONLY")

    def added(self, k: int) -> int:
        """How many images are added for each positive class."""
        return round(self.factor * k)


def named(name: str) -> Arm:
    """The arm of a name, without its factor. Raises `UserError` for a name that is no arm's."""
    plain, _, at = name.partition("@")
    prefix = next(p for p in sorted(PREFIXES, key=len, reverse=True) if plain.startswith(p))
    source = plain.removeprefix(prefix)
    if source not in SOURCES:
        raise UserError(f"no arm is called {name!r}", where="--arms",
                        fix=f"use {', '.join(SOURCES)}, each also with AUG_ (flips) or AUG2_ (rotation, contrast, "
                            "elastic) before it")
    return Arm(name, prefix, source, at)


def parse_arms(names: Sequence[str], factors: Sequence[float]) -> tuple[Arm, ...]:
    """The arms of these names, each that adds images once for every factor; with several it is named GAN@0.5, GAN@1.5.

    Raises `UserError` for an unknown or repeated name.
    """
    arms: list[Arm] = []
    for arm in map(named, names):
        if arm.at:
            raise UserError(f"the factor of {arm.name} has an option of its own", where="--arms",
                            fix=f"give --synthetic {arm.at}")
        if arm.source == "ORG":
            arms.append(arm)
        elif len(factors) == 1:
            arms.append(replace(arm, factor=factors[0]))
        else:
            arms += [replace(arm, name=f"{arm.name}@{f:g}", at=f"{f:g}", factor=f) for f in factors]
    if len({a.name for a in arms}) < len(arms):
        raise UserError("an arm or a factor is given twice", where="--arms, --synthetic", fix="name each once")
    return tuple(arms)


class ClassifierSettings(Frozen):
    """How a classifier is trained: by updates, not epochs, so that arms of different size get the same.

    The published step size falls by 0.95 an epoch, which is shorter where there are fewer images. Here it falls by the
    same factor at every update, from `learning_rate` to `final_rate` times that: 0.95 an epoch over 30 epochs is 0.21.
    """

    name: Literal["fcn", "resnet", "features"] = Field("fcn", description="which classifier")
    updates: int = Field(500, ge=1, le=10**6, description="gradient updates, the same in every arm")
    batch_size: int = Field(32, ge=2, le=4096, description="images an update")
    learning_rate: float = Field(3e-4, gt=0, le=1, description="Adam's step size at the start")
    final_rate: float = Field(0.2, gt=0, le=1, description="step size at the end, as a share of that at the start")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="Adam's, added to the gradients")
    checkpoints: int = Field(10, ge=1, le=1000, description="how often the images are judged, at equal distances")

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.checkpoints > self.updates:
            raise ValueError("there cannot be more checkpoints than updates")
        return self


class StudySettings(Frozen):
    """The protocol of a study. docs/study.md explains the words."""

    k: tuple[Images, ...] = Field((25, 50, 100), description="numbers of real positive training images")
    folds: int = Field(3, ge=2, le=20, description="parts of the subjects, each held out once")
    seeds: int = Field(2, ge=1, le=100, description="repetitions in each fold: subset, GAN, initial weights")
    arms: tuple[str, ...] = Field(DEFAULT, min_length=1, description="see `Arm`")
    imbalance: float = Field(10.0, gt=0, le=1000, description="real negatives for each real positive")
    synthetic: tuple[Factor, ...] = Field((1.5,), description="images added, as multiples of k")
    positives: tuple[str, ...] = Field(description="classes that are rare and get synthetic images")
    domain: str = Field(description="which contrast")
    recipe: Recipe = Field(description="of the GANs; select: last, since no validation image may guide them")
    size: int = Field(ge=8, le=1024, description="height and width of the images, pixels")
    classifier: ClassifierSettings = Field(default_factory=ClassifierSettings)
    margin: float = Field(0.02, gt=0, lt=1, description="smallest difference in F1 that would matter")
    seed: int = Field(0, ge=0, lt=2**31)

    @field_validator("k", "arms", "synthetic", "positives", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | int | float) else value

    @field_validator("classifier", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("k")
    @classmethod
    def _rising(cls, k: tuple[int, ...]) -> tuple[int, ...]:
        if not k or list(k) != sorted(set(k)):
            raise ValueError("give rising numbers, each once, such as 25,50,100")
        return k

    @field_validator("synthetic", "positives")
    @classmethod
    def _each_once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if not values or len(set(values)) < len(values):  # not min_length, which complains of a wrong one a second time
            raise ValueError("give at least one, and each once")
        return values

    @field_validator("recipe")
    @classmethod
    def _from_nothing(cls, recipe: Recipe) -> Recipe:
        if recipe.init_from is not None:
            raise ValueError("init_from: a study's GANs begin from random weights, since others may have seen the "
                             "patients that are held out")
        return recipe

    @model_validator(mode="after")
    def _whole(self) -> Self:
        self.parsed_arms()
        return self

    def parsed_arms(self) -> tuple[Arm, ...]:
        """The arms, with their factors."""
        return parse_arms(self.arms, self.synthetic)

    @property
    def needs_gan(self) -> bool:
        """Whether any arm has synthetic images."""
        return any(arm.needs_gan for arm in self.parsed_arms())


def resolve(dataset: Dataset, recipe: Recipe, given: Mapping[str, Any]) -> StudySettings:
    """The settings of a new study: those that are given, and for the rest what follows from the dataset.

    Raises:
        UserError: a value out of range, an unknown class or domain, or a recipe that is of no use here.
    """
    domain = dataset.domain(given.get("domain"))
    asked = given.get("positives")
    positives = (asked,) if isinstance(asked, str) else _rarer(dataset, domain) if asked is None else tuple(asked)
    _check_classes(dataset, positives)
    if "source" in gans.kind(recipe).needs:
        raise UserError(f"{recipe.gan} learns from images of another contrast, and a study's GANs from noise alone",
                        where="--recipe", fix="choose rpgan-64 or one of the dcgan recipes")
    values = {**given, "domain": domain, "positives": positives, "recipe": recipe_of_study(recipe, domain)}
    if "size" not in values:
        values["size"] = dataset.size
        if validated(values).needs_gan:
            values["size"] = recipe.size
    return validated(values)


def recipe_of_study(recipe: Recipe, domain: str) -> Recipe:
    """The recipe with what a study decides: the domain, all classes, and the last weights."""
    return recipe.model_copy(update={"domain": domain, "label": None, "select": "last"})


def validated(values: Mapping[str, Any]) -> StudySettings:
    """Settings of these values. Raises `UserError` with all that is wrong with them."""
    try:
        return StudySettings.model_validate(plain(values))
    except ValidationError as error:
        raise validation_error(error, "study", list(StudySettings.model_fields)) from error


def _check_classes(dataset: Dataset, positives: tuple[str, ...]) -> None:
    classes = dataset.info.classes
    if len(classes) < 2:
        raise UserError("has fewer than two classes, so there is nothing to classify", where=dataset.path,
                        fix="prepare it from a table with a label column, or from a folder for each class")
    for name in set(positives) - set(classes):
        raise UserError(f"has no class {name!r}", where=dataset.path, fix=f"known classes: {', '.join(classes)}")
    if set(positives) == set(classes):
        raise UserError("all classes are called positive", where="--positive",
                        fix="leave at least one class as the negatives")


def _rarer(dataset: Dataset, domain: str) -> tuple[str, ...]:
    """The class of the fewer images, where there are two."""
    classes = dataset.info.classes
    if len(classes) > 2:
        raise UserError(f"has {len(classes)} classes ({', '.join(classes)})", where=dataset.path,
                        fix="name those that are rare and shall get synthetic images with --positive A,B")
    return tuple(sorted(classes, key=lambda name: len(dataset.rows(domain, label=name)))[:1])
