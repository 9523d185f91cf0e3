"""Figures of a comparison: every seed is a dot; no bar hides the spread."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes

from hitagu_lib.evaluation.seeds import METHODS, PublishedRun, by_method
from hitagu_lib.runs.run_dir import read_metrics
from hitagu_lib.viz.style import PALETTE

COLOURS = dict(zip(METHODS, (PALETTE[0], PALETTE[9], PALETTE[1], PALETTE[2], PALETTE[7]), strict=True))
"""Method -> its colour in all figures."""


def draw_seeds(ax: Axes, values: Mapping[str, Sequence[float]], title: str = "", label: str = "top-1 (%)") -> None:
    """Draw one row per method: its seeds as dots, and below them the mean with one sample standard deviation (n - 1) to either side.

    values: percent; the bars end at 0 and 100.
    """
    for row, (method, seeds) in enumerate(values.items()):
        colour = COLOURS.get(method, "0.3")
        ax.plot(seeds, [row - 0.12] * len(seeds), "o", color=colour, markersize=6, alpha=0.7, markeredgewidth=0)
        mean, sd = statistics.mean(seeds), statistics.stdev(seeds) if len(seeds) > 1 else 0
        bar = [[min(sd, mean)], [min(sd, 100 - mean)]] if sd else None  # no top-1 lies beyond
        ax.errorbar(mean, row + 0.18, xerr=bar, fmt="|", color=colour, markersize=10, capsize=3)
    ax.set_yticks(range(len(values)), list(values))
    ax.set(xlim=(0, 102), ylim=(len(values) - 0.5, -0.5), xlabel=label, title=title)
    ax.grid(axis="y", visible=False)


def draw_points(ax: Axes, points: Mapping[str, Sequence[float]]) -> None:
    """Draw one row per ablation, the largest loss first: each seed's difference to the network as it is as a dot, their mean as a bar.

    points: percentage points. The axis is linear up to 5 points and logarithmic beyond.
    """
    rows = sorted(points, key=lambda name: statistics.mean(points[name]))
    for row, name in enumerate(rows):
        ax.plot(
            points[name], [row] * len(points[name]), "o", color=PALETTE[0], markersize=4, alpha=0.7, markeredgewidth=0
        )
        ax.plot(statistics.mean(points[name]), row, "|", color="black", markersize=9)
    ax.axvline(0, color="0.4", linewidth=1)
    ax.set_xscale("symlog", linthresh=5)
    ticks = (-50, -20, -10, -5, -2, 0, 2, 5)
    ax.set_xticks(ticks, [f"{tick:+d}" if tick else "0" for tick in ticks])
    ax.minorticks_off()
    ax.set_yticks(range(len(rows)), rows, fontsize=7)
    ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel="top-1 minus that of the network as it is (points)")


def draw_pairs(ax: Axes, runs: Sequence[PublishedRun], pairs: Sequence[tuple[str, str]]) -> None:
    """Draw a table in colours, one row per pair of classes, one column per method: mean top-1 over seeds and both classes in percent."""
    methods = list(by_method(runs))
    per_class = [[by_method(runs, label=label) for label in pair] for pair in pairs]
    sns.heatmap(
        [[np.mean([top1[method] for top1 in both]) for method in methods] for both in per_class],
        annot=True,
        fmt=".0f",
        cmap="Blues",
        vmin=0,
        vmax=100,
        cbar_kws={"label": "top-1 (%)"},
        xticklabels=[method.replace(" ", "\n") for method in methods],
        yticklabels=[" /\n".join(pair) for pair in pairs],
        linewidths=1,
        ax=ax,
    )
    ax.tick_params(labelsize=8, rotation=0)


def draw_training(ax: Axes, runs: Sequence[PublishedRun]) -> None:
    """Draw top-1 on the augmented training clips over processor seconds, one thin line per run, coloured by method."""
    named: set[str] = set()
    for run in runs:
        lines = read_metrics(run.folder)
        ax.plot(
            [line["cpu_seconds"] for line in lines],
            [100 * line["train_top1"] for line in lines],
            color=COLOURS[run.method],
            linewidth=1,
            label=None if run.method in named else run.method,
        )
        named.add(run.method)
    ax.set(xlabel="training so far (processor seconds)", ylabel="training top-1 (%)", xlim=(0, None), ylim=(0, 102))
    if named:
        ax.legend(fontsize=8, loc="lower right")
