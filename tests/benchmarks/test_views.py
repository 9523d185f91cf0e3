"""benchmarks/views.py: both ways are timed equally often, their logits agree, and the counts are right."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "model.backbone.name=resnet18 model.backbone.cut=layer1 model.mde.taps=[layer1] model.mde.reduced=4 model.mde.width=8 "
    "model.stu.width=8 data.image_size=32 data.short_side=32"
)


def test_a_small_run_writes_its_table_and_every_sample(tmp_path: Path) -> None:
    options = [
        "--overrides",
        SMALL,
        "--videos",
        "12:segment",
        "--frames",
        "4",
        "--clips",
        "3",
        "--rounds",
        "2",
        "--threads",
        "1",
    ]
    command = [sys.executable, "-m", "benchmarks.views", *options, "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "hitagu-fp32-views3x3-size32.json").read_text())["results"][0]
    assert (result["frames_asked"], result["frames_distinct"], result["views_distinct"]) == (12, 12, 9)
    assert 0 <= result["largest_difference"] < 1e-5 < result["largest_logit"]
    assert all(len(times) == 2 for way in result["milliseconds"].values() for times in way.values())
    text = " ".join((tmp_path / "hitagu-fp32-views3x3-size32.md").read_text().split())
    assert "| 12 frames, segment | 4 | 12 / 12 | 9 |" in text
