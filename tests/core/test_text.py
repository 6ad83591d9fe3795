"""Numbers, intervals, durations and lists in words, and tables as text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganatomy.core import text
from ganatomy.core.table import Table
from ganatomy.core.text import command_line


@pytest.mark.parametrize(("value", "span", "k", "words"), [
    (0.0804, (0.061, 0.099), 1000, "80 (61 to 99)"), (0.5, None, 1, "0.500"), (12345.0, None, 1, "12,345"),
    (-0.5, (-1.0, 0.25), 1, "−0.5 (−1.0 to 0.2)"), (None, None, 1, "-"), (2e-7, None, 1, "2.00e−07")])
def test_a_value_shows_what_its_interval_bears_out(value: float, span: tuple[float, float], k: float,
                                                   words: str) -> None:
    assert text.estimate(value, span, k) == words


def test_differences_have_signs_and_values_units() -> None:
    assert text.estimate(0.012, (-0.02, 0.044), unit=" mm", sign=True) == "+0.012 mm (−0.020 to +0.044)"
    assert text.number(0.0, 2, sign=True) == "0.00"


@pytest.mark.parametrize(("seconds", "words"), [(48, "48 s"), (660, "11 min"), (12000, "3 h 20 min"), (7200, "2 h"),
                                                (187200, "52 h")])
def test_durations(seconds: float, words: str) -> None:
    assert text.duration(seconds) == words


def test_p_values_shares_and_lists() -> None:
    assert [text.p_value(p) for p in (None, 0.04321, 2e-5)] == ["-", "0.043", "<0.0001"]
    assert text.percent(0.01234) == "1.23%"
    assert [text.listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == \
        ["", "a", "a and b", "a, b and c"]
    assert text.listed(["a", "b"], "or") == "a or b"
    assert [text.sentence(words) for words in ("", "it is so", "MAE is so.")] == ["", "It is so.", "MAE is so."]


@given(st.floats(-1e9, 1e9), st.floats(1e-9, 1e6))
def test_an_interval_is_never_written_the_wrong_way_round(low: float, width: float) -> None:
    first, second = (float(part.replace(",", "").replace("−", "-"))
                     for part in text.interval((low, low + width)).split(" to "))
    assert first <= second


def test_tables_are_aligned_and_refuse_uneven_rows() -> None:
    table = Table(("arm", "F1", "p"), [("GAN", "0.8", ""), ("ORG", "0.75", "")], "Scores", ["n = 4"])
    assert table.text() == "Scores\narm  F1    p\nGAN  0.8   -\nORG  0.75  -\nn = 4"
    with pytest.raises(ValueError, match="3 heads"):
        Table(("a", "b", "c"), [("1",)])


def test_a_command_is_written_as_typed_with_stand_ins_for_paths() -> None:
    options = {"n": 12, "seed": None, "batch_size": 8, "split": (70.0, 15.0, 15.0), "debug": True, "strict": False,
               "set": {"model.width": 8, "betas": [0, 0.9], "label": None, "model.noise": "uniform"},
               "init_from": Path("/data/Doe_John/run"), "beside": [Path("a"), Path("b")], "domain": "T1 post", "x": ()}
    assert command_line("train", "DATASET", "RUN", **options) == (
        "ganatomy train DATASET RUN -n 12 --batch-size 8 --split 70,15,15 --debug --set model.width=8 "
        "--set 'betas=[0, 0.9]' --set label=null --set model.noise=uniform --init-from INIT-FROM --beside BESIDE1 "
        "--beside BESIDE2 --domain 'T1 post'")
    rate = 0.1 + 0.2
    assert command_line("x", rate=rate) == f"ganatomy x --rate {rate!r}"
