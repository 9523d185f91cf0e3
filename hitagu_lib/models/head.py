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
        """held (B, T, D): the frames before attention; None: there is no attention, so they are `frames`."""
        clip = torch.cat(self._reads(frames.mean(1), self._last(frames, held)[:, -1]), 1)
        return self.linear(self.dropout(clip)), clip

    def prefixes(
        self, frames: Tensor, mean: Tensor, age: Tensor, held: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Read every prefix of clips that follow `age` (B,) other frames, whose mean embedding is `mean` (B, D); 0 where there are none.

        Return logits (B, T, num_classes), clip embeddings (B, T, D) or (B, T, 2 D), and the mean after each frame (B, T, D). `mean` and
        what it becomes are float32 or wider: half a network's precision would lose the small steps of a long stream.
        """
        count = age[:, None] + torch.arange(1, frames.shape[1] + 1, device=frames.device)  # (B, T)
        # As steps from the mean before, which stay exact however many frames came.
        means = mean[:, None] + torch.cumsum(frames - mean[:, None], dim=1) / count[:, :, None]
        clip = torch.cat(self._reads(means.to(frames.dtype), self._last(frames, held)), 2)
        return self.linear(self.dropout(clip)), clip, means

    def _last(self, frames: Tensor, held: Tensor | None) -> Tensor:
        return frames if held is None or self.readout != "memory" else held

    def _reads(self, mean: Tensor, last: Tensor) -> list[Tensor]:
        return {"mean": [mean], "last": [last], "both": [mean, last], "memory": [mean, last]}[self.readout]
