"""The rules of the house: imports go down only, files stay short, help answers at once."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

SRC = Path(__file__).parents[1] / "src" / "ganatomy"
RULED_OUT = {"torchvision", "timm", "pickle", "torch_fidelity", "lpips", "cleanfid"}


def modules() -> list[Path]:
    return [p for p in SRC.rglob("*.py") if p != SRC / "__init__.py"]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def part(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def test_nothing_ruled_out_is_imported() -> None:
    assert [(p.name, n) for p in modules() for n in imported(p) if n.split(".")[0] in RULED_OUT] == []


def test_files_stay_short() -> None:
    lengths = {str(p.relative_to(SRC)): len(p.read_text().splitlines()) for p in modules()}
    assert {name: n for name, n in lengths.items() if n > 300} == {}


def test_help_needs_no_heavy_import() -> None:
    code = ("import sys; from ganatomy.cli.main import cli; cli.main(['--help'], standalone_mode=False); "
            "print(sorted(sys.modules))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout
    assert "prepare" in loaded
    for heavy in ("'torch'", "'numpy'", "'pydantic'", "'rich'"):
        assert heavy not in loaded


