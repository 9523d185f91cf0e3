"""hitagu_lib/data/clip_list.py"""

from __future__ import annotations

import dataclasses
import pickle
import sys
from pathlib import Path

import pytest
from media_fixtures import jpeg, make_clip
from PIL import Image

from hitagu_lib.data.clip_list import ClipList, read_classes, read_list
from hitagu_lib.errors import ListError
from hitagu_lib.media.frame_folder import count_frames
from hitagu_lib.prepare.check import Problem, check_list


def write_list(folder: Path, text: str | bytes, classes: str = "a\nb\nc\n") -> Path:
    (folder / "classes.txt").write_text(classes, encoding="utf-8")
    file = folder / "train.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return file


# Opening a list


def test_a_list_opens_with_paths_labels_counts_and_lines(tmp_path: Path) -> None:
    file = write_list(tmp_path, 'a/one,0,10\r\n\r\n"b, ""c""/two\nlines",2,4\nc/große/drei,1,7\n')
    clips = read_list(file, tmp_path / "frames")
    assert len(clips) == 3
    assert [clips.path(i) for i in range(3)] == ["a/one", 'b, "c"/two\nlines', "c/große/drei"]
    assert [clips.row(i) for i in range(3)] == [1, 3, 5]  # an empty line counts, and so does one within a path
    assert clips.labels.tolist() == [0, 2, 1]
    assert clips.num_frames.tolist() == [10, 4, 7]
    assert clips.frames_dir(1) == tmp_path / "frames" / 'b, "c"' / "two\nlines"
    assert clips.classes == ("a", "b", "c")
    assert clips.file == file
    for outside in (-1, 3):
        with pytest.raises(IndexError, match=f"asked for clip {outside}, expected 0 to 2"):
            clips.path(outside)


def test_excels_byte_order_mark_is_not_part_of_the_first_path(tmp_path: Path) -> None:
    file = write_list(tmp_path, "a/one,0,10\n".encode("utf-8-sig"))
    assert read_list(file, tmp_path).path(0) == "a/one"


def test_a_list_holds_no_python_object_per_row_and_travels_to_workers(tmp_path: Path) -> None:
    rows = 20_000
    text = "".join(f"a/video number {i:06d},{i % 3},{1 + i % 400}\n" for i in range(rows))
    file = write_list(tmp_path, text)
    read_list(file, tmp_path)  # allocate now what is allocated only once
    before = sys.getallocatedblocks()
    clips = read_list(file, tmp_path)
    assert sys.getallocatedblocks() - before < rows / 10
    for field in dataclasses.fields(ClipList):
        value = getattr(clips, field.name)
        assert field.name in ("file", "root", "classes") or value.dtype != object
    assert [str(array.dtype) for array in (clips.labels, clips.num_frames)] == ["int32", "int32"]
    assert not clips.labels.flags.writeable
    again = pickle.loads(pickle.dumps(clips))
    assert again.path(rows - 1) == f"a/video number {rows - 1:06d}"
    assert again.row(rows - 1) == rows


BAD_ROWS = {
    "too few fields": ("a/one,0", "found 2 fields, expected 3"),
    "one field": ("a/one", "found 1 field, expected 3"),
    "too many fields": ("a/one,0,3,4", "found 4 fields, expected 3"),
    "an unquoted comma": ("a, b/one,0,3", "found 4 fields, expected 3.*double quotes"),
    "label not a number": ("a/one,x,3", "found label 'x', expected an index from 0 to 2"),
    "label a fraction": ("a/one,1.0,3", "found label '1.0', expected"),
    "label with a blank": ("a/one, 1,3", "found label ' 1', expected"),
    "label below the classes": ("a/one,-1,3", "found label '-1', expected an index from 0 to 2, one of the 3 classes"),
    "label above the classes": ("a/one,3,3", "found label '3', expected an index from 0 to 2, one of the 3 classes"),
    "no frames": ("a/one,0,0", "found num_frames '0', expected a whole number of at least 1"),
    "far too many frames": ("a/one,0," + "9" * 5000, "found num_frames '999"),
    "negative frames": ("a/one,0,-3", "found num_frames '-3', expected"),
    "frames not a number": ("a/one,0,ten", "found num_frames 'ten', expected"),
    "frames in other digits": ("a/one,0,٣", "found num_frames '٣', expected"),
    "too many frames": ("a/one,0,99999999999", "found num_frames '99999999999', expected"),
    "an empty path": (",0,3", "found path '', which is empty"),
    "an absolute path": ("/etc/one,0,3", "found path '/etc/one', which is absolute; expected a folder below"),
    "a drive": ("C:/one,0,3", "found path 'C:/one', which is absolute"),
    "a share": ("\\\\host\\one,0,3", "which is absolute"),
    "a path that climbs": ("../one,0,3", "found path '../one', which climbs out with '..'"),
    "a path that climbs later": ("a/../../one,0,3", "which climbs out with '..'"),
    "a path that climbs on Windows": ("a\\..\\..\\one,0,3", "which climbs out with '..'"),
    "a path that only climbs": ("..,0,3", "which climbs out with '..'"),
    "a zero byte": ("a/o\0ne,0,3", "which holds a zero byte"),
    "a stray quote": ('"a"/one,0,3', "not a row of CSV"),
    "an open quote": ('"a/one,0,3', "not a row of CSV"),
}


