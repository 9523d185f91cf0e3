"""The classifier against its equation in loops, in float64."""

import pytest
import torch
from reference_ops import assert_same, bf16_errors, wake
from torch import Tensor

from hitagu_lib.models.head import ClassifierHead


def random_frames(B: int, T: int, D: int = 5) -> Tensor:
    return torch.randn(B, T, D, dtype=torch.float64, generator=torch.Generator().manual_seed(T)).requires_grad_()


@pytest.mark.equation("2e.1")
@pytest.mark.parametrize(("B", "T"), [(2, 1), (1, 2), (2, 8), (1, 33)])
def test_the_head_equals_the_loops(B: int, T: int) -> None:
    head, frames = wake(ClassifierHead(5, 3, dropout=0.5)), random_frames(B, T)
    clip = torch.stack([sum(frames[b, t] for t in range(T)) / T for b in range(B)])
    weight, bias = head.linear.weight, head.linear.bias
    logits = torch.stack([torch.stack([sum(weight[k] * z) + bias[k] for k in range(3)]) for z in clip])
    assert_same(head(frames), [logits, clip], [frames, *head.parameters()])


@pytest.mark.parametrize("readout", ["last", "both"])
@pytest.mark.parametrize(("B", "T"), [(2, 1), (1, 2), (2, 8)])
def test_the_other_readouts_equal_the_loops(readout: str, B: int, T: int) -> None:
    head, frames = wake(ClassifierHead(5, 3, dropout=0.5, readout=readout)), random_frames(B, T)
    clip = torch.stack([frames[b, T - 1] for b in range(B)])
    if readout == "both":
        mean = torch.stack([sum(frames[b, t] for t in range(T)) / T for b in range(B)])
        clip = torch.stack([torch.cat([m, last]) for m, last in zip(mean, clip, strict=True)])
    weight, bias = head.linear.weight, head.linear.bias
    logits = torch.stack([torch.stack([sum(weight[k] * z) + bias[k] for k in range(3)]) for z in clip])
    assert_same(head(frames), [logits, clip], [frames, *head.parameters()])


def test_the_memory_readout_puts_what_was_held_beside_the_mean() -> None:
    head, frames = wake(ClassifierHead(5, 3, dropout=0.5, readout="memory")), random_frames(2, 4)
    held = torch.flip(random_frames(2, 4), [2]).detach().requires_grad_()
    clip = torch.stack([torch.cat([sum(frames[b, t] for t in range(4)) / 4, held[b, -1]]) for b in range(2)])
    logits = torch.stack([head.linear.weight @ z + head.linear.bias for z in clip])
    assert_same(head(frames, held), [logits, clip], [frames, held, *head.parameters()])
    assert torch.equal(head(frames)[1][:, 5:], frames[:, -1]), "a network without attention holds its last frame"
    mean = ClassifierHead(5, 3, dropout=0.5).double()
    assert torch.equal(mean(frames, held)[1], mean(frames)[1]), "which other readouts do not see"


def test_dropout_acts_in_training_on_what_is_classified_alone() -> None:
    """Half of the values are 0 and the others doubled, so that the mean stays; the clip embedding is untouched."""
    head, frames = wake(ClassifierHead(400, 400, dropout=0.5)).train(), torch.ones(1, 2, 400, dtype=torch.float64)
    with torch.no_grad():
        head.linear.weight.copy_(torch.eye(400))
        head.linear.bias.zero_()
    logits, clip = head(frames)
    assert set(logits.flatten().tolist()) == {0.0, 2.0} and 0.4 < (logits == 0).double().mean() < 0.6
    assert (clip == 1).all()


def test_the_running_mean_of_a_long_stream_in_bf16_does_not_freeze() -> None:
    head = ClassifierHead(1, 1, dropout=0.0).bfloat16()
    mean, age = torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64)
    for n in range(1000):
        _, clip, means = head.prefixes(torch.full((1, 1, 1), float(n >= 500), dtype=torch.bfloat16), mean, age + n)
        mean = means[:, -1]
    assert clip.dtype == torch.bfloat16 and float(mean.detach()) == pytest.approx(0.5, abs=1e-3)


def test_bf16_stays_close() -> None:
    head = wake(ClassifierHead(5, 3, dropout=0.5))
    errors = bf16_errors(head, lambda module, frames: module(frames), [random_frames(2, 8)])
    assert max(errors) < 0.01, errors
