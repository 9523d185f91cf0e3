"""SCA and TSA against their equations in loops, in float64: values and gradients."""

import math

import pytest
import torch
from torch import Tensor

from hitagu_lib.config import AttentionConfig
from hitagu_lib.models.attention import SpatialChannelAttention, TemporalSelfAttention, sinusoids


def learned(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(1)
    for parameter in module.double().parameters():
        torch.nn.init.normal_(parameter)
    return module


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def test_sca_equals_the_loops() -> None:
    sca = learned(SpatialChannelAttention(AttentionConfig(sca_reduction=1, sca_kernel=3), 5))
    y = torch.randn(2, 5, 4, 3, dtype=torch.float64, requires_grad=True)
    first, _, second = sca.bottleneck

    def bottleneck(v: Tensor) -> Tensor:
        return second.weight @ (first.weight @ v + first.bias).clamp_min(0) + second.bias

    outs = []
    for n in range(2):
        mean = torch.stack([sum(y[n, c, i, j] for i in range(4) for j in range(3)) / 12 for c in range(5)])
        top = torch.stack([max(y[n, c, i, j] for i in range(4) for j in range(3)) for c in range(5)])
        gated = y[n] * sigmoid(bottleneck(mean) + bottleneck(top))[:, None, None]
        rows = []
        for i in range(4):
            for j in range(3):
                total = torch.zeros((), dtype=y.dtype)
                for di in (-1, 0, 1):
                    for dj in (-1, 0, 1):
                        if 0 <= i + di < 4 and 0 <= j + dj < 3:
                            cell = gated[:, i + di, j + dj]
                            total = total + sca.conv.weight[0, 0, di + 1, dj + 1] * sum(cell) / 5
                            total = total + sca.conv.weight[0, 1, di + 1, dj + 1] * max(cell)
                rows.append(gated[:, i, j] * sigmoid(total))
        outs.append(torch.stack(rows, dim=1).reshape(5, 4, 3))
    compare(sca(y)[0], torch.stack(outs), [y, *sca.parameters()])


@pytest.mark.parametrize("T", [1, 2, 8])
def test_tsa_equals_the_loops(T: int) -> None:
    C, width, heads = 6, 8, 2
    tsa = learned(TemporalSelfAttention(AttentionConfig(tsa_width=width, tsa_heads=heads), C))
    tokens = torch.randn(2, T, C, dtype=torch.float64, requires_grad=True)
    t = torch.rand(2, T, dtype=torch.float64).cumsum(1)
    outs, weights = [], []
    for b in range(2):
        q, k, v = [], [], []
        for i in range(T):
            x = tokens[b, i]
            mean = sum(x) / C
            normal = (x - mean) / (sum((x - mean) ** 2) / C + tsa.norm.eps).sqrt() * tsa.norm.weight + tsa.norm.bias
            angles = []
            for s in range(width // 2):
                wavelength = 4 * 100 ** (s / (width // 2 - 1))
                angles.append(2 * math.pi * (t[b, i] - t[b, 0]).item() / wavelength)
            code = torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles], dtype=x.dtype)
            row = tsa.qkv.weight @ normal + tsa.qkv.bias + tsa.position.weight @ code
            q.append(row[:width]), k.append(row[width : 2 * width]), v.append(row[2 * width :])
        for i in range(T):
            mixed = []
            for head in range(heads):
                part = slice(head * width // heads, (head + 1) * width // heads)
                score = torch.stack([q[i][part] @ k[j][part] / math.sqrt(width / heads) for j in range(T)])
                weight = torch.exp(score) / torch.exp(score).sum()
                weights.append(weight)
                mixed.append(sum(weight[j] * v[j][part] for j in range(T)))
            outs.append(tokens[b, i] + tsa.out.weight @ torch.cat(mixed) + tsa.out.bias)
    compare(tsa(tokens, t), torch.stack(outs).reshape(2, T, C), [tokens, *tsa.parameters()])
    torch.testing.assert_close(tsa.weights(tokens, t), torch.stack(weights).reshape(2, T, heads, T).transpose(1, 2))


def compare(shipped: Tensor, plain: Tensor, variables: list[Tensor]) -> None:
    torch.testing.assert_close(shipped, plain)
    direction = torch.randn(shipped.shape, dtype=shipped.dtype)
    gradients = [torch.autograd.grad((y * direction).sum(), variables) for y in (shipped, plain)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_times_count_from_the_first_frame_and_neighbours_are_told_apart() -> None:
    t = torch.arange(8.0)[None]
    torch.testing.assert_close(sinusoids(t + 50, 16), sinusoids(t, 16))
    code = sinusoids(t, 16)[0]
    distance = torch.cdist(code, code) + 10 * torch.eye(8)
    assert distance.min() > 0.5


def test_any_number_of_frames_will_do() -> None:
    tsa = learned(TemporalSelfAttention(AttentionConfig(tsa_width=8, tsa_heads=2), 6))
    for T in (1, 8, 33):
        assert tsa(torch.randn(1, T, 6, dtype=torch.float64), torch.arange(T, dtype=torch.float64)[None]).shape == (
            1,
            T,
            6,
        )


def test_gates_lie_between_0_and_1_and_are_what_multiplies() -> None:
    sca = learned(SpatialChannelAttention(AttentionConfig(), 8))
    y = torch.randn(3, 8, 5, 5, dtype=torch.float64)
    out, channel, spatial = sca(y)
    assert channel.shape == (3, 8) and spatial.shape == (3, 5, 5)
    assert channel.min() > 0 and channel.max() < 1 and spatial.min() > 0 and spatial.max() < 1
    torch.testing.assert_close(out, y * channel[:, :, None, None] * spatial[:, None])
