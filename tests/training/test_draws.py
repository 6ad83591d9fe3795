"""What is a function of the step: length in epochs, learning rates, which images are drawn and how they are changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ganatomy.core.recipe import Recipe, load
from ganatomy.data.batches import Feed
from ganatomy.data.dataset import Dataset
from ganatomy.training.draws import _turned, make_feed, real_images, with_domains
from ganatomy.training.state import TrainingState
from ganatomy.training.step import checkpoint_interval, epochs_done, learning_rates, steps_of, total_steps, update
from ganatomy.training.train import plan
from tests.builders import SMALL, TINY, write_contrasts, write_dataset

CPU = torch.device("cpu")
MAMMO = {"size": 16, "batch_size": 4, "model.ngf": 2, "model.ndf": 2, "model.z_dim": 4}
STILL = {"flips": [], "rotation": 0, "contrast": 0}


# ------------------------------------------------------------------ length and rates

def test_published_decay_is_by_one_percent_every_ten_and_eight_epochs() -> None:
    recipe = load("dcgan-mammo-128")
    rates = [learning_rates(recipe, epoch) for epoch in range(41)]
    assert rates[0] == rates[7] == (4e-4, 2e-4)
    assert rates[8] == pytest.approx((4e-4, 2e-4 * 0.99))
    assert rates[10] == pytest.approx((4e-4 * 0.99, 2e-4 * 0.99))
    assert rates[40] == pytest.approx((4e-4 * 0.99**4, 2e-4 * 0.99**5))
    assert learning_rates(load("rpgan-64"), 10**6) == (1e-3, 1e-3)


def test_the_rates_fall_in_a_straight_line_to_nothing() -> None:
    recipe = load("pix2pix", {"learning_rate_fade": 0.25})
    rates = [learning_rates(recipe, 0, progress) for progress in (0, 0.5, 0.75, 0.8125, 0.875, 1.0)]
    for i, first in enumerate((2e-4, 5e-5)):
        assert [pair[i] / first for pair in rates] == pytest.approx([1, 1, 1, 0.75, 0.5, 0])


def test_the_optimisers_take_the_rate_of_their_epoch(dataset: Dataset) -> None:
    recipe = load("dcgan-mammo-128", MAMMO | {"learning_rate_decay.generator": {"factor": 0.5, "epochs": 1},
                                              "learning_rate_decay.discriminator": {"factor": 0.1, "epochs": 2}})
    feed, state = make_feed(dataset, recipe, CPU), TrainingState(recipe, 1, CPU)
    taken = []
    for _ in range(9):  # 12 images are 3 steps an epoch
        update(state, feed, "fp32", 9)
        taken.append((state.optimiser_g.param_groups[0]["lr"], state.optimiser_d.param_groups[0]["lr"]))
    rates = [(4e-4, 2e-4)] * 3 + [(2e-4, 2e-4)] * 3 + [(1e-4, 2e-5)] * 3
    assert taken == [pytest.approx(pair) for pair in rates]


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 3), st.integers(1, 20))
def test_an_epoch_is_done_as_soon_as_every_image_was_drawn(images: int, batch: int, d_steps: int, epochs: int) -> None:
    recipe = load("rpgan-64", TINY | {"batch_size": batch, "d_steps": d_steps, "reuse_fake": False})

    steps = next(s for s in range(10**5) if s * d_steps * batch >= epochs * images)
    assert epochs_done(recipe, images, steps) >= epochs
    assert epochs_done(recipe, images, steps - 1) < epochs
    assert steps_of(recipe, images, epochs) == steps


def test_checkpoints_can_be_counted_in_epochs(dataset: Dataset) -> None:
    recipe = load("dcgan-mammo-128", MAMMO | {"epochs": 6, "checkpoint_epochs": 2})
    assert (total_steps(recipe, 12), checkpoint_interval(recipe, 12)) == (18, 6)
    assert "every 6 steps" in plan(recipe, dataset.path, "run", "cpu")


# ------------------------------------------------------------------ images without a source

def mirrors(image: np.ndarray) -> dict[str, bytes]:
    return {"as it is": image.tobytes(), "horizontal": image[:, ::-1].tobytes(), "vertical": image[::-1].tobytes(),
            "both": image[::-1, ::-1].tobytes()}


@pytest.mark.parametrize(("flips", "allowed"), [
    ([], {"as it is"}), (["horizontal"], {"as it is", "horizontal"}), (["vertical"], {"as it is", "vertical"}),
    (["horizontal", "vertical"], {"as it is", "horizontal", "vertical", "both"})])
def test_flips_mirror_each_image_by_itself_and_as_often_as_not(tmp_path: Path, flips: list[str],
                                                               allowed: set[str]) -> None:
    dataset = write_dataset(tmp_path / "dataset", subjects=40, splits=("train",))
    recipe = load("dcgan-mammo-128", MAMMO | {"flips": flips, "batch_size": 80})
    feed = make_feed(dataset, recipe, CPU)
    counts = dict.fromkeys(allowed, 0)
    for draw in range(3):
        plain, changed = feed.draw(draw).numpy(), real_images(recipe, feed, draw)[0].numpy()
        assert np.array_equal(real_images(recipe, feed, draw)[0].numpy(), changed)
        for before, after in zip(plain[:, 0], changed[:, 0], strict=True):
            counts[next(name for name, pixels in mirrors(before).items() if pixels == after.tobytes())] += 1
    assert all(abs(n - 240 / len(allowed)) < 40 for n in counts.values())


def test_turning_by_quarters_moves_every_pixel_to_its_place() -> None:
    image = torch.rand(1, 2, 8, 8) * 2 - 1
    turned = _turned(image.repeat(4, 1, 1, 1), np.array([0.0, 90.0, 180.0, -90.0]))
    torch.testing.assert_close(turned[0], image[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(turned[2], image[0].flip(1, 2), atol=1e-5, rtol=0)
    quarters = [torch.rot90(image[0], k, (1, 2)) for k in (1, 3)]
    matches = [[bool((turned[i] - q).abs().max() < 1e-5) for q in quarters] for i in (1, 3)]
    assert matches in ([[True, False], [False, True]], [[False, True], [True, False]])
    corner = _turned(torch.ones(1, 1, 8, 8), np.array([45.0]))[0, 0, 0, 0]
    assert float(corner) == pytest.approx(-1)  # from outside comes background


# ------------------------------------------------------------------ targets and sources

def feed_of(dataset: Dataset, name: str, **settings: Any) -> tuple[Recipe, Feed, Feed]:
    """The recipe with its domains, the feed of targets and that of sources."""
    recipe = with_domains(load(name, SMALL[name] | settings), dataset)
    feed = make_feed(dataset, recipe, CPU)
    assert feed.source is not None
    return recipe, feed, feed.source


def fed(dataset: Dataset, name: str, draw: int = 0, **settings: Any) -> tuple[torch.Tensor, torch.Tensor]:
    recipe, feed, _ = feed_of(dataset, name, **settings)
    target, source = real_images(recipe, feed, draw)
    assert source is not None
    return target, source


@pytest.mark.parametrize("moved", [{"flips": ["horizontal", "vertical"]}, {"rotation": 30},
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
    unpaired = fed(pairs, "cyclegan-mri", **STILL), fed(pairs, "cyclegan-mri", **STILL | {"contrast": 0.5})
    assert all((a - b).abs().max() > 0.01 for a, b in zip(*unpaired, strict=True))  # there on both sides


def test_unpaired_training_on_paired_data_does_not_get_the_pairs(pairs: Dataset) -> None:
    drawn = {}
    for name in ("cyclegan-mri", "pix2pix"):
        feeds = feed_of(pairs, name)[1:]
        drawn[name] = [np.array([one.rows[i].row for draw in range(300) for i in one.indices(draw)]) for one in feeds]
    targets, sources = drawn["cyclegan-mri"]
    n, images = len(targets), 12
    together = int((targets == sources).sum())
    assert abs(together - n / images) < 5 * (n / images) ** 0.5  # as by chance
    passes = sources.reshape(-1, images)
    assert all(sorted(one) == sorted(passes[0]) for one in passes)  # every source once a pass
    assert sorted(set(sources)) == sorted(set(targets))
    assert np.array_equal(*drawn["pix2pix"])


def test_unpaired_sources_and_targets_are_mirrored_apart(tmp_path: Path) -> None:
    data = write_contrasts(tmp_path / "same", other=lambda image: image)
    recipe, feed, sources = feed_of(data, "cyclegan-mri", **STILL | {"flips": ["horizontal"]})
    mirrored: list[list[bool]] = []
    for draw in range(40):
        changed, plain = real_images(recipe, feed, draw), (feed.draw(draw), sources.draw(draw))
        mirrored += [[not torch.equal(a[i], b[i]) for a, b in zip(changed, plain, strict=True)]  # type: ignore
                     for i in range(4)]
    assert 0.3 < np.mean([a == b for a, b in mirrored]) < 0.7
    assert 0.3 < np.mean(mirrored) < 0.7


def test_unpaired_domains_may_have_different_numbers_of_images(tmp_path: Path) -> None:
    _, feed, sources = feed_of(write_contrasts(tmp_path / "data", paired=False), "cyclegan-mri")
    assert {row.domain for row in feed.rows} == {"T2"}
    assert {row.domain for row in sources.rows} == {"T1"}
    assert len(feed.rows) != len(sources.rows)


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan-mri"])
def test_only_the_class_asked_for_is_learnt(tmp_path: Path, name: str) -> None:
    data = write_contrasts(tmp_path / "data", labels=("tumour", "healthy", "healthy"))
    for one in feed_of(data, name, label="healthy")[1:]:
        assert {(row.label, row.split) for row in one.rows} == {("healthy", "train")}
