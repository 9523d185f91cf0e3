"""Global batch size, learning rate, optimiser and schedule."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from hitagu_lib.config import Config, TrainConfig
from hitagu_lib.errors import ConfigError


def check_global_batch(cfg: Config, expected: int | None, processes: int) -> None:
    """Raise ConfigError if a run's steps had `expected` clips (None: unknown) and would have another number of clips now."""
    train, found = cfg.train, cfg.train.global_batch_size(processes)
    if expected in (None, found):
        return
    fits, rest = divmod(expected, train.batch_size * processes)
    mend = f"train.accumulate={fits}" if fits and not rest else "another train.batch_size or number of processes"
    raise ConfigError(
        f"{cfg.run}: this run's steps have {expected} clips; found train.batch_size {train.batch_size} x train.accumulate "
        f"{train.accumulate} x {processes} process{'es' * (processes > 1)} = {found}; expected {mend}"
    )


def step_in_words(cfg: TrainConfig, processes: int) -> str:
    """Say in one line how many clips a step has, at what peak learning rate, and how both are computed."""
    clips = cfg.global_batch_size(processes)
    peak = f"{cfg.peak_lr(processes):g}"
    if cfg.lr_batch is not None:
        peak += f" = train.lr {cfg.lr:g} x {clips} / {cfg.lr_batch}"
    if cfg.warmup_epochs >= cfg.epochs:
        peak += f", which is not reached: train.warmup_epochs {cfg.warmup_epochs:g} is no shorter than train.epochs {cfg.epochs}"
    return (
        f"a step: {clips} clips = {processes} process{'es' * (processes > 1)} x batch {cfg.batch_size} x accumulate {cfg.accumulate}; "
        f"peak learning rate {peak}"
    )


def make_optimizer(model: nn.Module, cfg: TrainConfig, rate: float) -> torch.optim.Optimizer:
    """Return SGD or AdamW, with weight decay on weights only: not on biases, norms and the 3STU's band edges.

    Two groups of parameters, decayed and free; with `cfg.backbone_lr_mult` other than 1 also the backbone's two, after them.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            mult = cfg.backbone_lr_mult if name.startswith("backbone.") else 1.0
            weight = name.rpartition(".")[2].startswith("weight")  # nn.GRU's are weight_ih_l0 and weight_hh_l0
            groups.setdefault((mult, weight and parameter.ndim > 1), []).append(parameter)
    settings = [
        {"params": parameters, "lr": rate * mult, "weight_decay": cfg.weight_decay * decays}
        for (mult, decays), parameters in groups.items()
    ]
    if cfg.optimizer == "adamw":
        return torch.optim.AdamW(settings, lr=rate)
    return torch.optim.SGD(settings, lr=rate, momentum=cfg.momentum, nesterov=cfg.momentum > 0)


def make_schedule(optimizer: torch.optim.Optimizer, cfg: TrainConfig, steps_per_epoch: int) -> LambdaLR:
    """Return a schedule in steps: a linear warm-up, then half a cosine down to zero (Loshchilov and Hutter 2017)."""
    warmup, total = cfg.warmup_epochs * steps_per_epoch, cfg.epochs * steps_per_epoch

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1.0, total - warmup))))

    return LambdaLR(optimizer, factor)
