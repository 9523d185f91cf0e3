"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def write_atomic(file: Path, lines: Iterable[str]) -> None:
    """Write UTF-8 text aside, then rename: readers meet the old file or the new one, never half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        # A file name that is not UTF-8 goes out as the bytes it is.
        with open(aside, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            stream.writelines(lines)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(aside, file)
    finally:
        aside.unlink(missing_ok=True)
