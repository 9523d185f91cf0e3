"""The audit of lists finds every duplicate and every leak, reports each under its kind, and reports nothing else."""

import json
from pathlib import Path

import pytest

from hitagu_lib.cli.main import main
from hitagu_lib.config import DataConfig
from hitagu_lib.prepare.audit import audit_lists, is_clean


def lists(folder: Path, train: list[str], val: list[str], classes: str = "run\nsit\njump\n") -> DataConfig:
    (folder / "classes.txt").write_text(classes)
    for name, rows in (("train.csv", train), ("val.csv", val)):
        (folder / name).write_text("".join(f"{row}\n" for row in rows))
    return DataConfig(root=str(folder), train_list=str(folder / "train.csv"), val_list=str(folder / "val.csv"))


def test_clean_lists_are_counted_and_have_no_findings(tmp_path: Path) -> None:
    report = audit_lists(lists(tmp_path, ["run/a,0,9", "run/b,0,9", "sit/c,1,9"], ["val/run/a,0,9"]))
    train = report["train"]
    assert train["per_class"] == {"run": 2, "sit": 1, "jump": 0} and train["empty_classes"] == ["jump"]
    assert (train["clips"], train["fewest"], train["median"], train["most"]) == (3, 0, 1.0, 2)
    assert is_clean(report), "run/a and val/run/a are two folders, whatever their names"


def test_a_list_may_have_no_labels(tmp_path: Path) -> None:
    report = audit_lists(lists(tmp_path, ["run/a,0,9", "sit/b,1,9"], ["run/a,-1,9"]))
    assert report["val"]["clips"] == 1 and report["val"]["most"] == 0 and not is_clean(report), "run/a is in both"


def test_a_path_twice_in_a_list_is_named_with_its_lines_however_it_is_spelt(tmp_path: Path) -> None:
    report = audit_lists(lists(tmp_path, ["run/a,0,9", "sit/b,1,9", "run//a,1,9", "./run/a/,0,9"], ["run/c,0,9"]))
    (found,) = report["train"]["duplicates"]
    assert found == {"path": "run/a", "lines": [1, 3, 4], "one_label": False}
    assert not report["val"]["duplicates"] and not is_clean(report)


def test_leaks_by_path(tmp_path: Path) -> None:
    report = audit_lists(lists(tmp_path, ["run/a,0,9", "run/b,0,9"], ["run/c,0,9", "run/./b,0,9"]))
    assert report["leakage"]["same_path"] == [{"path": "run/./b", "val_line": 2, "train_line": 2}]
    assert not report["leakage"]["same_clip"] and not report["leakage"]["same_video"] and not is_clean(report)


def test_leaks_of_kinetics_by_id_and_times_and_by_id_alone(tmp_path: Path) -> None:
    one, two, three, dashed = "abcdefghij1", "abcdefghij2", "abcdefghij3", "-_cdefghij4"
    train = [f"train/run/{one}_000001_000011,0,9", f"train/sit/{two}_5_15,1,9", f"train/sit/{dashed}.mp4,1,9"]
    val = [
        f"val/run/{one}_1_11.webm,0,9",  # the same clip, written in another way
        f"val/run/{one}_30_40,0,9",  # another part of the same video
        f"val/sit/{dashed}_3_13,1,9",  # of a video that training has without times
        f"val/sit/{three}_5_15,1,9",
    ]
    report = audit_lists(lists(tmp_path, train, val))
    lines = {kind: [clip["val_line"] for clip in clips] for kind, clips in report["leakage"].items()}
    assert lines == {"same_path": [], "same_clip": [1], "same_video": [2, 3]}


def test_a_clip_of_kinetics_in_two_folders_is_a_duplicate_and_two_parts_of_a_video_are_none(tmp_path: Path) -> None:
    video = "abcdefghij1"
    rows = [f"run/{video}_1_11,0,9", f"sit/{video}_000001_000011,1,9", f"sit/{video}_11_21,1,9"]
    report = audit_lists(lists(tmp_path, rows, ["run/zzzzzzzzzzz_1_11,0,9"]))
    assert [found["lines"] for found in report["train"]["duplicates"]] == [[1, 2]]


def test_names_that_only_resemble_kinetics_are_compared_by_path_only(tmp_path: Path) -> None:
    assert is_clean(audit_lists(lists(tmp_path, ["train/jumping_001,0,9"], ["val/jumping_001,0,9"])))
    mixed = ["train/abcdefghij1_1_11,0,9", "train/short,0,9"]
    assert is_clean(audit_lists(lists(tmp_path, mixed, ["val/abcdefghij1_1_11,0,9"])))


def test_the_command_shows_the_findings_and_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = lists(tmp_path, ["run/a,0,9", "run/a,1,9", "sit/c,1,9"], ["sit/c,1,9"])
    (tmp_path / "p.yaml").write_text(json.dumps({"data": {"train_list": cfg.train_list, "val_list": cfg.val_list}}))
    command = ["report", "lists", "--params", str(tmp_path / "p.yaml")]
    assert main(command) == 1
    shown = capsys.readouterr().out
    assert "1 clips listed more than once, 1 under two labels\n    lines 1, 2: run/a" in shown
    assert "1 the same path\n    line 1, training line 3: sit/c" in shown and "without clips: 'jump'" in shown
    assert main([*command, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["val"]["per_class"] == {"run": 0, "sit": 1, "jump": 0}
    (tmp_path / "val.csv").write_text("sit/d,1,9\n")
    (tmp_path / "train.csv").write_text("sit/c,1,9\n")
    assert main(command) == 0
