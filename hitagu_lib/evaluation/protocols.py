"""Which clips and crops of a video an evaluation uses, and reading them. A view is one clip under one crop.

    single      1 clip by segments, 1 crop in the middle
    multi       evenly spread clips, sampled as `data.sampling` says; 10 clips x 3 crops of dense windows (Kinetics), 2 x 3 of segments
                (Something-Something)
    tsm_twice   2 clips, the centres and the first frames of the segments, x 3 crops

Nothing is random. Frames are counted from 0; a video has N frames, a clip T; there are C clips. How published code differs, also from ours:

Clips of segments. TSN and TSM (ops/dataset.py) take frame int(N/2T + i N/T) for i < T, the centres: `single`, and the first clip of
`tsm_twice`; with --twice_sample also int(i N/T). TDN, which reads 5 frames at each place, uses N - 4 for N, and frame 0 T times if
N <= T + 4; on Kinetics it draws one frame of each segment at random, ten times. We repeat a short video's frames in order. Several
clips of segments under `multi` are our own rule: `segment_clips`.

Clips of windows start at c room / (C - 1), c < C. MMAction2 (SampleFrames, test_mode) counts room = N - 1 - (T - 1) stride, so that the
last clip ends with the video; our rule is the same, but rounds down where it rounds to nearest. TSM has room = N - 64, so with T = 8 the
last frame is N - 8. SlowFast (get_start_end_idx) starts at c room / C, so the last window ends room / C early. In a video
shorter than a window MMAction2 and TSM continue from its first frame; SlowFast and we repeat its last.

Crops. SlowFast (uniform_crop) and MMAction2 (ThreeCrop) take squares as large as the scaled short side, 256 of 256, at the start, middle
and end of the long side. SlowFast rounds the middle up, we round it down; MMAction2 ends one pixel early if the room is odd. With one crop
TSM takes the central 224 of 256.

The average. SlowFast and MMAction2 (average_clips: prob) average probabilities, TSM (test_models.py) logits: `eval.average`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hitagu_lib.config import DataConfig, EvalConfig
from hitagu_lib.data.sampling import Indices, clip_times, dense_clips, segment_clips, segment_indices
from hitagu_lib.data.source import read_source
from hitagu_lib.data.transforms import scale_short_side
from hitagu_lib.errors import ConfigError

_OWN = {
    ("single", "segment"): (1, 1),
    ("multi", "dense"): (10, 3),
    ("multi", "segment"): (2, 3),
    ("tsm_twice", "segment"): (2, 3),
}
"""(protocol, sampling) -> the default numbers of clips and crops."""


@dataclass(frozen=True)
class Protocol:
    """Which part of every video is used."""

    name: str
    sampling: str  # of the clips: "segment" or "dense"
    clips: int
    crops: int
    crop_size: int  # side of a crop, after the short side is resized to `short_side`
    short_side: int
    num_frames: int  # T
    dense_span: int
    ref_stride: float
    source: str = "frames"  # or "video": what a list's paths are

    @property
    def views(self) -> int:
        return self.clips * self.crops

    def clip_indices(self, num_frames: int) -> Indices:
        """Return the frames of each clip of a video of `num_frames`: (clips, T)."""
        N, T = num_frames, self.num_frames
        if self.name == "tsm_twice":
            return np.stack([segment_indices(N, T), np.arange(T) * N // T])
        if self.sampling == "segment":
            return segment_clips(N, T, self.clips)
        return dense_clips(N, T, self.dense_span, self.clips)


def protocol(data: DataConfig, cfg: EvalConfig) -> Protocol:
    """Return what `eval.protocol` means for these data, with `eval.clips`, `eval.crops` and `eval.crop_size` replacing its defaults.

    Raises ConfigError for a number of clips or crops that would make it another protocol, or for crops larger than the frame.
    """
    sampling = data.sampling if cfg.protocol == "multi" else "segment"
    clips, crops = _OWN[cfg.protocol, sampling]
    for key, asked, fixed in (
        ("clips", cfg.clips, clips if cfg.protocol != "multi" else None),
        ("crops", cfg.crops, crops if cfg.protocol == "single" else None),
    ):
        if fixed is not None and asked not in (None, fixed):
            raise ConfigError(
                f"eval.{key}: found {asked}; expected {fixed}, or eval.protocol: multi instead of {cfg.protocol}"
            )
    clips, crops = cfg.clips or clips, cfg.crops or crops
    size = cfg.crop_size or (data.image_size if crops == 1 else data.short_side)
    if size > data.short_side:
        raise ConfigError(f"eval.crop_size: found {size}; expected at most data.short_side = {data.short_side}")
    return Protocol(
        cfg.protocol, sampling, clips, crops, size, data.short_side, data.num_frames, data.dense_span, data.ref_stride,
        data.source,
    )  # fmt: skip


def crop_corners(height: int, width: int, size: int, crops: int) -> list[tuple[int, int]]:
    """Return (top, left) of `crops` squares, evenly spread along the longer side and centred on the shorter one.

    Crop m starts at floor(m room / (M - 1)), room = side - size: three crops are left, middle and right, or in an upright frame top, middle
    and bottom. A single crop is central, at floor(room / 2).
    """
    top, left = (height - size) // 2, (width - size) // 2
    if crops == 1:
        return [(top, left)]
    room = max(height, width) - size
    places = [m * room // (crops - 1) for m in range(crops)]
    return [(place, left) for place in places] if height > width else [(top, place) for place in places]


@dataclass(frozen=True)
class Views:
    """The V = clips x crops views of one video, clip by clip. A picture is a crop of a frame; its number is crop x n + frame."""

    frames: Tensor  # uint8 (n, 3, H, W): every frame that some clip uses, once, resized
    corners: list[tuple[int, int]]  # (top, left) of the distinct crops
    size: int  # side of the crops
    index: Indices  # (V, T), the pictures of each view
    t: Tensor  # float32 (V, T), in reference strides

    def pictures(self, numbers: Indices) -> Tensor:
        """uint8 (len(numbers), 3, S, S)"""
        crops, frames = np.divmod(numbers, len(self.frames))
        corners = [(int(frame), *self.corners[crop]) for crop, frame in zip(crops, frames, strict=True)]
        S = self.size
        return torch.stack([self.frames[i, :, top : top + S, left : left + S] for i, top, left in corners])


def read_views(path: Path, num_frames: int, protocol: Protocol) -> Views:
    """Read the views of a frame folder or video, decoding only the frames that they use, each once.

    Raises ClipError naming a file that is missing, damaged, or of another size than the others.
    """
    clips = protocol.clip_indices(num_frames)  # (C, T)
    asked = np.unique(clips).tolist()
    resize = partial(scale_short_side, short_side=protocol.short_side)
    frames = read_source(path, asked, num_frames, protocol.source, protocol.short_side, resize)
    return arrange(frames, clips, protocol)


def arrange(frames: Tensor, clips: Indices, protocol: Protocol) -> Views:
    """Return the views of frames (n, 3, H, W): those that `clips` (C, T) uses, in the video's order, resized."""
    _, where = np.unique(clips, return_inverse=True)
    places = crop_corners(frames.shape[2], frames.shape[3], protocol.crop_size, protocol.crops)
    corners = list(dict.fromkeys(places))  # in a square frame all crops of full height coincide
    crop = np.array([corners.index(place) for place in places])
    index = crop[:, None] * len(frames) + where.reshape(len(clips), 1, -1)  # (C, M, T)
    t = torch.from_numpy(clip_times(clips, protocol.ref_stride)).repeat_interleave(protocol.crops, 0)
    return Views(frames, corners, protocol.crop_size, index.reshape(protocol.views, -1), t)
