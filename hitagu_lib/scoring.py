"""Scoring every video of a list by a protocol's views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from hitagu_lib.config import Config
from hitagu_lib.data.lists import ClipList
from hitagu_lib.data.views import Protocol, Views, read_views
from hitagu_lib.errors import ClipError
from hitagu_lib.evaluate import Scores
from hitagu_lib.models import ClipModel
from hitagu_lib.views import average_views, score_views


class ViewDataset(Dataset["tuple[int, Views | str]"]):
    """(row, the views of that video), or where it cannot be read and `on_bad_clip` is skip, (row, what is wrong)."""

    def __init__(self, clips: ClipList, protocol: Protocol, on_bad_clip: str) -> None:
        self.clips, self.protocol, self.on_bad_clip = clips, protocol, on_bad_clip

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, row: int) -> tuple[int, Views | str]:
        try:
            return row, read_views(self.clips.frames_dir(row), int(self.clips.num_frames[row]), self.protocol)
        except ClipError as error:
            message = f"{self.clips.file}:{self.clips.row(row)}: {error}"
            if self.on_bad_clip == "skip":
                return row, message
            raise ClipError(f"{message} (or leave such videos out, counted, with data.on_bad_clip=skip)") from error


@dataclass(frozen=True)
class Evaluation:
    scores: Scores  # of the videos that could be read, views averaged
    logits: Tensor  # float32 (N, V, K), of each view
    failed: list[str]  # videos that could not be read: what and why
    frames_asked: int  # V x T a video
    frames_encoded: int


def score_list(model: ClipModel, clips: ClipList, plan: Protocol, cfg: Config, progress: bool = False) -> Evaluation:
    """Score every video of a list by `data` (workers, on_bad_clip) and `eval` (average, frames_at_once) of `cfg`.

    Raises ClipError naming the list's line where a video cannot be read, or with on_bad_clip: skip where none can be. The model is left in
    evaluation mode.
    """
    model.eval()
    at_once = cfg.eval.frames_at_once
    dataset = ViewDataset(clips, plan, cfg.data.on_bad_clip)
    videos_at_once = max(1, at_once // (plan.views * plan.num_frames))
    loader: DataLoader[Any] = DataLoader(dataset, videos_at_once, num_workers=cfg.data.workers, collate_fn=list)
    rows, logits, failed, encoded = [], [], [], 0
    for batch in tqdm(loader, desc=f"scoring, {plan.name}", disable=not progress, leave=False):
        good = [(row, views) for row, views in batch if not isinstance(views, str)]
        failed += [views for _, views in batch if isinstance(views, str)]
        if good:
            rows += [row for row, _ in good]
            logits += score_views(model, [views for _, views in good], at_once)
            encoded += sum(len(np.unique(v.index)) if model.shares_frames else v.index.size for _, v in good)
    if not rows:
        raise ClipError(f"none of the {len(clips)} videos could be read; the first: {failed[0]}")
    of_views = torch.stack(logits)
    labels = torch.from_numpy(np.asarray(clips.labels)[rows].astype(np.int64))
    scores = Scores(torch.tensor(rows), labels, average_views(of_views, cfg.eval.average))
    return Evaluation(scores, of_views, failed, len(rows) * plan.views * plan.num_frames, encoded)
