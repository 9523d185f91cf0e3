"""Where numbers come from: commit, versions, machine, data, what was started."""

from __future__ import annotations

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
from hitagu_lib.config import Config

STARTED_BY = "HITAGU_STARTED_BY"
"""In the environment of processes that another one of ours has started: that one's command, as JSON."""
PACKAGES = ("torch", "torchvision", "accelerate", "torchmetrics", "numpy", "pillow")


def surroundings(device: str) -> dict[str, Any]:
    """What was started, when and where: commit, versions (None: not installed), machine, command."""
    return {
        "hitagu_lib": __version__,
        "git_commit": _git("rev-parse", "HEAD"),
        "git_changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
        "cpu_threads": torch.get_num_threads(),
        "command": command(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def data_fingerprint(cfg: Config) -> str:
    """SHA-256 over both lists: the same rows, the same fingerprint."""
    digest = hashlib.sha256()
    for file in (cfg.data.train_list, cfg.data.val_list):
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()


def command() -> list[str]:
    """What was started, by a process of which this is one of several, or here; without the folders of this machine."""
    if (by := os.environ.get(STARTED_BY)) is not None:
        return list(json.loads(by))
    program = Path(sys.argv[0]).name
    program = {"ipykernel_launcher.py": "notebook", "__main__.py": "hitagu"}.get(program, program)
    return [program] if program == "notebook" else [program, *sys.argv[1:]]


def _git(*args: str) -> str | None:
    try:
        done = subprocess.run(["git", *args], capture_output=True, text=True, cwd=Path(__file__).parent, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def provenance(cfg: Config, device: str) -> dict[str, Any]:
    """Where the numbers of a run come from."""
    train = cfg.train
    steps = {
        "processes": train.world_size, "global_batch_size": train.global_batch_size(), "learning_rate": train.peak_lr()
    }  # fmt: skip
    return surroundings(device) | {"data_fingerprint": data_fingerprint(cfg), "seed": cfg.train.seed} | steps
