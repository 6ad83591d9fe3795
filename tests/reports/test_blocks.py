"""The parts of a report: blocks and what of them may be shared, pictures, charts, and what is cut out of text."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import load
from ganatomy.core.run import Run
from ganatomy.metrics.schema import EqualN, Metrics, Reference, Result
from ganatomy.reports import blocks, drawings, evaluation_sections
from ganatomy.reports import image_sections as images
from ganatomy.reports.blocks import Block, Columns, Fold, Heading, Page, Pictures, Words
from ganatomy.reports.context import Context
from ganatomy.reports.page import render, without_paths
from tests.builders import write_dataset


def test_a_distance_without_a_floor_shows_none_of_another_n() -> None:
    reference = {"what": "real train against real test", "value": 61.0}
    few = Result(name="FD-Lite0", value=300.0, n_subjects=2, reference=Reference.model_validate(reference))
    metrics = Metrics(results=(few,))
    context = Context(Run("run"), load("rpgan-64"), None, metrics, print)
    block, = (b for b in evaluation_sections._in_full(context, metrics, "FD-Lite0") if isinstance(b, blocks.Table))
    assert block.table.rows[0][2] == "" and "Real train against real test: 61.0." in block.remarks[0]
    density = Result(name="Density-Lite0", value=1.4, better="match", ratio=0.8, floor=4.0,
                     equal_n=EqualN(value=3.0, n_images=3))
    metrics = Metrics(results=(density,))
    block, = (b for b in evaluation_sections._in_full(context, metrics, "Density-Lite0") if isinstance(b, blocks.Table))
    assert block.table.heads[3] == "Ratio to real" and block.table.rows[0][3] == "0.800 (n = 3)"


@pytest.mark.parametrize("low", [-0.03, 0.002])
def test_the_axis_of_the_standing_is_labelled_and_holds_zero(low: float) -> None:
    marks: list[drawings.Mark] = [("real vs real", low, None, "real"), ("model", 0.9, (0.8, 1.0), "model")]
    svg = base64.b64decode(drawings.standing("KD", marks, 1000).uri.partition(",")[2]).decode()
    ticks = re.findall(r">([\d,−]+)</text>", svg)
    assert "0" in ticks and len(ticks) >= 4


def test_losses_of_a_few_lines_are_not_averaged() -> None:
    def averaged(n: int) -> bool:
        return drawings.losses({"d": [(i, 1.0 / (i + 1)) for i in range(n)]})[2]
    assert not averaged(1) and not averaged(20) and averaged(200)


def test_film_strip_steps_are_few_and_keep_both_ends() -> None:
    steps = list(range(0, 4001, 250))
    chosen = [steps[i] for i in images.log_spaced(steps, 10)]
    assert len(chosen) == 10 and chosen[0] == 0 and chosen[-1] == 4000
    assert np.diff(chosen)[0] < np.diff(chosen)[-1]
    assert images.log_spaced([5], 10) == [0]


def test_a_sheet_is_cut_into_its_tiles(tmp_path: Path) -> None:
    tiles = np.random.default_rng(0).integers(0, 255, (32, 6, 6), np.uint8)
    sheet = tiles.reshape(4, 8, 6, 6).swapaxes(1, 2).reshape(24, 48)
    Image.fromarray(sheet).save(tmp_path / "step-000001.png")
    assert (images.read_sheet(tmp_path / "step-000001.png") == tiles).all()
    Image.fromarray(sheet[:23]).save(tmp_path / "step-000002.png")
    with pytest.raises(UserError, match="8 x 4"):
        images.read_sheet(tmp_path / "step-000002.png")


def test_real_images_go_round_the_subjects(tmp_path: Path) -> None:
    rows = write_dataset(tmp_path / "dataset", subjects=12, per_subject=3).rows()
    assert len({row.subject for row in images.spread(rows, 12)}) == 12
    assert len({row.image_id for row in images.spread(rows, 100)}) == 36


@pytest.mark.parametrize(("size", "channels"), [(64, 1), (256, 3), (512, 3), (1024, 1)])
def test_a_grid_of_noise_stays_small(size: int, channels: int) -> None:
    how = images.layout(size, size, channels, 24)
    shape = (how.tiles, size, size) if channels == 1 else (how.tiles, size, size, 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    picture = images.strip(noise, how.columns, "noise", how.zoom, how.shrink)
    assert len(picture.uri) < 2_300_000 and picture.width <= 520


@pytest.mark.parametrize(("text", "parts"), [
    ("767 (739 to 794)", ("767", ["739 to 794"])), ("−0.2 (−26 to 42; n = 3)", ("−0.2", ["−26 to 42", "n = 3"])),
    ("GAN (primary)", ("GAN (primary)", [])), ("", ("–", [])), ("Shift\nof it", ("Shift", ["of it"])),
])
def test_the_interval_of_a_cell_stands_small(text: str, parts: tuple[str, list[str]]) -> None:
    assert blocks.parts(text) == parts


# ------------------------------------------------------------------ what may be shared

def page_of(*body: Block) -> Page:
    return Page("Title", "training finished", [Heading("Title", level=1)], [], [Heading("Section"), *body])


PATIENT = Pictures([images.picture(np.full((2, 2), 77, np.uint8), "patient", label="sub-007")], patients=True)


def test_a_block_that_shows_patients_is_not_shared_and_the_page_says_so() -> None:
    for body in (PATIENT, Columns([PATIENT]), Fold([Columns([Words("beside"), PATIENT])], title="More")):
        whole, shared = (render(page_of(body), [], shareable=shareable) for shareable in (False, True))
        assert PATIENT.pictures[0].uri in whole and "contains images of real patients" in whole
        assert PATIENT.pictures[0].uri not in shared and "sub-007" not in shared
        assert shared.count("Left out: ") == 1 and "No real image is in this file." in shared


def test_what_stands_in_its_place_and_what_the_banner_adds_come_from_the_blocks() -> None:
    half = Words("half of it", remark="Mind the half.")
    body = [replace(PATIENT, instead=half), *[replace(PATIENT, instead="a reason.")] * 2]
    shared = render(page_of(*body), [], shareable=True)
    assert "half of it" in shared and "Mind the half." in shared and shared.count("a reason.") == 1
    assert "Mind the half." not in render(page_of(*body), [], shareable=False)


def test_a_page_without_patients_warns_of_none() -> None:
    text = render(page_of(Words("`code` and <b>")), [], shareable=False)
    assert "real patients" not in text and "holds no real image" in text
    assert "<code>code</code> and &lt;b&gt;" in text and "script" not in text.replace("no-script", "")


def test_paths_are_cut_out_of_text_and_nothing_else() -> None:
    for text in ("/home/jane/scans", r"C:\Users\jane\scans", "~/jane/x", "file:///data/jane", r"\\server\jane\x"):
        assert "jane" not in without_paths(f"read {text} today"), text
    for text in ("images/s and/or 1/2", "discriminator/adversarial", "n = 3 / 4 generated", "KD 1/1000"):
        assert without_paths(text) == text
    assert not re.search("doe", without_paths("at /mnt/jane doe/ct/a.nii"))
