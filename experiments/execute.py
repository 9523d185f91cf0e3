"""Run chapters, store their outputs, and record what each took: `make execute`.

    python -m experiments.execute book/09_reproduction.ipynb ...

Minutes and memory go to outputs/published/chapters.json, with commit, machine and a hash of what was stored; book/appendix/timings.txt,
the table of the book's appendix, is written from it. Chapters that were not run keep their record; those without one say "not measured".
Memory is the largest resident set of any one process of the chapter.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from hitagu_lib.files import project_root, write_atomic, write_json
from hitagu_lib.runs.provenance import surroundings

RECORD = Path("outputs/published/chapters.json")
TABLE = Path("book/appendix/timings.txt")


def execute(notebook: Path, where: dict[str, Any]) -> dict[str, Any]:
    """Run a notebook in place; return minutes, memory in GiB, commit, machine (from `where`, asked before any notebook was rewritten).

    Raises SystemExit with its code if a cell fails.
    """
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace"]
    command += ["--ExecutePreprocessor.record_timing=False", str(notebook)]
    began, started = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    child = subprocess.Popen(command)
    _, status, used = os.wait4(child.pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise SystemExit(code)
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    return {
        "minutes": round((time.perf_counter() - started) / 60, 2),
        "memory_gib": round(used.ru_maxrss * unit / 2**30, 2),
        "cores": os.cpu_count(),
        **{key: where[key] for key in ("git_commit", "git_changed", "platform")},
        "started": began,
        "cells": cells_hash(notebook),
    }


def cells_hash(notebook: Path) -> str:
    """Return one SHA-256 for the code of a notebook and what it stores as outputs; its text does not count."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = [[cell["source"], cell["outputs"]] for cell in cells if cell["cell_type"] == "code"]
    return hashlib.sha256(json.dumps(code, sort_keys=True).encode()).hexdigest()


def timings_table(chapters: list[Path], record: dict[str, dict[str, Any]]) -> str:
    """Return the appendix's Markdown table."""
    rows = []
    for chapter in chapters:
        took = record.get(chapter.stem)
        measured = (
            (f"{took['minutes']:.1f}", f"{took['memory_gib']:.1f}", f"{took['cores']}")
            if took
            else ("not measured", "", "")
        )
        rows.append((f"`{chapter.stem}`", *measured, str(took["git_commit"])[:12] if took else ""))
    columns = ["chapter", "minutes", "memory (GiB)", "cores", "commit"]
    return pd.DataFrame(rows, columns=columns).to_markdown(index=False, disable_numparse=True) + "\n"


def read_record() -> dict[str, dict[str, Any]]:
    """Return chapter -> what it took. Read it after a run, not before: another call may have run other chapters meanwhile."""
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}


def main(argv: list[str]) -> int:
    os.chdir(project_root())
    where = surroundings("cpu")
    for notebook in map(Path, argv):
        print(f"running {notebook}", flush=True)
        took = execute(notebook, where)
        write_json(RECORD, dict(sorted((read_record() | {notebook.stem: took}).items())))
    write_atomic(TABLE, [timings_table(sorted(Path("book").glob("*.ipynb")), read_record())])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
