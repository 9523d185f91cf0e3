"""Figures of an evaluation's views: the frames of each clip, the crops of a frame, the prediction for each view."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from hitagu_lib.data.sampling import Indices
from hitagu_lib.evaluation.protocols import Protocol, Views
from hitagu_lib.viz.style import PALETTE, WIDTH, new_figure

_GAP = 3  # white pixels between the frames of a strip


def frames_seen(clips: Mapping[str, Indices], num_frames: int) -> Figure:
    """Draw which frames of a video of `num_frames` the clips (C, T) of each protocol use: one row per clip, one dot per frame."""
    heights = [0.35 + 0.16 * len(indices) for indices in clips.values()]
    figure, axes = new_figure(sum(heights) + 0.5, len(clips), 1, sharex=True, height_ratios=heights, squeeze=False)
    for ax, (name, indices), colour in zip(axes[:, 0], clips.items(), PALETTE, strict=False):
        clip = np.repeat(np.arange(len(indices))[:, None], indices.shape[1], 1)
        ax.scatter(indices, clip + 1, s=14, color=colour)
        ax.set(ylim=(len(indices) + 0.6, 0.4), ylabel="clip", xlim=(-1, num_frames))
        ax.set_yticks(sorted({1, len(indices)}))
        distinct = len(np.unique(indices))
        ax.set_title(
            f"{name}: {indices.size} frames asked for, {distinct} of {num_frames} distinct", loc="left", fontsize=9
        )
    axes[-1, 0].set(xlabel="frame")
    return figure


def draw_crops(ax: Axes, frame: Tensor, corners: Sequence[tuple[int, int]], size: int) -> None:
    """Draw a frame, uint8 (3, H, W), with its crops: squares of side `size` at (top, left) `corners`."""
    ax.imshow(frame.permute(1, 2, 0).numpy())
    for (top, left), colour in zip(corners, PALETTE, strict=False):
        place = left - 0.5, top - 0.5
        ax.add_patch(Rectangle(place, size, size, color=colour, alpha=0.15, linewidth=0))
        ax.add_patch(Rectangle(place, size, size, fill=False, color=colour, linewidth=2))
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)


def views_figure(
    views: Views, plan: Protocol, probabilities: Tensor, average: Tensor, classes: Sequence[str], label: str
) -> Figure:
    """Draw one video under a protocol: one row per clip with its frames, its crops as boxes, and the views' probabilities beside them.

    probabilities: (V, K) of the views, clip by clip; average: (K,), the video's. The bars show the three classes that rank highest in the
    average: a bar is the mean over the clip's crops, a tick is one crop. The last row is the average.
    """
    C, n = plan.clips, len(views.frames)
    frames = views.index.reshape(C, plan.crops, -1)[:, 0] % n  # (C, T)
    numbers = (views.t.numpy() * plan.ref_stride).round().astype(int)[:: plan.crops]
    by_clip = probabilities.unflatten(0, (C, plan.crops)).numpy()  # (C, M, K)
    best = average.sort(descending=True).indices[:3].tolist()
    T = plan.num_frames
    row = 0.72 * WIDTH / T * views.frames.shape[2] / views.frames.shape[3] + 0.15
    figure, axes = new_figure(
        max(0.5, row) * C + 1.5, C + 1, 2, width_ratios=[2.6, 1], height_ratios=[1] * C + [0.8], squeeze=False
    )
    figure.suptitle(f"{label}: {plan.name}, {C} x {plan.crops} views", x=0.01, ha="left", fontsize=9)
    for c, (left, right) in enumerate(axes[:C]):
        _draw_strip(left, views, frames[c], numbers[c])
        left.set_ylabel(f"clip {c + 1}", fontsize=7)
        _draw_bars(right, by_clip[c].mean(0)[best])
        for y, k in enumerate(best):
            right.plot(by_clip[c][:, k], [y] * plan.crops, "|", color="0.2", markersize=7)
    axes[C, 0].axis("off")
    names = [textwrap.shorten(classes[k], 44, placeholder="…") for k in best]
    for y, (name, colour) in enumerate(zip(names, PALETTE, strict=False)):
        axes[C, 0].text(
            0.99,
            1 - (y + 0.5) / len(best),
            name,
            color=colour,
            ha="right",
            va="center",
            fontsize=8,
            transform=axes[C, 0].transAxes,
        )
    _draw_bars(axes[C, 1], average.numpy()[best])
    axes[C, 1].set_xlabel("probability, average", fontsize=7)
    return figure


def _draw_strip(ax: Axes, views: Views, frames: Indices, numbers: Indices) -> None:
    H, W = views.frames.shape[2:]
    strip = np.full((H, len(frames) * (W + _GAP) - _GAP, 3), 255, np.uint8)
    for j, frame in enumerate(frames):
        strip[:, j * (W + _GAP) : j * (W + _GAP) + W] = views.frames[frame].permute(1, 2, 0).numpy()
        for (top, left), colour in zip(views.corners, PALETTE, strict=False):
            corner = left + j * (W + _GAP) - 0.5, top - 0.5
            ax.add_patch(Rectangle(corner, views.size, views.size, fill=False, color=colour, linewidth=0.8))
    ax.imshow(strip)
    ax.set(xticks=[(j * (W + _GAP)) + W / 2 for j in range(len(frames))], yticks=[])
    ax.set_xticklabels(numbers.tolist(), fontsize=6)
    ax.tick_params(pad=0)
    ax.grid(visible=False)
    for side in ax.spines.values():
        side.set_visible(False)


def _draw_bars(ax: Axes, values: np.ndarray) -> None:
    ax.barh(range(len(values)), values, color=PALETTE[: len(values)], height=0.7)
    ax.set(xlim=(0, 1), ylim=(len(values) - 0.4, -0.6), yticks=[], xticks=[0, 0.5, 1])
    ax.tick_params(labelsize=6, pad=0)
