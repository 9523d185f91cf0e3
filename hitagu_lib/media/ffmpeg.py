"""One run of ffmpeg: write the frames of a video to a folder, and check that all of them are there.

    video -> command -> ffmpeg -> exit code, messages -> length that the file promises -> count of 000001.jpg ... N

The frames are the video's own: each decoded frame once, in order, upright (rotation marks are applied), with its stored
pixels (marks of non-square pixels are ignored, as is usual in the field), as 4:2:0 JPEG.

Which videos fail: with -xerror, ffmpeg stops at a packet that it cannot read or decode and at a frame that it had to
repair. It does not stop at complaints that cost no frame, such as "mmco: unref short failure" in a clip that was cut out
without re-encoding (common in Kinetics). Even so, a truncated file can pass for a short video. Therefore a video also
fails if a demuxer reports the truncation, or if its MP4, MOV or AVI header promises more bytes than the file has. In formats
that state no length, truncation can go unnoticed: mostly in MPEG-TS, now and then in FLV, WMV, MPEG and fragmented MP4.
"""

from __future__ import annotations

import codecs
import math
import os
import re
import shutil
import stat
import subprocess
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

from PIL import Image

from hitagu_lib.errors import ExtractError
from hitagu_lib.media.frame_folder import FRAME_NAME, count_frames

VIDEO_SUFFIXES = (
    *(".mp4", ".webm", ".avi", ".mkv", ".mov", ".m4v", ".mpg", ".mpeg", ".flv", ".wmv", ".ts", ".3gp"),
    *(".mts", ".m2ts", ".vob", ".ogv", ".asf", ".dv", ".3g2", ".mxf"),
)
"""A file with one of these endings is a video without asking ffmpeg; if it is not, its extraction fails."""

CANNOT_READ = "cannot be read"
"""How the reason begins if nobody can tell what a file is."""

_BOXES = b"ftyp moov mdat moof mfra free skip wide pnot udta uuid meta sidx styp emsg prft pdin".split()
_CUT_SHORT = ("partial file", "File ended prematurely")
"""What ffmpeg's MP4 and Matroska demuxers report when a file ends early; they do not fail, even under -xerror."""
_DISK_FULL = ("No space left on device", "Disk quota exceeded")
_INTERNALS = re.compile(r"Task finished with error code|Terminating thread with return code|Conversion failed!")
"""Lines in which ffmpeg reports how it stopped, not why."""


@dataclass(frozen=True)
class Settings:
    """The settings of the frames, as extract_video describes them. Raises ExtractError for a value out of range."""

    short_side: int | None = 256
    fps: float | None = None
    quality: int = 2

    def __post_init__(self) -> None:
        if self.short_side is not None and not (_is_int(self.short_side) and 8 <= self.short_side <= 16384):
            raise ExtractError(
                f"short_side: found {self.short_side!r}, expected 8 to 16384 pixels, or None to keep the size"
            )
        if self.fps is not None and not (math.isfinite(self.fps) and 0 < self.fps <= 1000):
            raise ExtractError(
                f"fps: found {self.fps!r}, expected frames a second above 0, or None to keep every frame"
            )
        if not (_is_int(self.quality) and 2 <= self.quality <= 31):
            raise ExtractError(f"quality: found {self.quality!r}, expected ffmpeg's 2 (best) to 31 (smallest)")


class RunError(ExtractError):
    """An error that is not the fault of one video: the next one would meet it too."""


def ffmpeg_path() -> str:
    """Return the ffmpeg on PATH, or else the one in the package imageio-ffmpeg.

    Raises ExtractError if there is neither.
    """
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise RunError(
            "found no ffmpeg on PATH and none in the package imageio-ffmpeg; expected one of them: "
            "`pip install imageio-ffmpeg`, `apt-get install ffmpeg` or `conda install -c conda-forge ffmpeg`"
        ) from error


