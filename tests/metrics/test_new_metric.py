"""A metric is one file: a new one is in the table, metrics.json, report and compare without other edits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ganatomy import metrics
from ganatomy.comparison.compare import compare
from ganatomy.comparison.table import table as board
from ganatomy.core.run import Run
from ganatomy.evaluation.evaluate import evaluate, table
from ganatomy.reports.report import report

BRIGHTNESS = '''
from ganatomy.metrics.base import About, Column, Result, Samples

ORDER = 30
ABOUT = (About("Brightness", "Mean grey value.", "realistic", "match", column=Column("brightness", "brightness")),
         About("Brightness-train", "Of the training images alone.", "realistic", "match"))


def compute(samples: Samples) -> list[Result]:
    return [samples.result("Brightness", against, float(samples.synthetic.images[:].mean()), "match", floor=0.0)
            for against, real in samples.real()] + [samples.result("Brightness-train", "train", 0.5, "match")]


def fault(result: Result) -> str:
    return "The images are as bright as they are."
'''


@pytest.fixture
def brightness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "brightness.py").write_text(BRIGHTNESS)
    monkeypatch.setattr(metrics, "__path__", [*metrics.__path__, str(tmp_path / "metrics")])
    metrics.forget()
    yield
    metrics.forget()


@pytest.mark.usefixtures("brightness")
def test_one_file_is_enough(own_run: Run) -> None:
    found = evaluate(own_run.path, n=20)
    written = json.loads(own_run.metrics_file.read_text())["results"]
    own = [r for r in written if r["name"].startswith("Brightness")]
    assert [(r["name"], r["against"]) for r in own] == [
        ("Brightness", "test"), ("Brightness", "train"), ("Brightness-train", "train")]
    assert not any(c["name"] == "Brightness-train" for c in found["controls"])  # the model has none against test
    lines = [line.split() for line in table(found).splitlines() if line.startswith("Brightness ")]
    assert [line[:2] for line in lines] == [["Brightness", "test"]]
    leaders = compare([own_run.path])
    assert "brightness" in [column["head"] for column in leaders["tables"][0]["columns"]]
    assert "brightness" in board(leaders)
    (verdict,) = [v for v in found["verdicts"] if v["question"] == "realistic"]
    assert "as bright as they are" in verdict["says"] or verdict["light"] == "grey"
    page = report(own_run.path).read_text()
    question = page.index('rowgroup">Do they look real?')
    assert question < page.index('<span class="value">Brightness</span>') < page.index('rowgroup">Are they diverse?')
    assert '<p class="note">Mean grey value.</p>' in page
