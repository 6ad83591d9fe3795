"""One folder and two commands, on one machine or in two containers; and verbs on systems that know no locks."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from ganatomy.core.files import claimed
from ganatomy.core.run import Run
from ganatomy.data.dataset import Dataset
from ganatomy.studies.folder import StudyFolder
from tests.cli.commands import VERBS, Place, build, ended

CONTAINER = ("unshare", "--user", "--map-root-user", "--pid", "--fork")
"""Gives a command process ids of its own, as a container or another machine has them."""
WITHOUT = "import sys\nfor name in ('fcntl', 'resource', 'grp', 'termios'):\n    sys.modules[name] = None\n"
SHARED = ("phantom", "prepare", "prepare-archive", "generate", "translate", "translate-file", "evaluate", "study")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return build(tmp_path_factory.mktemp("verbs"))


@pytest.fixture(scope="module")
def container() -> Sequence[str]:
    if shutil.which("unshare") is None or subprocess.run([*CONTAINER, "true"], capture_output=True).returncode:
        pytest.skip("no namespaces of processes are to be had here")
    return CONTAINER


def test_whoever_loses_says_so(place: Place) -> None:
    """Before it has done any work."""
    (place.path / "run" / "metrics.json").unlink(missing_ok=True)  # else there is nothing to do
    with claimed(place.path / "held"), claimed(Run(place.path / "run").metrics_file):
        for verb in ("phantom", "evaluate"):
            code, said = place.run(verb, "held")
            assert code == 2 and "another process is" in said.strip().splitlines()[-1], said


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("apart", [0.0, 1.0])
@pytest.mark.parametrize("verb", SHARED)
def test_of_two_containers_one_wins_or_they_share_the_work(place: Place, container: Sequence[str], verb: str,
                                                           apart: float) -> None:
    out = f"{verb}_{apart:.0f}".replace("-", "_")
    alone, both = f"{out}_alone", f"{out}_both"
    assert place.run(verb, alone)[0] == 0
    solo = json.loads((place.path / "run" / "metrics.json").read_text())
    first = place.start(verb, both, container)
    time.sleep(apart)
    second = place.start(verb, both, container)
    ends = [ended(process) for process in (first, second)]
    assert sorted(code for code, _ in ends) in ([0, 0], [0, 2]), ends
    for code, said in ends:
        assert "Traceback" not in said
        assert code == 0 or "another process" in said or "already" in said, said
    assert place.left() == []
    check_whole(place, verb, alone, both, solo)


def check_whole(place: Place, verb: str, alone: str, both: str, solo: dict[str, object]) -> None:
    """The product reads what was written together, and it is what one process writes."""
    if verb.startswith("prepare"):  # its key is another each time
        whole, single = (Dataset.open(place.path / name) for name in (both, alone))
        whole.verify([row for domain in whole.info.domains for row in whole.rows(domain)])
        assert whole.info.content == single.info.content
    elif verb == "evaluate":
        run, now = Run(place.path / "run"), json.loads((place.path / "run" / "metrics.json").read_text())
        assert {**now, "seconds": 0} == {**solo, "seconds": 0}
        assert json.loads(run.map_file.read_text())["synthetic"] == now["synthetic"]
    elif verb == "study":
        folders = [StudyFolder.open(place.path / name) for name in (both, alone)]
        assert not folders[0].cells_left()
        place.run(verb, both)  # whoever lost may have had a cell still to see
        assert folders[0].results_file.read_bytes() == folders[1].results_file.read_bytes()
    else:
        contents = [place.content(f"{name}.nii.gz" if verb == "translate-file" else name) for name in (both, alone)]
        assert [*contents[0].values()] == [*contents[1].values()]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_works_where_the_system_knows_no_locks(place: Place, tmp_path: Path, verb: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    code, said = place.run(verb, f"{verb}_soft".replace("-", "_"), first=str(tmp_path))
    assert code == 0 and "soft file lock" not in said and "Traceback" not in said, said
    assert place.left() == []