def run_ffmpeg(video: Path, folder: Path, settings: Settings, run: str) -> int:
    """Write the frames of the video to the folder, check them, and return their number.

    run: the name under which `stop_run` finds this ffmpeg. Raises ExtractError with ffmpeg's message.
    """
    # ffmpeg's own message would say less, and it draws some text files as pictures of their letters.
    if begins := _text_beginning(video):
        raise ExtractError(f"{video}: text, not a video: it begins with {begins!r}")
    ffmpeg = ffmpeg_path()
    code, said = _wait_for(_command(ffmpeg, video, folder, settings), run)
    if code != 0 and (first := folder / FRAME_NAME.format(1)).exists():
        # Perhaps the picture's size changed. If so, all frames take the first one's size; if not, this fails again.
        with Image.open(first) as picture:
            size = picture.size
        for frame in folder.glob("*.jpg"):
            frame.unlink()
        code, said = _wait_for(_command(ffmpeg, video, folder, settings, size), run)
    silent = f"ffmpeg crashed (signal {-code})" if code < 0 else f"ffmpeg ended with code {code} and no message"
    reason = said_last(said).replace(f"{video}: ", "") or ("" if code == 0 else silent)
    if any(words in said for words in _DISK_FULL):
        raise RunError(f"{folder.parent}: {reason}; free some space and run again: finished videos are kept")
    length, missing = video.stat().st_size, missing_bytes(video)
    if "matches no streams" in said:
        reason = "no video stream"  # ffmpeg's advice is for its own command line
    if missing:  # this is the cause, and what ffmpeg met is the effect
        reason = "; ".join(filter(None, [f"the file is cut short: its header promises {missing} bytes more", reason]))
    elif "moov atom not found" in said and length:
        reason = f"no whole MP4: cut short, or no video; {reason}"
    if missing or code != 0 or any(words in said for words in _CUT_SHORT):
        raise ExtractError(f"{video}: {reason}" + (" (the file has 0 bytes)" if length == 0 else ""))
    count, fault = count_frames(folder)
    if fault:
        raise ExtractError(
            f"{video}: ffmpeg made no frames: {reason or 'it gave no reason'}" if not count else f"{video}: {fault}"
        )
    return count


def run_ffmpeg_once(videos: Mapping[Path, Path], settings: Settings) -> dict[Path, int]:
    """Write the frames of each short video to its folder, with one ffmpeg for all, check them, and return video -> their number.

    Raises ExtractError if any of it fails; `run_ffmpeg` then tells which video and why.
    """
    ffmpeg = ffmpeg_path()
    outputs = [_output(ffmpeg, i, folder, settings) for i, folder in enumerate(videos.values())]
    code, said = _wait_for([*_inputs(ffmpeg, videos), *chain(*outputs)], run="")
    counts = {video: count_frames(folder) for video, folder in videos.items()}
    if code != 0 or said or any(fault for _, fault in counts.values()):
        raise ExtractError(
            f"{next(iter(videos))}: ffmpeg failed on this video or one of the {len(videos)} read with it"
        )
    return {video: count for video, (count, _) in counts.items()}


def _command(
    ffmpeg: str, video: Path, folder: Path, settings: Settings, size: tuple[int, int] | None = None
) -> list[str]:
    """Return the command that writes the video's frames. size: of every frame, where the video's own changes in mid-stream."""
    return [*_inputs(ffmpeg, [video]), *_output(ffmpeg, 0, folder, settings, size)]


def _inputs(ffmpeg: str, videos: Iterable[Path]) -> list[str]:
    command = [ffmpeg, "-nostdin", "-hide_banner", "-v", "error", "-xerror", "-filter_threads", "1"]
    for video in videos:
        # a playlist named .mp4 fetches nothing
        command += ["-threads", "1", "-protocol_whitelist", "file", "-i", str(video)]
    return command


def _output(
    ffmpeg: str, video: int, folder: Path, settings: Settings, size: tuple[int, int] | None = None
) -> list[str]:
    """Return the options that write the frames of input number `video`."""
    filters = [] if settings.fps is None else [f"fps={settings.fps!r}"]
    if size:
        # ffmpeg starts its filters anew where the picture's size changes: these keep the first size and the video's own times.
        filters += [f"scale={size[0]}:{size[1]}", "settb=1/1000000"]
    else:
        if short := settings.short_side:
            # The shorter side, upright (rotation comes first); the other one follows at the same scale.
            filters += [f"scale=w='if(gt(iw,ih),-1,min(iw,{short}))':h='if(gt(iw,ih),min(ih,{short}),-1)'"]
        # Numbered times: with its own, a video whose times collide at the encoder's resolution loses frames or fails
        # (Something-Something's WebM does).
        filters += ["settb=1/25", "setpts=N"]
    options = ["-map", f"{video}:V:0", "-vf", ",".join(filters), *_each_frame_once(ffmpeg)]
    options += ["-enc_time_base", "1:1000000" if size else "1:25"]
    options += ["-pix_fmt", "yuvj420p", "-q:v", str(settings.quality), "-threads", "1", "-f", "image2"]
    return [*options, str(folder).replace("%", "%%") + os.sep + "%06d.jpg"]


