"""The report: one file, true to the run, that gives nothing away."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe, load
from ganatomy.core.run import Run
from ganatomy.data.dataset import Dataset
from ganatomy.reports.report import report
from ganatomy.training.train import train
from tests.builders import TINY, write_dataset

HOSTILE = '<script>alert("x")</script>'


class Page(HTMLParser):
    """What a browser would find: tags, what they load, and the text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.handlers: list[str] = []
        self.words: list[str] = []
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "xlink:href")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def pictures(self) -> list[np.ndarray]:
        """The pixels of every embedded PNG."""
        return [np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
                for uri in self.loaded if uri.startswith("data:image/png")]


def holds(picture: np.ndarray, tile: np.ndarray) -> bool:
    """Whether the picture has the tile in it anywhere, pixel for pixel."""
    if picture.ndim != tile.ndim or any(p < t for p, t in zip(picture.shape, tile.shape, strict=True)):
        return False
    windows = np.lib.stride_tricks.sliding_window_view(picture, tile.shape)
    return bool((windows == tile).all(axis=tuple(range(-tile.ndim, 0))).any())


def metrics(run: Run, **more: Any) -> dict[str, Any]:
    result = {"name": "KD-Lite0", "against": "test", "value": 0.0812, "interval": [0.0634, 0.1041], "floor": 0.0047,
              "floor_interval": [0.001, 0.0093], "equal_n": {"value": 0.0762, "n_images": 4},
              "n_images": 8, "n_subjects": 4, "n_synthetic": 500, "better": "lower", "caveat": "",
              "p_no_difference": 0.004}
    control = {"control": "mean image", "name": "KD-Lite0", "value": 0.912, "interval": None, "behind_model": True}
    return {"schema_version": 1, "extractor": "Lite0", "seconds": 1.0, "dataset": run.dataset_content(),
            "synthetic": "0", "step": 12, "counts": {"train": {"images": 16, "subjects": 8},
                                                     "test": {"images": 8, "subjects": 4}},
            "results": [result | more, result | {"against": "train", "value": 0.0701}], "controls": [control],
            "warnings": ["Only 4 test subjects."]}


def write_metrics(run: Run, **more: Any) -> None:
    run.metrics_file.write_text(json.dumps(metrics(run, **more)))


def test_the_page_loads_nothing_and_names_no_place(run: Run) -> None:
    write_metrics(run)
    page = Page(report(run.path))
    assert page.loaded and all(uri.startswith("data:image/") for uri in page.loaded)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "url(" not in page.source and "@import" not in page.source
    assert str(run.path.parent) not in page.source and "sub-0" not in page.text
    assert page.source.count("<!doctype html>") == 1 and len(page.source) < 5_000_000


def test_real_and_generated_images_stand_there_and_the_page_says_so(run: Run) -> None:
    dataset = Dataset.open(run.path.parent / "dataset")
    page = Page(report(run.path))
    shown = dataset.pixels(dataset.rows(split="test"))[0].repeat(1, 0)
    assert any(holds(picture, shown) for picture in page.pictures)
    assert "contains images of real patients; use --shareable" in page.text
    assert "8 test images of 4 subjects" in page.text and "Not for diagnosis" in page.text
    assert "Not evaluated yet: run ganatomy evaluate RUN" in page.text


def test_a_shareable_report_holds_no_real_image(run: Run) -> None:
    write_metrics(run)
    dataset = Dataset.open(run.path.parent / "dataset")
    pixels = dataset.pixels(dataset.rows())
    page = Page(report(run.path, shareable=True))
    assert page.pictures
    assert not any(holds(picture, tile) for picture in page.pictures for tile in pixels)
    assert "contains images of real patients" not in page.text and "No real image is in this file" in page.text
    assert "KD-Lite0" in page.text


def test_figures_come_with_n_interval_floor_and_words(run: Run) -> None:
    write_metrics(run)
    text = Page(report(run.path)).text
    for wanted in ("KD-Lite0 × 1000", "81", "63 to 104", "4.7 1.0 to 9.3", "76.2 n = 4", "70", "Only 4 test subjects.",
                   "8 images of 4 subjects / 500 generated", "912", "Yes, as it should be", "lower is better",
                   "against 8 test images of 4 subjects: 81 (63 to 104)", "real vs real 4.7"):
        assert wanted in text, wanted


def test_a_control_before_the_model_is_pointed_out(run: Run) -> None:
    found = metrics(run)
    found["controls"][0] |= {"behind_model": False}
    run.metrics_file.write_text(json.dumps(found))
    text = Page(report(run.path)).text
    assert "The model is no better than this control, or the measure is blind here" in text
    assert "Not behind the model: the mean training image" in text


def test_where_patients_are_unknown_no_subjects_are_claimed(run: Run) -> None:
    warning = "nothing says which images belong to one patient: each counts as a subject of its own"
    note = run.path.parent / "dataset" / "dataset.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"fingerprint": {
        "warnings": [warning, "only 16"], "patients_unknown": True}}))
    write_metrics(run)
    text = Page(report(run.path)).text
    assert "Warnings about the data Nothing says which images belong to one patient" in text and "Only 16." in text
    assert "16 images (patients unknown)" in text and "8 test images (patients unknown)" in text
    assert "of 4 subjects" not in text and "A subject is in one split only" not in text
    assert "A subject is in one split only" not in Page(report(run.path, shareable=True)).text


def test_many_generated_images_are_shown_beside_few_real_ones_at_one_scale(run: Run) -> None:
    page = Page(report(run.path))
    assert "n = 8. From the 8 test images" in page.text and "n = 24. The first ones" in page.text
    real, made = page.pictures[:2]
    assert made.shape[0] >= 24 // (made.shape[1] // 16) * 16 and made.shape[1] % 17 == real.shape[1] % 17


