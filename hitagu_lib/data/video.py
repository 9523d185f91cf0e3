"""Frames straight from a video file, through PyAV: `data.source: video`.

    video -> demux: when each frame is shown, which ones are key frames -> seek to the key frame before -> decode on -> frames `indices`

Frame k is the k-th that decoding the whole file gives, as `hitagu extract` numbers them (every frame once, no --fps): a list made
from extracted frames also fits the videos. Pictures are those of extract, too: upright, stored pixels, the short side scaled down to
`short_side` with the same filter, colours by BT.601, as JPEG has them whatever the video says. Only the loss of JPEG is missing: on
average less than two grey levels.

Seeks, and leaving out frames that no other depends on, are only for files that prove them right: MP4, MOV, Matroska or WebM, which tell
when a frame is shown; as many packets to be shown as the list promises frames, no two at the same time; frames that come at those times.
In any other file, such as AVI, frames are counted from the first.

PyAV, not TorchCodec: its wheels bring their own FFmpeg, so that every machine decodes the same; TorchCodec needs one that is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hitagu_lib.data.frames import stacked
from hitagu_lib.errors import ClipError, ConfigError
from hitagu_lib.media.ffmpeg import VIDEO_SUFFIXES, missing_bytes

_TELL_TIMES = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""FFmpeg's names of the formats in which a packet's time is that of its frame's showing."""


def find_video(path: Path) -> Path:
    """The file that a list's path means: itself, or with the first of `VIDEO_SUFFIXES` that is there, for lists of extracted frames.

    Raises ClipError where there is none.
    """
    if path.is_file():
        return path
    for suffix in VIDEO_SUFFIXES:
        if (file := path.with_name(path.name + suffix)).is_file():
            return file
    found = "found a folder" if path.is_dir() else "no such file"
    raise ClipError(
        f"{path}: {found}; expected a video of this name, with or without its ending ({VIDEO_SUFFIXES[0]} ...)"
    )


def count_video(path: Path) -> tuple[int, str | None]:
    """The number of frames of a video, each decoded, and what is wrong with it: expected is what `hitagu extract` would take."""
    count = 0
    try:
        file = find_video(path)
        if missing := missing_bytes(file):
            return 0, f"the file is cut short: its header promises {missing} bytes more"
        with _opened(file) as (container, stream):
            for frame in container.decode(stream):
                _must_be_whole(file, count, frame)
                count += 1
        return count, None if count else "found no frames"
    except ClipError as error:
        return count, str(error).removeprefix(f"{path}: ")


def read_video(
    path: Path,
    indices: Sequence[int],
    num_frames: int,
    short_side: int | None,
    change: Callable[[Tensor], Tensor] = lambda frame: frame,
) -> Tensor:
    """The frames `indices` (from 0) of a video of `num_frames`: uint8 (T, 3, H, W). A frame asked for twice is decoded once.

    short_side: pixels that the shorter side is scaled down to, never up; None: as it is. `change` is applied to each frame (3, H, W).
    Raises ClipError naming the file, and the frame where decoding ended too early.
    """
    file = find_video(path)
    wanted = sorted(set(map(int, indices)))
    found: dict[int, Tensor] = {}
    picture = _Picture(file, short_side)
    with _opened(file) as (container, stream):
        times, keys = _shown(container, stream)
        if len(times) == num_frames and (np.diff(times) > 0).all():
            found = {k: change(picture(k, frame)) for k, frame in _by_times(container, stream, times, keys, wanted)}
    if missing := set(wanted) - set(found):  # counted from the first frame on, which is always right
        with _opened(file) as (container, stream):
            for k, frame in enumerate(container.decode(stream)):
                if k in missing:
                    found[k] = change(picture(k, frame))
                if k == wanted[-1]:
                    break
    if len(found) < len(wanted):
        raise ClipError(
            f"{file}: found {k + 1} frames, expected frame {wanted[-1] + 1}: the list promises {num_frames}; list the videos anew"
        )
    return stacked([found[int(i)] for i in indices])


