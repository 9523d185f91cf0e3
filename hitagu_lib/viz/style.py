"""The common look of the book's figures."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure

PALETTE = sns.color_palette("colorblind")
WIDTH = 8.0  # inches: the text column of the built page


def new_figure(height: float, rows: int = 1, cols: int = 1, **kwargs: Any) -> tuple[Figure, Any]:
    """Return (figure, axes as plt.subplots gives them) with the book's width and palette, `height` inches high."""
    sns.set_theme(style="whitegrid", palette="colorblind", font_scale=0.9)
    return plt.subplots(rows, cols, figsize=(WIDTH, height), layout="constrained", **kwargs)


def credit(figure: Figure, source: str) -> Figure:
    """Write below a figure where its numbers come from, such as "outputs/mini, commit 1a2b3c4d5"; return the figure."""
    figure.supxlabel(source, x=0.99, ha="right", fontsize=6.5, color="0.35")
    return figure
