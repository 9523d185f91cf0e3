"""MDE against its equations written as loops, in float64, and what it promises of still, reversed and moving clips."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hitagu_lib.config import MDEConfig
from hitagu_lib.models.mde import MDE, MotionDifference, ShiftMatch


def random_maps(B: int = 2, T: int = 4, R: int = 3, h: int = 4, w: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(B, T, R, h, w, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def learned(module: torch.nn.Module) -> torch.nn.Module:
    """In float64, away from its initialisation."""
    torch.manual_seed(1)
    for parameter in module.double().parameters():
        torch.nn.init.normal_(parameter) if parameter.ndim else parameter.data.fill_(3.0)
    return module


@pytest.mark.parametrize("T", [1, 2, 5])
def test_differences_equal_the_loops(T: int) -> None:
    r, module = random_maps(T=T).requires_grad_(), learned(MotionDifference(3))
    kernel = module.K.weight[:, 0]  # (R, 3, 3)

    def K(m: Tensor) -> Tensor:
        R, h, w = m.shape
        out = []
        for c in range(R):
            for i in range(h):
                for j in range(w):
                    total = torch.zeros((), dtype=m.dtype)
                    for di in (-1, 0, 1):
                        for dj in (-1, 0, 1):
                            if 0 <= i + di < h and 0 <= j + dj < w:
                                total = total + kernel[c, di + 1, dj + 1] * m[c, i + di, j + dj]
                    out.append(total)
        return torch.stack(out).reshape(R, h, w)

    zero = torch.zeros(3, 4, 5, dtype=r.dtype)
    plus = torch.stack([torch.stack([K(c[t + 1]) - c[t] if t + 1 < T else zero for t in range(T)]) for c in r])
    minus = torch.stack([torch.stack([c[t] - K(c[t - 1]) if t else zero for t in range(T)]) for c in r])
    assert_same_values_and_gradients(module(r), (plus, minus), [r, module.K.weight])


@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("T", [1, 3])
def test_shift_weights_equal_the_loops(radius: int, T: int) -> None:
    r, module = random_maps(B=1, T=T).requires_grad_(), learned(ShiftMatch(radius))
    side = 2 * radius + 1
    frames = []
    for t in range(T):
        after = r[0, min(t + 1, T - 1)]
        rows = []
        for i in range(4):
            for j in range(5):
                a = r[0, t, :, i, j]
                scores = []
                for di in range(-radius, radius + 1):
                    for dj in range(-radius, radius + 1):
                        inside = 0 <= i + di < 4 and 0 <= j + dj < 5
                        b = after[:, i + di, j + dj] if inside else None
                        cosine = (
                            (a @ b) / (a.square().sum().sqrt() * b.square().sum().sqrt()) if inside else a.sum() * 0
                        )
                        scores.append(module.kappa * cosine)
                weights = torch.exp(torch.stack(scores))
                rows.append(side * weights / weights.sum())
        frames.append(torch.stack(rows, dim=1).reshape(-1, 4, 5))
    assert_same_values_and_gradients((module(r),), (torch.stack(frames)[None],), [r, module.kappa])


def assert_same_values_and_gradients(
    shipped: tuple[Tensor, ...], plain: tuple[Tensor, ...], variables: list[Tensor]
) -> None:
    direction = [torch.randn(y.shape, dtype=y.dtype) for y in shipped]
    for a, b in zip(shipped, plain, strict=True):
        torch.testing.assert_close(a, b)
    gradients = [
        torch.autograd.grad(
            sum((y * d).sum() for y, d in zip(form, direction, strict=True)), variables, allow_unused=True
        )
        if any(y.requires_grad for y in form)
        else [None] * len(variables)
        for form in (shipped, plain)
    ]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(
            torch.zeros(()) if a is None or not a.any() else a, torch.zeros(()) if b is None or not b.any() else b
        )


def small(**changes: object) -> MDE:
    cfg = MDEConfig(taps=("layer1", "layer2"), reduced=3, width=6, **changes)
    torch.manual_seed(0)
    return MDE(cfg, {"layer1": 8, "layer2": 10}, "layer2").double().eval()


def stage_maps(N: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        "layer1": torch.randn(N, 8, 8, 10, dtype=torch.float64, generator=generator),
        "layer2": torch.randn(N, 10, 4, 5, dtype=torch.float64, generator=generator),
    }


def test_the_whole_follows_its_last_lines() -> None:
    """m summed over taps; e = W_e m; a = 2 sigmoid(W_a m) - 1; F' = F + a F + e."""
    mde, maps = learned(small()), stage_maps(6)
    reduced = mde.reduce(maps)
    out, gate = mde(maps["layer2"], reduced, 3)
    m = mde.trunks[0](reduced[0], 3) + mde.trunks[1](reduced[1], 3)
    e = torch.einsum("cm,nmhw->nchw", mde.W_e.weight[:, :, 0, 0], m)
    a = 2 / (1 + torch.exp(-torch.einsum("cm,nmhw->nchw", mde.W_a.weight[:, :, 0, 0], m))) - 1
    torch.testing.assert_close(gate, a)
    torch.testing.assert_close(out, maps["layer2"] + a * maps["layer2"] + e)


def test_it_starts_as_the_identity_with_its_gate_at_zero() -> None:
    mde, maps = small(), stage_maps(6)
    out, gate = mde(maps["layer2"], mde.reduce(maps), 3)
    assert torch.equal(out, maps["layer2"]) and not gate.any()


def test_a_clip_reversed_swaps_and_negates_its_differences() -> None:
    r, module = random_maps(), MotionDifference(3).double()
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


def test_the_grid_of_a_tap_comes_down_to_the_top_maps() -> None:
    cfg = MDEConfig(taps=("layer1", "layer2", "layer3", "layer4"), reduced=2, width=4)
    channels = {"layer1": 3, "layer2": 4, "layer3": 5, "layer4": 6}
    mde = MDE(cfg, channels, "layer4").eval()
    maps = {stage: torch.randn(4, c, 56 >> i, 56 >> i) for i, (stage, c) in enumerate(channels.items())}
    out, gate = mde(maps["layer4"], mde.reduce(maps), 2)
    assert out.shape == gate.shape == (4, 6, 7, 7)


def test_odd_sizes_meet_on_the_same_grid() -> None:
    """Strided convolutions round up, in the backbone and in the trunk alike."""
    cfg = MDEConfig(taps=("layer1", "layer3"), reduced=2, width=4)
    mde = MDE(cfg, {"layer1": 3, "layer3": 5}, "layer3").eval()
    maps = {"layer1": torch.randn(4, 3, 13, 11), "layer3": torch.randn(4, 5, 4, 3)}
    assert mde(maps["layer3"], mde.reduce(maps), 2)[0].shape == (4, 5, 4, 3)


def test_without_shifts_the_trunk_reads_differences_alone() -> None:
    assert small(shift_radius=0).trunks[0].blocks[0].conv1.in_channels == 9
    assert small(shift_radius=2).trunks[0].blocks[0].conv1.in_channels == 9 + 25


def test_normalising_keeps_zero_vectors_finite() -> None:
    r = torch.zeros(1, 2, 3, 4, 4, requires_grad=True)
    w = ShiftMatch(1)(r)
    w.square().sum().backward()
    assert w.isfinite().all() and r.grad.isfinite().all()
    assert F.normalize(r, dim=2).abs().max() == 0
