"""The losses against plain loops in float64, values and gradients."""

import pytest
import torch
from reference_ops import assert_same, bf16_errors, softmax
from torch import Tensor

from hitagu_lib.config import TrainConfig
from hitagu_lib.models import ClipMaps
from hitagu_lib.models.losses import CenterLoss, TotalLoss, balanced_weights, temporal_consistency


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def labels_of(B: int, num_classes: int = 4) -> Tensor:
    return torch.randint(num_classes, (B,), generator=torch.Generator().manual_seed(B))


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """2e.2: the label has weight 1 - smoothing, and each class its share of the smoothing."""
    B, K = logits.shape
    total = torch.zeros((), dtype=logits.dtype)
    for b in range(B):
        for k, p in enumerate(softmax(list(logits[b]))):
            target = smoothing / K + (1 - smoothing) * (k == labels[b].item())
            total = total - target * torch.log(p) / B
    return total


def center(z: Tensor, labels: Tensor, centers: Tensor) -> Tensor:
    """2e.3"""
    B, D = z.shape
    return sum((z[b, d] - centers[labels[b], d]) ** 2 for b in range(B) for d in range(D)) / (2 * B)


def consistency(z: Tensor) -> Tensor:
    """2e.4"""
    B, T, _ = z.shape
    terms = [torch.zeros((), dtype=z.dtype)] if T == 1 else []
    for b in range(B):
        for t in range(T - 1):
            dot = sum(z[b, t] * z[b, t + 1])
            norms = [sum(z[b, i] ** 2).sqrt() for i in (t, t + 1)]
            terms.append(1 - dot / (norms[0] * norms[1]))
    return sum(terms) / len(terms)


def criterion(**switches: object) -> TotalLoss:
    cfg = TrainConfig(**{"lambda_center": 0.3, "lambda_temporal": 0.7, "label_smoothing": 0.2} | switches)
    loss = TotalLoss(cfg, num_classes=4, width=6).double()
    if loss.center is not None:
        loss.center.centers.data.copy_(random(4, 6, seed=9))
    return loss


@pytest.mark.equation("2e.2")
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("B", [1, 5])
def test_cross_entropy_equals_the_loops(B: int, smoothing: float) -> None:
    logits, labels = random(B, 4), labels_of(B)
    maps = ClipMaps(frame_embeddings=torch.zeros(B, 1, 6), clip_embedding=torch.zeros(B, 6))
    total, terms = criterion(label_smoothing=smoothing)(logits, maps, labels)
    expected = cross_entropy(logits, labels, smoothing)
    assert_same([total, terms["cross_entropy"]], [expected, expected], [logits])


@pytest.mark.equation("2e.3")
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("B", [1, 5])
def test_center_loss_equals_the_loops(B: int, normalised: bool) -> None:
    loss, z, labels = CenterLoss(num_classes=4, width=6, normalised=normalised).double(), random(B, 6), labels_of(B)
    loss.centers.data.copy_(random(4, 6, seed=9))
    lengths = [sum(z[b, d] ** 2 for d in range(6)).sqrt() if normalised else 1.0 for b in range(B)]
    of = torch.stack([z[b] / lengths[b] for b in range(B)])
    assert_same([loss(z, labels)], [center(of, labels, loss.centers)], [z, loss.centers])


def test_a_normalised_center_loss_ignores_scale_and_is_bounded() -> None:
    loss, z, labels = CenterLoss(num_classes=4, width=6, normalised=True), torch.randn(64, 6), labels_of(64)
    sgd = torch.optim.SGD(loss.parameters(), lr=0.5)
    for scale in (1e-3, 1.0, 1e3) * 20:
        value = loss(scale * z, labels)
        torch.testing.assert_close(value, loss(z, labels))
        assert 0 <= value <= 2
        sgd.zero_grad()
        value.backward()
        sgd.step()
    assert loss.centers.norm(dim=1).max() <= 1
    assert loss(torch.zeros(64, 6), labels).isfinite()


@pytest.mark.equation("2e.4")
@pytest.mark.parametrize(("B", "T"), [(2, 1), (1, 2), (2, 8), (1, 33)])
def test_temporal_consistency_equals_the_loops(B: int, T: int) -> None:
    z = random(B, T, 6)
    assert_same([temporal_consistency(z)], [consistency(z)], [z])


