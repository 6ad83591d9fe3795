"""Processes side by side: in order, and gone when the one that they work for is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ganatomy.core.errors import UserError
from ganatomy.data import parallel
from ganatomy.data.parallel import in_order

SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from ganatomy.data.parallel import in_order

signal.signal(signal.SIGINT, signal.default_int_handler)  # shells take it away from what runs in their background

def work(number):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(60 if number > 1 else 0)  # some are at work and some wait for work
    return number

list(in_order(work, range(3), 3))
"""


def squared(number: int) -> int:
    time.sleep(0.002 * (number % 3))
    return number**2


def test_results_come_in_the_order_of_the_items() -> None:
    assert list(in_order(squared, range(20), 3)) == [n**2 for n in range(20)]


def insatiable(number: int) -> int:
    return len(bytearray(2**31))


def endless(number: int) -> int:
    return sum(1 for _ in iter(int, 1))


@pytest.mark.skipif(sys.platform != "linux", reason="processes have limits there alone")
@pytest.mark.parametrize(("work", "words"), [(insatiable, "more memory"), (endless, "for more than")])
def test_neither_memory_nor_time_is_without_end(monkeypatch: pytest.MonkeyPatch, work: Callable[[int], int],
                                                words: str) -> None:
    monkeypatch.setattr(parallel, "MOST_MEMORY", 2**30)
    monkeypatch.setattr(parallel, "DEADLINE", 1)
    with pytest.raises(UserError, match=words):
        list(in_order(work, range(3), 2))


def running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def eventually(condition: object) -> bool:
    for _ in range(100):
        if condition():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("how", ["keyboard", "kill", "terminate"])
def test_no_process_is_left_behind_and_none_complains(tmp_path: Path, how: str) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "seen").mkdir()
    parent = subprocess.Popen([sys.executable, tmp_path / "script.py", tmp_path / "seen"], stderr=subprocess.PIPE,
                              text=True, start_new_session=True)
    workers = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    assert eventually(lambda: list((tmp_path / "seen").iterdir()) and len(workers.read_text().split()) == 3)
    children = [int(child) for child in workers.read_text().split()]
    if how == "keyboard":  # the terminal sends it to all of them
        os.killpg(parent.pid, signal.SIGINT)
    else:
        parent.send_signal(signal.SIGKILL if how == "kill" else signal.SIGTERM)
    try:
        _, complaints = parent.communicate(timeout=20)
        assert complaints.count("Traceback") == (how == "keyboard")  # the script's own
        assert eventually(lambda: not any(map(running, children)))
    finally:
        for child in filter(running, children):
            os.kill(child, signal.SIGKILL)


LARGE = """
import signal, sys
from pathlib import Path
from ganatomy.data.parallel import in_order

signal.signal(signal.SIGINT, signal.default_int_handler)

def work(number):
    return bytes(2**27)  # far more than a pipe holds: most of the time something is being sent

for result in in_order(work, range(1000), 2):
    Path(sys.argv[1]).touch()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal to a group of processes")
def test_an_interrupt_while_results_are_sent_ends_it_soon(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(LARGE)
    for pause in (0.0, 0.03, 0.07):
        (tmp_path / "begun").unlink(missing_ok=True)
        parent = subprocess.Popen([sys.executable, tmp_path / "script.py", tmp_path / "begun"],
                                  stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            assert eventually((tmp_path / "begun").exists)
            time.sleep(pause)
            os.killpg(parent.pid, signal.SIGINT)
            assert parent.wait(timeout=15) != 0
        finally:
            if parent.poll() is None:
                os.killpg(parent.pid, signal.SIGKILL)
                parent.wait()
