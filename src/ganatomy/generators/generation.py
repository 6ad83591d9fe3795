"""generate: a run's images as a synthetic dataset folder, with image files in it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ganatomy import __version__
from ganatomy.core.errors import UserError, whole
from ganatomy.core.hardware import choose_device
from ganatomy.core.origin import nothing_to_do
from ganatomy.core.reading import Record, read_json
from ganatomy.core.run import Run
from ganatomy.core.text import Say, command_line
from ganatomy.data.dataset import Dataset, DatasetInfo, DatasetWriter, Intensity, is_dataset, new_dataset
from ganatomy.data.images import Pixels, denormalise
from ganatomy.data.manifest import Row
from ganatomy.data.pictures import write_png
from ganatomy.generators.folder import load_generator
from ganatomy.generators.sampler import Sampler, check_seed

Format = Literal["png8", "png16", "npy", "none"]
Weights = Literal["selected", "raw", "averaged"]
MOST = 10_000_000


def generate(run: str | Path, out: str | Path, n: int = 64, *, seed: int = 0, format: Format = "png8",
             weights: Weights = "selected", device: str = "auto", overwrite: bool = False,
             say: Say = lambda text: None) -> Dataset:
    """Write `n` synthetic images as a dataset folder marked synthetic.

    Args:
        run: a run folder, or a generator folder that was shared.
        out: the dataset folder to make; image files lie in its `images` folder. One that holds these very images of
            this generator is left as it is.
        n: how many images.
        seed: image i depends on the seed and i alone, not on n.
        format: of the image files: 8- or 16-bit PNG (the full range of grey), npy (stored values), or none.
        weights: `selected` is the run's generator; `raw` and `averaged` are of its newest checkpoint, for comparison.
        device: auto, cpu or cuda.
        overwrite: replace what is there.
        say: called with lines for the user.

    Returns:
        The dataset. Its values are on the training cohort's median scale: for MR, arbitrary units.

    Raises:
        UserError: no generator there, one that translates, `n` below 1, or `out` holds something else.

    Example:
        >>> len(ganatomy.generate("run", "synthetic", n=8, seed=1).rows())
        8
    """
    n, seed = whole(n, "-n", 1, MOST), check_seed(seed)
    _check_options(format, weights)
    sampler = load_generator(run, weights, choose_device(device))
    if sampler.model.translates:
        raise UserError("this generator starts from images and makes none from noise", where=run,
                        fix="use `ganatomy translate RUN INPUT OUT`")
    notes = sampler.notes or {}
    if format == "png16" and sampler.channels == 3:
        raise UserError("colour images cannot be written as 16-bit PNG", where="--format", fix="use png8 or npy")
    size, dtype = (sampler.size, sampler.size), np.dtype(notes["dtype"])
    info, out = _info(sampler, notes, n, seed, format, weights), Path(out)
    if not overwrite and _holds(out, info, 0 if format == "none" else n):
        nothing_to_do(out, say)
        return Dataset.open(out)
    with new_dataset(out, size, sampler.channels, dtype, overwrite, source="synthetic") as writer:
        _write_images(writer, sampler, notes, n, seed, format, dtype)
        writer.finish(info)
    say(f"{n} synthetic image{'s' * (n > 1)} in {out} (seed {seed})")
    if _audited_as_copies(Path(run)):
        say("warning: the last `ganatomy evaluate` of this run found copies of training patients among its images: "
            "treat these as you treat the patients")
    return Dataset.open(out)


def _holds(out: Path, info: DatasetInfo, files: int) -> bool:
    """Whether these images of this generator are there, by dataset.json, and so many files of them."""
    return is_dataset(out, "synthetic") and len(list((out / "images").glob("syn-*"))) == files \
        and Dataset.open(out).info.model_copy(update={"content": ""}) == info


class _Verdict(Record):
    question: str
    light: str


class _Verdicts(Record):
    """The part of metrics.json that `generate` asks for."""

    verdicts: tuple[_Verdict, ...] = ()


def _audited_as_copies(run: Path) -> bool:
    """Whether metrics.json says so; of what was not evaluated, or by an older ganatomy, nothing is known."""
    try:
        verdicts = read_json(Run(run).metrics_file, _Verdicts).verdicts if Run.is_run(run) else ()
    except UserError:
        return False
    return any(v.question == "copies" and v.light == "red" for v in verdicts)


def _check_options(format: str, weights: str) -> None:
    for name, value, known in (("--format", format, get_args(Format)), ("--weights", weights, get_args(Weights))):
        if value not in known:
            raise UserError(f"{value!r} is unknown", where=name, fix=f"use one of {', '.join(known)}")


def _write_images(writer: DatasetWriter, sampler: Sampler, notes: dict[str, Any], n: int, seed: int, format: Format,
                  dtype: np.dtype[Any]) -> None:
    folder = writer.stage / "images"
    intensity = notes["intensity"] or {"offset": 0.0, "scale": 1.0}
    spacing = "x".join(f"{s:g}" for s in notes["spacing"]) if notes["spacing"] else ""
    names = (f"syn-{index:06d}" for index in range(n))
    for images in sampler.stream(n, seed):
        if not np.isfinite(images).all():
            raise UserError("the generator makes values that are not finite", where="weights", fix="train it again")
        stored = denormalise(images, notes["value_range"], dtype)
        for pixels, image, name in zip(stored, images, names, strict=False):
            writer.add(pixels, Row(name, name, "", 0, notes["domain"], notes["label"] or "", "", 0, intensity["offset"],
                                   intensity["scale"], spacing, "", ""))
            _write_file(folder / name, pixels, image, format)


def _write_file(path: Path, stored: Pixels, image: Pixels, format: Format) -> None:
    if format == "none":
        return
    path.parent.mkdir(exist_ok=True)
    if format == "npy":
        np.save(path.with_suffix(".npy"), stored)
    else:
        most, kind = (255.0, np.uint8) if format == "png8" else (65535.0, np.uint16)
        levels = denormalise(image[None], (0.0, most), np.dtype(kind))[0]
        write_png(path.with_suffix(".png"), levels)


def _info(sampler: Sampler, notes: dict[str, Any], n: int, seed: int, format: str, weights: str) -> DatasetInfo:
    domain, label = notes["domain"], notes["label"]
    digest = hashlib.sha256()
    for key, value in sorted(sampler.model.generator.state_dict().items()):
        digest.update(key.encode() + value.cpu().numpy().tobytes())
    return DatasetInfo(
        source="synthetic", run_id=digest.hexdigest()[:16], size=(sampler.size, sampler.size),
        channels=sampler.channels, value_range=notes["value_range"], domains=(domain,), paired=True,
        classes=(label,) if label else (), spacing=notes["spacing"],
        intensity={domain: Intensity.model_validate(notes["intensity"])} if notes["intensity"] else {},
        provenance={"ganatomy": __version__, "recipe": sampler.recipe.name, "seed": seed, "weights": weights,
                    "command": command_line("generate", "RUN", "OUT", n=n, seed=seed or None,
                                            format=None if format == "png8" else format,
                                            weights=None if weights == "selected" else weights),
                    "notice": "synthetic images, not for diagnosis",
                    **({"looks_through": list(seen)} if (seen := sampler.model.looks_through) else {})},
        fingerprint={"images": n}, content="")
