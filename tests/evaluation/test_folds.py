"""Results of several folds put together: what is counted once, and intervals that know of groups."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hitagu_lib.cli.main import main
from hitagu_lib.errors import ListError
from hitagu_lib.evaluation.folds import (
    Predictions,
    accuracy,
    folds_report,
    grade,
    paired_difference,
    read_groups,
    read_predictions,
)


def results(right: list[int], labels: list[int], first: int = 0) -> Predictions:
    """Videos a/v<first>, ... of which `right` says whether each is classified correctly."""
    paths = [f"a/v{first + i:03}" for i in range(len(right))]
    return Predictions(Path("r"), paths, ["ab"[i] for i in labels], [bool(hit) for hit in right])


def test_folds_are_joined_and_seeds_averaged() -> None:
    folds = [results([1, 0], [0, 1]), results([1, 1, 0], [0, 0, 1], first=2), results([0, 0], [0, 1])]
    graded = grade(folds, {f"a/v{i:03}": f"g{i // 2}" for i in range(5)})
    assert graded.right.tolist() == [0.5, 0, 1, 1, 0]
    found = accuracy(graded)
    assert (found["videos"], found["groups"]) == (5, 3)
    assert found["top1"] == pytest.approx(0.5) and found["mean_class_accuracy"] == pytest.approx((2.5 / 3 + 0) / 2)


def test_an_interval_over_groups_is_wider_where_groups_differ() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(10), 30)
    right = (rng.random(300) < np.linspace(0.1, 0.9, 10)[group]).astype(int)
    one = [results(right.tolist(), [0] * 150 + [1] * 150)]
    of_groups = accuracy(grade(one, {f"a/v{i:03}": str(g) for i, g in enumerate(group)}))["intervals"]["top1"]
    of_videos = accuracy(grade(one))["intervals"]["top1"]
    assert of_groups[0] < of_videos[0] < right.mean() < of_videos[1] < of_groups[1]
    # The standard error of a mean of ten group means, which the bootstrap estimates.
    means = right.reshape(10, 30).mean(1)
    assert (of_groups[1] - of_groups[0]) / 3.92 == pytest.approx(means.std() / np.sqrt(10), rel=0.1)


def test_a_difference_is_paired_by_video() -> None:
    labels, groups = [0, 1] * 20, {f"a/v{i:03}": str(i // 4) for i in range(40)}
    worse, better = grade([results([0, 1] * 20, labels)], groups), grade([results([1, 1] * 20, labels)], groups)
    found = paired_difference(worse, better)
    assert found["difference"] == 0.5 and found["interval"] == [0.5, 0.5]  # each group gains the same
    with pytest.raises(ListError, match="different videos"):
        paired_difference(worse, grade([results([1], [0])], groups))


def test_what_does_not_belong_together_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ListError, match=r"found 'a/v000' as 'b'; expected 'a'"):
        grade([results([1], [0]), results([1], [1])])
    with pytest.raises(ListError, match="found no source of 'a/v001'"):
        grade([results([1, 1], [0, 1])], {"a/v000": "x"})
    (tmp_path / "groups.csv").write_text("video,speaker\n")
    with pytest.raises(
        ListError, match=r"groups\.csv:1: found no column 'source' in 'video,speaker', expected video,source"
    ):
        read_groups(tmp_path / "groups.csv")
    assert main(["report", "folds", str(tmp_path)]) == 2
    assert (
        "predictions.csv: cannot read this file: No such file or directory; expected path,label"
        in capsys.readouterr().err
    )


def test_the_command_reads_what_evaluate_and_split_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sources.csv").write_text(
        "video,source,fold\n" + "".join(f"a/v{i}.mp4,s{i // 2},{i // 4}\n" for i in range(8))
    )
    for name, wrong in (("ours", {7}), ("theirs", {1, 3, 5, 7})):
        for fold in (0, 1):
            folder = tmp_path / name / f"fold{fold}"
            folder.mkdir(parents=True)
            rows = [f"{i},a/v{i},up,{'down' if i in wrong else 'up'},0.9" for i in range(4 * fold, 4 * fold + 4)]
            (folder / "predictions.csv").write_text("\n".join(["row,path,label,predicted,score", *rows]) + "\n")
    ours, theirs = ([str(tmp_path / name / f"fold{k}") for k in (0, 1)] for name in ("ours", "theirs"))
    command = ["report", "folds", *ours, "--groups", str(tmp_path / "sources.csv")]
    assert main([*command, "--against", theirs[0], "--against", theirs[1]]) == 0
    said = capsys.readouterr().out
    assert "8 videos in 4 groups" in said and " 87.5%  top1 (95% interval" in said and "difference +37.5 points" in said
    assert main([*command, "--json"]) == 0
    assert [fold["top1"] for fold in json.loads(capsys.readouterr().out)["folds"]] == [1.0, 0.75]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["0,a/v1,a,a,1", "1,a/v2,a"], r"predictions\.csv:3: found 3 fields, expected 5 as in the header"),
        (["0,a/v1,a,a,1", "1,a/v2,a,a,1,2"], r"predictions\.csv:3: found 6 fields, expected 5 as in the header"),
        (["0,a/v1,a,a,1", "0,a/v1,a,b,1"], r"predictions\.csv: found 2 lines of 1 videos; expected each video once"),
        ([], r"predictions\.csv: found no videos; expected one per line"),
    ],
)
def test_damaged_predictions_are_named(tmp_path: Path, lines: list[str], message: str) -> None:
    (tmp_path / "predictions.csv").write_text("\n".join(["row,path,label,predicted,score", *lines]))
    with pytest.raises(ListError, match=message):
        read_predictions(tmp_path)


def test_predictions_without_a_column_are_named(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_text("row,path,label,score\n0,a/v1,a,1\n")
    message = r"predictions\.csv:1: found no column 'predicted' in 'row,path,label,score', expected path,label,predicted, as in the"
    with pytest.raises(ListError, match=message):
        read_predictions(tmp_path)


@pytest.mark.parametrize("line", ["a/v1.mp4", "a/v1.mp4,", ",s1", "a/v0.mp4,s2"])
def test_damaged_sources_are_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "sources.csv"
    file.write_text(f"video,source\na/v0.mp4,s1\n{line}\n")
    with pytest.raises(ListError, match=r"sources\.csv:3: found "):
        read_groups(file)


def test_other_videos_of_the_same_groups_are_not_compared(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "predictions.csv").write_text(f"row,path,label,predicted,score\n0,a/{name}_1,a,a,1\n")
    groups = tmp_path / "sources.csv"
    groups.write_text("video,source\na/x_1.mp4,s\na/y_1.mp4,s\n")
    with pytest.raises(ListError, match="found evaluations of different videos"):
        folds_report([tmp_path / "x"], [tmp_path / "y"], groups)
