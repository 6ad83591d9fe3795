"""Training GANs that translate: what they are fed, which domains, where they start from, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from ganatomy.cli.main import cli
from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe, load
from ganatomy.core.run import Run
from ganatomy.data.dataset import Dataset, DatasetInfo, new_dataset
from ganatomy.data.manifest import Row
from ganatomy.generators.folder import load_generator
from ganatomy.generators.generation import generate
from ganatomy.training.draws import _turned, make_feed, real_images, with_domains
from ganatomy.training.step import learning_rates
from ganatomy.training.train import Interrupted, train
from tests.builders import SMALL, interrupt_at, weights, write_contrasts

CPU = torch.device("cpu")
OTHER_WAY = {"source": "T1", "domain": "T2"}


def small(name: str, **settings: Any) -> Recipe:
    return load(name, SMALL[name] | (OTHER_WAY if "brain" in name else {}) | settings)


def fed(dataset: Dataset, name: str, draw: int = 0, **settings: Any) -> tuple[torch.Tensor, torch.Tensor]:
    recipe = with_domains(small(name, **settings), dataset)
    target, source = real_images(recipe, make_feed(dataset, recipe, CPU), draw)
    assert source is not None
    return target, source


# ------------------------------------------------------------------ what is fed

STILL = {"flips": [], "rotation": 0, "contrast": 0}


@pytest.mark.parametrize("moved", [{"flips": ["horizontal"]}, {"flips": ["horizontal", "vertical"]}, {"rotation": 30},
                                   {"flips": ["vertical"], "rotation": 180}])
def test_pairs_stay_pairs_however_they_are_moved(tmp_path: Path, moved: dict[str, Any]) -> None:
    data = write_contrasts(tmp_path / "halves", other=lambda image: image // 2)
    changed = 0
    for draw in range(4):
        still = fed(data, "pix2pix", draw, **STILL)[1]
        target, source = fed(data, "pix2pix", draw, **STILL | moved)
        torch.testing.assert_close(target + 1, (source + 1) / 2, atol=1e-5, rtol=0)
        changed += int((source - still).abs().amax((1, 2, 3)).gt(1e-3).sum())
    assert changed >= 4  # of sixteen


def test_contrast_changes_the_source_of_a_pair_alone(pairs: Dataset) -> None:
    target, source = fed(pairs, "pix2pix", **STILL)
    same, other = fed(pairs, "pix2pix", **STILL | {"contrast": 0.5})
    assert torch.equal(same, target)
    before, after = (source + 1) / 2, (other + 1) / 2
    inside = (before > 0.05) & (before < 0.95)
    powers = [(after[i][inside[i]].log() / before[i][inside[i]].log()) for i in range(4)]
    assert all(float(p.std()) < 1e-3 for p in powers)  # one power an image
    means = np.array([float(p.mean()) for p in powers])
    assert np.all(np.abs(np.log(means)) <= 0.5 + 1e-3)
    assert np.ptp(means) > 0.05


def test_contrast_changes_both_sides_where_there_are_no_pairs(pairs: Dataset) -> None:
    one, two = fed(pairs, "cyclegan-mri", **STILL), fed(pairs, "cyclegan-mri", **STILL | {"contrast": 0.5})
    assert all((a - b).abs().max() > 0.01 for a, b in zip(one, two, strict=True))


def drawn(dataset: Dataset, name: str, draws: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the rows of targets and sources, in the order in which they are drawn."""
    recipe = with_domains(small(name), dataset)
    feed = make_feed(dataset, recipe, CPU)
    assert feed.source is not None
    return tuple(np.array([one.rows[i].row for draw in range(draws) for i in one.indices(draw)])  # type: ignore
                 for one in (feed, feed.source))


def test_unpaired_training_on_paired_data_does_not_get_the_pairs(pairs: Dataset) -> None:
    targets, sources = drawn(pairs, "cyclegan-mri")
    n, images = len(targets), 12
    together = int((targets == sources).sum())
    assert abs(together - n / images) < 5 * (n / images) ** 0.5  # as by chance
    passes = sources.reshape(-1, images)
    assert all(sorted(one) == sorted(passes[0]) for one in passes)  # every source once a pass
    assert sorted(set(sources)) == sorted(set(targets))
    assert np.array_equal(*drawn(pairs, "pix2pix"))


