"""Types, options and reports that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click

from hitagu_lib.errors import HitaguError

Command = TypeVar("Command", bound=Callable[..., int])

PATH = click.Path(path_type=Path, readable=False)
"""Any path: whether it exists and can be read is the library's to say, in its own words."""
COUNT = click.IntRange(min=1)

SHOWN = 10
"""The number of failures that are printed; the manifest lists all."""


class Group(click.Group):
    """A group whose help lists the commands in the order of their definition."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


checkpoint_option = click.option(
    "--checkpoint", type=PATH, required=True, metavar="FILE", help="A checkpoint, such as outputs/mini/checkpoints/last.pt."
)  # fmt: skip


def overrides_option(example: str) -> Callable[[Command], Command]:
    return click.option(
        "--overrides", default="", show_default=False, metavar="TEXT", help=f'Parameters to change, such as "{example}".'
    )  # fmt: skip


def recipe_options(example: str) -> Callable[[Command], Command]:
    """The parameters: a file, and single values on top."""

    def add(command: Command) -> Command:
        params = click.option("--params", type=PATH, default="params/mini.yaml", metavar="FILE", help="The parameters.")
        return params(overrides_option(example)(command))

    return add


def workers_option(what: str) -> Callable[[Command], Command]:
    return click.option("--workers", type=COUNT, metavar="N", help=f"{what}.  [default: one per core]")


def reason(error: HitaguError | OSError) -> str:
    if not isinstance(error, OSError):
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename is not None else str(error.strerror)


def failed(failures: Sequence[str], summary: str) -> int:
    """Print the first failures and a summary to standard error. Return the exit code: 1, or 0 without failures."""
    if not failures:
        return 0
    for failure in failures[:SHOWN]:
        click.echo(failure, err=True)
    click.echo(f"hitagu: {summary}", err=True)
    return 1
