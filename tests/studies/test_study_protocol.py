"""Who is learnt from and who is tested: no subject in both, nested subsets, fixed tests, arms as their names say."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganatomy.core.errors import UserError
from ganatomy.data.dataset import Dataset, new_dataset
from ganatomy.data.manifest import Row, read_manifest
from ganatomy.studies.cell import Roles, training_set
from ganatomy.studies.folder import Cell, StudyFolder
from ganatomy.studies.folds import check_held_out, deal
from ganatomy.studies.predictions import read_predictions
from ganatomy.studies.protocol import parse_arms
from tests.studies.study_dataset import begun, write_labelled

ALL_ARMS = ("ORG", "OVERSAMPLE", "AUG_GAN", "AUG2_GAN_ONLY", "FRESH", "COPIES", "NOISE")


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """A study of 36 subjects, of which 12 are rare, with all arms; no cell is done."""
    home = tmp_path_factory.mktemp("planned")
    write_labelled(home / "data", subjects=36)
    return begun(home, k=(4, 6), arms=ALL_ARMS, imbalance=2.0)


def test_no_held_out_subject_is_in_any_training_data(finished: StudyFolder) -> None:
    places = finished.places()
    for cell in finished.all_cells():
        folder = finished.cell(cell)
        rows = read_manifest(folder.manifest_file)
        (gan,) = [Dataset.open(gan.data).rows() for gan in folder.gans()]
        trained = {r.subject for r in [*rows, *gan] if r.split == "train"}
        tested = set(read_predictions(folder.predictions("ORG")).subjects)
        assert trained and not trained & tested
        assert tested == {s for s, place in places.items() if place.fold == cell.fold}
        own = [r.sha256 for r in rows if r.split == "train" and r.label == "rare"]  # and of these alone its GAN learns
        assert len(own) == 4 and sorted(r.sha256 for r in gan) == sorted(own)


def test_subsets_are_nested_and_tests_are_fixed_over_k(planned: StudyFolder) -> None:
    few, many = (Roles(planned, Cell(k, 0, 0), planned.open_dataset()) for k in (4, 6))
    assert {r.image_id for r in few.subset.rows} < {r.image_id for r in many.subset.rows}
    assert few.held_out == many.held_out
    assert few.seed == many.seed  # of first weights and order
    seeds = {Roles(planned, Cell(4, fold, seed), planned.open_dataset()).seed for fold in (0, 1) for seed in (0, 1)}
    assert len(seeds) == 4


def test_every_arm_has_what_its_name_says(planned: StudyFolder, tmp_path: Path) -> None:
    dataset, settings = planned.open_dataset(), planned.settings()
    roles = Roles(planned, Cell(6, 0, 0), dataset)
    assert roles.synthetic == {"common": 12, "rare": 15}
    drawn = write_labelled(tmp_path / "drawn", subjects=5, size=32)
    sets = {arm.source: training_set(arm, roles, dict.fromkeys(dataset.info.classes, drawn))
            for arm in settings.parsed_arms()}
    assert {name: Counter(own.labels.tolist()) for name, own in sets.items()} == {
        name: {0: 12, 1: 6 if name == "ORG" else 15} for name in sets}  # 6 real positives and 1.5 x 6 more
    real = sets["ORG"].images
    assert all(np.array_equal(sets[name].images[:18], real) for name in sets if name != "GAN_ONLY")
    positives = {i.tobytes() for i in real[12:]}
    added = {name: [i.tobytes() for i in own.images[18:]] for name, own in sets.items()}
    assert max(Counter(added["OVERSAMPLE"]).values()) == 2 and set(added["OVERSAMPLE"]) == positives
    assert set(added["COPIES"]) <= positives
    everything = {i.tobytes() for i in dataset.images(dataset.rows(), settings.size)}
    assert set(added["FRESH"]) <= everything - {i.tobytes() for i in real}
    assert not set(added["NOISE"]) & everything
    assert not {i.tobytes() for i in sets["GAN_ONLY"].images} & everything


def test_one_patient_under_two_names_is_refused(labelled: Dataset, tmp_path: Path) -> None:
    rows = labelled.rows()
    pixels = labelled.pixels(rows)
    with new_dataset(tmp_path / "data", (16, 16), 1, np.uint8) as writer:
        for i, row in enumerate(rows):
            writer.add(pixels[0] if row.image_id == "image-020" else pixels[i], row)
        writer.finish(labelled.info.model_copy(update={"content": ""}))
    with pytest.raises(UserError, match=r"image-000 of subject sub-000 and image-020 of subject sub-005"):
        begun(tmp_path)


@pytest.mark.parametrize(("options", "says"), [
    ({"folds": 7}, "use fewer folds"),
    ({"k": (30,)}, "30 training images of class rare are asked for, and outside of fold 0 there"),
    ({"k": (12,), "imbalance": 1.0, "arms": ("FRESH",)}, "the control FRESH needs")])
def test_more_than_there_is_is_refused(tmp_path: Path, options: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        begun(tmp_path, **options)


def people(*classes: str) -> list[Row]:
    """Images of subjects, each of whom has these classes, one letter each."""
    return [Row(f"{s}-{i}", f"sub-{s:03d}", "", i, "x", label, "train", 0, 0.0, 1.0, "", "", f"{s}/{i}")
            for s, labels in enumerate(classes) for i, label in enumerate(labels)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "ab", "aaa"]), min_size=2, max_size=40), st.integers(2, 5),
       st.integers(0, 9))
def test_folds_are_even_whoever_is_dealt(subjects: list[str], folds: int, seed: int) -> None:
    rows = people(*subjects)
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


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("subjects", [["p"] * 3 + ["np"] * 3 + ["n"] * 12, ["p"] + ["np"] * 5 + ["n"], ["np"] * 6])
def test_positives_are_in_both_halves_whatever_else_their_subjects_have(planned: StudyFolder, subjects: list[str],
                                                                       seed: int) -> None:
    """As many subjects as two halves of three folds need: each half gets one, also where some have both classes."""
    rows = people(*subjects)
    places = deal(rows, 3, seed)
    check_held_out(rows, places, planned.settings().model_copy(update={"folds": 3, "positives": ("p",)}))
    halves = Counter((places[s].fold, places[s].half) for s in {r.subject for r in rows if r.label == "p"})
    assert set(halves.values()) == {1}


def test_a_factor_is_named_where_there_are_several() -> None:
    assert [a.name for a in parse_arms(["ORG", "AUG_GAN"], [0.5, 1.5])] == ["ORG", "AUG_GAN@0.5", "AUG_GAN@1.5"]
    assert [(a.source, a.augment, a.added(25)) for a in parse_arms(["AUG2_GAN_ONLY"], [1.5])] == [
        ("GAN_ONLY", "strong", 38)]
    for wrong in (["GAN", "GAN"], ["gan"], ["AUG3_GAN"], ["GAN@0.5"]):
        with pytest.raises(UserError):
            parse_arms(wrong, [1.5])
