"""hitagu_lib/media/ffmpeg.py, mostly through extract_video: ffmpeg runs on small videos made here and on real ones."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_fixtures import audio_only, ffmpeg, hidden, make_video, pictures, sizes, within
from PIL import Image

from hitagu_lib.errors import ExtractError
from hitagu_lib.media.ffmpeg import _each_frame_once, ffmpeg_path, frame_rate, missing_bytes, why_not_a_video
from hitagu_lib.prepare.extract import extract_video

posix = pytest.mark.skipif(os.name != "posix", reason="shell scripts are POSIX's")


def brightness(folder: Path) -> list[float]:
    return [float(np.asarray(Image.open(file).convert("L")).mean()) for file in sorted(folder.glob("*.jpg"))]


# One video


@pytest.mark.usefixtures("each_ffmpeg")
def test_frames_are_numbered_from_one_and_scaled_by_the_short_side(tmp_path: Path) -> None:
    video = make_video(tmp_path / "50% off: a, b.mp4", frames=12)  # a pattern, a protocol and a comma
    out = tmp_path / "frames" / video.stem
    assert extract_video(video, out, short_side=24) == 12
    assert sorted(path.name for path in out.iterdir()) == [".extract.json", *(f"{i:06d}.jpg" for i in range(1, 13))]
    assert sizes(out) == {(32, 24)}
    assert json.loads((out / ".extract.json").read_text()) == {
        "short_side": 24, "fps": None, "quality": 2, "source_bytes": video.stat().st_size, "frames": 12,
    }  # fmt: skip
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("short_side", [48, 256, None])
def test_frames_are_never_enlarged(tmp_path: Path, short_side: int | None) -> None:
    for size in ((64, 48), (48, 64), (48, 48)):
        out = tmp_path / f"{size}"
        extract_video(
            make_video(tmp_path / f"{size}.mp4", size="{}x{}".format(*size), frames=2), out, short_side=short_side
        )
        assert sizes(out) == {size}


@pytest.mark.usefixtures("each_ffmpeg")
def test_upright_video_is_scaled_by_its_width(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", size="48x64", frames=2)
    extract_video(video, tmp_path / "a", short_side=24)
    assert sizes(tmp_path / "a") == {(24, 32)}


@pytest.mark.usefixtures("each_ffmpeg")
def test_rotation_marks_are_applied_before_scaling(tmp_path: Path) -> None:
    video = make_video(
        tmp_path / "a.mp4", "-vf", "drawbox=x=32:w=32:h=48:color=white:t=fill", source="color=c=black", frames=2
    )
    data = bytearray(video.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # the track's matrix, 9 numbers of 4 bytes
    turned = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)  # a quarter turn clockwise, as phones write it
    data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in turned)
    video.write_bytes(data)
    extract_video(video, tmp_path / "a", short_side=24)
    assert sizes(tmp_path / "a") == {(24, 32)}
    picture = np.asarray(Image.open(tmp_path / "a" / "000001.jpg").convert("L"))
    assert picture[:12].max() < 60 and picture[20:].min() > 190  # left has become top


@pytest.mark.usefixtures("each_ffmpeg")
def test_every_frame_comes_once_where_times_collide_or_gap(tmp_path: Path) -> None:
    # 5000 frames a second, in WebM's milliseconds: five frames share each time. Then a gap of two seconds.
    ramp = "color=c=black:r=5000,format=gray,geq=lum='20+N*9',setpts='N+gte(N,15)*10000'"
    video = tmp_path / "vfr.webm"
    lossless = ["-fps_mode", "passthrough", "-c:v", "libvpx-vp9", "-lossless", "1", "-cpu-used", "8"]
    ffmpeg("-f", "lavfi", "-i", ramp, "-frames:v", "25", *lossless, video)
    assert extract_video(video, tmp_path / "vfr") == 25
    steps = np.diff(brightness(tmp_path / "vfr"))
    assert steps.min() > 5 and steps.max() < 15  # in order, none left out, none twice


@pytest.mark.usefixtures("each_ffmpeg")
def test_fps_drops_or_repeats_frames_to_the_rate(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", rate=30, frames=60)
    assert extract_video(video, tmp_path / "five", fps=5) == 10
    assert extract_video(video, tmp_path / "sixty", fps=60) == 120


def test_quality_is_ffmpegs(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", frames=1)
    for quality in (2, 31):
        extract_video(video, tmp_path / str(quality), quality=quality)
    fine, coarse = ((tmp_path / q / "000001.jpg").stat().st_size for q in ("2", "31"))
    assert fine > 1.5 * coarse


@pytest.mark.usefixtures("each_ffmpeg")
def test_cover_pictures_are_no_video(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=c=red:size=32x32", "-frames:v", "1", tmp_path / "cover.png")
    song = tmp_path / "song.mp4"
    sound = ["-f", "lavfi", "-i", "sine=duration=0.2"]
    ffmpeg(*sound, "-i", tmp_path / "cover.png", "-c:v", "copy", "-disposition:v:0", "attached_pic", song)
    with pytest.raises(ExtractError, match="no video stream"):
        extract_video(song, tmp_path / "song")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "frames", "size"),
    [
        ("arm_wrestling.mp4", 280, (340, 256)),
        ("poking_166766.mp4", 49, (427, 240)),  # VP9 in WebM, whatever its name says
        ("test_mpeg4.avi", 164, (320, 240)),
    ],
)
def test_real_videos(shared_data: Path, tmp_path: Path, name: str, frames: int, size: tuple[int, int]) -> None:
    assert extract_video(shared_data / "clips" / name, tmp_path / "out") == frames
    assert sizes(tmp_path / "out") == {size}


def test_settings_are_checked(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", frames=1)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"short_side": 0}, "short_side: found 0, expected 8 to"),
        ({"fps": 0}, "fps: found 0, expected"),
        ({"fps": float("nan")}, "fps: found nan, expected"),
        ({"quality": 1}, "quality: found 1, expected ffmpeg's 2"),
        ({"quality": 32}, "quality: found 32, expected"),
    ]
    for settings, message in wrong:
        with pytest.raises(ExtractError, match=message):
            extract_video(video, tmp_path / "a", **settings)
    assert not (tmp_path / "a").exists()


# Videos that are damaged or cut short


BROKEN: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "zero bytes": ("v.mp4", lambda f: f.write_bytes(b""), r"Invalid data found.*\(the file has 0 bytes\)"),
    "no video at all": ("v.mp4", lambda f: f.write_bytes(b"\0no" * 100), "Invalid data found"),
    "an error page": (
        "v.mp4",
        lambda f: f.write_text("<!DOCTYPE html>\n<p>ö" * 300),
        "text, not a video: it begins with '<!DOCTYPE",
    ),
    "text": ("v.txt", lambda f: f.write_text("hello"), "text, not a video: it begins with 'hello'"),
    "no index": (
        "v.mp4",
        lambda f: f.write_bytes(b"\0\0\0\x10ftypisom\0\0\0\0"),
        "no whole MP4: cut short, or no video; ",
    ),
    "no video stream": ("v.mp4", audio_only, "no video stream"),
    "missing": ("v.mp4", lambda f: None, "cannot read this video: No such file"),
}


@pytest.mark.usefixtures("each_ffmpeg")
@pytest.mark.parametrize(("name", "make", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_video_fails_and_leaves_nothing(
    tmp_path: Path, name: str, make: Callable[[Path], object], message: str
) -> None:
    video = tmp_path / name
    make(video)
    with pytest.raises(ExtractError, match=message) as caught:
        extract_video(video, tmp_path / "out" / "v")
    assert str(caught.value).startswith(f"{video}: ")
    assert not (tmp_path / "out" / "v").exists()
    assert hidden(tmp_path) == []


@pytest.mark.usefixtures("each_ffmpeg")
def test_the_reason_is_ffmpegs_own_last_line(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"\0x" * 250)
    said = subprocess.run(
        [ffmpeg_path(), "-v", "error", "-i", tmp_path / "v.mp4", "-f", "null", "-"], capture_output=True, text=True
    )
    last = said.stderr.strip().splitlines()[-1].removeprefix(f"{tmp_path / 'v.mp4'}: ")  # our message names it already
    assert last
    with pytest.raises(ExtractError) as caught:
        extract_video(tmp_path / "v.mp4", tmp_path / "v")
    assert last in str(caught.value)


@pytest.mark.slow
@pytest.mark.usefixtures("each_ffmpeg")
@pytest.mark.parametrize("kind", ["mp4", "faststart.mp4", "sound.mp4", "mkv", "webm", "avi", "mov"])
def test_a_video_cut_short_is_never_taken_for_a_short_video(tmp_path: Path, kind: str) -> None:
    options = {
        "faststart.mp4": ["-movflags", "+faststart"],
        "sound.mp4": ["-movflags", "+faststart"],
        "webm": ["-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime"],
    }.get(kind, [])
    whole = make_video(tmp_path / f"whole.{kind}", *options, frames=25)
    if kind == "sound.mp4":  # the cut may then fall where no video packet is
        sound = ["-f", "lavfi", "-i", "sine=duration=1", "-c:v", "copy", "-b:a", "128k"]
        ffmpeg("-i", whole, *sound, *options, tmp_path / "with.mp4")
        whole = tmp_path / "with.mp4"
    assert extract_video(whole, tmp_path / "whole") == 25
    data = whole.read_bytes()
    video = tmp_path / f"cut{whole.suffix}"
    for part in (0.3, 0.55, 0.7, 0.83, 0.9):
        video.write_bytes(data[: int(len(data) * part)])
        with pytest.raises(ExtractError):
            extract_video(video, tmp_path / "cut")
        assert not (tmp_path / "cut").exists()


@pytest.mark.usefixtures("each_ffmpeg")
def test_an_mp4_cut_between_two_frames_is_noticed_by_its_header(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mp4", "-movflags", "+faststart", frames=10)
    data = whole.read_bytes()
    starts = [at for at in range(len(data)) if data.startswith(b"\0\0\1\xb6", at)]  # MPEG-4's mark before each frame
    assert len(starts) >= 10
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: starts[-4]])
    with pytest.raises(ExtractError, match=r"the file is cut short|partial file|corrupt"):
        extract_video(cut, tmp_path / "cut")


@pytest.mark.usefixtures("each_ffmpeg")
def test_a_frame_that_ffmpeg_had_to_patch_up_fails_the_video(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", "-g", "1", size="320x240", frames=6)
    data = bytearray(video.read_bytes())
    third = [at for at in range(len(data)) if data.startswith(b"\0\0\1\xb6", at)][2]
    data[third + 800 : third + 1000] = b"\x55" * 200
    video.write_bytes(data)
    ffmpeg("-i", video, "-f", "null", "-")  # without -xerror, ffmpeg accepts it
    with pytest.raises(ExtractError):
        extract_video(video, tmp_path / "a")


@pytest.mark.usefixtures("each_ffmpeg")
def test_complaints_that_cost_no_frame_are_not_failures(tmp_path: Path) -> None:
    # A clip that was cut out of a longer video without re-encoding begins with references to frames that it does not have.
    h264 = ["-c:v", "libx264", "-x264-params", "open-gop=1:keyint=25:bframes=3:b-pyramid=2"]
    long = make_video(tmp_path / "long.mp4", *h264, frames=120)
    clip = tmp_path / "clip.mp4"
    ffmpeg("-ss", "2", "-i", long, "-t", "2", "-c", "copy", clip)
    assert ffmpeg("-i", clip, "-f", "null", "-"), "ffmpeg no longer complains: this test needs another video"
    assert extract_video(clip, tmp_path / "clip") >= 45


@pytest.mark.slow
@pytest.mark.usefixtures("each_ffmpeg")
def test_a_fast_start_mp4_that_is_cut_short_fails_with_the_number_of_missing_bytes(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mp4", "-c:v", "libx264", "-movflags", "+faststart", size="320x240", frames=25)
    data = whole.read_bytes()
    for missing in (1, 300, len(data) // 2):  # the last one also cuts off frames that the index promises
        cut = tmp_path / f"cut{missing}.mp4"
        cut.write_bytes(data[:-missing])
        with pytest.raises(ExtractError, match=rf"cut short: its header promises {missing} bytes more") as caught:
            extract_video(cut, tmp_path / "cut")
        assert not re.search("error code|return code|-[0-9]{8}", str(caught.value)), "no internals of ffmpeg"


@pytest.mark.usefixtures("each_ffmpeg")
def test_a_real_fast_start_mp4_that_is_cut_short_fails_likewise(shared_data: Path, tmp_path: Path) -> None:
    with pytest.raises(ExtractError, match=r"cutfs\.mp4: the file is cut short: its header promises 6941 bytes more; "):
        extract_video(shared_data / "odd" / "cutfs.mp4", tmp_path / "cut")


# What is a video


def renamed(kind: str) -> Callable[[Path], object]:
    """Make a video in a container that ffmpeg chooses by `kind`, then give it the file's name."""
    options = ["-c:v", "rawvideo", "-pix_fmt", "yuv420p"] if kind == "y4m" else []
    return lambda f: make_video(f.with_name(f"made.{kind}"), *options, frames=4).rename(f)


