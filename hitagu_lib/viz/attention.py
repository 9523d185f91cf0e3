"""Pictures of attention over time: the whole map, and one frame's row of it beside the frames."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from hitagu_lib.errors import ConfigError
from hitagu_lib.viz.style import PALETTE, WIDTH, new_figure


def draw_attention(ax: Axes, weights: Tensor, t: Tensor, title: str = "") -> None:
    """One head's weights, or their mean over heads, (T, T) in 0..1; row: the frame that asks, column: the frame it reads; t (T,)."""
    names = [f"{value:g}" for value in t.tolist()]
    ax.imshow(weights.numpy(), vmin=0, vmax=1, cmap="Blues")
    ax.set_xticks(range(len(names)), names, fontsize=7)
    ax.set_yticks(range(len(names)), names, fontsize=7)
    ax.grid(visible=False)
    ax.set(xlabel="reads the frame at t (strides)", ylabel="frame at t asks (strides)", title=title)


def query_figure(frames: Tensor, weights: Tensor, t: Tensor, query: int, title: str = "") -> Figure:
    """What one frame reads: the clip's frames, the asking one in a coloured box, above a bar a frame for its weight.

    frames: (T, H, W) or (T, 3, H, W), uint8 or 0..1. weights: (T, T), rows sum to 1. t: (T,) in reference strides.
    Raises ConfigError where `query` is not a frame of the clip, or the numbers of frames differ.
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
