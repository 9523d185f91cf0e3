"""The baselines against their published definitions, in float64; what they share with the network they are compared with."""

import copy

import pytest
import torch
from reference_ops import assert_same, resnet, wake
from torch import Tensor, nn

from hitagu_lib import build_model
from hitagu_lib.config import ModelConfig, STUConfig, resolve
from hitagu_lib.models.baselines import PositionGRU, TemporalShift


def config(temporal: str, name: str = "resnet18", cut: str = "layer1", **mde: object) -> ModelConfig:
    backbone = {"name": name, "cut": cut}
    return resolve({"model": {"temporal": temporal, "backbone": backbone, "mde": {"taps": [cut]} | mde}}).model


def clips(B: int, T: int) -> Tensor:
    """Odd sizes: 13 x 17 pixels."""
    generator = torch.Generator().manual_seed(T)
    return torch.randn(B, T, 3, 13, 17, dtype=torch.float64, generator=generator).requires_grad_()


def mean_over_positions(maps: Tensor) -> Tensor:
    h, w = maps.shape[-2:]
    return sum(maps[..., i, j] for i in range(h) for j in range(w)) / (h * w)


# TSN


@pytest.mark.equation("2a.1")
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("T", [1, 3])
def test_stage_maps_are_those_of_each_frame_alone(T: int, memory_format: torch.memory_format) -> None:
    backbone = wake(build_model(config("tsn", cut="layer2"), 3)).backbone.to(memory_format=memory_format)
    frames = clips(1, T)[0]
    alone = [resnet(backbone, frame[None]) for frame in frames]
    shipped = backbone(frames.to(memory_format=memory_format))
    assert list(shipped) == ["stem", "layer1", "layer2"]
    assert_same(
        list(shipped.values()),
        [torch.cat(stage) for stage in zip(*alone, strict=True)],
        [frames, *backbone.parameters()],
    )


@pytest.mark.slow
@pytest.mark.equation("2a.2")
@pytest.mark.parametrize(("B", "T"), [(2, 1), (1, 2), (1, 8), (1, 33)])
def test_tsn_is_the_mean_of_the_frames_logits(B: int, T: int) -> None:
    net, x = wake(build_model(config("tsn"), 3)), clips(B, T)
    weight, bias = net.head.linear.weight, net.head.linear.bias
    logits = []
    for clip in x:
        pooled = [mean_over_positions(resnet(net.backbone, frame[None])[-1][0]) for frame in clip]
        logits.append(sum(weight @ z + bias for z in pooled) / T)
    assert_same([net(x)], [torch.stack(logits)], [x, *net.parameters()])


# TSM


def shifted(x: Tensor) -> Tensor:
    """x (T, C, h, w), channel by channel: the first eighth from the next frame, the second from the previous one, zeros beyond."""
    T, C = x.shape[:2]
    zero = torch.zeros_like(x[0, 0])
    frames = []
    for t in range(T):
        planes = []
        for c in range(C):
            source = t + 1 if c < C // 8 else t - 1 if c < 2 * (C // 8) else t
            planes.append(x[source, c] if 0 <= source < T else zero)
        frames.append(torch.stack(planes))
    return torch.stack(frames)


@pytest.mark.parametrize("channels", [7, 8, 19])
@pytest.mark.parametrize(("B", "T"), [(2, 1), (1, 2), (2, 8), (1, 33)])
def test_the_shift_equals_its_definition(B: int, T: int, channels: int) -> None:
    shift = TemporalShift()
    shift.num_frames = T
    x = torch.randn(B, T, channels, 3, 5, dtype=torch.float64).requires_grad_()
    for memory_format in (torch.contiguous_format, torch.channels_last):
        given = x.flatten(0, 1).to(memory_format=memory_format)
        assert_same([shift(given)], [torch.cat([shifted(clip) for clip in x])], [x])


def test_a_frame_reads_its_neighbours_as_the_authors_code_does() -> None:
    """out[:, :-1, :fold] = x[:, 1:, :fold]; out[:, 1:, fold : 2 * fold] = x[:, :-1, fold : 2 * fold]; zeros elsewhere."""
    shift = TemporalShift()
    shift.num_frames = 3
    x = torch.arange(1.0, 4)[:, None, None, None].expand(3, 8, 1, 1)  # frame t holds t, from 1
    assert shift(x)[:, :3, 0, 0].tolist() == [[2, 0, 1], [3, 1, 2], [0, 2, 3]]


@pytest.mark.parametrize(("B", "T"), [(2, 1), (1, 3)])
def test_tsm_shifts_what_each_residual_branch_reads_and_nothing_else(B: int, T: int) -> None:
    net, x = wake(build_model(config("tsm", cut="layer2"), 3)), clips(B, T)
    tops = [resnet(net.backbone, clip, shifted)[-1] for clip in x]
    pooled = torch.stack([sum(mean_over_positions(top)) / T for top in tops])
    assert_same([net(x)], [pooled @ net.head.linear.weight.T + net.head.linear.bias], [x, *net.parameters()])


