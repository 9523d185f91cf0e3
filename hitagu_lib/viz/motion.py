"""What MDE sees: signed maps over frames, and the votes for each shift."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from hitagu_lib.viz.style import PALETTE, WIDTH, new_figure


def winning_shift(weights: Tensor, margin: float = 0.01) -> tuple[int, int] | None:
    """(down, right) in grid steps of the largest of S weights, ordered as `ShiftMatch` orders them.

    None where the second largest comes within `margin` of the largest, relative to it: a tie names no shift.
    Raises ValueError where S is not the square of an odd number.
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
    """S weights of shifts as a square map, no shift in its middle, the winner framed; returns the image.

    `limit` is the top of the colour scale; without it the largest weight is.
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
    """A map (h, w) of values in [-limit, limit]: blue below zero, white at zero, red above; returns the image."""
    image = ax.imshow(values.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
    ax.set(xticks=[], yticks=[])
    return image


def signed_rows(rows: Mapping[str, Tensor]) -> Figure:
    """Maps over frames: one row a name, one column a frame, one colour scale for all. Each value: (T, h, w)."""
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
