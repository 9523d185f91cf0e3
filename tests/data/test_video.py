"""Frames read from video files have the right number, equal the extracted frames, and damage is named."""

import dataclasses
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from media_fixtures import ffmpeg, make_video

from hitagu_lib.cli.main import main
from hitagu_lib.config import DataConfig
from hitagu_lib.data.dataset import ClipDataset, read_clip
from hitagu_lib.data.frames import read_frames
from hitagu_lib.data.source import check_paths, open_lists
from hitagu_lib.errors import ClipError, ConfigError
from hitagu_lib.prepare.check import check_list
from hitagu_lib.prepare.extract import extract_video

pytest.importorskip("av", reason="PyAV, of the extra `video`, is not installed")

from hitagu_lib.data import video
from hitagu_lib.data.video import count_video, find_video, need_av, read_video

CLIPS = ("arm_wrestling.mp4", "poking_166766.mp4", "test_mpeg4.avi")
H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p")


SIZE = {"size": "320x240"}
"""Large enough that a frame differs from its neighbours by more than JPEG loses."""


def both(file: Path, folder: Path, short_side: int = 256) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all frames, by extraction and straight from the file."""
    count = extract_video(file, folder, short_side=short_side)
    assert count_video(file) == (count, None)
    return read_frames(folder, range(count)), read_video(file, range(count), count, short_side)


def same_frames(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Return whether each frame of b is nearest to its own in a. (Drawn pictures are all edges, where JPEG loses most.)"""
    flat_a, flat_b = (x.flatten(1).float() for x in (a, b))
    nearest = torch.cdist(flat_b, flat_a, p=1).argmin(1)
    return a.shape == b.shape and nearest.tolist() == list(range(len(a))) and difference(a, b) < 10


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return float((a.float() - b.float()).abs().mean())


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIPS)
def test_real_clips_equal_those_of_extracted_frames(shared_data: Path, tmp_path: Path, name: str) -> None:
    """An h264 MP4, a VP9 WebM that is named .mp4, an MPEG-4 AVI: the same number of frames, within two grey levels on average."""
    frames, straight = both(shared_data / "clips" / name, tmp_path / "frames")
    assert difference(frames, straight) < 2
    shifted = difference(frames[1:], straight[:-1])
    assert shifted > 1.2 * difference(frames, straight), "a frame off would be seen"
    for k in range(0, len(frames), 48):
        assert torch.equal(read_video(shared_data / "clips" / name, [k], len(frames), 256)[0], straight[k]), k


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("bframes.mp4", (*H264, "-bf", "3", "-g", "10")),
        ("opengop.mkv", (*H264, "-bf", "3", "-g", "8", "-x264-params", "open-gop=1")),
        ("mpeg4.avi", ("-c:v", "mpeg4", "-bf", "2", "-g", "6")),
        ("mpeg4.mp4", ("-c:v", "mpeg4", "-bf", "2", "-g", "6")),
        ("vp9.webm", ("-c:v", "libvpx-vp9", "-g", "9", "-deadline", "realtime", "-cpu-used", "8")),
        ("vp8.webm", ("-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "8", "-g", "12")),
        ("stream.ts", (*H264, "-bf", "2", "-g", "7")),
    ],
)
def test_any_frame_read_alone_equals_that_of_full_decoding(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    file = make_video(tmp_path / name, *options, **SIZE, frames=30)
    frames, straight = both(file, tmp_path / "frames")
    assert len(frames) == 30 and same_frames(frames, straight)
    for k in range(0, 30, 2):
        assert torch.equal(read_video(file, [k], 30, 256)[0], straight[k]), k
    draw = np.random.default_rng(0)
    for _ in range(5):
        some = draw.integers(0, 30, 6).tolist()
        assert torch.equal(read_video(file, some, 30, 256), straight[some])


def test_distant_frames_are_reached_by_seeking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = make_video(tmp_path / "v.mp4", *H264, "-g", "10", "-bf", "0", frames=60)
    count, decoded = 0, video._decoded

    def counting(*args):  # type: ignore[no-untyped-def]
        nonlocal count
        for frame in decoded(*args):
            count += 1
            yield frame

    monkeypatch.setattr(video, "_decoded", counting)
    read_video(file, [1, 57], 60, 256)
    assert count <= 2 + 8


@pytest.mark.parametrize("promised", [20, 40])
def test_a_list_with_another_count_changes_no_frame(tmp_path: Path, promised: int) -> None:
    file = make_video(tmp_path / "v.mp4", *H264, "-g", "6", frames=30)
    assert torch.equal(read_video(file, [3, 17], promised, 256), read_video(file, [3, 17], 30, 256))


@pytest.mark.slow
@pytest.mark.usefixtures("each_ffmpeg")
def test_variable_frame_rate_and_an_edit_list(tmp_path: Path) -> None:
    make_video(tmp_path / "whole.mp4", *H264, "-g", "5", "-bf", "2", **SIZE, frames=30)
    uneven = tmp_path / "uneven.mkv"
    ffmpeg("-i", tmp_path / "whole.mp4", "-vf", "setpts=N*N/25/TB/10", "-fps_mode", "passthrough", *H264, uneven)
    cut = tmp_path / "cut.mp4"  # begins between key frames: an edit list hides what is before
    ffmpeg("-ss", "0.3", "-i", tmp_path / "whole.mp4", "-c", "copy", cut)
    for file in (uneven, cut):
        frames, straight = both(file, tmp_path / file.stem)
        assert same_frames(frames, straight), file.name
        for k in range(0, len(frames), 4):
            assert torch.equal(read_video(file, [k], len(frames), 256)[0], straight[k]), (file.name, k)


@pytest.mark.usefixtures("each_ffmpeg")
@pytest.mark.parametrize("turned", ["90", "180", "270"])
def test_marks_of_rotation_are_applied(tmp_path: Path, turned: str) -> None:
    plain = make_video(tmp_path / "plain.mp4", *H264, **SIZE, frames=4)
    file = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", turned, "-i", plain, "-c", "copy", file)
    frames, straight = both(file, tmp_path / "frames")
    assert straight.shape[-2:] == ((240, 320) if turned == "180" else (320, 240))
    assert same_frames(frames, straight)
    assert not torch.equal(read_video(plain, [0], 4, 256)[0], straight[0])


@pytest.mark.usefixtures("each_ffmpeg")
@pytest.mark.parametrize(
    "marks",
    [
        ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"),
        ("-color_range", "pc", "-pix_fmt", "yuvj420p"),
        (),
    ],
)
def test_sizes_and_colours_are_those_of_extraction(tmp_path: Path, marks: tuple[str, ...]) -> None:
    file = make_video(tmp_path / "v.mp4", *H264, *marks, size="322x182", source="rgbtestsrc", frames=2)
    frames, straight = both(file, tmp_path / "frames", short_side=100)
    assert straight.shape[-2:] == (100, 177)
    assert difference(frames, straight) < 4


# Odd videos: the checker, the reader and extraction agree on each


def changing(folder: Path, *sizes: str, rotation: int = 0) -> Path:
    """Make a video whose picture's size changes in mid-stream: 10 frames of each size, with a mark of rotation in its track header."""
    file = folder / f"{'-'.join(sizes)}.{rotation}.mp4"
    parts = [make_video(folder / f"{size}.h264", *H264, "-bf", "0", size=size, frames=10) for size in sizes]
    (folder / "all.h264").write_bytes(b"".join(part.read_bytes() for part in parts))
    ffmpeg("-r", "25", "-i", folder / "all.h264", "-c", "copy", file)
    if rotation:
        with_matrix(file, math.cos(math.radians(rotation)), math.sin(math.radians(rotation)))
    return file


def with_matrix(file: Path, cos: float, sin: float) -> None:
    """Write a display matrix into a new MP4's track header, in place of the identity."""
    plain, turned = (
        b"".join(round(x).to_bytes(4, "big", signed=True) for x in (65536 * a, 65536 * b, 0, -65536 * b, 65536 * a))
        for a, b in ((1, 0), (cos, sin))
    )
    head, track, rest = file.read_bytes().partition(b"tkhd")
    assert rest.count(plain, 0, 80) == 1
    file.write_bytes(head + track + rest.replace(plain, turned, 1))


def assert_both_routes_agree(file: Path, folder: Path, size: tuple[int, int]) -> None:
    """Assert that extraction and reading give the same frames, of one size (height, width), and any frame alone too."""
    frames, straight = both(file, folder)
    assert straight.shape[-2:] == size and same_frames(frames, straight)
    for k in (0, len(frames) // 2, len(frames) - 1):
        assert torch.equal(read_video(file, [k], len(frames), 256)[0], straight[k]), k


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rot45.mp4", "turned.webm"])
def test_real_odd_videos_are_the_same_by_both_routes(shared_data: Path, tmp_path: Path, name: str) -> None:
    if not (file := shared_data / "odd" / name).exists():
        pytest.skip(f"{file} is not there")
    assert_both_routes_agree(file, tmp_path / "frames", (120, 160))


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [("320x240", "160x120"), ("160x120", "320x240"), ("160x120", "120x160")])
@pytest.mark.parametrize("rotation", [0, 90, 180, 30])
def test_a_picture_that_changes_its_size_keeps_the_first_size(
    tmp_path: Path, sizes: tuple[str, str], rotation: int
) -> None:
    width, height = map(int, sizes[0].split("x"))
    size = (width, height) if rotation == 90 else (height, width)
    assert_both_routes_agree(changing(tmp_path, *sizes, rotation=rotation), tmp_path / "frames", size)


def test_on_its_own_a_later_frame_takes_the_first_frames_size_scaled_down(tmp_path: Path) -> None:
    file = changing(tmp_path, "320x240", "120x160")
    assert extract_video(file, tmp_path / "frames", short_side=100) == 20
    alone = read_video(file, [15], 20, 100)
    assert alone.shape == (1, 3, 100, 133)
    assert difference(read_frames(tmp_path / "frames", [15]), alone) < 10


@pytest.mark.parametrize(
    ("cos", "sin", "size"),
    [
        (0, 0, (240, 320)),  # no matrix of a picture: shown as stored
        (math.cos(math.radians(45)), math.sin(math.radians(45)), (240, 320)),
        (math.cos(math.radians(200)), math.sin(math.radians(200)), (240, 320)),
        (0.00002, 1, (320, 240)),  # a quarter turn, but for rounding
    ],
)
def test_any_display_matrix_is_the_same_by_both_routes(
    tmp_path: Path, cos: float, sin: float, size: tuple[int, int]
) -> None:
    file = make_video(tmp_path / "v.mp4", *H264, **SIZE, frames=4)
    plain = read_video(file, [0], 4, 256)
    with_matrix(file, cos, sin)
    assert_both_routes_agree(file, tmp_path / "frames", size)
    assert torch.equal(plain, read_video(file, [0], 4, 256)) == (cos == sin == 0)


def test_a_title_that_is_not_utf8_stops_nothing(tmp_path: Path) -> None:
    title = b"caf\xe9".decode("utf-8", "surrogateescape")
    for ending in ("avi", "mkv"):
        file = make_video(tmp_path / f"v.{ending}", "-metadata", f"title={title}", frames=3)
        assert b"caf\xe9" in file.read_bytes()
        assert count_video(file) == (3, None) and read_video(file, [2], 3, None).shape == (1, 3, 48, 64)


def odd_videos(folder: Path) -> dict[str, str]:
    """Make videos that cannot be read; return the message expected of each."""
    good = make_video(folder / "good.mp4", *H264, frames=30)
    whole = good.read_bytes()
    (folder / "unknown.mp4").write_bytes(whole.replace(b"avc1", b"zzz1"))
    (folder / "cut.mp4").write_bytes(whole[:-400])
    ffmpeg("-i", good, "-c", "copy", "-movflags", "+faststart", folder / "fast.mp4")
    (folder / "fast.mp4").write_bytes((folder / "fast.mp4").read_bytes()[: len(whole) // 2])
    (folder / "empty.mp4").write_bytes(b"")
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", folder / "sound.mp4")
    for ending in (".mp4", ".avi"):
        make_video(folder / f"two{ending}", frames=3)
    (folder / "loop.mp4").symlink_to("loop.mp4")
    return {
        "unknown.mp4": "cannot be decoded: FFmpeg knows no decoder for its video stream",
        "cut.mp4": "the file is cut short: its header promises 400 bytes more",
        "fast.mp4": "the file is cut short: its header promises ",
        "empty.mp4": "cannot be decoded: ",
        "sound.mp4": "found no video stream",
        "two": "found two.mp4 and two.avi; expected one video of this name: list it with its ending, or rename one",
        "loop.mp4": "no such file; expected a video of this name",
        "a" * 300: "cannot be read: File name too long",
        "gone": "no such file; expected a video of this name",
    }


def test_the_checker_refuses_what_the_reader_refuses_in_the_same_words(tmp_path: Path) -> None:
    expected = odd_videos(tmp_path)
    (tmp_path / "classes.txt").write_text("a\nb\n")
    (tmp_path / "list.csv").write_text("".join(f"{name},0,30\n" for name in expected))
    lists = str(tmp_path / "list.csv")
    cfg = DataConfig(str(tmp_path), lists, lists, source="video", short_side=48, image_size=32, on_bad_clip="skip")
    clips = open_lists(cfg)[0]
    problems = {problem.path: problem.what for problem in check_list(clips, source="video", progress=False)}
    assert list(problems) == list(expected)
    dataset = ClipDataset(clips, cfg, train=False)
    for row, (name, words) in enumerate(expected.items()):
        assert problems[name].startswith(words) or f": {words}" in problems[name], (name, problems[name])
        said = dataset[0, row]
        assert isinstance(said, str), name
        # Of a file cut short at its end the first frames can be read: the reader names what is missing of the others.
        assert said.endswith(problems[name]), name
    undecoded = {problem.path for problem in check_list(clips, source="video", decode=False, progress=False)}
    assert undecoded == {"empty.mp4", "two", "loop.mp4", "a" * 300, "gone"}


def test_a_video_that_the_user_may_not_read_is_named_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = make_video(tmp_path / "v.mp4", frames=3)

    def refused(*_: object, **__: object) -> None:
        raise need_av().error.PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(need_av(), "open", refused)
    words = "cannot be read: Permission denied; give this user permission to read it"
    with pytest.raises(ClipError, match=rf"v\.mp4: {words}$"):
        read_video(file, [0], 3, None)
    assert count_video(file) == (0, words)


def test_frames_that_seeking_does_not_give_are_counted_from_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make_video(tmp_path / "v.mp4", *H264, "-g", "5", frames=20)
    expected = read_video(file, [3, 17], 20, None)

    def failing(*_: object) -> None:
        raise need_av().error.InvalidDataError(1094995529, "Invalid data found when processing input")

    monkeypatch.setattr(video, "_by_times", failing)
    assert torch.equal(read_video(file, [3, 17], 20, None), expected)


def test_a_video_without_frames_is_said_to_have_none(tmp_path: Path) -> None:
    file = tmp_path / "v.y4m"
    file.write_bytes(b"YUV4MPEG2 W64 H48 F25:1 Ip A1:1 C420jpeg\n")
    assert count_video(file)[0] == 0 and count_video(file)[1]
    with pytest.raises(ClipError, match=r"v\.y4m: "):
        read_video(file, [0], 3, None)


def data_set(folder: Path) -> DataConfig:
    for split, frames in (("train", 20), ("val", 12)):
        for label, source in (("bars", "smptebars"), ("test", "testsrc2")):
            make_video(folder / "videos" / split / label / "a.mp4", *H264, size="80x60", source=source, frames=frames)
    assert main(f"extract --root {folder}/videos --out {folder}/frames --short-side 48".split()) == 0
    for split in ("train", "val"):
        for kind, root in (("frames", "frames"), ("video", "videos")):
            command = f"index --root {folder}/{root}/{split} --relative-to {folder}/{root} --source {kind}"
            classes = f"--classes {folder}/classes.txt" if (folder / "classes.txt").exists() else ""
            assert main(f"{command} {classes} --out {folder}/{kind}-{split}.csv".split()) == 0
    lists = {"train_list": str(folder / "video-train.csv"), "val_list": str(folder / "video-val.csv")}
    small = {"num_frames": 4, "short_side": 48, "image_size": 32, "workers": 0}
    return DataConfig(root=str(folder / "videos"), source="video", **lists, **small)  # type: ignore[arg-type]


@pytest.mark.slow
def test_lists_clips_and_a_run_of_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = data_set(tmp_path)
    of_video = (tmp_path / "video-train.csv").read_text()
    assert of_video == "train/bars/a.mp4,0,20\ntrain/test/a.mp4,1,20\n"
    assert of_video.replace(".mp4", "") == (tmp_path / "frames-train.csv").read_text()
    assert main(f"index --check {cfg.val_list} --root {cfg.root} --source video".split()) == 0

    frames_list = str(tmp_path / "frames-train.csv")
    of_frames = dataclasses.replace(cfg, source="frames", root=str(tmp_path / "frames"), train_list=frames_list)
    mixed = dataclasses.replace(cfg, train_list=of_frames.train_list)  # the list of frames, on the videos
    sets = [ClipDataset(open_lists(c)[0], c, train=True, seed=3) for c in (cfg, of_frames, mixed)]
    for epoch in range(3):
        (a, t, label, _), (b, times, same, _), (c, *_) = (dataset[epoch, 1] for dataset in sets)
        assert torch.equal(t, times) and label == same and torch.equal(a, c)
        assert a.dtype == torch.uint8 and difference(a, b) < 10

    params = {
        "run": str(tmp_path / "run"),
        "data": dataclasses.asdict(cfg),
        "model": {"backbone": {"name": "resnet18", "cut": "layer1", "weights": None}, "mde": {"taps": ["layer1"]}},
        "train": {"epochs": 1, "batch_size": 2},
    }
    (tmp_path / "p.yaml").write_text(json.dumps(params))
    assert main(["train", "--params", str(tmp_path / "p.yaml")]) == 0
    checkpoint = ["--checkpoint", str(tmp_path / "run" / "checkpoints" / "last.pt")]
    assert main(["evaluate", *checkpoint, "--protocol", "tsm_twice", "--out", str(tmp_path / "e")]) == 0
    report = json.loads((tmp_path / "e" / "report.json").read_text())
    assert report["videos_scored"] == 2 and report["views"]["source"] == "video"
    capsys.readouterr()
    file = tmp_path / "videos" / "val" / "bars" / "a.mp4"
    assert main(["predict", str(file), str(tmp_path / "frames" / "val" / "bars" / "a"), *checkpoint]) == 0
    assert main(["evaluate", *checkpoint, "--video", str(file)]) == 0


def test_official_annotations_find_video_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = "abcdefghij1"
    make_video(tmp_path / "videos" / "arm wrestling" / f"{video}_000001_000011.mp4", *H264, frames=7)
    (tmp_path / "k.csv").write_text(
        f"label,youtube_id,time_start,time_end,split\narm wrestling,{video},1,11,train\narm wrestling,{video},20,30,train\n"
    )
    command = f"index kinetics700 --annotations {tmp_path}/k.csv --frames {tmp_path}/videos --out {tmp_path}/train.csv --source video"
    assert main(command.split()) == 1, "one of the two is missing"
    assert (tmp_path / "train.csv").read_text() == f"arm wrestling/{video}_000001_000011.mp4,0,7\n"
    missing = (tmp_path / "train.missing.csv").read_text().splitlines()[1:]
    assert missing == [f"3,{video}_20_30,missing: no video file {video}_20_30 or {video}_000020_000030"]
    make_video(tmp_path / "videos" / "arm wrestling" / f"{video}_000001_000011.avi", frames=7)
    assert main(command.split()) == 2, "none of the two can be told"
    said = capsys.readouterr().err
    assert "found the videos of none of the 2 clips, expected <clip>.mp4 or <class>/<clip>.mp4 in it" in said
    assert "_000001_000011.avi and " in said and "_000001_000011.mp4, expected one video file" in said
    make_video(tmp_path / "ssv2" / "74225.webm", "-c:v", "libvpx", frames=5)
    (tmp_path / "s.json").write_text('[{"id": "74225", "template": "Closing [something]"}]')
    (tmp_path / "labels.json").write_text('{"Closing something": "0"}')
    command = f"index ssv2 --annotations {tmp_path}/s.json --labels {tmp_path}/labels.json --frames {tmp_path}/ssv2"
    assert main([*command.split(), "--out", str(tmp_path / "s" / "train.csv"), "--source", "video"]) == 0
    assert (tmp_path / "s" / "train.csv").read_text() == "74225.webm,0,5\n"


def test_each_fault_is_named_with_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = make_video(tmp_path / "good.mp4", *H264, frames=30)
    (tmp_path / "cut.mp4").write_bytes(good.read_bytes()[:-400])
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "classes.txt").write_text("a\nb\n")
    rows = ["good.mp4,0,30", "gone,0,30", "text.mp4,1,30", "good.mp4,0,99", "cut.mp4,0,30"]
    (tmp_path / "list.csv").write_text("".join(f"{row}\n" for row in rows))
    list_file = str(tmp_path / "list.csv")
    cfg = DataConfig(str(tmp_path), list_file, list_file, source="video", short_side=48, image_size=32)
    dataset = ClipDataset(open_lists(cfg)[0], cfg, train=False)
    assert dataset[0, 0][0].shape == (8, 3, 32, 32)
    for row, message in (
        (1, r"list\.csv:2: .*gone: no such file; expected a video of this name, with or without its ending"),
        (2, r"list\.csv:3: .*text\.mp4: cannot be decoded: .*\(the file has 8 bytes\)"),
        (3, r"list\.csv:4: .*good\.mp4: found 30 frames, expected 99 as the list says; list the videos anew"),
    ):
        with pytest.raises(ClipError, match=message):
            dataset[0, row]
    skipping = ClipDataset(open_lists(cfg)[0], dataclasses.replace(cfg, on_bad_clip="skip"), train=False)
    assert "list.csv:2:" in str(skipping[0, 1])
    capsys.readouterr()
    assert main(f"index --check {list_file} --root {tmp_path} --source video".split()) == 1
    said = capsys.readouterr().out
    assert [line.split(":")[1] for line in said.splitlines()] == ["2", "3", "4", "5"] and "cut short" in said


def test_a_list_of_videos_is_not_taken_for_frames(tmp_path: Path) -> None:
    make_video(tmp_path / "v.mp4", frames=4)
    with pytest.raises(ClipError, match=r"v\.mp4: found a file; expected a frame folder, or data\.source=video"):
        read_clip(tmp_path / "v.mp4", 4, DataConfig())


def test_a_name_without_its_ending_is_looked_up(tmp_path: Path) -> None:
    file = make_video(tmp_path / "v.1.webm", "-c:v", "libvpx", frames=2)
    assert find_video(tmp_path / "v.1") == file == find_video(file)
    upper = file.rename(tmp_path / "w.WEBM")  # as cameras write them; a list of extracted frames has no ending
    assert find_video(tmp_path / "w").samefile(upper)


def test_without_pyav_a_run_says_so_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    video.need_av.cache_clear()
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match=r"data\.source: video: found no PyAV; expected the package av"):
        check_paths(DataConfig(source="video"))
    video.need_av.cache_clear()
