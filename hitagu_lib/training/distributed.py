"""Device, precision and processes as Accelerate sees them, and BatchNorm over several processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import nn

from hitagu_lib.config import TrainConfig
from hitagu_lib.errors import ConfigError, TrainingError

LOST = "another process of this training has ended or cannot be reached"
"""How the message of a process begins that ends because of another one."""


def launched() -> bool:
    """Whether torchrun, or whatever else sets WORLD_SIZE, has started this process as one of a training's."""
    return "WORLD_SIZE" in os.environ


@contextmanager
def explained_when_alone() -> Iterator[None]:
    """What a process dies of when it waits for one that has ended becomes a TrainingError: the other one's words are those that matter."""
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, torch.distributed.DistBackendError) or "/gloo/" in str(error)
        if not launched() or not lost:
            raise
        raise TrainingError(
            f"{LOST}: process {os.environ.get('RANK', '?')} ends as well ({_last_line(error)})"
        ) from error


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def check_device(cfg: TrainConfig, accelerator: Accelerator) -> None:
    """Raises ConfigError where the device cannot do what is asked, which Accelerate and PyTorch would leave out or fail at later."""
    if cfg.precision == "fp16" and accelerator.scaler is None:
        raise ConfigError(
            f"train.precision: found fp16, on the {accelerator.device.type}, which has no scaler for its gradients; expected fp32, bf16 or "
            "auto, or a GPU"
        )
    if cfg.sync_bn and accelerator.num_processes > 1 and accelerator.device.type == "cpu":
        raise ConfigError(
            f"train.sync_bn: found true, in {accelerator.num_processes} processes on the CPU; expected false, or GPUs, for which "
            "alone PyTorch has it"
        )


def share_statistics(model: nn.Module) -> None:
    """Make every BatchNorm that learns statistics a SyncBatchNorm, in place; those of a backbone with frozen_bn stay as they are."""
    for name, module in list(model.named_children()):
        if not getattr(module, "frozen_bn", False):
            setattr(model, name, nn.SyncBatchNorm.convert_sync_batchnorm(module))


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """BatchNorm uses its running statistics and leaves them; not SyncBatchNorm, whose processes wait for each other."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d) and module.training]
    for module in norms:
        module.eval()
    yield
    for module in norms:
        module.train()
