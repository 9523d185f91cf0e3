"""A run's folder: what was asked for, where and on what it ran, what came of it.

    outputs/<run>/params.yaml        the resolved parameters
                  provenance.json    commit, versions, device, data fingerprint, seed, command
                  metrics.jsonl      one line an epoch
                  val_classes.csv    label,clips,correct of the last validation, a class a line
                  summary.json       written last: the mark of a finished run
                  checkpoints/       last.pt, previous.pt (the last.pt before it), best.pt
                  bad_clips.txt      the clips that were left out, each once: where in the list, and why
                  logs/              TensorBoard

Every file but the logs, and the last line of metrics.jsonl and bad_clips.txt, is written aside, flushed to disk and renamed: a killed
process leaves the old one or the new one. One process at a time has the folder (`Run.opened`).
"""

from __future__ import annotations

import difflib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
import yaml

from hitagu_lib.config import Config
from hitagu_lib.errors import ConfigError, WeightsError
from hitagu_lib.files import explained_when_full, locked, quoted, remove_asides, replacing, to_disk, write_atomic
from hitagu_lib.runs.checkpoint import load_checkpoint, tensor_bytes
from hitagu_lib.runs.provenance import command, provenance

_log = logging.getLogger(__name__)


class Run:
    """A run's folder, opened or made. Raises ConfigError where the folder holds a run with other parameters."""

    def __init__(self, cfg: Config) -> None:
        self.cfg, self.folder = cfg, Path(cfg.run)
        self.params = self.folder / "params.yaml"
        self.logs = self.folder / "logs"
        self._summary = self.folder / "summary.json"
        self._metrics = self.folder / "metrics.jsonl"
        self._checkpoints = self.folder / "checkpoints"
        self._bad_clips = self.folder / "bad_clips.txt"
        self._checkpoint_bytes = 0  # of the largest that was to be written
        self.last_step: int | None = None  # of the checkpoint that the run would go on from
        self._check_same_params()

    def _check_same_params(self) -> None:
        if not self.params.exists() or not any(file.exists() for file in (*self._resumable(), self._summary)):
            return  # before its first checkpoint a run has nothing that other parameters could spoil
        there = yaml.safe_load(self.params.read_text(encoding="utf-8"))
        for key in self._free():
            _copy_key(key, self.cfg.to_mapping(), there)
        if changed := changed_params(yaml.safe_dump(there, sort_keys=False), self.cfg.to_yaml(), "the run's"):
            raise ConfigError(
                f"{self.params}: this run was started with other parameters:\n"
                + "\n".join(changed)
                + "\nGive the new run a folder of its own (run=outputs/...), or remove this one to start over"
            )

    def _free(self) -> set[str]:
        """The parameters that may differ. A finished run with another number of clips a step would not be the one that is asked for."""
        finished = self.summary()
        size = (finished or {}).get("global_batch_size", (finished or {}).get("clips_a_step"))  # its older name
        if finished is None or size == self.cfg.train.global_batch_size():
            return {*FREE, *SPLIT}
        return set(FREE)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """The folder, made and for this process alone: what killed ones left half-written in it is removed.

        Raises ConfigError where another process has it, or where by now it holds a run with other parameters; TrainingError
        where its file system has no room for what is written meanwhile.
        """
        with explained_when_full(self.folder, self._when_full):
            self._checkpoints.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / ".lock", f"{self.folder}: this run", " ".join(command())):
                self._check_same_params()
                for folder in (self.folder, self._checkpoints):
                    remove_asides(folder)
                write_atomic(self.params, [self.cfg.to_yaml()])
                yield

    def _when_full(self) -> str:
        """What to do about a full disk."""
        there = [file for file in self._resumable() if file.exists()]
        needs = self._checkpoint_bytes or sum(file.stat().st_size for file in there[:1])
        room = f"A checkpoint needs {needs / 1e6:,.1f} MB: free that much" if needs else "Free what a checkpoint needs"
        return f"{room} there (checkpoints/ of finished runs, say) and start the same command again; {self.kept()}"

    def kept(self) -> str:
        """The last good checkpoint, in words."""
        if self.last_step is None:
            return "there is no checkpoint yet"
        there = next((file for file in self._resumable() if file.exists()), self.checkpoint("last"))
        return f"the last good checkpoint is {there}, of step {self.last_step}"

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
            to_disk(file)

    def rewind(self, epoch: int) -> None:
        """Drop the metrics of epochs that will be run again, and half-written lines."""
        kept = [line for line in self.metrics() if line["epoch"] < epoch]
        write_atomic(self._metrics, (json.dumps(line) + "\n" for line in kept))
        if self._bad_clips.exists():
            write_atomic(self._bad_clips, (f"{line}\n" for line in self.bad_clips()))

    def bad_clips(self) -> list[str]:
        """What `note_bad_clips` wrote, whole lines."""
        text = self._bad_clips.read_text(encoding="utf-8") if self._bad_clips.exists() else ""
        return text.split("\n")[:-1]

    def note_bad_clips(self, messages: Sequence[str]) -> None:
        """Add to the list of clips left out, each (by its list's line) once, however often it is met."""
        known = {line.split(": ")[0] for line in self.bad_clips()}
        new = {message.split(": ")[0]: message for message in messages if message.split(": ")[0] not in known}
        if new:
            with self._bad_clips.open("a", encoding="utf-8") as file:
                file.writelines(f"{message}\n" for message in new.values())

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
        """Write `state` as <name>.pt, on disk when this returns; the last.pt that there was becomes previous.pt."""
        self._checkpoint_bytes = max(self._checkpoint_bytes, tensor_bytes(state))
        file = self.checkpoint(name)
        with replacing(file) as aside:
            with aside.open("wb") as stream:
                try:
                    torch.save(state, stream)
                except RuntimeError as error:
                    if isinstance(error.__context__, OSError):  # what torch has made of it hides its kind
                        raise error.__context__ from None
                    raise
                to_disk(stream)
            if name == "last" and file.exists():
                os.replace(file, self.checkpoint("previous"))

    def _resumable(self) -> tuple[Path, Path]:
        return self.checkpoint("last"), self.checkpoint("previous")

    def last_state(self, warn: bool = True) -> dict[str, Any] | None:
        """The state to go on from: last.pt's, or where that is damaged previous.pt's, with a warning; None where there is neither.

        Raises WeightsError where all there is is damaged.
        """
        damaged = []
        for file in self._resumable():
            if not file.exists():
                continue
            try:
                state = load_checkpoint(file)
            except WeightsError as error:
                damaged.append(str(error))
                continue
            self.last_step = state["steps"]
            if damaged and warn:
                _log.warning("%s; going on from %s, of step %d", damaged[0], file, state["steps"])
            return state
        if not damaged:
            return None
        best = self.checkpoint("best")
        instead = (
            f"copy {best} to {best.with_name('last.pt')} to go on from the best epoch, or " if best.exists() else ""
        )
        raise WeightsError(
            "; ".join(damaged) + f". No checkpoint is left to go on from: {instead}remove {self.folder} to start over"
        )


