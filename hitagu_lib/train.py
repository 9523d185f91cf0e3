"""Training: `fit` is the whole of it, `train` makes the data first and adds the TSN baseline; also what torchrun starts.

`python -m hitagu_lib.train` is `hitagu train`.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from tqdm.auto import tqdm

from hitagu_lib.config import Config, ModelConfig
from hitagu_lib.data.dataset import Batch, ClipDataset, check_paths, make_loader, open_lists, swap_table
from hitagu_lib.devices import make_accelerator
from hitagu_lib.evaluate import Scores, score_clips
from hitagu_lib.learner import Learner
from hitagu_lib.optimisation import step_in_words
from hitagu_lib.runs import Run, load_checkpoint

_log = logging.getLogger(__name__)

OnEpoch = Callable[[list[dict[str, Any]]], None]


def train(cfg: Config, on_epoch: OnEpoch | None = None, progress: bool = False) -> dict[str, Any]:
    """Fit the model, and with `eval.tsn_baseline` TSN by the same recipe; returns and writes the run's summary.

    A finished run is not repeated; one that was killed goes on from its last checkpoint.
    """
    check_paths(cfg.data)
    accelerator = make_accelerator(cfg.train)
    with accelerator.main_process_first():
        prepare_data(cfg, progress)
    summary = fit(cfg, on_epoch, progress)
    if cfg.eval.tsn_baseline and "tsn_val_top1" not in summary:
        baseline = dataclasses.replace(
            cfg,
            run=f"{cfg.run}/tsn",
            model=_tsn(cfg),
            train=dataclasses.replace(cfg.train, init=None),
            eval=dataclasses.replace(cfg.eval, order_tests=False, tsn_baseline=False),
        )
        tsn = fit(baseline, None, progress)
        summary |= {"tsn_val_top1": tsn["val_top1"], "tsn_train_seconds": tsn["train_seconds"]}
        if accelerator.is_main_process:
            Run(cfg).write_summary(summary)
    return summary


def _tsn(cfg: Config) -> ModelConfig:
    """TSN, which starts from the backbone that the model starts from."""
    weights = cfg.train.init or cfg.model.backbone.weights
    backbone = dataclasses.replace(cfg.model.backbone, weights=weights)
    return dataclasses.replace(cfg.model, temporal="tsn", backbone=backbone)


def prepare_data(cfg: Config, progress: bool = False) -> None:
    """Make the data set that `data.prepare` names, where it is not there yet."""
    made = Path(cfg.data.train_list).exists() and Path(cfg.data.val_list).exists()
    if cfg.data.prepare is not None and not made:
        from hitagu_lib.data.synthetic import MiniSpec, prepare_mini

        prepare_mini(Path(cfg.data.root).parent, MiniSpec.of(cfg.data.prepare), progress=progress)


def fit(cfg: Config, on_epoch: OnEpoch | None = None, progress: bool = False) -> dict[str, Any]:
    """Train one model from its parameters; see `outputs/<run>/` for what is written.

    `on_epoch` is called after each epoch, and for a finished run once, with the metrics of all epochs so far. Returns the summary,
    whose top-1 values are of the last epoch's weights, not of the best epoch's: choosing an epoch by validation would flatter them.
    Raises TrainingError where the loss is not a number, ClipError where a clip cannot be read.
    """
    run = Run(cfg)
    if (finished := run.summary()) is not None:
        if on_epoch is not None:
            on_epoch(run.metrics())
        return finished
    set_seed(cfg.train.seed)
    accelerator = make_accelerator(cfg.train)
    train_clips, val_clips = open_lists(cfg.data)
    train_set = ClipDataset(train_clips, cfg.data, train=True, seed=cfg.train.seed)
    val_set = ClipDataset(val_clips, cfg.data, train=False)
    process = {"process": accelerator.process_index, "processes": accelerator.num_processes}
    train_loader = make_loader(
        train_set, cfg.train.batch_size, shuffle=True, accumulate=cfg.train.accumulate, **process
    )
    val_loader = make_loader(val_set, cfg.eval.batch_size, shuffle=False, **process)
    learner = Learner(cfg, train_clips.classes, train_loader.sampler.steps, accelerator)  # type: ignore[attr-defined]
    main = accelerator.is_main_process  # it alone writes to the run's folder

    def score(order: str = "forward") -> Scores:
        return score_clips(learner.evaluated, val_loader, accelerator, order, progress=progress and main)

    if run.checkpoint("last").exists():
        learner.load_state_dict(load_checkpoint(run.checkpoint("last")))
    elif cfg.train.init is not None:
        learner.start_from(cfg.train.init)
    accelerator.wait_for_everyone()  # all have read what is there before anything is written
    bad_clips = run.folder / "bad_clips.txt"
    if main:
        run.forget_metrics_from(learner.epoch)
        weights = accelerator.unwrap_model(learner.model).backbone.loaded
        run.write_provenance(
            _device_name(accelerator.device), weights and dataclasses.asdict(weights), learner.started_from
        )
        _log.info("%s", step_in_words(cfg.train, accelerator.num_processes))
    with SummaryWriter(str(run.logs), purge_step=learner.steps) if main else nullcontext() as board:
        while learner.epoch < cfg.train.epochs:
            started, cpu_started = time.perf_counter(), time.process_time()
            metrics = {"epoch": learner.epoch} | _train_epoch(
                learner, train_loader, board, bad_clips, progress and main
            )
            if learner.epoch % cfg.train.eval_every == 0 or learner.epoch == cfg.train.epochs:
                metrics["val_top1"] = score().topk(1)
            learner.seconds += time.perf_counter() - started
            learner.cpu_seconds += time.process_time() - cpu_started
            metrics |= {"seconds": round(learner.seconds, 2), "cpu_seconds": round(learner.cpu_seconds, 2)}
            best = metrics.get("val_top1", -1.0) > learner.best_top1
            learner.best_top1 = max(learner.best_top1, metrics.get("val_top1", -1.0))
            if board is None:
                continue
            if "val_top1" in metrics:
                board.add_scalar("val/top1", metrics["val_top1"], learner.steps)
            if best:
                run.save_checkpoint("best", learner.state_dict())
            run.log_metrics(metrics)
            run.save_checkpoint("last", learner.state_dict())
            if on_epoch is not None:
                on_epoch(run.metrics())

    forward = score()
    summary = {
        "run": cfg.run,
        "temporal": cfg.model.temporal,
        "seed": cfg.train.seed,
        "epochs": cfg.train.epochs,
        "train_clips": len(train_clips),
        "val_clips": len(val_clips),
        "num_classes": len(train_clips.classes),
        "parameters": sum(p.numel() for p in learner.model.parameters()),
        "device": _device_name(accelerator.device),
        "train_seconds": round(learner.seconds, 1),
        "train_cpu_seconds": round(learner.cpu_seconds, 1),  # of this process, loader workers not counted
        "bad_clips": len(bad_clips.read_text(encoding="utf-8").splitlines()) if bad_clips.exists() else 0,
        "best_val_top1": learner.best_top1,
        "val_top1": forward.topk(1),
        "val_top5": forward.topk(5),
    }
    if cfg.eval.order_tests:
        partner = swap_table(train_clips.classes, cfg.data.reverse_swaps, "data.reverse_swaps")
        summary["val_top1_shuffled"] = score("shuffled").topk(1)
        summary["val_partner_rate_reversed"] = score("reversed").called(partner)
    if main:
        run.write_classes(train_clips.classes, *forward.by_class())
        run.write_summary(summary)
    accelerator.wait_for_everyone()
    return summary


def _train_epoch(
    learner: Learner, loader: DataLoader[Batch], board: SummaryWriter | None, bad_clips: Path, progress: bool
) -> dict[str, float]:
    """One pass over the training clips; returns the epoch's means over the clips of all processes."""
    learner.model.train()
    loader.sampler.set_epoch(learner.epoch)  # type: ignore[attr-defined]
    steps: int = loader.sampler.steps  # type: ignore[attr-defined]
    sums: dict[str, float] = {}
    clips: dict[str, float] = {}
    started = time.perf_counter()
    title = f"epoch {learner.epoch + 1}/{learner.cfg.train.epochs}"
    with tqdm(loader, desc=title, disable=not progress, leave=False) as bar:
        batches = iter(bar)
        for _ in range(steps):
            share = list(islice(batches, learner.cfg.train.accumulate))  # none where this process has no clips
            if bad := [message for batch in share for message in batch["bad"]]:
                note_bad_clips(bad, bad_clips)
            values = learner.step(share)
            number = values.pop("clips")
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value * number
                clips[name] = clips.get(name, 0.0) + number
                if board is not None:
                    board.add_scalar(f"train/{name}", value, learner.steps)
    learner.epoch += 1
    means = {f"train_{name}": total / clips[name] for name, total in sums.items()}
    return means | {"clips_per_second": clips["loss"] / (time.perf_counter() - started)}


def note_bad_clips(messages: list[str], file: Path) -> None:
    """Add to the run's list of clips left out, each (by its list's line) once."""
    known = {line.split(": ")[0] for line in file.read_text(encoding="utf-8").splitlines()} if file.exists() else set()
    new = {message.split(": ")[0]: message for message in messages if message.split(": ")[0] not in known}
    if new:
        with file.open("a", encoding="utf-8") as out:
            out.writelines(f"{message}\n" for message in new.values())


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


if __name__ == "__main__":
    from hitagu_lib.cli import main

    sys.exit(main(["train", *sys.argv[1:]]))
