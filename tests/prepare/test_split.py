"""A folder of videos to lists: what a source is, how sources are divided, and the whole way on the command line."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from media_fixtures import ffmpeg, make_video

from hitagu_lib.cli.main import main
from hitagu_lib.data.clip_list import read_list
from hitagu_lib.errors import ConfigError, ExtractError, ListError
from hitagu_lib.prepare.check import check_list
from hitagu_lib.prepare.split import Video, choose_folds, choose_validation, divide, sources, split_videos
from hitagu_lib.prepare.table import TableRow, parse_columns, read_sources, read_table

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("kitchen_001", "kitchen"),
        ("kitchen-2", "kitchen"),
        ("kitchen 3", "kitchen"),
        ("5-0K2CvS1WA_000012_000022", "5-0K2CvS1WA"),  # Kinetics: id, start, end
        ("take2_003", "take2"),
        ("take2", "take2"),
        ("v_Archery_g08_c01", "v_Archery_g08_c01"),
        ("166766", "a/166766"),
        ("0001_0002", "a/0001_0002"),
        ("_3", "a/_3"),
        ("IMG_1234", "a/IMG_1234"),  # a camera's counter: each a recording of its own
        ("PXL_20260105_101010123", "a/PXL_20260105_101010123"),
        ("VID-20260105-WA0001", "VID-20260105-WA0001"),
        ("Küche 2 _ 07", "Küche"),
    ],
)
def test_a_source_is_the_name_without_the_numbers_at_its_end(name: str, source: str) -> None:
    assert sources([f"a/{name}.mp4"]) == {f"a/{name}.mp4": source}


def test_a_rule_or_a_file_says_otherwise(tmp_path: Path) -> None:
    paths = ["a/v_g08_c01.avi", "a/v_g08_c02.avi", "b/w_g09_c01.avi"]
    assert list(sources(paths, group="(g[0-9]+)_c").values()) == ["g08", "g08", "g09"]
    assert list(sources(paths, group="(.*)").values()) == ["v_g08_c01", "v_g08_c02", "w_g09_c01"]
    file = tmp_path / "sources.csv"
    file.write_text("source,note,video\nx,,a/v_g08_c01.avi\ny,,a/v_g08_c02.avi\nx,,b/w_g09_c01.avi\nz,,b/gone.avi\n")
    assert list(sources(paths, groups=file).values()) == ["x", "y", "x"]


@pytest.mark.parametrize(
    ("rule", "error", "said"),
    [
        ({"group": "g[0-9]+"}, ConfigError, "has no group in parentheses"),
        ({"group": "(g"}, ConfigError, "is no regular expression"),
        ({"group": "(h[0-9]+)"}, ListError, r"finds no source in the names of these videos:\n  a/g1\.mp4"),
        ({"groups": "no.csv"}, ListError, "no.csv: cannot read this file: No such file"),
        (
            {"groups": "other.csv"},
            ListError,
            r"other\.csv:1: found no column 'source' in 'video,sauce', expected video,source",
        ),
        (
            {"groups": "empty.csv"},
            ListError,
            r"empty\.csv:2: found 'a/g1\.mp4' and ''; expected a video and its source",
        ),
        ({"groups": "short.csv"}, ListError, r"has no source for these videos, named as here:\n  a/g1\.mp4"),
        ({"group": "(.*)", "groups": "short.csv"}, ConfigError, "found both"),
    ],
)
def test_a_rule_that_cannot_be_followed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: dict, error: type, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.csv").write_text("video,sauce\n")
    Path("empty.csv").write_text("video,source\na/g1.mp4,\n")
    Path("short.csv").write_text("video,source\na/g2.mp4,x\n")
    with pytest.raises(error, match=said):
        sources(["a/g1.mp4"], **rule)


# The division


def some_videos(counts: dict[str, dict[str, int]]) -> list[Video]:
    """class -> source -> clips."""
    return [
        Video(f"{label}/{source}_{i}.mp4", f"{label}/{source}_{i}", label, source)
        for label, of in counts.items()
        for source, n in of.items()
        for i in range(n)
    ]


def shares(videos: list[Video], val: set[str]) -> dict[str, float]:
    total, held = Counter(v.label for v in videos), Counter(v.label for v in videos if v.source in val)
    return {label: held[label] / n for label, n in total.items()}


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_class_gives_about_its_share_and_is_on_both_sides(share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    videos = some_videos({c: {f"{c}{i}": int(rng.integers(1, 6)) for i in range(12)} for c in "abcdefgh"})
    found = shares(videos, choose_validation(videos, share, seed))
    assert all(0 < s < 1 for s in found.values())
    # No class is further off than half of a source of 5 among about 36 clips would take it, and a bit.
    assert np.abs(np.array(list(found.values())) - share).max() < 0.1
    assert abs(np.mean(list(found.values())) - share) < 0.03


def test_sources_of_one_clip_each_are_divided_exactly() -> None:
    videos = some_videos({c: {f"{c}{i}": 1 for i in range(20)} for c in "abc"})
    assert set(shares(videos, choose_validation(videos, 0.25, 0)).values()) == {0.25}


@pytest.mark.parametrize(
    ("sizes", "val"), [((10, 1), {"x1"}), ((5, 5), None), ((1, 1), None), ((9, 10), {"x0"}), ((1, 1, 1, 30), None)]
)
def test_few_sources_still_give_both_sides(sizes: tuple[int, ...], val: set[str] | None) -> None:
    videos = some_videos({"a": {f"x{i}": n for i, n in enumerate(sizes)}, "b": {"y": 3, "z": 1}})
    chosen = choose_validation(videos, 0.25, 0)
    assert all(0 < s < 1 for s in shares(videos, chosen).values())
    assert "x3" not in chosen
    if val:
        assert chosen & {"x0", "x1"} == val


def test_the_seed_decides_and_decides_alone() -> None:
    videos = some_videos({c: {f"{c}{i}": 2 for i in range(20)} for c in "ab"})
    chosen = [choose_validation(videos, 0.25, seed) for seed in (0, 1, 0)]
    assert chosen[0] == chosen[2] == choose_validation(videos[::-1], 0.25, 0) and chosen[0] != chosen[1]


def test_a_source_of_several_classes_stays_whole() -> None:
    videos = some_videos({c: {f"game{i}": 3 for i in range(4)} for c in "abc"})
    assert set(shares(videos, choose_validation(videos, 0.25, 0)).values()) == {0.25}


def test_classes_that_cannot_be_on_both_sides_are_named() -> None:
    with pytest.raises(ListError, match=r"one source only, .*:\n  'b': 7 videos, all of 'x'\n.*--group '\(\.\*\)'"):
        choose_validation(some_videos({"a": {"p": 1, "q": 1}, "b": {"x": 7}}), 0.25, 0)
    # A triangle: of three sources two are on one side, and they are all that one class has.
    tied = some_videos({"a": {"x": 1, "y": 1}, "b": {"y": 1, "z": 1}, "c": {"z": 1, "x": 1}})
    with pytest.raises(ListError, match="found no division that has every class"):
        choose_validation(tied, 0.5, 0)


def test_many_sources_take_seconds() -> None:
    videos = some_videos({f"c{k}": {f"{k}-{i}": 1 + i % 3 for i in range(200)} for k in range(100)})
    started = time.perf_counter()
    choose_validation(videos, 0.2, 0)
    assert time.perf_counter() - started < 10


# The whole way


@pytest.fixture(scope="session")
def made_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of three sources with two clips each; names that paths and lists must stand."""
    root = tmp_path_factory.mktemp("videos")
    for label, source in (("up, and away", "testsrc2"), ("dö wn", "mandelbrot")):
        for name in ("-kitchen", "50 % hall", "gärten"):
            for i in (1, 2):
                frames = 4 + i + len(name) % 3
                make_video(root / label / f"{name}_{i:02d}.mp4", "-ss", str(i / 25), source=source, frames=frames)
            # the three sources differ, or they would be copies of one another
            for i in (1, 2):
                file = root / label / f"{name}_{i:02d}.mp4"
                with file.open("ab") as stream:
                    free = name.encode()
                    stream.write((8 + len(free)).to_bytes(4, "big") + b"free" + free)
    return root