@pytest.mark.parametrize(("row", "message"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_bad_row_is_named_with_file_and_line(tmp_path: Path, row: str, message: str) -> None:
    file = write_list(tmp_path, f"a/zero,0,3\nb/zero,1,3\n{row}\na/last,0,3\n")
    with pytest.raises(ListError, match=message) as caught:
        read_list(file, tmp_path)
    assert str(caught.value).startswith(f"{file}:3: ")


@pytest.mark.parametrize("path", ["a/..b/c..", "a...b/one", "..a/one", "."])
def test_dots_in_names_do_not_climb(tmp_path: Path, path: str) -> None:
    assert read_list(write_list(tmp_path, f"{path},0,3\n"), tmp_path).path(0) == path


def test_a_header_is_pointed_out(tmp_path: Path) -> None:
    file = write_list(tmp_path, "path,label,num_frames\na/one,0,3\n")
    with pytest.raises(ListError, match=r"train\.csv:1: .*a list has no header"):
        read_list(file, tmp_path)


@pytest.mark.parametrize("label", ["riding a bike", "riding  a bike ", "riding\u00a0a bike"])
def test_a_name_in_place_of_an_index_is_answered_with_its_index(tmp_path: Path, label: str) -> None:
    file = write_list(tmp_path, f"a/one,0,3\na/two,{label},3\n", classes="abseiling\nriding a bike\n")
    with pytest.raises(
        ListError, match=r"train\.csv:2: .*the name of a class, whose index is 1: the second field is the"
    ):
        read_list(file, tmp_path)
    with pytest.raises(
        ListError, match=r"train\.csv:1: .*the name of a class, whose index is 0: the second field is the"
    ):
        read_list(write_list(tmp_path, "a/one,abseiling,3\n", classes="abseiling\nriding a bike\n"), tmp_path)


def test_bytes_that_are_not_utf8_are_named_with_their_line(tmp_path: Path) -> None:
    good = "".join(f"a/{i:06d},0,3\n" for i in range(5000))  # more than one block of the decoder
    file = write_list(tmp_path, good.encode() + "b/groß,1,3\n".encode("latin-1"))
    with pytest.raises(ListError, match=r"train\.csv:5001: found byte 0xdf, which is not UTF-8"):
        read_list(file, tmp_path)


def test_lists_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ListError, match=r"train\.csv: no such list; `hitagu index"):
        read_list(tmp_path / "train.csv", tmp_path)
    file = write_list(tmp_path, "")
    with pytest.raises(ListError, match=r"train\.csv: found no rows"):
        read_list(file, tmp_path)
    with pytest.raises(ListError, match=r"found a folder; expected a list"):
        read_list(tmp_path, tmp_path, tmp_path / "classes.txt")
    (tmp_path / "classes.txt").unlink()
    with pytest.raises(ListError, match=r"classes\.txt: cannot read the classes: No such file.*hitagu index"):
        read_list(file, tmp_path)


# Classes


def test_classes_are_numbered_by_line(tmp_path: Path) -> None:
    file = tmp_path / "classes.txt"
    file.write_bytes("Pushing [something], left\r\nmoving \u2028 on\nçok\n".encode())
    assert read_classes(file) == ("Pushing [something], left", "moving \u2028 on", "çok")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", r"classes\.txt: found no label"),
        (b"a\n\nb\n", r"classes\.txt:2: found an empty line"),
        (b"a\nb\na\n", r"classes\.txt:3: found 'a' again, as in line 1"),
        (b"a\n\xff\n", r"classes\.txt:2: found byte 0xff"),
        (b"a\nb c\n b  c\n", r"classes\.txt:3: found ' b  c' again, as in line 2, 'b c', but for blanks"),
        (b"a\nb c\nb\xc2\xa0c\n", r"classes\.txt:3: found 'b\\xa0c' again, as in line 2, 'b c', but for blanks"),
    ],
)
def test_bad_classes_are_named_with_their_line(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "classes.txt").write_bytes(text)
    with pytest.raises(ListError, match=message):
        read_classes(tmp_path / "classes.txt")


