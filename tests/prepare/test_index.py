"""hitagu_lib/prepare/index.py"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from media_fixtures import jpeg, make_clip

from hitagu_lib.data.clip_list import read_list
from hitagu_lib.errors import ListError
from hitagu_lib.media.frame_folder import count_frames
from hitagu_lib.prepare.check import check_list
from hitagu_lib.prepare.index import IndexReport, index_frames


def test_index_lists_folders_by_sorted_class_and_reads_back(tmp_path: Path) -> None:
    root = tmp_path / "frames" / "train"
    for name, frames in {"b": 2, 'a, "quoted"': 3}.items():
        make_clip(root / name / "v2", frames)
        make_clip(root / name / "v1", frames)
    make_clip(root / "b" / ".v3.partial-0123456789ab", 1)
    (root / ".cache").mkdir()
    (root / "failed.csv").write_text("video,reason\n")
    (root / "b" / "v1" / ".extract.json").write_text("{}")
    out = tmp_path / "lists" / "train.csv"
    assert index_frames(root, out) == IndexReport(4, out.with_name("train.skipped.csv"))
    assert out.read_text() == '"a, ""quoted""/v1",0,3\n"a, ""quoted""/v2",0,3\nb/v1,1,2\nb/v2,1,2\n'
    assert (out.parent / "classes.txt").read_text() == 'a, "quoted"\nb\n'
    clips = read_list(out, root)
    assert clips.path(0) == 'a, "quoted"/v1'
    assert check_list(clips, progress=False) == []
    assert index_frames(root, out, relative_to=root.parent).clips == 4  # again, with the same classes
    assert read_list(out, root.parent).path(3) == "train/b/v2"
    assert sorted(path.name for path in out.parent.iterdir()) == ["classes.txt", "train.csv"]
    with pytest.raises(ListError, match="not below"):
        index_frames(root, out, relative_to=tmp_path / "lists")


def test_index_of_validation_uses_the_training_classes(tmp_path: Path) -> None:
    make_clip(tmp_path / "train" / "jumping" / "v1")
    make_clip(tmp_path / "train" / "running" / "v1")
    make_clip(tmp_path / "val" / "running" / "v9")
    (tmp_path / "val" / "jumping").mkdir()  # a class may be absent where the classes are given
    index_frames(tmp_path / "train", tmp_path / "train.csv")
    classes = tmp_path / "classes.txt"
    with pytest.raises(ListError, match=r"a class folder without videos"):
        index_frames(tmp_path / "val", tmp_path / "val.csv")
    assert index_frames(tmp_path / "val", tmp_path / "val.csv", classes=classes).clips == 1
    assert (tmp_path / "val.csv").read_text() == "running/v9,1,3\n"
    index_frames(tmp_path / "val", tmp_path / "elsewhere" / "val.csv", classes=classes)
    assert (tmp_path / "elsewhere" / "classes.txt").read_text() == "jumping\nrunning\n"

    make_clip(tmp_path / "val" / "runing" / "v1")
    with pytest.raises(ListError, match=r"'runing' \(nearest: 'running'\)"):
        index_frames(tmp_path / "val", tmp_path / "val.csv", classes=classes)
    assert (tmp_path / "val.csv").read_text() == "running/v9,1,3\n"


def test_a_list_takes_the_place_of_no_folder_and_of_no_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_clip(tmp_path / "frames" / "a" / "v1")
    labels = tmp_path / "labels.csv"
    labels.write_text("a\n")
    monkeypatch.chdir(tmp_path)
    for out, said in ((Path(), "found a folder"), (tmp_path / "frames", "found a folder"), (labels, "is to be read")):
        with pytest.raises(ListError, match=said):
            index_frames(tmp_path / "frames", out, classes=labels)
    assert labels.read_text() == "a\n"
    with pytest.raises(ListError, match="found a folder"):
        read_list(Path(), tmp_path)


def test_the_millionth_frame_has_seven_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "listdir", lambda folder: [f"{n:06d}.jpg" for n in range(1, 1_000_003)])
    assert count_frames(Path("clip")) == (1_000_002, None)


def test_index_never_writes_over_other_classes(tmp_path: Path) -> None:
    make_clip(tmp_path / "train" / "b" / "v1")
    (tmp_path / "classes.txt").write_text("a\nb\n")
    with pytest.raises(ListError, match=r"classes\.txt:1: found 2 classes already.*--classes"):
        index_frames(tmp_path / "train", tmp_path / "train.csv")
    assert (tmp_path / "classes.txt").read_text() == "a\nb\n"
    assert not (tmp_path / "train.csv").exists()


def test_index_names_every_folder_that_is_not_right(tmp_path: Path) -> None:
    root = tmp_path / "train"
    make_clip(root / "a" / "good")
    (make_clip(root / "a" / "gap", 5) / "000003.jpg").unlink()
    (make_clip(root / "a" / "late", 2) / "000001.jpg").unlink()
    (root / "a" / "empty").mkdir()
    (make_clip(root / "a" / "stray") / "img_00001.jpg").write_bytes(jpeg())
    make_clip(root / "b")  # frames without a folder of their own
    with pytest.raises(ListError) as caught:
        index_frames(root, tmp_path / "train.csv")
    message = str(caught.value)
    assert f"{root / 'a' / 'gap'}: 000003.jpg is missing" in message
    assert f"{root / 'a' / 'late'}: 000001.jpg is missing" in message
    assert f"{root / 'a' / 'empty'}: an empty folder" in message
    assert f"{root / 'a' / 'stray'}: found 'img_00001.jpg'" in message
    assert f"{root / 'b'}: holds frames itself; is {root} one level too deep?" in message
    assert "good" not in message
    assert not (tmp_path / "train.csv").exists()
    assert not (tmp_path / "classes.txt").exists()


def test_index_shortens_a_long_list_of_faults(tmp_path: Path) -> None:
    for i in range(14):
        (tmp_path / "train" / "a" / f"v{i:02d}").mkdir(parents=True)
    with pytest.raises(ListError, match=r"v09: .*\n  \.\.\. and 4 more$"):
        index_frames(tmp_path / "train", tmp_path / "train.csv")


def test_index_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(ListError, match="no such folder"):
        index_frames(tmp_path / "train", tmp_path / "train.csv")
    (tmp_path / "train").mkdir()
    with pytest.raises(ListError, match="found no class folders"):
        index_frames(tmp_path / "train", tmp_path / "train.csv")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets names be any bytes")
def test_index_refuses_names_that_a_list_cannot_hold(tmp_path: Path) -> None:
    make_clip(tmp_path / "train" / "a" / b"v\xff".decode("utf-8", "surrogateescape"))
    with pytest.raises(ListError, match="its name is not UTF-8"):
        index_frames(tmp_path / "train", tmp_path / "train.csv")
    make_clip(tmp_path / "other" / "two\nlines" / "v1")
    with pytest.raises(ListError, match=r"cannot be a line of classes\.txt"):
        index_frames(tmp_path / "other", tmp_path / "other.csv")


def test_video_files_are_not_taken_for_an_empty_class(tmp_path: Path) -> None:
    make_clip(tmp_path / "frames" / "a" / "1")
    (tmp_path / "frames" / "b").mkdir()
    (tmp_path / "frames" / "b" / "v.mp4").write_bytes(b"")
    with pytest.raises(
        ListError, match=r"frames/b: holds video files; extract their frames, or list them with --source"
    ):
        index_frames(tmp_path / "frames", tmp_path / "train.csv")
