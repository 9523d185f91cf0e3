"""`hitagu checkpoints list | fetch`."""

from __future__ import annotations

import argparse
import sys

from hitagu_lib.cli.options import Commands


def add_checkpoints(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "checkpoints",
        help="published weights: which there are, and fetch them",
        description="Published weights, by the names in params/checkpoints.yaml.",
    )
    whats = parser.add_subparsers(title="checkpoints", metavar="WHAT", required=True)
    names = argparse.ArgumentParser(add_help=False)
    names.add_argument("--params", default="params/checkpoints.yaml", metavar="FILE", help="(default: %(default)s)")
    listing = whats.add_parser("list", parents=[names], help="the names, and what is there", description="List them.")
    listing.set_defaults(run=_list)
    fetch = whats.add_parser(
        "fetch",
        parents=[names],
        help="download and check",
        description="Download a checkpoint, check its SHA-256 and that it can be read, and only then put it in its place. One that is "
        "there already is kept.",
    )
    fetch.add_argument("name", nargs="?", metavar="NAME", help="(default: all that are published)")
    fetch.add_argument("--force", action="store_true", help="replace another file that is in its place")
    fetch.set_defaults(run=_fetch)


def _list(args: argparse.Namespace) -> int:
    from hitagu_lib.runs.published import read_names

    for name, published in read_names(args.params).items():
        print(f"{name:8} {published.file}  ({published.what}): {published.state()}")
    return 0


def _fetch(args: argparse.Namespace) -> int:
    from hitagu_lib.errors import WeightsError
    from hitagu_lib.runs.published import fetch, read_names

    names = read_names(args.params)
    if args.name is not None and args.name not in names:
        raise WeightsError(f"{args.params}: found no {args.name!r}; known: {', '.join(names) or 'none'}")
    chosen = [names[args.name]] if args.name else [one for one in names.values() if one.url] or list(names.values())
    failed = 0
    for published in chosen:
        try:
            fetched = fetch(published, force=args.force, progress=True)
        except WeightsError as error:
            failed += 1
            print(f"hitagu: {error}", file=sys.stderr)
            continue
        print(f"{published.file}: {'fetched' if fetched else published.state()}")
    return 2 if failed else 0
