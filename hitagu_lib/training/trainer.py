"""Train: `fit` trains one model; `train` prepares the data first and adds the TSN baseline."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from itertools import islice
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from torch.utils.tensorboard import SummaryWriter

from hitagu_lib.config import Config
from hitagu_lib.data.clip_list import ClipList
from hitagu_lib.data.dataset import ClipDataset, swap_table
from hitagu_lib.data.loader import Bar, Batch, EpochSampler, make_loader
from hitagu_lib.data.source import check_paths, open_lists
from hitagu_lib.errors import ConfigError, TrainingError
from hitagu_lib.evaluation.scores import Scores, score_clips
from hitagu_lib.inference.accelerator import fewer, full_memory_explained, make_accelerator
from hitagu_lib.models.diagnostics import gate_statistics, probe_batch
from hitagu_lib.models.losses import balanced_weights
from hitagu_lib.prepare.synthetic.make import prepare_data
from hitagu_lib.runs.run_dir import Run
from hitagu_lib.training.distributed import agreed_signal, failure_reported, launched
from hitagu_lib.training.launch import OnEpoch, train_in_processes
from hitagu_lib.training.learner import Learner, NotANumber
from hitagu_lib.training.meters import EpochTally, Speed, Stopwatch
from hitagu_lib.training.optim import step_in_words
from hitagu_lib.training.signals import Stopped, StopSignals

_log = logging.getLogger(__name__)

PROBE_CLIPS = 8
"""Validation clips whose gates are measured: enough for means and quantiles, in the time of one small batch."""


def train(cfg: Config, on_epoch: OnEpoch | None = None, progress: bool = False) -> dict[str, Any]:
    """Fit the model and, with `eval.tsn_baseline`, TSN by the same recipe; return and write the run's summary.

    A finished run is not repeated; one that was stopped or killed resumes from its last checkpoint. If `train.processes` asks for
    several processes, start them, unless this is already one of several.
    """
    with failure_reported():
        check_paths(cfg.data)
        if cfg.train.processes > 1 and not launched() and not _is_finished(cfg):
            return train_in_processes(cfg, on_epoch, progress)
        summary = fit(cfg, on_epoch, progress)
        if cfg.eval.tsn_baseline and "tsn_val_top1" not in summary:
            tsn = fit(_baseline(cfg), None, progress)
            summary |= {"tsn_val_top1": tsn["val_top1"], "tsn_train_seconds": tsn["train_seconds"]}
            if make_accelerator(cfg.train).is_main_process:
                Run(cfg).write_summary(summary)
        return summary


def _is_finished(cfg: Config) -> bool:
    summary = Run(cfg).summary()
    return summary is not None and ("tsn_val_top1" in summary or not cfg.eval.tsn_baseline)


def _baseline(cfg: Config) -> Config:
    """Return TSN's recipe; it starts from the same backbone weights as the model."""
    backbone = dataclasses.replace(cfg.model.backbone, weights=cfg.train.init or cfg.model.backbone.weights)
    return dataclasses.replace(
        cfg,
        run=f"{cfg.run}/tsn",
        model=dataclasses.replace(cfg.model, temporal="tsn", backbone=backbone),
        train=dataclasses.replace(cfg.train, init=None),
        eval=dataclasses.replace(cfg.eval, order_tests=False, tsn_baseline=False),
    )


def fit(cfg: Config, on_epoch: OnEpoch | None = None, progress: bool = False) -> dict[str, Any]:
    """Train one model from its parameters, in this process; hitagu_lib.runs.run_dir lists the files that it writes.

    The data set that `data.prepare` names is made first, unless it is there.

    Call `on_epoch` after each epoch, and once for a finished run, with the metrics of all epochs so far. Return the summary, whose top-1
    values are those of the last epoch's weights, not of the best epoch's: choosing an epoch by validation would flatter them.

    Raises TrainingError if the loss is not a number or the disk is full; ClipError if a clip cannot be read; ConfigError if another
    process trains in the folder, if its run had other parameters or lists, if `train.processes` asks for several, which only `train`
    starts, or if a step does not fit into memory; WeightsError if its checkpoints are damaged; Stopped after one of SIGNALS
    (hitagu_lib.data.loader).
    """
    run = Run(cfg)
    if (finished := run.summary()) is not None:
        if on_epoch is not None:
            on_epoch(run.metrics())
        return finished
    if cfg.train.processes > 1 and not launched():
        raise ConfigError(
            f"train.processes: found {cfg.train.processes}; expected 1: `fit` trains in this process; `hitagu train` starts several"
        )
    set_seed(cfg.train.seed)
    accelerator = make_accelerator(cfg.train)
    with accelerator.main_process_first():
        prepare_data(cfg.data, progress)
    run = Run(cfg)  # it reads the lists once, and only now they are there
    # Only the main process writes to the run's folder.
    with run.opened() if accelerator.is_main_process else nullcontext(), full_memory_explained(_smaller(cfg)):
        trainer = Trainer(cfg, run, accelerator, progress)
        trainer.resume()
        return trainer.train(on_epoch)


