"""SCA and TSA against their equations in loops, in float64: values and gradients."""

import math

import pytest
import torch
from reference_ops import assert_same, bf16_errors, conv, relu, sigmoid, softmax, wake
from torch import Tensor

from hitagu_lib import build_model
from hitagu_lib.config import AttentionConfig, resolve
from hitagu_lib.models import FrameFeatures
from hitagu_lib.models.attention import SpatialChannelAttention, TemporalSelfAttention, sinusoids


def random_maps(N: int, C: int = 5, h: int = 3, w: int = 5) -> Tensor:
    return torch.randn(N, C, h, w, dtype=torch.float64, generator=torch.Generator().manual_seed(N)).requires_grad_()


# Spatial Channel Attention


def gated(sca: SpatialChannelAttention, y: Tensor) -> list[Tensor]:
    """2d.1 to 2d.3, frame by frame: the gated maps, then the gates that are switched on."""
    outs: list[list[Tensor]] = []
    for frame in y:
        C, h, w = frame.shape
        gates = []
        if sca.bottleneck:
            first, _, second = sca.bottleneck
            cells = frame.flatten(1)  # (C, h w)
            hidden = [relu(first.weight @ v + first.bias) for v in (sum(cells.T) / (h * w), cells.max(1).values)]
            channel = sca.open * sigmoid(sum(second.weight @ v + second.bias for v in hidden))
            frame = torch.stack([frame[c] * channel[c] for c in range(C)])
            gates.append(channel)
        if sca.conv:
            descriptors = torch.stack([sum(frame) / C, frame.max(0).values])[None]
            spatial = sca.open * sigmoid(conv(descriptors, sca.conv.weight))[0, 0]
            frame = torch.stack([plane * spatial for plane in frame])
            gates.append(spatial)
        outs.append([frame, *gates])
    return [torch.stack(column) for column in zip(*outs, strict=True)]


