"""One run of ffmpeg: a video's frames into a folder, and whether they are all there.

    video -> command -> ffmpeg -> exit code, its words -> the file's promised length -> 000001.jpg ... N counted

Frames are the video's own: each decoded frame once, in order, upright (rotation marks are applied), with its stored
pixels (marks of non-square pixels are ignored, as in the field's usual preparation), as 4:2:0 JPEG.

What counts as failed: with -xerror ffmpeg stops at a packet that it cannot read or decode and at a frame that it had to
patch up, but not at complaints that cost no frame (such as "mmco: unref short failure" where a clip was cut out without
encoding it anew, common in Kinetics). A file cut short can still pass for a short video; so a demuxer's complaint about
it, and MP4, MOV and AVI headers that promise more bytes than there are, fail a video too. Formats that state no length
can pass when cut short: MPEG-TS mostly; FLV, WMV, MPEG and fragmented MP4 now and then.
"""

from __future__ import annotations

import codecs
import math
import os
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from hitagu_lib.errors import ExtractError
from hitagu_lib.media.frame_folder import FRAME_NAME, count_frames

_BOXES = b"ftyp moov mdat moof mfra free skip wide pnot udta uuid meta sidx styp emsg prft pdin".split()
_CUT_SHORT = ("partial file", "File ended prematurely")
"""What ffmpeg's MP4 and Matroska demuxers say where a file ends early, without failing even under -xerror."""
_DISK_FULL = ("No space left on device", "Disk quota exceeded")


@dataclass(frozen=True)
class Settings:
    """What is asked of the frames, as extract_video describes it. Raises ExtractError for what is out of range."""

    short_side: int | None
    fps: float | None
    quality: int

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
    """Not the fault of one video: going on with the next would meet the same."""


def ffmpeg_path() -> str:
    """The system's ffmpeg if on PATH, else the one in the package imageio-ffmpeg. Raises ExtractError for neither."""
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
    """Frames of the video into the folder, checked; their number. Raises ExtractError with ffmpeg's words.

    run: a name under which `stop_run` finds this ffmpeg.
    """
    if begins := _text_beginning(
        video
    ):  # ffmpeg says less, and would draw some text files as pictures of their letters
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
    reason = _reason(said) or ("" if code == 0 else f"ffmpeg ended with code {code} and no word")
    if any(words in said for words in _DISK_FULL):
        raise RunError(f"{folder.parent}: {reason}; make room, then run again: it goes on where it stopped")
    if "matches no streams" in said:
        reason = f"no video stream; {reason}"
    if "moov atom not found" in said and video.stat().st_size:
        reason = f"no whole MP4: cut short, or no video; {reason}"
    if code != 0 or any(words in said for words in _CUT_SHORT):
        raise ExtractError(f"{video}: {reason}" + (" (the file has 0 bytes)" if video.stat().st_size == 0 else ""))
    if missing := missing_bytes(video):
        raise ExtractError(f"{video}: the file is cut short: its header promises {missing} bytes more")
    count, fault = count_frames(folder)
    if fault:
        raise ExtractError(
            f"{video}: ffmpeg made no frames: {reason or 'and said nothing'}" if not count else f"{video}: {fault}"
        )
    return count


def _command(
    ffmpeg: str, video: Path, folder: Path, settings: Settings, size: tuple[int, int] | None = None
) -> list[str]:
    """Return the command that writes the video's frames. size: of every frame, where the video's own changes in mid-stream."""
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
    command = [ffmpeg, "-nostdin", "-hide_banner", "-v", "error", "-xerror", "-threads", "1", "-filter_threads", "1"]
    command += ["-protocol_whitelist", "file", "-i", str(video)]  # a playlist named .mp4 fetches nothing
    command += ["-map", "0:V:0", "-vf", ",".join(filters), *_each_frame_once(ffmpeg)]
    command += ["-enc_time_base", "1:1000000" if size else "1:25"]
    command += ["-pix_fmt", "yuvj420p", "-q:v", str(settings.quality), "-threads", "1", "-f", "image2"]
    return [*command, str(folder).replace("%", "%%") + os.sep + "%06d.jpg"]


_lock = threading.Lock()
_running: dict[subprocess.Popen[str], str] = {}
_stopped: set[str] = set()


