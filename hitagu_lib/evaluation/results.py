"""The result folder of an evaluation: write it, and read it again.

    predictions.csv   one line per video: row,path,label,predicted,score; row is the index in the list, score the predicted class's
    classes.csv       one line per class: label,videos,correct,accuracy,called,partner,called_partner. called: how many videos are
                      classified as it; partner: its class when played backwards; called_partner: how many of its videos are classified
                      as that; the last two are empty for a class without a partner
    confusion.csv     label, and one column per class: how many videos of the row's class are classified as the column's
    scores.npz        for N videos, K classes, V views: rows, labels, paths (N,), scores (N, K), view_logits (N, V, K) clip by clip; with
                      order tests shuffled, reversed, frozen (N, K); classes (K,), clips, crops, average, listed: the list's length
    report.json       single numbers and short lists
    partial/          the scores of an unfinished evaluation: hitagu_lib/evaluation/resume.py

Scores and logits are float32; those of the views take N V K x 4 bytes.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from torch import Tensor

from hitagu_lib.data.clip_list import ClipList
from hitagu_lib.data.sampling import Indices
from hitagu_lib.errors import ConfigError
from hitagu_lib.evaluation.metrics import accuracy_by_views, confusion_matrix
from hitagu_lib.evaluation.protocols import Protocol
from hitagu_lib.evaluation.score_list import Evaluation
from hitagu_lib.evaluation.scores import ORDERS, Scores
from hitagu_lib.files import replacing, write_csv


@dataclass(frozen=True)
class Results:
    """The content of scores.npz except the logits of the views, which may be large."""

    file: Path
    scores: Scores  # of N videos
    orders: dict[str, Scores]  # shuffled, reversed, frozen; only with order tests
    paths: list[str]  # of the same videos, as written in the list
    classes: list[str]
    clips: int
    crops: int
    average: str
    listed: int  # videos in the list

    def view_logits(self) -> Tensor:
        """float32 (N, clips x crops, K), clip by clip."""
        with np.load(self.file) as saved:
            return torch.from_numpy(saved["view_logits"])

    def by_views(self) -> list[dict[str, Any]]:
        """Return top-1 by the number of views: see `metrics.accuracy_by_views`."""
        return accuracy_by_views(self.view_logits(), self.scores.labels, self.clips, self.crops, self.average)


def read_results(source: str | Path) -> Results:
    """Read the results in an evaluation's folder, or its scores.npz. Raises ConfigError if there are none or their form is an older one."""
    file = Path(source)
    file = file / "scores.npz" if file.is_dir() else file
    try:
        with _scores_npz(file) as saved:
            parts = {name: saved[name] for name in saved.files if name != "view_logits"}
    except FileNotFoundError:
        raise ConfigError(
            f"{file}: no such file; `hitagu evaluate` writes scores.npz to the folder of its results"
        ) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{file}: cannot be read as scores.npz: {error}") from error
    expected = {"rows", "labels", "scores", "paths", "classes", "clips", "crops", "average", "listed"}
    if missing := expected - parts.keys():
        raise ConfigError(
            f"{file}: found no {', '.join(sorted(missing))}; expected what `hitagu evaluate` writes; evaluate again"
        )
    rows, labels = torch.from_numpy(parts["rows"]), torch.from_numpy(parts["labels"])
    return Results(
        file,
        Scores(rows, labels, torch.from_numpy(parts["scores"])),
        {name: Scores(rows, labels, torch.from_numpy(parts[name])) for name in ORDERS if name in parts},
        parts["paths"].tolist(),
        parts["classes"].tolist(),
        int(parts["clips"]),
        int(parts["crops"]),
        str(parts["average"]),
        int(parts["listed"]),
    )


def _scores_npz(file: Path) -> NpzFile:
    saved = np.load(file)
    if not isinstance(saved, NpzFile):
        raise ValueError("found one array, expected an archive of several")
    return saved


def write_results(
    folder: Path, found: Evaluation, clips: ClipList, partner: Indices, plan: Protocol, average: str
) -> None:
    """Write every file except report.json, each atomically."""
    _write_predictions(folder / "predictions.csv", found.scores, clips)
    confusion = confusion_matrix(found.scores).numpy()
    _write_classes(folder / "classes.csv", confusion, clips.classes, partner)
    counts = ([label, *row] for label, row in zip(clips.classes, confusion.tolist(), strict=True))
    write_csv(folder / "confusion.csv", counts, ["label", *clips.classes])
    scores = found.scores
    orders: dict[str, Any] = {order: of.logits.numpy() for order, of in found.orders.items()}
    with replacing(folder / "scores.npz") as aside:
        np.savez(
            aside,
            rows=scores.rows.numpy(),
            labels=scores.labels.numpy(),
            paths=np.array([clips.path(row) for row in scores.rows.tolist()]),
            scores=scores.logits.numpy(),
            view_logits=found.view_logits.numpy(),
            classes=np.array(clips.classes),
            clips=np.array(plan.clips),
            crops=np.array(plan.crops),
            average=np.array(average),
            listed=np.array(len(clips)),
            **orders,
        )


def _write_predictions(file: Path, scores: Scores, clips: ClipList) -> None:
    best = scores.logits.max(1)
    found = zip(scores.rows.tolist(), scores.labels.tolist(), best.indices.tolist(), best.values.tolist(), strict=True)
    rows = (
        (row, clips.path(row), clips.classes[label], clips.classes[predicted], f"{score:.6g}")
        for row, label, predicted, score in found
    )
    write_csv(file, rows, ["row", "path", "label", "predicted", "score"])


def _write_classes(file: Path, confusion: Indices, classes: Sequence[str], partner: Indices) -> None:
    rows = []
    for c, label in enumerate(classes):
        videos, correct, p = int(confusion[c].sum()), int(confusion[c, c]), int(partner[c])
        accuracy = f"{correct / videos:.4f}" if videos else ""
        pair = (classes[p], confusion[c, p]) if p != c else ("", "")
        rows.append((label, videos, correct, accuracy, confusion[:, c].sum(), *pair))
    write_csv(file, rows, ["label", "videos", "correct", "accuracy", "called", "partner", "called_partner"])
