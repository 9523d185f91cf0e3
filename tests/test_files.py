"""hitagu_lib/files.py"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hitagu_lib.files import csv_line, locked, remove_asides, replacing, write_atomic, write_csv, write_json


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    def lines() -> object:
        yield "half\n"
        raise RuntimeError("stopped")

    (tmp_path / "list.csv").write_text("old\n")
    with pytest.raises(RuntimeError):
        write_atomic(tmp_path / "list.csv", lines())  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["list.csv"]
    assert (tmp_path / "list.csv").read_text() == "old\n"


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link.txt").symlink_to(tmp_path / "disk" / "real.txt")
    for text in ("new", "newer"):
        write_atomic(tmp_path / "link.txt", [text])
        assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "disk" / "real.txt").read_text() == text
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["disk", "link.txt", "real.txt"]


def test_an_error_names_the_file_and_not_the_temporary_one(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for file, named in (("folder", "folder"), ("file/a.txt", "file")):
        with pytest.raises(OSError) as caught:
            write_atomic(tmp_path / file, ["new"])
        assert caught.value.filename == str(tmp_path / named)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_only_our_own_temporary_files_are_removed(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.txt") as aside:
        left = tmp_path / aside.name
        (tmp_path / ".2024.notes").touch()
        (tmp_path / ".1.cache").mkdir()
        left.touch()
        remove_asides(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == [".1.cache", ".2024.notes"]
        aside.touch()


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


def test_two_threads_may_write_one_file_and_the_later_one_stays(tmp_path: Path) -> None:
    file = tmp_path / "table.md"
    begun, written = threading.Event(), threading.Event()

    def slow() -> Iterator[str]:
        begun.set()
        assert written.wait(30)
        yield "slow"

    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(write_atomic, file, slow())
        assert begun.wait(30)
        write_atomic(file, ["fast"])
        assert file.read_text() == "fast"
        written.set()
        job.result(30)
    assert file.read_text() == "slow"
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]


FIELDS = [
    ["a, b", 'say "x"', " ", ""],
    ["two\nlines", "a\rreturn", "\r\n", "'"],
    ["", "", "", ""],
    ["\udcff.mp4", "é", "#", ";"],
]


def test_every_field_comes_back_from_a_csv_file(tmp_path: Path) -> None:
    file = tmp_path / "new" / "list.csv"
    write_csv(file, FIELDS, header=["a", "b", "c", "d"])
    with file.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        assert list(csv.reader(stream)) == [["a", "b", "c", "d"], *FIELDS]


def test_csv_lines_end_in_a_line_feed_and_quote_only_what_needs_it(tmp_path: Path) -> None:
    assert csv_line(["a b", 1, 0.1, None, "c\r\n"]) == 'a b,1,0.1,,"c\r\n"\n'
    write_csv(tmp_path / "list.csv", (pair for pair in [("x,y", 1), ("z", 2)]))
    assert (tmp_path / "list.csv").read_bytes() == b'"x,y",1\nz,2\n'


def test_json_comes_back_is_read_by_people_and_holds_any_file_name(tmp_path: Path) -> None:
    value = {"label": "Öffnen", "file": "\udcff.mp4", "scores": [0.5, None]}
    write_json(tmp_path / "report.json", value)
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert text.startswith('{\n  "label": "Öffnen",\n') and text.endswith("}\n")


@pytest.mark.parametrize("name", ["n" * 251 + ".csv", "é" * 125 + "n.csv"])
def test_a_name_may_be_as_long_as_file_systems_allow(tmp_path: Path, name: str) -> None:
    assert len(os.fsencode(name)) == 255
    write_atomic(tmp_path / name, ["whole\n"])
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "whole\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no POSIX locks")
def test_a_file_that_its_holder_deletes_before_it_is_locked_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else this process would own a file without a name, and a third one could own the next file of that name."""
    import fcntl

    file, lockf = tmp_path / ".lock", fcntl.lockf

    def delete_first(*args: object) -> None:
        monkeypatch.setattr(fcntl, "lockf", lockf)
        file.unlink()
        lockf(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "lockf", delete_first)
    # Reading the file here would release the lock: POSIX releases it where a process closes any opening of the file.
    third = "import fcntl, sys; f = open(sys.argv[1], 'a+'); f.seek(0); print(f.read()); fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)"
    with locked(file, "this folder", "a test"):
        done = subprocess.run([sys.executable, "-c", third, str(file)], capture_output=True, text=True)
    assert "a test" in done.stdout and ("BlockingIOError" in done.stderr or "PermissionError" in done.stderr)
