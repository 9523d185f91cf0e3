"""Static figures: frames of clips, training curves, order tests, confusion."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from hitagu_lib.runs.run_dir import read_metrics
from hitagu_lib.viz.style import PALETTE, WIDTH, new_figure


def clip_rows(clips: Sequence[Tensor], titles: Sequence[str], times: Sequence[Tensor] | None = None) -> Figure:
    """Draw one row per clip, its title above, its frames from left to right. Each clip: uint8 (T, 3, H, W)."""
    T = len(clips[0])
    figure, placeholder = new_figure((WIDTH / T + 0.45) * len(clips))
    placeholder.remove()
    rows = figure.subfigures(len(clips), 1, squeeze=False)[:, 0]
    for i, (row, clip, title) in enumerate(zip(rows, clips, titles, strict=True)):
        row.suptitle(title, x=0.01, ha="left", fontsize=9)
        for j, (ax, frame) in enumerate(zip(row.subplots(1, T, squeeze=False)[0], clip, strict=True)):
            ax.imshow(frame.permute(1, 2, 0).numpy())
            ax.set(xticks=[], yticks=[])
            sns.despine(ax=ax, left=True, bottom=True)
            if times is not None:
                ax.set_xlabel(f"t = {float(times[i][j]):.1f}", fontsize=7)
    return figure


def training_curves(metrics: Sequence[dict[str, Any]], total_epochs: int) -> Figure:
    """Draw loss and top-1 over epochs, from a run's metrics."""
    figure, (left, right) = new_figure(2.8, 1, 2)
    draw_training_curves(left, right, metrics, total_epochs)
    return figure


def draw_training_curves(left: Axes, right: Axes, metrics: Sequence[dict[str, Any]], total_epochs: int) -> None:
    """Draw loss onto `left` and top-1 onto `right`, over epochs."""
    epochs = [line["epoch"] + 1 for line in metrics]
    terms = [name for name in ("cross_entropy", "center", "temporal", "prefix") if f"train_{name}" in metrics[0]]
    for colour, name in zip(PALETTE, terms + ["loss"] * (len(terms) > 1), strict=False):
        label = "their weighted sum" if name == "loss" else name.replace("_", "-")
        left.plot(epochs, [line[f"train_{name}"] for line in metrics], "o-", markersize=3, color=colour, label=label)
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    left.set(xlabel="epoch", ylabel="training loss", xlim=(0.5, total_epochs + 0.5), ylim=(0, None))
    left.legend(fontsize=7)
    right.plot(epochs, [100 * line["train_top1"] for line in metrics], "o-", markersize=3, label="training, augmented")
    tested = [line for line in metrics if "val_top1" in line]
    right.plot(
        [line["epoch"] + 1 for line in tested],
        [100 * line["val_top1"] for line in tested],
        "s-",
        markersize=4,
        label="validation",
    )
    right.set(xlabel="epoch", ylabel="top-1 (%)", xlim=(0.5, total_epochs + 0.5), ylim=(0, 102))
    right.legend(fontsize=7, loc="lower right")


def order_bars(summary: dict[str, Any]) -> Figure:
    """Draw how much a run's accuracy owes to the order of frames: one bar per order test in the summary."""
    figure, ax = new_figure(2.6)
    draw_order_bars(ax, summary)
    return figure


def draw_order_bars(ax: Axes, summary: dict[str, Any]) -> None:
    """Draw the bars of `order_bars` onto `ax`."""
    bars = {
        "in order": ("val_top1", PALETTE[0]),
        "reversed,\ncalled the partner": ("val_partner_rate_reversed", PALETTE[2]),
        "shuffled": ("val_top1_shuffled", PALETTE[1]),
        "TSN, in order": ("tsn_val_top1", PALETTE[7]),
    }
    shown = {label: (100 * summary[key], colour) for label, (key, colour) in bars.items() if key in summary}
    bar = ax.barh(list(shown), [value for value, _ in shown.values()], color=[colour for _, colour in shown.values()])
    ax.bar_label(bar, fmt="%.1f", padding=-28, fontsize=8, color="white", weight="bold")
    ax.axvline(50, color="0.3", linestyle="--", linewidth=1)
    ax.text(0.5, 1.02, "blind to order: 50", transform=ax.transAxes, ha="center", fontsize=7)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set(xlim=(0, 100), xlabel="validation clips (%)")


def confusion(labels: Tensor, predicted: Tensor, classes: Sequence[str], order: Sequence[int] | None = None) -> Figure:
    """Draw the confusion matrix: true class by row, predicted class by column, percent of the row.

    `order` puts partners side by side. Labels stand once, in full, each with a number that also names its column.
    """
    order = list(range(len(classes))) if order is None else list(order)
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, (labels.numpy(), predicted.numpy()), 1)
    share = (100 * counts / np.maximum(1, counts.sum(1, keepdims=True)))[np.ix_(order, order)]
    numbers = range(1, len(order) + 1)
    names = [f"{textwrap.fill(classes[i], 40)}  {number}" for number, i in zip(numbers, order, strict=True)]
    figure, ax = new_figure(0.3 * len(classes) + 2)
    sns.heatmap(
        share,
        annot=np.where(share > 0, np.vectorize("{:.0f}".format)(share), ""),
        fmt="",
        cmap="Blues",
        vmin=0,
        vmax=100,
        cbar=False,
        xticklabels=list(numbers),
        yticklabels=names,
        annot_kws={"size": 7},
        linewidths=0.5,
        ax=ax,
    )
    ax.set(xlabel="called", ylabel="is")
    ax.tick_params(labelsize=7)
    return figure


def result_figure(run: str | Path, summary: dict[str, Any]) -> Figure:
    """Draw a run in one picture: loss, top-1, order tests."""
    figure, (left, middle, right) = new_figure(2.9, 1, 3)
    draw_training_curves(left, middle, read_metrics(run), summary["epochs"])
    draw_order_bars(right, summary)
    return figure
