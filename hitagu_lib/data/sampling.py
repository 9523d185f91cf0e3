"""Which frames of a video make a clip, and their times. Pure functions.

Frames are counted from 0 here; on disk frame 0 is `000001.jpg`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def segment_indices(num_frames: int, T: int, rng: np.random.Generator | None = None) -> Indices:
    """Take one frame from each of T equal segments (TSN, Wang et al. 2016): at random within it, or without `rng` its centre.

    Segment i covers [i N/T, (i+1) N/T) of a video of N frames. A video of fewer than T frames repeats some, since its segments are
    shorter than a frame. Returns (T,) indices in [0, N) that never decrease.
    """
    within = np.full(T, 0.5) if rng is None else rng.random(T)
    return np.floor((np.arange(T) + within) * num_frames / T).astype(np.int64)


def dense_indices(num_frames: int, T: int, span: int, rng: np.random.Generator | None = None) -> Indices:
    """Spread T frames evenly over a window of `span` frames (Non-local, Wang et al. 2018), at random or, without `rng`, centred.

    A video shorter than the span repeats its last frame.
    """
    room = max(0, num_frames - span)
    start = room // 2 if rng is None else int(rng.integers(room + 1))
    return np.minimum(start + np.arange(T) * span // T, num_frames - 1)


def clip_indices(num_frames: int, T: int, sampling: str, span: int, rng: np.random.Generator | None = None) -> Indices:
    """Apply the strategy that `data.sampling` names: "segment" or "dense"."""
    if sampling == "segment":
        return segment_indices(num_frames, T, rng)
    return dense_indices(num_frames, T, span, rng)


def clip_times(indices: Indices, ref_stride: float) -> NDArray[np.float32]:
    """Return t (T,): the frames' positions in the video, in reference strides."""
    return (indices / ref_stride).astype(np.float32)


def segment_clips(num_frames: int, T: int, clips: int) -> Indices:
    """Return `clips` clips of one frame from each of T segments, as far into each segment: (clips, T).

    Clip c takes frame floor(i N/T + c/(C - 1) (N/T - 1)) for i < T: the first clip takes the first frame of each segment, the last clip
    the last one, so that it ends with the video. A single clip takes the centres. In a video of N <= T frames all clips are the same.
    """
    N, C = num_frames, clips
    if C == 1:
        return segment_indices(N, T)[None]
    i, c = np.arange(T)[None], np.arange(C)[:, None]
    return (i * N * (C - 1) + c * max(0, N - T)) // (T * (C - 1))  # the formula in integers: no rounding


def dense_clips(num_frames: int, T: int, span: int, clips: int) -> Indices:
    """Return `clips` windows of T frames, frame i at floor(i span / T) within its window: (clips, T).

    Clip c starts at floor(c room / (C - 1)), room = max(0, N - 1 - floor((T - 1) span / T)), so that the last one ends with the video.
    A single clip is validation's, in the middle. A video shorter than a window repeats its last frame, and all its clips are the same.
    """
    if clips == 1:
        return dense_indices(num_frames, T, span)[None]
    within = np.arange(T) * span // T
    starts = np.arange(clips) * max(0, num_frames - 1 - within[-1]) // (clips - 1)
    return np.minimum(starts[:, None] + within, num_frames - 1)
