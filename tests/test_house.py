"""The rules of the house that the import contract of pyproject.toml cannot say."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import ganatomy

SRC = Path(ganatomy.__file__).parent
RULED_OUT = {"torchvision", "timm", "pickle", "torch_fidelity", "lpips", "cleanfid"}
FORMATS = {"nifti", "raster", "npy", "itk", "dicom"}
LONGEST = 500
MOST_SHARED_NAMES = 7


def modules() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_nothing_ruled_out_is_imported() -> None:
    assert [(p.name, n) for p in modules() for n in imported(p) if n.split(".")[0] in RULED_OUT] == []


def test_files_stay_short() -> None:
    lengths = {str(p.relative_to(SRC)): len(p.read_text().splitlines()) for p in modules()}
    assert {name: n for name, n in lengths.items() if n > LONGEST} == {}


def test_the_root_holds_packages_and_nothing_named_as_a_verb() -> None:
    assert {p.name for p in SRC.glob("*.py")} == {"__init__.py", "__main__.py", "testing.py"}
    assert not {p.stem for p in SRC.iterdir()} & set(ganatomy.__all__)


def test_hardly_two_modules_bear_the_same_name() -> None:
    """But for packages' heads, `base`, what is named for a format, and a verb's options, which bear the verb's name."""
    places = defaultdict(list)
    for path in modules():
        if path.stem not in {"__init__", "base", *FORMATS} and path.parent.name != "cli":
            places[path.stem].append(str(path.relative_to(SRC)))
    shared = {name: paths for name, paths in places.items() if len(paths) > 1}
    assert len(shared) <= MOST_SHARED_NAMES, shared


def test_every_verb_is_there_and_listed() -> None:
    assert set(ganatomy.__all__) <= set(dir(ganatomy))
    assert all(callable(getattr(ganatomy, name)) for name in ganatomy.__all__ if not name.startswith("_"))


def test_help_needs_no_heavy_import() -> None:
    loaded = python("import sys; from ganatomy.cli.main import cli; cli.main(['--help'], standalone_mode=False); "
                    "print(sorted(sys.modules))")
    assert "prepare" in loaded
    for heavy in ("'torch'", "'numpy'", "'pydantic'", "'rich'"):
        assert heavy not in loaded


def test_importing_changes_nothing_in_the_host_process() -> None:
    """Memory policy and waiting threads are the command line's own."""
    code = ("import os, sys; asked = []; before = dict(os.environ); "
            "sys.addaudithook(lambda event, args: asked.append(args[1]) if event == 'ctypes.dlsym' else None); "
            "import ganatomy; ganatomy.train; ganatomy.prepare; changed = dict(os.environ) != before; "
            "print('mallopt' in asked, changed); "
            "import ganatomy.cli.main as m; m.tune_process(); print('mallopt' in asked)")
    assert python(code).split() == ["False", "False", str(sys.platform == "linux")]
