"""Frames straight from a video file, through PyAV: `data.source: video`.

    video -> demux: when each frame is shown, which ones are key frames -> seek to the key frame before -> decode on -> frames `indices`

Frame k is the k-th that decoding the whole file gives, as `hitagu extract` numbers them (every frame once, no --fps): a list made
from extracted frames also fits the videos. The pictures are those of extract, too: upright, stored pixels, the short side scaled down
to `short_side` with the same filter, colours by BT.601, as JPEG has them whatever the video says; a frame whose size differs from the
first one's is scaled to that. Only the loss of JPEG is missing: on average less than two grey levels. Of interlaced video each field is
scaled by itself, where extract scales the frame as a whole: there the pictures differ somewhat more.

Seeking, and skipping frames that no other frame depends on, is only for files that prove it right: MP4, MOV, Matroska or WebM, which
tell when a frame is shown; as many packets to be shown as the list promises frames, no two at the same time; frames that come at those
times. In any other file, such as AVI, frames are counted from the first.

PyAV, not TorchCodec: PyAV's wheels bring their own FFmpeg, so that every machine decodes the same; TorchCodec needs an installed one.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hitagu_lib.data.frames import cannot_read, stacked
from hitagu_lib.errors import ClipError, ConfigError
from hitagu_lib.media.ffmpeg import BELIEVED_RATE, VIDEO_SUFFIXES, frame_rate, missing_bytes

_TELL_TIMES = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""FFmpeg's names of the formats in which a packet's time is that of its frame's showing."""


def find_video(path: Path) -> Path:
    """Return the file that a list's path names: the path itself, or, for lists of extracted frames, the path with a video's ending.

    Raises ClipError where there is no such video or more than one, and where the system does not let it be looked for.
    """
    try:
        if path.is_file():
            return path
        endings = [ending for suffix in VIDEO_SUFFIXES for ending in (suffix, suffix.upper())]
        found = [file for ending in endings if (file := path.with_name(path.name + ending)).is_file()]
        # A file system may take a.mp4 and a.MP4 for one name.
        found = [file for i, file in enumerate(found) if not any(file.samefile(other) for other in found[:i])]
    except OSError as error:
        raise cannot_read(path, error) from error
    if len(found) > 1:
        names = " and ".join(file.name for file in found)
        raise ClipError(
            f"{path}: found {names}; expected one video of this name: list it with its ending, or rename one"
        )
    if not found:
        instead = "found a folder" if path.is_dir() else "no such file"
        raise ClipError(
            f"{path}: {instead}; expected a video of this name, with or without its ending ({VIDEO_SUFFIXES[0]} ...)"
        )
    return found[0]


def count_video(path: Path) -> tuple[int, str | None]:
    """Decode every frame of a video as `read_video` does; return their number, and what is wrong with the video or None."""
    count, looks = 0, set()
    try:
        file = find_video(path)
        if cut := _cut_short(file):
            raise ClipError(f"{file}: {cut}")
        with _opened(file) as (container, stream):
            picture = _Picture(file, stream, None)
            for frame in _all_frames(container, stream):
                _must_be_whole(file, count, frame)
                look = frame.width, frame.height, frame.format.name, _matrix(frame)
                if look not in looks:  # whether a frame can be converted depends on nothing else
                    looks.add(look)
                    picture(count, frame)
                count += 1
        return count, None if count else "found no frames"
    except ClipError as error:
        return count, str(error).removeprefix(f"{path}: ")


def too_few(count: int, promised: int) -> str:
    """Say that a video has fewer frames than its row of the list promises."""
    return f"found {count} frames, expected {promised} as the list says; list the videos anew"


