"""hitagu_lib/media/encode.py: pictures become a video, and come back from it."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hitagu_lib.errors import ExtractError
from hitagu_lib.media import encode
from hitagu_lib.media.encode import video_writer
from hitagu_lib.media.ffmpeg import frame_rate
from hitagu_lib.prepare.extract import extract_video

COLOURS = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]


def flat(colour: tuple[int, int, int], height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


@pytest.mark.usefixtures("each_ffmpeg")
@pytest.mark.parametrize("name", ["a.mp4", "-50 % of ü.mp4"])
def test_pictures_come_back_in_order_at_their_rate(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with video_writer(Path(name), 64, 48, 12.5) as write:
        for colour in COLOURS:
            write(flat(colour))
        assert not Path(name).exists()
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert frame_rate(tmp_path / name) == 12.5
    assert extract_video(Path(name), Path("out"), short_side=None) == 3
    for number, colour in enumerate(COLOURS, start=1):
        pixels = np.asarray(Image.open(f"out/{number:06d}.jpg")).astype(int)
        assert pixels.shape == (48, 64, 3) and np.abs(pixels - colour).max() < 20


def test_an_error_leaves_the_older_file(tmp_path: Path) -> None:
    file = tmp_path / "a.mp4"
    file.write_text("older")
    with pytest.raises(RuntimeError, match="in between"), video_writer(file, 64, 48, 25) as write:
        write(flat(COLOURS[0]))
        raise RuntimeError("in between")
    with pytest.raises(ValueError, match=r"found uint8 \(48, 62, 3\), expected uint8 \(48, 64, 3\)"):
        with video_writer(file, 64, 48, 25) as write:
            write(flat(COLOURS[0], width=62))
    with (
        pytest.raises(ExtractError, match=r"a\.mp4: found 63 x 48; expected even sizes"),
        video_writer(file, 63, 48, 25),
    ):
        pass
    assert file.read_text() == "older" and list(tmp_path.iterdir()) == [file]


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_an_error_leaves_no_pipe_open(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="in between"), video_writer(tmp_path / "a.mp4", 64, 48, 25) as write:
        write(flat(COLOURS[0]))
        raise RuntimeError("in between")
    stdin = inspect.getclosurevars(write).nonlocals["stdin"]
    assert stdin.closed


def test_an_encoding_error_has_the_message_of_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ffmpeg without libx264 stops while pictures are still being written."""
    fake = tmp_path / "ffmpeg"
    fake.write_text("#!/bin/sh\necho \"Unknown encoder 'libx264'\" >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(encode, "ffmpeg_path", lambda: str(fake))
    with pytest.raises(ExtractError, match=r"could not write this video: Unknown encoder 'libx264'"):
        with video_writer(tmp_path / "a.mp4", 1024, 1024, 25) as write:
            for _ in range(100):
                write(flat(COLOURS[0], 1024, 1024))
    assert not (tmp_path / "a.mp4").exists()
