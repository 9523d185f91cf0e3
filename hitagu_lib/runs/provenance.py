"""Where numbers come from: commit, versions, machine, data, command."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from hitagu_lib import __version__
from hitagu_lib.config import DataConfig, TrainConfig

STARTED_BY = "HITAGU_STARTED_BY"
"""Environment variable of the processes that a training starts: the command that the user gave, as JSON."""
PACKAGES = ("torch", "torchvision", "accelerate", "torchmetrics", "numpy", "pillow")


def surroundings(device: str) -> dict[str, Any]:
    """Describe what was started, when and where: commit, versions (None: not installed), machine, command.

    Of a copy that Git does not know, commit and changes are None.
    """
    # Results are no code: a grid that publishes one run must not mark the next.
    changes = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)outputs")
    return {
        "hitagu_lib": __version__,
        "git_commit": _git("rev-parse", "HEAD"),
        "git_changed": None if changes is None else bool(changes),
        "code_sha256": code_sha256(),
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
        "cpu_threads": torch.get_num_threads(),
        "command": command(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@functools.cache
def code_sha256() -> str:
    """Return the SHA-256 of this library's Python files, as they were when a process first asked."""
    folder = Path(__file__).parents[1]
    files = sorted(folder.rglob("*.py"), key=lambda file: file.relative_to(folder).as_posix())
    return hashlib.sha256(b"\0".join(file.read_bytes().replace(b"\r\n", b"\n") for file in files)).hexdigest()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def source_of(run: str | Path) -> str:
    """Return a run's folder and commit for a figure, such as "outputs/mini, commit 1a2b3c4d5"; of a folder of runs, all their commits.

    A commit with uncommitted changes is marked "+ changes". Raises FileNotFoundError if there is no run.
    """
    own = Path(run) / "provenance.json"
    files = [own] if own.exists() else sorted(Path(run).rglob("provenance.json"))
    if not files:
        raise FileNotFoundError(f"{own}: found no run, nor one in a folder below")
    commits = dict.fromkeys(map(_commit_of, files))  # each once, in order
    return f"{Path(run).as_posix()}, {'commits' if len(commits) > 1 else 'commit'} {', '.join(commits)}"


def _commit_of(file: Path) -> str:
    found = json.loads(file.read_text(encoding="utf-8"))
    return f"{(found.get('git_commit') or 'unknown')[:9]}{' + changes' if found.get('git_changed') else ''}"


def data_lists(cfg: DataConfig) -> dict[str, dict[str, Any]] | None:
    """Return {"train_list": {"rows", "sha256"}, "val_list": ..., "classes": ...}; None if one of the files is missing.

    Line endings, empty lines and a byte order mark do not count: a list that Windows or Git has rewritten is the same list. The order of
    rows does: random choices are drawn by row.
    """
    lists = {}
    for key, file in list_files(cfg).items():
        if not file.is_file():
            return None
        content = file.read_bytes().removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
        rows = [row for row in content.split(b"\n") if row]
        lists[key] = {"rows": len(rows), "sha256": hashlib.sha256(b"\n".join(rows)).hexdigest()}
    return lists


def list_files(cfg: DataConfig) -> dict[str, Path]:
    """Return the files that say which clips and which labels a run has, by their parameter."""
    return {"train_list": Path(cfg.train_list), "val_list": Path(cfg.val_list), "classes": cfg.classes_file}


def data_fingerprint(lists: dict[str, dict[str, Any]]) -> str:
    """Return one SHA-256 for both lists and the classes: the same data, the same fingerprint."""
    return hashlib.sha256("".join(each["sha256"] for each in lists.values()).encode()).hexdigest()


def command() -> list[str]:
    """Return the user's command, without this machine's folders; in a process that a training started, the one that started it."""
    if (by := os.environ.get(STARTED_BY)) is not None:
        return list(json.loads(by))
    program = Path(sys.argv[0]).name
    program = {"ipykernel_launcher.py": "notebook", "__main__.py": "hitagu"}.get(program, program)
    return [program] if program == "notebook" else [program, *sys.argv[1:]]


def _git(*args: str) -> str | None:
    """Return what Git says about the repository that has this file; None for a copy in no repository, or installed inside another one."""
    file = Path(__file__)
    try:
        for command in (["ls-files", "--error-unmatch", file.name], args):
            done = subprocess.run(["git", *command], capture_output=True, text=True, cwd=file.parent, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def split_of_steps(cfg: TrainConfig, processes: int) -> dict[str, Any]:
    """Return how many processes share a step, how many clips it has, and the learning rate that results."""
    return {
        "processes": processes,
        "global_batch_size": cfg.global_batch_size(processes),
        "learning_rate": cfg.peak_lr(processes),
    }