def test_temporal_consistency_of_equal_frames_and_of_one_frame_is_zero() -> None:
    still = torch.randn(2, 1, 3).expand(2, 5, 3)
    assert temporal_consistency(still).item() == pytest.approx(0, abs=1e-6)
    assert temporal_consistency(torch.randn(2, 1, 3)).item() == 0


@pytest.mark.equation("2e.5")
@pytest.mark.parametrize("with_center", [False, True])
@pytest.mark.parametrize("with_temporal", [False, True])
def test_the_total_is_the_weighted_sum_of_the_enabled_terms(with_center: bool, with_temporal: bool) -> None:
    loss = criterion(center_loss=with_center, temporal_loss=with_temporal)
    assert len(list(loss.parameters())) == with_center
    logits, frames, clip, labels = random(3, 4), random(3, 5, 6, seed=1), random(3, 6, seed=2), labels_of(3)
    total, terms = loss(logits, ClipMaps(frame_embeddings=frames, clip_embedding=clip), labels)
    expected = cross_entropy(logits, labels, 0.2)
    if with_center:
        expected = expected + 0.3 * center(clip, labels, loss.center.centers)
    if with_temporal:
        expected = expected + 0.7 * consistency(frames)
    assert_same([total], [expected], [logits, frames, clip, *loss.parameters()])
    assert list(terms) == ["cross_entropy"] + ["center"] * with_center + ["temporal"] * with_temporal


def test_under_bf16_autocast_the_losses_are_computed_in_float32() -> None:
    labels = labels_of(3)

    def call(loss: TotalLoss, logits: Tensor, frames: Tensor, clip: Tensor) -> list[Tensor]:
        return [loss(logits, ClipMaps(frame_embeddings=frames, clip_embedding=clip), labels)[0]]

    loss = criterion(center_loss=True, temporal_loss=True)
    errors = bf16_errors(loss, call, [random(3, 4), random(3, 5, 6, seed=1), random(3, 6, seed=2)])
    assert max(errors) < 1e-5, errors


def test_balanced_weights_give_every_class_the_same_share() -> None:
    labels = torch.tensor([0] * 6 + [1] * 3 + [3])  # no clip of class 2
    weights = balanced_weights(labels.bincount(minlength=4))
    assert weights[2] == 0 and weights[labels].mean() == pytest.approx(1)
    shares = [float(weights[labels][labels == c].sum()) for c in (0, 1, 3)]
    assert shares == pytest.approx([10 / 3] * 3)


def test_a_clip_counts_by_its_weight_even_in_a_batch_of_one_class() -> None:
    weights = torch.tensor([0.5, 2.0, 1.0, 1.0], dtype=torch.float64)
    logits, maps = random(3, 4), ClipMaps(frame_embeddings=torch.zeros(3, 1, 6), clip_embedding=torch.zeros(3, 6))
    weighted = TotalLoss(TrainConfig(label_smoothing=0.2), 4, 6, weights)
    for labels in ([0, 0, 0], [0, 1, 1]):
        each = [
            float(cross_entropy(logits[i : i + 1], torch.tensor(labels[i : i + 1]), 0.2).detach()) for i in range(3)
        ]
        expected = sum(float(weights[c]) * loss for c, loss in zip(labels, each, strict=True)) / 3
        total, terms = weighted(logits, maps, torch.tensor(labels))
        assert float(total.detach()) == pytest.approx(expected) == float(terms["cross_entropy"].detach())
    assert not weighted.state_dict()  # a checkpoint holds no weights: they are counted from the list


def test_class_weights_count_in_the_loss_over_prefixes_too() -> None:
    weights = torch.tensor([0.5, 2.0, 1.0, 1.0], dtype=torch.float64)
    every, labels = random(3, 5, 4), torch.tensor([0, 1, 1])
    maps = ClipMaps(frame_embeddings=random(3, 5, 6), clip_embedding=random(3, 6), prefix_logits=every)
    _, terms = TotalLoss(TrainConfig(prefix_loss=0.5, label_smoothing=0.2), 4, 6, weights)(every[:, -1], maps, labels)
    expected = sum(weights[labels[i]] * cross_entropy(every[i], labels[i].expand(5), 0.2) for i in range(3)) / 3
    assert_same([terms["prefix"]], [expected], [every])
