"""hitagu_lib/evaluation/metrics.py against plain loops."""

import itertools

import numpy as np
import pytest
import torch

from hitagu_lib.evaluation.metrics import (
    accuracies,
    accuracy_by_views,
    calibration,
    confusion_matrix,
    interval,
    resample,
    subsets,
)
from hitagu_lib.evaluation.multi_view import average_views
from hitagu_lib.evaluation.scores import Scores

NO_PAIRS = np.arange(6)
PAIRS = np.array([1, 0, 2, 4, 3, 5])  # 0 and 1, 3 and 4


def some_scores(n: int = 90, seed: int = 0) -> Scores:
    """Scores for classes 0 to 4 of 6, classified correctly about half the time."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 5, (n,), generator=generator)
    logits = torch.randn(n, 6, generator=generator)
    logits[torch.arange(n), labels] += 1.2
    return Scores(torch.arange(n), labels, logits)


def test_accuracies_and_confusion_equal_counts_by_hand() -> None:
    scores = some_scores()
    found = accuracies(scores, PAIRS)
    labels, best = scores.labels.tolist(), scores.logits.argsort(1, descending=True).tolist()
    n = len(labels)
    hits = [best[i][0] == labels[i] for i in range(n)]
    assert found["top1"] == pytest.approx(sum(hits) / n) and 0.2 < found["top1"] < 0.8
    assert found["top5"] == pytest.approx(sum(labels[i] in best[i][:5] for i in range(n)) / n)
    of_class = [np.mean([hit for hit, label in zip(hits, labels, strict=True) if label == c]) for c in range(5)]
    assert found["mean_class_accuracy"] == pytest.approx(np.mean(of_class)) != pytest.approx(found["top1"])
    inside = [i for i in range(n) if PAIRS[labels[i]] != labels[i]]
    assert found["reversed_pairs"] == {
        "videos": len(inside),
        "right": pytest.approx(np.mean([hits[i] for i in inside])),
        "called_partner": pytest.approx(np.mean([best[i][0] == PAIRS[labels[i]] for i in inside])),
    }
    matrix = confusion_matrix(scores)
    for row, column in itertools.product(range(6), range(6)):
        assert matrix[row, column] == sum(labels[i] == row and best[i][0] == column for i in range(n))


def test_without_reversed_classes_they_are_not_reported() -> None:
    found = accuracies(some_scores(), NO_PAIRS)
    assert found["reversed_pairs"] is None and "called_partner" not in found["intervals"]


def test_intervals_are_those_of_drawing_videos_one_by_one() -> None:
    scores = some_scores()
    found = accuracies(scores, PAIRS, resamples=4000)["intervals"]
    rng, labels = np.random.default_rng(5), scores.labels.numpy()
    right, right5, predicted = scores.right(1).numpy(), scores.right(5).numpy(), scores.predicted.numpy()
    drawn: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(4000):
        some = rng.integers(len(labels), size=len(labels))
        drawn["top1"].append(right[some].mean())
        drawn["top5"].append(right5[some].mean())
        of_class = [right[some][labels[some] == c].mean() for c in range(5) if (labels[some] == c).any()]
        drawn["mean_class_accuracy"].append(np.mean(of_class))
        inside = some[PAIRS[labels[some]] != labels[some]]
        drawn["called_partner"].append((predicted[inside] == PAIRS[labels[inside]]).mean())
    for name, values in drawn.items():
        np.testing.assert_allclose(found[name], np.quantile(values, [0.025, 0.975]), atol=0.013, err_msg=name)
        low, high = found[name]
        assert high - low > 0.02


def test_draws_are_of_as_many_videos_and_the_same_each_time() -> None:
    facts = np.array([[0, 1], [0, 1], [1, 0], [2, 1]])
    kinds, drawn = resample(facts, 50, seed=3)
    assert kinds.tolist() == [[0, 1], [1, 0], [2, 1]] and drawn.shape == (50, 3)
    assert (drawn.sum(1) == 4).all() and len(np.unique(drawn, axis=0)) > 5
    assert (resample(facts, 50, seed=3)[1] == drawn).all()
    assert interval(np.array([*range(101), np.nan])) == [pytest.approx(2.5), pytest.approx(97.5)]


def test_one_video_alone() -> None:
    found = accuracies(Scores(torch.tensor([7]), torch.tensor([1]), torch.eye(6)[[1]]), PAIRS)
    assert (found["top1"], found["intervals"]["top1"], found["intervals"]["called_partner"]) == (1, [1, 1], [0, 0])


def test_calibration_is_the_gap_between_confidence_and_accuracy() -> None:
    """Nine videos at 0.9, six of them right; one at 0.5, wrong."""
    probabilities = torch.tensor([[0.9, 0.1]] * 9 + [[0.5, 0.5]])
    labels = torch.tensor([0] * 6 + [1] * 4)
    found = calibration(probabilities, labels, bins=10)
    assert found["expected_calibration_error"] == pytest.approx(0.9 * (0.9 - 6 / 9) + 0.1 * 0.5, abs=1e-6)
    assert (found["mean_confidence"], found["bins"]) == (pytest.approx(0.86), 10)


def test_a_mean_that_rounds_to_above_one_is_not_taken_for_logits() -> None:
    sure = torch.tensor([[1.0000001, 0.0, 0.0]] * 4)
    assert calibration(sure, torch.zeros(4, dtype=torch.int64))["expected_calibration_error"] == pytest.approx(0.0)


@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_subsets_are_evenly_spread_and_have_each_clip_as_often(n: int) -> None:
    for k in range(1, n + 1):
        found = subsets(n, k)
        assert len({tuple(some) for some in found}) == len(found)
        assert all(len(set(some)) == k and some == sorted(some) for some in found)
        assert len(set(np.bincount(np.concatenate(found), minlength=n).tolist())) == 1
        gaps = [{(b - a) % n for a, b in zip(some, some[1:] + some[:1], strict=True)} for some in found]
        assert k == 1 or all(max(gap) - min(gap) <= 1 for gap in gaps)


@pytest.mark.parametrize("how", ["probabilities", "logits"])
@pytest.mark.parametrize(("clips", "crops"), [(1, 1), (4, 3), (3, 1), (1, 3)])
def test_accuracy_by_views_equals_averaging_fewer_views(clips: int, crops: int, how: str) -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 4, (1100,), generator=generator)  # more than are processed together
    logits = 3 * torch.randn(1100, clips * crops, 4, generator=generator)
    logits[torch.arange(1100), :, labels] += 1
    found = accuracy_by_views(logits, labels, clips, crops, how)
    expected = [(k, crops) for k in range(1, clips + 1)] + [(clips, k) for k in range(1, crops)]
    assert [(row["clips"], row["crops"]) for row in found] == expected
    grid = logits.unflatten(1, (clips, crops))
    for row in found:
        C, M = row["clips"], row["crops"]
        top1 = []
        for some in subsets(clips, C):
            for others in subsets(crops, M):
                views = grid[:, some][:, :, others].flatten(1, 2)
                top1.append((average_views(views, how).argmax(1) == labels).double().mean().item())
        assert row["views"] == C * M and row["subsets"] == len(top1)
        assert (row["top1"], row["lowest"], row["highest"]) == tuple(
            pytest.approx(value) for value in (np.mean(top1), min(top1), max(top1))
        )
    assert clips == 1 or found[0]["top1"] < found[clips - 1]["top1"] - 0.02
