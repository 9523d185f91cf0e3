"""The classifier: what it reads of the clip, dropout, one linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ClassifierHead(nn.Module):
    """frame embeddings (B, T, D) -> logits (B, num_classes), clip embedding (B, D), or (B, 2 D) where two are read.

    readout: "mean", over the frames; "last", the last frame; "both", the mean and then the last frame side by side; "memory",
    the mean and then `held`: the last frame before attention.
    """

    def __init__(self, width: int, num_classes: int, dropout: float, readout: str = "mean") -> None:
        super().__init__()
        self.readout = readout
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(2 * width if readout in ("both", "memory") else width, num_classes)

    def forward(self, frames: Tensor, held: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """held (B, D): what a network with attention had at the last frame before it; None: the last of `frames`."""
        clip = frames.mean(1)
        last = frames[:, -1] if held is None or self.readout != "memory" else held
        if self.readout == "last":
            clip = last
        elif self.readout != "mean":
            clip = torch.cat([clip, last], dim=1)
        return self.linear(self.dropout(clip)), clip
