"""Measures of scores: accuracies, confusion, calibration, their uncertainty, and the gain from more views.

Accuracies, confusion and calibration come from torchmetrics. Intervals come from a bootstrap over videos (Efron 1979): draw as many videos
as there are, with replacement, 2000 times, and take the middle 95 % of the values found. They show how much a number depends on which
videos are in the list, not on the training's seed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_confusion_matrix

from hitagu_lib.data.sampling import Indices
from hitagu_lib.evaluation.scores import Scores

RESAMPLES = 2000
LEVEL = 0.95
BINS = 15  # of confidence, in the calibration error: Guo et al. 2017's number

Floats = NDArray[np.float64]


def accuracies(scores: Scores, partner: Indices, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """Return top-1, top-5, mean class accuracy and the confusion within reversed pairs, each with its interval, as plain values.

    partner (num_classes,): the class that a class becomes when played backwards, or itself. "reversed_pairs" describes the videos whose
    class has a partner: their number, the share classified correctly, the share classified as the partner; None if there are none.
    """
    labels = scores.labels.numpy()
    wanted = partner[labels]
    paired = wanted != labels
    swapped = paired & (scores.predicted.numpy() == wanted)
    facts = [labels, scores.right(1).numpy(), scores.right(5).numpy(), paired, swapped]
    kinds, drawn = resample(np.stack(facts, axis=1), resamples, seed)
    label, top1, top5, paired_kind, swapped_kind = kinds.T
    member = np.eye(scores.logits.shape[1])[label]  # (kinds, num_classes)
    with np.errstate(invalid="ignore"):  # NaN, and left out: a class, or the pairs, without a video in a draw
        of_class = (drawn * top1) @ member / (drawn @ member)
        called = drawn @ swapped_kind / (drawn @ paired_kind)
    found: dict[str, Any] = {
        "top1": scores.topk(1),
        "top5": scores.topk(5),
        "mean_class_accuracy": scores.mean_class_accuracy(),
        "reversed_pairs": None,
        "intervals": {
            "top1": interval(drawn @ top1 / len(labels)),
            "top5": interval(drawn @ top5 / len(labels)),
            "mean_class_accuracy": interval(np.nanmean(of_class, axis=1)),
        },
    }
    if paired.any():
        inside = torch.from_numpy(paired)
        pairs = Scores(scores.rows[inside], scores.labels[inside], scores.logits[inside])
        found["reversed_pairs"] = {
            "videos": len(pairs.rows),
            "right": pairs.topk(1),
            "called_partner": pairs.called(partner),
        }
        found["intervals"]["called_partner"] = interval(called)
    return found


def resample(facts: NDArray[Any], resamples: int = RESAMPLES, seed: int = 0) -> tuple[Indices, Floats]:
    """Draw bootstrap samples of N videos described by integers `facts` (N, F).

    Returns the distinct rows, kinds (M, F), and the count of each kind in every draw (resamples, M). Videos with equal facts are of one
    kind, so drawing N videos with replacement is one draw of a multinomial over the kinds.
    """
    kinds, counts = np.unique(facts.astype(np.int64), axis=0, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(facts), counts / len(facts), size=resamples)
    return kinds, drawn.astype(np.float64)


def interval(values: Floats, level: float = LEVEL) -> list[float]:
    """Return the two ends of the middle `level` of values (resamples,), ignoring NaN."""
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return [float(low), float(high)]


def calibration(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> dict[str, Any]:
    """Return the expected calibration error of probabilities (N, num_classes).

    It is |confidence - accuracy| by bin of confidence, mean over videos. The mean confidence is returned too: above top-1 the network is
    overconfident, below it underconfident.
    """
    probabilities = probabilities.clamp(0, 1)  # a mean may round to above 1, and torchmetrics would take it for logits
    error = multiclass_calibration_error(probabilities, labels, probabilities.shape[1], n_bins=bins, norm="l1")
    return {
        "expected_calibration_error": float(error),
        "bins": bins,
        "mean_confidence": float(probabilities.max(1).values.mean()),
    }


def confusion_matrix(scores: Scores) -> Tensor:
    """Return int64 (num_classes, num_classes): how many videos of class [row] are classified as [column]."""
    matrix: Tensor = multiclass_confusion_matrix(scores.logits, scores.labels, scores.logits.shape[1])
    return matrix


def accuracy_by_views(view_logits: Tensor, labels: Tensor, clips: int, crops: int, how: str) -> list[dict[str, Any]]:
    """Return top-1 by the number of views, from the logits (N, clips x crops, num_classes) of one pass; how: see `average_views`.

    First 1, 2, ... clips with all crops, then 1, 2, ... crops with all clips. A choice of k of n clips takes the numbers floor(i n / k),
    i < k, shifted by 0, 1, 2, ... modulo n: the choices are evenly spread and use each clip equally often, so no single clip, such as the
    first or the middle one, stands for all. Crops are chosen alike. "top1" is the mean over these `subsets`; "lowest" and "highest" are
    its range.
    """
    choices = [(k, crops, subsets(clips, k)) for k in range(1, clips + 1)]
    choices += [(clips, k, subsets(crops, k)) for k in range(1, crops)]
    right = [np.zeros(len(some)) for _, _, some in choices]
    # In blocks: all at once would be gigabytes.
    for logits, label in zip(view_logits.split(1024), labels.split(1024), strict=True):
        values = (logits.softmax(-1) if how == "probabilities" else logits).unflatten(1, (clips, crops))
        of_clips, of_crops = values.mean(2), values.mean(1)
        for (_, M, some), count in zip(choices, right, strict=True):
            parts = of_clips if crops == M else of_crops
            count += [int((parts[:, subset].mean(1).argmax(1) == label).sum()) for subset in some]
    return [
        {
            "clips": C,
            "crops": M,
            "views": C * M,
            "subsets": len(some),
            "top1": float(count.mean() / len(labels)),
            "lowest": float(count.min() / len(labels)),
            "highest": float(count.max() / len(labels)),
        }
        for (C, M, some), count in zip(choices, right, strict=True)
    ]


def subsets(n: int, k: int) -> list[list[int]]:
    """Return the distinct, evenly spread choices of k of n that `accuracy_by_views` uses."""
    spread = np.arange(k) * n // k
    return [list(chosen) for chosen in sorted({tuple(np.sort((spread + shift) % n).tolist()) for shift in range(n)})]
