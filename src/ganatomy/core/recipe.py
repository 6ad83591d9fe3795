"""A recipe: everything that decides what is trained, in one frozen, validated value."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from ganatomy.core.errors import UserError
from ganatomy.core.text import seconds_of, typed_time

Precision = Literal["auto", "fp32", "bf16"]
Beta = Annotated[float, Field(ge=0, lt=1)]
Flip = Literal["horizontal", "vertical"]
Select = Literal["last", "kd", "fd", "critic"]
Budget = Annotated[float, BeforeValidator(lambda value: seconds_of(value) if isinstance(value, str) else value),
                   AfterValidator(lambda seconds: round(seconds, 3)),  # as it is written
                   Field(ge=0.001, le=10**7), PlainSerializer(typed_time, when_used="json")]
OWN = {256: "projected-256", 128: "projected-128", 64: "projected-64"}  # what trains where no recipe is named
LENGTHS = ("steps", "epochs", "budget")
_EITHER = (LENGTHS, ("checkpoint_every", "checkpoint_epochs"))  # setting one unsets the others


class Frozen(BaseModel):
    """Base of all settings: immutable, unknown keys refused, as are NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LearningRate(Frozen):
    """Adam's step size for each network."""

    generator: float = Field(gt=0, le=10)
    discriminator: float = Field(gt=0, le=10)


class Decay(Frozen):
    """A step size that is multiplied by `factor` every `epochs` passes over the training images."""

    factor: float = Field(gt=0, le=1)
    epochs: int = Field(ge=1)


class LearningRateDecay(Frozen):
    """The decay of each network's step size; null for none."""

    generator: Decay | None = None
    discriminator: Decay | None = None


class Recipe(Frozen):
    """What to train and how. `model` is kept raw here; `gans.resolve` validates it for the named GAN."""

    name: str = Field(min_length=1, max_length=80, description="the recipe's name")
    gan: str = Field(description="which GAN: dcgan, rpgan, ..., or a module of your own: my_package.my_gan")
    model: dict[str, Any] = Field(default_factory=dict, description="settings of that GAN")

    size: int = Field(ge=8, le=1024, description="height and width of the images, pixels")
    domain: str | None = Field(None, description="which domain to learn; needed where a dataset has several")
    source: str | None = Field(None, description="which domain to translate from; where there are two, the other one")
    init_from: str | None = Field(None, description="a run whose generator training starts from")
    label: str | None = Field(None, description="learn only this class")

    batch_size: int = Field(ge=1, le=65536)
    steps: int | None = Field(None, ge=1, le=10**8, description="generator updates; this, epochs or budget")
    epochs: float | None = Field(None, gt=0, le=10**6, description="passes over the training images")
    budget: Budget | None = Field(None, description="time, such as 5m (in Python also seconds): as many steps as it "
                                                    "holds; a run's own recipe has these beside it")
    order: Literal["d_first", "g_first"] = "d_first"
    reuse_fake: bool = Field(False, description="one generator pass serves both losses of a step")
    d_steps: int = Field(1, ge=1, description="discriminator updates a generator update")
    learning_rate: LearningRate
    learning_rate_decay: LearningRateDecay = LearningRateDecay()
    learning_rate_fade: float = Field(0.0, ge=0, le=1, description="last share of the steps, in which both fall to 0")
    betas: tuple[Beta, Beta] = Field((0.5, 0.999), description="Adam's two decay rates")
    flips: tuple[Flip, ...] = Field((), description="mirror each real image left-right, up-down, or not, at random")
    rotation: float = Field(0.0, ge=0, le=180, description="turn each real image by up to so many degrees")
    contrast: float = Field(0.0, ge=0, le=1, description="raise values to a random power, exp(-c) to exp(c); of pairs "
                                                         "the source alone")
    ema: float | None = Field(None, gt=0, le=1, description="half-life of the weight average, share of images seen")

    seed: int = Field(0, ge=0, lt=2**31)
    precision: Precision = "auto"
    precisions_checked: tuple[Literal["fp32", "bf16"], ...] = Field(("fp32",), description="what auto may choose")
    checkpoint_every: int | None = Field(None, ge=1, description="steps; by default a tenth of the training")
    checkpoint_epochs: float | None = Field(None, gt=0, le=10**6, description="epochs, instead of checkpoint_every")
    preview_every: int | None = Field(None, ge=1, description="steps between sample grids; by default a twentieth")
    select: Select = Field("last", description="which checkpoint becomes the generator")

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        given = [key for key in LENGTHS if getattr(self, key) is not None]
        if len(given) != 1 and given != ["steps", "budget"]:  # both: a budget that has become steps
            raise ValueError("give one of steps, epochs and budget")
        if self.reuse_fake and self.d_steps > 1:
            raise ValueError("reuse_fake needs d_steps: 1")
        return self

    def to_yaml(self) -> str:
        """The recipe as YAML, every key spelled out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def names() -> list[str]:
    """The names of the recipes that come with the package."""
    return sorted(p.name.removesuffix(".yaml") for p in resources.files("ganatomy.recipes").iterdir()
                  if p.name.endswith(".yaml"))


def own(size: int) -> str:
    """Our recipe for images from noise of a dataset of `size` pixels a side: of the largest side that divides it."""
    return next((name for side, name in OWN.items() if size % side == 0), OWN[64])


def text(name: str) -> str:
    """A packaged recipe's YAML with its head, or that of a YAML file given by path."""
    if name.endswith((".yaml", ".yml")):
        try:
            return Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = "there is no such file" if isinstance(error, FileNotFoundError) else str(error)
            raise UserError(f"cannot read this recipe ({reason})", where=name) from error
    if name not in names():
        raise UserError(f"no recipe is called {name!r}", fix=f"choose from {', '.join(names())}, or give a .yaml file")
    return (resources.files("ganatomy.recipes") / f"{name}.yaml").read_text(encoding="utf-8")


