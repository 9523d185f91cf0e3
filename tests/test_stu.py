"""The 3STU against its equations written as loops over every index, in float64: values and gradients."""

import math

import pytest
import torch
from torch import Tensor

from hitagu_lib.config import STUConfig
from hitagu_lib.models.stu import ThreeStateTemporalUnit


def unit(channels: int = 3, **changes: object) -> ThreeStateTemporalUnit:
    """A small unit in float64 with nothing left at zero, normalising by its running statistics."""
    torch.manual_seed(0)
    stu = ThreeStateTemporalUnit(STUConfig(width=2, **changes), channels).double().eval()
    with torch.no_grad():
        for parameter in stu.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64))
        stu.bn.running_mean.normal_()
        stu.bn.running_var.uniform_(0.5, 2)
    return stu


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def reference(stu: ThreeStateTemporalUnit, u: Tensor, t: Tensor) -> Tensor:
    """One position of one clip at a time, u (T, C), t (T,): the equations of the model's specification as they stand."""
    weight = {name: p.flatten(1) if p.ndim == 4 else p for name, p in stu.named_parameters()}
    K, D = stu.states, 2
    z = [
        (weight["W_in.weight"] @ u_t - stu.bn.running_mean)
        / (stu.bn.running_var + stu.bn.eps).sqrt()
        * weight["bn.weight"]
        + weight["bn.bias"]
        for u_t in u
    ]
    share = torch.exp(stu.gamma) / torch.exp(stu.gamma).sum(0)
    edge = [sum((share[j] for j in range(k)), torch.zeros(D, dtype=u.dtype)) for k in range(K + 1)]
    h = [torch.zeros(D, dtype=u.dtype) for _ in range(K)]
    y = []
    for step, (u_t, z_t) in enumerate(zip(u, z, strict=True)):
        dt = 1.0 if step == 0 else t[step] - t[step - 1]
        gates = (weight["W_f.weight"] @ z_t + weight["W_f.bias"]).reshape(K, D)
        scores = (weight["W_s.weight"] @ z_t + weight["W_s.bias"]).reshape(K, D)
        below, read = z_t, torch.zeros(D, dtype=u.dtype)
        for k in range(K):
            f = sigmoid(gates[k])
            if stu.bands:
                f = edge[k] + (edge[k + 1] - edge[k]) * f
            if stu.elapsed_time:
                f = f**dt
            c = torch.tanh(weight[f"V.{k}.weight"] @ below + weight[f"V.{k}.bias"])
            h[k] = f * h[k] + (1 - f) * c
            read = read + torch.exp(scores[k]) / torch.exp(scores).sum(0) * h[k]
            below = h[k]
        y.append(u_t + weight["W_o.weight"] @ read)
    return torch.stack(y)


@pytest.mark.parametrize("T", [1, 2, 8, 33])
@pytest.mark.parametrize(
    "changes", [{}, {"states": 1}, {"states": 2}, {"bands": False}, {"elapsed_time": False}], ids=str
)
def test_values_and_gradients_equal_the_loops(T: int, changes: dict) -> None:
    B, h, w = 2, 1, 3
    generator = torch.Generator().manual_seed(T)
    u = torch.randn(B, T, 3, h, w, dtype=torch.float64, generator=generator).requires_grad_()
    t = torch.rand(B, T, dtype=torch.float64, generator=generator).cumsum(1)  # unequal steps
    stu = unit(**changes)
    y, _ = stu(u, t)
    looped = torch.stack(
        [
            torch.stack(
                [torch.stack([reference(stu, u[b, :, :, i, j], t[b]) for j in range(w)], -1) for i in range(h)], -2
            )
            for b in range(B)
        ]
    )
    torch.testing.assert_close(y, looped)
    direction = torch.randn(y.shape, dtype=y.dtype, generator=generator)
    variables = [u, *(p for p in stu.parameters())]
    shipped = torch.autograd.grad((y * direction).sum(), variables, allow_unused=True)
    plain = torch.autograd.grad((looped * direction).sum(), variables, allow_unused=True)
    for a, b in zip(shipped, plain, strict=True):
        assert (a is None) == (b is None) or not (a if b is None else b).any()
        if a is not None and b is not None:
            torch.testing.assert_close(a, b)


def test_forget_gates_are_strictly_ordered() -> None:
    stu = unit()
    z = 3 * torch.randn(2, 5, 2, 4, 4, dtype=torch.float64)
    f = stu.forget_gates(z, torch.ones(2, 5, dtype=torch.float64))
    assert (f[:, :, 0] < f[:, :, 1]).all() and (f[:, :, 1] < f[:, :, 2]).all()
    assert f.min() > 0 and f.max() < 1


def test_steps_of_one_are_the_form_without_elapsed_time() -> None:
    aware, plain = unit(), unit(elapsed_time=False)
    u = torch.randn(2, 6, 3, 2, 2, dtype=torch.float64)
    t = torch.arange(6, dtype=torch.float64).expand(2, 6)
    torch.testing.assert_close(aware(u, t)[0], plain(u, t)[0])


def test_a_gap_decays_as_if_the_steps_between_had_been_there() -> None:
    """With gates that do not change, one step of 3 forgets what three steps of 1 forget."""
    stu = unit()
    z = torch.randn(1, 1, 2, 1, 1, dtype=torch.float64)
    one = stu.forget_gates(z, torch.ones(1, 1, dtype=torch.float64))
    three = stu.forget_gates(z, torch.full((1, 1), 3.0, dtype=torch.float64))
    torch.testing.assert_close(three, one**3)


def test_no_time_passed_means_nothing_forgotten_and_nothing_learned() -> None:
    """A repeated frame (t does not move) leaves every state as it is, so y repeats."""
    stu = unit()
    u = torch.randn(1, 3, 3, 1, 1, dtype=torch.float64)
    u = torch.cat([u, u[:, -1:]], dim=1)
    y, _ = stu(u, torch.tensor([[0.0, 1, 2, 2]], dtype=torch.float64))
    torch.testing.assert_close(y[:, 3], y[:, 2])


@pytest.mark.parametrize("bias", [-60.0, 60.0])
def test_gates_near_0_and_1_stay_finite(bias: float) -> None:
    stu = unit(bands=False).float()
    torch.nn.init.constant_(stu.W_f.bias, bias)
    u = torch.randn(1, 9, 3, 2, 2, requires_grad=True)
    y, _ = stu(u, torch.tensor([[0.0, 0, 1, 1.5, 2, 5, 40, 41, 400]]))
    y.sum().backward()
    assert y.isfinite().all() and u.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in stu.parameters() if p.grad is not None)


def test_the_state_mix_sums_to_one_and_half_lives_start_at_1_4_and_16_steps() -> None:
    u = torch.randn(2, 4, 3, 2, 2, dtype=torch.float64)
    _, mix = unit()(u, torch.arange(4.0, dtype=torch.float64).expand(2, 4))
    torch.testing.assert_close(mix.sum(2), torch.ones_like(mix[:, :, 0]))
    fresh = ThreeStateTemporalUnit(STUConfig(width=2), 3)
    upper = fresh.band_edges()[1:, 0].tolist()
    assert [math.log(0.5) / math.log(edge) for edge in upper] == pytest.approx([1, 4, 17], rel=0.05)
