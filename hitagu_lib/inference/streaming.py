"""What a network says of a video while it plays: at each frame, from the frames so far.

    frame n:  the last `window` frames up to n  --sampled so that the clip ends in n-->  T frames  -->  probabilities, maps

A clip is sampled as the last one of the protocol `multi` (hitagu_lib/evaluation/protocols.py) samples a video that ends here: the
last frame of each of T equal segments, or T frames of a dense window. So its last frame is the one that is shown, and the attention
that is drawn over it is its own. At first there are fewer than T frames, and some stand in the clip twice. `predict` looks at the
whole video, once, from the middle of the segments: its probabilities are near those of the last frame, not the same.
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
"""How far back a clip of segments reaches, in frames, where nothing else is said: it bounds the memory, 0.5 GB of features of ResNet-50."""


@dataclass(frozen=True)
class Running:
    """At each of a video's N frames."""

    probabilities: Tensor  # (N, K)
    clips: Indices  # (N, T), the frames that were looked at; the last is the frame itself
    spatial_map: Tensor | None  # (N, h, w), SCA's spatial gate in the frame itself; None: the network has none
    reads: (
        Tensor | None
    )  # (N, T), what the frame reads of its clip: TSA's weights, mean over heads; None: the network has none


def running_clips(num_frames: int, cfg: DataConfig, window: int | None = None) -> Indices:
    """The clip that ends in each frame of a video, (num_frames, T).

    window: how many frames it reaches back over, itself among them; None: `data.dense_span` where sampling is dense, else WINDOW.
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
    """The running prediction over a frame folder, by a model in evaluation mode; window as for `running_clips`.

    Each frame goes through the backbone once, and its features are kept as long as a later clip asks for them; those of TSM, which mixes
    frames there, go through it once a clip. No more than `frames_at_once` frames, or one clip, are in the network at a time. Raises
    ClipError naming a frame that cannot be read.
    """
    device = next(model.parameters()).device
    clips = running_clips(num_frames, cfg, window)
    t = torch.from_numpy(clip_times(clips, cfg.ref_stride)).to(device)
    # What is kept of each frame from `begin` on: features, or of TSM the pictures.
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
