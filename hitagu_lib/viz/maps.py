"""Figures of what a trained network looks at: maps over frames, states over time, attention tied to frames, deletion curves.

Strength is drawn as brightness, so that a figure reads the same in colour, in grey and to colour-blind eyes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import seaborn as sns
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from hitagu_lib.evaluation.faithfulness import areas
from hitagu_lib.viz.modules import STATES
from hitagu_lib.viz.style import PALETTE, WIDTH, new_figure

_DARKEST = 0.2  # brightness where a map is lowest
_CMAP = "cividis"  # its brightness rises evenly, for colour-blind eyes too


def spotlight(frames: Tensor, maps: Tensor, low: float | None = None, high: float | None = None) -> NDArray[np.uint8]:
    """Return frames that are bright where their map is high: uint8 (T, S, S, 3).

    frames: uint8 (T, 3, S, S). maps: (T, h, w). low, high: the values drawn darkest and brightest; default: the least and the largest.
    """
    low = float(maps.min()) if low is None else low
    high = float(maps.max()) if high is None else high
    strength = ((maps - low) / max(high - low, 1e-12)).clamp(0, 1)[:, None]
    light = F.interpolate(strength.float(), size=frames.shape[-2:], mode="nearest")
    shown = frames * (_DARKEST + (1 - _DARKEST) * light)
    return shown.round().byte().permute(0, 2, 3, 1).numpy()


def draw_spotlights(figure: Figure, frames: Tensor, rows: Mapping[str, Tensor], t: Tensor, title: str = "") -> None:
    """Draw a clip's frames, and below them one row of spotlights for each named map (T, h, w), with its range.

    figure: a figure or subfigure. frames: uint8 (T, 3, S, S). t: (T,), in reference strides.
    """
    axes = figure.subplots(1 + len(rows), len(frames), squeeze=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    pictures = {"frame": frames.permute(0, 2, 3, 1).numpy()} | {n: spotlight(frames, maps) for n, maps in rows.items()}
    for row, (name, shown) in zip(axes, pictures.items(), strict=True):
        for ax, picture in zip(row, shown, strict=True):
            ax.imshow(picture)
            ax.set(xticks=[], yticks=[])
            sns.despine(ax=ax, left=True, bottom=True)
        span = f"\n{float(rows[name].min()):.2g} to {float(rows[name].max()):.2g}" if name in rows else ""
        row[0].set_ylabel(name + span, fontsize=7)
    for ax, time in zip(axes[-1], t.tolist(), strict=True):
        ax.set_xlabel(f"t = {time:.1f}", fontsize=7)


def spotlight_rows(frames: Tensor, rows: Mapping[str, Tensor], t: Tensor, title: str = "") -> Figure:
    """Return `draw_spotlights` as a figure of its own."""
    figure, placeholder = new_figure(WIDTH / (len(frames) + 0.8) * (1 + len(rows)) + 0.6)
    placeholder.remove()
    draw_spotlights(figure, frames, rows, t, title)
    return figure


def states_figure(frames: Tensor, states: Tensor, t: Tensor, title: str = "") -> Figure:
    """Draw where and when each level remembers: its mean |h| over channels, one row per level, on one scale.

    frames: uint8 (T, 3, S, S). states: (T, K, D, h, w). t: (T,), in reference strides.
    """
    T, K = states.shape[:2]
    size = states.abs().mean(2)  # (T, K, h, w)
    figure, axes = new_figure(WIDTH / (T + 1.4) * (K + 1) + 0.6, K + 1, T, squeeze=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    for ax, frame in zip(axes[0], frames, strict=True):
        ax.imshow(frame.permute(1, 2, 0).numpy())
    for k in range(K):
        for ax, values in zip(axes[k + 1], size[:, k], strict=True):
            image = ax.imshow(values.numpy(), cmap=_CMAP, vmin=0, vmax=float(size.max()))
        axes[k + 1, 0].set_ylabel(STATES[k], fontsize=8)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
    for ax, time in zip(axes[-1], t.tolist(), strict=True):
        ax.set_xlabel(f"t = {time:.1f}", fontsize=7)
    figure.colorbar(image, ax=axes, label="mean |h|", shrink=0.6)
    return figure


def kept(states: Tensor) -> Tensor:
    """Return how alike a level's states at two times are, states (T, K, D, h, w) -> cosines (K, T, T); 1: it did not change."""
    flat = F.normalize(states.transpose(0, 1).flatten(2), dim=-1)
    return flat @ flat.mT