def test_the_size_of_a_pixel_is_given(run: Run) -> None:
    assert "mm (median)" not in Page(report(run.path)).text
    config = json.loads((run.generator / "config.json").read_text())
    (run.generator / "config.json").write_text(json.dumps(config | {"spacing": [6.6875, 6.6875]}))
    assert Page(report(run.path)).text.count("A pixel is 6.69 × 6.69 mm (median).") == 2


def test_a_run_that_a_time_limit_ended_is_made_again_by_its_steps(run: Run) -> None:
    run.write_status("finished", 8, steps=12)
    assert "the same bits, with the same precision, device and threads" in Page(report(run.path)).text


def test_figures_of_other_weights_or_data_are_called_old(run: Run) -> None:
    run.metrics_file.write_text(json.dumps(metrics(run) | {"step": 8}))
    assert "of the weights of step 8" in Page(report(run.path)).text
    run.metrics_file.write_text(json.dumps(metrics(run) | {"dataset": "another"}))
    assert "another dataset" in Page(report(run.path)).text


def test_broken_metrics_are_the_users_to_mend(run: Run) -> None:
    run.metrics_file.write_text('{"results": [{"name": 3}]}')
    with pytest.raises(UserError, match="evaluate"):
        report(run.path)


def test_without_the_dataset_it_goes_without_real_images(run: Run) -> None:
    write_metrics(run)
    shutil.rmtree(run.path.parent / "dataset")
    said: list[str] = []
    page = Page(report(run.path, say=said.append))
    assert "no real images are shown" in page.text and "contains images of real patients" not in page.text
    assert "16 images of 8 subjects" in page.text  # the counts are in metrics.json too
    assert any("without real images" in line for line in said)


def test_a_moved_dataset_can_be_named_and_another_one_is_refused(run: Run) -> None:
    moved = (run.path.parent / "dataset").rename(run.path.parent / "moved")
    assert "8 test images of 4 subjects" in Page(report(run.path, data=moved)).text
    other = write_dataset(run.path.parent / "other", seed=5).path
    with pytest.raises(UserError, match="not the dataset"):
        report(run.path, data=other)


def test_an_unfinished_run_is_shown_from_its_previews(run: Run) -> None:
    shutil.rmtree(run.generator)
    run.write_status("stopped", 8, steps=12, message=f"gave up {HOSTILE}; see {run.path}/x and /home/jane doe/a/b.txt")
    page = Page(report(run.path))
    assert "stopped at step 8 of 12" in page.text and "The preview at step 12" in page.text
    assert "script" not in page.tags and "alert" in page.text
    assert not re.search(r"\bjane\b|\bdoe\b", page.text) and str(run.path) not in page.text


def test_hostile_strings_stay_text(run: Run) -> None:
    found = metrics(run, name=f"KD{HOSTILE}", against=HOSTILE, caveat='"><img src=x onerror=alert(1)>')
    run.metrics_file.write_text(json.dumps(found | {"warnings": [HOSTILE]}))
    environment = json.loads(run.environment_file.read_text())
    run.environment_file.write_text(json.dumps(environment | {HOSTILE: HOSTILE, "hostname": "ward-7-scanner"}))
    run.append_log([{"kind": "train", "step": 12, "seconds": 1.0, "losses": {HOSTILE: 1.0}}])
    recipe = run.recipe().model_copy(update={"name": HOSTILE})
    run.recipe_file.write_text(recipe.to_yaml())
    config = run.generator / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"recipe": recipe.model_dump(mode="json")}))
    page = Page(report(run.path))
    assert "script" not in page.tags and page.handlers == []
    assert all(uri.startswith("data:image/") for uri in page.loaded)
    assert "ward-7-scanner" not in page.source


def test_colour_images(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "dataset", subjects=8, channels=3)
    run = train(dataset.path, tmp_path / "run", load("rpgan-64", TINY))
    page = Page(report(run.path))
    shown = dataset.pixels(dataset.rows(split="test"))[0]
    assert any(holds(picture, shown) for picture in page.pictures)
    assert not any(holds(picture, shown) for picture in Page(report(run.path, shareable=True)).pictures)


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        report(tmp_path / "missing")
    with pytest.raises(UserError, match="not a run folder"):
        report(tmp_path)


def test_it_is_written_where_asked_and_not_over_a_folder(run: Run) -> None:
    target = run.path.parent / "elsewhere" / "it.html"
    assert report(run.path, out=target) == target and target.is_file() and not run.report_file.exists()
    with pytest.raises(UserError, match="is a folder"):
        report(run.path, out=run.path)


def test_a_run_that_has_only_begun(tmp_path: Path, tiny: Recipe) -> None:
    dataset = write_dataset(tmp_path / "dataset")
    run = Run(tmp_path / "run")
    run.start(tiny, dataset.path, dataset.info.content)
    assert "Nothing has been generated yet" in Page(report(run.path)).text


def test_the_commands_are_in_the_page_as_they_were_given(run: Run) -> None:
    prepared, note = "ganatomy prepare SOURCE DATASET --size 16", run.path.parent / "dataset" / "dataset.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"provenance": {"command": prepared}}))
    (command,) = run.commands()
    assert command.startswith("ganatomy train DATASET RUN --recipe RECIPE.yaml")
    assert f"{prepared} {command} ganatomy report RUN" in Page(report(run.path)).text
    run.commands_file.unlink()
    assert "The commands were not recorded" in Page(report(run.path)).text