FREE = {
    "run": "the folder's own name: it may be moved",
    "data.workers": "every random choice is drawn from (seed, epoch, row)",
    "train.checkpoint_every": "a run that goes on has the bits of one that was never stopped",
    # A score is of one clip, at most its last bit hanging on which others are in the network.
    "eval.batch_size": "how many clips are scored at a time",
    "eval.frames_at_once": "the same for `hitagu evaluate`",
    **dict.fromkeys(
        ("eval.protocol", "eval.clips", "eval.crops", "eval.crop_size", "eval.average"),
        "for `hitagu evaluate`; training asks none",
    ),
}
"""Parameters that may differ when a run goes on, and why: they change no result of training. A finished run is read all the same."""

SPLIT = ("train.batch_size", "train.accumulate", "train.processes")
"""How the clips of a step are split. It may differ as long as their number does not, to which the checkpoint is held: a run goes on
with other machines. (BatchNorm takes its statistics over other clips then, unless it is frozen.)"""


def _copy_key(key: str, source: dict[str, Any], to: dict[str, Any]) -> None:
    """Give `to` the value that `source` has under a dotted key."""
    *sections, name = key.split(".")
    for section in sections:
        source, to = source[section], to.setdefault(section, {})
    to[name] = source[name]


def changed_params(old: str, new: str, whose: str) -> list[str]:
    """The lines in which two resolved parameters, as YAML, differ: those of `whose`, then those asked for.

    Keys that came after `old` was written count with their defaults, which is what that run did.
    """
    with suppress(ConfigError):  # else a key that is no more, which the lines will show
        old = Config.from_mapping(yaml.safe_load(old)).to_yaml()
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), whose, "asked for", lineterm="", n=0)
    return [line for line in lines if line[:2] != "@@"]


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; empty before the first epoch. A half-written last line is left out."""
    file = Path(folder) / "metrics.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]
