"""Figures of the 3STU's memory: what is drawn and read agrees with the equations."""

import math

import matplotlib as mpl
import pytest
import torch

mpl.use("Agg")

from hitagu_lib.viz.modules import STATES, draw_bands, probe_unit, read_states
from hitagu_lib.viz.style import new_figure

EDGES = (0.3, 0.7, 0.95)


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
@pytest.mark.parametrize(("gate", "forget"), [(1.0, [0.3, 0.7, 0.95]), (0.5, [0.15, 0.5, 0.825])])
def test_the_probe_reads_each_state_alone(gate: float, forget: list[float], elapsed_time: bool) -> None:
    u, t = [1.0, 0, -0.5, 2, 0, 0], [0.0, 1, 1.5, 4, 4, 9]
    states = read_states(probe_unit(EDGES, gate, elapsed_time), torch.tensor(u), torch.tensor(t))
    torch.testing.assert_close(states, by_hand(u, t, forget, elapsed_time))


@torch.no_grad()
def test_the_probes_longer_states_are_of_the_whole_frame() -> None:
    """On two positions: each has its own h1; h2 and h3 follow from the mean of both h1 and are equal at both."""
    unit, forget = probe_unit(EDGES), EDGES
    u = torch.zeros(1, 2, 1, 1, 2, dtype=torch.float64)
    u[0, 0, 0, 0, 0] = 1
    y, _ = unit(u, torch.arange(2.0, dtype=torch.float64)[None])
    left = (1 - forget[0]) * math.tanh(1)  # h1 at the first position; at the second it is 0
    mid = (1 - forget[1]) * math.tanh(left / 2)
    long = (1 - forget[2]) * math.tanh(mid)
    assert (y - u)[0, 0, 0, 0].tolist() == pytest.approx([(left + mid + long) / 3, (mid + long) / 3])


def test_reading_leaves_the_unit_as_it_was() -> None:
    unit = probe_unit(EDGES)
    before = {name: value.clone() for name, value in unit.state_dict().items()}
    read_states(unit, torch.ones(3), torch.arange(3.0))
    for name, value in unit.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_probe_has_the_edges_of_a_fresh_unit_unless_told_others() -> None:
    assert probe_unit().band_edges()[:, 0].tolist() == pytest.approx([0, 0.5, 0.84, 0.96])
    assert probe_unit(EDGES).band_edges()[:, 0].tolist() == pytest.approx([0, *EDGES])


@pytest.mark.parametrize("edges", [(0.3, 0.7), (0.7, 0.3, 0.9), (0.3, 0.7, 1.0), (0.0, 0.5, 0.9)])
def test_edges_that_do_not_rise_are_refused(edges: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"edges: found .*expected 3 numbers that rise"):
        probe_unit(edges)


@pytest.mark.parametrize("gate", [0.0, 1.5])
def test_a_gate_outside_its_band_is_refused(gate: float) -> None:
    with pytest.raises(ValueError, match="gate: found"):
        probe_unit(EDGES, gate)


def test_bands_are_drawn_from_edge_to_edge_with_their_half_lives() -> None:
    _, ax = new_figure(2)
    draw_bands(ax, [0, 0.5, 0.84, 0.96])
    bars = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches]
    assert [end for bar in bars for end in bar] == pytest.approx([0, 0.5, 0.5, 0.84, 0.84, 0.96])
    assert [text.get_text() for text in ax.texts] == ["at most 1.0 steps", "at most 4.0 steps", "at most 17.0 steps"]
    assert [label.get_text() for label in ax.get_yticklabels()] == list(STATES)
    (above,) = ax.figure.axes[1:]
    for tick, label in zip(above.get_xticks(), above.get_xticklabels(), strict=True):
        assert tick ** float(label.get_text()) == pytest.approx(0.5), "f to the power of its half-life is one half"