@lru_cache(1)
def need_av() -> Any:
    """The module av. Raises ConfigError where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise ConfigError(
            "data.source: video: found no PyAV; expected the package av: `pip install av`, or this library's `video` extra"
        ) from error
    av.logging.set_level(None)  # what matters is raised
    return av


@contextmanager
def _opened(file: Path) -> Iterator[tuple[Any, Any]]:
    """The file and its first video stream that is no cover picture, one thread to decode. FFmpeg's errors become ClipErrors."""
    av = need_av()
    try:
        # A playlist named .mp4 fetches nothing.
        with av.open(str(file), options={"protocol_whitelist": "file"}) as container:
            covers = av.stream.Disposition.attached_pic
            streams = [stream for stream in container.streams.video if not stream.disposition & covers]
            if not streams:
                raise ClipError(f"{file}: found no video stream")
            streams[0].codec_context.thread_count = 1
            streams[0].thread_type = "NONE"
            yield container, streams[0]
    except av.error.FFmpegError as error:
        size = f" (the file has {file.stat().st_size} bytes)" if file.exists() else ""
        raise ClipError(f"{file}: cannot be decoded: {error.strerror}{size}") from error


def _shown(container: Any, stream: Any) -> tuple[np.ndarray, np.ndarray]:
    """Times of the packets whose frames are to be shown, in the order of showing, and which of them are key frames.

    No times at all where a packet has none, or where the format tells those of decoding, which frames then bear out of order.
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
    """(k, frame) for each wanted k, by seeks and each frame's time; ends early where a frame does not come at its time."""
    key_frames = np.flatnonzero(keys)
    if (
        not len(key_frames) or key_frames[0] != 0
    ):  # frames before the first key frame: what decoders make of them differs
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


def _decoded(container: Any, stream: Any, needed: set[int]) -> Iterator[Any]:
    """Frames in the order of showing; those that are not needed, for other frames neither, are left out where the decoder can."""
    for packet in container.demux(stream):
        stream.codec_context.skip_frame = "DEFAULT" if packet.pts is None or packet.pts in needed else "NONREF"
        yield from packet.decode()


class _Picture:
    """Frames of one video as uint8 (3, H, W), upright, channels last in memory."""

    def __init__(self, file: Path, short_side: int | None) -> None:
        self.file, self.short_side = file, short_side
        scaler = need_av().video.reformatter
        self.reformat = scaler.VideoReformatter().reformat  # one for all frames: setting it up costs more than a frame
        self.colours = scaler.Colorspace.ITU601
        # Without the last two, colours come from chroma of half the width and rounded down: greens are off by two grey levels.
        of = scaler.Interpolation
        self.filter = int(of.BICUBIC | of.FULL_CHR_H_INT | of.ACCURATE_RND)

    def __call__(self, k: int, frame: Any) -> Tensor:
        _must_be_whole(self.file, k, frame)
        width, height = frame.width, frame.height
        short, limit = min(width, height), self.short_side
        if limit is not None and short > limit:
            width, height = ((2 * side * limit + short) // (2 * short) for side in (width, height))
        scaled = self.reformat(frame, width, height, "rgb24", self.colours, self.colours, self.filter, threads=1)
        pixels = np.ascontiguousarray(_upright(scaled.to_ndarray(), _matrix(frame), self.file))
        return torch.from_numpy(pixels).permute(2, 0, 1)


def _must_be_whole(file: Path, k: int, frame: Any) -> None:
    if frame.is_corrupt:
        raise ClipError(f"{file}: frame {k + 1} is damaged")


def _matrix(frame: Any) -> tuple[int, int, int, int] | None:
    """a, b, c, d of the display matrix, by which a pixel (x, y) is shown at (a x + c y, b x + d y); None: as stored."""
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return None
    a, b, _, c, d = np.frombuffer(side_data, np.int32)[:5].tolist()
    return a, b, c, d


def _upright(pixels: np.ndarray, matrix: tuple[int, int, int, int] | None, file: Path) -> np.ndarray:
    """(H, W, 3) turned and mirrored as its display matrix says, by quarter turns."""
    if matrix is None:
        return pixels
    a, b, c, d = matrix
    if b == c == 0 and a and d:
        return pixels[:: 1 if d > 0 else -1, :: 1 if a > 0 else -1]
    if a == d == 0 and b and c:
        return pixels.swapaxes(0, 1)[:: 1 if b > 0 else -1, :: 1 if c > 0 else -1]
    raise ClipError(f"{file}: found a rotation that is no quarter turn; extract its frames (data.source: frames)")