_lock = threading.Lock()
_running: dict[subprocess.Popen[str], str] = {}
_stopped: set[str] = set()


def _wait_for(command: list[str], run: str) -> tuple[int, str]:
    """Run ffmpeg and return its exit code and standard error.

    It gets its own process group, so that Ctrl-C reaches this program alone, which then ends ffmpeg.
    """
    with _lock:
        if run in _stopped:
            raise ExtractError("stopped")
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            process_group=0,
        )
        _running[process] = run
    try:
        said = process.communicate()[1]
    finally:
        process.kill()  # does nothing if it has ended
        process.wait()
        with _lock:
            del _running[process]
    return process.returncode, said


def stop_run(run: str) -> None:
    """End every ffmpeg that this process started for a run, and start no others for it."""
    with _lock:
        _stopped.add(run)
        for process, its_run in _running.items():
            if its_run == run:
                process.kill()


def said_last(said: str) -> str:
    """Return ffmpeg's last message, and its first if that differs: the last one is often only a summary."""
    lines = [re.sub(r" @ 0x[0-9a-f]+", "", line).strip() for line in said.splitlines()]
    lines = [line for line in lines if line and not line.startswith("Last message repeated")]
    lines = [line for line in lines if not _INTERNALS.search(line)] or lines
    if not lines:
        return ""
    return lines[-1] + (f" (it began with: {lines[0]})" if lines[0] != lines[-1] else "")


@lru_cache
def _each_frame_once(ffmpeg: str) -> list[str]:
    """Return the option that writes every decoded frame once; ffmpeg 5.1 renamed it."""
    known = subprocess.run(
        [ffmpeg, "-hide_banner", "-h", "long"], capture_output=True, stdin=subprocess.DEVNULL, check=False
    )
    return ["-fps_mode", "passthrough"] if b"-fps_mode" in known.stdout else ["-vsync", "0"]


BELIEVED_RATE = 120  # frames a second


def frame_rate(video: Path) -> float | None:
    """Return the frames per second, the average if they vary; None if the file states no rate or cannot be read.

    A stated rate above BELIEVED_RATE is believed only where the timestamps agree within a fifth: recorders that know no rate state
    1000, the resolution of their timestamps. The rate then comes from the timestamps.
    """
    said = _ask("-i", os.path.abspath(video)).stderr
    found = re.search(r", ([0-9.]+)(k?) (?:fps|tbr)", _video_stream(said))
    stated = float(found[1]) * (1000 if found[2] else 1) if found else 0.0
    if 0 < stated <= BELIEVED_RATE:
        return stated
    of_times = ["-map", "0:V:0", "-c", "copy", "-f", "null", "-progress", "-", "-"]
    told = _ask("-v", "error", "-i", os.path.abspath(video), *of_times).stdout
    frames = re.findall(r"^frame=(\d+)", told, re.MULTILINE)
    ends = re.findall(r"^out_time_us=(\d+)", told, re.MULTILINE)
    if not frames or not ends or int(frames[-1]) < 2 or int(ends[-1]) == 0:
        return None
    measured = (int(frames[-1]) - 1) / (int(ends[-1]) / 1e6)
    # The last packet need not be the last to be shown, so the measured rate is a little high.
    return stated if abs(measured - stated) < stated / 5 else measured


