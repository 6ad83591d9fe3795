"""train --debug: after every epoch, what the networks saw, what they made, the generator, and the SSIM.

Training images are of patients: they go to RUN.private/debug/epoch-001/training.png, which must not travel with the
run. The rest is in RUN/debug/epoch-001: generated.png, generator/ (for `ganatomy generate`), discriminator.safetensors
and ssim.json. Translations show patients too: instead of generated.png there is translated.png beside training.png and
training-source.png. The losses of every epoch are in RUN/losses.csv and RUN/loss_plot.png with or without --debug.
Nothing here changes what is learnt.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save

from ganatomy.core.files import atomic_path, disk_errors, private_folder, write_json
from ganatomy.core.recipe import Recipe
from ganatomy.core.run import Run
from ganatomy.data.batches import Feed
from ganatomy.data.manifest import Row
from ganatomy.data.pictures import grid, write_png
from ganatomy.gans.base import Context
from ganatomy.generators.sampling import Sampler, export
from ganatomy.metrics.base import Sample, Samples
from ganatomy.metrics.ssim import held_out, ssim
from ganatomy.training.images import partners, real_images
from ganatomy.training.preview import Preview
from ganatomy.training.state import TrainingState
from ganatomy.training.validation import thin

IMAGES, COLUMNS, SEED = 32, 8, 1
SSIM_FAKES, MOST_REAL = 128, 500


class Debug:
    """Keeps the parts of a training after every epoch."""

    def __init__(self, run: Run, feed: Feed, say: Callable[[str], None]) -> None:
        self._run, self._feed = run, feed
        self._real: tuple[Sample, Sample] | None = None
        self._preview: Preview | None = None
        say(f"debug: every epoch's parts are kept in {run.debug}, real images in "
            f"{run.private_debug}, which must not travel with the run")

    def keep(self, state: TrainingState, epoch: int) -> None:
        """Write the parts of the epoch that has just ended, counted from 1."""
        private_folder(self._run.path)
        folder, private = (place / f"epoch-{epoch:03d}" for place in (self._run.debug, self._run.private_debug))
        sampler, recipe = state.sampler(), state.recipe
        if sampler.model.translates:
            self._preview = self._preview or Preview(self._feed, recipe, self._run)
            self._preview.translations(sampler, Context(state.step, epoch, 0.0), private / "translated.png")
            ssim_found = self._translation_ssim(sampler, recipe)
        else:
            fakes = sampler.sample(max(IMAGES, SSIM_FAKES), SEED)
            write_png(folder / "generated.png", grid(fakes[:IMAGES], COLUMNS))
            ssim_found = self._ssim(fakes, recipe)
        export(sampler, folder / "generator", {"step": state.step, **state.notes})
        with atomic_path(folder / "discriminator.safetensors") as temporary:
            weights = {k: v.cpu().contiguous() for k, v in state.model.discriminator.state_dict().items()}
            temporary.write_bytes(save(weights))
        write_json(folder / "ssim.json", {"epoch": epoch, "step": state.step, **ssim_found})
        last = real_images(recipe, self._feed, state.step * recipe.d_steps - 1)
        for name, real in zip(("training.png", "training-source.png"), last, strict=True):
            if real is not None:
                images = real[:IMAGES].contiguous().cpu().numpy()
                write_png(private / name, grid(images, COLUMNS), mode=0o600)

    def _ssim(self, fakes: NDArray[np.float32], recipe: Recipe) -> dict[str, Any]:
        """SSIM of validation images against generated ones, beside that against other real patients' images."""
        if self._real is None:
            held = self._feed.dataset.rows(recipe.domain, "val", recipe.label)
            if not held:
                return {"ssim": None, "between_real_patients": None, "note": "the dataset has no validation images"}
            self._real = self._sample(held, recipe.size), self._sample(self._feed.rows, recipe.size)
        val, train = self._real
        found = held_out(Samples(val, Sample(fakes), train, seed=recipe.seed))
        reference = found.reference or {}
        return {"ssim": found.value, "between_real_patients": reference.get("value"), "pairs": reference.get("pairs"),
                "validation_images": found.n_images, "validation_subjects": found.n_subjects,
                "per_subject": found.per_subject,
                "note": "validation images against generated ones, and against training images of other patients"}

    def _translation_ssim(self, sampler: Sampler, recipe: Recipe) -> dict[str, Any]:
        """SSIM of translated validation images against their truth, where there is one."""
        assert recipe.source is not None
        assert recipe.domain is not None
        dataset = self._feed.dataset
        rows = thin(dataset.rows(recipe.source, "val", recipe.label), SSIM_FAKES)
        if not rows or not dataset.info.paired:
            return {"ssim": None, "note": f"the dataset has no {'pairs' if rows else 'validation images'}"}
        truth = dataset.images(partners(dataset, rows, recipe.domain), recipe.size)
        found = ssim(truth, sampler.translate(dataset.images(rows, recipe.size), SEED))
        return {"ssim": float(found.mean()), "validation_images": len(rows),
                "validation_subjects": len({r.subject for r in rows}),
                "note": "translations of validation images against their truth, over the whole image"}

    def _sample(self, rows: Sequence[Row], size: int) -> Sample:
        rows = thin(rows, MOST_REAL)
        return Sample(self._feed.dataset.images(rows, size), [r.subject for r in rows])


def cut_back(run: Run, epoch: int) -> None:
    """Forget what was kept of epochs later than `epoch`, which are about to be trained again."""
    for place in (run.debug, run.private_debug):
        for kept in place.glob("epoch-*"):
            number = re.fullmatch(r"epoch-(\d+)", kept.name)
            if number and int(number[1]) > epoch:
                with disk_errors(kept):
                    shutil.rmtree(kept)
