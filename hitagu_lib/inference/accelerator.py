"""Device, precision and processes, as Accelerate sees them."""

from __future__ import annotations

import os

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin

from hitagu_lib.config import TrainConfig


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
