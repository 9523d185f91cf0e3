"""The command line, `hitagu` or `python -m hitagu_lib`.

    main.py      the group; turns errors into messages and exit codes
    data.py      prepare, extract, index, split
    train.py     train, checkpoints
    evaluate.py  evaluate, predict, timeline, features, export
    report.py    report

A command is a function that returns its exit code. It imports what it needs itself, so that `hitagu --help` need not wait for torch.

Exit codes: 0 done; 1 done, but some data failed or has faults, each named; 2 not done, with the reason on standard error; 130 stopped by
Ctrl-C, and for `train` also 143 by SIGTERM, 138 by SIGUSR1 and 129 by SIGHUP (the same command resumes the work); 141 the reader of the
output has left.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

import click

from hitagu_lib import __version__
from hitagu_lib.cli.data import extract, index, prepare, split
from hitagu_lib.cli.evaluate import evaluate, export, features, predict, timeline
from hitagu_lib.cli.options import Group, reason
from hitagu_lib.cli.report import report
from hitagu_lib.cli.train import checkpoints, train
from hitagu_lib.errors import HitaguError
from hitagu_lib.files import DISK_FULL


def _close_output() -> None:
    """Write no more to standard output: Python's last flush would fail as well."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(error: HitaguError | OSError) -> int:
    """Say in one line what was not done, and return the exit code. Raises the error if it is not about the user's files or disk."""
    if isinstance(error, OSError) and error.filename is None:
        if error.errno not in DISK_FULL:
            raise error
        _close_output()  # which may be what the disk has no room for
    with suppress(OSError):  # for standard error, too
        click.echo(f"hitagu: {reason(error)}", err=True)
    return 2


class Commands(Group):
    """A group that turns errors into one-line messages and exit codes."""

    def invoke(self, ctx: click.Context) -> int:
        try:
            code = int(super().invoke(ctx))
            sys.stdout.flush()
            return code
        except BrokenPipeError:  # the reader has left, as `head` does
            _close_output()
            return 141
        except (HitaguError, OSError) as error:
            return _told(error)
        except KeyboardInterrupt as stop:
            # training.signals.Stopped brings an exit code and its own message, empty in all processes but one. Importing it here would
            # import torch.
            stopped: int | None = getattr(stop, "exit_code", None)
            message = "stopped; the same command resumes what can be resumed" if stopped is None else str(stop)
            if message:
                click.echo(f"hitagu: {message}", err=True)
            return stopped or 130


@click.group(
    cls=Commands,
    commands=[
        prepare,
        extract,
        index,
        split,
        train,
        checkpoints,
        evaluate,
        predict,
        timeline,
        features,
        export,
        report,
    ],
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100},
    epilog='Tab completion: put `eval "$(_HITAGU_COMPLETE=bash_source hitagu)"` into ~/.bashrc (zsh: zsh_source, ~/.zshrc).',
)
@click.version_option(__version__, message=f"hitagu-net {__version__}")
def cli() -> None:
    """Human action recognition, from videos to a trained network.

    \b
    hitagu prepare mini                                  # make a small data set
    hitagu train --params params/mini.yaml               # train on it
    hitagu predict new.mp4 --checkpoint outputs/mini/checkpoints/last.pt
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Wrong options raise SystemExit(2)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as for some services: bars and messages go nowhere then
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name or label that standard output cannot encode is shown as \udcff; it must not end the command.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return int(cli.main(argv, prog_name="hitagu", standalone_mode=False) or 0)
    except click.UsageError as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except OSError as error:  # --help and --version write before there is a command
        return _told(error)