@pytest.fixture
def videos(made_videos: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_videos, tmp_path / "videos"))


def contents(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in ("train.csv", "val.csv", "classes.txt", "sources.csv")}


@pytest.mark.slow
def test_a_folder_of_videos_becomes_lists(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "own"
    command = ["split", "--videos", str(videos), "--out", str(out), "--val-share", "0.3", "--short-side", "24"]
    assert main(command) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1].split()[-4:] == ["4", "(2)", "2", "(1)"] and said[1].startswith("dö wn")
    assert said[-1].startswith(f"{out}: 8 training and 4 validation clips of 2 classes")
    train, val = (read_list(out / f"{side}.csv", out / "frames") for side in ("train", "val"))
    middle = statistics.median([*train.num_frames, *val.num_frames])
    assert (
        f"half of them {middle:g} or more: for 8 frames of a clip (data.num_frames) take data.ref_stride={middle / 8:.2g}"
        in said[-2]
    )
    assert train.classes == val.classes == ("dö wn", "up, and away")
    assert check_list(train, progress=False) == check_list(val, progress=False) == []
    paths = {side: {clips.path(i) for i in range(len(clips))} for side, clips in (("train", train), ("val", val))}
    assert paths["train"] | paths["val"] == {
        p.relative_to(videos).with_suffix("").as_posix() for p in videos.rglob("*.mp4")
    }
    stems = {side: {Path(p).name.rsplit("_", 1)[0] for p in those} for side, those in paths.items()}
    assert not stems["train"] & stems["val"], "no source is on both sides"
    before = contents(out)
    assert main(command) == 0 and contents(out) == before, "again: the same"
    assert main([*command, "--groups", str(out / "sources.csv")]) == 0 and contents(out) == before
    assert main([*command, "--group", "(.*)"]) == 0
    assert contents(out)["sources.csv"].splitlines()[1] == "dö wn/-kitchen_01.mp4,-kitchen_01," + (
        "val" if "kitchen_01" in contents(out)["val.csv"] else "train"
    )


