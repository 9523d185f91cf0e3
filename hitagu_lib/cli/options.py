"""What several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

Commands = argparse._SubParsersAction  # the type of add_subparsers(); argparse has no public name for it

SHOWN = 10
"""How many of many failures are spelled out; the manifest has all."""


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE", help="such as outputs/mini/checkpoints/last.pt"
    )


def add_recipe(parser: argparse.ArgumentParser, such_as: str) -> None:
    """The parameters: a file, and single values on top, `such_as`."""
    parser.add_argument("--params", default="params/mini.yaml", metavar="FILE", help="(default: %(default)s)")
    parser.add_argument("--overrides", default="", metavar="TEXT", help=f'such as "{such_as}"')


def add_workers(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--workers", type=at_least_one, metavar="N", help=f"{what} (default: one a core)")


def at_least_one(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number of at least 1")
    return int(text)
