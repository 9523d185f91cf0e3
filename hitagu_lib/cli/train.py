"""`hitagu train | checkpoints`: train a network, or fetch a trained one."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import click

from hitagu_lib.cli.options import PATH, Group, recipe_options


@click.command
@recipe_options("train.epochs=2 train.lr=0.01")
def train(params: Path, overrides: str) -> int:
    """Train a network as a parameter file says.

    This is what book/03_train.ipynb runs, without its figures. A run that was stopped resumes from its last checkpoint.

    \b
    hitagu train --params params/mini.yaml --overrides "run=outputs/mini2 train.seed=1"
    torchrun --nproc_per_node 2 -m hitagu_lib train --params params/k700.yaml
    """
    from hitagu_lib.config import load_config
    from hitagu_lib.training.signals import end_with_launcher
    from hitagu_lib.training.trainer import train

    end_with_launcher()
    main = os.environ.get("RANK", "0") == "0"  # set by torchrun; only one of its processes reports
    logging.basicConfig(format="%(message)s")
    logging.getLogger("hitagu_lib").setLevel(logging.INFO if main else logging.WARNING)
    summary = train(load_config(params, overrides), progress=True)
    if main:
        click.echo("\n".join(f"{key}: {value}" for key, value in summary.items()))
    return 0


@click.group(cls=Group)
def checkpoints() -> None:
    """List and download published weights.

    params/checkpoints.yaml names them.
    """


names_option = click.option(
    "--params", type=PATH, default="params/checkpoints.yaml", metavar="FILE", help="The file that names them."
)


@checkpoints.command("list")
@names_option
def list_(params: Path) -> int:
    """List the names, with the state of each file."""
    from hitagu_lib.runs.published import read_names

    for name, published in read_names(params).items():
        click.echo(f"{name:8} {published.file}  ({published.what}): {published.state()}")
    return 0


@checkpoints.command
@click.argument("name", required=False)
@names_option
@click.option("--force", is_flag=True, help="Replace a different file of that name.")
def fetch(name: str | None, params: Path, force: bool) -> int:
    """Download the checkpoint NAME, or all that are published.

    A download replaces nothing until its SHA-256 is the published one and it loads as a checkpoint. A file that is already there is kept.
    """
    from hitagu_lib.errors import WeightsError
    from hitagu_lib.runs.published import fetch, read_names

    names = read_names(params)
    if name is not None and name not in names:
        raise WeightsError(f"{params}: found no {name!r}; known: {', '.join(names) or 'none'}")
    chosen = [names[name]] if name else [one for one in names.values() if one.url] or list(names.values())
    code = 0
    for published in chosen:
        try:
            fetched = fetch(published, force=force, progress=True)
        except WeightsError as error:
            code = 2
            click.echo(f"hitagu: {error}", err=True)
            continue
        click.echo(f"{published.file}: {'fetched' if fetched else published.state()}")
    return code
