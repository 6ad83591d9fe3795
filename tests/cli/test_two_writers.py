"""One folder and two commands, on one machine, in two containers, or where the system knows no locks."""

from __future__ import annotations

import shutil
import subprocess
import time

import pytest

from tests.cli.commands import Place, build, ended

CONTAINER = ("unshare", "--user", "--map-root-user", "--pid", "--fork")
WITHOUT = "import sys\nfor name in ('fcntl', 'resource', 'grp', 'termios'):\n    sys.modules[name] = None\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return build(tmp_path_factory.mktemp("verbs"))


@pytest.fixture(scope="module")
def containers() -> tuple[str, ...]:
    """What gives a command process ids of its own, as a container or another host has them."""
    if shutil.which("unshare") is None or subprocess.run([*CONTAINER, "true"], capture_output=True).returncode:
        pytest.skip("no namespaces of processes are to be had here")
    return CONTAINER


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("apart", [0.0, 1.0])
@pytest.mark.parametrize("verb", ["phantom", "prepare", "prepare-archive", "generate", "translate", "translate-file",
                                  "evaluate", "study"])
def test_of_two_containers_one_wins_or_they_share_the_work(place: Place, containers: tuple[str, ...], verb: str,
                                                           apart: float) -> None:
    out = f"{verb}_{apart:.0f}".replace("-", "_")
    assert place.run(verb, "OUT")[0] == 0 if not list(place.path.glob("OUT*")) else True
    first = place.start(verb, out, containers)
    time.sleep(apart)
    second = place.start(verb, out, containers)
    ends = [ended(process) for process in (first, second)]
    assert sorted(code for code, _ in ends) in ([0, 0], [0, 2]), ends
    for code, said in ends:
        assert "Traceback" not in said
        assert code == 0 or "another process" in said or "already" in said, said
    assert place.left() == []
