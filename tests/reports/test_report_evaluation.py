"""The evaluation in the report: lights, copies, the map, artefacts; and what a version for sharing leaves out."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganatomy.core.errors import UserError
from ganatomy.core.run import Run
from ganatomy.data.dataset import Dataset
from ganatomy.data.likeness import FLIPS
from ganatomy.data.pictures import to_uint8
from ganatomy.evaluation.map import write_map
from ganatomy.generators.folder import load_generator
from ganatomy.metrics import schema
from ganatomy.metrics.base import Sample, Samples
from ganatomy.reports import drawings, evaluation_sections
from ganatomy.reports.context import Context
from ganatomy.reports.report import report
from tests.reports.conftest import copied
from tests.reports.test_report import Page, holds

FIGURE = {"value": 0.1, "interval": [0.05, 0.2], "floor": 0.01, "n_images": 8, "n_subjects": 4, "n_synthetic": 40}
PAIR = {"synthetic": "5", "real": "image-001", "p": 0.05, "channel": "pixels", "view": "mirrored left-right"}


@pytest.fixture(scope="module")
def evaluated(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a map."""
    root = copied(finished, tmp_path_factory.mktemp("evaluated"))
    dataset, run = Dataset.open(root / "dataset"), Run(root / "run")
    made = load_generator(run.path).sample(40, 0)
    rng, rows = np.random.default_rng(0), {name: dataset.rows(split=name) for name in ("train", "test")}
    real = {name: Sample(dataset.images(own), [r.subject for r in own], rng.normal(size=(len(own), 16)),
                         ids=[r.image_id for r in own]) for name, own in rows.items()}
    samples = Samples(real["test"], Sample(made, None, rng.normal(size=(40, 16))), real["train"])
    write_map(run, samples, schema.Metrics(synthetic="made"), lambda _: None)
    return root


@pytest.fixture
def run(evaluated: Path, tmp_path: Path) -> Run:
    return Run(copied(evaluated, tmp_path) / "run")


def metrics(verdict: str = "suspicious", **more: Any) -> dict[str, Any]:
    copies = {"verdict": verdict, "rate": 0.04, "resolution": 0.04, "calibration_subjects": 24, "flagged": 3,
              "training_subjects": 50, "expected_subjects": 2.0, "p_by_chance": 0.3, "evident": 1, "exact": 0,
              "copied": [{"subject": "sub-07", "images": 3}], "held_out_evident": 0,
              "pairs": [PAIR | {"flagged": verdict != "clean"}]}
    curves = {"frequency": [0.125, 0.25, 0.5], "real": [3.0, 1.0, 0.0], "synthetic": [3.0, 1.0, 9.0],
              "real_low": None, "real_high": None,
              "peaks": [{"period_px": 2.0, "direction": "both (checkerboard)", "excess_db": 9.0}]}
    results = [FIGURE | {"name": "KD-Lite0", "against": "test"},
               FIGURE | {"name": "Copies", "against": "train", "details": copies},
               FIGURE | {"name": "Leak", "against": "test", "details": {"verdict": "suspicious", "pairs": [
                   {"test": "image-006", "real": "image-000", "p": 0.1, "channel": "features", "view": "as it is"}]}},
               FIGURE | {"name": "Membership", "against": "test", "better": "match"},
               FIGURE | {"name": "Gaps", "against": "test", "better": "match"},
               FIGURE | {"name": "Duplicates-Lite0", "against": "test", "details": {"groups": [["5", "7"], ["1"]]}},
               FIGURE | {"name": "Spectrum", "against": "test", "details": curves,
                         "fault": "A regular pattern: every 2 px, both (checkerboard), 9 dB."},
               FIGURE | {"name": "Histogram", "against": "test", "details": {"real": [0.9, 0.1],
                                                                             "synthetic": [0.5, 0.5]}},
               FIGURE | {"name": "Something-new", "against": "test"}]
    verdicts = [{"question": "realistic", "light": "red", "says": "Not at all."},
                {"question": "copies", "light": "amber", "says": "Three are near."},
                {"question": "diverse", "light": "grey", "says": "Who knows."}]
    return {"schema_version": 1, "synthetic": "made", "step": 12, "seed": 0, "verdicts": verdicts, "results": results,
            "controls": [], "warnings": []} | more


def write(run: Run, **more: Any) -> None:
    run.metrics_file.write_text(json.dumps(metrics(**more) | {"dataset": run.dataset_content()}))


