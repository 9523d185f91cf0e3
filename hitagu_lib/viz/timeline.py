"""A video's labels over time: progress while it is read, the files, and the picture."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from hitagu_lib.data.loader import Bar
from hitagu_lib.data.video import Playing
from hitagu_lib.errors import ConfigError
from hitagu_lib.files import replacing, same_file, write_csv, write_json
from hitagu_lib.inference.timeline import Interval
from hitagu_lib.viz.style import PALETTE, new_figure

SHOWN = 12  # labels with a row of their own, those that last longest


def draw_timeline(intervals: Sequence[Interval]) -> Figure:
    """Draw one row per label, a bar for each of its intervals; the darker, the higher its score."""
    lasting: dict[str, float] = {}
    for each in intervals:
        lasting[each.label] = lasting.get(each.label, 0.0) + each.end - each.start
    shown = sorted(lasting, key=lambda label: -lasting[label])[:SHOWN]
    figure, ax = new_figure(1.0 + 0.3 * len(shown))
    for row, label in enumerate(shown):
        for each in intervals:
            if each.label == label:
                alpha = 0.25 + 0.75 * each.score
                ax.barh(row, each.end - each.start, left=each.start, height=0.7, color=PALETTE[0], alpha=alpha)
    ax.set(yticks=range(len(shown)), yticklabels=shown, xlabel="seconds", ylim=(len(shown) - 0.5, -0.5))
    ax.grid(axis="y", visible=False)
    if len(lasting) > SHOWN:
        ax.set_title(f"the {SHOWN} longest of {len(lasting)} labels", fontsize=8)
    return figure


def with_progress(playing: Playing) -> Iterator[tuple[float, Tensor]]:
    """Yield a video's frames, and show how many of its seconds have passed."""
    total = None if playing.duration is None else round(playing.duration)
    with Bar(total=total, desc="labelling", unit="s", disable=None, leave=False) as bar:
        for seconds, frame in playing.frames:
            bar.update(max(0, int(seconds) - bar.n))
            yield seconds, frame


def refuse_other_timeline(folder: Path, source: Path) -> None:
    """Raise ConfigError if the folder holds the timeline of another video."""
    try:
        there = str(json.loads((folder / "timeline.json").read_text(encoding="utf-8"))["source"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # no timeline, or one that nobody can read
        return
    if not same_file(there, source):  # nor if it is gone: it may have been another
        raise ConfigError(
            f"{folder}: found the timeline of {there}; expected none, or that of {source}: choose another with --out"
        )


def write_timeline(folder: Path, source: str, intervals: Sequence[Interval]) -> None:
    """Write timeline.csv, timeline.json and timeline.png to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [[f"{each.start:.3f}", f"{each.end:.3f}", each.label, f"{each.score:.4f}"] for each in intervals]
    write_csv(folder / "timeline.csv", rows, ["start", "end", "label", "score"])
    write_json(
        folder / "timeline.json", {"source": source, "intervals": [dataclasses.asdict(each) for each in intervals]}
    )
    figure = draw_timeline(intervals)
    with replacing(folder / "timeline.png") as aside:
        figure.savefig(aside, format="png", dpi=110)
    plt.close(figure)
