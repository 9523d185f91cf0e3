"""Device, precision and processes as Accelerate sees them, and BatchNorm over several processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin
from torch import nn

from hitagu_lib.config import TrainConfig
from hitagu_lib.errors import ConfigError, TrainingError

LOST = "another process of this training has ended or cannot be reached"
"""How the message of a process begins that ends because of another one."""


def launched() -> bool:
    """Whether torchrun, or whatever else sets WORLD_SIZE, has started this process as one of a training's."""
    return "WORLD_SIZE" in os.environ


def planned_processes(cfg: TrainConfig) -> int:
    """How many processes a training of these parameters has, or would have."""
    return int(os.environ["WORLD_SIZE"]) if launched() else cfg.processes


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


def make_accelerator(cfg: TrainConfig) -> Accelerator:
    """Accelerate's view of device, precision and processes: what torchrun set up, or one process on the best device."""
    precision = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}.get(cfg.precision)
    if precision is None:  # auto
        precision = "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"
    if AcceleratorState._shared_state.get("_mixed_precision", precision) != precision:
        AcceleratorState._reset_state()  # an earlier run of this process had another, to which Accelerate would hold this one
    # Accelerate takes several processes without a GPU for one each, unless it is told that CPUs are meant.
    on_cpus = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.accelerator.is_available()
    # A step's batches are added up here: $ACCELERATE_GRADIENT_ACCUMULATION_STEPS must not divide the loss again.
    once = GradientAccumulationPlugin(num_steps=1)
    return Accelerator(mixed_precision=precision, cpu=on_cpus, gradient_accumulation_plugin=once)


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
