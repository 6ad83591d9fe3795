"""Every option is written once: keyword, command line and docstring follow; what cannot be meant is refused by name."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

import ganatomy
from ganatomy.cli.prepare import prepare as command
from ganatomy.core.errors import UserError
from ganatomy.preparation.options import Options
from ganatomy.preparation.prepare import survey


def test_every_option_is_an_option_of_the_command_with_the_same_default() -> None:
    options = {option.name: option for option in command.get_params(click.Context(command))}
    assert Options.model_fields.keys() <= options.keys()
    given = {name: option.default for name, option in options.items()
             if name in Options.model_fields and isinstance(option.default, str | int | bool)}
    assert Options.of(**given) == Options.of()
    assert given["split"] == "70,15,15" and given["size"] == 128


def test_the_docstring_lists_every_option() -> None:
    assert all(f"        {name}: {field.description}" in str(ganatomy.prepare.__doc__)
               for name, field in Options.model_fields.items())


def test_a_misspelt_option_is_refused_by_name(tmp_path: Path) -> None:
    for verb in (ganatomy.prepare, survey):
        with pytest.raises(UserError, match=r"--val-subject: there is no such option.*did you mean --val-subjects"):
            verb(tmp_path, tmp_path / "out", val_subject=["p1"])


def test_texts_of_the_command_line_mean_what_python_means() -> None:
    assert Options.of(domains="T1, T2", split="80,10,10", channels=3, domain=["T1=t1|mprage"], background="-3") == \
        Options.of(domains=["T1", "T2"], split=(8, 1, 1), channels="3", domain={"T1": "t1|mprage"}, background=-3.0)
    for rules in (["T1"], ["T1="], ["=x"], ["T1=a", "T1=b"]):
        with pytest.raises(UserError, match="--domain"):
            Options.of(domain=rules)