ASKED: dict[str, tuple[str, Callable[[Path], object], str | None]] = {
    "a transport stream": ("a.MOD", renamed("ts"), None),
    "an MP4 without an ending": ("clip", renamed("mp4"), None),
    "an animated GIF": ("a.gif", lambda f: pictures(f, 4), None),
    "raw video": ("a.yuv4", renamed("y4m"), None),
    "a GIF of one picture": ("a.gif", lambda f: pictures(f, 1), "a still picture"),
    "a JPEG": ("a.jpg", lambda f: pictures(f, 1), "a still picture"),
    "a PNG": ("a.png", lambda f: pictures(f, 1), "a still picture"),
    "sound": ("a.m4a", audio_only, "no video stream"),
    "text": ("a.txt", lambda f: f.write_text("hello"), "text"),
    "bytes": ("a.bin", lambda f: f.write_bytes(b"\0no" * 100), "no format that ffmpeg knows"),
    "nothing": ("a.MTS", lambda f: f.write_bytes(b""), "an empty file"),
    "a folder": ("a", lambda f: f.mkdir(), "a folder"),
}


@pytest.mark.slow
@pytest.mark.usefixtures("each_ffmpeg")
@pytest.mark.parametrize(("name", "make", "why"), ASKED.values(), ids=ASKED.keys())
def test_the_content_and_not_the_name_says_whether_a_file_is_a_video(
    tmp_path: Path, name: str, make: Callable[[Path], object], why: str | None
) -> None:
    make(tmp_path / name)
    assert why_not_a_video(tmp_path / name) == why
    if why is None:
        assert extract_video(tmp_path / name, tmp_path / "out") == 4