def tile(run: Run, name: str) -> np.ndarray:
    dataset = Dataset.open(run.path.parent / "dataset")
    return dataset.pixels([row for row in dataset.rows() if row.image_id == name])[0]


def test_values_that_nothing_can_have_count_as_none(run: Run) -> None:
    huge = [FIGURE | {"name": name, "against": "test", "value": 1e308, "interval": [-1e308, 1e308]}
            for name in ("KD-Lite0", "Histogram")]
    write(run, results=[*huge, *metrics()["results"]])
    run.append_log([{"kind": "train", "step": 3, "losses": {"G": 1e308, "D": -1e308}}])
    assert "308" not in Page(report(run.path)).text
    assert all(entry["step"] != 3 for entry in run.log())


def test_each_question_has_a_light_with_a_word_a_shape_and_a_way_to_the_reason(run: Run) -> None:
    write(run)
    page = Page(report(run.path))
    for said in ("Do they look real? Problem Not at all.", "Are they copies of patients? Caution Three are near.",
                 "Are they diverse? Cannot tell Who knows."):
        assert said in page.text, said
    shapes = re.findall(r'<svg viewBox="0 0 24 24"[^>]*><path d="([^"]+)"', page.source)
    assert len(shapes) == 3 == len(set(shapes))
    links = [link[1:] for link in page.loaded if link.startswith("#")]
    assert links and all(f'id="{link}"' in page.source for link in links)


def test_the_worst_pairs_stand_side_by_side_and_a_mirrored_one_is_mirrored(run: Run) -> None:
    write(run)
    page = Page(report(run.path))
    made = to_uint8(load_generator(run.path).sample(6, 0))[5]
    for shown in (made, tile(run, "image-001")[:, ::-1], tile(run, "image-006"), tile(run, "image-000")):
        assert any(picture.shape == shown.shape and (picture == shown).all() for picture in page.pictures)
    for said in ("Generated no. 5", "Training image-001", "Test image-006", "Suspicious.",
                 "Estimated share of copies among 40 generated images: 10% (95% interval 5% to 20%)",
                 "p = 0.0500, by pixels, mirrored left-right, shown so, beyond the limit",
                 "3 images lie nearer to 1 training patient than any image to the 24 patients",
                 "By chance fewer than 2.0 of 50 training patients", "p = 0.3",
                 "Whose images they are: sub-07 (3 images)"):
        assert said in page.text, said


@pytest.mark.parametrize("view", FLIPS)
def test_real_images_are_turned_as_the_audit_says_that_they_lie(run: Run, view: str) -> None:
    found = metrics()
    found["results"][1]["details"]["pairs"][0]["view"] = f"{view}, enlarged"
    write(run, results=found["results"])
    turned = np.flip(tile(run, "image-001"), FLIPS[view])
    assert any(picture.shape == turned.shape and (picture == turned).all()
               for picture in Page(report(run.path)).pictures)


@pytest.mark.parametrize("verdict", ["clean", "suspicious", "copies"])
def test_a_report_to_share_has_no_patient_no_copy_and_no_name(run: Run, verdict: str) -> None:
    write(run, verdict=verdict)
    dataset = Dataset.open(run.path.parent / "dataset")
    pixels = dataset.pixels(dataset.rows())
    page = Page(report(run.path, shareable=True))
    assert not any(holds(picture, x) for picture in page.pictures for x in (*pixels, *pixels[..., ::-1]))
    assert "image-0" not in page.source and "sub-07" not in page.source and "Training</th>" not in page.source
    suspect = to_uint8(load_generator(run.path).sample(6, 0))[5]
    shown = [picture for picture in page.pictures[1:] if holds(picture, suspect)]  # the first is that of seed 0, too
    assert bool(shown) == (verdict == "clean")
    assert (verdict == "copies") == (not page.pictures) == ("do not share them" in page.text)


def test_what_was_audited_is_said_and_what_was_not_too(run: Run) -> None:
    write(run, verdict="clean")
    clean = Page(report(run.path)).text
    assert "no sign that they copy training images" in clean and "not been audited" not in clean
    write(run, results=[FIGURE | {"name": "KD-Lite0", "against": "test"}])
    none = Page(report(run.path)).text
    assert "has not been audited" in none and "Not audited" in none
    assert "memorisation has not been audited" in Page(report(run.path, shareable=True)).text