def test_unpaired_sources_and_targets_are_mirrored_apart(tmp_path: Path) -> None:
    data = write_contrasts(tmp_path / "same", other=lambda image: image)
    recipe = with_domains(small("cyclegan-mri", **STILL | {"flips": ["horizontal"]}), data)
    feed = make_feed(data, recipe, CPU)
    mirrored: list[list[bool]] = []
    for draw in range(40):
        changed, given = real_images(recipe, feed, draw), (feed.draw(draw), feed.source.draw(draw))  # type: ignore
        mirrored += [[not torch.equal(a[i], b[i]) for a, b in zip(changed, given, strict=True)]  # type: ignore
                     for i in range(4)]
    agree = np.mean([a == b for a, b in mirrored])
    assert 0.3 < agree < 0.7
    assert 0.3 < np.mean(mirrored) < 0.7


def test_unpaired_domains_may_have_different_numbers_of_images(tmp_path: Path) -> None:
    data = write_contrasts(tmp_path / "data", paired=False)
    recipe = with_domains(small("cyclegan-mri", **STILL), data)
    feed = make_feed(data, recipe, CPU)
    assert feed.source is not None
    assert {row.domain for row in feed.rows} == {"T2"}
    assert {row.domain for row in feed.source.rows} == {"T1"}
    assert len(feed.rows) != len(feed.source.rows)
    assert train(data.path, tmp_path / "run", small("cyclegan-mri", steps=2)).status()["state"] == "finished"


