"""`ganatomy study`: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ganatomy.cli_options import FOLDER, names, say, seconds


def _numbers(kind: type[int] | type[float]) -> Any:
    def convert(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
        try:
            return tuple(kind(part) for part in value.split(",")) if value else None
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is not numbers with commas between") from error

    return convert


@click.command()
@click.argument("dataset", type=FOLDER)
@click.argument("study", type=FOLDER)
@click.option("--k", callback=_numbers(int), metavar="N,N,...", help="Real positive training images.  [25,50,100]")
@click.option("--folds", type=int, help="Parts of the subjects, each held out once.  [3]")
@click.option("--seeds", type=int, help="Repetitions in each fold.  [2]")
@click.option("--arms", callback=names, metavar="NAME,...",
              help="ORG, OVERSAMPLE, GAN, GAN_ONLY; controls FRESH, COPIES, NOISE; each also with AUG_ (flips) or "
                   "AUG2_ (rotation, contrast, elastic).  [ORG, OVERSAMPLE, GAN, each also with AUG_]")
@click.option("--imbalance", type=float, help="Real negatives for each real positive.  [10]")
@click.option("--synthetic", callback=_numbers(float), metavar="X,X,...",
              help="Images added, as multiples of k.  [1.5]")
@click.option("--positive", "positives", callback=names, metavar="CLASS,...",
              help="Which classes are rare and get synthetic images.  [of two, the rarer]")
@click.option("--domain", help="Which contrast, where the dataset has several.")
@click.option("--recipe", help="Of the GANs: a recipe's name or a YAML file.  [rpgan-64]")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE",
              help="Any key of the recipe, such as steps=500.")
@click.option("--budget", help="Time to train each GAN in, such as 4m; turned into steps once, by a short trial.")
@click.option("--classifier", type=click.Choice(["fcn", "resnet", "features"]), help="[fcn]")
@click.option("--updates", type=int, help="Gradient updates of a classifier, the same in every arm.")
@click.option("--margin", type=float, help="Smallest difference in F1 that would matter.  [0.02]")
@click.option("--seed", type=int, help="[0]")
@click.option("--external", type=FOLDER, metavar="DATASET", help="A second test set, from elsewhere.")
@click.option("--workers", default=1, show_default=True, help="Cells at a time, each with one thread.")
@click.option("--device", default="auto", show_default=True)
@click.option("--cell", help="Run this one cell and stop; what workers and job arrays call.", hidden=True)
def study(dataset: Path, study: Path, cell: str | None, **options: Any) -> None:
    """Do synthetic images help a classifier? Trains GANs and classifiers on few patients, tests on others.

    Run again, the same command goes on where it was; options of a study that has begun can be left out.
    """
    if cell is not None:
        from ganatomy.studying.cells import run_cell
        from ganatomy.studying.folder import Cell

        run_cell(dataset, study, Cell.of(cell), external=options["external"], device=options["device"], say=say)
        return
    from ganatomy.recipe import parse_assignments
    from ganatomy.studying.study import study as run
    from ganatomy.studying.table import table

    budget, assignments = seconds(options.pop("budget")), parse_assignments(options.pop("assignments"))
    classifier = {"name": options.pop("classifier"), "updates": options.pop("updates")}
    given = {name: value for name, value in options.items() if value is not None}
    chosen = {name: value for name, value in classifier.items() if value is not None}
    click.echo(table(run(dataset, study, set=assignments, budget=budget, say=say,
                         **given, **({"classifier": chosen} if chosen else {}))))
