"""hitagu_lib/files.py"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hitagu_lib.files import write_atomic


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    def lines() -> object:
        yield "half\n"
        raise RuntimeError("stopped")

    (tmp_path / "list.csv").write_text("old\n")
    with pytest.raises(RuntimeError):
        write_atomic(tmp_path / "list.csv", lines())  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["list.csv"]
    assert (tmp_path / "list.csv").read_text() == "old\n"


def test_a_rename_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.txt"
    write_atomic(file, ["old"])

    def no_rename(*args: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(os, "replace", no_rename)
    with pytest.raises(OSError, match="no"):
        write_atomic(file, ["new"])
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