def test_turning_by_quarters_moves_every_pixel_to_its_place() -> None:
    image = torch.rand(1, 2, 8, 8) * 2 - 1
    four = image.repeat(4, 1, 1, 1)
    turned = _turned(four, np.array([0.0, 90.0, 180.0, -90.0]))
    torch.testing.assert_close(turned[0], image[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(turned[2], image[0].flip(1, 2), atol=1e-5, rtol=0)
    quarters = [torch.rot90(image[0], k, (1, 2)) for k in (1, 3)]
    matches = [[bool((turned[i] - q).abs().max() < 1e-5) for q in quarters] for i in (1, 3)]
    assert matches in ([[True, False], [False, True]], [[False, True], [True, False]])
    corner = _turned(torch.ones(1, 1, 8, 8), np.array([45.0]))[0, 0, 0, 0]
    assert float(corner) == pytest.approx(-1)  # from outside comes background


def test_the_rates_fall_in_a_straight_line_to_nothing(pairs: Dataset, tmp_path: Path) -> None:
    recipe = small("pix2pix", learning_rate_fade=0.25)
    rates = [learning_rates(recipe, 0, progress) for progress in (0, 0.5, 0.75, 0.8125, 0.875, 1.0)]
    assert [g / 2e-4 for g, _ in rates] == pytest.approx([1, 1, 1, 0.75, 0.5, 0])
    assert [d / 5e-5 for _, d in rates] == pytest.approx([1, 1, 1, 0.75, 0.5, 0])
    run = train(pairs.path, tmp_path / "run", small("pix2pix", learning_rate_fade=1.0))
    state = torch.load(run.checkpoint(6), weights_only=True)
    assert state["optimiser_g"]["param_groups"][0]["lr"] == pytest.approx(2e-4 / 6)  # of the last of six steps


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan-mri"])
def test_only_the_class_asked_for_is_learnt(tmp_path: Path, name: str) -> None:
    data = write_contrasts(tmp_path / "data", labels=("tumour", "healthy", "healthy"))
    recipe = with_domains(small(name, label="healthy", steps=2), data)
    feed = make_feed(data, recipe, CPU)
    assert feed.source is not None
    for one in (feed, feed.source):
        assert {row.label for row in one.rows} == {"healthy"}
        assert {row.split for row in one.rows} == {"train"}
    assert train(data.path, tmp_path / "run", recipe).status()["state"] == "finished"
    with pytest.raises(UserError, match="no class 'cyst'"):
        train(data.path, tmp_path / "other", small(name, label="cyst"))


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan-resnet", "hybrid-brain-64"])
def test_colour_images_can_be_translated(tmp_path: Path, name: str) -> None:
    data = write_contrasts(tmp_path / "data", channels=3)
    run = train(data.path, tmp_path / "run", small(name, steps=2))
    sampler = load_generator(run.path)
    images = data.images(data.require("test", "T1"))
    made = sampler.translate(images) if sampler.model.translates else sampler.sample(len(images), 0)
    assert made.shape == images.shape == (6, 3, 32, 32)
    assert np.isfinite(made).all()


# ------------------------------------------------------------------ which domains

def refused(words: str, data: Dataset, name: str, **settings: Any) -> None:
    with pytest.raises(UserError, match=words) as error:
        with_domains(load(name, SMALL.get(name, {}) | settings), data)
    assert error.value.fix


def test_domains_that_cannot_be_are_refused_in_words(pairs: Dataset, tmp_path: Path) -> None:
    refused("T1 is both", pairs, "pix2pix", source="T1", domain="T1")
    refused("FLAIR", pairs, "pix2pix", source="FLAIR")
    refused("FLAIR", pairs, "pix2pix", domain="FLAIR")
    refused("starts from noise and has no source", pairs, "rpgan-64", source="T1", domain="T2")
    refused("the one domain T1", write_contrasts(tmp_path / "one", domains=("T1",)), "cyclegan-mri")
    three = write_contrasts(tmp_path / "three", domains=("T1", "T2", "PD"))
    refused("T1, T2, PD", three, "pix2pix")
    refused("T1, T2, PD", three, "pix2pix", source="T1")
    unpaired = write_contrasts(tmp_path / "unpaired", paired=False)
    for name in ("pix2pix", "unet", "hybrid-brain-64"):
        refused("unpaired", unpaired, name)


@pytest.mark.parametrize(("said", "found"), [
    ({}, ("T1", "T2")), ({"source": "T1"}, ("T1", "T2")), ({"source": "T2"}, ("T2", "T1")),
    ({"domain": "T1"}, ("T2", "T1")), ({"domain": "T2"}, ("T1", "T2"))])
def test_of_two_domains_one_says_the_other(pairs: Dataset, said: dict[str, str], found: tuple[str, str]) -> None:
    recipe = with_domains(small("pix2pix", **said), pairs)
    assert (recipe.source, recipe.domain) == found


def test_of_three_domains_two_are_named_and_learnt(tmp_path: Path) -> None:
    three = write_contrasts(tmp_path / "three", domains=("T1", "T2", "PD"))
    run = train(three.path, tmp_path / "run", small("pix2pix", source="PD", domain="T1", steps=2))
    notes = load_generator(run.path).notes
    assert notes is not None
    assert (notes["source_domain"], notes["domain"]) == ("PD", "T1")
    assert (run.recipe().source, run.recipe().domain) == ("PD", "T1")


# ------------------------------------------------------------------ what is refused, and leaves nothing

def odd_dataset(path: Path, height: int, width: int) -> Path:
    with new_dataset(path, (height, width), 1, np.uint8) as writer:
        for domain in ("T1", "T2"):
            for i in range(4):
                image = np.full((height, width), 10 * i, np.uint8)
                writer.add(image, Row(f"i{i}", f"s{i}", "", 0, domain, "", "train", 0, 0.0, 1.0, "", "", ""))
        writer.finish(DatasetInfo(size=(height, width), value_range=(0, 255), domains=("T1", "T2"), paired=True,
                                  content=""))
    return path


@pytest.mark.parametrize(("shape", "size", "words"), [
    ((32, 48), 32, "images of 32x48 pixels cannot be averaged down"), ((48, 48), 48, "power of two"),
    ((48, 48), 32, "cannot be averaged down to 32x32"), ((16, 16), 16, "at least 32 pixels, not 16")])
def test_sizes_that_do_not_fit_are_refused_before_there_is_a_run(tmp_path: Path, shape: tuple[int, int], size: int,
                                                                 words: str) -> None:
    data = odd_dataset(tmp_path / "data", *shape)
    with pytest.raises(UserError, match=words):
        train(data, tmp_path / "run", small("pix2pix", size=size))
    assert not (tmp_path / "run").exists()


def test_settings_refused_once_can_be_corrected_in_the_same_run_folder(pairs: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown key"):
        train(pairs.path, tmp_path / "run", small("pix2pix", steps=2, **{"model.widht": 4}))
    assert train(pairs.path, tmp_path / "run", small("pix2pix", steps=2)).status()["state"] == "finished"


def test_a_hybrid_takes_no_budget(pairs: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be ended early"):
        train(pairs.path, tmp_path / "run", small("hybrid-brain-64"), budget=60)
    assert not (tmp_path / "run").exists()
    assert train(pairs.path, tmp_path / "other", small("pix2pix"), budget=60).status()["state"] == "finished"


def test_generate_refuses_what_translates_and_names_the_other_verb(pairs: Dataset, tmp_path: Path) -> None:
    for name in ("pix2pix", "cyclegan-mri"):
        run = train(pairs.path, tmp_path / name, small(name, steps=2))
        with pytest.raises(UserError, match="ganatomy translate RUN INPUT OUT"):
            generate(run.path, tmp_path / "made")
        assert not (tmp_path / "made").exists()


def test_a_hybrid_generates(pairs: Dataset, tmp_path: Path) -> None:
    run = train(pairs.path, tmp_path / "run", small("hybrid-brain-64", steps=3))
    made = generate(run.path, tmp_path / "made", n=5, seed=1)
    assert made.info.domains == ("T2",)
    assert made.info.source == "synthetic"
    assert len(made.rows()) == 5
    assert len(list((tmp_path / "made" / "images").iterdir())) == 5


@pytest.mark.parametrize("name", ["unet", "cyclegan-mri", "hybrid-brain-64"])
def test_a_dry_run_says_what_a_translation_would_be(pairs: Dataset, tmp_path: Path, name: str) -> None:
    sets = [f"--set={key}={value}" for key, value in (SMALL[name] | {"source": "T2", "domain": "T1"}).items()]
    answer = CliRunner().invoke(cli, ["train", str(pairs.path), str(tmp_path / "run"), "--recipe", name, "--dry-run",
                                      *sets])
    assert answer.exit_code == 0, answer.output
    assert "source: T2" in answer.output
    assert "training images   12 of 6 subjects" in answer.output
    assert "expected memory" in answer.output
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------ --debug

def epoch(run: Run, private: bool = False) -> set[str]:
    folder = run.private_debug if private else run.debug
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["unet", "cyclegan-mri"])
def test_debug_keeps_translations_in_the_private_folder(pairs: Dataset, tmp_path: Path, name: str) -> None:
    plain = train(pairs.path, tmp_path / "plain", small(name))
    run = train(pairs.path, tmp_path / "run", small(name), debug=True)
    assert weights(plain) == weights(run)
    kept = {"discriminator.safetensors", "generator/config.json", "generator/weights.safetensors", "ssim.json"}
    assert epoch(run) == {f"epoch-{i:03d}/{file}" for i in (1, 2) for file in kept}
    pictures = {"translated.png", "training.png", "training-source.png"}
    assert epoch(run, private=True) == {f"epoch-{i:03d}/{file}" for i in (1, 2) for file in pictures}
    assert all(p.stat().st_mode & 0o077 == 0 for p in run.private_debug.rglob("*.png"))
    found = json.loads((run.debug / "epoch-002" / "ssim.json").read_text())
    assert (found["validation_images"], found["validation_subjects"]) == (6, 3)
    assert -1 <= found["ssim"] <= 1
    sampler = load_generator(run.debug / "epoch-002" / "generator")
    images = pairs.images(pairs.require("test", "T1"))
    assert np.array_equal(sampler.translate(images), load_generator(run.path).translate(images))


def test_debug_of_unpaired_and_of_hybrid_trainings(pairs: Dataset, tmp_path: Path) -> None:
    data = write_contrasts(tmp_path / "data", paired=False)
    run = train(data.path, tmp_path / "run", small("cyclegan-mri", steps=4), debug=True)
    found = json.loads((run.debug / "epoch-001" / "ssim.json").read_text())
    assert found["ssim"] is None
    assert "no pairs" in found["note"]
    hybrid = train(pairs.path, tmp_path / "hybrid", small("hybrid-brain-64", steps=3), debug=True)
    assert Image.open(hybrid.debug / "epoch-001" / "generated.png").size == (8 * 32, 4 * 32)
    assert epoch(hybrid, private=True) == {"epoch-001/training.png", "epoch-001/training-source.png"}


# ------------------------------------------------------------------ starting from another run

def parameters(run: Run) -> dict[str, torch.Tensor]:
    return dict(load_generator(run.path).model.generator.named_parameters())


STANDING = {"learning_rate.generator": 1e-30, "learning_rate.discriminator": 1e-30}


@pytest.mark.parametrize("ema", [None, 0.5])
def test_a_training_starts_from_the_other_runs_generator(pairs: Dataset, tmp_path: Path, ema: float | None) -> None:
    first = train(pairs.path, tmp_path / "first", small("pix2pix-brain-128", ema=0.5, steps=2))
    run = train(pairs.path, tmp_path / "run",
                small("hybrid-brain-64", init_from=str(first.path), ema=ema, steps=2, **STANDING))
    fresh = train(pairs.path, tmp_path / "fresh", small("hybrid-brain-64", steps=2, **STANDING))
    one, two, other = parameters(first), parameters(run), parameters(fresh)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


def test_the_recipe_of_the_run_names_no_path(pairs: Dataset, tmp_path: Path) -> None:
    first = train(pairs.path, tmp_path / "Doe_John", small("pix2pix-brain-128", steps=2))
    run = train(pairs.path, tmp_path / "run", small("hybrid-brain-64", init_from=str(first.path), steps=2))
    assert (run.recipe().init_from or "").startswith("generator ")
    for path in run.path.rglob("*"):
        assert not path.is_file() or b"Doe_John" not in path.read_bytes(), path


def test_a_start_that_cannot_be_is_refused_and_leaves_nothing(pairs: Dataset, tmp_path: Path) -> None:
    first = train(pairs.path, tmp_path / "first", small("pix2pix-brain-128", steps=2))
    cases = [(str(tmp_path / "nowhere"), {}, "no such run"), (str(pairs.path), {}, "neither a run folder"),
             (str(first.path), {"model.width": 8}, "another shape"), (str(first.path), {"model.norm": "instance"},
                                                                      "another shape")]
    for path, settings, words in cases:
        with pytest.raises(UserError, match=words) as error:
            train(pairs.path, tmp_path / "run", small("hybrid-brain-64", init_from=path, **settings))
        assert not (tmp_path / "run").exists()
    assert "model.width" in str(error.value)
    run = train(pairs.path, tmp_path / "run", small("hybrid-brain-64", init_from=str(first.path), steps=2))
    assert run.status()["state"] == "finished"


def test_it_goes_on_without_the_first_run_and_not_with_a_changed_one(pairs: Dataset, tmp_path: Path) -> None:
    first = train(pairs.path, tmp_path / "first", small("pix2pix-brain-128", steps=2))
    recipe = small("hybrid-brain-64", init_from=str(first.path))
    whole = train(pairs.path, tmp_path / "whole", recipe)
    with pytest.raises(Interrupted):
        train(pairs.path, tmp_path / "parts", recipe, on_log=interrupt_at(2))
    shutil.move(first.path, tmp_path / "elsewhere")
    train(pairs.path, first.path, small("pix2pix-brain-128", steps=2, seed=5))
    with pytest.raises(UserError, match=r"init_from was generator .*, now generator"):
        train(pairs.path, tmp_path / "parts", recipe)
    shutil.rmtree(first.path)
    parts = train(pairs.path, tmp_path / "parts", recipe)
    assert weights(parts) == weights(whole)
    for path in parts.checkpoints():
        path.unlink()
    said: list[str] = []
    train(pairs.path, parts.path, recipe, say=said.append)
    assert "already finished" in said[0]


def test_a_hybrid_needs_a_step_for_every_stage(tmp_path: Path) -> None:
    data = write_contrasts(tmp_path / "data")
    eleven = [i / 10 for i in range(11)]
    settings = load("hybrid-brain-64", SMALL["hybrid-brain-64"] | {"steps": 10, "model.stages": eleven})
    with pytest.raises(UserError, match="11 stages"):
        train(data.path, tmp_path / "run", settings)
    assert not (tmp_path / "run").exists()


def test_it_is_said_what_a_training_starts_from(tmp_path: Path) -> None:
    data = write_contrasts(tmp_path / "data")
    first = train(data.path, tmp_path / "first", load("pix2pix", SMALL["pix2pix"] | {"steps": 2}))
    lines: list[str] = []
    settings = load("pix2pix", SMALL["pix2pix"] | {"steps": 2, "init_from": str(first.path)})
    train(data.path, tmp_path / "second", settings, say=lines.append)
    assert any("has learnt" in line and "recipe pix2pix" in line for line in lines)


def test_an_empty_source_is_no_choice(tmp_path: Path) -> None:
    data = write_contrasts(tmp_path / "data")
    with pytest.raises(UserError, match="--source"):
        train(data.path, tmp_path / "run", load("pix2pix", SMALL["pix2pix"]), set={"source": ""})
