"""The 3STU against its equations written as loops over every index, in float64: values and gradients."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hitagu_lib.config import Config, STUConfig
from hitagu_lib.errors import ConfigError
from hitagu_lib.models.stu import ThreeStateTemporalUnit, half_life, recur_closed, recur_loop, recur_scan

FORMS = {"loop": recur_loop, "closed": recur_closed, "scan": recur_scan}
LENGTHS = [1, 2, 8, 33, 64]
# The form of the older published runs: mid and long memory of the whole frame, gates in bands.
BANDED = {"whole_frame": True, "bands": True, "broadcast": "none"}


def unit(channels: int = 3, width: int = 3, **changes: object) -> ThreeStateTemporalUnit:
    """A small unit in float64 with no parameter at zero, normalising by its running statistics."""
    torch.manual_seed(0)
    stu = ThreeStateTemporalUnit(STUConfig(width=width, **changes), channels).double().eval()
    with torch.no_grad():
        for parameter in stu.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64))
        stu.bn.running_mean.normal_()
        stu.bn.running_var.uniform_(0.5, 2)
    return stu


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def mean(cells: list[Tensor]) -> Tensor:
    return sum(cells[1:], cells[0]) / len(cells)


def maximum(cells: list[Tensor]) -> Tensor:
    largest = cells[0]
    for cell in cells[1:]:
        largest = torch.where(cell > largest, cell, largest)
    return largest


def reference(stu: ThreeStateTemporalUnit, u: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """One clip of P positions, u (T, P, C), t (T,) -> y (T, P, C), s (T, P, K, D): the chapter's equations as written."""
    weight = {name: p.flatten(1) if p.ndim == 4 else p for name, p in stu.named_parameters()}
    K, D, P = stu.states, len(stu.bn.weight), u.shape[1]
    cells = [1 if k > 0 and stu.whole_frame else P for k in range(K)]  # how many memories level k has
    scale = weight["bn.weight"] / (stu.bn.running_var + stu.bn.eps).sqrt()
    if stu.bands:
        share = torch.exp(stu.gamma) / torch.exp(stu.gamma).sum(0)
        edge = [sum((share[j] for j in range(k)), torch.zeros(D, dtype=u.dtype)) for k in range(K + 1)]
    of_frame = {None: None, torch.mean: mean, torch.amax: maximum}[stu.broadcast]
    h = [[torch.zeros(D, dtype=u.dtype) for _ in range(cells[k])] for k in range(K)]
    y, mix = [], []
    for step in range(len(u)):
        dt = 1.0 if step == 0 else t[step] - t[step - 1]
        z = [(weight["W_in.weight"] @ u[step, p] - stu.bn.running_mean) * scale + weight["bn.bias"] for p in range(P)]
        below = z
        for k in range(K):
            seen = z if cells[k] == P else [mean(z)]
            below = below if len(below) == cells[k] else [mean(below)]
            hears = of_frame is not None and k > 0
            frame = of_frame(below) if hears else torch.zeros(D, dtype=u.dtype)
            for i in range(cells[k]):
                rows = slice(k * D, (k + 1) * D)
                gate = weight["W_f.weight"][rows] @ seen[i] + weight["W_f.bias"][rows]
                if hears:
                    gate = gate + weight[f"G.{k - 1}.weight"] @ frame
                if f"U.{k}.weight" in weight:
                    gate = gate + weight[f"U.{k}.weight"] @ h[k][i]
                f = sigmoid(gate)
                if stu.bands:
                    f = edge[k] + (edge[k + 1] - edge[k]) * f
                if stu.elapsed_time:
                    f = f**dt
                candidate = weight[f"V.{k}.weight"] @ below[i] + weight[f"V.{k}.bias"]
                if hears:
                    candidate = candidate + weight[f"H.{k - 1}.weight"] @ frame
                c = torch.tanh(candidate)
                h[k][i] = f * h[k][i] + (1 - f) * c
            below = h[k]
        for p in range(P):
            scores = (weight["W_s.weight"] @ z[p] + weight["W_s.bias"]).reshape(K, D)
            s = torch.exp(scores) / torch.exp(scores).sum(0)
            read = sum((s[k] * h[k][p if cells[k] == P else 0] for k in range(K)), torch.zeros(D, dtype=u.dtype))
            y.append(u[step, p] + weight["W_o.weight"] @ read)
            mix.append(s)
    return torch.stack(y).reshape(len(u), P, -1), torch.stack(mix).reshape(len(u), P, K, D)


