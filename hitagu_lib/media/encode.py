"""Encode pictures to a video that browsers play: H.264 in MP4, 4:2:0, with its index in front, without sound."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hitagu_lib.errors import ExtractError
from hitagu_lib.files import replacing
from hitagu_lib.media.ffmpeg import ffmpeg_path, said_last


@contextmanager
def video_writer(file: Path, width: int, height: int, fps: float) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """Open a new MP4 and yield a function that appends one picture, uint8 (height, width, 3) RGB. Sizes must be even.

    The file appears, complete, when the context ends. After an error there is none, and an older file of that name stays
    as it was. Raises ExtractError with ffmpeg's message if it cannot encode.
    """
    if width % 2 or height % 2:
        raise ExtractError(f"{file}: found {width} x {height}; expected even sizes, as 4:2:0 requires")
    ffmpeg = ffmpeg_path()
    # Messages go to a file: a pipe that nobody reads would fill up and block ffmpeg.
    with replacing(Path(os.path.abspath(file))) as aside, tempfile.TemporaryFile() as messages:
        command = [ffmpeg, "-hide_banner", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]
        command += ["-s", f"{width}x{height}", "-r", f"{fps:g}", "-i", "-"]
        command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p"]
        command += ["-movflags", "+faststart", "-f", "mp4", str(aside)]
        # ffmpeg gets its own process group, so that Ctrl-C reaches this program alone, which then ends ffmpeg.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=messages, process_group=0
        )
        assert process.stdin is not None
        stdin = process.stdin

        def failed() -> ExtractError:
            messages.seek(0)
            said = messages.read().decode(errors="replace")
            advice = "; expected an ffmpeg with libx264" if "Unknown encoder" in said else ""
            return ExtractError(
                f"{file}: {ffmpeg} could not write this video: {said_last(said) or '(no message)'}{advice}"
            )

        def write(picture: NDArray[np.uint8]) -> None:
            if picture.shape != (height, width, 3) or picture.dtype != np.uint8:
                raise ValueError(f"found {picture.dtype} {picture.shape}, expected uint8 {(height, width, 3)}")
            try:
                stdin.write(np.ascontiguousarray(picture).data)
            except BrokenPipeError:
                process.wait()
                raise failed() from None

        try:
            yield write
            with suppress(BrokenPipeError):
                stdin.close()
            if process.wait():
                raise failed()
        finally:
            process.kill()  # does nothing if it has ended
            process.wait()
            with suppress(OSError):  # what is left cannot be written
                stdin.close()
