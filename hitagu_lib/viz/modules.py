"""Figures of single modules: MDE's motion, the 3STU's memory, attention over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from hitagu_lib.config import STUConfig
from hitagu_lib.errors import ConfigError
from hitagu_lib.models.stu import ThreeStateTemporalUnit
from hitagu_lib.viz.style import PALETTE, WIDTH, new_figure

STATES = ("short", "mid", "long")


def probe_unit(half_lives: Sequence[float] = (1, 4, 16), elapsed_time: bool = True) -> ThreeStateTemporalUnit:
    """Return a 3STU of one channel in float64 with weights set by hand, so that only its memory shows.

    z = u, c1 = tanh(z), c2 = tanh(h1), c3 = tanh(h2), y = u + the mean of the states; nothing is heard of the frame. The forget gates do
    not depend on the input: each has the half-life, in reference strides, that half_lives gives its state. Raises ValueError unless these
    are three numbers above 0.
    """
    if len(half_lives) != len(STATES) or not all(0 < n < math.inf for n in half_lives):
        raise ValueError(f"half_lives: found {half_lives}; expected 3 numbers above 0")
    unit = ThreeStateTemporalUnit(STUConfig(width=1, elapsed_time=elapsed_time), 1).double().eval()
    with torch.no_grad():
        for parameter in unit.parameters():
            parameter.zero_()
        named = unit.state_dict()  # the tensors themselves: filling them fills the unit
        for name in ("W_in.weight", "bn.weight", "W_o.weight", "V.0.weight", "V.1.weight", "V.2.weight"):
            named[name].fill_(1)
        named["bn.running_var"].fill_(1 - unit.bn.eps)
        named["W_f.bias"].copy_(torch.logit(0.5 ** (1 / torch.tensor(half_lives, dtype=torch.float64))))
    return unit


@torch.no_grad()
def read_states(unit: ThreeStateTemporalUnit, u: Tensor, t: Tensor) -> Tensor:
    """Return the states (3, T) of a `probe_unit` driven by u (T,) at times t (T,), on a map of one position."""
    return unit.trace(u.double().reshape(1, -1, 1, 1, 1), t.double()[None])[0, :, :, 0, 0, 0].T


def winning_shift(weights: Tensor, margin: float = 0.01) -> tuple[int, int] | None:
    """Return (down, right), in grid steps, of the largest of S weights in `ShiftMatch`'s order.

    Returns None if the second largest is within `margin` of the largest, relative to it: a tie names no shift.
    Raises ValueError if S is not the square of an odd number.
    """
    side = _side(weights)
    first, second = weights.topk(2).values.tolist()
    if first - second <= margin * abs(first):
        return None
    down, right = divmod(int(weights.argmax()), side)
    return down - side // 2, right - side // 2


def _side(weights: Tensor) -> int:
    side = math.isqrt(weights.numel())
    if weights.ndim != 1 or side**2 != weights.numel() or side % 2 == 0 or side < 3:
        raise ValueError(f"weights: found shape {tuple(weights.shape)}; expected (S,), S = 9, 25, 49, ...")
    return side


def draw_shifts(ax: Axes, weights: Tensor, limit: float | None = None) -> Any:
    """Draw S weights of shifts as a square map, with no shift in the centre and the winner framed; return the image.

    `limit` is the top of the colour scale; default: the largest weight.
    """
    radius = _side(weights) // 2
    edge = radius + 0.5
    square = weights.reshape(2 * radius + 1, -1).numpy()
    image = ax.imshow(square, cmap="Blues", vmin=0, vmax=limit, extent=(-edge, edge, edge, -edge))
    ticks = range(-radius, radius + 1)
    ax.set(xticks=ticks, yticks=ticks, xlabel="right (grid steps)", ylabel="down (grid steps)")
    ax.grid(visible=False)
    winner = winning_shift(weights)
    if winner is not None:
        down, right = winner
        ax.add_patch(Rectangle((right - 0.5, down - 0.5), 1, 1, fill=False, color=PALETTE[1], linewidth=2))
    return image


def draw_signed(ax: Axes, values: Tensor, limit: float) -> Any:
    """Draw a map (h, w) of values in [-limit, limit]: blue below zero, white at zero, red above; return the image."""
    image = ax.imshow(values.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
    ax.set(xticks=[], yticks=[])
    return image


def signed_rows(rows: Mapping[str, Tensor]) -> Figure:
    """Draw maps over frames: one row per name, one column per frame, one colour scale for all. Each value: (T, h, w)."""
    T = len(next(iter(rows.values())))
    limit = max(float(maps.abs().max()) for maps in rows.values())
    figure, axes = new_figure((WIDTH / (T + 1.2)) * len(rows), len(rows), T, squeeze=False)
    for row, (name, maps) in zip(axes, rows.items(), strict=True):
        for ax, values in zip(row, maps, strict=True):
            image = draw_signed(ax, values, limit)
        row[0].set_ylabel(name)
    for t, ax in enumerate(axes[-1]):
        ax.set_xlabel(f"frame {t + 1}", fontsize=8)
    figure.colorbar(image, ax=axes, label="value", shrink=0.8)
    return figure


def draw_attention(ax: Axes, weights: Tensor, t: Tensor, title: str = "") -> None:
    """Draw one head's weights, or their mean over heads, (T, T) in 0..1; row: the frame that asks, column: the frame it reads; t (T,)."""
    names = [f"{value:g}" for value in t.tolist()]
    ax.imshow(weights.numpy(), vmin=0, vmax=1, cmap="Blues")
    ax.set_xticks(range(len(names)), names, fontsize=7)
    ax.set_yticks(range(len(names)), names, fontsize=7)
    ax.grid(visible=False)
    ax.set(xlabel="reads the frame at t (strides)", ylabel="frame at t asks (strides)", title=title)