def looped(stu: ThreeStateTemporalUnit, u: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """`reference` on every clip: u (B, T, C, h, w) -> y (B, T, C, h, w), s (B, T, K, D, h, w)."""
    h, w = u.shape[3:]
    pairs = [reference(stu, clip.flatten(2).transpose(1, 2), times) for clip, times in zip(u, t, strict=True)]
    y, s = (torch.stack(parts).movedim(2, -1).unflatten(-1, (h, w)) for parts in zip(*pairs, strict=True))
    return y, s


def clips(B: int, T: int, h: int, w: int) -> tuple[Tensor, Tensor]:
    """Random features (B, T, 3, h, w) in float64 and times (B, T) with unequal steps, some shorter than 1, some longer."""
    generator = torch.Generator().manual_seed(T)
    u = torch.randn(B, T, 3, h, w, dtype=torch.float64, generator=generator)
    return u, (3 * torch.rand(B, T, dtype=torch.float64, generator=generator)).cumsum(1)


def gradients(y: Tensor, variables: list[Tensor]) -> list[Tensor]:
    """The gradients of a fixed random sum of y; zeros where y does not depend on a variable."""
    direction = torch.randn(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad((y * direction.float().to(y.dtype)).sum(), variables, allow_unused=True)
    return [torch.zeros_like(v) if g is None else g for g, v in zip(found, variables, strict=True)]


def hold_to_the_loops(stu: ThreeStateTemporalUnit, u: Tensor, t: Tensor) -> None:
    variables = [u.requires_grad_(), *stu.parameters()]
    (y, s), (y_loop, s_loop) = stu(u, t), looped(stu, u, t)
    torch.testing.assert_close(y, y_loop)
    torch.testing.assert_close(s, s_loop)
    for a, b in zip(gradients(y, variables), gradients(y_loop, variables), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.equation("2c.3", "2c.4", "2c.5", "2c.6", "2c.7", "2c.1", "2c.8", "2c.9", "2c.12", "2c.13")
@pytest.mark.parametrize("T", [1, 2, 8, pytest.param(33, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"broadcast": "mean"},
        {"broadcast": "none"},
        {"bands": True},
        {"whole_frame": True, "broadcast": "none"},
        {"states": 1},
        {"states": 2},
        {"elapsed_time": False},
        {"gates_see_state": True},
        BANDED,
        BANDED | {"states": 1},
        BANDED | {"states": 2},
        BANDED | {"elapsed_time": False},
        BANDED | {"gates_see_state": True},
    ],
    ids=str,
)
def test_values_and_gradients_equal_the_loops(T: int, changes: dict) -> None:
    hold_to_the_loops(unit(**changes), *clips(2, T, 1, 3))


@pytest.mark.equation("2c.9", "2c.10", "2c.11")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("changes", [{}, BANDED], ids=["free", "banded"])
def test_every_form_inside_the_unit_equals_the_loops_on_a_map_of_odd_sides(form: str, changes: dict) -> None:
    hold_to_the_loops(unit(form=form, **changes), *clips(1, 8, 3, 5))  # and a batch of 1


@pytest.mark.parametrize("changes", [{}, BANDED], ids=["free", "banded"])
def test_channels_last_features_give_the_same(changes: dict) -> None:
    stu, (u, t) = unit(**changes), clips(2, 4, 3, 5)
    last = u.flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (2, 4))
    assert last.stride() != u.stride()
    variables = list(stu.parameters())
    for a, b in zip(
        [*stu(last, t), *gradients(stu(last, t)[0], variables)],
        [*stu(u, t), *gradients(stu(u, t)[0], variables)],
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("changes", "bound"),
    [({}, 0.08), ({"gates_see_state": True}, 0.12), (BANDED, 0.05), (BANDED | {"gates_see_state": True}, 0.08)],
    ids=["free", "free, gates see state", "banded", "banded, gates see state"],
)
def test_bfloat16_stays_near_float32(changes: dict, bound: float) -> None:
    """Autocast's error, relative to the whole: 2 % of y - u and the bound of each gradient (bfloat16 rounds at 0.4 %; states are float32).

    The bound is wider where the frame's maximum, once rounded, may lie at another position, and where errors feed back through gates.
    """
    stu = unit(width=16, **changes).float()
    with torch.no_grad():  # weights of the size that training gives, so that gates are not all saturated
        for p in stu.parameters():
            p.mul_(0.3)
    u, t = (x.float() for x in clips(1, 33, 3, 5))
    variables = [u.requires_grad_(), *stu.parameters()]
    y, _ = stu(u, t)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y_half, mix = stu(u, t)
        states, _ = stu.memory(torch.randn(1, 2, 1, 1, 16, dtype=torch.bfloat16), torch.ones(1, 2))
    assert mix.dtype == states.dtype == torch.float32

    def error(a: Tensor, b: Tensor) -> float:
        return ((a - b).norm() / b.norm()).item()

    assert error(y_half - u, y - u) < 0.02
    exact, rough = (gradients(x.float() - u, variables) for x in (y, y_half))
    errors = [error(a, b) for a, b in zip(rough, exact, strict=True) if b.any()]
    assert max(errors) < bound, errors


def gates_of_all_kinds(T: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Forget gates (2, T, 3, 5): ordinary, half of them 0, nearly 1, and everything at once."""
    generator = torch.Generator().manual_seed(T)
    ordinary = torch.rand(2, T, 3, 5, dtype=dtype, generator=generator)
    extremes = torch.tensor([0, 1e-38, 1e-30, 1e-7, 0.5, 1 - 1e-7, 1], dtype=dtype)
    return {
        "ordinary": ordinary,
        "zeros": torch.where(ordinary < 0.5, 0, ordinary),
        "nearly 1": torch.full_like(ordinary, 1 - 1e-7),
        "mixed": extremes[torch.randint(len(extremes), ordinary.shape, generator=generator)],
    }


def values_and_gradients(form: Callable[[Tensor, Tensor], Tensor], f: Tensor) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(f.shape, dtype=torch.float64, generator=generator)
    variables = [f.clone().requires_grad_(), x.float().to(f.dtype).requires_grad_()]  # the same numbers in every type
    h = form(*variables)
    return [h.detach(), *gradients(h, variables)]


@pytest.mark.equation("2c.1", "2c.10", "2c.11")
@pytest.mark.parametrize("T", LENGTHS)
@pytest.mark.parametrize("dtype, bound", [(torch.float32, 1e-5), (torch.float64, 1e-10)], ids=["float32", "float64"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_three_forms_are_one(form: Callable, T: int, dtype: torch.dtype, bound: float) -> None:
    """Each is within the bound of a float64 loop, relative to the largest value or to 1: a sum that cancels keeps its parts' rounding."""
    for kind, f in gates_of_all_kinds(T, dtype).items():

        def scalars(f: Tensor, x: Tensor) -> Tensor:
            h, states = 0 * x[:, 0], []
            for t in range(f.shape[1]):
                h = f[:, t] * h + x[:, t]
                states.append(h)
            return torch.stack(states, 1)

        exact = values_and_gradients(scalars, f.double())
        for a, b in zip(values_and_gradients(form, f), exact, strict=True):
            worst = ((a.double() - b).abs().max() / b.abs().max().clamp_min(1)).item()
            assert worst < bound, (kind, worst)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("T", [64, 256])
def test_no_form_overflows_on_long_clips_and_extreme_gates(form: Callable, T: int) -> None:
    kinds = gates_of_all_kinds(T, torch.float32)
    for kind, f in {**kinds, "all 0": torch.zeros(1, T, 1), "all 1": torch.ones(1, T, 1)}.items():
        assert all(part.isfinite().all() for part in values_and_gradients(form, f)), kind


@pytest.mark.equation("2c.11")
def test_the_operator_of_the_scan_is_associative() -> None:
    """Pairs may be joined in any order: ((a o b) o c) = (a o (b o c)), and both equal three steps of the recurrence."""
    f, x = torch.rand(1, 3, dtype=torch.float64), torch.randn(1, 3, dtype=torch.float64)

    def join(a: tuple, b: tuple) -> tuple:
        return a[0] * b[0], b[0] * a[1] + b[1]

    a, b, c = zip(f[0], x[0], strict=True)
    left, right = join(join(a, b), c), join(a, join(b, c))
    torch.testing.assert_close(left, right)
    torch.testing.assert_close(left[1], recur_scan(f, x)[0, -1])


@pytest.mark.equation("2c.2")
def test_half_of_a_state_is_left_after_its_half_life() -> None:
    f = torch.tensor([0.1, 0.5, 0.84, 0.99, 0.9999], dtype=torch.float64)
    torch.testing.assert_close(f ** half_life(f), torch.full_like(f, 0.5))
    assert half_life(torch.tensor(0.5)) == 1
    assert half_life(torch.tensor([1.0, 0.0])).tolist() == [torch.inf, 0], (
        "a gate that keeps all, and one that keeps nothing"
    )


@pytest.mark.equation("2c.13")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("scale", [1, 30, 1000])
@pytest.mark.parametrize("aware", [False, True], ids=["plain", "elapsed time"])
def test_gates_in_bands_are_strictly_ordered(dtype: torch.dtype, scale: float, aware: bool) -> None:
    """This holds even if softmax(gamma) rounds to a band of no width, and sigmoids to 0 and 1."""
    stu = unit(width=64, **BANDED | {"elapsed_time": aware}).to(dtype)
    with torch.no_grad():
        stu.gamma.mul_(scale)
        stu.W_f.bias.mul_(scale)
        z = scale * torch.randn(2, 5, 64, 4, 4, dtype=dtype)
        for dt in (0.25, 1.0, 8.0) if aware else (1.0,):
            f = stu.forget_gates(z, torch.full((2, 5), dt, dtype=dtype))
            lower, upper = f[:, :, :-1], f[:, :, 1:]
            assert f.isfinite().all() and (lower <= upper).all()
            assert dt != 1 or ((lower < upper).all() and f.min() > 0 and f.max() < 1)
            assert (lower < upper)[upper > torch.finfo(dtype).tiny].all(), dt
    assert scale < 1000 or (stu.gamma.softmax(0) == 0).any()  # the extreme is one


def test_gates_in_bands_under_autocast_are_float32_and_strictly_ordered() -> None:
    stu = unit(width=64, **BANDED).float()
    z = 10 * torch.randn(2, 5, 64, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        f = stu.forget_gates(z, torch.ones(2, 5))
    assert f.dtype == torch.float32 and (f[:, :, :-1] < f[:, :, 1:]).all()


@pytest.mark.equation("2c.6")
@pytest.mark.parametrize("changes", [{}, BANDED], ids=["free", "banded"])
def test_steps_of_one_are_the_form_without_elapsed_time(changes: dict) -> None:
    aware, plain = unit(**changes), unit(**changes | {"elapsed_time": False})
    u, _ = clips(2, 6, 2, 2)
    t = torch.arange(6, dtype=torch.float64).expand(2, 6)
    torch.testing.assert_close(aware(u, t)[0], plain(u, t)[0])


@pytest.mark.equation("2c.6", "2c.1")
@pytest.mark.parametrize("changes", [{"broadcast": "none"}, BANDED], ids=["free", "banded"])
def test_a_clip_sampled_half_as_densely_decays_as_the_dense_one(changes: dict) -> None:
    """With constant gates, two steps of length 2 leave as much of the first frame as four steps of length 1."""
    stu = unit(**changes)
    with torch.no_grad():
        stu.W_f.weight.zero_()
    z = torch.randn(1, 5, 3, 1, 1, dtype=torch.float64)
    one = stu.forget_gates(z, torch.ones(1, 5, dtype=torch.float64))
    two = stu.forget_gates(z[:, ::2], torch.tensor([[1.0, 2, 2]], dtype=torch.float64))
    torch.testing.assert_close(two[:, 1:], one[:, 1:3] ** 2)
    impulse = torch.zeros_like(one)
    impulse[:, 0] = 1
    dense, sparse = recur_loop(one, impulse), recur_loop(two, impulse[:, ::2])
    torch.testing.assert_close(sparse, dense[:, ::2])


@pytest.mark.equation("2c.6", "2c.1")
@pytest.mark.parametrize("changes", [{}, BANDED], ids=["free", "banded"])
def test_a_still_clip_sampled_twice_as_sparsely_reaches_the_same_first_state(changes: dict) -> None:
    """Nothing changes in the clip, so leaving frames out changes nothing at the frames that stay: exact for one level."""
    stu = unit(**changes | {"states": 1})
    u = clips(1, 1, 2, 2)[0].expand(1, 9, 3, 2, 2)
    t = torch.arange(9, dtype=torch.float64)[None]
    torch.testing.assert_close(stu(u[:, ::2], t[:, ::2])[0], stu(u, t)[0][:, ::2])
    blind = unit(**changes | {"states": 1, "elapsed_time": False})
    assert not torch.allclose(blind(u[:, ::2], t[:, ::2])[0], blind(u, t)[0][:, ::2])


@pytest.mark.equation("2c.6")
@pytest.mark.parametrize("sees", [False, True], ids=["input gates", "state gates"])
@pytest.mark.parametrize("changes", [{}, BANDED], ids=["free", "banded"])
def test_if_no_time_passes_nothing_is_forgotten_and_nothing_stored(changes: dict, sees: bool) -> None:
    """A repeated frame (t does not advance) leaves every state unchanged, so y repeats."""
    stu = unit(**changes | {"gates_see_state": sees})
    u, _ = clips(1, 3, 1, 1)
    u = torch.cat([u, u[:, -1:]], dim=1)
    y, _ = stu(u, torch.tensor([[0.0, 1, 2, 2]], dtype=torch.float64))
    torch.testing.assert_close(y[:, 3], y[:, 2])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bias", [-200.0, -60.0, 60.0, 200.0])
@pytest.mark.parametrize("changes", [{}, BANDED], ids=["free", "banded"])
def test_gates_near_0_and_1_stay_finite(form: str, bias: float, changes: dict) -> None:
    stu = unit(form=form, **changes).float()
    nn.init.constant_(stu.W_f.bias, bias)
    u = torch.randn(1, 9, 3, 2, 2, requires_grad=True)
    y, _ = stu(u, torch.tensor([[0.0, 0, 1, 1.5, 2, 5, 40, 41, 400]]))
    y.sum().backward()
    assert y.isfinite().all() and u.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in stu.parameters() if p.grad is not None)


@pytest.mark.equation("2c.8")
@pytest.mark.parametrize("changes", [{}, BANDED], ids=["free", "banded"])
def test_the_state_mix_sums_to_one(changes: dict) -> None:
    u, t = clips(2, 4, 2, 2)
    _, mix = unit(**changes)(u, t)
    assert mix.shape == (2, 4, 3, 3, 2, 2) and mix.min() > 0
    torch.testing.assert_close(mix.sum(2), torch.ones_like(mix[:, :, 0]))


@pytest.mark.equation("2c.2", "2c.12")
def test_bands_start_at_half_lives_of_1_4_and_16_steps() -> None:
    edges = ThreeStateTemporalUnit(STUConfig(width=2, **BANDED), 3).band_edges()
    assert not edges[0].any() and (edges[1:] > edges[:-1]).all() and edges.max() < 1
    assert half_life(edges[1:, 0]).tolist() == pytest.approx([1, 4, 17], rel=0.05)


@pytest.mark.parametrize("changes", [{}, {"states": 1}, {"gates_see_state": True}, BANDED], ids=str)
def test_a_fresh_unit_is_the_identity(changes: dict) -> None:
    u, t = (x.float() for x in clips(2, 5, 3, 5))
    assert torch.equal(ThreeStateTemporalUnit(STUConfig(width=7, **changes), 3)(u, t)[0], u)


def test_one_state_with_gates_that_see_it_is_a_gru_cell_without_reset() -> None:
    """torch's GRUCell, whose candidate does not see the state (W_hn = 0), under the same weights."""
    D = 3
    stu = unit(states=1, elapsed_time=False, gates_see_state=True)
    cell = nn.GRUCell(D, D).double()
    with torch.no_grad():
        for p in cell.parameters():
            p.zero_()
        # rows: reset, update, candidate; the reset gate has nothing to reset
        cell.weight_ih[D : 2 * D], cell.bias_ih[D : 2 * D] = stu.W_f.weight.flatten(1), stu.W_f.bias
        cell.weight_hh[D : 2 * D] = stu.U[0].weight.flatten(1)
        cell.weight_ih[2 * D :], cell.bias_ih[2 * D :] = stu.V[0].weight.flatten(1), stu.V[0].bias
    z = torch.randn(2, 8, 1, 1, D, dtype=torch.float64)
    read, _ = stu.memory(z, torch.ones(2, 8, dtype=torch.float64))
    h = torch.zeros(2, D, dtype=torch.float64)
    for t in range(8):
        h = cell(z[:, t, 0, 0], h)
        torch.testing.assert_close(read[:, t, 0, 0], h)
    with pytest.raises(RuntimeError, match="gates_see_state"):
        stu.forget_gates(z.permute(0, 1, 4, 2, 3), torch.ones(2, 8))


@pytest.mark.parametrize("form", ["closed", "scan"])
def test_gates_that_see_the_state_are_refused_with_a_parallel_form(form: str) -> None:
    with pytest.raises(ConfigError, match=rf"model.stu.form: found {form}; expected auto or loop"):
        Config.from_mapping({"model": {"stu": {"gates_see_state": True, "form": form}}})
    with pytest.raises(ConfigError, match=r"model.stu.form: found 'scann'.*did you mean scan"):
        Config.from_mapping({"model": {"stu": {"form": "scann"}}})


@pytest.mark.parametrize("changes", [{}, BANDED], ids=["free", "banded"])
def test_forms_and_switches_share_one_state_dict(changes: dict) -> None:
    """A checkpoint trained with one form loads into another; only gates that see the state have extra weights."""
    keys = {form: set(unit(form=form, **changes).state_dict()) for form in ("auto", *FORMS)}
    assert len({frozenset(names) for names in keys.values()}) == 1
    assert set(unit(gates_see_state=True, **changes).state_dict()) - keys["auto"] == {f"U.{k}.weight" for k in range(3)}


@pytest.mark.equation("2c.4", "2c.7")
def test_only_a_memory_that_hears_the_frame_knows_at_one_position_what_was_at_another() -> None:
    """Something happens at one position, later something else at another: does the other's output there depend on the first?"""
    for changes, known in ((BANDED, True), (BANDED | {"whole_frame": False}, False), ({"broadcast": "none"}, False)):
        stu = unit(**changes)
        u, t = clips(1, 6, 1, 4)
        u.requires_grad_()
        y, _ = stu(u, t)
        (there,) = torch.autograd.grad(y[0, 5, :, 0, 0].sum(), u)
        assert there[0, 1, :, 0, 0].any()  # a position always knows its own past
        assert bool(there[0, 1, :, 0, 3].any()) is known


@pytest.mark.equation("2c.4")
def test_an_impulse_at_one_position_reaches_the_candidates_of_all() -> None:
    """By the maximum: one event among many positions; without it, a position never hears of another."""
    for broadcast, heard in (("max", True), ("none", False)):
        stu = unit(broadcast=broadcast)
        u, t = clips(1, 4, 1, 6)
        louder = u.clone()
        louder[0, 1, :, 0, 5] += 5
        changed = (stu(louder, t)[0] - stu(u, t)[0])[0, 3, :, 0, 0]
        assert bool(changed.any()) is heard


@pytest.mark.equation("2c.5", "2c.2")
@pytest.mark.parametrize("sees", [False, True], ids=["input gates", "state gates"])
def test_free_gates_start_at_half_lives_of_1_and_9_and_103_steps(sees: bool) -> None:
    stu = ThreeStateTemporalUnit(STUConfig(width=2, gates_see_state=sees), 3)
    start = torch.sigmoid(stu.W_f.bias.detach()).reshape(3, 2)  # nothing comes in, and nothing is held
    assert half_life(start[:, 0]).tolist() == pytest.approx([1, 8.79, 103.2], rel=0.01)
    if sees:
        return
    for G in stu.G:  # a still frame that says nothing
        nn.init.zeros_(G.weight)
    with torch.no_grad():
        still = torch.zeros(1, 1, 2, 1, 1), torch.ones(1, 1)
        torch.testing.assert_close(stu.forget_gates(*still)[0, 0, :, :, 0, 0], start)
        for gate, value in ((80.0, 1.0), (-80.0, 0.0)):  # free: a state may be held, and overwritten
            stu.W_f.bias.fill_(gate)
            assert torch.allclose(stu.forget_gates(*still), torch.tensor(value))


def test_permuting_positions_permutes_what_a_unit_of_positions_gives() -> None:
    stu, (u, t) = unit(), clips(2, 5, 2, 3)
    order = torch.tensor([4, 0, 5, 2, 1, 3])

    def permuted(x: Tensor) -> Tensor:
        return x.flatten(-2)[..., order].unflatten(-1, (2, 3))

    torch.testing.assert_close(stu(permuted(u), t)[0], permuted(stu(u, t)[0]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("changes", [{}, BANDED], ids=["free", "banded"])
def test_a_clip_cut_in_pieces_gives_what_the_whole_gives(form: str, changes: dict) -> None:
    """The memory that is handed on holds all that later frames need, and its size stays the same."""
    stu, (u, t) = unit(form=form, **changes), clips(2, 9, 2, 3)
    whole, mix = stu(u, t)
    memory, parts, mixes, sizes = None, [], [], set()
    for piece in ((0, 1), (1, 5), (5, 6), (6, 9)):
        y, s, memory = stu.resume(u[:, slice(*piece)], t[:, slice(*piece)], memory)
        parts.append(y)
        mixes.append(s)
        sizes.add(sum(state.numel() for state in memory.states))
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    torch.testing.assert_close(torch.cat(mixes, 1), mix)
    assert len(sizes) == 1


def test_levels_of_the_whole_frame_have_nothing_to_hear() -> None:
    with pytest.raises(
        ConfigError, match=r"stu\.broadcast: found max; expected none, or model\.stu\.whole_frame: false"
    ):
        Config.from_mapping({"model": {"stu": {"whole_frame": True, "broadcast": "max"}}})
    assert Config.from_mapping({"model": {"stu": {"whole_frame": True}}}).model.stu.broadcast == "none"
    assert Config.from_mapping({}).model.stu.broadcast == "max"


@pytest.mark.parametrize("changes", [{}, BANDED], ids=["free", "banded"])
def test_the_trace_holds_what_the_unit_mixes_and_hands_on(changes: dict) -> None:
    stu = unit(width=4, **changes)
    u = torch.randn(2, 5, 3, 2, 3, dtype=torch.float64)
    t = torch.tensor([[0.0, 1, 1.5, 4, 5], [0, 2, 3, 4, 8]], dtype=torch.float64)
    states = stu.trace(u, t)
    assert states.shape == (2, 5, 3, 4, 2, 3)
    y, s, memory = stu.resume(u, t, None)
    read = (s * states).sum(2).flatten(0, 1)
    torch.testing.assert_close(y, u + stu.W_o(read).unflatten(0, (2, 5)))
    for k, last in enumerate(memory.states):
        torch.testing.assert_close(states[:, -1, k], last.permute(0, 3, 1, 2).expand(-1, -1, 2, 3))
    assert bool((states[:, :, 1].flatten(3).std(-1) < 1e-12).all()) == stu.whole_frame


def test_the_trace_of_an_impulse_fades_by_the_known_gates() -> None:
    """Free gates without input: the first level holds 1/2 a stride of what it had; only the impulse's position remembers."""
    stu = ThreeStateTemporalUnit(STUConfig(width=1), 1).double().eval()
    with torch.no_grad():
        for name, parameter in stu.named_parameters():
            if name.startswith(("W_in", "bn.weight", "V.0.weight")):
                parameter.fill_(1)
            elif not name.startswith("W_f.bias"):
                parameter.zero_()
        stu.bn.running_var.fill_(1 - stu.bn.eps)
    u = torch.zeros(1, 3, 1, 2, 2, dtype=torch.float64)
    u[0, 0, 0, 1, 0] = 1
    states = stu.trace(u, torch.tensor([[0.0, 1, 3]], dtype=torch.float64))[0, :, 0, 0]
    first = math.tanh(1) / 2
    assert states[:, 1, 0].tolist() == pytest.approx([first, first / 2, first / 8])
    states[:, 1, 0] = 0
    assert not states.any()