def load(name: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Load a recipe by name or path and set single keys.

    Args:
        name: a packaged recipe's name, or a path to a YAML file.
        overrides: dotted keys to values, such as {"batch_size": 8, "model.width": 32}. Setting one of `steps`,
            `epochs` and `budget` unsets the others; likewise `checkpoint_every` and `checkpoint_epochs`.

    Raises:
        UserError: unknown recipe or key, or a value out of range, with every problem named at once.
    """
    recipe = parse(text(name), where=f"recipe {name}", overrides=overrides)
    if recipe.steps is not None and recipe.budget is not None:  # as in a run's own recipe
        raise UserError("steps and budget are both given", where=f"recipe {name}",
                        fix=f"add --steps {recipe.steps}, or --budget {typed_time(recipe.budget)} to measure anew")
    return recipe


def chosen(recipe: str | Path | Recipe, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe by name, by path or as it is, with single keys set; see `load`."""
    if isinstance(recipe, Recipe):
        return parse(recipe.to_yaml(), f"recipe {recipe.name}", overrides)
    return load(str(recipe), overrides)


def parse(yaml_text: str, where: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Validate YAML text as a recipe; see `load`."""
    try:
        raw = yaml.safe_load(yaml_text)
    except Exception as error:  # dates and numbers that there are not raise errors of their own
        raise UserError(f"is not valid YAML ({' '.join(str(error).split())})", where=where) from error
    if not isinstance(raw, dict):
        raise UserError("holds no settings", where=where,
                        fix="a recipe is a YAML mapping; see `ganatomy recipes show rpgan-64`")
    for keys in _EITHER:
        given = [key for key in keys if (overrides or {}).get(key) is not None]
        if len(given) > 1:
            raise UserError(f"{' and '.join(given)} are both given", where=where, fix="give one of them")
    for key, value in (overrides or {}).items():
        _set(raw, key, plain(value))
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise validation_error(error, where, list(Recipe.model_fields)) from error


def validation_error(error: ValidationError, where: str | Path, known: list[str]) -> UserError:
    """Say all of pydantic's complaints in one line."""
    problems = [f"{'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg'].removeprefix('Value error, ')}"
                for e in error.errors()]
    unknown = any(e["type"] == "extra_forbidden" for e in error.errors())
    fix = f"known keys: {', '.join(known)}" if unknown else "correct the value"
    return UserError("; ".join(problems).replace("Extra inputs are not permitted", "unknown key"), where=where, fix=fix)


def plain(value: Any) -> Any:
    """numpy's numbers, arrays and paths as plain ones, in containers too: settings are written as YAML and JSON."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value))
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.tolist() if type(value).__module__ == "numpy" else value


def _set(raw: dict[str, Any], key: str, value: Any) -> None:
    node = raw
    *parents, last = key.split(".")
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise UserError(f"{key}: {parent} holds no further keys", where="--set")
    node[last] = value
    for keys in _EITHER:
        if key in keys and value is not None:
            for other in keys:
                if other != key:
                    raw.pop(other, None)


def parse_assignments(assignments: list[str] | tuple[str, ...]) -> dict[str, Any]:
    """Turn `key=value` strings of the command line into overrides; values are read as YAML."""
    overrides: dict[str, Any] = {}
    for item in assignments:
        key, sign, value = item.partition("=")
        if not sign or not key:
            raise UserError(f"{item!r} is not key=value", where="--set", fix="for example --set batch_size=8")
        try:
            overrides[key.strip()] = _number(yaml.safe_load(value))
        except (yaml.YAMLError, RecursionError) as error:
            raise UserError(f"{value[:80]!r} is not a YAML value", where=f"--set {key}") from error
    return overrides


def _number(value: Any) -> Any:
    # YAML 1.1 reads 1e-3 as a string
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as dotted ones: {"a": {"b": 1}} becomes {"a.b": 1}."""
    items: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict) and item:
            items |= flat(item, f"{prefix}{key}.")
        else:
            items[f"{prefix}{key}"] = item
    return items


def differences(before: Frozen, now: Frozen) -> str:
    """The keys in which settings differ, and how: "batch_size was 4, now 5; ..."; "" if in none."""
    old, new = (flat(settings.model_dump(mode="json")) for settings in (before, now))
    return "; ".join(f"{key} was {old.get(key)}, now {new.get(key)}" for key in sorted(old.keys() | new.keys())
                     if old.get(key) != new.get(key))
