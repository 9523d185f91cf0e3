"""What several test files are fed with: folders of frames, small videos; and what they look at afterwards."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

from hitagu_lib.media.ffmpeg import ffmpeg_path


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
    done = subprocess.run(
        [ffmpeg_path(), "-nostdin", "-y", "-v", "error", *map(str, args)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def make_video(
    file: Path, *options: str, source: str = "testsrc2", size: str = "64x48", rate: int = 25, frames: int = 8
) -> Path:
    """A small video that a filter of ffmpeg draws; MPEG-4 unless the options say otherwise."""
    file.parent.mkdir(parents=True, exist_ok=True)
    separator = ":" if "=" in source else "="
    codec = [] if "-c:v" in options or file.suffix == ".webm" else ["-c:v", "mpeg4", "-q:v", "2"]
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        f"{source}{separator}size={size}:rate={rate}",
        "-frames:v",
        str(frames),
        *codec,
        *options,
        file,
    )
    return file


def sizes(folder: Path) -> set[tuple[int, int]]:
    return {Image.open(file).size for file in folder.glob("*.jpg")}


def hidden(folder: Path) -> list[str]:
    """Leftovers in the making, at any depth."""
    return [path.name for path in folder.rglob(".*.partial-*")]
