"""A run's folder: what was asked for, where and on what it ran, what came of it.

    outputs/<run>/params.yaml        the resolved parameters
                  provenance.json    commit, versions, device, data fingerprint, seed, command
                  metrics.jsonl      one line an epoch
                  val_classes.csv    label,clips,correct of the last validation, a class a line
                  summary.json       written last: the mark of a finished run
                  checkpoints/       last.pt, best.pt
                  logs/              TensorBoard

Every file but the log and the metrics' last line is written aside and renamed: a killed process leaves the old one or the new one.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import yaml

from hitagu_lib import __version__
from hitagu_lib.config import Config
from hitagu_lib.errors import ConfigError, WeightsError
from hitagu_lib.files import quoted, replacing, write_atomic

PACKAGES = ("torch", "torchvision", "accelerate", "torchmetrics", "numpy", "pillow")


class Run:
    """A run's folder, opened or made. Raises ConfigError where the folder holds a run with other parameters."""

    def __init__(self, cfg: Config) -> None:
        self.cfg, self.folder = cfg, Path(cfg.run)
        self.params = self.folder / "params.yaml"
        self.logs = self.folder / "logs"
        self._summary = self.folder / "summary.json"
        self._metrics = self.folder / "metrics.jsonl"
        self._checkpoints = self.folder / "checkpoints"
        if self.params.exists() and (self.checkpoint("last").exists() or self._summary.exists()):
            self._check_same_params()  # before its first checkpoint a run has nothing that other parameters could spoil
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        write_atomic(self.params, [cfg.to_yaml()])

    def _check_same_params(self) -> None:
        changed = changed_params(self.params.read_text(encoding="utf-8"), self.cfg.to_yaml(), "the run's")
        if changed:
            raise ConfigError(
                f"{self.params}: this run was started with other parameters:\n"
                + "\n".join(changed)
                + "\nGive the new run a folder of its own (run=outputs/...), or remove this one to start over"
            )

    def summary(self) -> dict[str, Any] | None:
        """The summary of a finished run; None where the run is not finished."""
        return json.loads(self._summary.read_text(encoding="utf-8")) if self._summary.exists() else None

    def write_summary(self, summary: dict[str, Any]) -> None:
        write_atomic(self._summary, [json.dumps(summary, indent=2) + "\n"])

    def write_classes(self, labels: Sequence[str], clips: Sequence[int], correct: Sequence[int]) -> None:
        rows = (f"{quoted(label)},{n},{right}\n" for label, n, right in zip(labels, clips, correct, strict=True))
        write_atomic(self.folder / "val_classes.csv", ["label,clips,correct\n", *rows])

    def metrics(self) -> list[dict[str, Any]]:
        """What `log_metrics` wrote, a line an epoch."""
        return read_metrics(self.folder)

    def log_metrics(self, metrics: dict[str, Any]) -> None:
        with self._metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics) + "\n")

    def forget_metrics_from(self, epoch: int) -> None:
        """Drop the lines of epochs that will be run again."""
        kept = [line for line in self.metrics() if line["epoch"] < epoch]
        write_atomic(self._metrics, (json.dumps(line) + "\n" for line in kept))

    def write_provenance(
        self, device: str, backbone_weights: dict[str, Any] | None = None, started_from: dict[str, Any] | None = None
    ) -> None:
        """`backbone_weights`: what was loaded into the backbone, from where, and what was left; None where it began at random.
        `started_from`: the same of the whole network, where `train.init` names a checkpoint."""
        where = provenance(self.cfg, device) | {"backbone_weights": backbone_weights, "started_from": started_from}
        write_atomic(self.folder / "provenance.json", [json.dumps(where, indent=2) + "\n"])

    def checkpoint(self, name: str) -> Path:
        return self._checkpoints / f"{name}.pt"

    def save_checkpoint(self, name: str, state: dict[str, Any]) -> None:
        with replacing(self.checkpoint(name)) as aside:
            torch.save(state, aside)


def changed_params(old: str, new: str, whose: str) -> list[str]:
    """The lines in which two resolved parameters, as YAML, differ: those of `whose`, then those asked for.

    Keys that came after `old` was written count with their defaults, which is what that run did.
    """
    with suppress(ConfigError):  # else a key that is no more, which the lines will show
        old = Config.from_mapping(yaml.safe_load(old)).to_yaml()
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), whose, "asked for", lineterm="", n=0)
    return [line for line in lines if line[:2] != "@@"]


def load_checkpoint(file: str | Path) -> dict[str, Any]:
    """A checkpoint's state, on the CPU; tensors and plain values only, never code.

    Raises WeightsError where the file is missing, damaged or no checkpoint of this library.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(
            f"{file}: no such checkpoint; `hitagu train` writes one to outputs/<run>/checkpoints/last.pt"
        ) from None
    except Exception as error:  # torch.load raises a dozen kinds
        raise WeightsError(f"{file}: cannot be read as a checkpoint: {str(error).splitlines()[0]}") from error
    if not isinstance(state, dict) or not {"params", "classes", "model"} <= state.keys():
        raise WeightsError(f"{file}: found no params, classes and model in it; expected a checkpoint of this library")
    return state


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; empty before the first epoch. A half-written last line is left out."""
    file = Path(folder) / "metrics.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def provenance(cfg: Config, device: str) -> dict[str, Any]:
    """Where the numbers of a run come from."""
    return surroundings(device) | {"data_fingerprint": data_fingerprint(cfg), "seed": cfg.train.seed}


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
        "command": _command(),
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


def project_root() -> Path:
    """The nearest folder, from the current one upwards, that holds params/ and hitagu_lib/; the current one where there is none.

    A chapter may be started from the root (papermill) or from book/ (JupyterLab, nbval).
    """
    here = Path.cwd()
    return next((p for p in (here, *here.parents) if (p / "params").is_dir() and (p / "hitagu_lib").is_dir()), here)


def _command() -> list[str]:
    """What was started, without the folders of this machine."""
    program = Path(sys.argv[0]).name
    return ["notebook"] if program == "ipykernel_launcher.py" else [program, *sys.argv[1:]]


def _git(*args: str) -> str | None:
    try:
        done = subprocess.run(["git", *args], capture_output=True, text=True, cwd=Path(__file__).parent, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
