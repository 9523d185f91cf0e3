"""Score videos by several views each, encoding every distinct picture once.

    views of a video --distinct pictures--> encode_frames --gathered, clip by clip--> temporal_head -> logits (V, K) -> their average (K,)

hitagu_lib/evaluation/protocols.py defines the views. TSM mixes frames inside its backbone and can share nothing between views, so its
views are computed one after another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hitagu_lib.data.frames import normalise
from hitagu_lib.data.sampling import Indices
from hitagu_lib.evaluation.protocols import Views
from hitagu_lib.models import ClipModel, FrameFeatures


@torch.inference_mode()
def score_views(model: ClipModel, videos: Sequence[Views], frames_at_once: int = 64) -> list[Tensor]:
    """Return the logits of every view, float32 (V, K) for each video, from a model in evaluation mode. All views have the same T and size.

    Each distinct picture is encoded once, and each distinct view passes once through the temporal half; the result equals that of
    `score_views_plainly` within float rounding. At most `frames_at_once` pictures are in either half of the network at a time. At most
    that many features are kept, or those of one view and what later views share with it if that is more; a feature is dropped after
    its last view.
    """
    if not model.shares_frames:
        return score_views_plainly(model, videos, frames_at_once)
    device = next(model.parameters()).device
    table = _Pictures(videos)
    index, t, again = _distinct(table.index, table.t)
    t = t.to(device)
    last_view = np.zeros(table.count, np.int64)
    for view, pictures in enumerate(index):
        last_view[pictures] = view
    kept, features = np.zeros(0, np.int64), None  # the pictures whose features are kept, and those features
    place = np.zeros(table.count, np.int64)  # each picture's place among them
    logits, view = [], 0
    while view < len(index):
        stop, needed = view + 1, np.union1d(kept, index[view])
        while stop < len(index) and len(more := np.union1d(needed, index[stop])) <= frames_at_once:
            stop, needed = stop + 1, more
        new = np.setdiff1d(needed, kept, assume_unique=True)
        parts = [] if features is None else [features]
        for some in _split(new, frames_at_once):
            parts.append(model.encode_frames(normalise(table.pictures(some).to(device, non_blocking=True))))
        features = parts[0] if len(parts) == 1 else FrameFeatures.joined(parts)
        kept = np.concatenate([kept, new])
        place[kept] = np.arange(len(kept))
        for some in _split(np.arange(view, stop), max(1, frames_at_once // index.shape[1])):
            gathered = features.at(torch.from_numpy(place[index[some]].ravel()).to(device))
            logits.append(model.temporal_head(gathered, t[some])[0].float().cpu())
        shared = np.flatnonzero(last_view[kept] >= stop)
        waiting = torch.from_numpy(shared).to(device)
        kept, features, view = kept[shared], features.at(waiting) if len(shared) else None, stop
    return list(torch.cat(logits)[torch.from_numpy(again)].split(table.views))


@torch.inference_mode()
def score_views_plainly(model: ClipModel, videos: Sequence[Views], frames_at_once: int = 64) -> list[Tensor]:
    """Return the same logits by the plain loop: every view through the whole network, one or more at once as `frames_at_once` allows."""
    device = next(model.parameters()).device
    table = _Pictures(videos)
    T = table.index.shape[1]
    logits = []
    for some in _split(np.arange(len(table.index)), max(1, frames_at_once // T)):
        x = table.pictures(table.index[some].ravel()).to(device, non_blocking=True).unflatten(0, (-1, T))
        logits.append(model(normalise(x), table.t[some].to(device)).float().cpu())
    return list(torch.cat(logits).split(table.views))


class _Pictures:
    """The pictures and views of several videos under one numbering."""

    def __init__(self, videos: Sequence[Views]) -> None:
        self.videos = videos
        self.starts = np.cumsum([0] + [len(v.corners) * len(v.frames) for v in videos])
        self.count = int(self.starts[-1])
        self.views = [len(v.index) for v in videos]
        self.index: Indices = np.concatenate([v.index + start for v, start in zip(videos, self.starts, strict=False)])
        self.t = torch.cat([v.t for v in videos])

    def pictures(self, numbers: Indices) -> Tensor:
        """uint8 (len(numbers), 3, S, S)"""
        owner = np.searchsorted(self.starts, numbers, side="right") - 1
        out: Tensor | None = None
        for i in np.unique(owner):
            mine = np.flatnonzero(owner == i)
            part = self.videos[i].pictures(numbers[mine] - self.starts[i])
            if len(mine) == len(numbers):
                return part
            out = part.new_empty((len(numbers), *part.shape[1:])) if out is None else out
            out[torch.from_numpy(mine)] = part
        assert out is not None
        return out


def _distinct(index: Indices, t: Tensor) -> tuple[Indices, Tensor, Indices]:
    """Return the distinct views among index (V, T), t (V, T), and which of them each view is (V,).

    They are sorted by their pictures, regardless of the pictures' order: views of one crop follow one another and views that share pictures
    are close, so few features have to wait for a later view.
    """
    # The same pictures at other times are another view.
    both = np.concatenate([index, t.numpy().view(np.int32)], axis=1)
    _, first, again = np.unique(both, axis=0, return_index=True, return_inverse=True)
    index = index[first]
    order = np.lexsort(np.sort(index, axis=1).T[::-1])
    return index[order], t[first[order]], np.argsort(order)[again.ravel()]


def _split(numbers: Indices, size: int) -> list[Indices]:
    return [numbers[i : i + size] for i in range(0, len(numbers), size)]


def average_views(logits: Tensor, how: str) -> Tensor:
    """Average a video's views: logits (..., V, K) -> scores (..., K), the mean of "probabilities" or of "logits"."""
    return (torch.softmax(logits, dim=-1) if how == "probabilities" else logits).mean(-2)
