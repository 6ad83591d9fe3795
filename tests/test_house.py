"""The rules of the house: imports go down only, files stay short, help answers at once."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

SRC = Path(__file__).parents[1] / "src" / "ganatomy"
FLOORS = {"errors": 0, "files": 0, "wording": 0, "recipe": 0, "run": 0, "data": 1, "nn": 1, "features": 1,
          "pictures": 1, "checkpoints": 1, "models": 2, "metrics": 2, "training": 3, "training_state": 3,
          "training_step": 3, "training_loop": 3, "training_images": 3, "training_start": 3, "training_preview": 3,
          "training_notes": 3, "training_schedule": 3, "training_curves": 3, "training_debug": 3,
          "validation": 3, "sampling": 3, "generation": 3, "planning": 3, "translation": 3,
          "evaluation": 4, "evaluation_rows": 4, "evaluation_sets": 4, "evaluation_verdicts": 4, "evaluation_map": 4,
          "evaluation_translation": 4, "evaluation_pairs": 4, "comparing": 4,
          "comparing_runs": 4, "comparing_figures": 4, "comparing_groups": 4, "comparing_differences": 4,
          "comparing_notes": 4, "comparing_table": 4, "studying": 5,
          "reporting": 6, "cli": 7, "cli_compare": 7, "cli_options": 7, "cli_prepare": 7, "cli_study": 7,
          "cli_translate": 7, "cli_weights": 7, "progress": 7, "testing": 7, "__main__": 8}
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


def test_every_part_has_a_floor() -> None:
    assert {part(p) for p in modules()} - {"recipes"} <= set(FLOORS)


def test_imports_go_down_only() -> None:
    climbs = []
    for path in modules():
        for name in imported(path):
            match = re.match(r"ganatomy\.(\w+)", name)
            if match and match[1] in FLOORS and FLOORS[match[1]] > FLOORS[part(path)]:
                climbs.append(f"{path.relative_to(SRC)} imports {name}")
    assert climbs == []


def test_nothing_ruled_out_is_imported() -> None:
    assert [(p.name, n) for p in modules() for n in imported(p) if n.split(".")[0] in RULED_OUT] == []


def test_files_stay_short() -> None:
    lengths = {str(p.relative_to(SRC)): len(p.read_text().splitlines()) for p in modules()}
    assert {name: n for name, n in lengths.items() if n > 300} == {}


def test_help_needs_no_heavy_import() -> None:
    code = "import sys, ganatomy.cli as c; c.cli.main(['--help'], standalone_mode=False); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout
    assert "prepare" in loaded
    for heavy in ("'torch'", "'numpy'", "'pydantic'", "'rich'"):
        assert heavy not in loaded


