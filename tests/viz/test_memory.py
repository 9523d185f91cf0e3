"""Figures of the 3STU's memory: what is drawn and read agrees with the equations."""

import math

import pytest
import torch

from hitagu_lib.models.stu import half_life
from hitagu_lib.viz.modules import probe_unit, read_states

HALF_LIVES = (0.5, 2.0, 12.0)
FORGET = [0.5 ** (1 / n) for n in HALF_LIVES]


def by_hand(u: list[float], t: list[float], forget: list[float], elapsed_time: bool) -> torch.Tensor:
    """The probe's equations as a loop over plain numbers: c1 = tanh(u), c2 = tanh(h1), c3 = tanh(h2)."""
    h, rows = [0.0, 0.0, 0.0], []
    for i, value in enumerate(u):
        dt = t[i] - t[i - 1] if i and elapsed_time else 1.0
        below = value
        for k in range(3):
            f = forget[k] ** dt
            h[k] = f * h[k] + (1 - f) * math.tanh(below)
            below = h[k]
        rows.append(list(h))
    return torch.tensor(rows, dtype=torch.float64).T


@pytest.mark.parametrize("elapsed_time", [True, False])
def test_the_probe_reads_each_state_alone(elapsed_time: bool) -> None:
    u, t = [1.0, 0, -0.5, 2, 0, 0], [0.0, 1, 1.5, 4, 4, 9]
    states = read_states(probe_unit(HALF_LIVES, elapsed_time), torch.tensor(u), torch.tensor(t))
    torch.testing.assert_close(states, by_hand(u, t, FORGET, elapsed_time))


@torch.no_grad()
def test_the_probes_states_are_of_each_position() -> None:
    """On two positions, of which one sees something: all three states of the other stay at nothing."""
    unit = probe_unit(HALF_LIVES)
    u = torch.zeros(1, 2, 1, 1, 2, dtype=torch.float64)
    u[0, 0, 0, 0, 0] = 1
    y, _ = unit(u, torch.arange(2.0, dtype=torch.float64)[None])
    below = 1.0
    states = []
    for f in FORGET:
        below = (1 - f) * math.tanh(below)
        states.append(below)
    assert (y - u)[0, 0, 0, 0].tolist() == pytest.approx([sum(states) / 3, 0])


def test_reading_leaves_the_unit_as_it_was() -> None:
    unit = probe_unit(HALF_LIVES)
    before = {name: value.clone() for name, value in unit.state_dict().items()}
    read_states(unit, torch.ones(3), torch.arange(3.0))
    for name, value in unit.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_probes_gates_have_the_half_lives_asked_for() -> None:
    still, step = torch.zeros(1, 1, 1, 1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    assert half_life(probe_unit(HALF_LIVES).forget_gates(still, step)).flatten().tolist() == pytest.approx(HALF_LIVES)


@pytest.mark.parametrize("half_lives", [(1.0, 4.0), (1.0, 0.0, 16.0), (1.0, -4.0, 16.0), (1.0, 4.0, math.inf)])
def test_half_lives_that_are_none_are_refused(half_lives: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"half_lives: found .*expected 3 numbers above 0"):
        probe_unit(half_lives)
