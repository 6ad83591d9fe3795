from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganatomy import gans
from ganatomy.core.errors import UserError
from ganatomy.core.recipe import load, names, own, parse, parse_assignments, plain, text


@pytest.mark.parametrize("name", names())
def test_every_packaged_recipe_is_valid_and_has_a_head(name: str) -> None:
    recipe = load(name)
    assert recipe.name == name
    assert text(name).startswith(f"# {name}: ")
    model = gans.resolve(recipe, channels=1)
    assert model.shape.size == recipe.size
    assert parse(recipe.to_yaml(), where="test") == recipe


def test_every_unknown_key_is_named_with_the_known_ones() -> None:
    with pytest.raises(UserError) as error:
        load("rpgan-64", {"batchsize": 8, "stepz": 3})
    assert "batchsize: unknown key" in str(error.value)
    assert "stepz: unknown key" in str(error.value)
    assert "batch_size" in str(error.value)


def test_an_unknown_model_setting_is_named() -> None:
    with pytest.raises(UserError, match=r"widht: unknown key.*width"):
        gans.resolve(load("rpgan-64", {"model.widht": 8}), channels=1)


@pytest.mark.parametrize(("key", "value"), [("batch_size", 0), ("learning_rate.generator", -1), ("steps", "many"),
                                            ("size", 4), ("order", "g"), ("batch_size.more", 1),
                                            ("flips", ["diagonal"]),
                                            ("learning_rate_decay.generator", {"factor": 2, "epochs": 1}),
                                            ("select", "fid"), ("budget", "soon"), ("budget", 0),
                                            ("budget", float("nan")), ("budget", "5000h")])
def test_impossible_values_are_refused(key: str, value: object) -> None:
    with pytest.raises(UserError, match=key.split(".")[0]):
        load("rpgan-64", {key: value})


@pytest.mark.parametrize(("typed", "seconds", "written"), [
    ("5m", 300, "5m"), ("90s", 90, "1m30s"), ("1h30m", 5400, "1h30m"), ("0.5h", 1800, "30m"), ("45", 45, "45s"),
    (300, 300, "5m"), (np.float32(0.1), 0.1, "0.1s")])
def test_a_budget_is_typed_as_a_time(typed: object, seconds: float, written: str) -> None:
    recipe = load("rpgan-64", {"budget": typed})
    assert (recipe.steps, recipe.budget) == (None, seconds)
    assert f"budget: {written}\n" in recipe.to_yaml()
    assert parse(recipe.to_yaml(), "itself") == recipe


def test_a_length_is_given_once(tmp_path: Path) -> None:
    for both in ({"steps": 3, "budget": "5m"}, {"epochs": 2, "budget": 5}, {"steps": 3, "epochs": 2}):
        with pytest.raises(UserError, match=" and ".join(both) + " are both given"):
            load("rpgan-64", both)
    begun = load("rpgan-64", {"budget": "5m"}).model_copy(update={"steps": 7})  # as a run's own recipe is
    own = tmp_path / "recipe.yaml"
    own.write_text(begun.to_yaml())
    with pytest.raises(UserError, match=r"steps and budget are both given -> add --steps 7, or --budget 5m"):
        load(str(own))
    assert load(str(own), {"steps": 7}).budget is None
    assert load(str(own), {"budget": "5m"}).steps is None
    own.write_text(begun.to_yaml().replace("epochs: null", "epochs: 2"))
    with pytest.raises(UserError, match="give one of steps, epochs and budget"):
        load(str(own))


def test_setting_one_of_steps_and_epochs_unsets_the_other() -> None:
    by_epochs = load("rpgan-64", {"epochs": 2})
    assert (by_epochs.steps, by_epochs.epochs) == (None, 2)
    assert load("rpgan-64", {"steps": 7}).steps == 7
    assert load("dcgan-mammo-128").checkpoint_epochs == 10
    by_steps = load("dcgan-mammo-128", {"checkpoint_every": 7})
    assert (by_steps.checkpoint_every, by_steps.checkpoint_epochs) == (7, None)
    with pytest.raises(UserError, match="checkpoint_every and checkpoint_epochs are both given"):
        load("rpgan-64", {"checkpoint_every": 7, "checkpoint_epochs": 2})


def test_single_keys_of_the_decay_can_be_set() -> None:
    decay = load("dcgan-mammo-128", {"learning_rate_decay.generator.factor": 0.5}).learning_rate_decay
    assert decay.generator is not None
    assert (decay.generator.factor, decay.generator.epochs) == (0.5, 10)
    none = load("dcgan-mammo-128", {"learning_rate_decay.generator": None}).learning_rate_decay
    assert none.generator is None


def test_a_recipe_file_of_the_users_own(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text("rpgan-64").replace("batch_size: 16", "batch_size: 9"))
    assert load(str(path)).batch_size == 9
    path.write_text("[1, 2")
    with pytest.raises(UserError, match="not valid YAML"):
        load(str(path))
    with pytest.raises(UserError, match="cannot read"):
        load(str(tmp_path / "absent.yaml"))
    with pytest.raises(UserError, match="rpgan-64"):
        load("nonesuch")


@given(st.floats(1e-7, 1e3))
def test_numbers_on_the_command_line_stay_numbers(value: float) -> None:
    assert parse_assignments([f"key={value!r}"]) == {"key": value}


def test_assignments_read_yaml_and_refuse_what_is_none() -> None:
    assert parse_assignments(["a=1e-3", "b=[0, 0.9]", "c=true", "d=uniform"]) == {
        "a": 1e-3, "b": [0, 0.9], "c": True, "d": "uniform"}
    with pytest.raises(UserError, match="key=value"):
        parse_assignments(["novalue"])


def test_numbers_and_arrays_of_numpy_become_plain() -> None:
    given = {"a": np.int64(1), "b": [np.float32(0.5), (np.array([2, 3]),)], "c": np.str_("x"), "d": None}
    assert plain(given) == {"a": 1, "b": [0.5, ([2, 3],)], "c": "x", "d": None}
    assert type(plain(np.int64(1))) is int and type(plain(np.bool_(True))) is bool


@pytest.mark.parametrize(("size", "name"), [(64, "projected-64"), (128, "projected-128"), (512, "projected-256"),
                                            (192, "projected-64"), (100, "projected-64")])
def test_our_own_recipe_is_that_of_the_largest_side_that_the_images_can_be_averaged_to(size: int, name: str) -> None:
    assert own(size) == name and load(name).size == int(name.rpartition("-")[2])