def why_not_a_video(file: Path) -> str | None:
    """Return why a file is not a video, or None if it is one that ffmpeg reads. Its name does not count.

    Only a regular file is opened: a named pipe would block until somebody writes to it.
    """
    if why := why_not_a_file(file):
        return why
    try:
        with open(file, "rb") as stream:
            head = stream.read(4096)
        if not head:
            return "an empty file"
        if _text_beginning(file):
            return "text"
    except OSError as error:
        return f"{CANNOT_READ}: {error.strerror}"
    if head.startswith(b"\xff\xd8\xff"):  # the most frequent one, answered without starting ffmpeg
        return "a still picture"
    asked = _ask("-i", os.path.abspath(file))
    if asked.returncode < 0:  # so nobody knows whether this is a video
        return f"{CANNOT_READ}: ffmpeg crashed (signal {-asked.returncode})"
    said = asked.stderr
    container = re.search(r"^Input #0, (.+?), from '", said, re.MULTILINE)
    if not container:
        return "no format that ffmpeg knows"
    stream_line = _video_stream(said)
    if not stream_line:
        return "no video stream"
    if container[1] == "webp_pipe" and b"ANIM" in head:
        return "an animated WebP, which this ffmpeg cannot decode; convert it to MP4 or GIF"
    still_gif = container[1] == "gif" and " fps" not in stream_line  # one picture has no rate
    if container[1].endswith("_pipe") or container[1] == "image2" or still_gif:
        return "a still picture"
    return None if re.search(r", \d+x\d+", stream_line) else "no pictures in its video stream"


def why_not_a_file(path: Path) -> str | None:
    """Return what a path is that cannot be opened and read like a file, or None for a regular file. Links are followed."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if os.path.islink(path):  # Path.is_symlink raises an error in a folder that may not be entered
            return f"a link to {os.readlink(path)}, which cannot be reached ({error.strerror}); is its disk mounted?"
        return f"{CANNOT_READ}: {error.strerror}"
    kinds = {stat.S_IFREG: None, stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _video_stream(said: str) -> str:
    """Return ffmpeg's line about the first video stream that is not a cover picture; empty if there is none."""
    lines = (line for line in said.splitlines() if re.match(r" *Stream #.*: Video: ", line))
    return next((line for line in lines if "attached pic" not in line), "")


def _ask(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ffmpeg_path(), "-nostdin", "-hide_banner", "-protocol_whitelist", "file,pipe", *options],
        stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip


def _text_beginning(video: Path) -> str:
    """Return the first words of a text file; empty for any other file.

    The only videos that begin with text are raw .y4m files.
    """
    with open(video, "rb") as stream:
        head = stream.read(4096)
    # The last character may be cut in two.
    text = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape").decode(head)
    if head.startswith(b"YUV4MPEG2") or not all(c.isprintable() or c in "\t\n\r\f\ufeff" for c in text):
        return ""
    return " ".join(text[:200].split())[:40]


def missing_bytes(video: Path) -> int:
    """Return how many bytes the top-level boxes (MP4, MOV), chunks (AVI) or the segment (Matroska, WebM) extend past the file's end.

    0 also for formats that do not tell, and for what is no file: opening a pipe again would wait for a writer.
    """
    if not video.is_file():
        return 0
    size, at = video.stat().st_size, 0
    with open(video, "rb") as stream:
        while at + 8 <= size:
            stream.seek(at)
            head = stream.read(16)
            if head[:4] in (_EBML, _SEGMENT):
                length, known = _ebml_length(head)
            elif head[:4] == b"RIFF":
                length = int.from_bytes(head[4:8], "little") + 8
                known = head[4:8] not in (bytes(4), b"\xff" * 4)  # otherwise it was never filled in, as in a pipe
            else:
                length = int.from_bytes(head[:4], "big")
                length = int.from_bytes(head[8:16], "big") if length == 1 else length
                known = length >= 8 and head[4:8] in _BOXES  # otherwise it extends to the end, or is no box
            if not known:
                return 0
            at += length
    return max(0, at - size)


_EBML, _SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")
"""The top-level elements of a Matroska file: its header, and all the rest."""


def _ebml_length(head: bytes) -> tuple[int, bool]:
    """Return the bytes of the element that begins here, itself included, and whether it tells them: a pipe's does not (RFC 8794)."""
    width = 9 - head[4].bit_length()  # the first bit that is set says how many bytes the number has
    if width > 8:
        return 0, False
    bits = 7 * width
    size = int.from_bytes(head[4 : 4 + width], "big") & ((1 << bits) - 1)
    return 4 + width + size, size != (1 << bits) - 1


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
