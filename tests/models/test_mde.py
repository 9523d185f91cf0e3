"""MDE against its equations written as loops, in float64, and its guarantees for still, reversed and moving clips."""

import pytest
import torch
import torch.nn.functional as F
from reference_ops import assert_same, batch_norm, bf16_errors, conv, depthwise, relu, sigmoid, softmax, wake
from torch import Tensor

from hitagu_lib.config import GRIDS, MDEConfig
from hitagu_lib.models.mde import MDE, FrameReducer, MotionDifference, MotionTrunk, ResidualBlock, ShiftMatch


def random_maps(B: int = 2, T: int = 4, R: int = 3, h: int = 3, w: int = 5) -> Tensor:
    return torch.randn(B, T, R, h, w, dtype=torch.float64, generator=torch.Generator().manual_seed(T))


# The equations, one after the other


def differences(r: Tensor, K: Tensor | None) -> tuple[Tensor, Tensor]:
    """2b.2 and 2b.3: r (B, T, R, h, w), K (R, 3, 3) or none."""
    plus, minus = [], []
    for clip in r:
        k = clip if K is None else depthwise(clip, K)
        zero = torch.zeros_like(clip[0])
        T = len(clip)
        plus.append(torch.stack([k[t + 1] - clip[t] if t + 1 < T else zero for t in range(T)]))
        minus.append(torch.stack([clip[t] - k[t - 1] if t > 0 else zero for t in range(T)]))
    return torch.stack(plus), torch.stack(minus)


def shift_weights(r: Tensor, kappa: Tensor, radius: int) -> Tensor:
    """2b.4, shift by shift."""
    *_, h, w = r.shape
    reach = range(-radius, radius + 1)
    clips = []
    q = r - sum(r[..., i, j] for i in range(h) for j in range(w))[..., None, None] / (h * w)
    for clip in q / q.square().sum(2, keepdim=True).sqrt().clamp_min(1e-3):
        frames = []
        for now, after in zip(clip, [*clip[1:], clip[-1]], strict=True):
            scores = []
            for di, dj in ((di, dj) for di in reach for dj in reach):
                inside = [[0 <= i + di < h and 0 <= j + dj < w for j in range(w)] for i in range(h)]
                cosine = (now * after.roll((-di, -dj), (1, 2))).sum(0) * torch.tensor(inside)
                scores.append(kappa * cosine)
            frames.append(torch.stack(softmax(scores)) * len(reach))
        clips.append(torch.stack(frames))
    return torch.stack(clips)


def read_out(trunk: MotionTrunk, parts: list[Tensor]) -> Tensor:
    """2b.5's trunk on parts (N, _, h_s, w_s)."""
    m = torch.cat(parts, dim=1)
    if not isinstance(trunk.blocks[0], ResidualBlock):
        projection, bn, _, pool = trunk.blocks
        m = relu(batch_norm(conv(m, projection.weight), bn))
        k = pool.kernel_size
        rows = [
            torch.stack([m[:, :, i : i + k, j : j + k].mean((2, 3)) for j in range(0, m.shape[3], k)], dim=2)
            for i in range(0, m.shape[2], k)
        ]
        return torch.stack(rows, dim=2)
    for block in trunk.blocks:
        stride = block.conv1.stride[0]
        y = relu(batch_norm(conv(m, block.conv1.weight, stride), block.bn1))
        y = batch_norm(conv(y, block.conv2.weight), block.bn2)
        if len(list(block.shortcut.parameters())):
            m = batch_norm(conv(m, block.shortcut[0].weight, stride), block.shortcut[1])
        m = relu(y + m)
    return m


def energies(r: Tensor, side: int) -> Tensor:
    """2b.6, E of one tap, position by position: r (B, T, R, h, w) -> (B T, 1, h / side, w / side), rounded up."""
    T, h, w = r.shape[1], *r.shape[3:]
    frames = []
    for clip in r:
        for t in range(T):
            others = [clip[s] for s in (t - 1, t + 1) if 0 <= s < T]
            change = sum(((clip[t] - other).square().mean(0) for other in others), 0 * clip[t, 0])
            near = torch.stack(
                [
                    torch.stack([change[max(0, i - 1) : i + 2, max(0, j - 1) : j + 2].max() for j in range(w)])
                    for i in range(h)
                ]
            )
            rows = [
                torch.stack([near[i : i + side, j : j + side].mean() for j in range(0, w, side)])
                for i in range(0, h, side)
            ]
            frames.append(torch.stack(rows)[None])
    return torch.stack(frames)


