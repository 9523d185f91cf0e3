"""The numbered equations of chapter 4 against loops in exact arithmetic, over odd lengths."""

from fractions import Fraction
from math import comb, floor

import numpy as np
import pytest
import torch

from hitagu_lib.data.sampling import dense_clips, dense_indices, segment_clips, segment_indices
from hitagu_lib.evaluation.mcnemar import mcnemar
from hitagu_lib.evaluation.metrics import calibration
from hitagu_lib.evaluation.multi_view import average_views
from hitagu_lib.evaluation.protocols import Protocol, crop_corners

LENGTHS = (1, 2, 3, 7, 8, 9, 30, 31, 40, 63, 64, 65, 299, 300, 1001)
FRAMES = (1, 2, 3, 8, 16, 33)


@pytest.mark.equation("4.1")
@pytest.mark.parametrize("T", FRAMES)
@pytest.mark.parametrize("N", LENGTHS)
def test_one_clip_takes_the_centres_of_the_segments(N: int, T: int) -> None:
    expected = [floor((Fraction(1, 2) + i) * N / T) for i in range(T)]
    assert segment_indices(N, T).tolist() == expected
    assert segment_clips(N, T, 1).tolist() == [expected]


@pytest.mark.equation("4.2")
@pytest.mark.parametrize("C", [2, 3, 10])
@pytest.mark.parametrize("T", FRAMES)
@pytest.mark.parametrize("N", LENGTHS)
def test_clips_of_segments_go_from_their_first_frames_to_their_last(N: int, T: int, C: int) -> None:
    slack = max(Fraction(0), Fraction(N, T) - 1)
    expected = [[floor(i * Fraction(N, T) + Fraction(c, C - 1) * slack) for i in range(T)] for c in range(C)]
    assert segment_clips(N, T, C).tolist() == expected


@pytest.mark.equation("4.3")
@pytest.mark.parametrize("C", [2, 3, 10])
@pytest.mark.parametrize(("T", "span"), [(1, 64), (8, 64), (16, 64), (8, 8), (33, 64), (3, 7)])
@pytest.mark.parametrize("N", LENGTHS)
def test_windows_are_spread_until_the_last_one_ends_with_the_video(N: int, T: int, span: int, C: int) -> None:
    within = [floor(Fraction(i * span, T)) for i in range(T)]
    starts = [floor(Fraction(c, C - 1) * max(0, N - 1 - within[-1])) for c in range(C)]
    assert dense_clips(N, T, span, C).tolist() == [[min(start + i, N - 1) for i in within] for start in starts]
    centre = floor(Fraction(max(0, N - span), 2))
    assert dense_clips(N, T, span, 1).tolist() == [dense_indices(N, T, span).tolist()]
    assert dense_indices(N, T, span).tolist() == [min(centre + i, N - 1) for i in within]


@pytest.mark.equation("4.4")
@pytest.mark.parametrize("T", FRAMES)
@pytest.mark.parametrize("N", LENGTHS)
def test_tsm_twice_takes_the_centres_and_the_first_frames(N: int, T: int) -> None:
    plan = Protocol("tsm_twice", "segment", 2, 3, 224, 256, T, 64, 8.0)
    centres = [floor((Fraction(1, 2) + i) * N / T) for i in range(T)]
    assert plan.clip_indices(N).tolist() == [centres, [floor(Fraction(i * N, T)) for i in range(T)]]


@pytest.mark.equation("4.5")
@pytest.mark.parametrize("M", [1, 2, 3, 5])
@pytest.mark.parametrize(
    ("H", "W", "S"), [(256, 340, 256), (340, 256, 256), (256, 341, 224), (54, 54, 48), (54, 54, 54)]
)
def test_crops_are_spread_along_the_longer_side(H: int, W: int, S: int, M: int) -> None:
    room, middle = max(H, W) - S, floor(Fraction(min(H, W) - S, 2))
    along = [floor(Fraction(m, M - 1) * room) for m in range(M)] if M > 1 else [floor(Fraction(room, 2))]
    expected = [(place, middle) for place in along] if H > W else [(middle, place) for place in along]
    assert crop_corners(H, W, S, M) == expected


@pytest.mark.equation("4.6")
def test_views_are_averaged_as_probabilities_or_as_logits() -> None:
    logits = torch.randn(5, 6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for video, probabilities, mean in zip(
        logits, average_views(logits, "probabilities"), average_views(logits, "logits"), strict=True
    ):
        V, K = video.shape
        softmax = [[float(np.exp(z[k]) / sum(np.exp(z[j]) for j in range(K))) for k in range(K)] for z in video.numpy()]
        for k in range(K):
            assert float(probabilities[k]) == pytest.approx(sum(row[k] for row in softmax) / V, abs=1e-12)
            assert float(mean[k]) == pytest.approx(sum(float(z[k]) for z in video) / V, abs=1e-12)


@pytest.mark.equation("4.7")
@pytest.mark.parametrize("bins", [1, 5, 15])
def test_calibration_error_is_the_mean_distance_of_accuracy_and_confidence(bins: int) -> None:
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.softmax(3 * torch.randn(200, 6, generator=generator), dim=1)
    labels = torch.randint(6, (200,), generator=generator)
    inside: list[list[tuple[bool, float]]] = [[] for _ in range(bins)]
    for s, y in zip(probabilities.tolist(), labels.tolist(), strict=True):
        inside[min(int(max(s) * bins), bins - 1)].append((s.index(max(s)) == y, max(s)))
    expected = 0.0
    for some in inside:
        if some:
            right, confidence = (sum(column) / len(some) for column in zip(*some, strict=True))
            expected += len(some) / 200 * abs(right - confidence)
    found = calibration(probabilities, labels, bins)
    assert found["expected_calibration_error"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.equation("4.8")
@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (0, 5), (3, 3), (12, 4), (30, 61)])
def test_mcnemar_is_the_chance_of_so_uneven_a_split(only_a: int, only_b: int) -> None:
    n = only_a + only_b
    tail = sum(Fraction(comb(n, j), 2**n) for j in range(min(only_a, n - only_a) + 1))
    assert mcnemar(only_a, only_b) == pytest.approx(float(min(Fraction(1), 2 * tail)), rel=1e-12)
