"""The examples in the docstrings of the verbs: one story, from virtual patients to a report, in an empty folder."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

import ganatomy

STORY = ("phantom", "prepare", "train", "generate", "evaluate", "compare", "report", "translate", "study")


def test_every_verb_has_an_example() -> None:
    assert {*STORY, "__version__"} == set(ganatomy.__all__)
    finder = doctest.DocTestFinder(recurse=False)
    lacking = [verb for verb in STORY if not any(t.examples for t in finder.find(getattr(ganatomy, verb), verb))]
    assert lacking == []


def test_the_examples_give_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told: list[str] = []
    runner, finder = doctest.DocTestRunner(), doctest.DocTestFinder(recurse=False)
    for verb in STORY:
        for test in finder.find(getattr(ganatomy, verb), verb, globs={"ganatomy": ganatomy}):
            runner.run(test, out=told.append)
    assert runner.failures == 0, "".join(told)
