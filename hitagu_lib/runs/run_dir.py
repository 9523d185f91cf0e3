"""A run's folder: what was asked for, where and on what it ran, what came of it.

    outputs/<run>/params.yaml        the resolved parameters
                  provenance.json    commit, versions, device, data, seed, command of the first start; "resumed": of each later one
                  metrics.jsonl      one line per epoch
                  val_classes.csv    label,clips,correct of the last validation, one row per class
                  summary.json       written last: it marks a finished run
                  checkpoints/       last.pt, previous.pt (the last.pt before it), best.pt
                  bad_clips.txt      the training clips that were skipped, each once: file, line and reason
                  logs/              TensorBoard

All files are written to a temporary path, flushed to disk and renamed, except the logs and the lines appended to metrics.jsonl and
bad_clips.txt: a killed process leaves the old file or the new one. A power cut may still leave an empty file, or zeros, so no file is
trusted to be whole when it is read. One process at a time owns the folder (`Run.opened`).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from hitagu_lib.config import SECTIONS, Config, flat
from hitagu_lib.config.plain_yaml import dump
from hitagu_lib.errors import ConfigError, WeightsError
from hitagu_lib.files import explained_when_full, locked, remove_asides, to_disk, write_atomic, write_csv, write_json
from hitagu_lib.runs.checkpoint import load_checkpoint, save_checkpoint, tensor_bytes
from hitagu_lib.runs.provenance import command, data_fingerprint, data_lists, list_files, split_of_steps, surroundings

_log = logging.getLogger(__name__)

_TRAINING_STATE = {"epoch", "steps", "optimizer", "schedule", "criterion", "rng"}
"""What a checkpoint must have, besides the network, to resume from."""


class Run:
    """A run's folder, new or existing.

    Raises ConfigError if the folder holds a run with other parameters, or one that was trained on other lists.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg, self.folder = cfg, Path(cfg.run)
        self.params = self.folder / "params.yaml"
        self.logs = self.folder / "logs"
        self._summary = self.folder / "summary.json"
        self._provenance = self.folder / "provenance.json"
        self._metrics = self.folder / "metrics.jsonl"
        self._checkpoints = self.folder / "checkpoints"
        self._bad_clips = self.folder / "bad_clips.txt"
        self._damaged: set[Path] = set()  # files that a warning has named
        self._checkpoint_bytes = 0  # of the largest checkpoint that was to be written
        self.last_step: int | None = None  # of the checkpoint that the run would resume from
        self._check_same_run()

    def _check_same_run(self) -> None:
        if any(file.exists() for file in (*self._resumable(), self._summary)):
            # Before its first checkpoint a run has nothing that other parameters or lists could spoil.
            self._check_same_params()
            self._check_same_data()

    def _check_same_params(self) -> None:
        if not self.params.exists() or (there := self._started_with()) is None:
            return
        if changed := changed_params(there, self.cfg, self._free()):
            raise ConfigError(
                f"{self.params}: this run was started with other parameters:\n"
                + "\n".join(changed)
                + "\nGive the new run a folder of its own (run=outputs/...), or remove this one to start over"
            )

    def _started_with(self) -> dict[str, Any] | None:
        """Return the parameters that the run was started with: of params.yaml, or, if it is damaged, of a checkpoint.

        Return None if there is nothing but damaged files; `last_state` then says so. Raises ConfigError if a finished run has lost them.
        """
        try:
            text = self.params.read_text(encoding="utf-8")
            there = yaml.safe_load(text)
            if not isinstance(there, dict) or not {*SECTIONS} <= there.keys() or not text.endswith("\n"):
                raise ValueError("it is empty or cut short")
            return there
        except (OSError, ValueError, yaml.YAMLError) as error:
            damage = f"{self.params}: damaged: {_first_line(error)}"
        for file in (*self._resumable(), self.checkpoint("best")):
            with suppress(WeightsError):
                params: dict[str, Any] = load_checkpoint(file)["params"]
                write_atomic(self.params, [dump(params)])
                _log.warning("%s; it has been rewritten from the parameters in %s", damage, file)
                return params
        if self._summary.exists():
            raise ConfigError(
                f"{damage}; no checkpoint has the run's parameters either, so its results cannot be told from another run's. Restore "
                f"the file, give the new run a folder of its own (run=outputs/...), or remove {self.folder} to start over"
            )
        return None

    def _free(self) -> set[str]:
        """Return the parameters that may differ. Those that split a step may, unless a finished run had another global batch size."""
        finished = self.summary()
        if finished is None or finished.get("global_batch_size") == self.cfg.train.global_batch_size():
            return {*FREE, *SPLIT}
        return set(FREE)

    @cached_property
    def lists(self) -> dict[str, dict[str, Any]] | None:
        """What the lists and classes are now, see data_lists; None if one of them is missing."""
        return data_lists(self.cfg.data)

    def _check_same_data(self) -> None:
        """Compare the lists with those of the run's provenance, or, if that is lost, of its checkpoint."""
        record = self._read_json(self._provenance)
        if record is None:
            if self.summary() is not None:  # of an unfinished run, `last_state` reads the checkpoint anyway
                for file in self._resumable():
                    with suppress(WeightsError):
                        return self._check_same_lists(load_checkpoint(file), file)
            return None
        return self._check_same_lists(record, self._provenance)

    def _check_same_lists(self, record: dict[str, Any], source: Path) -> None:
        """Raise ConfigError if the lists are not those of `record`: a provenance, or a checkpoint's state."""
        now = self.lists
        if now is None:
            # A finished run can be read without its data; training opens the lists, and names the one that is missing.
            return
        for key, then in (record.get("lists") or {}).items():
            if then["sha256"] != now[key]["sha256"]:
                rows, rows_now = then["rows"], now[key]["rows"]
                found = f"{rows} rows then, {rows_now} now" if rows != rows_now else f"{rows} rows, not the same ones"
                raise ConfigError(
                    f"{list_files(self.cfg.data)[key]}: data.{key} has changed since this run was trained on it: {found} ({source}). "
                    f"Restore it, give the new run a folder of its own (run=outputs/...), or remove {self.folder} to start over"
                )

    def _read_json(self, file: Path) -> dict[str, Any] | None:
        """Return the mapping in a JSON file; None if there is no such file, or, with one warning, if it is damaged."""
        if not file.exists():
            return None
        try:
            value = json.loads(file.read_bytes())
            if not isinstance(value, dict):
                raise ValueError(f"found {type(value).__name__}, expected a mapping")
        except (OSError, ValueError) as error:
            if file not in self._damaged:
                _log.warning("%s: damaged, taken as missing: %s", file, _first_line(error))
                self._damaged.add(file)
            return None
        return value

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Create the folder and own it; remove what killed processes left half-written.

        Raises ConfigError if another process owns it, or if by now it holds a run with other parameters; TrainingError if its file
        system runs out of room in the meantime.
        """
        with explained_when_full(self.folder, self._when_full):
            self._checkpoints.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / ".lock", f"{self.folder}: this run", " ".join(command())):
                self._check_same_run()
                for folder in (self.folder, self._checkpoints):
                    remove_asides(folder)
                self._refuse_own_params()
                write_atomic(self.params, [self.cfg.to_yaml()])
                yield

    def _refuse_own_params(self) -> None:
        """Raise ConfigError if params.yaml is a file that somebody wrote: the run's resolved parameters would replace it."""
        if not self.params.exists():
            return
        text = self.params.read_text(encoding="utf-8", errors="replace")
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError:  # damaged: replace it
            return
        # A label or a path may hold a #, and is written with it; a comment is not.
        commented = text.count("#") > yaml.safe_dump(values).count("#")
        if commented or (values is not None and (not isinstance(values, dict) or "base" in values)):
            raise ConfigError(
                f"{self.params}: found a file with a base, with comments or without parameters; expected none, or one that a run wrote: "
                "its resolved parameters go there. Move the file to params/, or choose another run folder (run=outputs/...)"
            )

    def _when_full(self) -> str:
        """Say what to do about a full disk."""
        there = [file for file in self._resumable() if file.exists()]
        needs = self._checkpoint_bytes or sum(file.stat().st_size for file in there[:1])
        room = f"A checkpoint needs {needs / 1e6:,.1f} MB: free that much" if needs else "Free what a checkpoint needs"
        return f"{room} there (checkpoints/ of finished runs, say) and start the same command again; {self.kept()}"

    def kept(self) -> str:
        """Name the last good checkpoint."""
        if self.last_step is None:
            return "there is no checkpoint yet"
        there = next((file for file in self._resumable() if file.exists()), self.checkpoint("last"))
        return f"the last good checkpoint is {there}, of step {self.last_step}"

    def summary(self) -> dict[str, Any] | None:
        """Return the summary of a finished run; None if the run is not finished, or if the file is damaged (with a warning)."""
        return self._read_json(self._summary)

    def write_summary(self, summary: dict[str, Any]) -> None:
        write_json(self._summary, summary)

    def write_classes(self, labels: Sequence[str], clips: Sequence[int], correct: Sequence[int]) -> None:
        rows = zip(labels, clips, correct, strict=True)
        write_csv(self.folder / "val_classes.csv", rows, header=("label", "clips", "correct"))

    def metrics(self) -> list[dict[str, Any]]:
        """Return what `log_metrics` wrote, one entry per epoch."""
        return read_metrics(self.folder)

    def log_metrics(self, metrics: dict[str, Any]) -> None:
        with self._metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics) + "\n")
            to_disk(file)

    def rewind(self, epoch: int) -> None:
        """Drop the metrics of epochs that will be run again, and damaged lines of metrics.jsonl and bad_clips.txt."""
        kept = [line for line in self.metrics() if line["epoch"] < epoch]
        if lost := sorted(set(range(epoch)) - {line["epoch"] for line in kept}):
            _log.warning("%s: the metrics of %d of %d epochs are lost: %s", self._metrics, len(lost), epoch, lost)
        write_atomic(self._metrics, (json.dumps(line) + "\n" for line in kept))
        if self._bad_clips.exists():
            write_atomic(self._bad_clips, (f"{line}\n" for line in self.bad_clips()))

    def bad_clips(self) -> list[str]:
        """Return the whole lines that `note_bad_clips` wrote, and none that a power cut has damaged."""
        # A clip whose name is not UTF-8 is noted with the bytes of its name.
        content = self._bad_clips.read_bytes() if self._bad_clips.exists() else b""
        lines = content.decode("utf-8", "surrogateescape").split("\n")[:-1]
        return [line for line in lines if "\0" not in line and re.match(r".+:\d+: ", line)]

    def note_bad_clips(self, messages: Sequence[str]) -> None:
        """Add clips to the list of those skipped, each once (by its line in the data's list), however often it is met."""
        if not messages:
            return

        def where(message: str) -> str:  # file:line, though the file's name may have a colon too
            found = re.match(r".+?:\d+(?=: )", message)
            return found[0] if found else message

        known = set(map(where, self.bad_clips()))
        new = {where(message): message for message in messages if where(message) not in known}
        if new:
            with self._bad_clips.open("a", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                file.writelines(f"{message}\n" for message in new.values())

    def write_provenance(
        self,
        device: str,
        processes: int,
        backbone_weights: dict[str, Any] | None = None,
        started_from: dict[str, Any] | None = None,
        resumed_at: int | None = None,
    ) -> None:
        """Record where the run's numbers come from; when it is resumed, at a step, add to the record of its first start.

        `backbone_weights`: what was loaded into the backbone, from where, and what was not used; None if it started at random.
        `started_from`: the same for the whole network, if `train.init` names a checkpoint.
        """
        here = surroundings(device) | split_of_steps(self.cfg.train, processes)
        first = self._read_json(self._provenance) if resumed_at is not None else None
        if first is None:
            lists = self.lists or {}
            data = {"data_fingerprint": data_fingerprint(lists), "lists": lists, "seed": self.cfg.train.seed}
            first = here | data | {"backbone_weights": backbone_weights, "started_from": started_from}
            if resumed_at is not None:
                first["first_start"] = "its record is lost; this one is of a later start"
        if resumed_at is not None:
            first["resumed"] = [*first.get("resumed", []), {"at_step": resumed_at, **here}]
        write_json(self._provenance, first)

    def checkpoint(self, name: str) -> Path:
        return self._checkpoints / f"{name}.pt"

    def save_checkpoint(self, name: str, state: dict[str, Any]) -> None:
        """Write `state` as <name>.pt; it is on disk when this returns. The last.pt before it becomes previous.pt."""
        self._checkpoint_bytes = max(self._checkpoint_bytes, tensor_bytes(state))
        keep_as = self.checkpoint("previous") if name == "last" else None
        save_checkpoint(self.checkpoint(name), state | {"lists": self.lists}, keep_as)

    def _resumable(self) -> tuple[Path, Path]:
        return self.checkpoint("last"), self.checkpoint("previous")

    def last_state(self, warn: bool = True) -> dict[str, Any] | None:
        """Return the state to resume from: of last.pt, or, if that is damaged, of previous.pt, with a warning; None if there is neither.

        Raises WeightsError if none of the checkpoints that there are can be used, ConfigError if they belong to other lists.
        """
        damaged = []
        for file in self._resumable():
            if not file.exists():
                continue
            try:
                state = _resumable_state(file)
            except WeightsError as error:
                damaged.append(str(error))
                continue
            self._check_same_lists(state, file)
            self.last_step = state["steps"]
            if damaged and warn:
                _log.warning("%s; resuming from %s, of step %d", damaged[0], file, state["steps"])
            if warn:
                self._look_at_best()
            return state
        if not damaged and self._summary.exists():
            damaged = [f"{self._summary}: damaged"]
        if not damaged:
            return None
        instead = ""
        with suppress(WeightsError):
            best = self.checkpoint("best")
            _resumable_state(best)
            instead = f"copy {best} to {best.with_name('last.pt')} to resume from the best epoch, or "
        raise WeightsError(
            "; ".join(damaged) + f". No checkpoint is left to resume from: {instead}remove {self.folder} to start over"
        )

    def _look_at_best(self) -> None:
        if (best := self.checkpoint("best")).exists():
            try:
                load_checkpoint(best)
            except WeightsError as error:
                _log.warning("%s; an epoch with a better validation will replace it, last.pt is sound", error)


FREE = {
    "run": "the folder's own name: it may be moved",
    "data.workers": "every random choice is drawn from (seed, epoch, row)",
    "train.checkpoint_every": "a resumed run is bit-identical to one that was never stopped",
    # A clip's score depends on the other clips of its batch by its last bit at most.
    "eval.batch_size": "how many clips are scored at a time",
    "eval.frames_at_once": "the same for `hitagu evaluate`",
    **dict.fromkeys(
        ("eval.protocol", "eval.clips", "eval.crops", "eval.crop_size", "eval.average"),
        "only `hitagu evaluate` reads it",
    ),
}
"""Parameters that may differ when a run is resumed, and why: they change no result of training. A finished run can be read all the same."""

SPLIT = ("train.batch_size", "train.accumulate", "train.processes")
"""How the clips of a step are split. It may differ as long as their number does not, which the checkpoint records: a run can be resumed
on other machines. (BatchNorm then takes its statistics over other clips, unless it is frozen.)"""


def _resumable_state(file: Path) -> dict[str, Any]:
    state = load_checkpoint(file)
    if missing := sorted(_TRAINING_STATE - state.keys()):
        raise WeightsError(
            f"{file}: holds a network, but no training to resume (no {', '.join(missing)}); train.init starts a new run from it"
        )
    return state


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def changed_params(there: Mapping[str, Any], cfg: Config, free: Collection[str] = ()) -> list[str]:
    """Return a line for each parameter, but those in `free`, that a run has otherwise than `cfg`: "train.lr: 0.1, asked for 0.5".

    Keys that were added after `there` was written count with their defaults, which is what that run did.
    """
    with suppress(ConfigError):  # a key that no longer exists; its line will show it
        there = Config.from_mapping(there).to_mapping()
    had, asked, none = flat(there), flat(cfg.to_mapping()), "no such key"
    pairs = {key: (had.get(key, none), asked.get(key, none)) for key in {**asked, **had} if key not in free}
    return [f"{key}: {old}, asked for {new}" for key, (old, new) in pairs.items() if old != new]


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics.jsonl; empty before the first epoch.

    An unfinished last line is ignored. Damaged lines are ignored with a warning.
    """
    file = Path(folder) / "metrics.jsonl"
    lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
    metrics, damaged = [], []
    for number, line in enumerate(lines, start=1):
        try:
            value = json.loads(line)
            if not isinstance(value, dict) or not isinstance(value.get("epoch"), int):
                raise ValueError
            metrics.append(value)
        except ValueError:
            damaged.append(str(number))
    if damaged:
        _log.warning("%s:%s: damaged, ignored; expected one JSON object per line", file, ",".join(damaged))
    return metrics
