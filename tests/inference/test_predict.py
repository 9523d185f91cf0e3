"""One video in, ranked labels out: from a video file and from a frame folder, with what validation would have seen."""

import dataclasses
from pathlib import Path

import pytest
import torch

from hitagu_lib.cli.main import main
from hitagu_lib.config import Config
from hitagu_lib.data.dataset import ClipDataset
from hitagu_lib.data.source import open_lists
from hitagu_lib.errors import ClipError, ExtractError
from hitagu_lib.inference.predict import load_model, predict
from hitagu_lib.media.ffmpeg import ffmpeg_path
from hitagu_lib.prepare.synthetic.make import MiniSpec, render_clip, write_videos
from hitagu_lib.training import trainer as training


@pytest.fixture
def checkpoint(tiny_cfg: Config) -> Path:
    training.fit(dataclasses.replace(tiny_cfg, train=dataclasses.replace(tiny_cfg.train, epochs=1)))
    return Path(tiny_cfg.run) / "checkpoints" / "last.pt"


def test_a_frame_folder_is_seen_as_in_validation(checkpoint: Path, tiny_cfg: Config) -> None:
    model, cfg, classes = load_model(checkpoint)
    clips = open_lists(tiny_cfg.data)[1]
    frames, t, _, _ = ClipDataset(clips, tiny_cfg.data, train=False)[0, 5]
    prediction = predict(clips.frames_dir(5), model, cfg.data, classes)
    assert torch.equal(prediction.frames, frames) and torch.equal(prediction.t, t)
    assert sorted(prediction.labels) == list(clips.classes)
    assert prediction.probabilities == sorted(prediction.probabilities, reverse=True)
    assert sum(prediction.probabilities) == pytest.approx(1, abs=1e-5)
    assert prediction.maps.motion_gate.shape[:2] == (1, 3)


def test_a_video_file_gives_what_its_frames_give(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, cfg, classes = load_model(checkpoint)
    video = tmp_path / "clip.mp4"
    write_videos({video: render_clip(0, (0, 0, 0, 0), MiniSpec())}, ffmpeg_path())
    assert main(["extract", str(video), str(tmp_path / "frames")]) == 0
    from_video = predict(video, model, cfg.data, classes)
    from_frames = predict(tmp_path / "frames", model, cfg.data, classes)
    # Extracted at another size (36 instead of 72 pixels), so alike, not the same.
    assert from_video.frames.shape == from_frames.frames.shape
    assert (from_video.frames.float() - from_frames.frames.float()).abs().mean() < 8
    assert main(["predict", str(video), "--checkpoint", str(checkpoint), "--top", "2"]) == 0
    shown = capsys.readouterr().out.splitlines()[-3:]
    assert (
        shown[0] == str(video) and shown[1].endswith(from_video.labels[0]) and shown[2].endswith(from_video.labels[1])
    )


def test_what_cannot_be_predicted_is_named_and_the_rest_goes_on(
    checkpoint: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty, broken = tmp_path / "empty", tmp_path / "broken.mp4"
    empty.mkdir()
    broken.write_bytes(b"no video")
    model, cfg, classes = load_model(checkpoint)
    with pytest.raises(ClipError, match="empty: found no frames named"):
        predict(empty, model, cfg.data, classes)
    with pytest.raises(
        ClipError, match=r"expected a frame folder or a video file \(it holds 1 video: name the files\)"
    ):
        predict(tmp_path, model, cfg.data, classes)
    with pytest.raises(ExtractError, match=r"broken\.mp4"):
        predict(broken, model, cfg.data, classes)
    whole = next((tiny_data / "frames" / "val").glob("*/*"))
    assert main(["predict", str(empty), str(broken), str(whole), "--checkpoint", str(checkpoint)]) == 1
    out, err = capsys.readouterr()
    assert str(whole) in out and str(empty) in err and str(broken) in err


def test_a_checkpoint_brings_its_own_weights(checkpoint: Path) -> None:
    """Nothing is downloaded even where the run began from ImageNet's weights."""
    state = torch.load(checkpoint, weights_only=True)
    state["params"]["model"]["backbone"]["weights"] = "IMAGENET1K_V1"
    torch.save(state, checkpoint)
    model, _, _ = load_model(checkpoint)
    assert torch.equal(model.head.linear.weight, state["model"]["head.linear.weight"])
