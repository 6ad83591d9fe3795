"""Writing a dataset folder, image by image, in constant memory; it appears under its name only when whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.files import staged_folder, write_text
from ganatomy.data.dataset import DatasetInfo, Pixels, content_hash, is_dataset
from ganatomy.data.manifest import Row, refuse_overlap, write_manifest


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
    """Collects images and rows for one dataset folder; made by `new_dataset`."""

    def __init__(self, stage: Path, size: tuple[int, int], channels: int, dtype: np.dtype[Any]) -> None:
        self.stage, self.rows = stage, list[Row]()
        self._shape = (*size, 3) if channels == 3 else tuple(size)
        self._size, self._dtype = tuple(size), np.dtype(dtype)
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
    with ExitStack() as stack:
        stage = stack.enter_context(staged_folder(Path(path), overwrite, lambda folder: is_dataset(folder, source)))
        yield stack.enter_context(DatasetWriter(stage, size, channels, np.dtype(dtype)))
