"""Scoring videos by several views each, every distinct picture encoded once: `hitagu evaluate`.

    views of a video --distinct pictures--> encode_frames --gathered, clip by clip--> temporal_head -> logits (V, K) -> their average (K,)

What the views are is told in hitagu_lib/data/views.py. TSM mixes frames inside its backbone, so that it has nothing to share between views:
its views are computed one after another.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from hitagu_lib.config import Config
from hitagu_lib.data.dataset import check_paths
from hitagu_lib.data.frames import normalise
from hitagu_lib.data.lists import ClipList, read_list
from hitagu_lib.data.sampling import Indices
from hitagu_lib.data.views import Protocol, Views, protocol, read_views
from hitagu_lib.errors import ClipError, ConfigError
from hitagu_lib.evaluate import Scores
from hitagu_lib.files import quoted, replacing, write_atomic
from hitagu_lib.models import ClipModel, FrameFeatures
from hitagu_lib.predict import frame_folder, load_model
from hitagu_lib.runs import surroundings
from hitagu_lib.train import make_accelerator, prepare_data


@torch.inference_mode()
def score_views(model: ClipModel, videos: Sequence[Views], frames_at_once: int = 64) -> list[Tensor]:
    """The logits of every view, float32 (V, K) for each video, by a model in evaluation mode. All views have the same T and size.

    Each distinct picture is encoded once, each distinct view goes once through the temporal half: as `score_views_plainly` within float
    rounding. No more than `frames_at_once` pictures are in the network at a time, in either half, and no more than that, or than one view
    with what later ones share with it where that is more, are kept as features: a feature is forgotten after its last view.
    """
    if not model.shares_frames:
        return score_views_plainly(model, videos, frames_at_once)
    device = next(model.parameters()).device
    table = _Pictures(videos)
    # Sorted, views of one crop follow one another, and those that share pictures are near: few features wait for a later view.
    index, first, again = np.unique(table.index, axis=0, return_index=True, return_inverse=True)
    t = table.t[first].to(device)
    last_view = np.zeros(table.count, np.int64)
    for view, pictures in enumerate(index):
        last_view[pictures] = view
    kept, features = np.zeros(0, np.int64), None  # the pictures whose features are there, and these
    place = np.zeros(table.count, np.int64)  # of a picture among them
    logits, view = [], 0
    while view < len(index):
        stop, needed = view + 1, np.union1d(kept, index[view])
        while stop < len(index) and len(more := np.union1d(needed, index[stop])) <= frames_at_once:
            stop, needed = stop + 1, more
        new = np.setdiff1d(needed, kept, assume_unique=True)
        parts = [] if features is None else [features]
        for some in _split(new, frames_at_once):
            parts.append(model.encode_frames(normalise(table.pictures(some).to(device, non_blocking=True))))
        features = parts[0] if len(parts) == 1 else _join(parts)
        kept = np.concatenate([kept, new])
        place[kept] = np.arange(len(kept))
        for some in _split(np.arange(view, stop), max(1, frames_at_once // index.shape[1])):
            gathered = _gather(features, place[index[some]].ravel())
            logits.append(model.temporal_head(gathered, t[some])[0].float().cpu())
        shared = np.flatnonzero(last_view[kept] >= stop)
        kept, features, view = kept[shared], _gather(features, shared) if len(shared) else None, stop
    return list(torch.cat(logits)[torch.from_numpy(again.ravel())].split(table.views))


@torch.inference_mode()
def score_views_plainly(model: ClipModel, videos: Sequence[Views], frames_at_once: int = 64) -> list[Tensor]:
    """The same by the plain loop: every view through the whole network, as many at a time as `frames_at_once` allows, at least one."""
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


def _split(numbers: Indices, size: int) -> list[Indices]:
    return [numbers[i : i + size] for i in range(0, len(numbers), size)]


def _gather(features: FrameFeatures, places: Indices) -> FrameFeatures:
    at = torch.from_numpy(places).to(features.top.device)
    return FrameFeatures(features.top[at], tuple(r[at] for r in features.reduced))


def _join(parts: Sequence[FrameFeatures]) -> FrameFeatures:
    reduced = zip(*(part.reduced for part in parts), strict=True)
    return FrameFeatures(torch.cat([part.top for part in parts]), tuple(torch.cat(maps) for maps in reduced))


def average_views(logits: Tensor, how: str) -> Tensor:
    """One score a class from the logits of a video's views: (..., V, K) -> (..., K), means of "probabilities" or of "logits"."""
    return (torch.softmax(logits, dim=-1) if how == "probabilities" else logits).mean(-2)


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