def _smaller(cfg: Config) -> str:
    """Return what to change if a step does not fit into memory."""
    train, data = cfg.train, cfg.data
    found = f"found train.batch_size {train.batch_size} of {data.num_frames} frames at {data.image_size} px"
    if train.batch_size % 2:
        return f"{found}; expected fewer clips, or a run of its own (run=...) with fewer or smaller frames"
    half = f"train.batch_size={train.batch_size // 2} train.accumulate={2 * train.accumulate}"
    return f"{found}; expected fewer clips at a time: {half} takes steps of as many clips"


def samples_per_class(labels: npt.NDArray[np.integer], classes: Sequence[str], cfg: Config) -> npt.NDArray[np.float64]:
    """Return how many samples of each class an epoch has on average, (num_classes,), for the labels (N,) of the training list.

    Half of the clips are mirrored and change their label by `data.hflip_swaps`; with `train.both_directions` a clip of a pair in
    `data.reverse_swaps` is a sample of its partner's class as well.
    """
    counts = np.bincount(labels, minlength=len(classes)).astype(np.float64)
    if cfg.data.hflip:
        counts = (counts + counts[swap_table(classes, cfg.data.hflip_swaps, "data.hflip_swaps")]) / 2
    if cfg.train.both_directions:
        partner = swap_table(classes, cfg.data.reverse_swaps, "data.reverse_swaps")
        counts = counts + np.where(partner == np.arange(len(classes)), 0, counts[partner])
    return counts


