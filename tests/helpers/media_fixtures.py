"""Inputs for tests, such as frame folders and small videos, and what tests look at afterwards."""

from __future__ import annotations

import io
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image


def jpeg(width: int = 16, height: int = 12, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def make_clip(folder: Path, frames: int = 3) -> Path:
    folder.mkdir(parents=True)
    for number in range(1, frames + 1):
        (folder / f"{number:06d}.jpg").write_bytes(jpeg(seed=number))
    return folder


def ffmpeg(*args: str | Path) -> str:
    """Run ffmpeg to make an input: always imageio-ffmpeg's, so that inputs are the same whatever the system has."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", "-v", "error", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def make_video(
    file: Path, *options: str, source: str = "testsrc2", size: str = "64x48", rate: int = 25, frames: int = 8
) -> Path:
    """Write a small video drawn by a filter of ffmpeg: MPEG-4 unless the options say otherwise."""
    file.parent.mkdir(parents=True, exist_ok=True)
    separator = ":" if "=" in source else "="
    codec = [] if "-c:v" in options or file.suffix == ".webm" else ["-c:v", "mpeg4", "-q:v", "2"]
    drawn = f"{source}{separator}size={size}:rate={rate}"
    ffmpeg("-f", "lavfi", "-i", drawn, "-frames:v", str(frames), *codec, *options, file)
    return file


def pictures(file: Path, count: int = 1) -> None:
    """Write grey pictures, in the format that the file's ending names: one still, or an animation."""
    drawn = [Image.fromarray(np.full((24, 32, 3), 40 * i, np.uint8)) for i in range(count)]
    drawn[0].save(file, save_all=True, append_images=drawn[1:], duration=100) if count > 1 else drawn[0].save(file)


def audio_only(file: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", file)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail a test that would otherwise wait for ever. (POSIX only, in the main thread.)"""

    def late(*_: object) -> None:
        raise AssertionError(f"waited for {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    # Again every second: leaving a thread pool waits too.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def sizes(folder: Path) -> set[tuple[int, int]]:
    return {Image.open(file).size for file in folder.glob("*.jpg")}


def hidden(folder: Path) -> list[str]:
    """Return the names of unfinished frame folders, at any depth."""
    return [path.name for path in folder.rglob(".*.partial-*")]