@pytest.mark.parametrize(
    ("name", "blocks", "shifts"),
    [("resnet18", 8, 8), ("resnet34", 16, 16), ("resnet50", 16, 16), ("resnet101", 33, 18)],
)
def test_tsm_shifts_before_every_blocks_first_convolution(name: str, blocks: int, shifts: int) -> None:
    """ResNet-101 shifts before every second one, as in the authors' code."""
    with torch.device("meta"):
        net = build_model(config("tsm", name, "layer4"), 3)
    parts = [part for part in net.modules() if isinstance(part, TemporalShift)]
    firsts = [block.conv1 for stage in net.backbone.stages.values() for block in stage]
    holders = [first for first in firsts if isinstance(first, nn.Sequential)]
    assert (len(firsts), len(parts)) == (blocks, shifts)
    assert [first[0] for first in holders] == parts == net.shifts()
    assert all(isinstance(stage[0].conv1, nn.Sequential) for stage in net.backbone.stages.values())


def test_a_replica_of_tsm_shifts_by_its_own_clips() -> None:
    """nn.DataParallel's replicas are shallow copies whose submodules are copied too, and whose plain attributes are shared."""
    net = wake(build_model(config("tsm", cut="layer2"), 3)).eval()
    copies = {module: copy.copy(module) for module in net.modules()}
    for replica in copies.values():
        replica.__dict__["_modules"] = {name: copies[part] for name, part in replica._modules.items()}
    for T in (4, 2):
        x = clips(2, T)
        torch.testing.assert_close(copies[net](x), net(x))


# GRU


@pytest.mark.parametrize(("B", "T"), [(2, 1), (1, 8)])
def test_the_gru_equals_its_equations(B: int, T: int) -> None:
    """Cho et al. 2014, in PyTorch's variant: the reset gate acts on W_hn h + b_hn."""
    net, x = wake(build_model(config("gru"), 3)), clips(B, T)
    D = net.width
    W_i, W_h, b_i, b_h = net.gru.weight_ih_l0, net.gru.weight_hh_l0, net.gru.bias_ih_l0, net.gru.bias_hh_l0
    logits = []
    for clip in x:
        h, states = torch.zeros(D, dtype=x.dtype), []
        for z in mean_over_positions(resnet(net.backbone, clip)[-1]):
            i, s = (W_i @ z + b_i).split(D), (W_h @ h + b_h).split(D)
            reset, update = torch.sigmoid(i[0] + s[0]), torch.sigmoid(i[1] + s[1])
            h = (1 - update) * torch.tanh(i[2] + reset * s[2]) + update * h
            states.append(h)
        logits.append(net.head.linear.weight @ (sum(states) / T) + net.head.linear.bias)
    assert_same([net(x)], [torch.stack(logits)], [x, *net.parameters()])


@pytest.mark.parametrize(("B", "T"), [(2, 1), (1, 5)])
def test_a_gru_at_each_position_is_one_gru_run_over_every_position(B: int, T: int) -> None:
    unit = wake(PositionGRU(STUConfig(width=6, gru=True), 4))
    u = torch.randn(B, T, 4, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(T)).requires_grad_()
    z = unit.bn(unit.W_in(u.flatten(0, 1))).unflatten(0, (B, T))
    y = torch.empty_like(u)
    for row in range(2):
        for column in range(3):
            states, _ = unit.gru(z[:, :, :, row, column])
            y[:, :, :, row, column] = u[:, :, :, row, column] + states @ unit.W_o.weight[:, :, 0, 0].T
    found, mix = unit(u, torch.arange(T, dtype=torch.float64).expand(B, T))
    assert mix is None
    assert_same([found], [y], [u, *unit.parameters()])
    first, _, memory = unit.resume(u[:, :1], torch.zeros(B, 1, dtype=torch.float64), None)
    if T > 1:
        rest, _, _ = unit.resume(u[:, 1:], torch.arange(1, T, dtype=torch.float64).expand(B, T - 1), memory)
        torch.testing.assert_close(torch.cat([first, rest], dim=1), y)


# All baselines


@pytest.mark.parametrize("temporal", ["tsn", "tsm", "gru"])
def test_everything_but_the_temporal_part_equals_the_networks(temporal: str) -> None:
    """With the same seed the backbone is equal, number for number, and the head has the same form."""
    nets = {}
    for name in ("hitagu", temporal):
        torch.manual_seed(3)
        nets[name] = build_model(config(name, cut="layer2"), 5)
    ours, theirs = nets["hitagu"], nets[temporal]
    a, b = ([*net.backbone.parameters(), *net.backbone.buffers()] for net in (ours, theirs))
    assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))
    assert str(ours.head) == str(theirs.head)
    beyond = {name.split(".")[0] for name, _ in theirs.named_parameters()} - {"backbone", "head"}
    assert beyond == ({"gru"} if temporal == "gru" else set())
