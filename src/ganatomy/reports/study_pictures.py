"""Strips of a study's synthetic images, with the real images beside them that their GAN learnt from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ganatomy.core.errors import UserError
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import Row
from ganatomy.data.pictures import to_uint8
from ganatomy.reports import images, page
from ganatomy.reports.images import Picture
from ganatomy.reports.study_audits import WORDS
from ganatomy.studies.cell_gans import read_audit
from ganatomy.studies.folder import Cell, GanFolder, StudyFolder

MOST = 24  # GANs that are shown; a study may have hundreds
TILES, TILE = 8, 64  # of a strip; pixels, about
WIDTH = 520  # CSS pixels of a strip: two stand side by side on the page


@dataclass(frozen=True, slots=True)
class Strip:
    """One GAN's images; `real` is None in the version for sharing."""

    title: str
    light: str
    word: str
    made: Picture | None
    real: Picture | None
    note: str


@dataclass(frozen=True, slots=True)
class Strips:
    """Those of the first fold and seed, some of the others, and how many more there are."""

    first: list[Strip]
    others: list[Strip]
    left_out: int

    @property
    def has_real(self) -> bool:
        """Whether images of patients are among them."""
        return any(strip.real for strip in [*self.first, *self.others])


def strips(folder: StudyFolder, size: int, one_class: bool, shareable: bool, say: Callable[[str], None]) -> Strips:
    """The first images of each GAN, as its seed drew them: nobody picked them.

    Args:
        folder: the study; GANs whose folders are gone are left out.
        size: height and width of the images, pixels.
        one_class: there is one class with synthetic images, which need not be named.
        shareable: without real images, and without those of GANs that copy.
        say: called with what cannot be shown.
    """
    gans = [(cell, gan) for cell in folder.all_cells() for gan in folder.cell(cell).gans() if gan.synthetic.is_dir()]
    of_first = [(cell, gan) for cell, gan in gans if cell.fold == cell.seed == 0]
    rest = sorted(((cell, gan) for cell, gan in gans if cell.fold or cell.seed),
                  key=lambda own: (own[0].fold, own[0].seed, own[0].k))
    shown, found = [*of_first, *rest][:MOST], dict[int, Strip]()
    for place, (cell, gan) in enumerate(shown):
        try:
            found[place] = _strip(cell, gan, size, one_class, shareable)
        except UserError as error:
            say(f"the report goes without the images of {cell.name}: {error}")
    return Strips([s for place, s in found.items() if place < len(of_first)],
                  [s for place, s in found.items() if place >= len(of_first)], len(gans) - len(shown))


def _strip(cell: Cell, gan: GanFolder, size: int, one_class: bool, shareable: bool) -> Strip:
    audit = read_audit(gan.audit_file)
    light = str((audit.get("copies") or {}).get("light"))
    light = light if light in WORDS else "grey"
    whose = "" if one_class else f", {audit.get('label')}"
    title = f"k = {cell.k:,}, fold {cell.fold}, seed {cell.seed}{whose}"
    made = real = None
    if not (shareable and light == "red"):
        synthetic = Dataset.open(gan.synthetic)
        made = _picture(synthetic, synthetic.rows()[:TILES], size, f"synthetic images, {title}")
    if not shareable:
        learnt = Dataset.open(gan.data)
        real = _picture(learnt, images.spread(learnt.rows(), TILES), size, f"real training images, {title}")
    return Strip(title, light, WORDS[light], made, real, "" if made else page.COPIED)


def _picture(dataset: Dataset, rows: Sequence[Row], size: int, alt: str) -> Picture:
    tiles = images.reduce(to_uint8(dataset.images(rows, size)), max(1, size // TILE))
    missing = TILES - len(tiles)  # so that all strips have one scale
    if missing > 0:
        tiles = np.concatenate([tiles, np.full((missing, *tiles.shape[1:]), images.GAP_GREY, np.uint8)])
    sheet = images.tile(tiles, TILES)
    return Picture(images.png_uri(sheet), WIDTH, round(WIDTH * sheet.shape[0] / sheet.shape[1]),
                   f"{len(rows)} {alt}")
