"""What a model costs: parameters and multiply-adds, by module."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from hitagu_lib.models.clip_model import ClipModel


@dataclass(frozen=True)
class Cost:
    gflops: float  # 10^9 multiply-adds for one clip, as the literature counts them
    params_millions: float


def model_cost(model: ClipModel, num_frames: int, image_size: int) -> dict[str, Cost]:
    """The cost of each child module for one clip of (num_frames, 3, image_size, image_size), and their "total"."""
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    counter = FlopCounterMode(display=False, depth=2)
    with torch.inference_mode(), counter:
        model(torch.zeros(1, num_frames, 3, image_size, image_size, device=device))
    model.train(was_training)
    # The counter counts a multiply-add as two operations, and names modules Class.child.
    counted = {name.split(".")[-1]: sum(ops.values()) / 2e9 for name, ops in counter.get_flop_counts().items()}
    costs = {
        name: Cost(counted.get(name, 0.0), sum(p.numel() for p in child.parameters()) / 1e6)
        for name, child in model.named_children()
    }
    costs["total"] = Cost(counter.get_total_flops() / 2e9, sum(p.numel() for p in model.parameters()) / 1e6)
    return costs
