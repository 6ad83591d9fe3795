"""Commands as a user types them, run in this process."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from ganatomy.cli.main import main
from tests.builders import TINY


def run(*words: object) -> subprocess.CompletedProcess[str]:
    """The command line in this process, which saves the seconds that a new one needs to import torch."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err), patch.object(sys, "argv", ["ganatomy", *map(str, words)]):
        try:
            main()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def mistake(*words: object) -> str:
    """Run a command that must fail by the input's fault; its one line."""
    done = run(*words)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


SETS = [f"--set={key}={value}" for key, value in TINY.items()]
PREPARE = ["--size", 16, "--pattern", "{subject}/slice{slice}.png", "--split", "40,20,40"]
