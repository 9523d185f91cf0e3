"""Set up Accelerate: device, precision, processes; say what to do when the device's memory is full."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin

from hitagu_lib.config import TrainConfig
from hitagu_lib.errors import ConfigError


def make_accelerator(cfg: TrainConfig) -> Accelerator:
    """Return an Accelerator for the processes that torchrun started, or for one process on the best device."""
    precision = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}.get(cfg.precision)
    if precision is None:  # auto
        precision = "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"
    if AcceleratorState._shared_state.get("_mixed_precision", precision) != precision:
        # Accelerate would keep the precision of an earlier run in this process.
        AcceleratorState._reset_state()
    # Accelerate gives each of several processes a GPU, even where there is none, unless it is told to use CPUs.
    on_cpus = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.accelerator.is_available()
    # The learner accumulates gradients itself: $ACCELERATE_GRADIENT_ACCUMULATION_STEPS must not divide the loss again.
    once = GradientAccumulationPlugin(num_steps=1)
    accelerator = Accelerator(mixed_precision=precision, cpu=on_cpus, gradient_accumulation_plugin=once)
    if accelerator.num_processes > 1:
        atexit.unregister(_leave_group)
        atexit.register(_leave_group)
    return accelerator


def _leave_group() -> None:
    """End gloo's threads: one that frees a tensor while the interpreter shuts down would abort the process.

    Gloo's group waits for its own last calls. NCCL's stays, as leaving it may wait for the others, and a process that has failed must end.
    """
    if torch.distributed.is_initialized() and torch.distributed.get_backend() == "gloo":
        torch.distributed.destroy_process_group()


@contextmanager
def full_memory_explained(advice: str) -> Iterator[None]:
    """Raise ConfigError with PyTorch's words and the advice if the memory of the device, or of the machine, is not enough."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        lines = [line for line in str(error).splitlines() if any(words in line.lower() for words in _FULL)]
        if not lines and not isinstance(error, torch.OutOfMemoryError | MemoryError):
            raise
        raise ConfigError(f"{lines[0].strip() if lines else 'out of memory'}\n{advice}") from error


def fewer(key: str, count: int) -> str:
    """Return the advice for a parameter that bounds how much is scored at a time."""
    if count == 1:
        return f"found {key} 1; expected a device with more memory, or smaller frames"
    return f"found {key} {count}; expected fewer, such as {max(1, count // 4)}: the scores stay the same"


_FULL = ("out of memory", "allocate memory", "not enough memory", "alloc_failed")
"""In what CUDA, cuBLAS, MPS and the CPU's allocator say when memory is full, also in a loader's process."""
