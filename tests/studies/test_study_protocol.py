"""Who is learnt from and who is tested: no subject in both, nested subsets, fixed tests; planted leaks are refused."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganatomy.core.errors import UserError
from ganatomy.data.dataset import Dataset, new_dataset
from ganatomy.data.manifest import Row, read_manifest, write_manifest
from ganatomy.studies.cell import Material, cell_seed, run_cell, training_set
from ganatomy.studies.folder import Cell, StudyFolder
from ganatomy.studies.folds import check_held_out, deal, draw_subset
from ganatomy.studies.predictions import read_predictions
from ganatomy.studies.protocol import parse_arms
from ganatomy.studies.study import begin
from tests.builders import TINY
from tests.studies.study_dataset import write_labelled

ALL_ARMS = ("ORG", "OVERSAMPLE", "AUG_GAN", "AUG2_GAN_ONLY", "FRESH", "COPIES", "NOISE")


def start(home: Path, **options: object) -> StudyFolder:
    """A study of home/data, 36 subjects of which 12 are rare, with no cell done."""
    data = home / "data" if (home / "data").is_dir() else write_labelled(home / "data", subjects=36).path
    given = {"k": (4, 6), "folds": 2, "seeds": 2, "arms": ALL_ARMS, "imbalance": 2.0, "classifier": {"updates": 10}}
    return begin(data, home / "study", recipe=None, set=TINY, budget=None, external=None, device="cpu",
                 say=lambda text: None, **(given | options))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """A study with two finished cells of the same fold and seed."""
    home = tmp_path_factory.mktemp("study")
    folder = start(home)
    for k in (4, 6):
        run_cell(home / "data", folder.path, Cell(k, 0, 0), device="cpu")
    return folder


def again(done: StudyFolder, tmp_path: Path) -> tuple[StudyFolder, Path]:
    """A copy of the study to spoil, and its dataset."""
    shutil.copytree(done.path.parent, tmp_path / "copy")
    return StudyFolder(tmp_path / "copy" / "study"), tmp_path / "copy" / "data"


def rows_of(subjects: list[tuple[str, ...]]) -> list[Row]:
    """Images of made-up subjects: the classes of each one's images."""
    return [Row(f"{s}-{i}", f"sub-{s:03d}", "", i, "x", label, "train", 0, 0.0, 1.0, "", "", f"{s}/{i}")
            for s, labels in enumerate(subjects) for i, label in enumerate(labels)]


def test_no_held_out_subject_is_in_any_training_data(done: StudyFolder) -> None:
    places, cells = done.places(), [c for c in done.all_cells() if done.cell(c).is_done()]
    assert len(cells) == 2
    for cell in cells:
        folder = done.cell(cell)
        manifests = [read_manifest(folder.manifest_file), read_manifest(folder.fresh_file),
                     *(Dataset.open(gan.data).rows() for gan in folder.gans())]
        assert len(manifests) == 4  # GAN_ONLY has a GAN for each of the two classes
        trained = {r.subject for rows in manifests for r in rows if r.split == "train"}
        tested = set(read_predictions(folder.predictions("ORG")).subjects)
        assert trained and tested and not trained & tested
        assert tested == {s for s, place in places.items() if place.fold == cell.fold}
        assert {r.split for gan in folder.gans() for r in Dataset.open(gan.data).rows()} == {"train"}


def test_a_gan_learns_from_its_cells_own_positives_alone(done: StudyFolder) -> None:
    for k in (4, 6):
        folder = done.cell(Cell(k, 0, 0))
        rare = [r.sha256 for r in read_manifest(folder.manifest_file) if r.split == "train" and r.label == "rare"]
        assert len(rare) == k
        assert sorted(r.sha256 for r in Dataset.open(folder.gan(1).data).rows()) == sorted(rare)


def test_subsets_are_nested_and_tests_are_fixed_over_k(done: StudyFolder) -> None:
    trained, tested = [], []
    for k in (4, 6):
        rows = read_manifest(done.cell(Cell(k, 0, 0)).manifest_file)
        trained.append({r.image_id for r in rows if r.split == "train"})
        tested.append([r.image_id for r in rows if r.split == "test"])
    assert trained[0] < trained[1]
    assert tested[0] == tested[1]


def test_every_arm_has_what_its_name_says(done: StudyFolder) -> None:
    s = done.settings()
    dataset = Dataset.open(done.path.parent / "data")
    subset = draw_subset(dataset.rows(s.domain), done.places(), s, 6, 0, 0)
    folder = done.cell(Cell(6, 0, 0))
    synthetic = {label: Dataset.open(folder.gan(i).synthetic) for i, label in enumerate(dataset.info.classes)}
    material = Material(dataset, subset, synthetic, s, 6, cell_seed(s, Cell(6, 0, 0)))
    sets = {arm.source: training_set(arm, material) for arm in s.parsed_arms()}
    assert {name: Counter(found.labels.tolist()) for name, found in sets.items()} == {
        name: {0: 12, 1: 6 if name == "ORG" else 15} for name in sets}  # 6 real positives and 1.5 x 6 more
    real = sets["ORG"].images
    for name in ("OVERSAMPLE", "GAN", "FRESH", "COPIES", "NOISE"):
        assert np.array_equal(sets[name].images[:18], real)
    positives = {i.tobytes() for i in real[12:]}
    added = {name: [i.tobytes() for i in found.images[18:]] for name, found in sets.items()}
    assert max(Counter(added["OVERSAMPLE"]).values()) == 2 and set(added["OVERSAMPLE"]) == positives
    assert set(added["COPIES"]) <= positives
    everything = {i.tobytes() for i in dataset.images(dataset.rows(), s.size)}
    assert set(added["FRESH"]) <= everything - {i.tobytes() for i in real}
    assert not set(added["NOISE"]) & everything
    assert not {i.tobytes() for i in sets["GAN_ONLY"].images} & everything


