"""`hitagu train`."""

from __future__ import annotations

import argparse
import logging
import os

from hitagu_lib.cli.options import Commands, add_recipe


def add_train(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "train",
        help="train a network from a params file",
        description="What book/03_train.ipynb runs, without its figures. A run that was stopped goes on from its last checkpoint.",
    )
    add_recipe(parser, "train.epochs=2 train.lr=0.01")
    parser.set_defaults(run=_train)


def _train(args: argparse.Namespace) -> int:
    from hitagu_lib.config import load_config
    from hitagu_lib.training.launch import end_with_launcher
    from hitagu_lib.training.trainer import train

    end_with_launcher()
    main = os.environ.get("RANK", "0") == "0"  # torchrun's: of several processes one speaks
    logging.basicConfig(format="%(message)s")
    logging.getLogger("hitagu_lib").setLevel(logging.INFO if main else logging.WARNING)
    summary = train(load_config(args.params, args.overrides), progress=True)
    if main:
        print("\n".join(f"{key}: {value}" for key, value in summary.items()))
    return 0
