"""Ranked labels for one video file or frame folder, from the frames that validation would use."""

import dataclasses
import errno
import json
import os
from pathlib import Path

import pytest
import torch
from media_fixtures import make_clip

from hitagu_lib.cli.main import main
from hitagu_lib.config import Config
from hitagu_lib.data.dataset import ClipDataset
from hitagu_lib.data.source import open_lists
from hitagu_lib.errors import ClipError, ExtractError
from hitagu_lib.evaluation.evaluate import evaluate_video
from hitagu_lib.inference.predict import load_model, predict
from hitagu_lib.media.ffmpeg import ffmpeg_path
from hitagu_lib.prepare.synthetic.make import MiniSpec, render_clip, write_videos
from hitagu_lib.training import trainer as training


@pytest.fixture
def checkpoint(tiny_cfg: Config) -> Path:
    training.fit(dataclasses.replace(tiny_cfg, train=dataclasses.replace(tiny_cfg.train, epochs=1)))
    return Path(tiny_cfg.run) / "checkpoints" / "last.pt"


@pytest.mark.slow
def test_a_frame_folder_is_sampled_as_in_validation(checkpoint: Path, tiny_cfg: Config) -> None:
    model, cfg, classes = load_model(checkpoint)
    clips = open_lists(tiny_cfg.data)[1]
    frames, t, _, _ = ClipDataset(clips, tiny_cfg.data, train=False)[0, 5]
    prediction = predict(clips.frames_dir(5), model, cfg.data, classes)
    assert torch.equal(prediction.frames, frames) and torch.equal(prediction.t, t)
    assert sorted(prediction.labels) == list(clips.classes)
    assert prediction.probabilities == sorted(prediction.probabilities, reverse=True)
    assert sum(prediction.probabilities) == pytest.approx(1, abs=1e-5)
    assert prediction.maps.motion_gate.shape[:2] == (1, 3)


@pytest.mark.slow
def test_a_video_file_gives_what_its_frames_give(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, cfg, classes = load_model(checkpoint)
    video = tmp_path / "clip.mp4"
    write_videos({video: render_clip(0, (0, 0, 0, 0), MiniSpec())}, ffmpeg_path())
    assert main(["extract", str(video), str(tmp_path / "frames")]) == 0
    from_video = predict(video, model, cfg.data, classes)
    from_frames = predict(tmp_path / "frames", model, cfg.data, classes)
    # Extracted at another size (36 instead of 72 pixels), so similar, not equal.
    assert from_video.frames.shape == from_frames.frames.shape
    assert (from_video.frames.float() - from_frames.frames.float()).abs().mean() < 8
    assert main(["predict", str(video), "--checkpoint", str(checkpoint), "--top", "2"]) == 0
    shown = capsys.readouterr().out.splitlines()[-3:]
    assert (
        shown[0] == str(video) and shown[1].endswith(from_video.labels[0]) and shown[2].endswith(from_video.labels[1])
    )


def test_a_folder_with_a_gap_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    """Its frames would be read under other numbers."""
    model, cfg, classes = load_model(checkpoint)
    make_clip(tmp_path / "gap", frames=10)
    (tmp_path / "gap" / "000003.jpg").unlink()
    make_clip(tmp_path / "zero", frames=3)
    (tmp_path / "zero" / "000003.jpg").rename(tmp_path / "zero" / "000000.jpg")
    for folder, missing in (("gap", "000003"), ("zero", "000003")):
        with pytest.raises(ClipError, match=rf"{folder}: {missing}\.jpg is missing; expected .* without gaps"):
            predict(tmp_path / folder, model, cfg.data, classes)


@pytest.mark.slow
def test_unreadable_sources_are_named_and_the_others_are_predicted(
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


@pytest.mark.slow
def test_a_checkpoint_brings_its_own_weights(checkpoint: Path) -> None:
    """Nothing is downloaded, even if the run started from ImageNet's weights."""
    state = torch.load(checkpoint, weights_only=True)
    state["params"]["model"]["backbone"]["weights"] = "IMAGENET1K_V1"
    torch.save(state, checkpoint)
    model, _, _ = load_model(checkpoint)
    assert torch.equal(model.head.linear.weight, state["model"]["head.linear.weight"])


def test_a_checkpoints_path_is_enough(untrained: Path, tiny_cfg: Config) -> None:
    folder = open_lists(tiny_cfg.data)[1].frames_dir(0)
    model, cfg, classes = load_model(untrained)
    one, other = predict(folder, untrained), predict(folder, model, cfg.data, classes)
    assert one.labels == other.labels and one.probabilities == pytest.approx(other.probabilities)
    assert predict(str(folder), str(untrained)).labels == one.labels
    with pytest.raises(TypeError, match=r"also give cfg\.data and classes, as load_model returns them"):
        predict(folder, model)  # type: ignore[call-overload]


def unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that cannot be listed, even by root, whom permissions do not stop."""
    folder = tmp_path / "locked"
    folder.mkdir()
    (folder / "000001.jpg").touch()
    folder.chmod(0)
    listed = os.scandir

    def scandir(path: object = ".") -> object:
        if os.fspath(path) == str(folder):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return listed(path)

    real = os.listdir

    def listdir(path: object = ".") -> object:
        if os.fspath(path) == str(folder):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(os, "listdir", listdir)
    return folder


@pytest.mark.slow
def test_sources_that_the_system_refuses_are_named_and_the_others_are_predicted(
    untrained: Path, tiny_cfg: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    locked, whole = unreadable_folder(tmp_path, monkeypatch), open_lists(tiny_cfg.data)[1].frames_dir(0)
    pipe, long = tmp_path / "pipe", tmp_path / ("x" * 300)
    os.mkfifo(pipe)
    refused = {
        locked: "locked: cannot be read: Permission denied",
        pipe: "pipe: found neither a file nor a folder; expected a video file or a frame folder",
        long: "cannot be read: File name too long",
        tmp_path / "none.mp4": r"none\.mp4: no such file or folder \(looked from ",
    }
    for source, message in refused.items():
        with pytest.raises(ClipError, match=message):
            predict(source, untrained)
        with pytest.raises(ClipError, match=message):
            evaluate_video(tiny_cfg, untrained, source)
    assert main(["predict", *map(str, refused), str(whole), "--checkpoint", str(untrained)]) == 1
    out, err = capsys.readouterr()
    assert str(whole) in out and all(str(source) in err for source in refused)


def test_an_error_while_a_frame_is_read_names_the_source(
    untrained: Path, tiny_cfg: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(*args: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle", "000002.jpg")

    monkeypatch.setattr("hitagu_lib.inference.predict.read_clip", stale)
    folder = open_lists(tiny_cfg.data)[1].frames_dir(0)
    with pytest.raises(ClipError, match=rf"{folder}: cannot be read: Stale file handle \(000002\.jpg\)"):
        predict(folder, untrained)


@pytest.mark.slow
def test_a_name_that_is_not_utf8_is_predicted_and_reported(untrained: Path, tiny_cfg: Config, tmp_path: Path) -> None:
    plain, video = tmp_path / "plain.mp4", tmp_path / os.fsdecode(b"caf\xe9.mp4")
    write_videos({plain: render_clip(0, (0, 0, 0, 0), MiniSpec())}, ffmpeg_path())
    try:
        plain.rename(video)
    except OSError:
        pytest.skip("this file system takes no name that is not UTF-8")
    assert len(predict(video, untrained).labels) == 14
    evaluate_video(tiny_cfg, untrained, video, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))["video"] == str(video)
