"""What is checked of a cell, while it runs and again when a study is gathered: nothing in its folder is believed.

Who was learnt from, who was tested, and that the synthetic images are those that the cell's own GAN drew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ganatomy.core.errors import UserError
from ganatomy.core.files import read_json
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import Row, read_manifest
from ganatomy.studies.folder import GanFolder
from ganatomy.studies.folds import Place

REMOVE_CELL = "remove this cell's folder and run the study again"


@contextmanager
def of_a_cell() -> Iterator[None]:
    """A dataset or file that cannot be read in here is a cell's, which is mended in another way than the user's."""
    try:
        yield
    except UserError as error:
        raise UserError(error.what, where=error.where, fix=REMOVE_CELL) from error


def check_places(places: Mapping[str, Place], rows: Sequence[Row], where: Path) -> None:
    """Raise `UserError` unless folds.csv has the dataset's subjects and no others."""
    odd = sorted(places.keys() ^ {r.subject for r in rows})
    if odd:
        raise UserError(f"its subjects are not the dataset's: {', '.join(odd[:5])} ({len(odd)} in all) are in one of "
                        "them only", where=where, fix="start the study again in another folder")


def refuse_leaks(training: Sequence[Row], places: Mapping[str, Place], fold: int, where: Path) -> None:
    """Raise `UserError` if a training image is of a subject that this fold holds out, or that no fold knows."""
    wrong = sorted({r.subject for r in training if r.subject not in places or places[r.subject].fold == fold})
    if wrong:
        raise UserError(f"held-out subjects are among the training images: {', '.join(wrong[:5])} ({len(wrong)} in "
                        "all)", where=where, fix=REMOVE_CELL)


def check_manifest(path: Path, training: Sequence[Row], held_out: Sequence[Row], places: Mapping[str, Place],
                   fold: int) -> None:
    """Raise `UserError` unless a cell's manifest names these training images and these held-out ones."""
    with of_a_cell():
        rows = read_manifest(path)
    kept, tested = ([r for r in rows if r.split == split] for split in ("train", "test"))
    refuse_leaks(kept, places, fold, path)
    if _identities(kept) != _identities(training):
        raise UserError("its training images are not those that this cell draws", where=path, fix=REMOVE_CELL)
    if _identities(tested) != _identities(held_out):
        raise UserError("its test images are not those that this fold holds out", where=path, fix=REMOVE_CELL)


def _identities(rows: Sequence[Row]) -> list[tuple[str, str, str, str]]:
    return [(r.image_id, r.subject, r.label, r.sha256) for r in rows]


def check_gan_data(data: Path, training: Sequence[Row], places: Mapping[str, Place], fold: int) -> None:
    """Raise `UserError` unless a GAN's dataset holds these training images of its class and nothing else."""
    with of_a_cell():
        kept = Dataset.open(data).rows()
    refuse_leaks(kept, places, fold, data)
    if sorted(_identities(kept)) != sorted(_identities(training)):
        raise UserError("its images are not those that this cell draws", where=data, fix=REMOVE_CELL)


def open_synthetic(folder: GanFolder, wanted: int) -> Dataset:
    """The images that a cell's GAN drew.

    Raises:
        UserError: they are not marked as synthetic, are fewer than the arms need, or are not those that were drawn
            here by a GAN that learnt from what lies beside them.
    """
    with of_a_cell():
        made, noted = Dataset.open(folder.synthetic), read_json(folder.made_file)
        if made.info.source != "synthetic":
            raise UserError("holds real images in the place of synthetic ones", where=folder.synthetic)
        if len(made.rows()) < wanted:
            raise UserError(f"holds {len(made.rows())} images, and the arms need {wanted}", where=folder.synthetic)
        if noted != made_of(folder):
            raise UserError("its images are not those that this cell's GAN drew", where=folder.synthetic)
    return made


def made_of(folder: GanFolder) -> dict[str, str]:
    """The identities of the real images that a GAN learns from and of the synthetic ones beside them."""
    return {"data": Dataset.open(folder.data).info.content, "synthetic": Dataset.open(folder.synthetic).info.content}
