"""`ganatomy study`: its options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ganatomy.cli.terminal import FOLDER, Progress, say


def _several(kind: Callable[[str], Any]) -> Any:
    """Values with commas between; given but empty, as an empty variable of a script is, must not mean the default."""
    def convert(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[Any, ...] | None:
        if value is None:
            return None
        try:
            parsed = tuple(kind(part.strip()) for part in value.split(",") if part.strip())
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is not numbers with commas between") from error
        if not parsed:
            raise click.BadParameter("it is empty")
        return parsed

    return convert


@click.command()
@click.argument("dataset", type=FOLDER)
@click.argument("study", type=FOLDER)
@click.option("--k", callback=_several(int), metavar="N,N,...", help="Real positive training images.  [25,50,100]")
@click.option("--folds", type=int, help="Parts of the subjects, each held out once.  [3]")
@click.option("--seeds", type=int, help="Repetitions in each fold.  [2]")
@click.option("--arms", callback=_several(str), metavar="NAME,...",
              help="ORG, OVERSAMPLE, GAN, GAN_ONLY; controls FRESH, COPIES, NOISE; each also with AUG_ (flips) or "
                   "AUG2_ (rotation, contrast, elastic).  [ORG, OVERSAMPLE, GAN, each also with AUG_]")
@click.option("--imbalance", type=float, help="Real negatives for each real positive.  [10]")
@click.option("--synthetic", callback=_several(float), metavar="X,X,...",
              help="Images added, as multiples of k.  [1.5]")
@click.option("--positive", "positives", callback=_several(str), metavar="CLASS,...",
              help="Which classes are rare and get synthetic images.  [of two, the rarer]")
@click.option("--domain", help="Which contrast, where the dataset has several.")
@click.option("--recipe", help="Of the GANs: a recipe's name or a YAML file.  [projected-64]")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE",
              help="Any key of the recipe, such as steps=500.")
@click.option("--budget", help="Time to train each GAN in, such as 4m; turned into steps once, by a short trial.")
@click.option("--classifier", type=click.Choice(["fcn", "resnet", "features"]), help="[fcn]")
@click.option("--updates", type=int, help="Gradient updates of a classifier, the same in every arm.  [500]")
@click.option("--margin", type=float, help="Smallest difference in F1 that would matter.  [0.02]")
@click.option("--seed", type=int, help="[0]")
@click.option("--external", type=FOLDER, metavar="DATASET", help="A second test set, from elsewhere.")
@click.option("--workers", type=click.IntRange(min=1),
              help="Processes that run cells, each with one thread; with --slurm tasks.  [1; as many as cells]")
@click.option("--ray", metavar="ADDRESS",
              help="Run the cells on a Ray cluster: its address, auto, or local.")
@click.option("--gpu-share", type=click.FloatRange(0, 1),
              help="Of one GPU, for each worker on Ray.  [0.25 with GPUs]")
@click.option("--slurm", is_flag=True, help="Write job scripts for SLURM and print how to submit them; run nothing.")
@click.option("--dry-run", is_flag=True, help="Show folds, cells and hours; write nothing.")
@click.option("--device", default="auto", show_default=True)
@click.option("--worker", is_flag=True, help="Run free cells until there is none; what workers are.", hidden=True)
@click.option("--parent", type=int, help="End when this process is no longer the parent.", hidden=True)
def study(dataset: Path, study: Path, worker: bool, parent: int | None, slurm: bool, dry_run: bool,
          **options: Any) -> None:
    """Do synthetic images help a classifier? Trains GANs and classifiers on few patients, tests on others.

    Run again, the same command goes on where it was; options of a study that has begun can be left out.
    """
    if worker:
        from ganatomy.studies.workers import work

        raise SystemExit(work(dataset, study, options["external"], options["device"], parent, say))
    if slurm + dry_run + (options["ray"] is not None) > 1:
        raise click.UsageError("give one of --slurm, --ray and --dry-run")
    if slurm or dry_run:
        del options["gpu_share"]
    _run(dataset, study, _given(options), slurm, dry_run)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, as `study` takes them."""
    from ganatomy.core.recipe import parse_assignments

    assignments = parse_assignments(options.pop("assignments"))
    classifier = {"name": options.pop("classifier"), "updates": options.pop("updates")}
    chosen = {name: value for name, value in classifier.items() if value is not None}
    given = {"set": assignments, "classifier": chosen or None, **options}
    return {name: value for name, value in given.items() if value is not None}


def _run(dataset: Path, study: Path, given: dict[str, Any], slurm: bool, dry_run: bool) -> None:
    from ganatomy.training.train import Interrupted

    start = _write_jobs if slurm else _describe if dry_run else _study
    try:
        start(dataset, study, given)
    except Interrupted as trial:
        raise KeyboardInterrupt from trial


def _study(dataset: Path, study: Path, given: dict[str, Any]) -> None:
    from ganatomy.studies.results import table
    from ganatomy.studies.study import study as run

    with Progress() as progress:
        results = run(dataset, study, say=progress.say, show=progress.on_count, **given)
    click.echo(table(results))


def _describe(dataset: Path, study: Path, given: dict[str, Any]) -> None:
    from ganatomy.studies.study import dry_run

    click.echo(dry_run(dataset, study, say=say, **given))


def _write_jobs(dataset: Path, study: Path, given: dict[str, Any]) -> None:
    from ganatomy.studies.study import jobs

    lines = jobs(dataset, study, say=say, **given)
    if lines:
        say(f"wrote {study / 'slurm.sh'} and {study / 'slurm-gather.sh'}: edit partition, account, memory and GPU "
            "there, then submit with the lines below; `ganatomy report STUDY` after that")
    click.echo("\n".join(lines))
