"""Splits: by subject, complete, repeatable, spread over classes, sensible for few subjects."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganatomy.core.errors import UserError
from ganatomy.preparation.finish import draw_splits
from ganatomy.preparation.options import Options


def parse_shares(split: object) -> dict[str, float]:
    return Options.of(split=split).shares


SHARES = parse_shares("70,15,15")


def named(n: int, classes: int = 1) -> dict[str, str]:
    return {f"s{i:03d}": f"c{i % classes}" for i in range(n)}


@given(n=st.integers(0, 120), classes=st.integers(1, 6), seed=st.integers(0, 5),
       weights=st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(0, 9)))
def test_everyone_is_assigned_once_and_no_wanted_split_stays_empty(n: int, classes: int, seed: int,
                                                                  weights: tuple[int, int, int]) -> None:
    units, shares = named(n, classes), parse_shares(weights)
    drawn = draw_splits(units, shares, seed)
    assert drawn.keys() == units.keys()
    assert drawn == draw_splits(dict(reversed(units.items())), shares, seed)
    wanted = [name for name in ("train", "test", "val") if shares[name] > 0]
    counts = Counter(drawn.values())
    assert set(counts) == set(wanted[:n])
    if n >= 20:
        assert all(abs(counts[name] - n * shares[name]) < 2 for name in wanted if n * shares[name] >= 1)


def test_few_subjects_go_to_train_then_test_then_val() -> None:
    counts = [Counter(draw_splits(named(n), SHARES, 0).values()) for n in range(1, 5)]
    assert [(c["train"], c["test"], c["val"]) for c in counts] == [(1, 0, 0), (1, 1, 0), (1, 1, 1), (2, 1, 1)]


def test_each_class_gets_its_share() -> None:
    units = {f"a{i}": "common" for i in range(60)} | {f"b{i}": "rare" for i in range(10)}
    for seed in range(20):
        drawn = draw_splits(units, SHARES, seed)
        for label, size in (("common", 60), ("rare", 10)):
            counts = Counter(drawn[name] for name in units if units[name] == label)
            assert all(abs(counts[split] - size * SHARES[split]) <= 1 for split in SHARES), (seed, label, counts)


def test_named_subjects_make_up_their_split() -> None:
    drawn = draw_splits(named(30), SHARES, 0, {"s003": "test", "s004": "test"})
    assert [name for name, split in drawn.items() if split == "test"] == ["s003", "s004"]
    assert Counter(drawn.values())["val"] == 5  # 28 x 15 / 85


@pytest.mark.parametrize("text", ["70,30", "a,b,c", "0,50,50", "70,-1,15", "nan,1,1", "inf,1,1", "1e999,1,1", ""])
def test_impossible_shares_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="no split"):
        parse_shares(text)


def test_only_the_ratio_of_the_shares_counts() -> None:
    assert parse_shares("1e308,1e308,1e308") == parse_shares("1,1,1") == parse_shares((5e-324, 5e-324, 5e-324))
