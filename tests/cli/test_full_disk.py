"""Where a file cannot be written to its end, a verb says so in one line and leaves nothing half-made."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from ganatomy.core.errors import UserError
from ganatomy.core.files import atomic_path
from tests.cli.commands import VERBS, Place, build

WRITING = [verb for verb in VERBS if not verb.endswith("dry")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return build(tmp_path_factory.mktemp("verbs"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_array_that_does_not_fit_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the disk is full"), atomic_path(tmp_path / "a.npy") as temporary:
        temporary.symlink_to("/dev/full")
        with temporary.open("wb") as handle:
            np.save(handle, np.zeros(10**6))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files by a shell")
@pytest.mark.parametrize("verb", WRITING)
def test_files_that_may_not_grow_end_a_verb_in_one_line(place: Place, verb: str) -> None:
    """With a limit that rises until the verb does its work; of what can be gone on with, the last try does."""
    out, code = verb.replace("-", "_"), 2
    for blocks in (1, 4, 16, 64, 256, 4096):
        kept = place.content("run")
        code, said = place.run(verb, out, ("sh", "-c", 'ulimit -f "$0" && exec "$@"', str(blocks)))
        assert place.left() == []
        if code == 0:
            break
        assert code == 2 and "Traceback" not in said, said
        assert "larger than is allowed" in said.strip().splitlines()[-1], said
        if verb not in ("train", "study", "evaluate"):
            assert not list(place.path.glob(f"{out}*")), said
            assert place.content("run") == kept
        elif verb == "study":  # a failed cell of a study is begun anew
            shutil.rmtree(place.path / out, ignore_errors=True)
    assert code == 0, said
