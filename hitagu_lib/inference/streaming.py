"""Predict along a video while it plays: at each frame, from the frames so far.

    frame n:  the last `window` frames up to n  --sampled so that the clip ends in n-->  T frames  -->  probabilities, maps

The clip is sampled like the last clip of protocol `multi` (hitagu_lib/evaluation/protocols.py) for a video that ends here: the last frame
of each of T equal segments, or T frames of a dense window. Its last frame is therefore the frame on display, and the attention drawn over
that frame is its own. While there are fewer than T frames, some stand in the clip twice. `predict` sees the whole video once, by the middle
frame of each segment: its probabilities are close to those at the last frame, but not equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from hitagu_lib.config import DataConfig
from hitagu_lib.data.frames import normalise, read_frames
from hitagu_lib.data.sampling import Indices, clip_times, dense_clips, segment_clips
from hitagu_lib.data.transforms import centre_crop
from hitagu_lib.models import ClipMaps, ClipModel, FrameFeatures

WINDOW = 1024
"""How many frames back a clip of segments reaches by default. It bounds the memory: 0.5 GB for features of ResNet-50."""


@dataclass(frozen=True)
class Running:
    """The running prediction at each of a video's N frames."""

    probabilities: Tensor  # (N, K)
    clips: Indices  # (N, T), the frames that were used; the last is the frame itself
    # (N, h, w), SCA's spatial gate in the frame itself; None: the network has none.
    spatial_map: Tensor | None
    # (N, T), the weights with which the frame reads its clip: TSA's, mean over heads; None: the network has none.
    reads: Tensor | None


def running_clips(num_frames: int, cfg: DataConfig, window: int | None = None) -> Indices:
    """Return the clip that ends in each frame of a video, (num_frames, T).

    window: how many frames it covers, the last included; None: `data.dense_span` with dense sampling, else WINDOW.
    """
    reach = window or (cfg.dense_span if cfg.sampling == "dense" else WINDOW)
    clips = np.empty((num_frames, cfg.num_frames), np.int64)
    for n in range(num_frames):
        seen = min(n + 1, reach)
        if cfg.sampling == "dense":
            within = dense_clips(seen, cfg.num_frames, cfg.dense_span, 2)[1]
        else:
            within = segment_clips(seen, cfg.num_frames, 2)[1]
        clips[n] = n + 1 - seen + within
    return clips


@torch.inference_mode()
def predict_along(
    folder: Path,
    num_frames: int,
    model: ClipModel,
    cfg: DataConfig,
    *,
    window: int | None = None,
    frames_at_once: int = 64,
    progress: bool = False,
) -> Running:
    """Return the running prediction over a frame folder by a model in evaluation mode; window: see `running_clips`.

    Each frame passes through the backbone once, and its features are kept as long as a later clip needs them; TSM, which mixes frames in
    its backbone, encodes once per clip. At most `frames_at_once` frames, or one clip, are in the network at a time. Raises ClipError
    naming a frame that cannot be read.
    """
    device = next(model.parameters()).device
    clips = running_clips(num_frames, cfg, window)
    t = torch.from_numpy(clip_times(clips, cfg.ref_stride)).to(device)
    # Kept for each frame from `begin` on: its features, or for TSM the picture.
    kept: FrameFeatures | None = None
    begin = 0
    probabilities, spatial, reads = [], [], []
    with tqdm(
        total=num_frames, desc="predicting", unit="frame", disable=None if progress else True, leave=False
    ) as bar:
        for block in _blocks(0, num_frames, frames_at_once):
            pictures = read_frames(folder, block, lambda frame: centre_crop(frame, cfg.image_size, cfg.short_side))
            x = normalise(pictures.to(device))
            new = model.encode_frames(x) if model.shares_frames else FrameFeatures(x)
            oldest = int(clips[block.start].min())  # no later clip reaches back further
            kept = new if kept is None else FrameFeatures.joined([kept.at(slice(oldest - begin, None)), new])
            begin = oldest
            for some in _blocks(block.start, block.stop, max(1, frames_at_once // cfg.num_frames)):
                asked = torch.from_numpy(clips[some.start : some.stop] - begin).to(device)  # (n, T)
                logits, maps = _run(model, kept.at(asked.flatten()), t[some.start : some.stop])
                probabilities.append(torch.softmax(logits.float(), dim=1).cpu())
                if maps.spatial_map is not None:
                    spatial.append(maps.spatial_map[:, -1].float().cpu())
                if maps.temporal_attention is not None:
                    reads.append(maps.temporal_attention.mean(1)[:, -1].float().cpu())
                bar.update(len(some))
    return Running(
        torch.cat(probabilities), clips, torch.cat(spatial) if spatial else None, torch.cat(reads) if reads else None
    )


def _run(model: ClipModel, features: FrameFeatures, t: Tensor) -> tuple[Tensor, ClipMaps]:
    if model.shares_frames:
        return model.temporal_head(features, t, return_maps=True)
    logits, maps = model(features.top.unflatten(0, tuple(t.shape)), t, return_maps=True)
    return logits, maps


def _blocks(start: int, stop: int, size: int) -> Iterator[range]:
    return (range(begin, min(begin + size, stop)) for begin in range(start, stop, size))
