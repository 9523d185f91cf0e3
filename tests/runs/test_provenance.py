"""What a run records of the code that made it."""

import json
import subprocess
from pathlib import Path

import pytest

from hitagu_lib.runs import provenance


def commit_all(folder: Path) -> None:
    for command in ("init -q", "add .", "-c user.name=a -c user.email=a@b.c commit -qm first"):
        subprocess.run(["git", *command.split()], cwd=folder, check=True)


def test_changed_code_is_recorded_and_changed_results_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, result = (
        tmp_path / "hitagu_lib" / "runs" / "provenance.py",
        tmp_path / "outputs" / "published" / "memory.md",
    )
    for file in (library, result):
        file.parent.mkdir(parents=True)
        file.write_text("as committed")
    commit_all(tmp_path)
    monkeypatch.setattr(provenance, "__file__", str(library))

    def changed() -> bool:
        return bool(provenance.surroundings("cpu")["git_changed"])

    assert provenance.surroundings("cpu")["git_changed"] is False
    result.write_text("another run")
    assert not changed()
    library.write_text("edited")
    assert changed()


def test_of_code_that_git_does_not_know_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a copy that is installed inside another project's repository, or on a machine without Git."""
    (tmp_path / "theirs.py").write_text("their own")
    commit_all(tmp_path)
    installed = tmp_path / ".venv" / "provenance.py"
    installed.parent.mkdir()
    installed.write_text("ours")

    def said() -> tuple[object, object]:
        found = provenance.surroundings("cpu")
        return found["git_commit"], found["git_changed"]

    assert None not in said()
    monkeypatch.setattr(provenance, "__file__", str(installed))
    assert said() == (None, None)
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert said() == (None, None)


def test_a_folder_of_runs_names_each_commit_once(tmp_path: Path) -> None:
    for run, commit in (("one", "a"), ("two", "b"), ("three", "a")):
        (tmp_path / run).mkdir()
        (tmp_path / run / "provenance.json").write_text(json.dumps({"git_commit": commit * 40, "git_changed": False}))
    assert provenance.source_of(tmp_path) == f"{tmp_path.as_posix()}, commits aaaaaaaaa, bbbbbbbbb"
    with pytest.raises(FileNotFoundError, match="found no run, nor one in a folder below"):
        provenance.source_of(tmp_path / "none")
