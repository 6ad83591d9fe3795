"""Run folders as training and evaluation leave them, for tests of compare."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ganatomy.core.recipe import load
from ganatomy.core.run import Run

CONTENT = "c0ffee" * 10


def result(name: str, value: float, **more: Any) -> dict[str, Any]:
    return {"name": name, "against": "test", "value": value, "interval": [value - 0.04, value + 0.06], "n_images": 40,
            "n_subjects": 20, "n_synthetic": 500, "better": "lower"} | more


def noise_metrics(kd: float, **more: Any) -> dict[str, Any]:
    reference = {"what": "real train against real test", "value": 0.002, "interval": [-0.01, 0.01], "n_images": 80}
    results = [result("KD-Lite0", kd, reference=reference), result("KD-Lite0", 9.0, against="train"),
               result("FD-Lite0", 100 * kd), result("Precision-Lite0", 0.97),
               result("Diversity-Lite0", 12.0, ratio=0.9, ratio_interval=[0.8, 1.0])]
    return {"schema_version": 1, "extractor": "Lite0", "dataset": CONTENT, "synthetic": f"{kd}", "step": 4000,
            "seed": 0, "domain": "T1", "label": None, "size": 64, "warnings": [],
            "counts": {"test": {"images": 40, "subjects": 20}, "synthetic": {"images": 500}}, "results": results,
            "controls": [{"control": "mean image", "name": "KD-Lite0", "value": 0.5, "interval": [0.4, 0.6]}]} | more


def translation_metrics(kd: float, mae: float, ways: tuple[tuple[str, str], ...] = (("T1", "T2"),)) -> dict[str, Any]:
    directions = [{"source": source, "target": target, "n_images": 30, "n_subjects": 10, "kernel": {
        "translators": {"model": result("KD-Lite0", kd), "input returned": result("KD-Lite0", 0.4)},
        "reference": {"value": 0.01, "interval": None}}, "translators": {"model": [result("MAE foreground", mae)]},
        "returned": {"finding": ""}, "anatomy": {"kept": True}} for source, target in ways]
    return {"kind": "translation", "extractor": "Lite0", "dataset": CONTENT, "step": 4000, "seed": 0, "n": None,
            "source": "T1", "domain": "T2", "size": 64, "directions": directions, "warnings": []}


Make = Callable[..., Path]


def maker(folder: Path) -> Make:
    """Writes a run folder: make(name, metrics, seed, **overrides)."""
    def write(name: str, metrics: dict[str, Any] | None, seed: int = 0, *, seconds: float = 60.0, step: int = 4000,
              content: str = CONTENT, recipe: str = "rpgan-64", **overrides: Any) -> Path:
        run, keys = Run(folder / name), {key.replace("__", "."): value for key, value in overrides.items()}
        run.path.mkdir()
        run.recipe_file.write_text(load(recipe, {"seed": seed, **keys}).to_yaml())
        run.status_file.write_text(json.dumps({"state": "finished", "step": step, "seconds": seconds}))
        (run.path / "dataset.json").write_text(json.dumps({"content": content}))
        if metrics is not None:
            run.metrics_file.write_text(json.dumps(metrics))
        return run.path
    return write
