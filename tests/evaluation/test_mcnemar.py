"""hitagu_lib/evaluation/mcnemar.py and `hitagu report compare`."""

import json
from fractions import Fraction
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hitagu_lib.cli.main import main
from hitagu_lib.errors import ConfigError, ListError
from hitagu_lib.evaluation.mcnemar import compare_results, mcnemar

N = 40


def results(folder: Path, right: np.ndarray, rows: np.ndarray | None = None, **other: Any) -> Path:
    """Write the result folder of an evaluation of `rows` of a list of N videos; those that are `right` are classified correctly."""
    rows = np.arange(N) if rows is None else rows
    labels = np.arange(N)[rows] % 3
    scores = np.eye(3, dtype=np.float32)[(labels + ~right[rows]) % 3]
    parts = {
        "rows": rows,
        "labels": labels,
        "paths": np.array([f"val/{row}" for row in rows]),
        "scores": scores,
        "view_logits": scores[:, None],
        "classes": np.array(["a", "b, c", "d"]),
        "clips": 1,
        "crops": 1,
        "average": "logits",
        "listed": N,
    }
    folder.mkdir(parents=True)
    np.savez(folder / "scores.npz", **(parts | other))
    return folder


def of(*parts: tuple[bool, int]) -> np.ndarray:
    return np.concatenate([np.full(n, value) for value, n in parts])


def test_mcnemar_is_twice_the_tail_of_a_fair_coin() -> None:
    for b, c in [(0, 6), (3, 9), (9, 3), (1, 2), (12, 13), (5, 5), (0, 0)]:
        tail = Fraction(sum(comb(b + c, i) for i in range(min(b, c) + 1)), 2 ** (b + c))
        assert mcnemar(b, c) == pytest.approx(float(min(Fraction(1), 2 * tail)))
    assert mcnemar(0, 6) == 0.03125 and mcnemar(0, 0) == 1
    assert 0 < mcnemar(3000, 4000) < 1e-30 and mcnemar(3000, 3010) > 0.8, "as many as a large list has"


def test_two_evaluations_are_compared_video_by_video(tmp_path: Path) -> None:
    a = results(tmp_path / "a", of((True, 20), (False, 20)))
    b = results(tmp_path / "b", of((True, 17), (False, 3), (True, 11), (False, 9)))
    found = compare_results(a, b / "scores.npz")
    assert [found[name] for name in ("both_right", "only_a_right", "only_b_right", "both_wrong")] == [17, 3, 11, 9]
    assert (found["a"]["top1"], found["b"]["top1"], found["difference"]) == (0.5, 0.7, pytest.approx(0.2))
    assert found["p"] == mcnemar(3, 11) and found["videos"] == N
    sd = np.sqrt((14 / N - 0.2**2) / N)  # standard deviation of a mean of -1, 0 and 1
    np.testing.assert_allclose(found["interval"], [0.2 - 1.96 * sd, 0.2 + 1.96 * sd], atol=0.03)
    back = compare_results(b, a)
    assert back["difference"] == pytest.approx(-0.2) and back["p"] == found["p"]


def test_videos_that_only_one_could_read_are_left_out_and_counted(tmp_path: Path) -> None:
    a = results(tmp_path / "a", of((True, N)), np.arange(5, N))
    b = results(tmp_path / "b", of((False, 10), (True, N - 10)), np.arange(N - 2))
    found = compare_results(a, b)
    assert (found["videos"], found["a"]["not_in_b"], found["b"]["not_in_a"]) == (N - 7, 2, 5)
    assert (found["only_a_right"], found["only_b_right"]) == (5, 0)
    with pytest.raises(ListError, match="no video that both scored"):
        compare_results(results(tmp_path / "c", of((True, N)), np.arange(3)), a)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"listed": 41}, "found videos in the list: 41; expected 40 as in .*a/scores.npz"),
        ({"classes": np.array(["a", "b", "d"])}, "found class 1 'b'; expected 'b, c'"),
        ({"classes": np.array(["a", "b, c", "d", "e"])}, "found classes: 4; expected 3"),
        (
            {"paths": np.array([f"val/{row}" for row in [*range(N - 1), 77]])},
            "found video 39 'val/77'; expected 'val/39'",
        ),
        ({"labels": np.arange(N) % 2}, "found 'val/2' labelled 'a'; expected 'd'"),
    ],
)
def test_results_of_another_list_are_refused(tmp_path: Path, other: dict[str, Any], message: str) -> None:
    a, b = results(tmp_path / "a", of((True, N))), results(tmp_path / "b", of((True, N)), **other)
    with pytest.raises(ListError, match=message):
        compare_results(a, b)


def test_a_file_without_results_is_refused(tmp_path: Path) -> None:
    a = results(tmp_path / "a", of((True, N)))
    with pytest.raises(ConfigError, match=r"none/scores.npz|none: no such file; `hitagu evaluate` writes"):
        compare_results(a, tmp_path / "none")
    (tmp_path / "text.npz").write_text("label,videos\n")
    with pytest.raises(ConfigError, match=r"text\.npz: cannot be read as scores\.npz"):
        compare_results(tmp_path / "text.npz", a)
    np.savez(tmp_path / "old.npz", rows=np.arange(3), labels=np.arange(3), scores=np.eye(3))
    with pytest.raises(ConfigError, match=r"old\.npz: found no average, classes, clips, crops, listed, paths; .*again"):
        compare_results(a, tmp_path / "old.npz")


def test_the_command_prints_text_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = results(tmp_path / "a", of((True, 20), (False, 20)))
    b = results(tmp_path / "b", of((True, 17), (False, 3), (True, 11), (False, 9)), np.arange(N - 1))
    assert main(["report", "compare", str(a), str(b)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["A", "51.3%", str(a / "scores.npz")]
    assert shown[2] == "top-1 on the 39 videos that both scored; 1 only A scored"
    assert [line.split() for line in shown[5:7]] == [["A", "right", "17", "3"], ["A", "wrong", "11", "8"]]
    assert "+20.5 points, 95% interval" in shown[8] and "p = 0.0574, from the 14 videos" in shown[9]
    assert main(["report", "compare", str(a), str(b), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == compare_results(a, b)
    assert main(["report", "compare", str(a), str(tmp_path / "c")]) == 2
    assert "no such file" in capsys.readouterr().err
