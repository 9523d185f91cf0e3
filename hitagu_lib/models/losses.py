"""The training loss: cross-entropy, with optional center loss and temporal consistency."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hitagu_lib.config import TrainConfig
from hitagu_lib.models import ClipMaps


class CenterLoss(nn.Module):
    """1/2 mean ||z_i - c_{y_i}||^2 (Wen et al. 2016): clip embeddings (B, width), labels (B,) -> scalar.

    normalised: of embeddings of length 1, z_i / ||z_i||. The loss then does not depend on their scale. It is at most 2 as long as a step
    of the centres' optimiser leaves them between where they were and the embeddings. The centres have their own optimiser.
    """

    def __init__(self, num_classes: int, width: int, normalised: bool = False) -> None:
        super().__init__()
        self.normalised = normalised
        self.centers = nn.Parameter(torch.zeros(num_classes, width))

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        if self.normalised:
            z = F.normalize(z, dim=1)
        return 0.5 * (z - self.centers[labels]).square().sum(1).mean()


def temporal_consistency(z: Tensor) -> Tensor:
    """mean_t (1 - cos(z_t, z_{t+1})) over neighbouring frame embeddings: (B, T, D) -> scalar; 0 for a single frame."""
    if z.shape[1] < 2:
        return z.new_zeros(())
    return (1 - F.cosine_similarity(z[:, :-1], z[:, 1:], dim=2)).mean()


class TotalLoss(nn.Module):
    """Cross-entropy with label smoothing + lambda_center * center + lambda_temporal * temporal consistency + prefix_loss * prefixes.

    prefixes: the mean of the same cross-entropy over all prefixes of a clip, from a causal network.

    forward(logits, maps, labels) -> the sum, and its terms by name, each without its lambda.
    class_weights (num_classes,): how much the cross-entropy of a clip of each class counts; None: 1. Their mean over the training samples
    should be 1. (torch's own `weight` divides by the batch's sum, which undoes the weights where a batch holds one class.)
    """

    weights: Tensor | None

    def __init__(self, cfg: TrainConfig, num_classes: int, width: int, class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.cfg = cfg
        self.register_buffer("weights", class_weights, persistent=False)
        self.center = CenterLoss(num_classes, width, cfg.center_normalised) if cfg.center_loss else None

    def forward(self, logits: Tensor, maps: ClipMaps, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        terms = {"cross_entropy": self._cross_entropy(logits, labels)}
        total = terms["cross_entropy"]
        if self.center is not None:
            terms["center"] = self.center(maps.clip_embedding, labels)
            total = total + self.cfg.lambda_center * terms["center"]
        if self.cfg.temporal_loss:
            terms["temporal"] = temporal_consistency(maps.frame_embeddings)
            total = total + self.cfg.lambda_temporal * terms["temporal"]
        if self.cfg.prefix_loss:
            assert maps.prefix_logits is not None
            every = maps.prefix_logits.transpose(1, 2)  # (B, num_classes, T)
            of_each = labels[:, None].expand(-1, every.shape[2])
            terms["prefix"] = self._cross_entropy(every, of_each)
            total = total + self.cfg.prefix_loss * terms["prefix"]
        return total, terms

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, num_classes, ...), labels (B, ...) -> their mean."""
        if self.weights is None:
            return F.cross_entropy(logits, labels, label_smoothing=self.cfg.label_smoothing)
        each = F.cross_entropy(logits, labels, label_smoothing=self.cfg.label_smoothing, reduction="none")
        return (each * self.weights.to(labels.device)[labels]).mean()


def balanced_weights(counts: Tensor) -> Tensor:
    """Return N / (classes present x samples of the class) for the samples of each class: (num_classes,) -> the same, float32.

    N is their sum, so the weights' mean over samples is 1. An absent class has weight 0.
    """
    present = counts > 0
    each = counts.sum() / (present.sum() * counts.where(present, torch.ones_like(counts)))
    return (each * present).float()