@pytest.mark.usefixtures("each_ffmpeg")
def test_an_animated_webp_is_read_or_named(tmp_path: Path) -> None:
    """ffmpeg reads them since version 8."""
    pictures(tmp_path / "a.webp", 4)
    if why := why_not_a_video(tmp_path / "a.webp"):
        assert why == "an animated WebP, which this ffmpeg cannot decode; convert it to MP4 or GIF"
    else:
        assert extract_video(tmp_path / "a.webp", tmp_path / "out") == 4


@posix
def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "disk")
    with within(20):
        assert why_not_a_video(tmp_path / "pipe.mp4") == "a named pipe"
        assert why_not_a_video(Path("/dev/null")) == "a device"
        with pytest.raises(ExtractError, match=r"pipe\.mp4: a named pipe, expected a video file"):
            extract_video(tmp_path / "pipe.mp4", tmp_path / "out")
    assert str(why_not_a_video(tmp_path / "gone.mp4")).startswith(
        f"a link to {tmp_path / 'disk'}, which cannot be reached"
    )


@pytest.mark.parametrize("kind", ["webm", "mkv"])
def test_a_matroska_file_that_is_cut_short_promises_more_bytes(tmp_path: Path, kind: str) -> None:
    whole = make_video(tmp_path / f"whole.{kind}", frames=25)
    data = whole.read_bytes()
    assert missing_bytes(whole) == 0
    for kept in (len(data) - 1, len(data) // 2):
        (tmp_path / f"cut.{kind}").write_bytes(data[:kept])
        assert missing_bytes(tmp_path / f"cut.{kind}") == len(data) - kept


@pytest.mark.parametrize(("kind", "codec"), [("matroska", "mpeg4"), ("webm", "libvpx-vp9"), ("avi", "mpeg4")])
def test_a_file_that_was_written_to_a_pipe_does_not_know_its_length(tmp_path: Path, kind: str, codec: str) -> None:
    source = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=12", "-frames:v", "5", "-c:v", codec, "-f", kind, "-"]
    piped = tmp_path / f"piped.{kind}"
    piped.write_bytes(subprocess.run([ffmpeg_path(), "-v", "error", *source], capture_output=True, check=True).stdout)
    assert missing_bytes(piped) == 0 and extract_video(piped, tmp_path / "frames") == 5


def test_a_high_rate_that_the_times_bear_out_is_the_stated_one(tmp_path: Path) -> None:
    """The last packet of a video with B-frames is not the last to be shown, so what is measured is a little off."""
    video = make_video(tmp_path / "fast.mp4", "-c:v", "libx264", "-bf", "3", rate=240, frames=24)
    assert frame_rate(video) == 240


@posix
def test_a_pipe_is_not_opened_again_to_look_for_missing_bytes(tmp_path: Path) -> None:
    """Opening it would wait for a writer for ever."""
    os.mkfifo(tmp_path / "pipe.mp4")
    assert missing_bytes(tmp_path / "pipe.mp4") == 0


# Which ffmpeg


def test_the_ffmpeg_on_path_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "ffmpeg.exe" if os.name == "nt" else "ffmpeg"
    (tmp_path / name).write_bytes(b"")
    (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Path(ffmpeg_path()) == tmp_path / name
    (tmp_path / name).unlink()
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    assert ffmpeg_path() == imageio_ffmpeg.get_ffmpeg_exe()
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ExtractError, match="found no ffmpeg on PATH and none in the package imageio-ffmpeg; expected"):
        ffmpeg_path()


@posix
def test_an_old_ffmpeg_is_asked_by_the_options_old_name(tmp_path: Path) -> None:
    for name, option in (("old", "-vsync"), ("new", "-fps_mode[:<stream_spec>]")):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{option}   video sync method'\n")
        (tmp_path / name).chmod(0o755)
    assert _each_frame_once(str(tmp_path / "old")) == ["-vsync", "0"]
    assert _each_frame_once(str(tmp_path / "new")) == ["-fps_mode", "passthrough"]


@posix
def test_a_crash_of_ffmpeg_is_named_and_does_not_pass_for_an_unknown_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = make_video(tmp_path / "clip.mod", "-f", "mpegts", frames=2)
    script = tmp_path / "bin" / "ffmpeg"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\nkill -SEGV $$\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    assert why_not_a_video(video) == "cannot be read: ffmpeg crashed (signal 11)"
    with pytest.raises(ExtractError, match=r"clip\.mod: ffmpeg crashed \(signal 11\)"):
        extract_video(video, tmp_path / "out")


# The rate


@pytest.mark.usefixtures("each_ffmpeg")
@pytest.mark.parametrize(
    ("name", "rate", "options", "stated"),
    [
        ("a.mp4", "25", [], 25),
        ("a.mkv", "30000/1001", [], 29.97),
        ("a.avi", "12.5", [], 12.5),
        ("a.webm", "10", ["-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime"], 10),
        # As browsers record: 1k fps stated, but ten frames per second by their timestamps.
        ("b.webm", "1000", ["-vf", "settb=1/1000,setpts=N*100", "-fps_mode", "passthrough", "-c:v", "libvpx-vp9"], 10),
    ],
)
def test_the_rate_is_the_one_the_file_states(
    tmp_path: Path, name: str, rate: str, options: list[str], stated: float
) -> None:
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=size=64x48:rate={rate}", "-frames:v", "5", *options, tmp_path / name)
    assert frame_rate(tmp_path / name) == pytest.approx(stated, rel=0.01)


@pytest.mark.usefixtures("each_ffmpeg")
def test_what_has_no_pictures_states_no_rate(tmp_path: Path) -> None:
    audio_only(tmp_path / "a.mp4")
    (tmp_path / "b.mp4").write_bytes(b"\0no")
    assert frame_rate(tmp_path / "a.mp4") is None and frame_rate(tmp_path / "b.mp4") is None