@pytest.mark.slow
def test_frames_that_are_there_are_kept_and_what_failed_is_in_no_list(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "own"
    (videos / "dö wn" / "broken_01.mp4").write_bytes(b"\0no")
    (videos / "dö wn" / "notes.txt").write_text("passed over")
    assert main(["split", "--videos", str(videos), "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert "broken_01.mp4" in said and "1 videos failed and are in neither list" in said
    assert "broken" not in "".join(contents(out).values())
    first = out / "frames" / "dö wn" / "-kitchen_01" / "000001.jpg"
    made = first.stat().st_mtime_ns
    (videos / "dö wn" / "broken_01.mp4").unlink()
    assert main(["split", "--videos", str(videos), "--out", str(out)]) == 0
    assert first.stat().st_mtime_ns == made


@pytest.mark.slow
def test_a_class_that_is_added_later_is_in_the_new_lists(videos: Path, tmp_path: Path) -> None:
    split_videos(videos, tmp_path / "own", progress=False)
    for i, source in enumerate(("smptebars", "rgbtestsrc")):
        make_video(videos / "bars" / f"{source}_{i}.mp4", source=source, frames=2)
    report = split_videos(videos, tmp_path / "own", progress=False)
    assert report.classes == ("bars", "dö wn", "up, and away")
    assert len(report.train) + len(report.val) == 14
    assert (tmp_path / "own" / "classes.txt").read_text() == "bars\ndö wn\nup, and away\n"


def wrong_folders(root: Path, kind: str) -> None:
    one = root / "dö wn"
    if kind == "absent":
        shutil.rmtree(root)
    elif kind == "no class folders":
        for file in root.rglob("*.mp4"):
            file.rename(root / f"{file.parent.name} {file.name}")
    elif kind == "empty class":
        (root / "zebra").mkdir()
    elif kind == "one class":
        shutil.rmtree(one)
    elif kind == "empty":
        shutil.rmtree(root)
        root.mkdir()
    elif kind == "copies":
        shutil.copy(one / "gärten_01.mp4", root / "up, and away" / "other_01.mp4")
    elif kind == "same folder":
        shutil.copy(one / "gärten_01.mp4", one / "gärten_01.avi")
    elif kind == "two spellings":
        (root / "Dö wn").mkdir()
        (one / "gärten_01.mp4").rename(root / "Dö wn" / "gärten_01.mp4")
    elif kind == "one source":
        for file in one.glob("*.mp4"):
            if not file.name.startswith("gä"):
                file.unlink()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("absent", "no such folder, expected one with videos in it"),
        (
            "no class folders",
            r"lie beside the class folders, expected <class>/<video> in it:\n  dö wn -kitchen_01\.mp4",
        ),
        ("empty class", r"'zebra': no videos in it; remove it if it is no class"),
        ("one class", "found one class, 'up, and away'; expected at least two"),
        ("empty", "found no files, expected videos"),
        ("copies", r"keep one of each:\n  dö wn/gärten_01\.mp4 = up, and away/other_01\.mp4"),
        ("same folder", "would both be extracted to"),
        ("two spellings", r"'dö wn': differs from 'Dö wn' in case or encoding alone"),
        ("one source", r"one source only, .*:\n  'dö wn': 2 videos, all of 'gärten'"),
    ],
)
def test_what_is_wrong_with_the_folder_is_said_before_anything_is_extracted(
    videos: Path, tmp_path: Path, kind: str, said: str
) -> None:
    wrong_folders(videos, kind)
    with pytest.raises((ListError, ExtractError), match=said):
        split_videos(videos, tmp_path / "own", progress=False)
    assert not (tmp_path / "own").exists()


def test_lists_of_another_making_are_not_replaced(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("mine")
    with pytest.raises(ListError, match=r"holds a train\.csv that was not made here"):
        split_videos(videos, tmp_path, progress=False)
    with pytest.raises(ConfigError, match=r"val_share: found 1; expected a share"):
        split_videos(videos, tmp_path / "own", val_share=1, progress=False)


@pytest.mark.slow
def test_videos_and_lists_may_lie_in_one_folder(videos: Path) -> None:
    report = split_videos(videos, videos / "made", progress=False)
    assert len(report.train) + len(report.val) == 12
    again = split_videos(videos, videos / "made", progress=False)
    assert again == report


@pytest.mark.slow
def test_real_clips_cut_into_pieces_become_lists_and_train(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three videos, two halves of each as sources, two clips of each half; trained for an epoch, then predicted with an overlay."""
    monkeypatch.chdir(tmp_path)
    for label, name in (
        ("arm wrestling", "arm_wrestling.mp4"),
        ("poking", "poking_166766.mp4"),
        ("other", "test_mpeg4.avi"),
    ):
        Path("videos", label).mkdir(parents=True)
        for start in (0.0, 0.8, 2.0, 2.8):
            source = "first" if start < 2 else "second"
            cut = ["-ss", str(start), "-i", shared_data / "clips" / name, "-frames:v", "8", "-an", "-c:v", "mpeg4"]
            ffmpeg(*cut, Path("videos", label, f"{label} {source}_{start * 10:03.0f}.mp4"))
    assert main(["split", "--videos", "videos", "--out", "own", "--val-share", "0.5", "--short-side", "48"]) == 0
    assert "6 training and 6 validation clips of 3 classes" in capsys.readouterr().out
    params = ROOT / "params" / "own.yaml"
    overrides = "data.root=own/frames data.train_list=own/train.csv data.val_list=own/val.csv data.workers=0 "
    overrides += "model.backbone.weights=null train.epochs=1"
    assert main(["train", "--params", str(params), "--overrides", overrides]) == 0
    source = os.fspath(next(Path("videos").glob("*/*.mp4")))
    command = ["predict", source, "--checkpoint", "outputs/own/checkpoints/last.pt", "--overlay", "over.mp4"]
    assert main(command) == 0 and Path("over.mp4").stat().st_size > 1000


# Folds, and a table that somebody already has


def test_folds_hold_whole_sources_and_about_as_much_of_each_class() -> None:
    rng = np.random.default_rng(0)
    videos = some_videos({c: {f"s{i}": int(rng.integers(0, 5)) for i in range(15)} for c in "abcd"})
    fold = choose_folds(videos, 5, 0)
    assert fold == choose_folds(videos[::-1], 5, 0) != choose_folds(videos, 5, 1)
    assert set(fold.values()) == set("01234")
    of_source = {v.source: fold[v.path] for v in videos}
    assert all(fold[v.path] == of_source[v.source] for v in videos)
    for label in "abcd":
        held = Counter(fold[v.path] for v in videos if v.label == label)
        assert all(abs(held[k] / held.total() - 0.2) < 0.1 for k in "01234")


def test_each_fold_has_a_source_even_if_there_are_just_enough() -> None:
    videos = some_videos({"a": {"x": 9, "y": 1, "z": 1}, "b": {"x": 1, "y": 1, "z": 5}})
    assert sorted({v.source: f for v, f in zip(videos, choose_folds(videos, 3, 0).values(), strict=True)}.values()) == [
        "0", "1", "2"
    ]  # fmt: skip
    with pytest.raises(ListError, match="found 3 sources for 4 folds"):
        choose_folds(videos, 4, 0)


@pytest.mark.slow
def test_lists_of_another_division_are_not_left_beside_the_new_ones(videos: Path, tmp_path: Path) -> None:
    split_videos(videos, tmp_path / "own", group="(.*)", folds=3, short_side=32)
    split_videos(videos, tmp_path / "own", group="(.*)", folds=3, short_side=32)  # the same again
    with pytest.raises(ListError, match=r"found lists of another division: .*fold2/train\.csv.*; remove them"):
        split_videos(videos, tmp_path / "own", group="(.*)", folds=2, short_side=32)
    (tmp_path / "own/test.csv").write_text("a/v1,0,3\n")  # of a table
    with pytest.raises(ListError, match=r"found lists of another division: .*own/test\.csv; remove them"):
        split_videos(videos, tmp_path / "own", group="(.*)", short_side=32)
    (tmp_path / "own/test.csv").unlink()
    split_videos(videos, tmp_path / "own", group="(.*)", short_side=32)  # folds may stand beside one division


def test_a_table_without_a_video_is_named(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.csv").write_text("video,split\n")
    command = ["split", "--videos", str(videos), "--out", str(tmp_path / "own"), "--table", str(tmp_path / "empty.csv")]
    assert main(command) == 2
    assert "found no video; expected at least two classes" in capsys.readouterr().err


@pytest.mark.slow
def test_a_table_is_taken_as_it_is(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its classes, sources and sides, whatever the folders say; videos that it does not name are left out."""
    table, out = tmp_path / "split.csv", tmp_path / "own"
    paths = sorted(p.relative_to(videos).with_suffix("").as_posix() for p in videos.rglob("*.mp4"))
    sides = ["train", "Validation", "test", "train"]
    rows = [f'"{path}",{"ab"[i % 2]},p{i // 4},{sides[i // 2 % 4]},{i % 3}' for i, path in enumerate(paths[:11])]
    table.write_text("\n".join(["clip,word,person,part,fold", *rows]) + "\n")
    command = [
        "split",
        "--videos",
        str(videos),
        "--out",
        str(out),
        "--table",
        str(table),
        "--short-side",
        "24",
        "--columns",
    ]
    assert main([*command, "video=clip,class=word,source=person,split=part"]) == 0
    said = capsys.readouterr()
    assert "p0' is in train and val" in said.err and "up, and away/gärten_02.mp4 (not in the table)" in said.err
    lists = {side: read_list(out / f"{side}.csv", out / "frames").paths() for side in ("train", "val", "test")}
    for k, side in enumerate(("train", "val", "test")):
        assert lists[side] == [path for i, path in enumerate(paths[:11]) if (0, 1, 2, 0)[i // 2 % 4] == k]
    assert read_list(out / "train.csv", out / "frames").classes == ("a", "b")
    # With --folds its column of folds is followed.
    assert main([*command, "video=clip,class=word,source=person,split=part", "--folds", "3"]) == 0
    for k in range(3):
        assert read_list(out / f"fold{k}" / "val.csv", out / "frames").paths() == paths[:11][k::3]
        assert len(read_list(out / f"fold{k}" / "train.csv", out / "frames")) == 11 - len(paths[:11][k::3])
    assert (out / "sources.csv").read_text().splitlines()[:2] == ["video,source,fold", f"{paths[0]}.mp4,p0,0"]


@pytest.mark.parametrize(
    ("text", "columns", "said"),
    [
        (
            "clip,split\na/x,train\n",
            {},
            r":1: found the columns clip, split; expected video too, .*--columns video=clip",
        ),
        ("video\na/x.mp4\nb/none\n", {}, ":3: found video 'b/none'; expected one of the videos"),
        ("video\na/x\na/x.mp4\n", {}, ":3: found 'a/x.mp4' again, as in line 2"),
        ("video,split\na/x,left\n", {}, ":2: found split 'left'; expected one of train"),
        ("video,fold\na/x,../1\n", {}, r":2: found fold '\.\./1'; expected letters and digits"),
        ("video,who\na/x,\n", {"source": "who"}, ":2: found nothing in column 'who'"),
        ("video,split,split\na/x,train,val\n", {}, ":1: found column 'split' twice"),
        ("video,Split\na/x,val\n", {}, r":1: found column 'Split'; expected 'split', or --columns split=Split"),
        ("video,class,source\na/x,p, part 1,s\n", {}, ":2: found 4 fields; expected 3, as in the header"),
    ],
)
def test_a_table_that_is_not_right_is_named(tmp_path: Path, text: str, columns: dict[str, str], said: str) -> None:
    file = tmp_path / "split.csv"
    file.write_text(text)
    with pytest.raises(ListError, match=said):
        read_table(file, columns, ["a/x.mp4", "a/y.mp4"])


def test_blanks_around_a_tables_columns_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "split.csv").write_text("video, class , split\na/x, p, val\n")
    (row,) = read_table(tmp_path / "split.csv", {}, ["a/x.mp4"]).values()
    assert (row.label, row.side) == ("p", "val")


def test_folds_are_not_drawn_beside_a_division_that_is_given() -> None:
    """Its test videos would be trained on."""
    videos = some_videos({"a": {"s": 2, "t": 2}})
    rows = {
        v.path: TableRow(2 + i, None, None, ("train", "val", "test", "train")[i], None) for i, v in enumerate(videos)
    }
    with pytest.raises(ListError, match=r"folds: found 2, and a table that divides into test, train, val; expected"):
        divide(videos, 0.25, 0, 2, rows)


def test_a_table_that_leaves_a_class_nothing_to_train_on_is_named(videos: Path, tmp_path: Path) -> None:
    paths = sorted(str(file.relative_to(videos)) for file in videos.rglob("*.mp4"))
    sides = ["val" if path.startswith("dö wn") else "train" for path in paths]
    assert set(sides) == {"train", "val"}
    (tmp_path / "split.csv").write_text(
        "video,split\n" + "".join(f'"{path}",{side}\n' for path, side in zip(paths, sides, strict=True))
    )
    with pytest.raises(ListError, match=r"found no clip of \['dö wn'\] to train on in the table"):
        split_videos(videos, tmp_path / "own", table=tmp_path / "split.csv", progress=False)
    assert not (tmp_path / "own").exists()


def test_a_class_that_lost_what_it_trains_on_is_named_with_the_videos_that_failed(videos: Path, tmp_path: Path) -> None:
    paths = sorted(str(file.relative_to(videos)) for file in videos.rglob("*.mp4"))
    alone = next(path for path in paths if path.startswith("dö wn"))
    (videos / alone).write_bytes(b"no video")
    sides = {path: "val" if path.startswith("dö wn") and path != alone else "train" for path in paths}
    (tmp_path / "split.csv").write_text("video,split\n" + "".join(f'"{path}",{side}\n' for path, side in sides.items()))
    with pytest.raises(ListError, match=r"(?s)no clip of \['dö wn'\] to train on .* these videos failed:\n  " + alone):
        split_videos(videos, tmp_path / "own", table=tmp_path / "split.csv", progress=False)


def test_a_table_of_sources_has_each_column_once(tmp_path: Path) -> None:
    (tmp_path / "sources.csv").write_text("video,source,source\na/x.mp4,one,two\n")
    with pytest.raises(
        ListError, match=r"sources\.csv:1: found 2 columns 'source' in 'video,source,source', expected video"
    ):
        read_sources(tmp_path / "sources.csv")


def test_columns_are_named_once_each() -> None:
    assert parse_columns("video=clip, source=who") == {"video": "clip", "source": "who"}
    for wrong in ("clip=video", "video", "video=a,video=b"):
        with pytest.raises(ConfigError, match="expected KEY=COLUMN once for each of video, class"):
            parse_columns(wrong)
