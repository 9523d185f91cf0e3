"""The classifier: mean of the frame embeddings, dropout, one linear layer."""

from __future__ import annotations

from torch import Tensor, nn


class ClassifierHead(nn.Module):
    """frame embeddings (B, T, D) -> logits (B, num_classes), clip embedding (B, D)."""

    def __init__(self, width: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, num_classes)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        clip = frames.mean(1)
        return self.linear(self.dropout(clip)), clip
