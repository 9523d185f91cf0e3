"""A linear probe: can a linear layer read something off given features (Alain and Bengio 2016)?"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def linear_probe(
    train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, ridge: float = 0.01
) -> tuple[Tensor, Tensor]:
    """Fit a linear classifier to (train_x, train_y) by ridge regression; return which test rows it gets right, and its scores.

    x: (N, D). y: (N,), class indices. Returns bool (N_test,), float64 (N_test, classes). Features are scaled by the training rows' mean
    and deviation; a feature that is constant there is ignored. ridge: the penalty for each training row.
    """
    deviation, mean = torch.std_mean(train_x.double(), dim=0, correction=0)
    scale = torch.where(deviation > 0, 1 / deviation, 0)

    def scaled(x: Tensor) -> Tensor:
        return F.pad((x.double() - mean) * scale, (0, 1), value=1.0)  # (N, D + 1), the last for the bias

    x, y = scaled(train_x), F.one_hot(train_y.long()).double()
    penalty = ridge * len(x) * torch.eye(x.shape[1], dtype=torch.float64)
    penalty[-1, -1] = 0
    weights = torch.linalg.solve(x.T @ x + penalty, x.T @ y)
    scores = scaled(test_x) @ weights
    return scores.argmax(1) == test_y, scores
