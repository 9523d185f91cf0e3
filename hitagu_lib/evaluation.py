"""`hitagu evaluate`: a list, or one video, scored by a protocol; its report and files."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from hitagu_lib.config import Config
from hitagu_lib.data.dataset import check_paths
from hitagu_lib.data.lists import ClipList, read_list
from hitagu_lib.data.views import protocol, read_views
from hitagu_lib.errors import ConfigError
from hitagu_lib.evaluate import Scores
from hitagu_lib.files import quoted, replacing, write_atomic
from hitagu_lib.learner import make_accelerator
from hitagu_lib.models import ClipModel
from hitagu_lib.predict import frame_folder, load_model
from hitagu_lib.runs import surroundings
from hitagu_lib.scoring import Evaluation, score_list
from hitagu_lib.train import prepare_data
from hitagu_lib.views import average_views, score_views


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