def evaluate(
    cfg: Config, checkpoint: str | Path, out: str | Path | None = None, progress: bool = False
) -> dict[str, Any]:
    """Score the videos of `data.val_list` by `eval.protocol`; write and return the report.

    The network is the checkpoint's, the data, T among them, and the protocol are `cfg`'s. Written to `out` (else
    <run folder>/evaluate-<protocol>/), each file whole or not at all, the report last:

        predictions.csv   row,path,label,predicted,score a video; row is the index in the list, score the predicted class's
        scores.npz        rows (N,), labels (N,), scores (N, K), view_logits (N, V, K), clip by clip: float32, N V K x 4 bytes
        report.json       protocol, accuracy, counts, what failed, where and when

    Accuracy is that of the videos that could be read, and beside it with those that could not counted as wrong ("..._of_listed").
    Raises ConfigError where the checkpoint's classes are not the list's, ListError and ClipError where data are not as they should be.
    """
    started = time.perf_counter()
    plan = protocol(cfg.data, cfg.eval)
    model, classes, accelerator = _load(cfg, checkpoint)
    check_paths(cfg.data)
    prepare_data(cfg, progress)
    clips = read_list(Path(cfg.data.val_list), Path(cfg.data.root), cfg.data.classes_file)
    if list(clips.classes) != list(classes):
        raise ConfigError(
            f"{checkpoint}: found {_brief(classes)}; expected the classes of {cfg.data.val_list}, {_brief(clips.classes)}"
        )
    with accelerator.autocast():
        found = score_list(model, clips, plan, cfg, progress)
    scores, listed, scored = found.scores, len(clips), len(found.scores.rows)
    accuracy = {"top1": scores.topk(1), "top5": scores.topk(5)}
    report = {
        "protocol": plan.name,
        "views": asdict(plan),
        "average": cfg.eval.average,
        **accuracy,
        "mean_class_accuracy": scores.mean_class_accuracy(),
        **{f"{name}_of_listed": value * scored / listed for name, value in accuracy.items()},
        "videos_listed": listed,
        "videos_scored": scored,
        "videos_failed": len(found.failed),
        "failed": found.failed,
        "frames_asked": found.frames_asked,
        "frames_encoded": found.frames_encoded,
        "seconds": round(time.perf_counter() - started, 1),
        "list": cfg.data.val_list,
        "checkpoint": str(checkpoint),
        "where": surroundings(str(accelerator.device)) | {"precision": accelerator.mixed_precision},
    }
    folder = Path(out) if out is not None else default_folder(checkpoint, plan.name)
    _write_predictions(folder / "predictions.csv", clips, scores)
    _write_scores(folder / "scores.npz", found)
    write_atomic(folder / "report.json", [json.dumps(report, indent=2, ensure_ascii=False) + "\n"])
    return report


def evaluate_video(
    cfg: Config, checkpoint: str | Path, source: str | Path, out: str | Path | None = None
) -> dict[str, Any]:
    """Rank the classes for one frame folder or video file by `eval.protocol`; with `out` also written to <out>/report.json."""
    plan = protocol(cfg.data, cfg.eval)
    model, classes, accelerator = _load(cfg, checkpoint)
    with frame_folder(source, plan.short_side) as (folder, num_frames):
        views = read_views(folder, num_frames, plan)
    with accelerator.autocast():
        (logits,) = score_views(model, [views], cfg.eval.frames_at_once)
    ranked = average_views(logits, cfg.eval.average).sort(descending=True)
    report = {
        "video": str(source),
        "num_frames": num_frames,
        "protocol": plan.name,
        "views": asdict(plan),
        "average": cfg.eval.average,
        "labels": [classes[i] for i in ranked.indices.tolist()],
        "scores": ranked.values.tolist(),
        "checkpoint": str(checkpoint),
    }
    if out is not None:
        write_atomic(Path(out) / "report.json", [json.dumps(report, indent=2, ensure_ascii=False) + "\n"])
    return report


def default_folder(checkpoint: str | Path, name: str) -> Path:
    """Where an evaluation goes: beside the `checkpoints` folder of the run, or beside a checkpoint that was copied elsewhere."""
    folder = Path(checkpoint).parent
    return (folder.parent if folder.name == "checkpoints" else folder) / f"evaluate-{name}"


def _load(cfg: Config, checkpoint: str | Path) -> tuple[ClipModel, list[str], Accelerator]:
    """The network of a checkpoint on the best device, its classes, and what runs it in the precision of `train`."""
    accelerator = make_accelerator(cfg.train)
    model, _, classes = load_model(checkpoint)
    model = model.to(accelerator.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model, classes, accelerator


def _brief(classes: Sequence[str]) -> str:
    return f"{len(classes)} classes ({', '.join(map(repr, classes[:3]))}{', ...' if len(classes) > 3 else ''})"


def _write_predictions(file: Path, clips: ClipList, scores: Scores) -> None:
    best = scores.logits.max(1)
    rows = zip(scores.rows.tolist(), scores.labels.tolist(), best.indices.tolist(), best.values.tolist(), strict=True)
    lines = (
        f"{row},{quoted(clips.path(row))},{quoted(clips.classes[label])},{quoted(clips.classes[predicted])},{score:.6g}\n"
        for row, label, predicted, score in rows
    )
    write_atomic(file, ["row,path,label,predicted,score\n", *lines])


def _write_scores(file: Path, found: Evaluation) -> None:
    with replacing(file) as aside:
        np.savez(
            aside,
            rows=found.scores.rows.numpy(),
            labels=found.scores.labels.numpy(),
            scores=found.scores.logits.numpy(),
            view_logits=found.logits.numpy(),
        )
