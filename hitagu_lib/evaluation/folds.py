"""`hitagu report folds`: put the evaluations of several folds together, with intervals over groups of videos.

Clips of one speaker, recording or source resemble one another, so a list of 300 clips of three speakers is a sample of three, not of 300.
The bootstrap here therefore draws groups: as many as there are, with replacement, each with all of its clips. An interval from few groups
is wide, and still too narrow: with fewer than about ten, read it as a hint.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitagu_lib.data.clip_list import csv_table
from hitagu_lib.errors import ListError
from hitagu_lib.evaluation.metrics import LEVEL, RESAMPLES, Floats, interval
from hitagu_lib.prepare.table import read_sources

_PREDICTIONS = "path,label,predicted, as in the predictions.csv of `hitagu evaluate`"


@dataclass(frozen=True)
class Predictions:
    """What an evaluation says of N videos."""

    file: Path
    paths: list[str]
    labels: list[str]
    right: list[bool]

    @property
    def top1(self) -> float:
        return sum(self.right) / len(self.right)


@dataclass(frozen=True)
class Graded:
    """N videos, with the share of runs that classify each correctly, between 0 and 1."""

    right: Floats  # (N,)
    names: NDArray[np.str_]  # (N,), the videos' paths
    labels: NDArray[np.str_]  # (N,)
    groups: NDArray[np.str_]  # (N,)


def read_predictions(source: str | Path) -> Predictions:
    """Read the predictions.csv in an evaluation's folder. Raises ListError if it is not what `hitagu evaluate` writes."""
    file = Path(source)
    file = file / "predictions.csv" if file.is_dir() else file
    rows = [cells for _, cells in csv_table(file, ("path", "label", "predicted"), _PREDICTIONS)]
    if not rows:
        raise ListError(f"{file}: found no videos; expected one per line")
    paths, labels, predicted = ([row[column] for row in rows] for column in ("path", "label", "predicted"))
    if len(seen := set(paths)) < len(paths):
        raise ListError(f"{file}: found {len(paths)} lines of {len(seen)} videos; expected each video once")
    return Predictions(file, paths, labels, [label == best for label, best in zip(labels, predicted, strict=True)])


def read_groups(file: str | Path) -> dict[str, str]:
    """Read which source each video comes from, as `hitagu split` writes it to sources.csv: the video without its ending -> source.

    Raises ListError as `read_sources` does.
    """
    return {os.path.splitext(video)[0]: source for video, source in read_sources(file).items()}


def grade(evaluations: Sequence[Predictions], groups: Mapping[str, str] | None = None) -> Graded:
    """Put evaluations together, sorted by path. A video that several of them scored, as runs with other seeds do, counts once.

    groups: as from `read_groups`; None: each video is its own group. Raises ListError for a video with two labels, or without a group.
    """
    seen: dict[str, list[bool]] = {}
    label: dict[str, str] = {}
    for results in evaluations:
        for path, of, right in zip(results.paths, results.labels, results.right, strict=True):
            # data.source: video lists files, and the frames' folders have no ending
            name = path if groups is None or path in groups else os.path.splitext(path)[0]
            if label.setdefault(name, of) != of:
                raise ListError(f"{results.file}: found {path!r} as {of!r}; expected {label[name]!r}, as before")
            if groups is not None and name not in groups:
                raise ListError(f"{results.file}: found no source of {path!r}; expected it in the file of groups")
            seen.setdefault(name, []).append(right)
    names = sorted(seen)
    return Graded(
        np.array([np.mean(seen[name]) for name in names]),
        np.array(names),
        np.array([label[name] for name in names]),
        np.array([groups[name] if groups is not None else name for name in names]),
    )


def accuracy(graded: Graded, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """Return top-1 and mean class accuracy, each with its bootstrap interval over groups, as plain values."""
    member = (graded.labels[:, None] == np.unique(graded.labels)).astype(np.float64)  # (N, K)
    hits, clips = _of_groups(graded, graded.right[:, None] * member), _of_groups(graded, member)  # (G, K)
    drawn = _draws(len(hits), resamples, seed)
    with np.errstate(invalid="ignore"):  # a class without a clip in a draw is NaN, and left out
        of_class = (drawn @ hits) / (drawn @ clips)
    return {
        "videos": len(graded.right),
        "groups": len(hits),
        "top1": float(graded.right.mean()),
        "mean_class_accuracy": float((hits.sum(0) / clips.sum(0)).mean()),
        "intervals": {
            "top1": interval((drawn @ hits.sum(1)) / (drawn @ clips.sum(1))),
            "mean_class_accuracy": interval(np.nanmean(of_class, axis=1)),
        },
        "bootstrap": {"of": "groups", "resamples": resamples, "level": LEVEL, "seed": seed},
    }


def paired_difference(a: Graded, b: Graded, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """Return top-1 of `b` minus that of `a` on the same videos, with its bootstrap interval over groups."""
    if len(a.right) != len(b.right) or (a.names != b.names).any() or (a.labels != b.labels).any():
        raise ListError("found evaluations of different videos; expected the same folds for both")
    more = _of_groups(a, np.stack([b.right - a.right, np.ones_like(a.right)], axis=1))  # (G, 2)
    drawn = _draws(len(more), resamples, seed) @ more
    return {
        "difference": float((b.right - a.right).mean()),
        "interval": interval(drawn[:, 0] / drawn[:, 1]),
    }


def _of_groups(graded: Graded, values: Floats) -> Floats:
    """Sum values (N, F) within each group: (G, F)."""
    names, of = np.unique(graded.groups, return_inverse=True)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, of, values)
    return sums


def _draws(groups: int, resamples: int, seed: int) -> Floats:
    """Return how often each group is in each draw: (resamples, G)."""
    counts = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=resamples)
    return counts.astype(np.float64)


def folds_report(
    folders: Sequence[str | Path], against: Sequence[str | Path] = (), groups: str | Path | None = None
) -> dict[str, Any]:
    """Return the report of one evaluation per fold, and of `against` beside it; each is a folder, or its predictions.csv."""
    of = read_groups(groups) if groups is not None else None
    evaluations = [read_predictions(folder) for folder in folders]
    ours = grade(evaluations, of)
    report: dict[str, Any] = {
        "folds": [{"results": str(e.file), "videos": len(e.paths), "top1": e.top1} for e in evaluations],
        **accuracy(ours),
    }
    if against:
        theirs = grade([read_predictions(folder) for folder in against], of)
        report["against"] = accuracy(theirs) | paired_difference(theirs, ours)
    return report


def folds_text(report: dict[str, Any]) -> str:
    """Format the report as plain text."""
    lines = [f"{of['top1']:7.1%}  of {of['videos']:5} videos  {of['results']}" for of in report["folds"]]
    lines.append(f"{report['videos']} videos in {report['groups']} groups; bootstrap over groups")
    for name in ("top1", "mean_class_accuracy"):
        low, high = report["intervals"][name]
        lines.append(f"{report[name]:7.1%}  {name.replace('_', ' ')} ({LEVEL:.0%} interval {low:.1%} to {high:.1%})")
    if other := report.get("against"):
        low, high = other["interval"]
        lines.append(f"{other['top1']:7.1%}  top1 of the evaluations it is compared with")
        lines.append(
            f"difference {100 * other['difference']:+.1f} points, {LEVEL:.0%} interval {100 * low:+.1f} to {100 * high:+.1f}"
        )
    return "\n".join(lines)
