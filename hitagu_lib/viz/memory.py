"""The 3STU's memory in pictures: its bands, and each state read alone from a unit small enough to reason about."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from torch import Tensor

from hitagu_lib.config import STUConfig
from hitagu_lib.models.stu import ThreeStateTemporalUnit, half_life
from hitagu_lib.viz.style import PALETTE

STATES = ("short", "mid", "long")
_TICKS = (0.25, 0.5, 1, 2, 4, 16)  # steps; the second axis


def probe_unit(
    edges: Sequence[float] | None = None, gate: float = 1.0, elapsed_time: bool = True
) -> ThreeStateTemporalUnit:
    """A 3STU of one channel in float64 whose weights are set by hand, so that nothing but its memory is seen.

    z = u, c1 = tanh(z), c2 = tanh(mean of h1), c3 = tanh(h2), y = u + the mean of the states, h2 and h3 being of the whole frame; the
    forget gates do not hang on the input: each stands at the share `gate` of its band, 0 < gate <= 1, where 1 is the band's upper
    edge. edges: the bands' upper edges, 3 numbers rising between 0 and 1; None: as a fresh unit has them. Raises ValueError on other
    edges or gates.
    """
    unit = ThreeStateTemporalUnit(STUConfig(width=1, elapsed_time=elapsed_time), 1).double().eval()
    ends = unit.band_edges()[:, 0].tolist() if edges is None else [0.0, *edges]
    widths = torch.diff(torch.tensor([*ends, 1.0], dtype=torch.float64))
    if len(widths) != 4 or not (widths > 0).all():
        raise ValueError(f"edges: found {edges}; expected 3 numbers that rise between 0 and 1")
    if not 0 < gate <= 1:
        raise ValueError(f"gate: found {gate}; expected a share of the band, above 0 and up to 1")
    with torch.no_grad():
        for parameter in unit.parameters():
            parameter.zero_()
        named = unit.state_dict()  # the tensors themselves: filling them fills the unit
        for name in ("W_in.weight", "bn.weight", "W_o.weight", "V.0.weight", "V.1.weight", "V.2.weight"):
            named[name].fill_(1)
        named["bn.running_var"].fill_(1 - unit.bn.eps)
        named["gamma"].copy_(widths.log()[:, None])
        named["W_f.bias"].fill_(torch.logit(torch.tensor(gate, dtype=torch.float64)))
    return unit


@torch.no_grad()
def read_states(unit: ThreeStateTemporalUnit, u: Tensor, t: Tensor) -> Tensor:
    """The states of a `probe_unit`, driven by u (T,) at times t (T,), a map of one position: (3, T).

    Each is read from the unit's own output, by a state mix that is turned to it alone: then y - u is that state.
    """
    unit = copy.deepcopy(unit)
    mix = unit.state_dict()["W_s.bias"]
    u, t = u.double(), t.double()
    states = []
    for k in range(unit.states):
        mix.fill_(-torch.inf)[k] = 0
        y, _ = unit(u.reshape(1, -1, 1, 1, 1), t[None])
        states.append(y.flatten() - u)
    return torch.stack(states)


def draw_bands(ax: Axes, edges: Sequence[float]) -> None:
    """The bands between `edges` a_0 .. a_K (one channel's) as bars along the forget gate; the axis above counts half-lives in steps."""
    bands = list(itertools.pairwise(float(edge) for edge in edges))
    for k, (low, high) in enumerate(bands):
        ax.barh(k, high - low, left=low, color=PALETTE[k], height=0.6)
        steps = float(half_life(torch.tensor(high, dtype=torch.float64)))
        # beside the bar where there is room, else at its end
        where, side, points, colour = high, "left", 6, "0.25"
        if 1 - high < 0.4:
            where, side, points, colour = (low, "right", -6, "0.25") if low > 0.4 else (high, "right", -6, "white")
        ax.annotate(
            f"at most {steps:.1f} steps",
            (where, k),
            (points, 0),
            textcoords="offset points",
            ha=side,
            va="center",
            fontsize=8,
            color=colour,
        )
    ax.set(xlim=(0, 1), xlabel="forget gate f, per step", yticks=range(len(bands)))
    ax.set_yticklabels(STATES[: len(bands)])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    above = ax.twiny()
    above.set(xlim=(0, 1), xlabel="half-life of f (steps)")
    above.set_xticks([0.5 ** (1 / steps) for steps in _TICKS], [f"{steps:g}" for steps in _TICKS], fontsize=8)
    above.grid(visible=False)
