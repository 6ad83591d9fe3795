"""`ganatomy compare`: its options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ganatomy.cli.options import FOLDER, say


@click.command()
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
    from ganatomy.comparison.table import check_ending, table, write_table

    if out is not None:
        check_ending(out)
    found = rank(runs, say=say, **options)
    if out is not None:
        write_table(found, out)
        say(f"written: {out}")
    click.echo(json.dumps(found, indent=2) if as_json else table(found))
