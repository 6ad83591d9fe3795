"""`ganatomy prepare`: its options, built from those of the function, the dry run and the search for identifiers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click

from ganatomy.cli.terminal import FOLDER, say
from ganatomy.core.errors import GateError, Question, UserError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


class _Prepare(click.Command):
    """A command whose options are built from the fields of `Options`, when they are asked for: --help of the group must
    not wait for what these import."""

    complete = False

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if not self.complete:
            from ganatomy.preparation.options import Options

            self.params[2:2] = [_option(name, field) for name, field in Options.model_fields.items()]
            self.complete = True
        return super().get_params(ctx)


def _option(name: str, field: FieldInfo) -> click.Option:
    """The option of a field; what is given goes to the model as it is."""
    default: Any = ",".join(f"{100 * share:g}" for share in field.default) if name == "split" else field.default
    settings: dict[str, Any] = {"help": field.description}
    if field.annotation is bool:
        settings["is_flag"] = True
    elif name == "domain":
        settings |= {"multiple": True, "metavar": "NAME=REGEX"}
    else:
        choices = click.Choice(get_args(field.annotation)) if get_origin(field.annotation) is Literal else None
        number = next((kind for kind in (int, float) if field.annotation in (kind, kind | None)), str)
        shown = isinstance(default, int | str)
        settings |= {"type": choices or number, "default": default if shown else None, "show_default": shown}
    return click.Option([f"--{name.replace('_', '-')}"], **settings)


@click.command(cls=_Prepare)
@click.argument("source", type=FOLDER, required=False)
@click.argument("dataset", type=FOLDER, required=False)
@click.option("--overwrite", is_flag=True, help="Replace DATASET.")
@click.option("--dry-run", is_flag=True, help="Show what SOURCE holds and what it would become; write nothing.")
@click.option("--audit-phi", multiple=True, type=FOLDER, metavar="PLACE",
              help="Instead: search datasets, runs and reports for what names a patient (exit code 3 if any is there).")
def prepare(source: Path | None, dataset: Path | None, overwrite: bool, dry_run: bool, audit_phi: tuple[Path, ...],
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
        from ganatomy.preparation.privacy import audit_phi as audit

        result = audit(audit_phi, say=say)
        if not result.clean:
            raise GateError(str(result), fix="remove what is listed, and audit again")
        say(str(result))
        return
    if source is None or (dataset is None and not dry_run):
        raise click.UsageError(f"Missing argument '{'SOURCE' if source is None else 'DATASET'}'.")
    from ganatomy.preparation.prepare import prepare as run
    from ganatomy.preparation.prepare import survey

    options = {name: value for name, value in options.items() if value is not None}
    def start(**chosen: Any) -> None:
        if dry_run:
            survey(source, dataset, say=say, **chosen)
        elif dataset is not None:
            run(source, dataset, say=say, overwrite=overwrite, **chosen)

    try:
        start(**options)
    except Question as question:
        start(**{**options, **_answer(question)})


def on_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _answer(question: Question) -> dict[str, str | bool]:
    """The options of the answer that the user chooses; off a terminal, or where none is chosen, the question itself."""
    if not on_terminal():
        raise question
    say(str(question))
    choices = click.Choice([*map(str, range(1, len(question.offers) + 1)), "none"])
    answer = click.prompt("Which one", type=choices, default="none", err=True)
    if answer == "none":
        raise UserError("nothing was written", fix="say how the files are to be read by --pattern or another option")
    return dict(question.offers[int(answer) - 1].options)
