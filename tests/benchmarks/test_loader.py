"""benchmarks/loader.py: each way is timed equally often, on the same clips."""

import json
import subprocess
import sys
from pathlib import Path

from media_fixtures import make_video

ROOT = Path(__file__).resolve().parents[2]


def test_a_small_run_writes_its_table_and_every_sample(tmp_path: Path) -> None:
    video = make_video(tmp_path / "drawn.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", size="320x240", frames=12)
    options = ["--clips", str(video), "--rows", "8", "--rounds", "2", "--out", str(tmp_path / "cpu")]
    command = [sys.executable, "-m", "benchmarks.loader", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "cpu.json").read_text())
    samples = result["jpeg"]["milliseconds"]
    assert {"ours", "usual", "torchvision", "Pillow"} <= set(samples)
    assert all(len(times) == 2 for way in samples.values() for times in way.values())
    assert result["jpeg"]["clips"] == 8 and result["jpeg"]["difference"] < 1, "the same frames and crops"
    assert "# The loader, one process, given clips: drawn.mp4" in (tmp_path / "cpu.md").read_text()
    for of in result.get("routes", ()):
        assert (of["frames"], of["files"]) == (12, {"frames": 13, "video": 1})
        assert 0 < of["difference"]["segment"] < 6
