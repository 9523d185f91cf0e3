"""Score every video of a list by a protocol's views, in several processes; continue a scoring that was stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hitagu_lib.config import Config
from hitagu_lib.data.clip_list import ClipList
from hitagu_lib.data.loader import Bar
from hitagu_lib.errors import ClipError
from hitagu_lib.evaluation.multi_view import average_views, score_views
from hitagu_lib.evaluation.protocols import Protocol, Views, read_views
from hitagu_lib.evaluation.resume import Arrays, PartialScores
from hitagu_lib.evaluation.scores import ORDERS, Scores, reorder_views
from hitagu_lib.inference.predict import expect_numbers
from hitagu_lib.models import ClipModel


class ViewDataset(Dataset["tuple[int, Views | str]"]):
    """Items (row, views of that video); for a video that cannot be read, with `on_bad_clip: skip`, (row, error message)."""

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
    scores: Scores  # of the readable videos, averaged over views
    view_logits: Tensor  # float32 (N, V, K)
    orders: dict[str, Scores]  # scores with each view's frames in that order; empty without `eval.order_tests`
    failed: list[str]  # one message per video that could not be read
    resumed: int  # videos scored earlier, by an evaluation that was stopped
    frames_asked: int  # V x T per video, and as many for each order
    frames_encoded: int


def score_list(
    model: ClipModel,
    clips: ClipList,
    plan: Protocol,
    cfg: Config,
    accelerator: Accelerator,
    partial: PartialScores,
    progress: bool = False,
) -> Evaluation | None:
    """Score every video of a list by `data` (workers, on_bad_clip) and `eval` (average, frames_at_once, order_tests) of `cfg`.

    Each process scores its share and adds it to `partial`; the main process returns everything, the others None. Which videos share a pass
    through the network depends neither on the number of processes nor on where an earlier evaluation stopped; so neither do the scores.

    Raises ClipError naming the list's line of a video that cannot be read; with on_bad_clip: skip only if none can be read. Leaves the
    model in evaluation mode.
    """
    model.eval()
    at_once, orders = cfg.eval.frames_at_once, ORDERS if cfg.eval.order_tests else ORDERS[:1]
    size = max(1, at_once // (plan.views * plan.num_frames))
    groups = [list(range(begin, min(begin + size, len(clips)))) for begin in range(0, len(clips), size)]
    # A group with a video that could not be read is tried again: the video may have been repaired.
    groups = [group for group in groups if not partial.scored.issuperset(group)]
    resumed = len(clips) - sum(map(len, groups))
    groups = groups[accelerator.process_index :: accelerator.num_processes]
    dataset = ViewDataset(clips, plan, cfg.data.on_bad_clip)
    loader: DataLoader[Any] = DataLoader(dataset, batch_sampler=groups, num_workers=cfg.data.workers, collate_fn=list)
    batches = iter(loader)  # tqdm, given the loader, would begin it twice
    title = f"scoring, {plan.name}"
    try:
        for batch in Bar(batches, desc=title, total=len(loader), disable=not progress, leave=False):
            good = {row: views for row, views in batch if not isinstance(views, str)}
            scored = _score_group(model, good, orders, plan, cfg) if good else None
            for row, logits in zip(good, scored["view_logits"] if scored else (), strict=True):
                expect_numbers(torch.from_numpy(logits), f"{clips.file}:{clips.row(row)}")
            partial.add(scored, {row: what for row, what in batch if isinstance(what, str)})
    finally:
        partial.save()
    accelerator.wait_for_everyone()
    return _gathered(partial, clips, orders, resumed, cfg) if accelerator.is_main_process else None


def _score_group(
    model: ClipModel, videos: dict[int, Views], orders: Sequence[str], plan: Protocol, cfg: Config
) -> Arrays:
    """Score {row: views}: return the logits of each video's views, and their average for every other order."""
    ordered = {row: [reorder_views(views, order, plan.crops, row) for order in orders] for row, views in videos.items()}
    together = [
        replace(several[0], index=np.concatenate([v.index for v in several]), t=torch.cat([v.t for v in several]))
        for several in ordered.values()
    ]
    logits = torch.stack(score_views(model, together, cfg.eval.frames_at_once)).unflatten(1, (len(orders), -1))
    asked = [views.index.size for views in together]
    distinct = [len(np.unique(views.index)) for views in together]
    return {
        "rows": np.array(list(videos), np.int64),
        "view_logits": logits[:, 0].numpy(),  # (n, V, K)
        "of_orders": average_views(logits[:, 1:], cfg.eval.average).numpy(),  # (n, orders - 1, K)
        "frames_asked": np.array(asked),
        "frames_encoded": np.array(distinct if model.shares_frames else asked),
    }


def _gathered(partial: PartialScores, clips: ClipList, orders: Sequence[str], resumed: int, cfg: Config) -> Evaluation:
    scored, failed = partial.read()
    rows = scored["rows"]
    if not len(rows):
        raise ClipError(f"none of the {len(clips)} videos could be read; the first: {next(iter(failed.values()))}")
    labels = torch.from_numpy(np.asarray(clips.labels)[rows].astype(np.int64))
    view_logits, of_orders = (torch.from_numpy(scored[name]) for name in ("view_logits", "of_orders"))

    def scores(values: Tensor) -> Scores:
        return Scores(torch.from_numpy(rows), labels, values)

    # The logits of many views of many videos may be gigabytes; averaging in parts avoids as many probabilities at once.
    averages = torch.cat([average_views(some, cfg.eval.average) for some in view_logits.split(1024)])
    return Evaluation(
        scores(averages),
        view_logits,
        {order: scores(of_orders[:, i]) for i, order in enumerate(orders[1:])},
        list(failed.values()),
        resumed,
        int(scored["frames_asked"].sum()),
        int(scored["frames_encoded"].sum()),
    )
