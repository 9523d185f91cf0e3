"""The classifier: what it reads of the frame embeddings, dropout, one linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ClassifierHead(nn.Module):
    """frame embeddings (B, T, D) -> logits (B, num_classes), clip embedding (B, D), or (B, 2 D) where both are read.

    readout: "mean", over the frames; "last", the last frame; "both", the mean and then the last frame side by side.
    """

    def __init__(self, width: int, num_classes: int, dropout: float, readout: str = "mean") -> None:
        super().__init__()
        self.readout = readout
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(2 * width if readout == "both" else width, num_classes)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        if self.readout == "mean":
            clip = frames.mean(1)
        elif self.readout == "last":
            clip = frames[:, -1]
        else:
            clip = torch.cat([frames.mean(1), frames[:, -1]], dim=1)
        return self.linear(self.dropout(clip)), clip

    def prefixes(self, frames: Tensor, mean: Tensor, age: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read every prefix of clips that follow `age` (B,) other frames, whose mean embedding is `mean` (B, D); 0 where there are none.

        Return logits (B, T, num_classes), clip embeddings (B, T, D) or (B, T, 2 D), and the mean after each frame (B, T, D).
        """
        count = age[:, None] + torch.arange(1, frames.shape[1] + 1, device=frames.device)  # (B, T)
        # As steps from the mean before, which stay exact however many frames came.
        means = mean[:, None] + torch.cumsum(frames - mean[:, None], dim=1) / count[:, :, None]
        clips = {"mean": [means], "last": [frames], "both": [means, frames]}[self.readout]
        clip = torch.cat(clips, dim=2)
        return self.linear(self.dropout(clip)), clip, means