def query_figure(frames: Tensor, weights: Tensor, t: Tensor, query: int, title: str = "") -> Figure:
    """Draw what one frame reads: the clip's frames, the asking one in a coloured box, and below each frame a bar for its weight.

    frames: (T, H, W) or (T, 3, H, W), uint8 or 0..1. weights: (T, T), rows sum to 1. t: (T,) in reference strides.
    Raises ConfigError if `query` is not a frame of the clip, or the numbers of frames differ.
    """
    T = len(frames)
    if weights.shape != (T, T) or len(t) != T:
        raise ConfigError(
            f"query_figure: found {T} frames, weights {tuple(weights.shape)} and {len(t)} times; expected weights ({T}, {T}) and {T} times"
        )
    if not 0 <= query < T:
        raise ConfigError(f"query_figure: found query {query}; expected a frame from 0 to {T - 1}")
    full = 1 if frames.is_floating_point() else 255
    figure, axes = new_figure(WIDTH / T + 1.5, 2, T, height_ratios=[1, 1.1], squeeze=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    for j, (above, below) in enumerate(axes.T):
        picture = frames[j] if frames.ndim == 3 else frames[j].permute(1, 2, 0)
        above.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=full)
        above.set(xticks=[], yticks=[])
        for side in above.spines.values():
            side.set(visible=j == query, color=PALETTE[1], linewidth=3)
        weight = float(weights[query, j])
        below.bar([0], [weight], width=0.8, color=PALETTE[0])
        below.text(0, weight + 0.02, f"{weight:.2f}", ha="center", va="bottom", fontsize=7)
        below.set(xlim=(-0.6, 0.6), ylim=(0, 1.2), xticks=[], yticks=[0, 0.5, 1])
        below.set_xlabel(f"t = {float(t[j]):g}", fontsize=7)
        below.tick_params(labelsize=7, labelleft=j == 0)
    axes[1, 0].set_ylabel("weight", fontsize=8)
    return figure
