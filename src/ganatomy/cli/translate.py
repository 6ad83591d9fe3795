"""`ganatomy translate`: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ganatomy.cli.options import FOLDER, say


@click.command()
@click.argument("run", type=FOLDER)
@click.argument("input", type=FOLDER)
@click.argument("out", type=FOLDER)
@click.option("--direction", metavar="SOURCE:TARGET", help="Such as T2:T1, for models that translate both ways.")
@click.option("--seed", default=0, show_default=True, help="Of the model's noise, where it has any.")
@click.option("--force", is_flag=True, help="Translate volumes too that do not look like the source contrast.")
@click.option("--device", default="auto", show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
def translate(run: Path, input: Path, out: Path, **options: Any) -> None:
    """Turn whole volumes into the other contrast, in their own format and geometry.

    \b
    ganatomy translate RUN patient_T1.nii.gz patient_T2.nii.gz     NIfTI to NIfTI
    ganatomy translate RUN SERIES OUT                              a DICOM series to a derived one
    ganatomy translate RUN FOLDER OUT                              every volume and picture in a folder
    """
    from ganatomy.translation.translate import translate as run_translation

    run_translation(run, input, out, say=say, **options)