def read_video(
    path: Path,
    indices: Sequence[int],
    num_frames: int,
    short_side: int | None,
    change: Callable[[Tensor], Tensor] = lambda frame: frame,
) -> Tensor:
    """Read the frames `indices` (from 0) of a video of `num_frames`: uint8 (T, 3, H, W). A frame asked for twice is decoded once.

    short_side: pixels that the shorter side is scaled down to, never up; None: as it is. `change` is applied to each frame (3, H, W).
    Raises ClipError naming the file, and the frame where decoding ended too early.
    """
    file = find_video(path)
    wanted = sorted(set(map(int, indices)))
    found: dict[int, Tensor] = {}
    with _opened(file) as (container, stream):
        picture = _Picture(file, stream, short_side)
        with suppress(ClipError, need_av().error.FFmpegError):  # what no seek finds may be there all the same
            times, keys = _shown(container, stream)
            if len(times) == num_frames and (np.diff(times) > 0).all():
                for k, frame in _by_times(container, stream, times, keys, wanted):
                    found[k] = change(picture(k, frame))
    if missing := set(wanted) - set(found):  # counted from the first frame on, which is always right
        count = 0
        with _opened(file) as (container, stream):
            for k, frame in enumerate(_all_frames(container, stream)):
                count = k + 1
                if k in missing:
                    found[k] = change(picture(k, frame))
                if k == wanted[-1]:
                    break
        if len(found) < len(wanted):
            raise ClipError(f"{file}: {_cut_short(file) or too_few(count, num_frames)}")
    return stacked([found[int(i)] for i in indices])


class Playing(NamedTuple):
    """A video while it plays: a file, a pipe or a camera."""

    rate: float  # frames a second, as the source says; where it says nothing that can be believed, 25
    duration: float | None  # seconds; None: unknown, as of a camera
    frames: Iterator[tuple[float, Tensor]]  # when each frame is shown, in seconds, and the frame, uint8 (3, H, W)


@contextmanager
def play(source: Path, short_side: int | None) -> Iterator[Playing]:
    """Open a video for one pass in order, in memory for one frame: a file, a named pipe, or on Linux a camera such as /dev/video0.

    Frames are those of `read_video`. Raises ClipError naming the source, also if it is a file that is cut short.
    """
    if source.is_file() and (cut := _cut_short(source)):
        raise ClipError(f"{source}: {cut}")
    camera = source.is_char_device()
    with _opened(source, "v4l2" if camera else None) as (container, stream):
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        if rate > BELIEVED_RATE:
            rate = (frame_rate(source) if source.is_file() else None) or 25.0
        duration = container.duration / 1e6 if container.duration else None
        yield Playing(rate, duration, _played(source, container, stream, short_side, rate))


def _played(
    file: Path, container: Any, stream: Any, short_side: int | None, rate: float
) -> Iterator[tuple[float, Tensor]]:
    picture, last = _Picture(file, stream, short_side), -math.inf
    for k, frame in enumerate(_all_frames(container, stream)):
        seconds = frame.time
        if seconds is None or seconds <= last:  # no time, or none that can be
            seconds = last + 1 / rate if k else 0.0
        last = float(seconds)
        yield last, picture(k, frame)


@lru_cache(1)
def need_av() -> Any:
    """Return the module av. Raises ConfigError where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise ConfigError(
            "data.source: video: found no PyAV; expected the package av: `pip install av`, or this library's `video` extra"
        ) from error
    av.logging.set_level(None)  # what matters is raised
    return av


@contextmanager
def _opened(file: Path, format: str | None = None) -> Iterator[tuple[Any, Any]]:
    """Yield the file and its first video stream that is no cover picture, with one thread to decode. FFmpeg's errors become ClipErrors."""
    av = need_av()
    try:
        # A playlist named .mp4 fetches nothing; a title in another encoding than UTF-8 is no reason to fail.
        options = {"protocol_whitelist": "file"}
        with av.open(os.path.abspath(file), format=format, options=options, metadata_errors="replace") as container:
            covers = av.stream.Disposition.attached_pic
            streams = [stream for stream in container.streams.video if not stream.disposition & covers]
            if not streams:
                raise ClipError(f"{file}: found no video stream")
            if streams[0].codec_context is None:
                raise ClipError(f"{file}: cannot be decoded: FFmpeg knows no decoder for its video stream")
            streams[0].codec_context.thread_count = 1
            streams[0].thread_type = "NONE"
            yield container, streams[0]
    except av.error.FFmpegError as error:  # any other OSError is that of whoever uses the frames
        if isinstance(error, OSError):
            raise cannot_read(file, error) from error
        words = f"cannot be decoded: {error.strerror} (the file has {file.stat().st_size} bytes)"
        raise ClipError(f"{file}: {_cut_short(file) or words}") from error


