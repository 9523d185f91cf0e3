"""The losses against plain loops in float64, values and gradients."""

import math

import pytest
import torch
import torch.nn.functional as F

from hitagu_lib.config import TrainConfig
from hitagu_lib.losses import CenterLoss, TotalLoss, temporal_consistency
from hitagu_lib.models import ClipMaps


def test_center_loss_is_half_the_mean_squared_distance_to_the_own_centre() -> None:
    torch.manual_seed(0)
    loss = CenterLoss(num_classes=4, width=6).double()
    torch.nn.init.normal_(loss.centers)
    z, labels = torch.randn(5, 6, dtype=torch.float64, requires_grad=True), torch.tensor([0, 3, 3, 1, 0])
    loss(z, labels).backward()

    expected, grad_z, grad_c = 0.0, torch.zeros(5, 6), torch.zeros(4, 6)
    for i, y in enumerate(labels.tolist()):
        for d in range(6):
            difference = z[i, d].item() - loss.centers[y, d].item()
            expected += 0.5 * difference**2 / 5
            grad_z[i, d] += difference / 5
            grad_c[y, d] -= difference / 5
    assert loss(z, labels).item() == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(z.grad.float(), grad_z)
    torch.testing.assert_close(loss.centers.grad.float(), grad_c)


def test_temporal_consistency_is_the_mean_of_one_minus_cosine() -> None:
    torch.manual_seed(0)
    z = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    terms = []
    for b in range(2):
        for t in range(3):
            a, c = z[b, t].tolist(), z[b, t + 1].tolist()
            dot = sum(p * q for p, q in zip(a, c, strict=True))
            terms.append(1 - dot / math.sqrt(sum(p * p for p in a)) / math.sqrt(sum(q * q for q in c)))
    assert temporal_consistency(z).item() == pytest.approx(sum(terms) / len(terms), rel=1e-12)
    assert torch.autograd.gradcheck(temporal_consistency, z)


def test_temporal_consistency_of_equal_frames_and_of_one_frame_is_zero() -> None:
    still = torch.randn(2, 1, 3).expand(2, 5, 3)
    assert temporal_consistency(still).item() == pytest.approx(0, abs=1e-6)
    assert temporal_consistency(torch.randn(2, 1, 3)).item() == 0


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("temporal", [False, True])
def test_the_total_is_the_weighted_sum_of_what_is_switched_on(center: bool, temporal: bool) -> None:
    torch.manual_seed(0)
    cfg = TrainConfig(
        center_loss=center, temporal_loss=temporal, lambda_center=0.3, lambda_temporal=0.7, label_smoothing=0.2
    )
    criterion = TotalLoss(cfg, num_classes=4, width=6)
    logits, labels = torch.randn(2, 4), torch.tensor([1, 3])
    maps = ClipMaps(frame_embeddings=torch.randn(2, 5, 6), clip_embedding=torch.randn(2, 6))
    total, terms = criterion(logits, maps, labels)
    expected = F.cross_entropy(logits, labels, label_smoothing=0.2)
    if center:
        expected = expected + 0.3 * criterion.center(maps.clip_embedding, labels)
    if temporal:
        expected = expected + 0.7 * temporal_consistency(maps.frame_embeddings)
    torch.testing.assert_close(total, expected)
    assert list(terms) == ["cross_entropy"] + ["center"] * center + ["temporal"] * temporal
