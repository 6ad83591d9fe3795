"""Starting a training from the generator of another run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe
from ganatomy.core.run import Run
from ganatomy.gans.base import GAN
from ganatomy.generators.sampling import load_generator


def initial_weights(recipe: Recipe, run: Run, model: GAN,
                    say: Callable[[str], None] = lambda text: None) -> tuple[Recipe, dict[str, Tensor] | None]:
    """The weights that `init_from` names, and the recipe with their fingerprint in the place of the path.

    A path may name a person, and weights may change behind it: the run's recipe says which weights they were. A run
    that has begun goes on without the other one, should that be gone.

    Args:
        recipe, run: of the training.
        model: as the recipe has it, for its shape.
        say: told what the other generator had learnt.

    Raises:
        UserError: no run or generator there, or a generator of another shape.
    """
    if recipe.init_from is None:
        return recipe, None
    if not Path(recipe.init_from).exists():
        begun = run.recipe().init_from if run.checkpoints() or run.status()["state"] == "finished" else None
        if begun is not None:
            return recipe.model_copy(update={"init_from": begun}), None
        raise UserError("there is no such run to start from", where=f"--init-from {recipe.init_from}",
                        fix="name the folder of a finished run")
    sampler = load_generator(recipe.init_from)
    weights = {k: v.detach().cpu().contiguous() for k, v in sampler.model.generator.state_dict().items()}
    _refuse_other_shape(model.generator.state_dict(), weights)
    notes = sampler.notes or {}
    learnt = " to ".join(str(notes[key]) for key in ("source_domain", "domain") if notes.get(key))
    say(f"starting from a generator that has learnt {learnt} (recipe {sampler.recipe.name})")
    fingerprint = hashlib.sha256(save(weights)).hexdigest()[:16]
    return recipe.model_copy(update={"init_from": f"generator {fingerprint}"}), weights


def _refuse_other_shape(own: dict[str, Tensor], weights: dict[str, Tensor]) -> None:
    differ = sorted(k for k in own.keys() | weights.keys()
                    if k not in own or k not in weights or own[k].shape != weights[k].shape)
    if differ:
        raise UserError(f"that run's generator has another shape than this recipe's ({len(differ)} of {len(own)} "
                        f"weights differ, {differ[0]} first)", where="--init-from",
                        fix="use the same size, channels and generator settings (--set model.width=...) as there")