def _cut_short(file: Path) -> str | None:
    """Say how many bytes a file's own header promises beyond its end; None where there is nothing to say."""
    try:
        missing = missing_bytes(file)
    except OSError as error:
        raise cannot_read(file, error) from error
    return f"the file is cut short: its header promises {missing} bytes more" if missing else None


def _shown(container: Any, stream: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the times of the packets whose frames are to be shown, in the order of showing, and which of them are key frames.

    Returns no times at all where a packet has none, or where the format gives the times of decoding, which frames bear out of order.
    """
    if container.format.name not in _TELL_TIMES:
        return np.zeros(0, np.int64), np.zeros(0, bool)
    packets = [(p.pts, p.is_keyframe) for p in container.demux(stream) if p.size and not p.is_discard]
    if any(time is None for time, _ in packets):
        return np.zeros(0, np.int64), np.zeros(0, bool)
    packets.sort()
    return np.array([time for time, _ in packets], np.int64), np.array([key for _, key in packets], bool)


def _by_times(
    container: Any, stream: Any, times: np.ndarray, keys: np.ndarray, wanted: Sequence[int]
) -> Iterator[tuple[int, Any]]:
    """Yield (k, frame) for each wanted k, by seeks and each frame's time; end early where a frame does not come at its time."""
    key_frames = np.flatnonzero(keys)
    # Decoders differ in what they make of frames before the first key frame.
    if not len(key_frames) or key_frames[0] != 0:
        return
    needed = set(times[list(wanted)].tolist())
    begun = -1  # the key frame that decoding began at
    frames: Iterator[Any] = iter(())
    for k in wanted:
        start = int(key_frames[np.searchsorted(key_frames, k, side="right") - 1])
        if start > begun:
            container.seek(int(times[start]), stream=stream)
            frames, begun = _decoded(container, stream, needed), start
        for frame in frames:
            if frame.pts is None or frame.pts >= times[k]:
                break
        else:
            return
        if frame.pts != times[k]:
            return
        yield k, frame


def _all_frames(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the frames in the order of showing, but for repeats: an empty packet (Theora) shows the frame before it for longer."""
    for packet in container.demux(stream):
        # The last packet, which has neither, asks the decoder for the frames that it holds.
        if packet.size or packet.pts is None:
            yield from packet.decode()


def _decoded(container: Any, stream: Any, needed: set[int]) -> Iterator[Any]:
    """Yield frames in the order of showing; the decoder skips, where it can, frames that neither are needed nor serve another frame."""
    for packet in container.demux(stream):
        stream.codec_context.skip_frame = "DEFAULT" if packet.pts is None or packet.pts in needed else "NONREF"
        yield from packet.decode()


class _Picture:
    """Converts frames of one video to uint8 (3, H, W), upright, all of one size, channels last in memory."""

    def __init__(self, file: Path, stream: Any, short_side: int | None) -> None:
        self.file, self.short_side = file, short_side
        self.stated = stream.codec_context.width, stream.codec_context.height  # changes as frames are decoded
        self.size: tuple[int, int] | None = None  # of the first frame, upright, before it is scaled down
        scaler = need_av().video.reformatter
        self.reformat = scaler.VideoReformatter().reformat  # one for all frames: setting it up costs more than a frame
        self.colours = scaler.Colorspace.ITU601
        # Without the last two, colours come from chroma of half the width and rounded down: greens are off by two grey levels.
        of = scaler.Interpolation
        self.filter = int(of.BICUBIC | of.FULL_CHR_H_INT | of.ACCURATE_RND)

    def __call__(self, k: int, frame: Any) -> Tensor:
        _must_be_whole(self.file, k, frame)
        turn = _turn(_matrix(frame))
        if self.size is None:
            # Few videos change their size: only a frame of another size than the header's asks for the first frame.
            is_firsts = k == 0 or (frame.width, frame.height) == self.stated
            self.size = _upright_size(frame, turn) if is_firsts else _size_of_first(self.file)
        width, height = self.size[::-1] if turn.quarter else self.size
        short, limit = min(width, height), self.short_side
        if limit is not None and short > limit:
            width, height = ((2 * side * limit + short) // (2 * short) for side in (width, height))
        if turn.degrees:
            frame = _rotated(frame, turn.degrees)
        scaled = self.reformat(frame, width, height, "rgb24", self.colours, self.colours, self.filter, threads=1)
        pixels = scaled.to_ndarray().swapaxes(0, 1) if turn.quarter else scaled.to_ndarray()
        return torch.from_numpy(np.ascontiguousarray(pixels[:: turn.down, :: turn.right])).permute(2, 0, 1)


def _must_be_whole(file: Path, k: int, frame: Any) -> None:
    if frame.is_corrupt:
        raise ClipError(f"{file}: frame {k + 1} is damaged")


def _size_of_first(file: Path) -> tuple[int, int]:
    """Return the upright size (width, height) of a video's first frame."""
    with _opened(file) as (container, stream):
        frame = next(_all_frames(container, stream))
        return _upright_size(frame, _turn(_matrix(frame)))


def _upright_size(frame: Any, turn: _Turn) -> tuple[int, int]:
    return (frame.height, frame.width) if turn.quarter else (frame.width, frame.height)


class _Turn(NamedTuple):
    """What makes a stored picture upright: rows and columns swapped or not, then either reversed (-1) or not (1); or a rotation."""

    quarter: bool = False
    down: int = 1
    right: int = 1
    degrees: int = 0  # clockwise, where it is none of 0, 90, 180, 270


def _matrix(frame: Any) -> tuple[int, int, int, int] | None:
    """Return a, b, c, d of the display matrix, which shows a pixel (x, y) at (a x + c y, b x + d y); None: shown as stored."""
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return None
    a, b, _, c, d = np.frombuffer(side_data, np.int32)[:5].tolist()
    return a, b, c, d


def _turn(matrix: tuple[int, int, int, int] | None) -> _Turn:
    """Read a display matrix as the command ffmpeg does, which extraction calls: by its angle in whole degrees.

    A matrix that leaves no picture (zeros) is passed over, as is an angle of one degree.
    """
    if matrix is None:
        return _Turn()
    a, b, c, d = matrix
    across, along = math.hypot(a, c), math.hypot(b, d)
    if not across or not along:
        return _Turn()
    degrees = round(math.degrees(math.atan2(b / along, a / across))) % 360
    if degrees in (90, 270):
        return _Turn(True, down=1 if b > 0 else -1, right=1 if c > 0 else -1)
    if degrees in (0, 180):
        return _Turn(False, down=1 if d > 0 else -1, right=1 if a > 0 else -1)
    return _Turn(degrees=degrees if degrees > 1 else 0)


def _rotated(frame: Any, degrees: int) -> Any:
    """Rotate a frame clockwise inside its own size, the corners black, by FFmpeg's filter, as extraction does."""
    graph = need_av().filter.Graph()
    buffer = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 25)
    )
    graph.link_nodes(buffer, graph.add("rotate", f"{degrees}*PI/180"), graph.add("buffersink")).configure()
    graph.push(frame)
    return graph.vpull()
