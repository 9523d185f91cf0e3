"""benchmarks/lists.py: a small run measures what its table shows."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is read from Linux's /proc")
def test_a_small_run_writes_its_table_and_every_sample(tmp_path: Path) -> None:
    options = "--rows 4000 --val-rows 300 --workers 2 --batch 16 --rounds 2 --epochs 1 --out"
    command = [sys.executable, "-m", "benchmarks.lists", *options.split(), str(tmp_path / "lists")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "lists.json").read_text())
    assert [opened["rows"] for opened in result["opened"]] == [4000, 4000]
    for kind in ("arrays", "objects"):
        (epoch,) = result["passes"][kind]["epochs"]
        assert epoch["clips"] == 4000 and len(epoch["start"]) == len(epoch["end"]) == 2
        assert all(0 < worker["USS"] <= worker["PSS"] for worker in epoch["start"] + epoch["end"])
    assert result["audit"]["leaked"] == 1
    assert "| ClipList | 1 | 4,000 |" in " ".join((tmp_path / "lists.md").read_text().split())