def kept_figure(states: Tensor, t: Tensor, title: str = "") -> Figure:
    """Draw `kept` as one square per level: the longer a state stays alike, the wider its bright diagonal."""
    cosines = kept(states)
    figure, axes = new_figure(WIDTH / len(cosines) + 0.3, 1, len(cosines), squeeze=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    for k, (ax, square) in enumerate(zip(axes[0], cosines, strict=True)):
        image = ax.imshow(square.numpy(), cmap=_CMAP, vmin=0, vmax=1)
        _time_ticks(ax, t)
        ax.set(title=STATES[k], xlabel="state at t (strides)")
    axes[0, 0].set_ylabel("state at t (strides)")
    figure.colorbar(image, ax=axes, label="cosine", shrink=0.8)
    return figure


def draw_heads(ax: Axes, frames: Tensor, weights: Tensor, t: Tensor, title: str = "") -> Any:
    """Draw one head's weights (T, T) between the frames that ask, on the left, and those that are read, above; return the image.

    frames: uint8 (T, 3, S, S). Brightness is relative to the head's largest weight.
    """
    T = len(frames)
    pictures = frames.permute(0, 2, 3, 1).numpy()
    image = ax.imshow(weights.numpy(), cmap=_CMAP, vmin=0, vmax=float(weights.max()), extent=(0, T, T, 0))
    ax.imshow(np.concatenate(list(pictures), axis=1), extent=(0, T, -0.1, -1.1))
    ax.imshow(np.concatenate(list(pictures), axis=0), extent=(-1.1, -0.1, T, 0))
    ax.set(xlim=(-1.1, T), ylim=(T, -1.1), title=title)
    ax.set_xticks(np.arange(T) + 0.5, [f"{v:.3g}" for v in t.tolist()], fontsize=6)
    ax.set_yticks(np.arange(T) + 0.5, [f"{v:.3g}" for v in t.tolist()], fontsize=6)
    ax.grid(visible=False)
    sns.despine(ax=ax, left=True, bottom=True)
    return image


def attention_figure(frames: Tensor, weights: Tensor, t: Tensor, title: str = "") -> Figure:
    """Draw temporal attention (heads, T, T) as one square per head, each tied to the clip's frames by `draw_heads`."""
    heads = len(weights)
    rows = -(-heads // 2)
    figure, axes = new_figure(3.9 * rows + 0.3, rows, 2, squeeze=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    for ax in axes.flat[heads:]:
        ax.axis("off")
    for h, ax in enumerate(axes.flat[:heads]):
        image = draw_heads(ax, frames, weights[h], t, f"head {h + 1}, brightest {float(weights[h].max()):.2f}")
        image.set_label(f"head {h + 1}")
    for ax in axes[-1]:
        ax.set_xlabel("is read, t (strides)", fontsize=8)
    for ax in axes[:, 0]:
        ax.set_ylabel("asks, t (strides)", fontsize=8)
    return figure


def channels_figure(gate: Tensor, t: Tensor, title: str = "") -> Figure:
    """Draw channel gates (T, D): a column per channel, from the most open on average to the least, a row per frame."""
    order = gate.mean(0).argsort(descending=True)
    figure, ax = new_figure(2.3)
    image = ax.imshow(gate[:, order].numpy(), cmap=_CMAP, aspect="auto")
    ax.set_yticks(range(len(t)), [f"{v:.1f}" for v in t.tolist()], fontsize=7)
    ax.set(xlabel="channel, the most open first", ylabel="t (strides)")
    ax.set_title(title, loc="left", fontsize=9)
    ax.grid(visible=False)
    figure.colorbar(image, ax=ax, label="gate")
    return figure


def deletion_figure(curves: Mapping[str, Tensor], shares: Sequence[float], what: str) -> Figure:
    """Draw deletion curves (B, S), and the areas under them.

    Left: the mean over clips, and the middle half of the clips as a band. Right: the areas of the clips, a box from quartile to quartile,
    with the mean as a diamond. what: the deleted things, for the axis.
    """
    figure, (left, right) = new_figure(3.4, 1, 2, width_ratios=[1.4, 1])
    lines = cycle([("o", "-"), ("s", "--"), ("^", "-."), ("D", ":"), ("v", (0, (5, 1)))])
    for (name, curve), colour, (marker, line) in zip(curves.items(), cycle(PALETTE), lines, strict=False):
        low, high = curve.quantile(torch.tensor([0.25, 0.75]), dim=0)
        left.plot(shares, curve.mean(0), marker=marker, linestyle=line, color=colour, label=name, markersize=4)
        left.fill_between(shares, low, high, color=colour, alpha=0.12, linewidth=0)
    left.set(xlabel=f"{what} deleted (share)", ylabel="probability of the class", ylim=(0, 1))
    left.legend(fontsize=7)
    under = {name: areas(curve, shares).numpy() for name, curve in curves.items()}
    right.boxplot(
        list(under.values()),
        orientation="horizontal",
        tick_labels=list(under),
        showmeans=True,
        meanprops={"marker": "D", "markerfacecolor": "0.1", "markeredgecolor": "0.1", "markersize": 4},
        medianprops={"color": "0.3"},
        flierprops={"markersize": 2},
    )
    right.invert_yaxis()
    right.set(xlabel="area under the curve, by clip", xlim=(0, 1))
    right.tick_params(axis="y", labelsize=7)
    right.grid(axis="y", visible=False)
    return figure


def _time_ticks(ax: Axes, t: Tensor) -> None:
    names = [f"{value:.1f}" for value in t.tolist()]
    ax.set_xticks(range(len(names)), names, fontsize=6)
    ax.set_yticks(range(len(names)), names, fontsize=6)
    ax.grid(visible=False)


def frame_figure(
    frames: Tensor, maps: Tensor, weights: Tensor, t: Tensor, frame: int, name: str, title: str = ""
) -> Figure:
    """Draw one frame of a clip, the same under its map, and what it reads of the other frames.

    frames: uint8 (T, 3, S, S). maps: (T, h, w), drawn on the clip's one scale; name: what they are. weights: (T, T), rows sum to 1.
    t: (T,), in reference strides.
    """
    figure, (plain, under, reads) = new_figure(2.7, 1, 3)
    figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    plain.imshow(frames[frame].permute(1, 2, 0).numpy())
    plain.set_title(f"frame {frame + 1} of {len(frames)}, t = {float(t[frame]):.1f}", fontsize=9)
    under.imshow(spotlight(frames, maps)[frame])
    under.set_title(f"{name}: {float(maps[frame].min()):.2g} to {float(maps[frame].max()):.2g}", fontsize=9)
    for ax in (plain, under):
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
    colours = [PALETTE[1] if i == frame else PALETTE[0] for i in range(len(frames))]
    bars = reads.bar(range(1, len(frames) + 1), weights[frame].numpy(), color=colours, edgecolor="0.1")
    bars[frame].set_hatch("//")
    reads.set(xlabel="reads frame (hatched: itself)", ylim=(0, 1), xticks=range(1, len(frames) + 1))
    reads.set_title("temporal attention", fontsize=9)
    return figure
