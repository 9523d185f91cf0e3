"""hitagu_lib/prepare/annotations.py"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import pytest
from media_fixtures import jpeg

from hitagu_lib.cli.main import main
from hitagu_lib.data.clip_list import read_classes, read_list
from hitagu_lib.errors import ListError
from hitagu_lib.prepare.annotations import (
    Annotation,
    find_folder,
    index_kinetics700,
    index_ssv2,
    read_kinetics700,
    read_ssv2,
    read_ssv2_labels,
)

HEADER = "label,youtube_id,time_start,time_end,split\n"
JPEG = jpeg()


def frames(folder: Path, count: int = 2) -> Path:
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        (folder / f"{number:06d}.jpg").write_bytes(JPEG)
    return folder


def kinetics(folder: Path, *rows: str, header: str = HEADER) -> Path:
    file = folder / "official.csv"
    file.write_text(header + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return file


def ssv2(folder: Path, records: object, labels: object | None = None) -> tuple[Path, Path]:
    files = folder / "official.json", folder / "labels.json"
    files[0].write_text(json.dumps(records, indent=0), encoding="utf-8")
    files[1].write_text(json.dumps(labels or {"Closing something": "1", "Stacking number of something": "0"}))
    return files


def manifest(file: Path) -> list[list[str]]:
    with open(file, newline="") as stream:
        return list(csv.reader(stream))


def test_the_list_may_not_be_called_as_its_labels(tmp_path: Path) -> None:
    file = kinetics(tmp_path, "jumping,-_aB3_5x_9Q,7,17,train")
    frames(tmp_path / "frames" / "-_aB3_5x_9Q")
    with pytest.raises(ListError, match=r"classes\.txt: expected another name for the list"):
        index_kinetics700(file, tmp_path / "frames", tmp_path / "classes.txt")
    assert not (tmp_path / "classes.txt").exists()


# Kinetics-700


@pytest.mark.parametrize("clip", ["-_aB3_5x_9Q_7_17", "-_aB3_5x_9Q_000007_000017", "-_aB3_5x_9Q"])
@pytest.mark.parametrize("folder", ["", "playing piano (well)/", "playing_piano_(well)/"])
def test_every_layout_in_use_is_found(tmp_path: Path, folder: str, clip: str) -> None:
    frames(tmp_path / "frames" / f"{folder}{clip}", 3)
    frames(tmp_path / "frames" / f"{folder}__________1_2_12")
    file = kinetics(tmp_path, "playing piano (well),-_aB3_5x_9Q,7,17,train", "yawning,__________1,2,12,train")
    report = index_kinetics700(file, tmp_path / "frames", tmp_path / "train.csv")
    rows = [f"{folder}{clip},0,3\n", f"{folder}__________1_2_12,1,2\n"]
    if folder:  # the second clip lies in the first one's class folder: not its own
        assert [(clip.line, clip.kind) for clip in report.unlisted] == [(3, "missing")]
        assert "of another class" in report.unlisted[0].what
        rows.pop()
    assert (tmp_path / "train.csv").read_text() == "".join(rows)
    assert read_classes(tmp_path / "classes.txt") == ("playing piano (well)", "yawning")


def test_only_their_times_tell_clips_of_one_video_apart(tmp_path: Path) -> None:
    root = tmp_path / "frames"
    frames(root / "6sYu45RK454_000022_000032", 4)
    frames(root / "6sYu45RK454", 9)
    frames(root / "QMg_G7HPNLE", 5)
    file = kinetics(
        tmp_path,
        "playing piano,6sYu45RK454,22,32,validate",
        "playing keyboard,6sYu45RK454,45,55,validate",
        "sneezing,QMg_G7HPNLE,0,5,validate",
    )
    report = index_kinetics700(file, root, tmp_path / "val.csv")
    assert (tmp_path / "val.csv").read_text() == "6sYu45RK454_000022_000032,1,4\nQMg_G7HPNLE,2,5\n"
    assert [(clip.line, clip.key, clip.kind) for clip in report.unlisted] == [(3, "6sYu45RK454_45_55", "ambiguous")]
    assert "6sYu45RK454 could be any of 2 clips of this video" in report.unlisted[0].what


def test_missing_and_faulty_clips_go_to_the_manifest_and_not_to_the_list(tmp_path: Path) -> None:
    root, out = tmp_path / "frames", tmp_path / "lists" / "train.csv"
    frames(root / "good0000000_0_10", 3)
    (frames(root / "gap00000000_0_10", 3) / "000002.jpg").unlink()
    (root / "empty000000_0_10").mkdir()
    for name in ("twice000000_0_10", "twice000000_000000_000010", "again000000", "both0000000_0_10"):
        frames(root / name)
    (root / "file0000000_0_10").write_text("a file, not a folder")
    rows = [
        f"a,{name.ljust(11, '0')},0,10,train" for name in ("gone", "gap", "empty", "twice", "again", "again", "both")
    ]
    file = kinetics(tmp_path, *rows, "b,both0000000,0,10,train", "b,good0000000,0,10,train", "b,file0000000,0,10,train")
    report = index_kinetics700(file, root, out)
    assert out.read_text() == "again000000,0,2\ngood0000000_0_10,1,3\n"
    assert report.listed == 2
    assert report.manifest == out.parent / "train.missing.csv"
    header, *found = manifest(report.manifest)
    assert header == ["line", "key", "reason"]
    assert [row[:2] for row in found] == [[str(clip.line), clip.key] for clip in report.unlisted]
    assert {int(line): reason for line, _, reason in found} == {
        2: "missing: no folder gone0000000_0_10 or gone0000000_000000_000010 or gone0000000",
        3: "faulty: gap00000000_0_10: 000002.jpg is missing, expected 000001.jpg, 000002.jpg ... without gaps and nothing else",
        4: "faulty: empty000000_0_10: an empty folder, expected frames from 000001.jpg",
        5: "ambiguous: found twice000000_0_10 and twice000000_000000_000010, expected one folder",
        7: "duplicate: the clip of line 6 again",
        8: "ambiguous: labelled 'a' in line 8, 'b' in 9",
        9: "ambiguous: labelled 'a' in line 8, 'b' in 9",
        11: "missing: no folder file0000000_0_10 or file0000000_000000_000010 or file0000000",
    }
    file = kinetics(tmp_path, "a,again000000,0,10,train", "b,good0000000,0,10,train")
    assert index_kinetics700(file, root, out).unlisted == []
    assert not report.manifest.exists()  # written by the earlier run
    assert sorted(path.name for path in out.parent.iterdir()) == ["classes.txt", "train.csv"]


def test_validation_takes_the_training_classes_and_paths_may_start_above_the_frames(tmp_path: Path) -> None:
    root = tmp_path / "frames" / "val"
    frames(root / "running" / "abcdefghijk_1_11")
    (tmp_path / "classes.txt").write_text("jumping\nrunning\n")
    options = {"classes": tmp_path / "classes.txt", "relative_to": tmp_path}
    file = kinetics(tmp_path, "running,abcdefghijk,1,11,validate")
    index_kinetics700(file, root, tmp_path / "val.csv", **options)
    assert (tmp_path / "val.csv").read_text() == "frames/val/running/abcdefghijk_1_11,1,2\n"
    assert read_list(tmp_path / "val.csv", tmp_path).frames_dir(0) == root / "running" / "abcdefghijk_1_11"
    with pytest.raises(ListError, match=r"classes\.txt:1: found 2 classes already"):  # its own classes differ
        index_kinetics700(file, root, tmp_path / "val.csv")
    file = kinetics(tmp_path, "runing,abcdefghijk,1,11,validate")
    with pytest.raises(ListError, match=r"official\.csv:2: found label 'runing', expected one of .*nearest: 'running'"):
        index_kinetics700(file, root, tmp_path / "val.csv", **options)


def test_a_second_column_of_labels_is_refused(tmp_path: Path) -> None:
    file = kinetics(tmp_path, "a,abcdefghijk,0,10,train,b", header="label,youtube_id,time_start,time_end,split,label\n")
    with pytest.raises(ListError, match=r"official\.csv:1: found 2 columns 'label' in 'label,youtube_id,"):
        read_kinetics700(file)


def test_a_test_split_is_only_for_prediction(tmp_path: Path) -> None:
    root, out = tmp_path / "frames", tmp_path / "test.csv"
    frames(root / "a_class" / "---v8pgm1eQ_0_10")
    frames(root / "---v8pgm1eQ_000005_000015")
    file = kinetics(
        tmp_path, "---v8pgm1eQ,0,10,test", "---v8pgm1eQ,5,15,test", header="youtube_id,time_start,time_end,split\n"
    )
    with pytest.raises(
        ListError, match=r"official\.csv:2: found no label, expected label,youtube_id,.*--allow-unlabelled"
    ):
        index_kinetics700(file, root, out)
    with pytest.raises(ListError, match="found no labels; name the training list's classes"):
        index_kinetics700(file, root, out, allow_unlabelled=True)
    assert not out.exists()
    (tmp_path / "classes.txt").write_text("a class\nb\n")
    index_kinetics700(file, root, out, classes=tmp_path / "classes.txt", allow_unlabelled=True)
    assert out.read_text() == "a_class/---v8pgm1eQ_0_10,-1,2\n---v8pgm1eQ_000005_000015,-1,2\n"
    with pytest.raises(ListError, match=r"test\.csv:1: found label '-1'.*for prediction, not to train or validate on"):
        read_list(out, root)
    clips = read_list(out, root, allow_unlabelled=True)
    assert clips.labels.tolist() == [-1, -1]


def test_blanks_make_no_second_class_and_a_warning_names_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "frames"
    frames(root / "riding a bike" / "abcdefghij1_0_10")
    frames(root / "riding_a_bike " / "abcdefghij2_0_10")  # a folder named by the label as the file has it
    for number in range(3, 6):
        frames(root / f"abcdefghij{number}_0_10")
    labels = ["riding a bike", "riding a bike ", "riding  a bike", "riding\u00a0a bike", "riding a bike "]
    file = kinetics(tmp_path, *(f"{label},abcdefghij{i},0,10,train" for i, label in enumerate(labels, start=1)))
    report = index_kinetics700(file, root, tmp_path / "train.csv")
    assert read_classes(tmp_path / "classes.txt") == ("riding a bike",) and report.unlisted == []
    assert read_list(tmp_path / "train.csv", root).labels.tolist() == [0] * 5
    assert [record.getMessage() for record in caplog.records] == [
        f"{file}:3 and 1 more lines: label 'riding a bike ' is taken as 'riding a bike'",
        f"{file}:4: label 'riding  a bike' is taken as 'riding a bike'",
        f"{file}:5: label 'riding\\xa0a bike' is taken as 'riding a bike'",
    ]
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "classes.txt").write_text("riding a bike \nyawning\n")  # given classes may have blanks too
    classes = tmp_path / "own" / "classes.txt"
    assert index_kinetics700(file, root, tmp_path / "own" / "train.csv", classes=classes).listed == 5


def test_the_odd_kinetics_file_has_one_class(shared_data: Path) -> None:
    file = shared_data / "odd" / "kinetics_trailing_blank.csv"
    if not file.exists():
        pytest.skip(f"{file} is not there")
    assert {clip.label for clip in read_kinetics700(file)} == {"abseiling"}


@pytest.mark.parametrize("other", ["Abseiling", "ABSEILING"])
def test_labels_that_differ_only_in_case_are_refused_unless_the_classes_are_given(tmp_path: Path, other: str) -> None:
    frames(tmp_path / "frames" / "abcdefghijk_0_10")
    file = kinetics(tmp_path, "abseiling,abcdefghijk,0,10,train", f"{other},abcdefghij2,0,10,train")
    message = (
        rf"csv:3: found label '{other}', which is 'abseiling' of line 2 in another spelling.*--classes classes\.txt"
    )
    with pytest.raises(ListError, match=message):
        index_kinetics700(file, tmp_path / "frames", tmp_path / "train.csv")
    (tmp_path / "classes.txt").write_text(f"abseiling\n{other}\n")
    classes = tmp_path / "classes.txt"
    assert index_kinetics700(file, tmp_path / "frames", tmp_path / "train.csv", classes=classes).listed == 1


def test_accents_composed_and_decomposed_are_one_label(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    file = kinetics(tmp_path, "caf\u00e9,abcdefghijk,0,10,train", "cafe\u0301,abcdefghij2,0,10,train")
    with pytest.raises(ListError, match="in another spelling; expected one spelling of each class"):
        index_kinetics700(file, tmp_path / "frames", tmp_path / "train.csv")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets names be any bytes")
def test_a_name_that_is_not_utf8_never_gets_into_a_list(tmp_path: Path) -> None:
    odd = tmp_path / b"caf\xe9".decode("utf-8", "surrogateescape") / "frames"
    frames(odd / "abcdefghijk_0_10")
    file = kinetics(tmp_path, "a,abcdefghijk,0,10,train")
    with pytest.raises(ListError, match="its name is not UTF-8; rename it"):
        index_kinetics700(file, odd, tmp_path / "train.csv", relative_to=tmp_path)
    assert not (tmp_path / "train.csv").exists()
    index_kinetics700(file, odd, tmp_path / "train.csv")  # the list's paths do not have the odd name
    assert read_list(tmp_path / "train.csv", odd).path(0) == "abcdefghijk_0_10"


BAD_KINETICS = {
    "no header": ("", "a,abcdefghijk,0,10,train", 1, "found no column 'youtube_id' in 'a,abcdefghijk,0,10,train', expected"),
    "no times": ("label,youtube_id,split\n", "a,abcdefghijk,train", 1, "found no column 'time_start' in 'label,youtube_id,split'"),
    "a time that is a word": (HEADER, "a,abcdefghijk,zero,10,train", 2, "found time_start 'zero', expected a whole number"),
    "an empty time": (HEADER, "a,abcdefghijk,0,,train", 2, "found time_end '', expected a whole number of seconds"),
    "a time below zero": (HEADER, "a,abcdefghijk,-1,10,train", 2, "found time_start '-1'"),
    "half a second": (HEADER, "a,abcdefghijk,0.5,10,train", 2, "found time_start '0.5'"),
    "an end before the start": (HEADER, "a,abcdefghijk,20,10,train", 2, "found time_end 10, expected no less than time_start 20"),
    "an id that Excel calculated": (HEADER, "a,#NAME?,0,10,train", 2, "found youtube_id '#NAME\\?', expected letters"),
    "an id that climbs": (HEADER, "a,../../etc,0,10,train", 2, "found youtube_id"),
    "no id": (HEADER, "a,,0,10,train", 2, "found youtube_id ''"),
    "no label": (HEADER, " ,abcdefghijk,0,10,train", 2, "found label ' ', expected a line of text"),
    "a label of two lines": (HEADER, '"a\nb",abcdefghijk,0,10,train', 2, "expected a line of text"),
    "too few fields": (HEADER, "a,abcdefghijk,0,10", 2, "found 4 fields, expected 5 as in the header"),
    "an unquoted comma": (HEADER, "a, b,abcdefghijk,0,10,train", 2, "found 6 fields, expected 5"),
    "an open quote": (HEADER, '"a,abcdefghijk,0,10,train', 2, "not a row of CSV.*expected label,youtube_id"),
}  # fmt: skip


@pytest.mark.parametrize(("header", "row", "line", "message"), BAD_KINETICS.values(), ids=BAD_KINETICS.keys())
def test_a_bad_kinetics_row_is_named(tmp_path: Path, header: str, row: str, line: int, message: str) -> None:
    file = kinetics(tmp_path, row, header=header)
    with pytest.raises(ListError, match=message) as caught:
        read_kinetics700(file)
    assert str(caught.value).startswith(f"{file}:{line}: ")


def test_kinetics_files_saved_by_other_programs_are_read(tmp_path: Path) -> None:
    file = tmp_path / "pandas.csv"
    file.write_bytes(b'\xef\xbb\xbfyoutube_id, time_start,time_end,label,is_cc\r\n\r\n-a,84.0,94.0,"so, so",1\r\n')
    assert read_kinetics700(file) == [Annotation(3, "-a", "so, so", (84, 94))]
    with pytest.raises(ListError, match="found no rows"):
        read_kinetics700(kinetics(tmp_path))
    with pytest.raises(ListError, match=r"none\.csv: cannot read"):
        read_kinetics700(tmp_path / "none.csv")


def test_times_of_six_digits_have_one_spelling() -> None:
    clip = Annotation(2, "abcdefghijk", "a", (100000, 100010))
    assert find_folder(clip, {"abcdefghijk_100000_100010": ["abcdefghijk_100000_100010"]}, 1) == clip.names[0]


def test_nothing_is_written_without_clips_or_over_the_input(tmp_path: Path) -> None:
    root = tmp_path / "frames"
    frames(root / "train" / "abcdefghijk_0_10")  # one level too deep
    file = kinetics(tmp_path, "a,abcdefghijk,0,10,train")
    with pytest.raises(ListError, match=r"found the frames of none of the 1 clips.*of line 2: missing: no folder abc"):
        index_kinetics700(file, root, tmp_path / "train.csv")
    with pytest.raises(ListError, match="no such folder"):
        index_kinetics700(file, tmp_path / "nowhere", tmp_path / "train.csv")
    with pytest.raises(ListError, match=r"official\.csv: is to be read, so the list cannot go there"):
        index_kinetics700(file, root / "train", file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames", "official.csv"]
    assert file.read_text() == f"{HEADER}a,abcdefghijk,0,10,train\n"


# Something-Something V2


def test_ssv2_labels_keep_the_official_index(tmp_path: Path) -> None:
    root, out = tmp_path / "frames", tmp_path / "train.csv"
    frames(root / "78", 4)
    frames(root / "9", 2)
    records = [
        {"id": "78", "label": "closing box", "template": "Closing [something]", "placeholders": ["box"]},
        {"id": "5", "label": "closing jar", "template": "Closing [something]", "placeholders": ["jar"]},
        {"id": "9", "template": "Stacking [number of] [something]"},
    ]
    report = index_ssv2(*ssv2(tmp_path, records), root, out)
    assert out.read_text() == "78,1,4\n9,0,2\n"
    assert read_classes(tmp_path / "classes.txt") == ("Stacking number of something", "Closing something")
    assert manifest(report.manifest) == [["line", "key", "reason"], ["10", "5", "missing: no folder 5"]]
    assert (tmp_path / "official.json").read_text().splitlines()[9] == "{"  # where the record begins


def test_the_ssv2_test_split_is_only_for_prediction(tmp_path: Path) -> None:
    root, out = tmp_path / "frames", tmp_path / "test.csv"
    frames(root / "1420")
    files = ssv2(tmp_path, [{"id": "1420"}])
    with pytest.raises(ListError, match=r"official\.json:2: found no template for id '1420'.*--allow-unlabelled"):
        index_ssv2(*files, root, out)
    index_ssv2(*files, root, out, allow_unlabelled=True)
    assert out.read_text() == "1420,-1,2\n"
    assert len(read_classes(tmp_path / "classes.txt")) == 2


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({"id": "1"}, r'json: found {"id": "1"}, expected a list'),
        ([], "json: found no records"),
        (["1"], r'json:2: found "1", expected {"id"'),
        ([{"id": "1", "template": "x"}, {"template": "x"}], r'json:6: found {"template": "x"}, expected {"id"'),
        ([{"id": 1, "template": "x"}], r'json:2: found {"id": 1, '),
        ([{"id": "../1", "template": "x"}], r"json:2: found "),
        ([{"id": "1", "template": ["x"]}], r'json:2: found template \["x"\], expected text'),
        ([{"id": "1", "template": "Close [something]"}],
         r"json:2: found label 'Close something', expected one of the 2 labels in .*nearest: 'Closing something'"),
    ],
)  # fmt: skip
def test_a_bad_ssv2_record_is_named(tmp_path: Path, records: object, message: str) -> None:
    (tmp_path / "frames").mkdir()
    with pytest.raises(ListError, match=message):
        index_ssv2(*ssv2(tmp_path, records), tmp_path / "frames", tmp_path / "train.csv")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a"], r'labels\.json: found \["a"\], expected {"label": "index"'),
        ({"a": "0", "b": "2"}, "found index \"2\" for 'b', expected each index from 0 to 1 once"),
        ({"a": "0", "b": "0"}, "found index \"0\" for 'b'"),
        ({"a": "-1"}, 'found index "-1"'),
        ({"a": None}, "found index null"),
        ({"a\nb": "0"}, "found label 'a\\\\nb', expected a line of text"),
        ({"a b": "0", "a  b ": "1"}, "found labels 'a b' and 'a  b ', the same but for blanks; expected one of them"),
    ],
)
def test_bad_ssv2_labels_are_named(tmp_path: Path, labels: object, message: str) -> None:
    with pytest.raises(ListError, match=message):
        read_ssv2_labels(ssv2(tmp_path, [], labels)[1])


def test_json_that_cannot_be_read_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "train.json"
    with pytest.raises(ListError, match=r"train\.json: cannot read this file: No such file"):
        read_ssv2(file)
    file.write_text('[{"id": "1", "template": "x"},\n{"id": "2" "template": "x"}]')
    with pytest.raises(ListError, match=r"train\.json:2: not JSON: Expecting ',' delimiter at column 12"):
        read_ssv2(file)
    file.write_bytes(b'[{"id": "1",\n"template": "\xff"}]')
    with pytest.raises(ListError, match=r"train\.json:2: found byte 0xff, expected text in UTF-8"):
        read_ssv2(file)
    file.write_text(
        '\ufeff[{"id": "1", "template": "a]\\n[b"},{"id": "2", "template": "x"}  ,\n\n {"id": "3", "template": "y"}]'
    )
    assert [(clip.line, clip.video, clip.label) for clip in read_ssv2(file)] == [
        (1, "1", "a\nb"),
        (1, "2", "x"),
        (3, "3", "y"),
    ]


# The official excerpts


def test_the_kinetics_excerpts(shared_data: Path, tmp_path: Path) -> None:
    file = shared_data / "annotations" / "kinetics700_validate_excerpt.csv"
    clips = read_kinetics700(file)
    with open(file, newline="") as stream:
        official = list(csv.DictReader(stream))
    assert [(clip.label, clip.video) for clip in clips] == [(row["label"], row["youtube_id"]) for row in official]
    assert len({clip.key for clip in clips}) == len(clips) > len({clip.video for clip in clips})
    root, gone = tmp_path / "frames", clips[3]
    for i, clip in enumerate(clips):
        assert clip.label is not None
        if clip is not gone:
            frames(root / ("", clip.label, clip.label.replace(" ", "_"))[i % 3] / clip.names[i % 2], 1)
    report = index_kinetics700(file, root, tmp_path / "val.csv")
    assert [(clip.line, clip.key, clip.kind) for clip in report.unlisted] == [(5, gone.key, "missing")]
    listed = read_list(tmp_path / "val.csv", root)
    assert len(listed) == report.listed == len(clips) - 1
    by_key = {clip.key: clip for clip in clips}
    for i in range(len(listed)):
        video, start, end = listed.path(i).rpartition("/")[2].rsplit("_", 2)
        assert by_key[f"{video}_{int(start)}_{int(end)}"].label == listed.classes[listed.labels[i]]

    test = shared_data / "annotations" / "kinetics700_test_excerpt.csv"
    with pytest.raises(ListError, match="found no label, expected label,youtube_id"):
        read_kinetics700(test)
    unlabelled = read_kinetics700(test, allow_unlabelled=True)
    assert len(unlabelled) == 20
    assert unlabelled[0] == Annotation(2, "---v8pgm1eQ", None, (0, 10))


def test_the_ssv2_excerpts(shared_data: Path, tmp_path: Path) -> None:
    official = shared_data / "annotations"
    labels = official / "something-something-v2-labels.json"
    names = read_ssv2_labels(labels)
    assert len(names) == 174
    assert (names[86], names[87]) == ("Pulling something from left to right", "Pulling something from right to left")
    file = official / "something-something-v2-validation_excerpt.json"
    clips = read_ssv2(file)
    assert {clip.label for clip in clips} <= set(names)  # whatever the placeholders are called
    assert "Taking one of many similar things on the table" in {clip.label for clip in clips}
    text = file.read_text().splitlines()
    for clip in clips:
        assert text[clip.line - 1 : clip.line + 1] == ["{", f'"id": "{clip.video}",']
        frames(tmp_path / "frames" / clip.video, 1)
    report = index_ssv2(file, labels, tmp_path / "frames", tmp_path / "val.csv")
    assert (report.listed, report.unlisted) == (len(clips), [])
    listed = read_list(tmp_path / "val.csv", tmp_path / "frames")
    assert [listed.classes[label] for label in listed.labels] == [clip.label for clip in clips]
    test = official / "something-something-v2-test_excerpt.json"
    assert {clip.label for clip in read_ssv2(test, allow_unlabelled=True)} == {None}


# The command


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out, classes = tmp_path / "frames", tmp_path / "train.csv", tmp_path / "classes.txt"
    frames(root / "abcdefghijk_0_10")
    file = kinetics(tmp_path, "a,abcdefghijk,0,10,train", "a,-bcdefghijk,0,10,train")
    command = ["index", "kinetics700", "--annotations", str(file), "--frames", str(root), "--out", str(out)]
    assert main(command) == 1
    said = capsys.readouterr()
    assert said.out == f"{out}: 1 clips; labels in {classes}\n"
    assert said.err.startswith(f"{file}:3: -bcdefghijk_0_10: missing: no folder -bcdefghijk_0_10 or ")
    assert said.err.endswith(f"hitagu: 1 of 2 clips not listed (1 missing), see {tmp_path / 'train.missing.csv'}\n")
    frames(root / "-bcdefghijk")
    assert main([*command, "--classes", str(classes), "--relative-to", str(tmp_path)]) == 0
    assert out.read_text() == "frames/abcdefghijk_0_10,0,2\nframes/-bcdefghijk,0,2\n"
    file.write_text(HEADER)
    assert main(command) == 2
    assert "found no rows" in capsys.readouterr().err

    shutil.rmtree(root)
    classes.unlink()
    frames(root / "1420")
    records, labels = ssv2(tmp_path, [{"id": "1420"}])
    command = ["index", "ssv2", "--annotations", str(records), "--labels", str(labels), "--frames", str(root)]
    assert main([*command, "--out", str(out)]) == 2
    assert main([*command, "--out", str(out), "--allow-unlabelled"]) == 0
    check = ["index", "--check", str(out), "--root", str(root)]
    assert main(check) == 2
    assert main([*check, "--allow-unlabelled"]) == 0
    capsys.readouterr()
    for wrong, message in (
        (["index", "--out", "o.csv"], "Missing option '--root'"),
        (["index", "--root", "f", "--out", "o.csv", "--allow-unlabelled"], "--allow-unlabelled is for --check"),
        (["index", "ssv2", "--annotations", "a"], "Missing option '--frames'"),
        (["index", "ssv2", "--annotations", "a", "--frames", "f"], "Missing option '--out'"),
        (["index", "ssv2", "--annotations", "a", "--frames", "f", "--out", "o.csv"], "Missing option '--labels'"),
        (["index", "kinetics400"], "No such command 'kinetics400'"),
    ):
        with pytest.raises(SystemExit):
            main(wrong)
        assert message in capsys.readouterr().err
