"""What several processes of one training have to agree on: when to stop, who reports a failure, BatchNorm's statistics."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from accelerate import Accelerator
from torch import nn

from hitagu_lib.config import TrainConfig
from hitagu_lib.errors import ConfigError, HitaguError, TrainingError
from hitagu_lib.training.signals import Stopped

LOST = "another process of this training has ended or cannot be reached"
"""The beginning of the message of a process that fails only because another one did."""
FAILURE_FILE = "HITAGU_FAILURE_FILE"
"""Environment variable, set by the launcher: the file in which the process that fails first says why."""


def launched() -> bool:
    """Return whether torchrun, or another launcher that sets WORLD_SIZE, started this process as one of a training's."""
    return "WORLD_SIZE" in os.environ


@contextmanager
def failure_reported() -> Iterator[None]:
    """Convert a lost-peer error into TrainingError, and leave the cause of a failure or stop to the launcher, if there is one.

    The first process to fail writes FAILURE_FILE. All end without another word, because the launcher prints the message.
    """
    try:
        with _lost_peers_named():
            yield
    except (Exception, Stopped) as error:
        if (file := os.environ.get(FAILURE_FILE)) is None:
            raise
        if (words := _cause(error)) and not words.startswith(LOST):
            with suppress(OSError), open(file, "x", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(words)
        if isinstance(error, Stopped):
            raise Stopped(error.signal) from None
        raise SystemExit(2) from error


def _cause(error: BaseException) -> str:
    """Return the message of an error that is meant for the user, and the traceback of any other."""
    known = isinstance(error, HitaguError | Stopped)
    return str(error) if known else "".join(traceback.format_exception(error))


@contextmanager
def _lost_peers_named() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, torch.distributed.DistBackendError) or "/gloo/" in str(error)
        if not launched() or not lost:
            raise
        rank, last_line = os.environ.get("RANK", "?"), str(error).strip().splitlines()[-1:]
        why = (last_line or [type(error).__name__])[0]
        raise TrainingError(f"{LOST}: process {rank} ends as well ({why})") from error


def agreed_signal(received: int | None, accelerator: Accelerator) -> int:
    """Return the signal that any process has received, 0 if none has. All ranks must agree on a stop, or they would deadlock."""
    if accelerator.num_processes == 1:
        return received or 0
    largest = torch.tensor(received or 0, device=accelerator.device)
    torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
    return int(largest)


def check_device(cfg: TrainConfig, accelerator: Accelerator) -> None:
    """Raise ConfigError if the device cannot do what is asked; Accelerate and PyTorch would ignore it, or fail later."""
    if cfg.precision == "fp16" and accelerator.scaler is None:
        raise ConfigError(
            f"train.precision: found fp16, on the {accelerator.device.type}, which has no gradient scaler; expected fp32, bf16 or "
            "auto, or a GPU"
        )
    if cfg.sync_bn and accelerator.num_processes > 1 and accelerator.device.type == "cpu":
        raise ConfigError(
            f"train.sync_bn: found true, in {accelerator.num_processes} processes on the CPU; expected false, or GPUs: PyTorch "
            "synchronises BatchNorm on GPUs only"
        )


def share_statistics(model: nn.Module) -> None:
    """Replace every BatchNorm that learns statistics by a SyncBatchNorm, in place, except those of a backbone with frozen_bn."""
    for name, module in list(model.named_children()):
        if not getattr(module, "frozen_bn", False):
            setattr(model, name, nn.SyncBatchNorm.convert_sync_batchnorm(module))


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Let every BatchNorm use its running statistics without updating them.

    SyncBatchNorm is not touched: its processes wait for each other.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d) and module.training]
    for module in norms:
        module.eval()
    try:
        yield
    finally:
        for module in norms:
            module.train()