@pytest.mark.equation("2d.1", "2d.2", "2d.3")
@pytest.mark.parametrize("gates", [("channel", "spatial"), ("channel",), ("spatial",)])
@pytest.mark.parametrize(("N", "kernel"), [(1, 7), (4, 3)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_sca_equals_the_loops(gates: tuple, N: int, kernel: int, memory_format: torch.memory_format) -> None:
    cfg = AttentionConfig(sca_gates=gates, sca_reduction=1, sca_kernel=kernel)
    sca, y = wake(SpatialChannelAttention(cfg, 5)).to(memory_format=memory_format), random_maps(N)
    out, channel, spatial = sca(y.to(memory_format=memory_format))
    assert (channel is not None, spatial is not None) == ("channel" in gates, "spatial" in gates)
    assert {name.split(".")[0] for name, _ in sca.named_parameters()} == {
        {"channel": "bottleneck", "spatial": "conv"}[gate] for gate in gates
    }
    shipped = [part for part in (out, channel, spatial) if part is not None]
    assert_same(shipped, gated(sca, y), [y, *sca.parameters()])


def test_gates_that_start_near_1_equal_the_loops() -> None:
    cfg = AttentionConfig(sca_reduction=1, sca_kernel=3, sca_identity=True)
    sca, y = wake(SpatialChannelAttention(cfg, 5)), random_maps(4)
    assert sca.open == 2
    assert_same(sca(y), gated(sca, y), [y, *sca.parameters()])


def test_a_fresh_sca_passes_about_a_quarter_of_a_map_of_small_values_or_with_sca_identity_all_of_it() -> None:
    for identity, passed in ((False, 0.25), (True, 1.0)):
        torch.manual_seed(0)
        sca, y = SpatialChannelAttention(AttentionConfig(sca_identity=identity), 64), torch.rand(8, 64, 7, 7)
        share = (sca(y)[0].norm() / y.norm()).item()
        assert passed * 0.75 < share < passed * 1.25, share


@pytest.mark.parametrize(("identity", "passed"), [(False, 0.25), (True, 1.0)])
def test_a_fresh_sca_with_zero_start_passes_every_map_alike_and_learns(identity: bool, passed: float) -> None:
    torch.manual_seed(0)
    y = 3 * torch.randn(8, 64, 7, 7).relu()  # as large as behind a fresh 3STU
    sca = SpatialChannelAttention(AttentionConfig(sca_identity=identity, sca_zero_start=True), 64)
    out, _, _ = sca(y)
    assert torch.equal(out, passed * y)
    out.square().sum().backward()
    assert sca.conv.weight.grad.any() and sca.bottleneck[2].weight.grad.any(), "both gates learn from the first step on"
    _, channel, spatial = SpatialChannelAttention(AttentionConfig(sca_identity=identity), 64)(y)
    assert channel.max() > 1.5 * channel.min() and spatial.max() > 1.5 * spatial.min(), "without it they are random"


def test_gates_lie_between_0_and_1() -> None:
    sca = wake(SpatialChannelAttention(AttentionConfig(), 8))
    _, channel, spatial = sca(random_maps(3, 8, 5, 5))
    assert channel.shape == (3, 8) and spatial.shape == (3, 5, 5)
    assert channel.min() > 0 and channel.max() < 1 and spatial.min() > 0 and spatial.max() < 1


@pytest.mark.slow
@pytest.mark.equation("2d.4")
@pytest.mark.parametrize(("B", "T"), [(2, 1), (1, 2), (2, 8), (1, 33)])
def test_tokens_are_the_mean_of_the_gated_maps_over_positions(B: int, T: int) -> None:
    """The tokens are the input of TSA; without TSA they are the frame embeddings."""
    off = {"mde": {"enabled": False}, "stu": {"enabled": False}, "attention": {"tsa": False, "sca_kernel": 3}}
    net = wake(build_model(resolve({"model": {"backbone": {"name": "resnet18", "cut": "layer1"}} | off}).model, 3))
    top = random_maps(B * T, 64)
    _, maps = net.temporal_head(FrameFeatures(top), torch.arange(T, dtype=torch.float64).expand(B, T))
    frames = [sum(frame[:, i, j] for i in range(3) for j in range(5)) / 15 for frame in gated(net.sca, top)[0]]
    tokens = torch.stack([torch.stack(frames[b * T : b * T + T]) for b in range(B)])
    assert_same([maps.frame_embeddings], [tokens], [top, *net.sca.parameters()])


# Temporal Self-Attention


def attended(tsa: TemporalSelfAttention, tokens: Tensor, t: Tensor, width: int, heads: int) -> tuple[Tensor, Tensor]:
    """2d.5 to 2d.8, token by token: frame embeddings (B, T, C), weights (B, heads, T, T)."""
    B, T, C = tokens.shape
    outs, weights = [], []
    for b in range(B):
        q, k, v = [], [], []
        for i in range(T):
            x = tokens[b, i]
            mean = x.sum() / C
            normal = (x - mean) / ((x - mean).square().sum() / C + tsa.norm.eps).sqrt()
            row = tsa.qkv.weight @ (normal * tsa.norm.weight + tsa.norm.bias) + tsa.qkv.bias
            if tsa.position:
                wavelengths = [4 * 100 ** (s / (width // 2 - 1)) for s in range(width // 2)]
                angles = [2 * math.pi * (t[b, i] - t[b, 0]).item() / wavelength for wavelength in wavelengths]
                code = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
                row = row + tsa.position.weight @ torch.tensor(code, dtype=x.dtype)
            for role, part in zip((q, k, v), row.reshape(3, heads, -1), strict=True):
                role.append(part)
        mixed = []
        for head in range(heads):
            scale = math.sqrt(width / heads)

            def score(
                i: int, j: int, head: int = head, q: list = q, k: list = k, b: int = b, scale: float = scale
            ) -> Tensor:
                likeness = q[i][head] @ k[j][head] / scale
                if tsa.slopes is None:
                    return likeness
                before, after = tsa.slopes[:, head]
                distance = (t[b, i] - t[b, j]).item()
                return likeness + (before * distance if distance > 0 else after * -distance)

            rows = [softmax([score(i, j) for j in range(T)]) for i in range(T)]
            mixed.append(torch.stack([sum(row[j] * v[j][head] for j in range(T)) for row in rows]))
            weights.append(torch.stack([torch.stack(row) for row in rows]))
        outs.append(tokens[b] + torch.cat(mixed, dim=1) @ tsa.out.weight.T + tsa.out.bias)
    return torch.stack(outs), torch.stack(weights).reshape(B, heads, T, T)


def unequal_times(B: int, T: int) -> Tensor:
    return torch.rand(B, T, dtype=torch.float64, generator=torch.Generator().manual_seed(T)).cumsum(1) * 3


def random_tokens(B: int, T: int, C: int = 6) -> Tensor:
    return torch.randn(B, T, C, dtype=torch.float64, generator=torch.Generator().manual_seed(T)).requires_grad_()


@pytest.mark.slow
@pytest.mark.equation("2d.5", "2d.6", "2d.7", "2d.8")
@pytest.mark.parametrize("position", [True, False])
@pytest.mark.parametrize(("B", "T"), [(2, 1), (1, 2), (2, 8), (1, 33)])
def test_tsa_equals_the_loops(B: int, T: int, position: bool) -> None:
    width, heads = 8, 2
    cfg = AttentionConfig(tsa_width=width, tsa_heads=heads, tsa_position=position)
    tsa, tokens, t = wake(TemporalSelfAttention(cfg, 6)), random_tokens(B, T), unequal_times(B, T)
    assert any(name.startswith("position") for name, _ in tsa.named_parameters()) is position
    shipped = tsa(tokens, t), tsa.weights(tokens, t)
    assert_same(shipped, attended(tsa, tokens, t, width, heads), [tokens, *tsa.parameters()])


@pytest.mark.slow
@pytest.mark.parametrize(("B", "T"), [(2, 1), (1, 2), (2, 8), (1, 33)])
def test_tsa_by_differences_of_times_equals_the_loops(B: int, T: int) -> None:
    width, heads = 8, 2
    cfg = AttentionConfig(tsa_width=width, tsa_heads=heads, tsa_relative=True)
    tsa, tokens, t = wake(TemporalSelfAttention(cfg, 6)), random_tokens(B, T), unequal_times(B, T)
    assert tsa.slopes.any() and len(set(tsa.slopes.flatten().tolist())) == 4
    shipped = tsa(tokens, t), tsa.weights(tokens, t)
    assert_same(shipped, attended(tsa, tokens, t, width, heads), [tokens, *tsa.parameters()])


def test_differences_of_times_know_no_clock_but_tell_before_from_after() -> None:
    """Later by a constant: the same, unlike a code that counts from elsewhere. Played backwards: not the same turned round."""
    tsa = wake(TemporalSelfAttention(AttentionConfig(tsa_width=8, tsa_heads=2, tsa_relative=True), 6))
    tokens, t = random_tokens(2, 5), unequal_times(2, 5)
    torch.testing.assert_close(tsa(tokens, t + 7), tsa(tokens, t))
    backwards = t[:, -1:] - t.flip(1)
    assert not torch.allclose(tsa(tokens.flip(1), backwards).flip(1), tsa(tokens, t))
    with torch.no_grad():
        tsa.slopes.fill_(-40.0)  # steep on both sides: a frame sees itself alone, however long the clip
    weights = tsa.weights(random_tokens(1, 64), torch.arange(64.0, dtype=torch.float64)[None])
    torch.testing.assert_close(weights[0, 0], torch.eye(64, dtype=torch.float64), atol=1e-6, rtol=0)


def test_without_its_position_code_tsa_is_blind_to_times_and_order() -> None:
    t = unequal_times(2, 5)
    for position in (True, False):
        tsa = wake(TemporalSelfAttention(AttentionConfig(tsa_width=8, tsa_heads=2, tsa_position=position), 6))
        tokens = random_tokens(2, 5)
        blind = torch.allclose(tsa(tokens.flip(1), t), tsa(tokens, t).flip(1))
        assert blind is torch.equal(tsa(tokens, t), tsa(tokens, 2 * t)) is not position


def test_times_count_from_the_first_frame_and_neighbours_are_told_apart() -> None:
    t = torch.arange(8.0)[None]
    torch.testing.assert_close(sinusoids(t + 50, 16), sinusoids(t, 16))
    whole = torch.arange(8)[None]
    assert torch.equal(sinusoids(whole, 16), sinusoids(whole.float(), 16)), (
        "in whole numbers the wavelengths would be others"
    )
    code = sinusoids(t, 16)[0]
    distance = torch.cdist(code, code) + 10 * torch.eye(8)
    assert distance.min() > 0.5


# bf16


def test_bf16_stays_close() -> None:
    sca = wake(SpatialChannelAttention(AttentionConfig(sca_reduction=1, sca_kernel=3), 5))
    values, by_inputs, by_parameters = bf16_errors(sca, lambda module, y: module(y), [random_maps(8)])
    assert values < 0.01 and max(by_inputs, by_parameters) < 0.05

    tsa, t = wake(TemporalSelfAttention(AttentionConfig(tsa_width=8, tsa_heads=2), 6)), unequal_times(2, 8)
    errors = bf16_errors(tsa, lambda module, tokens: [module(tokens, t)], [random_tokens(2, 8)])
    assert errors[0] < 0.01 and max(errors[1:]) < 0.05
