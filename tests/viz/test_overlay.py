"""The overlay: the whole video, at its rate and about its size, with text, bars and maps in their places at each moment."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from media_fixtures import ffmpeg, make_clip, make_video, sizes
from PIL import Image

from hitagu_lib import build_model
from hitagu_lib.cli.main import main
from hitagu_lib.config import DataConfig
from hitagu_lib.inference.predict import load_model
from hitagu_lib.inference.streaming import Running, running_clips
from hitagu_lib.media.ffmpeg import frame_rate
from hitagu_lib.prepare.extract import extract_video
from hitagu_lib.viz.overlay import _BAR, _LOOKS, _READS, Overlay, overlay_video

CFG = DataConfig(num_frames=4, short_side=100, image_size=80)


def some_running(N: int = 20, motion: torch.Tensor | None = None, reads: torch.Tensor | None = None) -> Running:
    probabilities = torch.tensor([[0.1, 0.6, 0.3]]).repeat(N, 1)
    return Running(probabilities, running_clips(N, CFG), motion, reads)


def near(pixels: np.ndarray, colour: tuple[int, int, int], within: int = 3) -> np.ndarray:
    return np.abs(pixels.astype(int) - colour).max(-1) <= within


@pytest.mark.parametrize(
    ("size", "expected"),
    [((72, 72), (320, 320)), ((427, 340), (428, 340)), ((355, 441), (356, 440)), ((1920, 1080), (854, 480))],
)
def test_the_picture_keeps_its_shape_within_bounds(size: tuple[int, int], expected: tuple[int, int]) -> None:
    overlay = Overlay(some_running(), CFG, ["a", "b", "c"], size)
    drawn = overlay.draw(0, Image.new("RGB", size, (90, 120, 90)))
    assert overlay.picture == expected and overlay.width == expected[0]
    assert drawn.shape == (overlay.height, overlay.width, 3) and drawn.dtype == np.uint8
    assert overlay.width % 2 == overlay.height % 2 == 0 and overlay.height > expected[1]


def test_bars_are_as_long_as_the_probabilities_and_the_most_probable_stands_first() -> None:
    overlay = Overlay(some_running(), CFG, ["", "", ""], (320, 320))
    drawn = overlay.draw(0, Image.new("RGB", (320, 320)))
    lengths = near(drawn[320:], _BAR).sum(1)
    first = overlay.row + overlay.row // 4
    rows = [lengths[first + i * overlay.row + overlay.row - 5] for i in range(3)]
    assert rows == pytest.approx([0.6 * 311, 0.3 * 311, 0.1 * 311], abs=2)


def test_the_gate_lies_over_the_square_that_the_network_sees_and_nowhere_else() -> None:
    gate = torch.zeros(20, 2, 2)
    gate[7, 0, 1] = 1  # at frame 7, top right
    overlay = Overlay(some_running(motion=gate), CFG, ["a", "b", "c"], (400, 320))
    assert overlay.square == (72, 32, 256)
    grey = Image.new("RGB", (400, 320), (100, 100, 100))
    still, seen = (overlay.draw(n, grey)[:320].astype(int) for n in (6, 7))
    inside = np.zeros((320, 400), bool)
    inside[33:287, 73:327] = True
    assert (still[inside] == 100).all(), "at other frames the gate is at the video's lowest"
    changed = np.abs(seen - 100).max(-1)
    assert (changed[~inside] == np.abs(still - 100).max(-1)[~inside]).all()
    assert changed[40, 310] > 40 and changed[280, 80] == 0
    towards = np.array(_LOOKS) - 100
    assert (np.sign(seen[40, 310] - 100) == np.sign(towards)).all()


def test_strokes_stand_at_the_clip_s_frames_as_high_as_their_weights() -> None:
    reads = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).repeat(20, 1)
    overlay = Overlay(some_running(reads=reads), CFG, ["a", "b", "c"], (320, 320))
    drawn = near(overlay.draw(19, Image.new("RGB", (320, 320)))[320:], _READS)
    columns = np.flatnonzero(drawn.any(0))
    assert overlay.running.clips[19].tolist() == [4, 9, 14, 19]
    places = [4 + round(frame / 19 * 311) for frame in (4, 9, 14, 19)]
    assert columns.tolist() == sorted(x + d for x in places for d in (0, 1))
    heights = [int(drawn[:, x].sum()) - 1 for x in places]  # above their base line
    tall = heights[-1]
    assert heights == pytest.approx([tall * w / 4 for w in (1, 2, 3, 4)], abs=1) and tall > 8


def test_words_that_do_not_fit_are_cut_off_before_the_percentage() -> None:
    long = Overlay(some_running(), CFG, ["x", "W" * 400, "y\nz"], (320, 320))
    short = Overlay(some_running(), CFG, ["x", "W", "y z"], (320, 320))
    frame = Image.new("RGB", (320, 320))
    assert (long.draw(0, frame)[:, -40:] == short.draw(0, frame)[:, -40:]).all()


@pytest.mark.slow
def test_a_video_keeps_its_length_rate_and_colours(untrained: Path, tmp_path: Path) -> None:
    model, cfg, classes = load_model(untrained)
    video = make_video(tmp_path / "a.avi", source="color=c=blue", size="64x48", rate=10, frames=23)
    out = tmp_path / "new" / "a.mp4"
    running = overlay_video(video, out, model, cfg.data, classes)
    assert frame_rate(out) == 10
    assert extract_video(out, tmp_path / "out", short_side=None) == 23 == len(running.probabilities)
    assert sizes(tmp_path / "out") == {(426, 320 + 110)}
    pixels = np.asarray(Image.open(tmp_path / "out" / "000020.jpg"))
    assert near(pixels[100, 5], (0, 0, 254), 30)


def test_a_picture_that_says_how_it_is_turned_is_drawn_upright(untrained: Path, tmp_path: Path) -> None:
    """As the network sees it."""
    model, cfg, classes = load_model(untrained)
    (tmp_path / "clip").mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6  # the orientation: a quarter to the left
    Image.new("RGB", (96, 64)).save(tmp_path / "clip" / "000001.jpg", exif=turned)
    overlay_video(tmp_path / "clip", tmp_path / "a.mp4", model, cfg.data, classes)
    extract_video(tmp_path / "a.mp4", tmp_path / "out")
    ((width, height),) = sizes(tmp_path / "out")
    assert width == 256 and height > 384, "64 x 96, enlarged, and the words below it"


@pytest.mark.parametrize("fps", [None, 12.0])
def test_a_folder_of_frames_has_the_rate_that_is_asked_for(untrained: Path, tmp_path: Path, fps: float | None) -> None:
    model, cfg, classes = load_model(untrained)
    folder = make_clip(tmp_path / "clip", frames=1)
    overlay_video(folder, tmp_path / "a.mp4", model, cfg.data, classes, fps=fps)
    assert frame_rate(tmp_path / "a.mp4") == (fps or 25)


# On the command line


@pytest.mark.slow
@pytest.mark.parametrize("name", ["-a.mp4", "50 % of ü.webm", "x.mkv", "with space.avi"])
def test_predict_writes_overlays_into_a_folder(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    codec = ["-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime"] if name.endswith("webm") else []
    make_video(tmp_path / "made" / name, *codec, frames=4)
    make_clip(tmp_path / "made" / "frames")
    monkeypatch.chdir(tmp_path / "made")
    options = ["--checkpoint", str(untrained), "--top", "1", "--overlay", str(tmp_path / "drawn")]
    assert main(["predict", *options, "--", name, "."]) == 1, "the folder itself holds no frames"
    assert main(["predict", *options, "--", name, "frames"]) == 0
    stem = Path(name).stem
    assert {file.name for file in (tmp_path / "drawn").iterdir()} == {f"{stem}.overlay.mp4", "frames.overlay.mp4"}
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == name and str(tmp_path / "drawn" / f"{stem}.overlay.mp4") in said.err
    assert extract_video(tmp_path / "drawn" / f"{stem}.overlay.mp4", tmp_path / "out") == 4


@pytest.mark.slow
def test_a_network_without_attention_has_its_prediction_drawn_alone(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, cfg, classes = load_model(untrained)
    tsm = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, temporal="tsm"))
    model = build_model(tsm.model, len(classes))
    torch.save({"params": tsm.to_mapping(), "classes": classes, "model": model.state_dict()}, untrained)
    folder, out = make_clip(tmp_path / "clip"), tmp_path / "a.mp4"
    assert main(["predict", str(folder), "--checkpoint", str(untrained), "--overlay", str(out)]) == 0
    assert "this network (tsm) has no attention to draw: its prediction alone" in capsys.readouterr().err
    assert extract_video(out, tmp_path / "out") == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.mp4", "b.mp4", "--overlay", "out.mp4"], "one file for 2 videos; give a folder"),
        (["a.mp4", "--overlay", "out.webm"], r"overlays are MP4; give a name that ends in \.mp4, or a folder"),
        (["a.mp4", "sub/a.avi", "--overlay", "out"], "sub/a.avi and another FILE would both become out/a.overlay.mp4"),
        (["a.mp4", "--overlay", "sub/../a.mp4"], "would replace the video itself"),
        (["a.mp4", "--fps", "12"], "--window and --fps are for --overlay"),
        (["a.mp4", "--overlay", "out", "--fps", "0"], "found 0, expected frames per second"),
        (["a.mp4", "--overlay", "out", "--fps", "nan"], "found nan, expected frames per second"),
        (["a.mp4", "--overlay", "out", "--window", "0"], "'--window': 0 is not in the range x>=1"),
    ],
)
def test_impossible_overlay_names_are_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.mp4").write_text("a video")
    with pytest.raises(SystemExit) as ended:
        main(["predict", *arguments, "--checkpoint", "no.pt"])
    assert ended.value.code == 2
    assert re.search(said, capsys.readouterr().err)
    assert (tmp_path / "a.mp4").read_text() == "a video"


def test_a_damaged_video_is_named_and_leaves_no_overlay(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = make_video(tmp_path / "whole.mkv", frames=30)
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", tmp_path / "sound.mp4")
    (tmp_path / "cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video\n")
    (tmp_path / "folder").mkdir()
    names = {
        "sound.mp4": "no video stream",
        "cut.mkv": "File ended prematurely",
        "empty.mp4": "(the file has 0 bytes)",
        "text.mp4": "text, not a video: it begins with 'not a video'",
        "absent.mp4": "no such file or folder (looked from ",
        "folder": "found no frames named 000001.jpg",
    }
    sources = [str(tmp_path / name) for name in names]
    out = tmp_path / "drawn"
    assert main(["predict", *sources, "--checkpoint", str(untrained), "--overlay", str(out)]) == 1
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("hitagu: ")]
    assert said.out == "" and not out.exists() and len(lines) == len(names)
    for (name, reason), line in zip(names.items(), lines, strict=True):
        assert line.startswith(f"hitagu: {tmp_path / name}: ") and reason in line
