"""Labelled real video that others have divided: the way of README, from a table to folds, a report, features and an overlay."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from hitagu_lib.cli.main import main
from hitagu_lib.data.clip_list import read_list

ROOT = Path(__file__).resolve().parents[2]
TINY = "data.workers=0 data.short_side=36 data.image_size=32 data.ref_stride=1.3 model.backbone.weights=null train.epochs=1"


@pytest.mark.slow
def test_a_dozen_grey_clips_of_few_frames_go_the_whole_way(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Mouth crops of three speakers saying two words; the shortest clips, one of them of 4 frames."""
    videos = shared_data / "real" / "lips_words"
    if not videos.exists():
        pytest.skip(f"{videos}: no labelled real video here")
    with open(videos / "split.csv", encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["class"] in ("connection", "web")]
    speakers = sorted(
        {row["subject"] for row in rows}, key=lambda who: min(int(r["frames"]) for r in rows if r["subject"] == who)
    )[:3]
    chosen = []
    for who in speakers:
        for word in ("connection", "web"):
            theirs = [row for row in rows if (row["subject"], row["class"]) == (who, word)]
            chosen += sorted(theirs, key=lambda row: int(row["frames"]))[:2]
    monkeypatch.chdir(tmp_path)
    with open("table.csv", "w", encoding="utf-8", newline="") as stream:
        table = csv.DictWriter(stream, ["clip", "class", "subject"], extrasaction="ignore")
        table.writeheader()
        table.writerows(chosen)

    command = ["split", "--videos", str(videos), "--out", "own", "--table", "table.csv", "--folds", "3"]
    assert main([*command, "--columns", "video=clip,source=subject"]) == 0
    assert "own: 3 folds of 12 clips of 2 classes" in capsys.readouterr().out
    seen = []
    for k in range(3):
        lists = f"data.root=own/frames data.train_list=own/fold{k}/train.csv data.val_list=own/fold{k}/val.csv"
        assert (
            main(["train", "--params", str(ROOT / "params/own.yaml"), "--overrides", f"{TINY} {lists} run=fold{k}"])
            == 0
        )
        assert main(["evaluate", "--checkpoint", f"fold{k}/checkpoints/last.pt", "--order-tests"]) == 0
        seen += read_list(Path(f"own/fold{k}/val.csv"), Path("own/frames")).num_frames.tolist()
    assert sorted(seen) == sorted(int(row["frames"]) for row in chosen) and min(seen) == 4
    capsys.readouterr()
    assert (
        main(["report", "folds", *(f"fold{k}/evaluate-single" for k in range(3)), "--groups", "own/sources.csv"]) == 0
    )
    assert "12 videos in 3 groups" in capsys.readouterr().out

    source, checkpoint = str(videos / chosen[0]["clip"]), "fold0/checkpoints/last.pt"
    assert main(["predict", source, "--checkpoint", checkpoint, "--overlay", "seen.mp4"]) == 0
    assert Path("seen.mp4").stat().st_size > 1000
    assert main(["features", source, "--checkpoint", checkpoint, "--out", "f.npz"]) == 0
    assert np.load("f.npz")["frames"].shape[:2] == (1, 8)