def written_out(mde: MDE, cfg: MDEConfig, maps: dict[str, Tensor], T: int) -> tuple[Tensor, Tensor | None]:
    """2b.1 to 2b.9, for each of MDE's switches: F' and the gate."""
    m: Tensor | float = 0.0
    energy: Tensor | float = 0.0
    for stage, reducer, trunk in zip(cfg.taps, mde.reducers, mde.trunks, strict=True):
        r = batch_norm(conv(maps[stage], reducer.W_r.weight), reducer.bn)
        clips = r.unflatten(0, (-1, T))
        K = trunk.difference.K.weight[:, 0] if trunk.difference and cfg.difference_kernel > 1 else None
        plus, minus = differences(clips, K)
        parts = {"map": clips, "forward": plus, "backward": minus}
        read = [parts[name].flatten(0, 1) for name in cfg.reads]
        if cfg.shift_radius:
            read.append(shift_weights(clips, trunk.match.kappa, cfg.shift_radius).flatten(0, 1))
        m = m + read_out(trunk, read)
        energy = energy + energies(clips, 2 ** (GRIDS["layer2"] - GRIDS[stage]))
    top = maps[cfg.taps[-1]]
    a = energy / (energy + 0.1) * (2 * sigmoid(conv(m, mde.W_a.weight)) - 1) if cfg.gate else None
    e = conv(m, mde.W_e.weight) if cfg.embedding else 0
    return top + (a * top if cfg.gate else 0) + e, a


@pytest.mark.equation("2b.1")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("N", [1, 8])
def test_reduced_maps_equal_the_equation(N: int, training: bool) -> None:
    x, module = random_maps(1, N, R=6)[0].requires_grad_(), wake(FrameReducer(6, 4)).train(training)
    assert_same([module(x)], [batch_norm(conv(x, module.W_r.weight), module.bn)], [x, *module.parameters()])


@pytest.mark.equation("2b.2", "2b.3")
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize(("B", "T"), [(2, 1), (1, 2), (2, 8), (1, 33)])
def test_differences_equal_the_loops(B: int, T: int, kernel: int) -> None:
    r, module = random_maps(B, T).requires_grad_(), wake(MotionDifference(3, kernel))
    K = module.K.weight[:, 0] if kernel > 1 else None
    assert len(list(module.parameters())) == (kernel > 1)
    assert_same(module(r), differences(r, K), [r, *module.parameters()])


@pytest.mark.equation("2b.4")
@pytest.mark.parametrize(("B", "T", "radius"), [(1, 1, 2), (2, 2, 2), (1, 8, 1), (1, 33, 1)])
def test_shift_weights_equal_the_loops(B: int, T: int, radius: int) -> None:
    r, module = random_maps(B, T).requires_grad_(), wake(ShiftMatch(radius))
    assert_same([module(r)], [shift_weights(r, module.kappa, radius)], [r, module.kappa])


CHANNELS = {"layer1": 6, "layer2": 7}


def small(cfg: MDEConfig) -> MDE:
    torch.manual_seed(0)
    return MDE(cfg, CHANNELS, "layer2")


def config(**changes: object) -> MDEConfig:
    return MDEConfig(**{"taps": ("layer1", "layer2"), "reduced": 3, "width": 4, "shift_radius": 1} | changes)


