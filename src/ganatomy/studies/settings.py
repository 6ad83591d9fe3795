"""What a study is: everything that decides its result, in one frozen, validated value kept in study.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from ganatomy import gans
from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Frozen, Recipe, validation_error
from ganatomy.data.dataset import Dataset
from ganatomy.studies.arms import DEFAULT, Arm, parse_arms
from ganatomy.studies.classifiers import ClassifierSettings

Factor = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
Images = Annotated[int, Field(ge=2, le=100_000)]
MOST_SEEDS, MOST_FOLDS = 100, 20
BEGIN_ANEW = "a study's GANs begin from random weights, since others may have seen the patients that are held out"


class StudySettings(Frozen):
    """The protocol of a study. docs/study.md explains the words."""

    k: tuple[Images, ...] = Field((25, 50, 100), description="numbers of real positive training images")
    folds: int = Field(3, ge=2, le=MOST_FOLDS, description="parts of the subjects, each held out once")
    seeds: int = Field(2, ge=1, le=MOST_SEEDS, description="repetitions in each fold: subset, GAN, initial weights")
    arms: tuple[str, ...] = Field(DEFAULT, min_length=1, description="see arms.py")
    imbalance: float = Field(10.0, gt=0, le=1000, description="real negatives for each real positive")
    synthetic: tuple[Factor, ...] = Field((1.5,), description="images added, as multiples of k")
    positives: tuple[str, ...] = Field(min_length=1, description="classes that are rare and get synthetic images")
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

    @field_validator("synthetic")
    @classmethod
    def _some(cls, factors: tuple[float, ...]) -> tuple[float, ...]:
        if not factors:  # not min_length, which complains of a wrong number a second time
            raise ValueError("give at least one factor")
        return factors

    @field_validator("positives")
    @classmethod
    def _once(cls, positives: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(positives)) < len(positives):
            raise ValueError("name each class once")
        return positives

    @field_validator("recipe")
    @classmethod
    def _from_nothing(cls, recipe: Recipe) -> Recipe:
        if recipe.init_from is not None:
            raise ValueError(f"init_from: {BEGIN_ANEW}")
        return recipe

    @model_validator(mode="after")
    def _known(self) -> Self:
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
    """The settings of a new study: what is given, and for the rest what follows from the dataset.

    Args:
        dataset: a labelled dataset folder.
        recipe: of the GANs.
        given: fields of `StudySettings` by name; `positives` and `domain` may be missing.

    Raises:
        UserError: a value out of range, an unknown class or domain, or a recipe that is of no use here.
    """
    domain = dataset.domain(given.get("domain"))
    asked = given.get("positives")
    positives = (asked,) if isinstance(asked, str) else _rarer(dataset, domain) if asked is None else tuple(asked)
    _check_classes(dataset, positives)
    _check_recipe(recipe)
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
        return StudySettings.model_validate(values)
    except ValidationError as error:
        raise validation_error(error, "study", list(StudySettings.model_fields)) from error


def _check_recipe(recipe: Recipe) -> None:
    if recipe.init_from is not None:
        raise UserError(BEGIN_ANEW, where="--recipe, --set init_from", fix="leave init_from out")
    if gans.kind(recipe).translates:
        raise UserError(f"{recipe.gan} starts from images, and a study needs images from noise", where="--recipe",
                        fix="choose rpgan-64 or one of the dcgan recipes")


def _check_classes(dataset: Dataset, positives: tuple[str, ...]) -> None:
    classes = dataset.info.classes
    if len(classes) < 2:
        raise UserError("has fewer than two classes, so there is nothing to classify", where=dataset.path,
                        fix="prepare it from a table with a label column, or from a folder for each class")
    for name in positives:
        if name not in classes:
            raise UserError(f"has no class {name!r}", where=dataset.path, fix=f"known classes: {', '.join(classes)}")
    if len(set(positives)) < len(positives):
        raise UserError(f"a class is named twice: {', '.join(positives)}", where="--positive", fix="name each once")
    if len(positives) == len(classes):
        raise UserError("all classes are called positive", where="--positive",
                        fix="leave at least one class as the negatives")


def _rarer(dataset: Dataset, domain: str) -> tuple[str, ...]:
    """The class of the fewer images, where there are two."""
    classes = dataset.info.classes
    if len(classes) > 2:
        raise UserError(f"has {len(classes)} classes ({', '.join(classes)})", where=dataset.path,
                        fix="name those that are rare and shall get synthetic images with --positive A,B")
    return tuple(sorted(classes, key=lambda name: len(dataset.rows(domain, label=name)))[:1])
