"""`hitagu evaluate`: score a list, or one video, by a protocol; write its report and files."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from hitagu_lib import __version__
from hitagu_lib.config import Config
from hitagu_lib.data.clip_list import read_list
from hitagu_lib.data.dataset import swap_table
from hitagu_lib.data.sampling import Indices
from hitagu_lib.data.source import check_paths
from hitagu_lib.errors import ConfigError
from hitagu_lib.evaluation.metrics import LEVEL, RESAMPLES, accuracies, accuracy_by_views, calibration
from hitagu_lib.evaluation.multi_view import average_views, score_views
from hitagu_lib.evaluation.protocols import Protocol, protocol, read_views
from hitagu_lib.evaluation.results import write_results
from hitagu_lib.evaluation.resume import PartialScores, open_folder
from hitagu_lib.evaluation.score_list import Evaluation, score_list
from hitagu_lib.files import file_sha256, locked, remove_asides, same_file, write_json
from hitagu_lib.inference.accelerator import fewer, full_memory_explained, make_accelerator
from hitagu_lib.inference.predict import expect_numbers, frame_folder, load_model, readable
from hitagu_lib.models import ClipModel
from hitagu_lib.runs.provenance import command, surroundings


def evaluate(
    cfg: Config, checkpoint: str | Path, out: str | Path | None = None, progress: bool = False
) -> dict[str, Any]:
    """Score the videos of `data.val_list` by `eval.protocol`; write and return the report.

    The network comes from the checkpoint; the data, including T, and the protocol come from `cfg`. hitagu_lib/evaluation/results.py lists
    the files that are written to `out` (default: <run folder>/evaluate-<protocol>/); the report is written last. Run again, a stopped
    evaluation continues where it stopped, and a finished one is replaced. Under torchrun every process scores its share; the files equal
    those of a single process.

    Accuracy is over the videos that could be read; the values "..._of_listed" count the others as wrong. Calibration uses the mean of the
    views' probabilities with `eval.average: probabilities`, and the softmax of their mean logits with `logits`.
    Raises WeightsError if the checkpoint cannot be used or gives nan; ConfigError if its classes are not the list's, if the folder holds
    the evaluation of another checkpoint, another list, by other views or of another average, if another process writes to it, or if the
    memory is not enough; ListError and ClipError for data that are malformed or unreadable.
    """
    started = time.perf_counter()
    plan = protocol(cfg.data, cfg.eval)
    model, classes, accelerator = _load(cfg, checkpoint)
    check_paths(cfg.data)
    clips = read_list(Path(cfg.data.val_list), Path(cfg.data.root), cfg.data.classes_file)
    if list(clips.classes) != list(classes):
        raise ConfigError(
            f"{checkpoint}: found {_brief(classes)}; expected the classes of {cfg.data.val_list}, {_brief(clips.classes)}"
        )
    partner = swap_table(classes, cfg.data.reverse_swaps, "data.reverse_swaps")
    folder = Path(out) if out is not None else default_folder(checkpoint, plan.name)
    asked = _asked(plan, cfg, checkpoint, list=cfg.data.val_list)
    _refuse_another(folder / "report.json", asked)
    with _alone(folder) if accelerator.is_main_process else nullcontext():
        if accelerator.is_main_process:
            open_folder(folder / "partial", _settings(cfg, checkpoint, accelerator))
        accelerator.wait_for_everyone()
        partial = PartialScores(folder / "partial", accelerator.process_index)
        accelerator.wait_for_everyone()  # every process has read the folder before any adds to it
        with accelerator.autocast(), full_memory_explained(fewer("eval.frames_at_once", cfg.eval.frames_at_once)):
            found = score_list(model, clips, plan, cfg, accelerator, partial, progress and accelerator.is_main_process)
        if found is not None:
            write_results(folder, found, clips, partner, plan, cfg.eval.average)
            report = {
                "protocol": plan.name,
                **asked,
                **_numbers(found, len(clips), partner, plan, cfg.eval.average),
                "seconds": round(time.perf_counter() - started, 1),
                "where": surroundings(str(accelerator.device))
                | {"precision": accelerator.mixed_precision, "processes": accelerator.num_processes},
            }
            write_json(folder / "report.json", report)
            partial.remove()
        accelerator.wait_for_everyone()
        written: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        return written


def _asked(plan: Protocol, cfg: Config, checkpoint: str | Path, **of: str) -> dict[str, Any]:
    """Return what makes two evaluations the same one, as the report says it; of: the list or the video."""
    return {"views": asdict(plan), "average": cfg.eval.average, **of, "checkpoint": str(checkpoint)}


def _refuse_another(file: Path, asked: dict[str, Any]) -> None:
    """Raise ConfigError if the report is there and is of another checkpoint, list, video or average, or by other views."""
    either = {"list": None, "video": None}
    try:
        there = json.loads(file.read_text(encoding="utf-8"))
        found = either | there | there["views"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # no report, or none of an evaluation
        return
    for key, value in (either | asked | asked["views"]).items():
        was = found.get(key, value)
        if was == value or key == "views" or (key in {"checkpoint", "list", "video"} and _moved(was, value)):
            continue
        raise ConfigError(
            f"{file}: found an evaluation with {key} {was}; expected {value}, or no evaluation: choose another folder with --out"
        )


def _moved(was: object, now: object) -> bool:
    """Return whether two paths name one file, or one of the same name if its run was moved."""
    if not (isinstance(was, str) and isinstance(now, str)):
        return False
    same = same_file(was, now)
    return Path(was).name == Path(now).name if same is None else same


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Own the folder: a second evaluation in it would take the first one's scores away."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / ".lock"
    with locked(lock, f"{folder}: this evaluation", " ".join(command())):
        remove_asides(folder)
        try:
            yield
        finally:
            with suppress(PermissionError):  # Windows deletes no open file
                lock.unlink()


def _numbers(found: Evaluation, listed: int, partner: Indices, plan: Protocol, average: str) -> dict[str, Any]:
    scores, scored = found.scores, len(found.scores.rows)
    measured = accuracies(scores, partner)
    as_they_are = average == "probabilities"
    return {
        **measured,
        **{f"{name}_of_listed": measured[name] * scored / listed for name in ("top1", "top5")},
        "bootstrap": {"of": "videos", "resamples": RESAMPLES, "level": LEVEL, "seed": 0},
        "calibration": {
            **calibration(scores.logits if as_they_are else scores.logits.softmax(1), scores.labels),
            "probabilities": "mean of the views' probabilities" if as_they_are else "softmax of the views' mean logits",
        },
        "by_views": accuracy_by_views(found.view_logits, scores.labels, plan.clips, plan.crops, average),
        "orders": {order: accuracies(of, partner) for order, of in found.orders.items()},
        "videos_listed": listed,
        "videos_scored": scored,
        "videos_failed": len(found.failed),
        "videos_resumed": found.resumed,
        "failed": found.failed,
        "frames_asked": found.frames_asked,
        "frames_encoded": found.frames_encoded,
    }


def _settings(cfg: Config, checkpoint: str | Path, accelerator: Accelerator) -> dict[str, Any]:
    """Return everything that the scores depend on, except the contents of the frames."""
    data, evaluation = asdict(cfg.data), asdict(cfg.eval)
    for key in ("workers", "on_bad_clip", "prepare"):
        del data[key]
    for key in ("batch_size", "frames_at_once", "tsn_baseline"):
        del evaluation[key]
    return {
        "checkpoint": file_sha256(Path(checkpoint)),
        "list": file_sha256(Path(cfg.data.val_list)),
        **{f"data.{key}": value for key, value in data.items()},
        **{f"eval.{key}": value for key, value in evaluation.items()},
        "device": accelerator.device.type,
        "precision": accelerator.mixed_precision,
        "hitagu_lib": __version__,
    }


def evaluate_video(
    cfg: Config, checkpoint: str | Path, source: str | Path, out: str | Path | None = None
) -> dict[str, Any]:
    """Rank the classes for one frame folder or video file by `eval.protocol`; with `out`, also write <out>/report.json.

    Raises WeightsError for the checkpoint or if it gives nan, ClipError or ExtractError for a video that cannot be read, ConfigError
    if `out` holds another evaluation or the memory is not enough.
    """
    plan = protocol(cfg.data, cfg.eval)
    asked = _asked(plan, cfg, checkpoint, video=str(source))
    if out is not None:
        _refuse_another(Path(out) / "report.json", asked)
    model, classes, accelerator = _load(cfg, checkpoint)
    with readable(Path(source)), frame_folder(source, plan.short_side) as (folder, num_frames):
        views = read_views(folder, num_frames, plan)
    with accelerator.autocast(), full_memory_explained(fewer("eval.frames_at_once", cfg.eval.frames_at_once)):
        (logits,) = score_views(model, [views], cfg.eval.frames_at_once)
    ranked = average_views(expect_numbers(logits, str(source)), cfg.eval.average).sort(descending=True)
    report = {
        **asked,
        "num_frames": num_frames,
        "protocol": plan.name,
        "labels": [classes[i] for i in ranked.indices.tolist()],
        "scores": ranked.values.tolist(),
    }
    if out is not None:
        write_json(Path(out) / "report.json", report)
    return report


def default_folder(checkpoint: str | Path, name: str) -> Path:
    """Return where an evaluation is written: beside the run's `checkpoints` folder, or beside a checkpoint that was copied elsewhere."""
    folder = Path(checkpoint).parent
    return (folder.parent if folder.name == "checkpoints" else folder) / f"evaluate-{name}"


def _load(cfg: Config, checkpoint: str | Path) -> tuple[ClipModel, list[str], Accelerator]:
    """Return a checkpoint's network on the best device, its classes, and an Accelerator with the precision of `train`."""
    accelerator = make_accelerator(cfg.train)
    model, _, classes = load_model(checkpoint)
    model = model.to(accelerator.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model, classes, accelerator


def _brief(classes: Sequence[str]) -> str:
    return f"{len(classes)} classes ({', '.join(map(repr, classes[:3]))}{', ...' if len(classes) > 3 else ''})"