class Trainer:
    """Train one model from where its run stands to its summary; `fit` is the only user.

    A signal stops training between two steps, the same two in all processes, with a checkpoint. It interrupts only scoring: anywhere
    else, it could end one process while another one is in its next step. Stopped then says where training stands.
    """

    def __init__(self, cfg: Config, run: Run, accelerator: Accelerator, progress: bool) -> None:
        self.cfg, self.run, self.accelerator = cfg, run, accelerator
        self.main = accelerator.is_main_process
        self.progress = progress and self.main
        self.train_clips, val_clips = open_lists(cfg.data)
        train_set = ClipDataset(self.train_clips, cfg.data, train=True, seed=cfg.train.seed)
        self.val_set = ClipDataset(val_clips, cfg.data, train=False)
        process = {"process": accelerator.process_index, "processes": accelerator.num_processes}
        self.train_loader = make_loader(
            train_set, cfg.train.batch_size, shuffle=True, accumulate=cfg.train.accumulate, **process
        )
        self.sampler = cast(EpochSampler, self.train_loader.sampler)
        self.val_loader = make_loader(self.val_set, cfg.eval.batch_size, shuffle=False, **process)
        classes = self.train_clips.classes
        weights = None
        if cfg.train.class_weights == "balanced":
            weights = balanced_weights(torch.from_numpy(samples_per_class(self.train_clips.labels, classes, cfg)))
        self.learner = Learner(cfg, classes, self.sampler.steps, accelerator, weights)
        self.watch, self.stop = Stopwatch(), StopSignals()
        self.board: SummaryWriter | None = None
        self._skipped: list[str] = []  # clips that this process could not read, not yet noted in the run's folder

    def resume(self) -> None:
        """Load the run's last checkpoint, or, at a first start, the one that `train.init` names. Raises WeightsError if it cannot."""
        if (state := self.run.last_state(warn=self.main)) is not None:
            self.learner.load_state_dict(state)
        elif self.cfg.train.init is not None:
            self.learner.start_from(self.cfg.train.init)
        self.accelerator.wait_for_everyone()  # all processes have read the folder before one writes to it
        if self.main:
            self.run.rewind(self.learner.epoch)
            weights = self.accelerator.unwrap_model(self.learner.model).backbone.loaded
            loaded = weights and dataclasses.asdict(weights)
            resumed_at = None if state is None else self.learner.steps
            device, processes = _device_name(self.accelerator.device), self.accelerator.num_processes
            self.run.write_provenance(device, processes, loaded, self.learner.started_from, resumed_at)
            _log.info("%s", step_in_words(self.cfg.train, self.accelerator.num_processes))

    def train(self, on_epoch: OnEpoch | None) -> dict[str, Any]:
        """Train the epochs that are left, then score and summarise."""
        # TensorBoard drops the readings of steps that will be taken again.
        purge = self.learner.steps + 1
        try:
            with (
                self.stop.deferred(),
                self.stop,
                SummaryWriter(str(self.run.logs), purge_step=purge) if self.main else nullcontext() as self.board,
            ):
                if self.main and on_epoch is not None and self.learner.epoch == self.cfg.train.epochs:
                    on_epoch(self.run.metrics())  # only the summary is missing
                while self.learner.epoch < self.cfg.train.epochs:
                    self._epoch()
                    if self.main and on_epoch is not None:
                        on_epoch(self.run.metrics())
                    self._stop_if_asked()
                summary = self._summary()
                self._stop_if_asked()
                return summary
        except Stopped as stopped:
            words = f"stopped by {stopped.signal.name} at {self._place()}; {self.run.kept()}; the same command resumes there"
            raise Stopped(stopped.signal, words if self.main else "") from None

    def _epoch(self) -> None:
        """Train the epoch's remaining steps, validate, and save both results."""
        cfg, learner = self.cfg.train, self.learner
        metrics: dict[str, Any] = {"epoch": learner.epoch} | self._steps()
        trained = learner.state_dict()
        try:
            self._stop_if_asked()
            if (learner.epoch + 1) % cfg.eval_every == 0 or learner.epoch + 1 == cfg.epochs:
                metrics["val_top1"] = self._validate()
        except Stopped:
            self._save(trained)  # validation does not change it
            raise
        learner.epoch, learner.tally = learner.epoch + 1, EpochTally()
        self._lap()
        metrics |= {"seconds": round(learner.seconds, 2), "cpu_seconds": round(learner.cpu_seconds, 2)}
        if metrics.get("val_top1", -1.0) > learner.best_top1:
            learner.best_top1 = metrics["val_top1"]
            if self.main:
                self.run.save_checkpoint("best", learner.state_dict())
        if self.main:
            self.run.log_metrics(metrics)
        self._save(learner.state_dict())

    def _steps(self) -> dict[str, float]:
        """Train the epoch's remaining steps; return means over the samples of the whole epoch and of all processes."""
        cfg, learner, tally = self.cfg.train, self.learner, self.learner.tally
        learner.model.train()
        self.sampler.set_epoch(learner.epoch, start=tally.steps)
        steps = self.sampler.steps
        speed = Speed(tally, self.board)
        shares = speed.waited_for(self.train_loader)
        title = f"epoch {learner.epoch + 1}/{cfg.epochs}"
        with Bar(desc=title, total=steps, initial=tally.steps, disable=not self.progress, leave=False) as bar:
            while tally.steps < steps:
                share = list(islice(shares, cfg.accumulate))  # empty if this process has no clips left
                self._skipped += [message for batch in share for message in batch["bad"]]
                if self.accelerator.num_processes == 1:
                    self._note_skipped()
                try:
                    values = learner.step(share)
                except NotANumber as error:
                    raise TrainingError(
                        f"{error}. Clips of the step: {_lines(self.train_clips, error.rows)}; {self.run.kept()}"
                    ) from error
                clips, samples = values.pop("clips"), values.pop("samples")
                tally.add(values, clips, samples)
                speed.step(clips, learner.steps, last=tally.steps == steps)
                if self.board is not None:
                    for name, value in values.items():
                        self.board.add_scalar(f"train/{name}", value, learner.steps)
                bar.update()
                due = cfg.checkpoint_every and (tally.steps % cfg.checkpoint_every == 0 or tally.steps == steps)
                stop = self._stop_asked()
                if due or stop or (tally.steps == steps and self.accelerator.num_processes > 1):
                    self._lap()
                    self._note_skipped()
                    self._save(learner.state_dict())
                if stop:
                    raise Stopped(stop)
        means = {f"train_{name}": value for name, value in tally.means().items()}
        speeds = {"clips_per_second": tally.clips / tally.seconds, "data_wait_share": tally.waited / tally.seconds}
        return means | speeds

    def _note_skipped(self) -> None:
        """List the clips that any process has skipped since the last call; all processes call it at the same step, one writes."""
        skipped = gather_object(self._skipped) if self.accelerator.num_processes > 1 else self._skipped
        if self.main:
            self.run.note_bad_clips(skipped)
        self._skipped = []

    def _stop_asked(self) -> int:
        return agreed_signal(self.stop.received, self.accelerator)

    def _stop_if_asked(self) -> None:
        if stop := self._stop_asked():
            raise Stopped(stop)

    def _place(self) -> str:
        epochs = self.cfg.train.epochs
        return f"step {self.learner.steps}, in epoch {min(self.learner.epoch + 1, epochs)} of {epochs}"

    def _lap(self) -> None:
        wall, cpu = self.watch.lap()
        self.learner.seconds += wall
        self.learner.cpu_seconds += cpu

    def _save(self, state: dict[str, Any]) -> None:
        if self.board is not None:
            self.board.flush()  # a kill must not lose the readings of steps that will not be taken again
        if self.main:
            self.run.save_checkpoint("last", state)
        self.run.last_step = state["steps"]

    def _score(self, order: str = "forward") -> Scores:
        with self.stop.at_once(), full_memory_explained(fewer("eval.batch_size", self.cfg.eval.batch_size)):
            return score_clips(self.learner.evaluated, self.val_loader, self.accelerator, order, progress=self.progress)

    def _validate(self) -> float:
        top1 = self._score().topk(1)
        if self.board is not None:
            self.board.add_scalar("val/top1", top1, self.learner.steps)
            for name, value in gate_statistics(self.learner.evaluated, self._probe, self.accelerator.device).items():
                self.board.add_scalar(name, value, self.learner.steps)
        return top1

    @cached_property
    def _probe(self) -> Batch:
        """The validation clips on which the gates are measured."""
        return probe_batch(self.val_set, PROBE_CLIPS)

    def _summary(self) -> dict[str, Any]:
        """Score the last weights, and write the summary that marks a finished run."""
        cfg, learner, device = self.cfg, self.learner, _device_name(self.accelerator.device)
        classes, forward = self.train_clips.classes, self._score()
        summary = {
            "run": cfg.run,
            "temporal": cfg.model.temporal,
            "seed": cfg.train.seed,
            "epochs": cfg.train.epochs,
            "train_clips": len(self.train_clips),
            "val_clips": len(self.val_set),
            "num_classes": len(classes),
            "global_batch_size": learner.global_batch_size,
            "processes": self.accelerator.num_processes,
            "parameters": sum(p.numel() for p in learner.model.parameters()),
            "device": device,
            "train_seconds": round(learner.seconds, 1),
            # of this process, without the loader's workers
            "train_cpu_seconds": round(learner.cpu_seconds, 1),
            "bad_clips": len(self.run.bad_clips()),
            # fewer than val_clips if some could not be read and on_bad_clip is skip
            "val_clips_scored": len(forward.rows),
            "best_val_top1": learner.best_top1,
            "val_top1": forward.topk(1),
            "val_top5": forward.topk(5),
            "val_mean_class_accuracy": forward.mean_class_accuracy(),
        }
        if skipped := sorted(set(range(len(self.val_set))) - set(forward.rows.tolist())):
            lines = _lines(self.val_set.clips, skipped[:10])
            _log.warning("%s: %d validation clips could not be read", lines, len(skipped))
        if cfg.eval.order_tests:
            partner = swap_table(classes, cfg.data.reverse_swaps, "data.reverse_swaps")
            summary["val_top1_shuffled"] = self._score("shuffled").topk(1)
            summary["val_partner_rate_reversed"] = self._score("reversed").called(partner)
        if self.main:
            self.run.write_classes(classes, *forward.by_class())
            self.run.write_summary(summary)
        self.accelerator.wait_for_everyone()
        return summary


def _lines(clips: ClipList, rows: Sequence[int]) -> str:
    lines = sorted(clips.row(row) for row in rows)
    return f"{clips.file}:{','.join(map(str, lines))}"


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
