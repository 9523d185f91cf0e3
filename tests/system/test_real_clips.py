"""Real videos from other sources: extract, index, train for one epoch, predict."""

import json
import os
from pathlib import Path

import pytest
from media_fixtures import sizes

from hitagu_lib.cli.main import main
from hitagu_lib.media.ffmpeg import frame_rate
from hitagu_lib.prepare.extract import extract_video

CLASSES = {"arm wrestling": "arm_wrestling.mp4", "poking": "poking_166766.mp4", "something else": "test_mpeg4.avi"}


def hitagu(command: str) -> int:
    return main(command.split())


def test_real_clips_pass_through_every_step(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An h264 MP4, a VP9 WebM that is named .mp4, and an MPEG-4 AVI."""
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val"):
        for label, name in CLASSES.items():
            folder = Path("videos", split, label)
            folder.mkdir(parents=True)
            os.symlink(shared_data / "clips" / name, folder / name)
    assert hitagu("extract --root videos --out frames --short-side 80") == 0
    assert hitagu("index --root frames/train --relative-to frames --out train.csv") == 0
    assert hitagu("index --root frames/val --relative-to frames --out val.csv --classes classes.txt") == 0
    assert hitagu("index --check train.csv --root frames") == 0
    rows = [line.split(",") for line in Path("train.csv").read_text().splitlines()]
    assert [(path.split("/")[1], int(label)) for path, label, _ in rows] == [
        (c, i) for i, c in enumerate(sorted(CLASSES))
    ]
    # The files' headers say: 10 s at 28 fps, 4.1 s at 12, 6.6 s at 25.
    assert [int(n) for *_, n in rows] == pytest.approx([280, 49, 165], abs=3)

    Path("params.yaml").write_text(
        json.dumps(  # JSON is YAML
            {
                "run": "outputs/real",
                "data": {"root": "frames", "train_list": "train.csv", "val_list": "val.csv", "num_frames": 8}
                | {"short_side": 72, "image_size": 64, "workers": 0},
                "model": {"backbone": {"name": "resnet18", "cut": "layer2"}, "mde": {"taps": ["layer1"]}},
                "train": {"epochs": 1, "batch_size": 3},
            }
        )
    )
    assert hitagu("train --params params.yaml") == 0
    summary = json.loads(Path("outputs/real/summary.json").read_text())
    assert (summary["train_clips"], summary["val_clips"], summary["num_classes"]) == (3, 3, 3)

    capsys.readouterr()
    checkpoint = "outputs/real/checkpoints/last.pt"
    for source in (shared_data / "clips" / "poking_166766.mp4", Path("frames/val/poking/poking_166766")):
        assert main(["predict", str(source), "--checkpoint", checkpoint, "--json"]) == 0
    video, folder = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert {item["label"] for item in video["predictions"]} == set(CLASSES)
    probabilities = [item["probability"] for item in video["predictions"]]
    assert probabilities == sorted(probabilities, reverse=True) and sum(probabilities) == pytest.approx(1, abs=1e-5)
    # The folder holds the same frames, extracted at another size.
    assert [p["probability"] for p in folder["predictions"]] == pytest.approx(probabilities, abs=0.1)


def test_predict_names_a_missing_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(tmp_path / "no.mp4"), "--checkpoint", str(tmp_path / "no.pt")]) == 2
    assert "no.pt: no such checkpoint" in capsys.readouterr().err


def test_every_real_clip_gets_its_overlay(
    shared_data: Path, untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An overlay has the video's length, rate and size, except for a short side of at least 320 and the text below the picture."""
    clips = [str(shared_data / "clips" / name) for name in CLASSES.values()]
    out = tmp_path / "drawn"
    assert main(["predict", *clips, "--checkpoint", str(untrained), "--top", "1", "--overlay", str(out)]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")] == clips
    expected = {"arm_wrestling": (280, 28, (424, 430)), "poking_166766": (49, 12, (570, 430))}
    expected |= {"test_mpeg4": (164, 25, (426, 430))}
    for name, (frames, rate, size) in expected.items():
        file = out / f"{name}.overlay.mp4"
        assert extract_video(file, tmp_path / name, short_side=None) == frames
        assert frame_rate(file) == pytest.approx(rate, abs=0.01) and sizes(tmp_path / name) == {size}
