"""Atomic writes of text, CSV and JSON; a lock for one process; clear errors when the disk is full; SHA-256; the project's root."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import logging
import os
import platform
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from hitagu_lib.errors import ConfigError, TrainingError

if sys.platform != "win32":
    import fcntl

_ASIDE = ".hitagu-"
"""How the names of temporary files begin."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The system's numbers for a full disk, a quota and a limit on the size of a file."""

_log = logging.getLogger(__name__)


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Yield a temporary path next to `file`, with its extension; rename it to `file` on success, delete it on error.

    A link is followed. An OSError names `file`, not the temporary path. Raises ConfigError if `file` is a device or a pipe.
    """
    if file.is_symlink():
        file = Path(os.path.realpath(file))
    if file.exists() and not (file.is_file() or file.is_dir()):
        raise ConfigError(f"{file}: found a device or a pipe; expected the name of a file")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), error.filename) from None
    # No other thread, of this process or another, has this number. File systems allow names of 255 bytes, and `file` may need them all.
    aside = file.with_name(f"{_ASIDE}{threading.get_native_id()}.{os.fsdecode(os.fsencode(file.name)[-200:])}")
    try:
        yield aside
        os.replace(aside, file)
    except OSError as error:
        if error.filename == str(aside) or (error.filename is None and error.errno in DISK_FULL):
            error.filename, error.filename2 = str(file), None
        raise
    finally:
        aside.unlink(missing_ok=True)


def remove_asides(folder: Path) -> None:
    """Delete the temporary files that killed processes left in `folder`; no other process may be writing there."""
    for file in folder.glob(f"{_ASIDE}*"):
        if file.is_file():
            file.unlink()


def to_disk(file: IO[Any]) -> None:
    """Flush what was written through to the disk."""
    file.flush()
    os.fsync(file.fileno())


def write_atomic(file: Path, lines: Iterable[str]) -> None:
    """Write UTF-8 text to a temporary file, then rename it: readers see the old file or the new one, never half of it."""
    # A file name that is not UTF-8 is written as its own bytes.
    with replacing(file) as aside, open(aside, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        stream.writelines(lines)
        to_disk(stream)


def csv_line(fields: Sequence[object]) -> str:
    """Return one line of a CSV file, ended by a line feed; quote the fields that need it."""
    line = io.StringIO()
    # The csv module of Python 3.11 quotes a carriage return only where it is part of the line's end.
    csv.writer(line, lineterminator="\r\n").writerow(fields)
    return line.getvalue().removesuffix("\r\n") + "\n"


def write_csv(file: Path, rows: Iterable[Sequence[object]], header: Sequence[str] | None = None) -> None:
    """Write a CSV file atomically, as `write_atomic` does; without `header` the file has none."""
    write_atomic(file, map(csv_line, [header, *rows] if header is not None else rows))


def write_json(file: Path, value: object) -> None:
    """Write `value` atomically as indented JSON in UTF-8."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    # A file name that is not UTF-8 holds lone surrogates: JSON can hold them as \udcXX, UTF-8 cannot.
    write_atomic(file, [text.encode("utf-8", errors="backslashreplace").decode("utf-8")])


@contextmanager
def locked(file: Path, what: str, who: str) -> Iterator[None]:
    """Lock `file` for this process and write `who` into it.

    The lock is a POSIX record lock: the system releases it when the process ends, however it ends, and child processes do not
    inherit it. Raises ConfigError naming `what` and the process that holds the lock. On Windows and on a file system without locks
    it only logs a warning. The process that holds the lock may delete the file.
    """
    with file.open("a+", encoding="utf-8") as stream:
        try:
            if sys.platform == "win32":
                raise OSError(errno.ENOLCK, "no POSIX locks on Windows")
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                _log.warning(
                    "%s: cannot be locked (%s): take care that no second process writes there", file, error.strerror
                )
            else:
                stream.seek(0)
                raise ConfigError(
                    f"{what} is in use by another process: {stream.read().strip()}. Wait for it, stop it, or give the new one a "
                    "folder of its own (run=outputs/..., or --out)"
                ) from None
        else:
            if not _names(file, stream):  # its holder has deleted it since it was opened here
                with locked(file, what, who):
                    yield
                return
        stream.truncate(0)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        stream.write(f"process {os.getpid()} on {platform.node()} since {since}: {who}\n")
        stream.flush()
        yield


def _names(file: Path, stream: IO[Any]) -> bool:
    """Return whether `file` is still the name of the open file `stream`."""
    try:
        return os.path.samefile(file, stream.fileno())
    except FileNotFoundError:
        return False


@contextmanager
def explained_when_full(folder: Path, advice: Callable[[], str]) -> Iterator[None]:
    """Turn an OSError for a full disk into a TrainingError that says how much space is free and gives the `advice`."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        free = shutil.disk_usage(there).free
        raise TrainingError(
            f"{folder}: {error.strerror}: {free / 1e6:,.1f} MB are free on its file system (a quota or a limit on file sizes may allow "
            f"less). {advice()}"
        ) from error


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def same_file(one: str | Path, other: str | Path) -> bool | None:
    """Return whether two paths name one file; None if one of them cannot be reached."""
    try:
        return Path(one).samefile(other)
    except (OSError, ValueError):
        return None


def project_root() -> Path:
    """Return the nearest folder, from the current one upwards, that holds params/ and hitagu_lib/; without one, the current folder.

    A chapter may be started from the root (papermill) or from book/ (JupyterLab, nbval).
    """
    here = Path.cwd()
    return next((p for p in (here, *here.parents) if (p / "params").is_dir() and (p / "hitagu_lib").is_dir()), here)
