"""Files that are there whole or not at all, and the fields of CSV files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A path beside `file`, with its ending, to write to: it takes the file's name at the context's end, or with an error is removed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{os.getpid()}.{file.name}")
    try:
        yield aside
        os.replace(aside, file)
    finally:
        aside.unlink(missing_ok=True)


def write_atomic(file: Path, lines: Iterable[str]) -> None:
    """Write UTF-8 text aside, then rename: readers meet the old file or the new one, never half of it."""
    # A file name that is not UTF-8 goes out as the bytes it is.
    with replacing(file) as aside, open(aside, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        stream.writelines(lines)
        stream.flush()
        os.fsync(stream.fileno())


def quoted(field: str) -> str:
    """A CSV field, in quotes where it needs them."""
    return '"' + field.replace('"', '""') + '"' if any(c in field for c in ',"\r\n') else field


def file_sha256(file: Path) -> str:
    """Of a file's content, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
