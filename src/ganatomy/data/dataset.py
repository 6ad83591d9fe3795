"""The dataset folder, read and written: dataset.json + manifest.csv + images-<domain>.npy (+ masks.npy)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, model_validator

from ganatomy.core.errors import UserError
from ganatomy.core.files import staged_folder, write_text
from ganatomy.core.reading import Bounded, Record, Whole, read_json, reading
from ganatomy.core.recipe import Frozen
from ganatomy.core.run import Run
from ganatomy.core.text import counted
from ganatomy.data.images import Pixels, normalise, shrink, shrink_factor
from ganatomy.data.manifest import Row, read_manifest, refuse_overlap, write_manifest

SCHEMA_VERSION = 2
TYPES = ("uint8", "uint16", "int16", "float32")  # that images are stored in
DomainName = Annotated[str, Field(pattern=r"^[^./\\][^/\\]*$")]
"""It is a part of file names."""
_AGAIN = "prepare the dataset again"


Side = Annotated[int, Field(strict=True, ge=1, le=2**20)]
Millimetres = Annotated[float, Field(gt=0)]


class Intensity(Frozen):
    """How one domain's stored values relate to the scanner's."""

    method: str = Field(description="how each volume was mapped, in words, such as window -1000 to 1000")
    rule: Literal["identity", "percentile", "minmax", "window", "fixed"] | None = Field(
        None, description="the method by name; with low, high and projection it maps further volumes alike")
    low: Bounded | None = Field(None, description="the value that became the lowest stored one, where it is fixed")
    high: Bounded | None = Field(None, description="likewise the highest")
    projection: bool = Field(False, description="images of a beam through the body, such as X-rays")
    units: str = Field("arbitrary units", description="HU for CT; arbitrary for MR and photographs")
    offset: Bounded = Field(0.0, description="the cohort's median offset; synthetic images come back on it")
    scale: Bounded = Field(1.0, gt=0, description="the cohort's median scale")


class Grid(Frozen):
    """How the source's pictures were brought to the stored ones; with it further volumes are treated alike."""

    axis: Literal["axial", "coronal", "sagittal"]
    fit: Literal["resize", "crop", "pad"]
    mm: Bounded | None = Field(None, gt=0,
                               description="mm per stored pixel, where all have the same; see geometry.Frame")
    background: Bounded | None = Field(None, description="value around the patient, where the user named it")


class Told(Record):
    """The part of a fingerprint that others go by."""

    warnings: tuple[str, ...] = ()
    patients_unknown: bool = Field(default=False, description="each image counts as a subject of its own")


