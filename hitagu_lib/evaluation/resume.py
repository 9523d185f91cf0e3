"""Partial scores of a list in numbered files, so that a stopped evaluation continues where it stopped.

    <folder>/settings.json      what the scores depend on; with other settings there is an error
             000001-0.npz ...   scores of process 0, and the videos it could not read; files are written atomically

All processes write here and the main one reads everything, so they need a common file system, as they do for the videos.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitagu_lib.errors import ConfigError
from hitagu_lib.files import replacing, to_disk, write_json

SAVE_SECONDS = 30.0
"""At most this much work is lost when a process is killed, besides the videos it was scoring."""

Arrays = dict[str, NDArray[Any]]
_log = logging.getLogger(__name__)


def open_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Create the folder, empty it if nobody can tell what its scores are of. One process calls this before the others read.

    Raises ConfigError if it holds scores of other settings.
    """
    file = folder / "settings.json"
    settings = json.loads(json.dumps(settings))  # tuples become lists, as in the file
    there: Any = None
    if file.exists():
        try:
            there = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:  # emptied or filled with NULs by a power cut
            _log.warning("%s: cannot be read: scoring starts anew", file)
    if there == settings:
        return
    if isinstance(there, dict) and any(folder.glob("[0-9]*-*.npz")):
        changed = sorted(key for key in there.keys() | settings.keys() if there.get(key) != settings.get(key))
        raise ConfigError(
            f"{folder}: found scores of a stopped evaluation with another {', '.join(changed)}; expected none: choose another folder with "
            "--out, or remove this one"
        )
    shutil.rmtree(folder, ignore_errors=True)
    write_json(file, settings)


class PartialScores:
    """One process's view of the folder; all processes open it before any of them adds to it.

    Videos are named by their row in the list. The most recent entry for a row wins.
    """

    def __init__(self, folder: Path, process: int = 0) -> None:
        self.folder, self.process = folder, process
        self._damaged: set[Path] = set()
        self.scored: set[int] = set()  # rows scored by any process
        files = self._files()
        for file in files:
            try:
                with zipfile.ZipFile(file) as archive:
                    # All of it: damage outside of `rows` would be met only when everything is scored.
                    if damaged := archive.testzip():
                        raise zipfile.BadZipFile(f"{damaged}: wrong checksum")
                with np.load(file) as saved:
                    self.scored |= set(saved["rows"].tolist())
            except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
                _log.warning("%s: cannot be read (%s): its videos are scored again", file, error)
                self._damaged.add(file)
        # Damaged ones count: no name is used twice.
        self._number = int(files[-1].name.partition("-")[0]) if files else 0
        self._waiting: list[Arrays] = []
        self._failed: dict[int, str] = {}
        self._saved = time.monotonic()

    def add(self, scored: Arrays | None, failed: dict[int, str]) -> None:
        """Add videos {"rows": (n,), other names: (n, ...)}, and {row: error} for those that could not be read; save every SAVE_SECONDS."""
        self._waiting += [scored] if scored is not None else []
        self._failed |= failed
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write what was added since the last save."""
        self._saved = time.monotonic()
        if not (self._waiting or self._failed):
            return
        arrays: dict[str, Any] = {"rows": np.zeros(0, np.int64)}
        if self._waiting:
            arrays = {name: np.concatenate([some[name] for some in self._waiting]) for name in self._waiting[0]}
        self._number += 1
        # The messages go in as JSON: in an array of strings each would take as much room as the longest.
        with replacing(self.folder / f"{self._number:06d}-{self.process}.npz") as aside, aside.open("wb") as stream:
            np.savez(stream, failed=np.array(json.dumps(self._failed)), **arrays)
            to_disk(stream)
        self._waiting, self._failed = [], {}

    def read(self) -> tuple[Arrays, dict[int, str]]:
        """Return what all processes saved, both sorted by row: {"rows": (n,), other names: (n, ...)} and {row: error}."""
        source: dict[int, Path] = {}
        failed: dict[int, str] = {}
        files = self._files()
        for file in files:
            with np.load(file) as saved:
                wrong = {int(row): message for row, message in json.loads(str(saved["failed"])).items()}
                right = dict.fromkeys(saved["rows"].tolist(), file)
            source = {row: of for row, of in source.items() if row not in wrong} | right
            failed = {row: what for row, what in failed.items() if row not in right} | wrong
        rows = np.array(sorted(source), np.int64)
        merged: Arrays = {"rows": rows}
        for file in files:  # one file at a time: together they may be gigabytes
            with np.load(file) as saved:
                mine = np.array([source.get(row) == file for row in saved["rows"].tolist()], bool)
                at = np.searchsorted(rows, saved["rows"][mine])
                for name in set(saved.files) - {"rows", "failed"}:
                    part = saved[name][mine]
                    merged.setdefault(name, np.zeros((len(rows), *part.shape[1:]), part.dtype))[at] = part
        return merged, dict(sorted(failed.items()))

    def remove(self) -> None:
        shutil.rmtree(self.folder)

    def _files(self) -> list[Path]:
        return sorted(file for file in self.folder.glob("[0-9]*-*.npz") if file not in self._damaged)
