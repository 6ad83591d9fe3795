"""`ganatomy prepare`: its options, the dry run and the search for identifiers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ganatomy.cli.options import FOLDER, floats, names, say
from ganatomy.core.errors import GateError, UserError


def _rules(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    rules = {}
    for item in value:
        name, sign, expression = item.partition("=")
        if not sign or not name.strip() or not expression:
            raise click.BadParameter(f"{item!r} is not NAME=REGEX, such as T1='mprage|t1w'")
        if name.strip() in rules:
            raise click.BadParameter(f"{name.strip()} is given twice; join both with |")
        rules[name.strip()] = expression
    return rules


@click.command()
@click.argument("source", type=FOLDER, required=False)
@click.argument("dataset", type=FOLDER, required=False)
@click.option("--size", default=128, show_default=True, help="Pixels along each side of the stored images.")
@click.option("--fit", type=click.Choice(["resize", "crop", "pad"]), default="resize", show_default=True,
              help="How images come to that size: scaled (aspect kept), or cut or padded about the centre.")
@click.option("--layout", type=click.Choice(["auto", "csv", "folders", "bids", "sides", "side-by-side", "stacks",
                                              "dicom"]), default="auto", show_default=True, help="What SOURCE is.")
@click.option("--domain", multiple=True, metavar="NAME=REGEX", callback=_rules,
              help="Which series or files are this contrast: T1='mprage|t1w' is searched in descriptions or names.")
@click.option("--domains", callback=names, help="Contrasts to keep, in order, such as T1,T2.")
@click.option("--pattern", help="Where files are, such as '{subject}/{subject}_{domain}.nii.gz'.")
@click.option("--subject-regex", help="Finds the patient in a file's path, such as 'pat(\\d+)'.")
@click.option("--axis", type=click.Choice(["axial", "coronal", "sagittal"]), default="axial", show_default=True)
@click.option("--slices", default="content", show_default=True, help="content, all, or a range such as 60:120:2.")
@click.option("--split", default="70,15,15", show_default=True, callback=floats,
              help="Shares of train, val, test subjects.")
@click.option("--val-subjects", callback=names, help="These subjects, with commas between, are the validation set.")
@click.option("--test-subjects", callback=names, help="These subjects are the test set.")
@click.option("--split-by", help="Column of the CSV that says train, val or test.")
@click.option("--labels", callback=names, help="Keep only these classes, such as benign,malignant.")
@click.option("--masks", callback=names, help="Domains that are masks, not images.")
@click.option("--unpaired", is_flag=True, help="Keep subjects that lack a domain; domains then are not paired.")
@click.option("--resample-to", metavar="DOMAIN", help="Bring the other domains to this one's grid.")
@click.option("--allow-gaps", is_flag=True, help="Take DICOM series with missing slices, uneven gaps or gantry tilt.")
@click.option("--keep-derived", is_flag=True,
              help="Take derived DICOM images although their originals are there, and what translate made.")
@click.option("--intensity", default="auto", show_default=True,
              help="auto, identity, percentile, minmax, window:brain, window:40/80 or fixed:0:3000.")
@click.option("--channels", type=click.Choice(["auto", "1", "3"]), default="auto", show_default=True)
@click.option("--background", default="auto", show_default=True, help="Value around the patient, in the files' units.")
@click.option("--spacing", type=float, help="Wanted millimetres a pixel.")
@click.option("--seed", default=0, show_default=True, help="Of the split.")
@click.option("--workers", type=int, help="Processes that read; one a core unless given.")
@click.option("--strict", is_flag=True, help="Refuse if any file cannot be read.")
@click.option("--overwrite", is_flag=True, help="Replace DATASET.")
@click.option("--dry-run", is_flag=True, help="Show what SOURCE holds and what would be made of it; write nothing.")
@click.option("--audit-phi", multiple=True, type=FOLDER, metavar="PLACE",
              help="Instead: search datasets, runs and reports for what names a patient (exit code 3 if any is found).")
def prepare(source: Path | None, dataset: Path | None, dry_run: bool, audit_phi: tuple[Path, ...],
            **options: Any) -> None:
    """Turn a folder of scans into a dataset folder: canonical axes, one size, split by patient.

    \b
    ganatomy prepare SOURCE DATASET              make DATASET
    ganatomy prepare SOURCE --dry-run            show the series and the plan
    ganatomy prepare --audit-phi DATASET         is anything left that names a patient?
    """
    if audit_phi:
        if source is not None:
            raise UserError("--audit-phi takes no SOURCE", where=str(source),
                            fix="write --audit-phi before every dataset, run or report")
        from ganatomy.preparation.privacy.audit import audit_phi as audit

        found = audit(audit_phi, say=say)
        if not found.clean:
            raise GateError(str(found), fix="remove what is listed, and audit again")
        say(str(found))
        return
    if source is None or (dataset is None and not dry_run):
        raise click.UsageError(f"Missing argument '{'SOURCE' if source is None else 'DATASET'}'.")
    from ganatomy.preparation.prepare import prepare as run
    from ganatomy.preparation.prepare import survey

    for key in ("val_subjects", "test_subjects", "labels"):
        options[key] = options[key] or ()
    if dry_run:
        del options["overwrite"]
        survey(source, dataset, say=say, **options)
    elif dataset is not None:
        run(source, dataset, say=say, **options)