class DatasetInfo(Frozen):
    """What dataset.json holds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = SCHEMA_VERSION
    source: Literal["real", "synthetic"] = "real"
    run_id: str | None = Field(None, description="for synthetic datasets: the run that they come from")
    size: tuple[Side, Side] = Field(description="height, width")
    channels: Literal[1, 3] = 1
    value_range: tuple[Bounded, Bounded] = Field(description="stored values that a model sees as -1 and 1")
    domains: tuple[DomainName, ...] = Field(min_length=1)
    paired: bool = Field(description="every domain has the same rows in the same order")
    classes: tuple[str, ...] = ()
    spacing: tuple[Millimetres, Millimetres] | None = Field(None, description="median mm per pixel: y, x")
    grid: Grid | None = Field(None, description="None in synthetic datasets and in those of older versions")
    intensity: dict[str, Intensity] = Field(default_factory=dict, description="by domain")
    mask_values: dict[str, int] = Field(default_factory=dict, description="meaning of masks.npy, such as lesion: 1")
    provenance: dict[str, Any] = Field(default_factory=dict, description="options of `prepare`; no paths, no names")
    fingerprint: dict[str, Any] = Field(default_factory=dict, description="counts, sizes, intensities")
    content: str = Field(description="sha256 over the images' own, the dataset's identity")

    @model_validator(mode="after")
    def _range(self) -> Self:
        low, high = self.value_range
        if not low < high:
            raise ValueError("value_range must rise")
        if len(set(self.domains)) < len(self.domains):
            raise ValueError("a domain is named twice")
        self.told  # noqa: B018 - what cannot be read of the fingerprint is refused here
        return self

    @property
    def told(self) -> Told:
        """What `prepare` warned of."""
        return Told.model_validate(self.fingerprint)


class _Head(Record):
    """What dataset.json of any version of ours has."""

    schema_version: Whole
    source: str = ""


def is_dataset(folder: Path, source: str | None = None) -> bool:
    """Whether a folder was written as a dataset (of that source, real or synthetic), whatever its state now."""
    try:
        head = read_json(folder / "dataset.json", _Head)
    except UserError:
        return False
    return (folder / "manifest.csv").is_file() and source in (None, head.source)


def read_info(folder: Path) -> DatasetInfo:
    """dataset.json of a folder. Raises `UserError` if it is missing, broken or of another version."""
    version = read_json(folder / "dataset.json", _Head, _AGAIN).schema_version
    if version != SCHEMA_VERSION:
        raise UserError(f"has schema version {version}, this ganatomy reads {SCHEMA_VERSION}", where=folder,
                        fix="install the ganatomy that wrote it, or prepare it again")
    return read_json(folder / "dataset.json", DatasetInfo, _AGAIN)


def content_hash(rows: Sequence[Row]) -> str:
    """The identity of a dataset: sha256 over (domain, row, subject, split, pixels' sha256)."""
    digest = hashlib.sha256()
    for row in sorted(rows, key=lambda r: (r.domain, r.row)):
        digest.update(f"{row.domain},{row.row},{row.subject},{row.label},{row.split},{row.sha256}\n".encode())
    return digest.hexdigest()


class Dataset:
    """A dataset folder, opened for reading. Pixels stay on disk (memory-mapped) until asked for."""

    def __init__(self, path: Path, info: DatasetInfo, rows: list[Row]) -> None:
        self.path, self.info, self._rows = path, info, rows
        shape = (*info.size, 3) if info.channels == 3 else info.size
        self._images, slices = {}, set()
        for domain in info.domains:
            own = sorted((r.row, r.image_id, r.subject) for r in rows if r.domain == domain)
            numbers = [row for row, _, _ in own]
            slices.add(tuple(own))
            if numbers != list(range(len(numbers))):
                raise UserError(f"the rows of {domain} are not numbered from 0 on", where=path / "manifest.csv",
                                fix=_AGAIN)
            if len({image_id for _, image_id, _ in own}) < len(own):
                raise UserError(f"two images of {domain} have the same image_id", where=path / "manifest.csv",
                                fix=_AGAIN)
            self._images[domain] = _open_array(path / f"images-{domain}.npy", len(numbers), shape, TYPES)
        if info.paired and len(slices) > 1:
            raise UserError("its domains are not of the same slices, which dataset.json calls paired",
                            where=path / "manifest.csv", fix=_AGAIN)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a dataset folder.

        Raises:
            UserError: not a dataset folder, of a newer version, incomplete, or a subject in two splits.
        """
        path = Path(path)
        if not (path / "dataset.json").is_file():
            what = "is not a dataset folder (it has no dataset.json)" if path.is_dir() else "there is no such folder"
            raise UserError(what, where=path, fix="make one with `ganatomy prepare SOURCE DATASET`")
        info, rows = read_info(path), read_manifest(path / "manifest.csv")
        if content_hash(rows) != info.content:
            raise UserError("manifest.csv has been changed since the dataset was written", where=path, fix=_AGAIN)
        return cls(path, info, rows)

    @classmethod
    def of_run(cls, run: Run, data: str | Path | None = None) -> Self:
        """The dataset that a run learns from; `data` is its new place. Raises `UserError` for any other one."""
        dataset = cls.open(data if data is not None else run.dataset_path())
        if dataset.info.content != run.dataset_content():
            raise UserError("is not the dataset this run was trained on, or has changed since", where=dataset.path,
                            fix="name the right one with --data DATASET")
        return dataset

    def __fspath__(self) -> str:
        return str(self.path)  # what `prepare` returns can be given to the next verb

    @property
    def size(self) -> int:
        """Height of the images, pixels (they are square unless prepared otherwise)."""
        return self.info.size[0]

    def rows(self, domain: str | None = None, split: str | None = None, label: str | None = None) -> list[Row]:
        """The rows of one domain (needed where there are several), one split, one class. `UserError` if unknown."""
        domain = self.domain(domain)
        if label is not None and label not in self.info.classes:
            known = ", ".join(self.info.classes) or "none: it has no classes"
            raise UserError(f"has no class {label!r}", where=self.path, fix=f"known classes: {known}")
        return [r for r in self._rows if r.domain == domain and (split is None or r.split == split)
                and (label is None or r.label == label)]

    def domain(self, name: str | None = None) -> str:
        """`name` if this dataset has that domain; the only one if None."""
        known = ", ".join(self.info.domains)
        if name is None and len(self.info.domains) > 1:
            raise UserError(f"has several domains ({known})", where=self.path, fix="name one with --domain")
        if name is not None and name not in self.info.domains:
            raise UserError(f"has no domain {name!r}", where=self.path, fix=f"known domains: {known}")
        return self.info.domains[0] if name is None else name

    def require(self, split: str, domain: str | None = None, label: str | None = None) -> list[Row]:
        """Like `rows`, but an empty answer is a `UserError` that names the missing split."""
        rows = self.rows(domain, split, label)
        if not rows:
            raise UserError(f"has no images in the split {split!r}" + (f" of class {label!r}" if label else ""),
                            where=self.path, fix="prepare it again with another --split, or with more subjects")
        return rows

    def pixels(self, rows: Sequence[Row]) -> Pixels:
        """Stored values [n, height, width] or [n, height, width, 3] of rows of one domain, in their order."""
        (domain,) = {r.domain for r in rows}
        array = self._images[domain]
        return array[np.fromiter((r.row for r in rows), dtype=np.intp, count=len(rows))]

    def verify(self, rows: Sequence[Row]) -> None:
        """Compare the pixels of rows with the hashes in the manifest. Raises `UserError` if one differs."""
        for row in rows:
            pixels = np.ascontiguousarray(self._images[row.domain][row.row])
            if hashlib.sha256(pixels.tobytes()).hexdigest() != row.sha256:
                raise UserError(f"the pixels of {row.image_id} are not those that were prepared",
                                where=self.path / f"images-{row.domain}.npy", fix=_AGAIN)

    def masks(self, rows: Sequence[Row]) -> NDArray[np.uint8]:
        """Mask values [n, height, width]; `info.mask_values` says what they mean.

        Raises:
            UserError: no masks, or a row whose mask is missing: an empty one would count as "no lesion".
        """
        path = self.path / "masks.npy"
        if not path.is_file():
            raise UserError("has no masks", where=self.path, fix="prepare it again with masks")
        if without := sum(not row.has_mask for row in rows):
            raise UserError(f"{without} of {counted(len(rows), 'image')} have no mask", where=self.path,
                            fix="leave out the rows whose has_mask is False")
        masks = _open_array(path, 1 + max((r.row for r in self._rows), default=-1), self.info.size, ("uint8",))
        return np.asarray(masks[[r.row for r in rows]])

    def images(self, rows: Sequence[Row], size: int | None = None) -> NDArray[np.float32]:
        """What a model sees: float32 [n, channels, size, size] in [-1, 1]; see `normalise` and `shrink`."""
        return shrink(normalise(self.pixels(rows), self.info.value_range), size or self.size)

    def labels(self, rows: Sequence[Row]) -> NDArray[np.int64]:
        """Class numbers [n] of rows: indices into `info.classes`. Raises `UserError` for a row without a class."""
        numbers = {name: i for i, name in enumerate(self.info.classes)}
        for row in rows:
            if row.label not in numbers:
                raise UserError(f"{row.image_id} has no class", where=self.path,
                                fix="prepare it again from class folders or a table with labels")
        return np.array([numbers[row.label] for row in rows], np.int64)

    def stack(self, rows: Sequence[Row], size: int | None = None) -> ImageStack:
        """The same as `images`, read from disk only when rows of it are asked for."""
        return ImageStack(self, rows, size or self.size)


class ImageStack:
    """Images of a dataset that stay on disk; `stack[3:7]` or `stack[[3, 5]]` reads float32 [n, c, size, size]."""

    def __init__(self, dataset: Dataset, rows: Sequence[Row], size: int) -> None:
        shrink_factor(dataset.info.size, size)
        self._dataset, self._rows, self._size = dataset, np.array(rows, dtype=object), size
        self.shape = (len(rows), dataset.info.channels, size, size)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> NDArray[np.float32]:
        chosen: list[Row] = self._rows[rows].tolist()
        if not chosen:
            return np.empty((0, *self.shape[1:]), np.float32)
        return self._dataset.images(chosen, self._size)


def _open_array(path: Path, count: int, shape: tuple[int, ...], types: Sequence[str]) -> Pixels:
    """`count` images of a shape, memory-mapped. Raises `UserError` if the file is missing or holds something else."""
    with reading(path, _AGAIN):
        array: Pixels = np.lib.format.open_memmap(path, mode="r")
    if array.shape != (count, *shape) or array.dtype.name not in types:
        raise UserError(f"holds an array of shape {array.shape}, {array.dtype}, not {count} images of {shape}",
                        where=path, fix=_AGAIN)
    return array


class _NpyStream:
    """An .npy file that grows along its first axis."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._handle = path.open("wb")
        self.shape, self.dtype, self.count = shape, dtype, 0
        self._header()

    def append(self, image: Pixels) -> bytes:
        if image.shape != self.shape or image.dtype != self.dtype:
            raise ValueError(f"expected {self.shape} {self.dtype}, got {image.shape} {image.dtype}")
        data = np.ascontiguousarray(image).tobytes()
        self._handle.write(data)
        self.count += 1
        return data

    def close(self) -> None:
        self._handle.seek(0)
        self._header()
        self._handle.close()

    def _header(self) -> None:
        # numpy leaves room in the header for the first axis to grow, so it can be rewritten in place
        np.lib.format.write_array_header_1_0(self._handle, {
            "descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False,
            "shape": (self.count, *self.shape)})


class DatasetWriter:
    """Collects images and rows for one dataset folder; see `new_dataset`."""

    def __init__(self, stage: Path, size: tuple[int, int], channels: int, dtype: np.dtype[Any]) -> None:
        self.stage, self.rows = stage, list[Row]()
        self._size, self._dtype = size, np.dtype(dtype)
        self._shape = (*size, 3) if channels == 3 else size
        self._streams: dict[str, _NpyStream] = {}

    def add(self, pixels: Pixels, row: Row) -> None:
        """Append an image [height, width(, 3)] of the dataset's dtype; `row.row` and `row.sha256` are filled in."""
        stream = self._stream(f"images-{row.domain}", self._shape, self._dtype)
        data = stream.append(pixels)
        self.rows.append(replace(row, row=stream.count - 1, sha256=hashlib.sha256(data).hexdigest()))

    def add_mask(self, mask: NDArray[np.uint8]) -> None:
        """Append the mask [height, width] of the next image of every domain."""
        self._stream("masks", self._size, np.dtype(np.uint8)).append(mask)

    def finish(self, info: DatasetInfo) -> None:
        """Write manifest and dataset.json. `info.content` is filled in."""
        self.close()
        refuse_overlap(self.rows, "manifest")
        write_manifest(self.stage / "manifest.csv", self.rows)
        info = info.model_copy(update={"content": content_hash(self.rows)})
        write_text(self.stage / "dataset.json", info.model_dump_json(indent=2) + "\n")

    def close(self) -> None:
        """Close the array files."""
        for stream in self._streams.values():
            stream.close()
        self._streams.clear()

    def _stream(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> _NpyStream:
        if name not in self._streams:
            self._streams[name] = _NpyStream(self.stage / f"{name}.npy", shape, dtype)
        return self._streams[name]


@contextmanager
def new_dataset(path: str | Path, size: tuple[int, int], channels: int, dtype: Any, overwrite: bool = False,
                source: str = "real") -> Iterator[DatasetWriter]:
    """Write a dataset folder: `add` images, then `finish`; the folder takes its name when the block ends well.

    Args:
        path: the folder to make; must not exist, or be empty, unless `overwrite`.
        size: height, width of every image.
        channels: 1 or 3.
        dtype: of the stored values: uint8, uint16, int16 or float32.
        overwrite: replace a dataset folder of the same source.
        source: real or synthetic.
    """
    with (staged_folder(Path(path), overwrite, lambda folder: is_dataset(folder, source)) as stage,
          closing(DatasetWriter(stage, size, channels, np.dtype(dtype))) as writer):
        yield writer
