"""Follow a video while it plays: a file, raw frames from a pipe, or a camera, through a `Stream`.

    frames -> one step in each reference stride -> Moment (seconds, probabilities)

A network learned from frames about one reference stride apart, so it is shown one frame in each stride and no others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from hitagu_lib.config import DataConfig
from hitagu_lib.data.transforms import centre_crop
from hitagu_lib.data.video import Playing, play
from hitagu_lib.errors import ClipError
from hitagu_lib.inference.predict import class_probabilities
from hitagu_lib.inference.streaming import Stream
from hitagu_lib.models import ClipModel


@dataclass(frozen=True)
class RawVideo:
    """The frames of a pipe: rgb24, one after another, without any header, as `ffmpeg -f rawvideo -pix_fmt rgb24 -` writes them."""

    width: int
    height: int
    fps: float

    @classmethod
    def parse(cls, text: str) -> RawVideo:
        """Read "640x480@25". Raises ValueError, also for a side of more than 16384 pixels."""
        if not (found := re.fullmatch(r"(\d{1,5})x(\d{1,5})@(\d+(?:\.\d+)?)", text)):
            raise ValueError
        raw = cls(int(found[1]), int(found[2]), float(found[3]))
        if not (0 < raw.width <= 16384 and 0 < raw.height <= 16384 and raw.fps):
            raise ValueError
        return raw

    def frames(self, pipe: BinaryIO) -> Iterator[tuple[float, Tensor]]:
        """Yield each frame, uint8 (3, H, W), and its time. Raises ClipError if the pipe ends within a frame."""
        size, n = 3 * self.width * self.height, 0
        while data := pipe.read(size):
            if len(data) < size:
                raise ClipError(
                    f"-: frame {n + 1}: found {len(data)} bytes; expected {size} for rgb24 {self.width}x{self.height}"
                )
            frame = torch.frombuffer(bytearray(data), dtype=torch.uint8).view(self.height, self.width, 3)
            yield n / self.fps, frame.permute(2, 0, 1)
            n += 1


@contextmanager
def open_live(source: str, short_side: int | None, pipe: BinaryIO | None, raw: RawVideo | None) -> Iterator[Playing]:
    """Open what `hitagu predict --stream` names: "-" for raw frames from `pipe`, else a file, named pipe or camera. Raises ClipError."""
    if source == "-":
        if raw is None:
            raise ClipError("-: found no size; expected --raw WIDTHxHEIGHT@FPS, which raw frames do not tell")
        assert pipe is not None
        yield Playing(raw.fps, None, raw.frames(pipe))
    else:
        with play(Path(source), short_side) as playing:
            yield playing


@dataclass(frozen=True)
class Moment:
    """What a stream says at one frame of a video."""

    seconds: float
    frame: Tensor  # uint8 (3, H, W), as it was shown
    probabilities: Tensor  # (K,), those of the last step, which may have been a few frames ago
    stepped: bool  # whether the network saw this frame


def follow(frames: Iterable[tuple[float, Tensor]], model: ClipModel, cfg: DataConfig, fps: float) -> Iterator[Moment]:
    """Yield what the network says at every frame of a video; fps: the frame rate of the videos it was trained on.

    Memory and time a frame stay the same however long the video is. Raises ConfigError if the network is not causal, WeightsError if
    it gives nan, and ClipError as the frames do.
    """
    stream = Stream(model, cfg.ref_stride / fps)
    shown, probabilities = 0.0, None
    for seconds, frame in frames:
        # Half a frame early counts: times are rounded. A little more, or the rounding of half a stride would decide.
        step = probabilities is None or seconds - shown >= (cfg.ref_stride - 0.501) / fps
        if step:
            cropped = centre_crop(frame[None], cfg.image_size, cfg.short_side)[0]
            probabilities = class_probabilities(stream.step(cropped, seconds), f"at {seconds:g} s")
            shown = seconds
        assert probabilities is not None
        yield Moment(seconds, frame, probabilities, step)
