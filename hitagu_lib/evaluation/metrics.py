"""What scores are worth: accuracies, confusion, calibration, how sure each number is, and what more views bring.

Accuracies, confusion and calibration are torchmetrics'. Intervals are of bootstraps over videos (Efron 1979): 2000 times as many videos as
there are, drawn with replacement, and of the values found in those draws the middle 95 %. They tell how much a number hangs on which
videos the list has, not on the seed of the training.
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
    """Top-1, top-5, mean class accuracy and the confusion inside reversed pairs, each with its interval; plain values alone.

    partner (num_classes,): the class that a class is when played backwards, or itself. "reversed_pairs" is of the videos of classes that
    have a partner: how many, the share that is named correctly, the share that is called the partner; None where there is no such video.
    """
    labels = scores.labels.numpy()
    wanted = partner[labels]
    paired = wanted != labels
    swapped = paired & (scores.predicted.numpy() == wanted)
    facts = [labels, scores.right(1).numpy(), scores.right(5).numpy(), paired, swapped]
    kinds, drawn = resample(np.stack(facts, axis=1), resamples, seed)
    label, top1, top5, paired_kind, swapped_kind = kinds.T
    member = np.eye(scores.logits.shape[1])[label]  # (kinds, num_classes)
    with np.errstate(invalid="ignore"):  # a class, or the pairs, of which a draw has no video: NaN, and left out
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
    """Bootstrap draws of N videos of which `facts` (N, F), whole numbers, are known: kinds (M, F), and how many of each kind every draw
    has (resamples, M).

    Videos of which the same is known are of one kind, so that a draw of N videos with replacement is one of a multinomial over the kinds.
    """
    kinds, counts = np.unique(facts.astype(np.int64), axis=0, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(facts), counts / len(facts), size=resamples)
    return kinds, drawn.astype(np.float64)


def interval(values: Floats, level: float = LEVEL) -> list[float]:
    """The middle `level` of values (resamples,), NaN left out: its two ends."""
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return [float(low), float(high)]


def calibration(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> dict[str, Any]:
    """The expected calibration error of probabilities (N, num_classes): |confidence - accuracy| in bins of confidence, mean over videos.

    The mean confidence stands beside it: above top-1 the network is too sure of itself, below it not sure enough.
    """
    probabilities = probabilities.clamp(0, 1)  # a mean may round to above 1, which torchmetrics would take for logits
    error = multiclass_calibration_error(probabilities, labels, probabilities.shape[1], n_bins=bins, norm="l1")
    return {
        "expected_calibration_error": float(error),
        "bins": bins,
        "mean_confidence": float(probabilities.max(1).values.mean()),
    }


def confusion_matrix(scores: Scores) -> Tensor:
    """int64 (num_classes, num_classes): how many videos of class [row] are called class [column]."""
    matrix: Tensor = multiclass_confusion_matrix(scores.logits, scores.labels, scores.logits.shape[1])
    return matrix


def accuracy_by_views(view_logits: Tensor, labels: Tensor, clips: int, crops: int, how: str) -> list[dict[str, Any]]:
    """Top-1 by the number of views, from the logits (N, clips x crops, num_classes) of one pass; `how` they are averaged.

    First 1, 2, ... clips of all crops, then 1, 2, ... crops of all clips. k of n clips are those numbered floor(i n / k), i < k, and the
    same with every number moved on by 1, 2, ... modulo n: evenly spread, and each clip as often as any other, so that none, the first or
    the middle one, stands for all. Crops alike. "top1" is the mean over these `subsets`, beside the lowest and the highest.
    """
    choices = [(k, crops, subsets(clips, k)) for k in range(1, clips + 1)]
    choices += [(clips, k, subsets(crops, k)) for k in range(1, crops)]
    right = [np.zeros(len(some)) for _, _, some in choices]
    for logits, label in zip(
        view_logits.split(1024), labels.split(1024), strict=True
    ):  # all at once would be gigabytes
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
    """The evenly spread choices of k of n that `accuracy_by_views` looks at, each once."""
    spread = np.arange(k) * n // k
    return [list(chosen) for chosen in sorted({tuple(np.sort((spread + shift) % n).tolist()) for shift in range(n)})]
