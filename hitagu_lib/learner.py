"""All that training changes - network, losses, optimiser, schedule - and one step of it."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from hitagu_lib import __version__
from hitagu_lib.config import Config, ModelConfig, TrainConfig
from hitagu_lib.data.dataset import Batch, swap_table
from hitagu_lib.data.frames import normalise
from hitagu_lib.errors import TrainingError
from hitagu_lib.losses import TotalLoss
from hitagu_lib.models import build_model
from hitagu_lib.starting import start_from


class Learner:
    """All that training changes, one step at a time; its state is what a checkpoint holds."""

    def __init__(self, cfg: Config, classes: Sequence[str], steps_per_epoch: int, accelerator: Accelerator) -> None:
        self.cfg, self.classes, self.accelerator = cfg, list(classes), accelerator
        model = build_model(_without_weights(cfg.model) if cfg.train.init else cfg.model, len(classes))
        criterion = TotalLoss(cfg.train, len(classes), model.width)
        optimizer = make_optimizer(model, cfg.train)
        self.schedule = make_schedule(optimizer, cfg.train, steps_per_epoch)
        # Channels last: the layout in which CPUs and tensor cores run convolutions fastest.
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        # The centres are kept in step by averaging their gradients, as the network's are; without them there is nothing to keep.
        self.criterion = accelerator.prepare(criterion) if cfg.train.center_loss else criterion
        # The centres go their own way: a plain gradient step at their own rate.
        self.centers = (
            torch.optim.SGD(criterion.parameters(), lr=cfg.train.center_lr) if cfg.train.center_loss else None
        )
        partner = swap_table(self.classes, cfg.data.reverse_swaps, "data.reverse_swaps")
        self.partner = torch.from_numpy(partner).to(accelerator.device)
        self.epoch, self.steps, self.best_top1 = 0, 0, -1.0
        self.seconds, self.cpu_seconds = 0.0, 0.0
        self.started_from: dict[str, Any] | None = None

    def start_from(self, file: str) -> None:
        """Take the weights of another training's checkpoint, as `train.init_head` says; see hitagu_lib.starting."""
        model, criterion = (self.accelerator.unwrap_model(part) for part in (self.model, self.criterion))
        started = start_from(file, self.cfg.train.init_head, model, criterion, self.classes)
        self.started_from = dataclasses.asdict(started)

    def step(self, batch: Batch) -> dict[str, float]:
        """One optimiser step; returns the loss and its terms, top-1 of the batch, gradient norm before clipping, learning rate.

        Raises TrainingError where the loss is not a number; the weights are then those of the step before.
        """
        device, cfg = self.accelerator.device, self.cfg.train
        labels, t = batch["label"].to(device, non_blocking=True), batch["t"].to(device, non_blocking=True)
        frames = normalise(batch["frames"].to(device, non_blocking=True))
        backwards = None
        if cfg.both_directions:
            backwards = (self.partner[labels] != labels).nonzero()[:, 0]
            labels = torch.cat([labels, self.partner[labels[backwards]]])
        with self.accelerator.autocast():
            logits, maps = self.model(frames, t, return_embeddings=True, also_backwards=backwards)
            loss, terms = self.criterion(logits, maps, labels)
        values = {"loss": loss.item()} | {name: term.item() for name, term in terms.items()}
        if not math.isfinite(values["loss"]):
            raise TrainingError(
                f"the loss is {values['loss']} at step {self.steps} (terms: {values}; rows of the training list: "
                f"{[row + 1 for row in batch['row'].tolist()]}). The checkpoint of the last whole epoch is intact; "
                "lower train.lr, or set train.clip_norm or train.precision=fp32"
            )
        self.optimizer.zero_grad(set_to_none=True)
        if self.centers is not None:
            self.centers.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), cfg.clip_norm or math.inf)
        rate = self.schedule.get_last_lr()[0]
        self.optimizer.step()
        if self.centers is not None:
            for parameter in self.criterion.parameters():
                # Their rate is their own: lambda_center weighs only what the network feels.
                if parameter.grad is not None:
                    parameter.grad /= max(cfg.lambda_center, 1e-12)
            self.centers.step()
        if not self.accelerator.optimizer_step_was_skipped:  # fp16 skips a step that overflowed
            self.schedule.step()
        self.steps += 1
        top1 = (logits.argmax(1) == labels).float().mean().item()
        return values | {"top1": top1, "grad_norm": float(norm), "lr": rate}

    def _parts(self) -> dict[str, Any]:
        model = self.accelerator.unwrap_model(self.model)
        criterion = self.accelerator.unwrap_model(self.criterion)
        parts = {"model": model, "criterion": criterion, "optimizer": self.optimizer, "schedule": self.schedule}
        return parts | ({"centers": self.centers} if self.centers is not None else {})

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values alone, so that a checkpoint can be read without running code from it."""
        return {name: part.state_dict() for name, part in self._parts().items()} | {
            "hitagu_lib": __version__,
            "params": self.cfg.to_mapping(),
            "classes": self.classes,
            "epoch": self.epoch,
            "steps": self.steps,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "best_top1": self.best_top1,
            "rng": torch.get_rng_state(),
            "started_from": self.started_from,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.epoch, self.steps = state["epoch"], state["steps"]
        self.seconds, self.cpu_seconds = state["seconds"], state.get("cpu_seconds", 0.0)
        self.best_top1 = state["best_top1"]
        self.started_from = state.get("started_from")
        torch.set_rng_state(state["rng"])


def _without_weights(cfg: ModelConfig) -> ModelConfig:
    return dataclasses.replace(cfg, backbone=dataclasses.replace(cfg.backbone, weights=None))


def make_optimizer(model: nn.Module, cfg: TrainConfig) -> torch.optim.Optimizer:
    """SGD or AdamW; weight decay on weights alone, not on biases, norms and the 3STU's band edges."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (decayed if name.endswith("weight") and parameter.ndim > 1 else free).append(parameter)
    groups = [{"params": decayed, "weight_decay": cfg.weight_decay}, {"params": free, "weight_decay": 0.0}]
    if cfg.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=cfg.lr)
    return torch.optim.SGD(groups, lr=cfg.lr, momentum=cfg.momentum, nesterov=cfg.momentum > 0)


def make_schedule(optimizer: torch.optim.Optimizer, cfg: TrainConfig, steps_per_epoch: int) -> LambdaLR:
    """Linear warm-up, then half a cosine down to zero (Loshchilov and Hutter 2017); counted in steps."""
    warmup, total = cfg.warmup_epochs * steps_per_epoch, cfg.epochs * steps_per_epoch

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1.0, total - warmup))))

    return LambdaLR(optimizer, factor)


def make_accelerator(cfg: TrainConfig) -> Accelerator:
    """Accelerate's view of device, precision and processes: what torchrun set up, or one process on the best device."""
    precision = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}.get(cfg.precision)
    if precision is None:  # auto
        precision = "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"
    # Accelerate takes several processes without a GPU for one each, unless it is told that CPUs are meant.
    on_cpus = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.accelerator.is_available()
    return Accelerator(mixed_precision=precision, cpu=on_cpus)
