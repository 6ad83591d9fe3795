"""What the tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.builders import discs
from tests.cli.typed import PREPARE, SETS, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source folder of 12 subjects, prepared, trained."""
    folder = tmp_path_factory.mktemp("cli")
    for i, image in enumerate(discs(24)):
        path = folder / "scans" / f"patient{i // 2:02d}" / f"slice{i % 2}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    done = run("prepare", folder / "scans", folder / "dataset", *PREPARE)
    assert done.returncode == 0, done.stderr
    done = run("train", folder / "dataset", folder / "run", *SETS)
    assert done.returncode == 0, done.stderr
    assert "step 12/12" in done.stderr
    return folder