def test_figures_of_other_weights_show_no_pairs(run: Run) -> None:
    run.metrics_file.write_text(json.dumps(metrics() | {"dataset": "another"}))
    page = Page(report(run.path))
    assert "the figures are of other weights or data" in page.text and "Generated no. 5" not in page.text


def test_the_map_needs_no_script_and_allows_only_its_own(run: Run) -> None:
    write(run)
    page = Page(report(run.path))
    script = re.search(r"<script>(.*?)</script>", page.source, re.S)
    assert script and page.tags.count("script") == 1
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page.source.replace("&#39;", "'")
    marks = re.findall(r'class="mark (\w+)" d="([^"]+)" transform="translate\(([\d.]+) ([\d.]+)\)"', page.source)
    assert len(marks) == 40 + 16 + 8 and len({d for _, d, *_ in marks}) == 3
    assert all(0 <= float(x) <= 640 and 0 <= float(y) <= 560 for *_, x, y in marks)
    assert "Distances between groups" in page.text and "mean nothing" in page.text


def test_every_mark_finds_its_own_thumbnail(run: Run) -> None:
    write(run)
    page = Page(report(run.path))
    sheet = next(p for p in page.pictures if p.shape == (2 * 16, 20 * 16) and holds(p, tile(run, "image-001")))
    (number,) = re.findall(r'data-tile="(\d+)" data-name="image-001"', page.source)
    y, x = int(number) // 20 * 16, int(number) % 20 * 16
    assert (sheet[y:y + 16, x:x + 16] == tile(run, "image-001")).all()


def test_a_map_of_another_evaluation_is_left_out_and_a_broken_one_is_the_users_to_mend(run: Run) -> None:
    run.metrics_file.write_text(json.dumps(metrics() | {"synthetic": "newer"}))
    assert "script" not in Page(report(run.path)).tags
    write(run)
    run.map_file.write_text('{"kind": ["train"], "id": [], "tsne": [], "pca": [], "seed": 0}')
    with pytest.raises(UserError, match="evaluate"):
        report(run.path)


def test_artefacts_are_drawn_and_named(run: Run) -> None:
    write(run)
    page = Page(report(run.path))
    for said in ("every 2 px, both (checkerboard), 9 dB", "with a near-duplicate: 10% (95% interval 5% to 20%)",
                 "2 images: no. 5, 7", "Distance in dB: 0.10 (0.05 to 0.20)"):
        assert said in page.text, said
    drawn = [base64.b64decode(uri.partition(",")[2]).decode() for uri in page.loaded if "svg+xml" in uri]
    assert any("2 px, +9 dB" in svg and "spatial frequency" in svg for svg in drawn)
    assert any("grey value" in svg for svg in drawn)


@pytest.mark.parametrize("details", [None, {}, {"frequency": "x"}, {"real": [1.0], "synthetic": [1.0, 2.0]},
                                     {"peaks": [3, {"period_px": "a"}], "pairs": [None, {}, {"synthetic": [1]}],
                                      "groups": [3, ["1"]], "real": [["a"]], "calibration_subjects": "many"}])
def test_details_that_cannot_be_read_are_not_drawn_and_break_nothing(run: Run, details: Any) -> None:
    found = metrics()
    for result in found["results"]:
        result["details"] = details
    run.metrics_file.write_text(json.dumps(found | {"dataset": run.dataset_content()}))
    assert "Power spectrum" in Page(report(run.path)).text
    assert drawings.spectrum(details or {}) is None


def test_no_value_is_lost_at_a_glance_or_in_full(run: Run) -> None:
    write(run)
    page = Page(report(run.path))
    glance, full = page.source.partition("What each figure")[::2]
    for result in metrics()["results"]:
        title = "KD-Lite0 × 1000" if result["name"] == "KD-Lite0" else result["name"]
        assert f'<span class="value">{title}</span>' in glance and f"<h3>{title} " in full
    assert page.text.index("Further figures Something-new") > page.text.index("Are they copies of patients? Copies")


def test_the_methods_paragraph_reads_as_one(run: Run) -> None:
    write(run)
    methods = evaluation_sections.methods(Context.of(run, None, print))
    assert methods.startswith("40 generated images were compared with 8 test images of 4 subjects (seed 0).")
    for wanted in ("primary measure was KD-Lite0 × 1000", "EfficientNet-Lite0", "held-out subjects (24)",
                   "share of copies was 10% (95% interval 5% to 20%)", "95% intervals over subjects"):
        assert wanted in methods, wanted
