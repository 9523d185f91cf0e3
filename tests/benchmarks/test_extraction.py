"""benchmarks/extraction.py: each clip and quality is measured equally often, and the counts for chapter 8 are right."""

import json
import subprocess
import sys
from pathlib import Path

from media_fixtures import make_video

ROOT = Path(__file__).resolve().parents[2]


def test_a_small_run_writes_its_table_and_every_sample(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "small.mp4", size="400x300", frames=10)
    options = ["--clips", str(clip), "--enlarge", "360", "--quality", "2", "9", "--rounds", "2"]
    command = [sys.executable, "-m", "benchmarks.extraction", *options, "--out", str(tmp_path / "out" / "cpu")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "cpu.json").read_text())["results"]
    assert [(r["clip"], r["quality"]) for r in results] == [
        (name, quality) for name in ("small.mp4", "small, 360 high") for quality in (2, 9)
    ]
    for result in results:
        assert (result["frames"], result["seconds"]) == (10, 0.4)
        assert all(len(result[clock]) == 2 and min(result[clock]) > 0 for clock in ("cpu_seconds", "wall_seconds"))
        assert result["disk_bytes"] >= result["bytes"] > 0
    fine, coarse, *_ = results
    assert (fine["codec"], fine["width"], fine["height"]) == ("mpeg4", 400, 300)
    assert results[2]["height"] == 360
    assert fine["bytes"] > coarse["bytes"]
    text = " ".join((tmp_path / "out" / "cpu.md").read_text().split())
    assert "| small.mp4 | mpeg4 | 400 x 300 | 0.4 | 10 |" in text
    assert "`python -m benchmarks.extraction --clips" in text
