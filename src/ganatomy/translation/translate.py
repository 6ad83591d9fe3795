"""translate: whole volumes in another contrast, slice by slice, back on their own grid and in their own format."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.core.files import claimed, disk_errors, staged_folder
from ganatomy.core.hardware import choose_device
from ganatomy.core.origin import Origin, file_hash, nothing_to_do
from ganatomy.core.text import Say, command_line, counted, printable
from ganatomy.data.images import Header
from ganatomy.data.parallel import progress
from ganatomy.generators.folder import load_generator
from ganatomy.generators.sampler import Sampler, check_seed
from ganatomy.translation import dicom, inputs, outputs
from ganatomy.translation.conversion import NOT_FOR_DIAGNOSIS, Conversion, conversion_of
from ganatomy.translation.inputs import Item
from ganatomy.translation.volume import translate_volume

__all__ = ["translate"]


@overload
def translate(run: str | Path | Sampler, volume: str | Path, out: str | Path, *, direction: str | None = None,
              seed: int = 0, force: bool = False, device: str = "auto", overwrite: bool = False,
              say: Say = ...) -> Path: ...
@overload
def translate(run: str | Path | Sampler, volume: NDArray[Any], out: None = None, *, direction: str | None = None,
              seed: int = 0, force: bool = False, device: str = "auto", overwrite: bool = False,
              say: Say = ...) -> NDArray[np.float32]: ...
def translate(run: str | Path | Sampler, volume: Any, out: str | Path | None = None, *,
              direction: str | None = None, seed: int = 0, force: bool = False, device: str = "auto",
              overwrite: bool = False, say: Say = lambda text: None) -> Any:
    """Translate a volume, pictures, or a folder of them into the other contrast.

    Every slice is brought to the training resolution exactly as `prepare` does it, translated, and brought back.

    Args:
        run: a run or generator folder of a model that translates, or its loaded generator (of
            `generators.folder.load_generator`).
        volume: a file (NIfTI, PNG, JPEG, TIFF, .npy, NRRD, MetaImage), a folder of such files or of DICOM; a nibabel
            NIfTI image; or an array of pictures [h, w] or [slices, h, w] (with a last axis of 3 for a model of colour
            images), which lie as those of `prepare` do: see `data.geometry`.
        out: for paths: the file to write for a file, the folder for a folder or a DICOM series.
        direction: "T2:T1", source first; the trained one if None.
        seed: of the model's noise; the same for all slices.
        force: translate what does not look like the source domain too.
        device: auto, cpu or cuda.
        overwrite: replace `out`, if this function wrote it.
        say: called with lines for the user.

    Returns:
        For a path `out`; for an image one of the same class, affine and shape; for an array float32 of its shape.
        Values are in the target's units: Hounsfield units for CT, arbitrary ones for MR.

    Raises:
        UserError: the model does not translate; the input cannot be translated, or does not look like the source
            domain; `out` exists.

    Example:
        >>> small = {"size": 32, "steps": 10, "batch_size": 8, "model.width": 8, "model.d_width": 8}
        >>> run = ganatomy.train("dataset", "t2run", "pix2pix", set={"source": "T1", "domain": "T2", **small})
        >>> str(ganatomy.translate(run.path, "scans/sub-0001/sub-0001_T1.nii.gz", "t2.nii.gz"))
        't2.nii.gz'
    """
    seed = check_seed(seed)
    folder = Path(run) if isinstance(run, str | Path) else None
    loaded = load_generator(run, device=choose_device(device)) if isinstance(run, str | Path) else run
    command = command_line("translate", "RUN", "INPUT", "OUT", direction=direction, seed=seed or None, force=force,
                           device=None if device == "auto" else device)
    job = _Job(loaded, conversion_of(loaded, direction, folder or "run"), seed, force, overwrite, say, folder, command)
    if isinstance(volume, str | Path):
        if out is None:
            raise UserError("a path is translated into a path", where="out", fix="name the file or folder to write")
        return job.path(Path(volume), Path(out))
    if out is not None:
        raise UserError("only paths are written to files", where="out", fix="leave it out, or give a path as volume")
    return job.array(volume) if isinstance(volume, np.ndarray) else job.image(volume)


@dataclass
class _Job:
    """What is asked for, whatever it is asked of."""

    translator: Sampler
    conversion: Conversion
    seed: int
    force: bool
    overwrite: bool
    say: Say
    run: Path | None
    command: str

    def array(self, pictures: NDArray[Any]) -> NDArray[np.float32]:
        """Pictures in memory."""
        pixels, header = inputs.from_array(pictures, self.translator.channels)
        values = self._values(pixels, header, "the volume")
        given = pictures.ndim - (header.channels == 3)  # axes that are no colour
        return (values if given == 3 else values[0]).astype(np.float32)

    def image(self, image: Any) -> Any:
        """A nibabel image."""
        values = self._values(*inputs.from_image(image), "the volume")
        return outputs.nifti_like(image, values, self.conversion)

    def path(self, source: Path, out: Path) -> Path:
        """A file, a DICOM series or a folder."""
        with disk_errors(out):
            outputs.check_place(source, out, self.run)
        items, single = inputs.find(source, self.say)
        series = items[0].series if single else None
        origin = Origin.of(self.command, [json.dumps(self.translator.notes, sort_keys=True), *(
            text for item in items for text in (item.name, *map(file_hash, item.files())))])
        if not self.overwrite and outputs.is_done(out, origin):
            nothing_to_do(out, self.say)
            return out
        if single and series is None and not source.is_dir():
            header = items[0].header()
            with claimed(out), disk_errors(out):
                outputs.check_file(items[0], header, out, self.overwrite)
                values = self._values(items[0].pixels(), header, items[0].name)
                with outputs.marked(out, self.conversion.about, origin) as path:
                    outputs.write_file(items[0], header, values, path, self.conversion, self.say, out.name)
        else:
            outputs.check_folder(source, out, self.run)
            with staged_folder(out, self.overwrite, outputs.is_ours) as stage:
                if series is not None:
                    values = self._values(items[0].pixels(), items[0].header(), items[0].name)
                    dicom.write_series(series, values, stage, self.conversion.about, self.say)
                    translated = 1
                else:
                    translated = self._folder(items, source, stage)
                outputs.write_mark(stage, self.conversion.about, translated, origin)
            if any(item.series is not None for item in items):
                self.say(dicom.KEEPS)
        what = f"synthetic {self.conversion.about.target} ({self.conversion.scale_in_words}), {NOT_FOR_DIAGNOSIS}"
        self.say(f"{printable(str(out))}: {what}")
        return out

    def _folder(self, items: list[Item], source: Path, stage: Path) -> int:
        """Translate what can be translated of a folder's files and series, and return how many; say what is skipped."""
        names, folders = set[str](), inputs.series_folders(items)
        told = progress(len(items), "volumes", self.say)
        skipped: list[UserError] = []
        for number, item in enumerate(items, start=1):
            try:
                header = item.header()
                values = self._values(item.pixels(), header, item.name)
            except UserError as error:
                skipped.append(error)
                self.say(f"skipped {error}")
                continue
            if item.series is not None:
                place = stage / folders[item]
                place.mkdir(parents=True, exist_ok=True)
                dicom.write_series(item.series, values, place, self.conversion.about, self.say)
            else:
                name = outputs.free_name(item, outputs.suffixes(item, header)[0], names)
                (stage / name).parent.mkdir(parents=True, exist_ok=True)
                outputs.write_file(item, header, values, stage / name, self.conversion, self.say)
            told(number)
        if len(skipped) == len(items):
            first = UserError(skipped[0].what, where=skipped[0].where)  # one fix is enough
            raise UserError(f"none of its {counted(len(items), 'volume')} can be translated, for example {first}",
                            where=source, fix=skipped[0].fix or "give volumes of the source's contrast")
        self.say(f"translated {len(items) - len(skipped)} of {counted(len(items), 'volume')}")
        return len(items) - len(skipped)

    def _values(self, pixels: NDArray[Any], header: Header, name: str) -> NDArray[Any]:
        return translate_volume(pixels, header, self.translator, self.conversion, name=name, seed=self.seed,
                                force=self.force, say=self.say)