# Checking a list against the disk


@pytest.mark.parametrize("decode", [True, False])
def test_check_names_line_path_and_fault(tmp_path: Path, decode: bool) -> None:
    make_clip(tmp_path / "good", 3)
    make_clip(tmp_path / "few", 2)
    (make_clip(tmp_path / "gap", 4) / "000002.jpg").unlink()
    (tmp_path / "empty").mkdir()
    (make_clip(tmp_path / "zero", 3) / "000003.jpg").write_bytes(b"")
    cut = make_clip(tmp_path / "cut", 3) / "000002.jpg"
    cut.write_bytes(cut.read_bytes()[:-40])
    Image.new("RGB", (20, 20)).save(make_clip(tmp_path / "sizes", 3) / "000003.jpg")
    (make_clip(tmp_path / "text", 3) / "000001.jpg").write_text("no picture")
    names = ["good", "few", "gap", "empty", "zero", "missing", "cut", "sizes", "text", "good"]
    file = write_list(tmp_path, "".join(f"{name},0,3\n" for name in names))
    problems = check_list(read_list(file, tmp_path), decode=decode, workers=2, progress=False)
    found = {problem.path: problem for problem in problems}
    assert [problem.line for problem in problems] == sorted(problem.line for problem in problems)
    assert found["few"] == Problem(2, "few", "found 2 frames from 000001.jpg, expected 3 as the list says")
    assert found["zero"] == Problem(5, "zero", "000003.jpg: found 0 bytes, expected a JPEG; extract it again")
    assert found["missing"] == Problem(6, "missing", "no such folder")
    assert found["empty"].what.startswith("an empty folder")
    gap = [problem.what for problem in problems if problem.path == "gap"]
    assert gap[0].startswith("000002.jpg is missing")
    seen = {"few", "gap", "empty", "zero", "missing"}
    if decode:
        assert found["cut"].line == 7
        assert found["cut"].what.startswith("000002.jpg: cannot be decoded: ")
        assert "16x12 from 000001.jpg, 20x20 from 000003.jpg" in found["sizes"].what
        assert found["text"].what.startswith("000001.jpg: cannot be decoded: ")
        seen |= {"cut", "sizes", "text"}
    assert set(found) == seen


def test_check_finds_a_jpeg_cut_at_any_byte(tmp_path: Path) -> None:
    whole = jpeg(width=40, height=32)
    cuts = range(1, len(whole), 7)
    for at in cuts:
        (tmp_path / str(at)).mkdir()
        (tmp_path / str(at) / "000001.jpg").write_bytes(whole[:at])
    file = write_list(tmp_path, "".join(f"{at},0,1\n" for at in cuts))
    problems = check_list(read_list(file, tmp_path), progress=False)
    assert [problem.path for problem in problems] == [str(at) for at in cuts]


def test_more_frames_than_the_row_says_are_no_problem(tmp_path: Path) -> None:
    make_clip(tmp_path / "a", 5)
    (tmp_path / "a" / "000005.jpg").write_bytes(b"")  # never read
    file = write_list(tmp_path, "a,0,4\n")
    assert check_list(read_list(file, tmp_path), progress=False) == []


def test_frames_are_counted_by_their_names(tmp_path: Path) -> None:
    assert count_frames(make_clip(tmp_path / "a", 12)) == (12, None)
    (tmp_path / "a" / "Thumbs.db").write_bytes(b"")
    assert count_frames(tmp_path / "a") == (12, None)
    (tmp_path / "a" / "000012.jpg").rename(tmp_path / "a" / "000012.jpeg")
    count, fault = count_frames(tmp_path / "a")
    assert count == 11
    assert fault is not None and "found '000012.jpeg'" in fault
