"""One training step, and all that it changes: network, losses, optimiser, schedule."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hitagu_lib import __version__
from hitagu_lib.config import Config
from hitagu_lib.data.dataset import swap_table
from hitagu_lib.data.frames import normalise
from hitagu_lib.data.loader import Batch
from hitagu_lib.errors import ClipError, TrainingError, WeightsError
from hitagu_lib.models import build_model
from hitagu_lib.models.losses import TotalLoss
from hitagu_lib.models.weights import key_difference
from hitagu_lib.training.distributed import check_device, share_statistics, statistics_kept
from hitagu_lib.training.meters import EpochTally
from hitagu_lib.training.optim import check_global_batch, make_optimizer, make_schedule
from hitagu_lib.training.warm_start import start_from


class NotANumber(TrainingError):
    """A loss or gradient that is not a number; `rows`: the training list's indices of the clips that may have caused it."""

    def __init__(self, message: str, rows: Sequence[int]) -> None:
        super().__init__(message)
        self.rows = rows


class Learner:
    """Everything that training changes; `step` changes it, and a checkpoint holds its state."""

    def __init__(
        self,
        cfg: Config,
        classes: Sequence[str],
        steps_per_epoch: int,
        accelerator: Accelerator,
        class_weights: Tensor | None = None,
    ) -> None:
        self.cfg, self.classes, self.accelerator = cfg, list(classes), accelerator
        self.global_batch_size = cfg.train.global_batch_size(accelerator.num_processes)
        check_device(cfg.train, accelerator)
        model = build_model(cfg.model, len(classes), pretrained=cfg.train.init is None)
        criterion = TotalLoss(cfg.train, len(classes), model.clip_width, class_weights)
        optimizer = make_optimizer(model, cfg.train, cfg.train.peak_lr(accelerator.num_processes))
        self.schedule = make_schedule(optimizer, cfg.train, steps_per_epoch)
        # Channels last: the layout in which CPUs and tensor cores run convolutions fastest.
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if cfg.train.sync_bn and accelerator.num_processes > 1:  # a single process sees all clips of a batch anyway
            share_statistics(model)
        self.averaged: AveragedModel | None = None
        if cfg.train.ema:
            average = get_ema_multi_avg_fn(cfg.train.ema)
            self.averaged = AveragedModel(model, accelerator.device, multi_avg_fn=average, use_buffers=True)
            accelerator.prepare_model(self.averaged.module, evaluation_mode=True)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        # Averaging their gradients keeps the centres equal in all processes, as it does the network; no other loss has parameters.
        self.criterion = accelerator.prepare(criterion) if cfg.train.center_loss else criterion
        # The centres take plain gradient steps at a rate of their own.
        self.centers = (
            torch.optim.SGD(criterion.parameters(), lr=cfg.train.center_lr) if cfg.train.center_loss else None
        )
        self.partner = torch.from_numpy(swap_table(self.classes, cfg.data.reverse_swaps, "data.reverse_swaps"))
        self.epoch, self.steps, self.best_top1 = 0, 0, -1.0
        self.seconds, self.cpu_seconds = 0.0, 0.0
        self.tally = EpochTally()  # of the current epoch
        self.started_from: dict[str, Any] | None = None

    def start_from(self, file: str) -> None:
        """Load the weights of another run's checkpoint, as `train.init_head` says; see hitagu_lib.training.warm_start."""
        model, criterion = (self.accelerator.unwrap_model(part) for part in (self.model, self.criterion))
        started = start_from(file, self.cfg.train.init_head, model, criterion, self.classes)
        self.started_from = dataclasses.asdict(started)

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and saved: with train.ema, the averaged one."""
        network = self.averaged.module if self.averaged is not None else self.accelerator.unwrap_model(self.model)
        return cast(nn.Module, network)

    def step(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Take one optimiser step together with the other processes.

        `batches`, at most train.accumulate of them, are this process's share of the clips. Every clip of the global batch has the same
        weight, whatever its batch and process, and however many other clips could not be read.

        Return "clips", the number of clips; "samples", where a clip that is also repeated backwards counts twice; the means over samples of
        the loss, its terms and top-1; "grad_norm", the gradient's norm before clipping (missing if fp16 overflowed, which skips the step);
        "lr", the learning rate.

        Raises, in all processes alike: NotANumber if the loss or its gradient is not a number (the weights are then those of the previous
        step); ClipError if no clip of the global batch could be read.
        """
        accelerator, cfg = self.accelerator, self.cfg.train
        passes = self._passes(batches)
        targets = [self._targets(batch) for batch in passes]
        clips = [len(batch["row"]) for batch in passes]
        samples = [len(labels) if n else 0 for (labels, _), n in zip(targets, clips, strict=True)]
        all_clips, all_samples = self._over_processes([sum(clips), sum(samples)])
        if not all_samples:
            bad = gather_object([message for batch in batches for message in batch["bad"]])
            raise ClipError(f"no clip of a whole step could be read; the first: {bad[0]}")
        self.optimizer.zero_grad(set_to_none=True)
        if self.centers is not None:
            self.centers.zero_grad(set_to_none=True)
        measured: list[Tensor] = []  # loss, terms, top-1 of each pass
        names: list[str] = []
        for i, (batch, n) in enumerate(zip(passes, samples, strict=True)):
            with self._pass(i, last=i == len(passes) - 1, counts=n > 0):
                loss, terms, top1 = self._losses(batch, *targets[i])
                # Gradients are summed over passes and averaged over processes: this weight makes the result the mean over all samples.
                accelerator.backward(loss * (n * accelerator.num_processes / all_samples))
            names = ["loss", *terms, "top1"]
            measured.append(torch.stack([loss, *terms.values(), top1]).detach())
        values = [value.tolist() for value in measured]
        sums = self._over_processes(
            [sum(v[k] * n for v, n in zip(values, samples, strict=True)) for k in range(len(names))]
        )
        means = {name: total / all_samples for name, total in zip(names, sums, strict=True)}
        if not math.isfinite(means["loss"]):
            theirs = [b for b, v in zip(passes, values, strict=True) if not math.isfinite(v[0])]
            self._stop(f"the loss is {means['loss']}", means, theirs)
        norm = float(accelerator.clip_grad_norm_(self.model.parameters(), cfg.clip_norm or math.inf))
        if not math.isfinite(norm) and accelerator.scaler is None:
            self._stop(f"the gradient's norm is {norm}", means, passes)
        rate = float(self.schedule.get_last_lr()[0])
        taken = self._update()
        self.steps += 1
        counted = {"clips": all_clips, "samples": all_samples}
        return counted | means | ({"grad_norm": norm} if taken else {}) | {"lr": rate}

    def _passes(self, batches: Sequence[Batch]) -> list[Batch]:
        """Return the batches that have clips; in several processes, equally many in each: DistributedDataParallel waits for all of them.

        A grey clip of weight zero stands in for a batch without clips. It is in no list, so its "row" is empty.
        """
        if self.accelerator.num_processes == 1:
            return [batch for batch in batches if len(batch["row"])]
        T, S = self.cfg.data.num_frames, self.cfg.data.image_size
        grey = torch.full((1, T, 3, S, S), 128, dtype=torch.uint8)
        none = torch.zeros(1, dtype=torch.int64)
        stand_in = Batch(frames=grey, t=torch.arange(float(T))[None], label=none, row=none[:0], bad=[])
        filled = [batch if len(batch["row"]) else stand_in for batch in batches]
        return filled + [stand_in] * (self.cfg.train.accumulate - len(batches))

    def _targets(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return the labels of a batch's samples, and the indices of the clips that are repeated backwards, under their partner's label."""
        labels = batch["label"]
        if not self.cfg.train.both_directions:
            return labels, None
        backwards = (self.partner[labels] != labels).nonzero()[:, 0]
        return torch.cat([labels, self.partner[labels[backwards]]]), backwards

    @contextmanager
    def _pass(self, number: int, *, last: bool, counts: bool) -> Iterator[None]:
        """Prepare one of a step's forward and backward passes: random state, gradient exchange, BatchNorm's statistics."""
        accelerator = self.accelerator
        if self.cfg.train.accumulate * accelerator.num_processes > 1:
            # Dropout depends on the seed, the step and the place in the global batch, not on which process computes it.
            place = number * accelerator.num_processes + accelerator.process_index
            seed = np.random.SeedSequence((self.cfg.train.seed, self.steps, place)).generate_state(1, np.uint64)
            torch.manual_seed(int(seed[0]))
        with ExitStack() as stack:
            if not last:  # processes average their gradients once per step
                stack.enter_context(accelerator.no_sync(self.model))
                stack.enter_context(accelerator.no_sync(self.criterion))
            if not counts:
                stack.enter_context(statistics_kept(self.model))
            yield

    def _losses(
        self, batch: Batch, labels: Tensor, backwards: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Return the loss of one batch, its terms, and top-1."""
        device = self.accelerator.device
        labels, t = labels.to(device, non_blocking=True), batch["t"].to(device, non_blocking=True)
        frames = normalise(batch["frames"].to(device, non_blocking=True))
        if backwards is not None:
            backwards = backwards.to(device, non_blocking=True)
        with self.accelerator.autocast():
            logits, maps = self.model(frames, t, return_embeddings=True, also_backwards=backwards)
            loss, terms = self.criterion(logits, maps, labels)
        return loss, terms, (logits.argmax(1) == labels).float().mean()

    def _update(self) -> bool:
        """Update weights, centres, average and rate; return False, and change nothing, if fp16 overflowed."""
        scaler = self.accelerator.scaler
        scale = scaler.get_scale() if scaler is not None else 1.0  # the step may change it
        self.optimizer.step()
        if self.accelerator.optimizer_step_was_skipped:
            return False
        self.schedule.step()
        if self.centers is not None:
            for parameter in self.criterion.parameters():
                # The centres have their own rate: lambda_center weights only the gradient that reaches the network.
                if parameter.grad is not None:
                    parameter.grad /= max(self.cfg.train.lambda_center, 1e-12) * scale
            self.centers.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.accelerator.unwrap_model(self.model))
        return True

    def _over_processes(self, values: Sequence[float]) -> list[float]:
        """Return each value's sum over the processes."""
        if self.accelerator.num_processes == 1:
            return list(values)
        mine = torch.tensor(values, dtype=torch.float64, device=self.accelerator.device)
        return cast("list[float]", self.accelerator.reduce(mine).tolist())

    def _stop(self, what: str, values: dict[str, float], batches: Sequence[Batch]) -> NoReturn:
        """Raise NotANumber in all processes, with the rows that all of them contribute."""
        rows = sorted(gather_object([row for batch in batches for row in batch["row"].tolist()]))
        advice = "lower train.lr, or set train.clip_norm or train.precision=fp32"
        raise NotANumber(f"{what} at step {self.steps} (means: {values}); {advice}", rows)

    def _parts(self) -> dict[str, Any]:
        """Return the parts that have a state, by their name in a checkpoint; validation, prediction and export use `model`."""
        model, criterion = map(self.accelerator.unwrap_model, (self.model, self.criterion))
        parts = {
            "model": self.evaluated,
            "criterion": criterion,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }
        if self.averaged is not None:
            parts["raw_model"] = model
        if self.centers is not None:
            parts["centers"] = self.centers
        if self.accelerator.scaler is not None:
            parts["scaler"] = self.accelerator.scaler
        return parts

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values only, so that reading a checkpoint never runs code from it."""
        return {name: part.state_dict() for name, part in self._parts().items()} | {
            "hitagu_lib": __version__,
            "params": self.cfg.to_mapping(),
            "classes": self.classes,
            "global_batch_size": self.global_batch_size,
            "averaged": int(self.averaged.n_averaged) if self.averaged is not None else 0,
            "epoch": self.epoch,
            "steps": self.steps,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "best_top1": self.best_top1,
            "tally": dataclasses.asdict(self.tally),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state() if self.accelerator.device.type == "cuda" else None,
            "started_from": self.started_from,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a checkpoint's state.

        Raises ConfigError if its steps had another number of clips, WeightsError if a part of it is missing or does not fit.
        """
        check_global_batch(self.cfg, state.get("global_batch_size"), self.accelerator.num_processes)
        for name, part in self._parts().items():
            try:
                part.load_state_dict(state[name])
            except (KeyError, RuntimeError, TypeError, ValueError) as error:
                found = state.get(name)
                if not isinstance(found, dict):
                    differs = f"found {'none' if found is None else type(found).__name__}"
                else:
                    differs = key_difference(found, part.state_dict()) or "found other values than this run's"
                raise WeightsError(
                    f"{self.cfg.run}/checkpoints: {name}: {differs} (there: in the file; here: in this run); expected what this program "
                    "saved: remove the checkpoints to start again"
                ) from error
        if self.averaged is not None:
            self.averaged.n_averaged.fill_(state["averaged"])
        self.epoch, self.steps = state["epoch"], state["steps"]
        self.seconds, self.cpu_seconds = state["seconds"], state.get("cpu_seconds", 0.0)
        self.best_top1 = state["best_top1"]
        self.started_from = state.get("started_from")
        # Older checkpoints have no tally; they were all written at an epoch's end.
        self.tally = EpochTally(**state["tally"]) if "tally" in state else EpochTally()
        torch.set_rng_state(state["rng"])
        if state.get("cuda_rng") is not None and self.accelerator.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"])
