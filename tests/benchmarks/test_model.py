"""benchmarks/model.py: each network is timed equally often, on a machine that has little more than torch."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "model.backbone.name=resnet18 model.backbone.cut=layer1 model.mde.taps=[layer1] model.mde.reduced=4 model.mde.width=8 "
    "model.stu.width=8 data.image_size=32 data.num_frames=2"
)


def test_a_small_run_writes_its_tables_and_every_sample(tmp_path: Path) -> None:
    options = [
        "--overrides",
        SMALL,
        "--rounds",
        "2",
        "--warmup",
        "1",
        "--batch",
        "3",
        "--threads",
        "1",
        "--dtype",
        "bf16",
    ]
    bare_machine = (  # a module that is None in sys.modules cannot be imported
        "import runpy, sys\n"
        "for absent in ('accelerate', 'torchmetrics', 'tqdm', 'tensorboard', 'pandas', 'tabulate', 'imageio_ffmpeg', 'matplotlib'):\n"
        "    sys.modules[absent] = None\n"
        "sys.argv[0] = 'model.py'\n"
        "runpy.run_module('benchmarks.model', run_name='__main__')"
    )
    command = [sys.executable, "-c", bare_machine, *options, "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(f.name for f in tmp_path.iterdir()) == [f"bf16-channels-last-batch3.{end}" for end in ("json", "md")]

    result = json.loads((tmp_path / "bf16-channels-last-batch3.json").read_text())
    assert result["clips"] == "3 x 2 x 3 x 32 x 32" and result["where"]["cpu_threads"] == 1
    assert list(result["milliseconds"]) == ["forward", "training step"]
    for by_network in result["milliseconds"].values():
        assert list(by_network) == ["bare backbone", "TSN", "TSM", "GRU", "HiTAGU-Net", "HiTAGU-Net, banded 3STU"]
        for clocks in by_network.values():
            assert all(len(clocks[clock]) == 2 and min(clocks[clock]) > 0 for clock in ("wall", "CPU"))

    text = (tmp_path / "bf16-channels-last-batch3.md").read_text()
    assert done.stdout == text
    rows = [line for line in text.splitlines() if line.startswith(("| bare", "| TSN", "| HiTAGU"))]
    assert len(rows) == 8 and {row.count("|") for row in rows} == {8}
    own, bare = (result["milliseconds"]["forward"][name]["CPU"] for name in ("HiTAGU-Net", "bare backbone"))
    ratio = sum(a / b for a, b in zip(own, bare, strict=True)) / 2  # the median of two
    assert rows[2].split("|")[7].split()[0] == f"{ratio:.3f}"
