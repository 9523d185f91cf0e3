"""The command line: `hitagu prepare | extract | index | split | train | evaluate | predict | export | report | checkpoints`, also as
`python -m hitagu_lib`.

Each command is a pair of functions: `add_<command>` declares its options, `_<command>` does the work and returns the exit
code. What is heavy is imported in the second one, so that `hitagu --help` answers at once.

Exit codes: 0 done; 1 done, but data failed or has faults, each named; 2 not done, with the reason on standard error;
130 stopped with Ctrl-C, and of `train` 143 with SIGTERM, 138 with SIGUSR1: the same command goes on from there;
141 whoever read the output has left.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from hitagu_lib import __version__
from hitagu_lib.cli.checkpoints import add_checkpoints
from hitagu_lib.cli.data import add_extract, add_index, add_prepare, add_split
from hitagu_lib.cli.evaluate import add_evaluate, add_predict
from hitagu_lib.cli.export import add_export
from hitagu_lib.cli.report import add_report
from hitagu_lib.cli.train import add_train
from hitagu_lib.errors import HitaguError
from hitagu_lib.training.signals import Stopped


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code. Wrong options end in SystemExit(2), as argparse has it."""
    parser = argparse.ArgumentParser(
        prog="hitagu", description="Human action recognition, from videos to a trained network."
    )
    parser.add_argument("--version", action="version", version=f"hitagu-net {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (
        add_prepare, add_extract, add_index, add_split, add_train, add_evaluate, add_predict, add_export, add_report, add_checkpoints
    ):  # fmt: skip
        add(commands)
    args = parser.parse_args(argv)
    try:
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read the output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's last flush would fail as well
        return 141
    except HitaguError as error:
        print(f"hitagu: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:  # not about a file of the user's
            raise
        print(f"hitagu: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        if str(stopped):  # of several processes, one speaks
            print(f"hitagu: {stopped}", file=sys.stderr)
        return stopped.exit_code
    except KeyboardInterrupt:
        print("hitagu: stopped; the same command goes on from here", file=sys.stderr)
        return 130