def test_arms_share_first_weights_and_order_but_not_cells_of_other_seeds(done: StudyFolder) -> None:
    s = done.settings()
    assert cell_seed(s, Cell(4, 0, 0)) == cell_seed(s, Cell(6, 0, 0))
    assert len({cell_seed(s, Cell(4, fold, seed)) for fold in (0, 1) for seed in (0, 1)}) == 4


def test_a_held_out_subject_planted_in_a_gans_data_is_refused(done: StudyFolder, tmp_path: Path) -> None:
    folder, data = again(done, tmp_path)
    cell = Cell(4, 0, 0)
    place = folder.cell(cell)
    place.done_file.unlink()
    other = start(tmp_path / "other", folds=2, seed=5).cell(cell)  # the same data, other folds
    run_cell(tmp_path / "other" / "data", other.path.parents[1], cell, device="cpu")
    shutil.rmtree(place.gan(1).data)
    shutil.copytree(other.gan(1).data, place.gan(1).data)
    with pytest.raises(UserError, match=r"held-out subjects are among|not those that this cell draws"):
        run_cell(data, folder.path, cell, device="cpu")


@pytest.mark.parametrize("file", ["manifest_file", "fresh_file"])
def test_a_held_out_subject_planted_in_a_manifest_is_refused(done: StudyFolder, tmp_path: Path, file: str) -> None:
    folder, data = again(done, tmp_path)
    place = folder.cell(Cell(4, 0, 0))
    place.done_file.unlink()
    rows = read_manifest(getattr(place, file))
    wrong = next(r for r in rows if r.split == "test")
    others = [r for r in rows if r.subject != wrong.subject]
    write_manifest(getattr(place, file), [*others, replace(wrong, split="train")])
    with pytest.raises(UserError, match=r"held-out subjects are among the training images: " + wrong.subject):
        run_cell(data, folder.path, Cell(4, 0, 0), device="cpu")


def test_folds_that_were_changed_are_refused(done: StudyFolder, tmp_path: Path) -> None:
    folder, data = again(done, tmp_path)
    place = folder.cell(Cell(4, 0, 0))
    place.done_file.unlink()
    trained = next(r.subject for r in read_manifest(place.manifest_file) if r.split == "train")
    text = folder.folds_file.read_text()
    assert f"{trained},1," in text
    folder.folds_file.write_text(text.replace(f"{trained},1,", f"{trained},0,"))  # a training patient is tested
    with pytest.raises(UserError, match=r"start the study again|remove this cell's folder"):
        run_cell(data, folder.path, Cell(4, 0, 0), device="cpu")


def test_one_patient_under_two_names_is_refused(tmp_path: Path) -> None:
    data = write_labelled(tmp_path / "plain", subjects=36)
    rows = data.rows()
    pixels = data.pixels(rows)
    with new_dataset(tmp_path / "data", (16, 16), 1, np.uint8) as writer:
        for i, row in enumerate(rows):
            writer.add(pixels[0] if row.image_id == "image-020" else pixels[i], row)
        writer.finish(data.info.model_copy(update={"content": ""}))
    with pytest.raises(UserError, match=r"image-000 of subject sub-000 and image-020 of subject sub-005"):
        start(tmp_path)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([("a",), ("b",), ("a", "b"), ("a", "a", "a")]), min_size=2, max_size=40),
       st.integers(2, 5), st.integers(0, 9))
def test_folds_are_even_whoever_is_dealt(subjects: list[tuple[str, ...]], folds: int, seed: int) -> None:
    rows = rows_of(subjects)
    places = deal(rows, folds, seed)
    assert set(places) == {r.subject for r in rows} and places == deal(rows[::-1], folds, seed)
    sizes = Counter(p.fold for p in places.values())
    assert max(sizes.values()) - min(sizes[f] for f in range(folds)) <= 1
    own = defaultdict(set)
    for r in rows:
        own[r.subject].add(r.label)
    for kind in {frozenset(labels) for labels in own.values()}:
        here = Counter(p.fold for s, p in places.items() if own[s] == kind)
        assert max(here.values()) - min(here[f] for f in range(folds)) <= 1
        for fold in range(folds):
            halves = Counter(p.half for s, p in places.items() if own[s] == kind and p.fold == fold)
            assert abs(halves[0] - halves[1]) <= 1


def test_too_few_subjects_for_the_folds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="use fewer folds"):
        start(tmp_path, folds=7)
    rows = rows_of([("a",)] * 8 + [("b",)] * 8)
    s = start(tmp_path, k=(4,)).settings().model_copy(update={"positives": ("a",)})
    check_held_out(rows, deal(rows, 2, 0), s)


def test_more_images_than_there_are_outside_of_the_fold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"30 training images of class rare are asked for, and outside of fold 0 there"):
        start(tmp_path, k=(30,))
    with pytest.raises(UserError, match="the control FRESH needs"):
        start(tmp_path, k=(16,), arms=("FRESH",))


def test_a_factor_is_named_where_there_are_several() -> None:
    assert [a.name for a in parse_arms(["ORG", "AUG_GAN"], [0.5, 1.5])] == ["ORG", "AUG_GAN@0.5", "AUG_GAN@1.5"]
    assert [(a.source, a.augment, a.added(25)) for a in parse_arms(["AUG2_GAN_ONLY"], [1.5])] == [
        ("GAN_ONLY", "strong", 38)]
    for wrong in (["GAN", "GAN"], ["gan"], ["AUG3_GAN"], ["FLIP"]):
        with pytest.raises(UserError):
            parse_arms(wrong, [1.5])
