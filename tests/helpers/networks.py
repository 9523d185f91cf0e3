"""Networks in which every module contributes."""

from __future__ import annotations

import torch

from hitagu_lib import build_model
from hitagu_lib.config import ModelConfig
from hitagu_lib.models import ClipModel

CAUSAL = {
    "causal": True,
    "backbone": {"name": "resnet18", "cut": "layer2"},
    "mde": {"taps": ["stem", "layer2"], "reduced": 8, "width": 16, "shift_radius": 1},
    "stu": {"width": 24},
    "attention": {"sca_kernel": 3, "tsa_width": 16, "tsa_heads": 2, "tsa_window": 3},
}
"""A small causal network, as a mapping for `resolve`; its taps have two sizes, and its window is shorter than most clips."""

SMALLEST_CAUSAL = {
    "causal": True,
    "backbone": {"name": "resnet18", "cut": "layer1"},
    "mde": {"taps": ["stem"], "reduced": 4, "width": 8, "shift_radius": 1},
    "stu": {"width": 8},
    "attention": {"sca_kernel": 3, "tsa_width": 8, "tsa_heads": 2},
}
"""Where any causal network will do."""


def woken(cfg: ModelConfig, num_classes: int = 5) -> ClipModel:
    """A model in evaluation mode with its zero-initialised layers drawn at random, so that every module contributes."""
    torch.manual_seed(0)
    model = build_model(cfg, num_classes).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
    return model
