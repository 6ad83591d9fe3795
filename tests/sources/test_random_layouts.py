"""Whether the random layouts and their verdict can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ganatomy.sources.entry import Entry
from tests.sources.random_layouts import Drawn, layout_of, verdict


def read_rightly(drawn: Drawn) -> list[Entry]:
    return [Entry(Path(name), name, t.subject, t.session, "mask" if t.mask else t.contrast or "image", t.label, t.split,
                  t.slice) for name, t in drawn.truth.items() if t]


def test_the_truth_is_right_and_no_name_is_drawn_twice() -> None:
    layouts = [layout_of(seed) for seed in range(300)]
    assert [verdict(read_rightly(drawn), drawn) for drawn in layouts] == [""] * 300
    assert all(3 <= len(set(drawn.names)) == len(drawn.names) for drawn in layouts)


@pytest.mark.parametrize(("change", "words"), [
    (lambda e: replace(e, subject=e.subject + e.session), "subjects"), (lambda e: replace(e, session=""), "sessions"),
    (lambda e: replace(e, domain="image"), "no mask|a mask|domains"), (lambda e: replace(e, label=""), "labels"),
    (lambda e: replace(e, split=""), "split"), (lambda e: replace(e, slice=-(e.slice or 0)), "slice"),
    (lambda e: replace(e, slice=None), "slice"), (lambda e: replace(e, subject="one"), "subjects"),
    (lambda e: replace(e, domain=e.domain.replace("mask", "T9")), "a mask")])
def test_a_wrong_reading_is_named(change: Callable[[Entry], Entry], words: str) -> None:
    changed = [(drawn, read_rightly(drawn)) for drawn in map(layout_of, range(100))]
    told = [verdict(map(change, entries), drawn) for drawn, entries in changed if list(map(change, entries)) != entries]
    some = [text for text in told if text]
    assert len(some) > 4 and all(any(word in text for word in words.split("|")) for text in some)
