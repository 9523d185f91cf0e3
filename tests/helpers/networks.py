"""Networks in which every module contributes."""

from __future__ import annotations

import torch

from hitagu_lib import build_model
from hitagu_lib.config import ModelConfig
from hitagu_lib.models import ClipModel


def woken(cfg: ModelConfig, num_classes: int = 5) -> ClipModel:
    """A model in evaluation mode with its zero-initialised layers drawn at random, so that every module contributes."""
    torch.manual_seed(0)
    model = build_model(cfg, num_classes).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
    return model