def _wait_for(command: list[str], run: str) -> tuple[int, str]:
    """Exit code and standard error. A process group of its own: Ctrl-C reaches this program, which then ends ffmpeg."""
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
        process.kill()  # nothing, where it has ended
        process.wait()
        with _lock:
            del _running[process]
    return process.returncode, said


def stop_run(run: str) -> None:
    """End the ffmpegs of a run in this process, and let its threads start no others."""
    with _lock:
        _stopped.add(run)
        for process, its_run in _running.items():
            if its_run == run:
                process.kill()


def _reason(said: str) -> str:
    """ffmpeg's last line, and its first where that is another: the last often only sums up."""
    lines = [re.sub(r" @ 0x[0-9a-f]+", "", line).strip() for line in said.splitlines()]
    lines = [line for line in lines if line and not line.startswith("Last message repeated")]
    if not lines:
        return ""
    return lines[-1] + (f" (it began with: {lines[0]})" if lines[0] != lines[-1] else "")


@lru_cache
def _each_frame_once(ffmpeg: str) -> list[str]:
    """Every decoded frame as it comes: the option's name since ffmpeg 5.1, or before."""
    known = subprocess.run(
        [ffmpeg, "-hide_banner", "-h", "long"], capture_output=True, stdin=subprocess.DEVNULL, check=False
    )
    return ["-fps_mode", "passthrough"] if b"-fps_mode" in known.stdout else ["-vsync", "0"]


def frame_rate(video: Path) -> float | None:
    """Frames a second, on average where they vary; None where the file tells none, or cannot be read.

    What the file states, unless that is above 120: recorders that know no rate state 1000, the resolution of their times. The times
    themselves tell then.
    """
    said = _asked("-i", str(video)).stderr
    line = next((x for x in said.splitlines() if re.match(r" *Stream #.*: Video: ", x) and "attached pic" not in x), "")
    found = re.search(r", ([0-9.]+)(k?) (?:fps|tbr)", line)
    stated = float(found[1]) * (1000 if found[2] else 1) if found else 0.0
    if 0 < stated <= 120:
        return stated
    of_times = ["-map", "0:V:0", "-c", "copy", "-f", "null", "-progress", "-", "-"]
    told = _asked("-v", "error", "-i", str(video), *of_times).stdout
    frames = re.findall(r"^frame=(\d+)", told, re.MULTILINE)
    ends = re.findall(r"^out_time_us=(\d+)", told, re.MULTILINE)
    if not frames or not ends or int(frames[-1]) < 2 or int(ends[-1]) == 0:
        return None
    return (int(frames[-1]) - 1) / (int(ends[-1]) / 1e6)


def _asked(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ffmpeg_path(), "-nostdin", "-hide_banner", "-protocol_whitelist", "file,pipe", *options],
        stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip


def _text_beginning(video: Path) -> str:
    """The first words of a file that is text; empty where it is not, as videos are not, but for the header of raw .y4m."""
    with open(video, "rb") as stream:
        head = stream.read(4096)
    # A character may have been cut in two at the end.
    text = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape").decode(head)
    if head.startswith(b"YUV4MPEG2") or not all(c.isprintable() or c in "\t\n\r\f\ufeff" for c in text):
        return ""
    return " ".join(text[:200].split())[:40]


def missing_bytes(video: Path) -> int:
    """How many bytes the top-level boxes (MP4, MOV) or chunks (AVI) reach past the file's end; 0 where they tell nothing."""
    size, at = video.stat().st_size, 0
    with open(video, "rb") as stream:
        while at + 8 <= size:
            stream.seek(at)
            head = stream.read(16)
            if head[:4] == b"RIFF":
                length = int.from_bytes(head[4:8], "little") + 8
                known = length > 8  # else it was never filled in
            else:
                length = int.from_bytes(head[:4], "big")
                length = int.from_bytes(head[8:16], "big") if length == 1 else length
                known = length >= 8 and head[4:8] in _BOXES  # else it goes to the file's end, or is no box
            if not known:
                return 0
            at += length
    return max(0, at - size)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


VIDEO_SUFFIXES = (".mp4", ".webm", ".avi", ".mkv", ".mov", ".m4v", ".mpg", ".mpeg", ".flv", ".wmv", ".ts", ".3gp")
