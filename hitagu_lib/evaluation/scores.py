"""Score a model on a list, one clip per video as in validation; the frame orders of the order tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn
from torch.utils.data import DataLoader

from hitagu_lib.data.dataset import ClipDataset
from hitagu_lib.data.frames import normalise
from hitagu_lib.data.loader import Bar, Batch
from hitagu_lib.data.sampling import Indices
from hitagu_lib.errors import ClipError
from hitagu_lib.evaluation.protocols import Views
from hitagu_lib.inference.predict import expect_numbers
from hitagu_lib.models.clip_model import evaluating, reversed_times

ORDERS = ("forward", "shuffled", "reversed", "frozen")
"""As filmed; in a random order; played backwards, times included; the middle frame in every place."""


@dataclass(frozen=True)
class Scores:
    """Logits of N clips, or the scores of N videos, in the order of the list."""

    rows: Tensor  # int64 (N,), index in the list
    labels: Tensor  # int64 (N,)
    logits: Tensor  # float32 (N, num_classes)

    def topk(self, k: int) -> float:
        """Return the share of clips whose label is among the k highest logits."""
        return float(self.right(k).float().mean())

    def mean_class_accuracy(self) -> float:
        """Return the mean over classes of the share of clips classified correctly; classes without clips are left out."""
        clips, right = (torch.tensor(counts) for counts in self.by_class())
        return float((right / clips)[clips > 0].mean())

    def right(self, k: int) -> Tensor:
        """Return bool (N,): whether the label is among the k highest logits."""
        best = self.predicted[:, None] if k == 1 else self.logits.topk(min(k, self.logits.shape[1])).indices
        return (best == self.labels[:, None]).any(1)

    @property
    def predicted(self) -> Tensor:
        """int64 (N,)"""
        return self.logits.argmax(1)

    def by_class(self) -> tuple[list[int], list[int]]:
        """Return, for each class, its number of clips and of correctly classified clips."""
        classes = self.logits.shape[1]
        right = self.labels[self.predicted == self.labels]
        return self.labels.bincount(minlength=classes).tolist(), right.bincount(minlength=classes).tolist()

    def called(self, labels: np.ndarray) -> float:
        """Return the share of clips that are classified as `labels[label]`, such as their partner class."""
        wanted = torch.from_numpy(labels)[self.labels]
        return float((self.predicted == wanted).float().mean())


@torch.inference_mode()
def score_clips(
    model: nn.Module,
    loader: DataLoader[Batch],
    accelerator: Accelerator,
    order: str = "forward",
    seed: int = 0,
    progress: bool = False,
) -> Scores:
    """Return the model's logits for every clip from the loaders of all processes, with its frames in one of `ORDERS`.

    Every process returns all scores, sorted by row, each clip once, computed with the first process's weights and statistics; a process
    may have no clips. "shuffled" draws each clip's permutation from (seed, row). The model keeps its mode. Raises ClipError if no clip
    could be read, WeightsError if a logit is nan or infinite.
    """
    device = accelerator.device
    # Bypass DistributedDataParallel: its forward waits for all processes, and one may have fewer batches, or none.
    network: nn.Module = accelerator.unwrap_model(model)
    if accelerator.num_processes > 1:
        for buffer in network.buffers():  # each process has its own BatchNorm statistics
            buffer.copy_(broadcast(buffer))
    clips = cast(ClipDataset, loader.dataset).clips
    rows, labels = [torch.empty(0, dtype=torch.int64)], [torch.empty(0, dtype=torch.int64)]
    logits = [torch.empty(0, len(clips.classes))]
    batches = iter(loader)  # given the loader itself, tqdm would start it twice
    with evaluating(network):
        for batch in Bar(batches, desc=f"scoring, {order}", total=len(loader), disable=not progress, leave=False):
            if not len(batch["row"]):
                continue
            frames, t = reorder(batch["frames"], batch["t"], order, batch["row"].tolist(), seed)
            out = network(normalise(frames.to(device, non_blocking=True)), t.to(device, non_blocking=True))
            logits.append(out.float().cpu())
            rows.append(batch["row"])
            labels.append(batch["label"])
    parts = [torch.cat(part).to(device) for part in (rows, labels, logits)]
    if accelerator.num_processes > 1:  # shares are uneven: pad to one length, then drop the padding
        parts = [accelerator.gather(accelerator.pad_across_processes(part, pad_index=-1)) for part in parts]
        by_row = parts[0].argsort()
        parts = [part[by_row][parts[0][by_row] >= 0] for part in parts]
    if not len(parts[0]):
        raise ClipError(f"{clips.file}: none of its {len(clips)} clips could be read")
    expect_numbers(parts[2], str(clips.file))
    return Scores(*(part.cpu() for part in parts))


def frame_order(order: str, T: int, rng: np.random.Generator) -> Indices:
    """Return which frame of a clip of T stands in each place: (T,). Only "shuffled" uses `rng`."""
    if order == "shuffled":
        return rng.permutation(T)
    if order == "reversed":
        return np.arange(T)[::-1]
    return np.full(T, T // 2) if order == "frozen" else np.arange(T)


def reorder(frames: Tensor, t: Tensor, order: str, rows: Sequence[int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """frames (B, T, ...), t (B, T) -> the same clips in one of `ORDERS`; "shuffled" draws from (seed, row)."""
    if order == "forward":
        return frames, t
    T = frames.shape[1]
    places = np.stack([frame_order(order, T, np.random.default_rng((seed, row))) for row in rows])
    mixed = frames[torch.arange(len(rows))[:, None], torch.from_numpy(places)]
    return mixed, reversed_times(t) if order == "reversed" else t


def reorder_views(views: Views, order: str, crops: int, row: int, seed: int = 0) -> Views:
    """Return the views of a video with the frames of each clip in one of `ORDERS`; the pictures are the same, so none is encoded again.

    Clip c is shuffled by the c-th permutation drawn from (seed, row), so the one clip of `single` is shuffled as `reorder` does it; all
    crops of a clip are shuffled alike.
    """
    V, T = views.index.shape
    rng = np.random.default_rng((seed, row))
    places = np.stack([frame_order(order, T, rng) for _ in range(V // crops)]).repeat(crops, axis=0)
    index = np.take_along_axis(views.index, places, axis=1)
    return dataclasses.replace(views, index=index, t=reversed_times(views.t) if order == "reversed" else views.t)