def stage_maps(N: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(N)
    sizes = {"layer1": (3, 5), "layer2": (2, 3)}  # odd: strides round up
    return {
        stage: torch.randn(N, CHANNELS[stage], *size, dtype=torch.float64, generator=generator).requires_grad_()
        for stage, size in sizes.items()
    }


def assert_equals_the_equations(
    cfg: MDEConfig, B: int, T: int, training: bool = False, memory_format: torch.memory_format | None = None
) -> None:
    mde, maps = wake(small(cfg)).train(training), stage_maps(B * T)
    given = maps
    if memory_format:
        mde = mde.to(memory_format=memory_format)
        given = {stage: x.to(memory_format=memory_format) for stage, x in maps.items()}
    out, gate = mde(given["layer2"], mde.reduce(given), T)
    plain_out, plain_gate = written_out(mde, cfg, maps, T)
    assert (gate is None) == (plain_gate is None) == (not cfg.gate)
    shipped, plain = ([out], [plain_out]) if gate is None else ([out, gate], [plain_out, plain_gate])
    assert_same(shipped, plain, [*maps.values(), *mde.parameters()])


@pytest.mark.equation("2b.1", "2b.2", "2b.3", "2b.4", "2b.5", "2b.6", "2b.7", "2b.8", "2b.9")
@pytest.mark.parametrize(("B", "T"), [(2, 1), (1, 2), (2, 8), (1, 33)])
def test_the_whole_equals_the_equations(B: int, T: int) -> None:
    assert_equals_the_equations(config(), B, T)


@pytest.mark.equation("2b.1", "2b.2", "2b.3", "2b.4", "2b.5", "2b.6", "2b.7", "2b.8", "2b.9")
@pytest.mark.parametrize("memory_format", [None, torch.channels_last])
def test_the_whole_equals_the_equations_in_training_and_channels_last(
    memory_format: torch.memory_format | None,
) -> None:
    assert_equals_the_equations(config(shift_radius=2), 2, 3, training=True, memory_format=memory_format)


@pytest.mark.parametrize(
    "changes",
    [
        {"taps": ("layer2",)},
        {"shift_radius": 0},
        {"difference_kernel": 1},
        {"reads": ("map",)},
        {"reads": ("forward", "backward"), "shift_radius": 0},
        {"reads": ("map", "backward")},
        {"reads": ()},
        {"trunk_blocks": 0},
        {"trunk_blocks": 1},
        {"trunk_blocks": 3},
        {"gate": False},
        {"embedding": False},
    ],
    ids=str,
)
def test_each_switch_leaves_its_part_out_of_the_equations(changes: dict) -> None:
    assert_equals_the_equations(config(**changes), 1, 3)


def test_the_trunk_has_as_many_blocks_as_asked_for_and_one_for_each_halving() -> None:
    for asked, expected in {1: (1, 1), 2: (2, 2), 3: (3, 3)}.items():
        assert tuple(len(trunk.blocks) for trunk in small(config(trunk_blocks=asked)).trunks) == expected
    channels = {f"layer{i}": 4 for i in range(1, 5)}
    deep = MDE(config(taps=("layer1",), trunk_blocks=1), channels, "layer4")
    assert len(deep.trunks[0].blocks) == 3
    bare = small(config(trunk_blocks=0))
    assert not any(isinstance(part, ResidualBlock) for part in bare.modules())


def test_bf16_stays_close() -> None:
    def call(mde: MDE, top: Tensor, finer: Tensor) -> list[Tensor]:
        return list(mde(top, mde.reduce({"layer1": finer, "layer2": top}), 4))

    maps = stage_maps(8)
    values, by_inputs, by_parameters = bf16_errors(wake(small(config())), call, [maps["layer2"], maps["layer1"]])
    assert values < 0.01
    # A ReLU that flips by rounding changes a whole gradient; so does another neighbour that becomes the largest.
    assert max(by_inputs, by_parameters) < 0.1


# Guarantees


@pytest.mark.parametrize("still", [False, True])
def test_it_starts_as_the_identity_with_its_gate_at_zero(still: bool) -> None:
    mde, maps = small(config()).double(), stage_maps(6)
    if still:
        maps = {stage: x[:1].expand(6, -1, -1, -1) for stage, x in maps.items()}
    out, gate = mde(maps["layer2"], mde.reduce(maps), 3)
    assert torch.equal(out, maps["layer2"]) and not gate.any()


@pytest.mark.equation("2b.6", "2b.7")
@pytest.mark.parametrize("training", [False, True])
def test_the_gate_is_zero_on_a_still_clip_whatever_the_weights(training: bool) -> None:
    """And only there: if one position of one frame changes, gates open beside it in that frame and its neighbours, nowhere else."""
    mde = wake(small(config(taps=("layer2",)))).train(training)
    still = torch.randn(1, 7, 5, 6, dtype=torch.float64).expand(6, -1, -1, -1).clone()
    _, gate = mde(still, mde.reduce({"layer2": still}), 6)
    assert not gate.any()
    moved = still.clone()
    moved[2, :, 1, 1] += 3
    mde.eval()  # in training, BatchNorm's statistics change everywhere
    _, gate = mde(moved, mde.reduce({"layer2": moved}), 6)
    opened = gate.ne(0).any(1)
    assert opened[1:4, :3, :3].all() and opened.sum() == 3 * 9


def test_a_clip_reversed_swaps_and_negates_its_differences() -> None:
    r, module = random_maps(), wake(MotionDifference(3))
    forward, backward = module(r)
    forward_, backward_ = module(r.flip(1))
    torch.testing.assert_close(forward_, -backward.flip(1))
    torch.testing.assert_close(backward_, -forward.flip(1))


def test_a_still_clip_has_no_differences_and_stays_where_it_is() -> None:
    r = random_maps(T=1).expand(-1, 5, -1, -1, -1)
    assert not any(d.any() for d in MotionDifference(3).double()(r))
    w = ShiftMatch(2).double()(r)
    assert (w.argmax(2) == 12).all(), "the middle of 25 shifts is no shift"


@pytest.mark.parametrize(("dy", "dx"), [(0, 1), (1, 0), (-2, 1), (2, 2)])
def test_a_moving_dot_is_found_where_it_went(dy: int, dx: int) -> None:
    frames = torch.zeros(1, 2, 3, 9, 9, dtype=torch.float64)
    feature = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    frames[0, 0, :, 4, 4] = frames[0, 1, :, 4 + dy, 4 + dx] = feature
    w = ShiftMatch(2).double()(frames)
    assert int(w[0, 0, :, 4, 4].argmax()) == (dy + 2) * 5 + (dx + 2)


@pytest.mark.parametrize("trunk_blocks", [0, 2])
def test_the_grid_of_a_tap_comes_down_to_the_top_maps(trunk_blocks: int) -> None:
    cfg = MDEConfig(taps=tuple(GRIDS), reduced=2, width=4, trunk_blocks=trunk_blocks)
    channels = {"stem": 2, "layer1": 3, "layer2": 4, "layer3": 5, "layer4": 6}
    mde = MDE(cfg, channels, "layer4").eval()
    for sizes in ([(56, 56), (56, 56), (28, 28), (14, 14), (7, 7)], [(13, 11), (13, 11), (7, 6), (4, 3), (2, 2)]):
        maps = {stage: torch.randn(4, c, *size) for (stage, c), size in zip(channels.items(), sizes, strict=True)}
        out, gate = mde(maps["layer4"], mde.reduce(maps), 2)
        assert out.shape == gate.shape == (4, 6, *sizes[-1])


@pytest.mark.equation("2b.4")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_on_a_uniform_area_all_shifts_weigh_the_same(dtype: torch.dtype) -> None:
    """At any level of brightness: the residue of a rounded mean is no direction."""
    r = torch.full((1, 3, 4, 6, 6), 5.3, dtype=dtype)
    r[:, :, :, 2, 3] += torch.tensor([1.0, -1, 2, 0.5], dtype=dtype)  # one mark, so that the mean is not the ground
    r[:, :, :, 5, 5] -= torch.tensor([1.0, -1, 2, 0.5], dtype=dtype)  # and its opposite, so that it is
    w = ShiftMatch(1).to(dtype)(r)
    torch.testing.assert_close(w[..., 0, 0], torch.full_like(w[..., 0, 0], 3 / 9), atol=0.02, rtol=0)


def test_normalising_keeps_zero_vectors_finite() -> None:
    r = torch.zeros(1, 2, 3, 4, 4, requires_grad=True)
    w = ShiftMatch(1)(r)
    w.square().sum().backward()
    assert w.isfinite().all() and r.grad.isfinite().all()
    assert F.normalize(r, dim=2).abs().max() == 0
