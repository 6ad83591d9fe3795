"""What a user of a generator must know of the dataset it learnt from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.recipe import Recipe
from ganatomy.data.batches import Feed
from ganatomy.data.contrast import Contrast, learn_contrast
from ganatomy.data.manifest import Row
from ganatomy.training.validation import thin

MOST_VOLUMES, MOST_SLICES = 64, 16


def generator_notes(feed: Feed, recipe: Recipe) -> dict[str, Any]:
    """The part of generator/config.json that is about the data: units, ranges, and how to treat volumes alike."""
    info, row = feed.dataset.info, feed.rows[0]
    notes = {"domain": row.domain, "label": recipe.label, "value_range": info.value_range,
             "dtype": str(feed.dataset.pixels([row]).dtype), "dataset": info.content,
             "intensity": _intensity(feed, row.domain),
             "spacing": [s * feed.factor for s in info.spacing] if info.spacing else None}
    if feed.source is None:
        return notes
    sides = {row.domain: feed.rows, str(recipe.source): feed.source.rows}
    contrasts = {domain: _contrast(feed, rows, recipe.size).model_dump(mode="json") for domain, rows in sides.items()}
    return notes | {"source_domain": recipe.source, "source_intensity": _intensity(feed, str(recipe.source)),
                    "grid": info.grid.model_dump(mode="json") if info.grid else None, "factor": feed.factor,
                    "contrasts": contrasts}


def _intensity(feed: Feed, domain: str) -> dict[str, Any] | None:
    found = feed.dataset.info.intensity.get(domain)
    return found.model_dump(mode="json") if found else None


def _contrast(feed: Feed, rows: Sequence[Row], size: int) -> Contrast:
    volumes: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        volumes.setdefault((row.subject, row.session), []).append(row)
    names = sorted(volumes)
    chosen = [names[i] for i in np.linspace(0, len(names) - 1, min(MOST_VOLUMES, len(names))).astype(int)]

    def read() -> Iterator[NDArray[np.float32]]:
        for name in chosen:
            yield feed.dataset.images(thin(volumes[name], MOST_SLICES), size)

    return learn_contrast(read())
