"""Which frames make a clip: exact formulas, bounds, short videos, times."""

import numpy as np
import pytest

from hitagu_lib.data.sampling import clip_indices, clip_times, dense_indices, segment_indices


@pytest.mark.parametrize(
    ("N", "T", "expected"),
    [
        (16, 8, [1, 3, 5, 7, 9, 11, 13, 15]),
        (30, 8, [1, 5, 9, 13, 16, 20, 24, 28]),
        (8, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (3, 8, [0, 0, 0, 1, 1, 2, 2, 2]),
        (1, 4, [0, 0, 0, 0]),
        (100, 1, [50]),
    ],
)
def test_segment_centres(N: int, T: int, expected: list[int]) -> None:
    assert segment_indices(N, T).tolist() == expected


@pytest.mark.parametrize(("N", "T"), [(30, 8), (31, 8), (5, 8), (1, 3), (300, 16)])
def test_random_segments_stay_in_their_segment_and_reach_all_of_it(N: int, T: int) -> None:
    rng = np.random.default_rng(0)
    draws = np.stack([segment_indices(N, T, rng) for _ in range(4000 * max(1, N // T // 8 + 1))])
    for i in range(T):
        first, last = int(np.floor(i * N / T)), int(np.ceil((i + 1) * N / T)) - 1
        assert set(draws[:, i].tolist()) == set(range(first, last + 1))


@pytest.mark.parametrize(
    ("N", "T", "span", "expected"),
    [
        (64, 8, 64, [0, 8, 16, 24, 32, 40, 48, 56]),
        (300, 8, 64, [118, 126, 134, 142, 150, 158, 166, 174]),
        (20, 8, 64, [0, 8, 16, 19, 19, 19, 19, 19]),
        (1, 2, 64, [0, 0]),
    ],
)
def test_dense_window_in_the_middle(N: int, T: int, span: int, expected: list[int]) -> None:
    assert dense_indices(N, T, span).tolist() == expected


def test_random_dense_windows_reach_both_ends_of_the_video() -> None:
    rng = np.random.default_rng(0)
    starts = {int(dense_indices(70, 8, 64, rng)[0]) for _ in range(300)}
    assert starts == set(range(7))


def test_the_strategy_is_chosen_by_name() -> None:
    assert clip_indices(300, 8, "dense", 64).tolist() == dense_indices(300, 8, 64).tolist()
    assert clip_indices(300, 8, "segment", 64).tolist() == segment_indices(300, 8).tolist()


def test_times_are_positions_in_reference_strides() -> None:
    t = clip_times(np.array([0, 4, 4, 10]), 4.0)
    assert t.dtype == np.float32
    assert t.tolist() == [0.0, 1.0, 1.0, 2.5]


@pytest.mark.equation("1.1")
@pytest.mark.parametrize(("N", "T"), [(1, 4), (5, 8), (30, 8), (301, 16)])
def test_segments_equal_the_loop(N: int, T: int) -> None:
    u = np.random.default_rng(3).random(T)
    expected = [int((i + u[i]) * N / T) for i in range(T)]
    assert segment_indices(N, T, np.random.default_rng(3)).tolist() == expected


@pytest.mark.equation("1.2")
@pytest.mark.parametrize(("N", "T", "span"), [(64, 8, 64), (90, 8, 32), (301, 16, 50)])
def test_dense_windows_equal_the_loop(N: int, T: int, span: int) -> None:
    for seed in range(20):
        start = int(np.random.default_rng(seed).integers(N - span + 1))
        expected = [start + i * span // T for i in range(T)]
        assert dense_indices(N, T, span, np.random.default_rng(seed)).tolist() == expected


@pytest.mark.equation("1.3")
def test_times_equal_the_quotients() -> None:
    indices = np.array([0, 3, 7, 28])
    expected = [i / 4.0 for i in indices.tolist()]
    assert clip_times(indices, 4.0).tolist() == expected
