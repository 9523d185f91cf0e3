"""hitagu_lib/prepare/videos.py: extract, split and index read every video, and list each entry that they leave out.

The tests go by the kind of input, and each takes it through all the commands that search a folder.
"""

from __future__ import annotations

import csv
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from media_fixtures import audio_only, hidden, make_clip, make_video, pictures, within

from hitagu_lib.cli.main import main
from hitagu_lib.config import Config
from hitagu_lib.data.clip_list import read_list
from hitagu_lib.data.video import count_video
from hitagu_lib.errors import ExtractError, ListError
from hitagu_lib.inference.predict import read_source
from hitagu_lib.media.ffmpeg import ffmpeg_path, why_not_a_video
from hitagu_lib.prepare.extract import ExtractReport, extract_tree, extract_video
from hitagu_lib.prepare.index import index_frames
from hitagu_lib.prepare.split import split_videos
from hitagu_lib.prepare.videos import find_videos, left_out, printable

posix = pytest.mark.skipif(os.name != "posix", reason="links, pipes and permissions are POSIX's")
any_bytes = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets names be any bytes")

TS = ["-f", "mpegts", "-c:v", "mpeg2video"]
ENDINGS: dict[str, list[str]] = {
    "a/a.MTS": TS,
    "a/b.m2ts": TS,
    "a/c.gif": ["-c:v", "gif"],
    "a/d.ogv": ["-c:v", "libtheora"],
    "a/e.vob": ["-c:v", "mpeg2video"],
    "b/f.asf": [],
    "b/g.dv": ["-target", "pal-dv", "-c:v", "dvvideo"],
    "b/h.MP4": [],
    "b/i": ["-f", "mp4"],
    "b/j.MOD": TS,
}
"""<class>/<video> -> ffmpeg's options; neither class has a video of a usual, lower-case ending."""


@pytest.fixture(scope="session")
def made_of_any_ending(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("any ending")
    for i, (name, options) in enumerate(ENDINGS.items()):  # sizes differ, or split would refuse them as copies
        make_video(root / name, *options, size=f"{64 + 2 * i}x48", frames=4)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of two videos, each its own source."""
    for i, name in enumerate(("a/x.mp4", "a/y.mp4", "b/z.mp4", "b/w.mp4")):
        make_video(tmp_path / "videos" / name, frames=2 + i)
    return tmp_path / "videos"


def extract(root: Path) -> ExtractReport:
    return extract_tree(root, root.parent / "frames", progress=False)


def split(root: Path) -> list[str]:
    """Return the videos of both lists."""
    report = split_videos(root, root.parent / "own", group="(.*)", val_share=0.5, progress=False)
    return sorted(video.path for video in [*report.train, *report.val])


def index(root: Path) -> list[str]:
    """Return the videos of the list."""
    file = root.parent / "lists" / "train.csv"
    index_frames(root, file, source="video")
    return [row[0] for row in rows(file)]


def rows(file: Path) -> list[list[str]]:
    with open(file, newline="", encoding="utf-8", errors="strict") as stream:
        return list(csv.reader(stream))


FOUR = ["a/x.mp4", "a/y.mp4", "b/w.mp4", "b/z.mp4"]


# Endings


@pytest.mark.slow
@pytest.mark.usefixtures("each_ffmpeg")
def test_videos_of_any_ending_are_extracted(made_of_any_ending: Path, tmp_path: Path) -> None:
    out = tmp_path / "frames"
    assert sorted(find_videos(made_of_any_ending, out).videos) == sorted(ENDINGS)
    report = extract_tree(made_of_any_ending, out, progress=False)
    assert (report.extracted, report.failed, report.skipped) == (len(ENDINGS), [], [])
    counts = {name: len(list((out / name).with_suffix("").glob("*.jpg"))) for name in ENDINGS}
    assert counts == {name: 3 if name == "a/d.ogv" else 4 for name in ENDINGS}  # one of its packets is empty: a repeat


@pytest.mark.slow
def test_videos_of_any_ending_are_split_and_listed(made_of_any_ending: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(made_of_any_ending, tmp_path / "videos"))
    assert split(root) == sorted(ENDINGS)
    assert index(root) == sorted(ENDINGS)
    clips = read_list(tmp_path / "lists" / "train.csv", root)
    assert clips.classes == ("a", "b")
    listed = {path: int(count) for path, _, count in rows(tmp_path / "lists" / "train.csv")}
    extracted = {path: int(n) for side in ("train", "val") for path, _, n in rows(tmp_path / "own" / f"{side}.csv")}
    assert extracted == {os.path.splitext(name)[0]: count for name, count in listed.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDINGS)
def test_videos_of_any_ending_are_predicted(made_of_any_ending: Path, tiny_cfg: Config, name: str) -> None:
    frames, _ = read_source(made_of_any_ending / name, tiny_cfg.data)
    assert frames.shape == (3, 3, 32, 32)
    assert frames.float().std() > 10  # a picture


@pytest.mark.slow
def test_a_real_camera_file_goes_every_way(shared_data: Path, tiny_cfg: Config, tmp_path: Path) -> None:
    for label in "ab":
        make_video(tmp_path / "videos" / label / "other.mp4", size="32x24" if label == "a" else "48x32", frames=2)
    shutil.copy(shared_data / "odd" / "odd_MTS.MTS", tmp_path / "videos" / "a" / "odd_MTS.MTS")
    three = ["a/odd_MTS.MTS", "a/other.mp4", "b/other.mp4"]
    assert extract(tmp_path / "videos").extracted == 3
    assert index(tmp_path / "videos") == three
    make_video(tmp_path / "videos" / "b" / "third.mp4", frames=2)
    assert split(tmp_path / "videos") == [*three, "b/third.mp4"]
    frames, _ = read_source(tmp_path / "videos" / three[0], tiny_cfg.data)
    assert frames.shape == (3, 3, 32, 32)


@pytest.mark.slow
@pytest.mark.usefixtures("each_ffmpeg")
def test_an_animated_webp_is_extracted_or_skipped_with_a_reason(root: Path) -> None:
    """ffmpeg decodes them since version 8."""
    pictures(root / "a" / "moving.webp", 4)
    report = extract(root)
    if why_not_a_video(root / "a" / "moving.webp") is None:
        assert (report.extracted, report.skipped) == (5, [])
    else:
        why = "an animated WebP, which this ffmpeg cannot decode; convert it to MP4 or GIF"
        assert (report.extracted, report.skipped) == (4, [("a/moving.webp", why)])


# Files that are not videos


OTHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a/cover.jpg": (pictures, "a still picture"),
    "a/notes.txt": (lambda file: file.write_text("hello"), "text"),
    "a/sound.wav": (audio_only, "no video stream"),
    "b/empty": (lambda file: file.write_bytes(b""), "an empty file"),
    "b/frame.png": (pictures, "a still picture"),
    "b/weights.bin": (lambda file: file.write_bytes(b"\0no" * 100), "no format that ffmpeg knows"),
}
SKIPPED = [(name, why) for name, (_, why) in OTHERS.items()]


def add_others(root: Path) -> None:
    for name, (make, _) in OTHERS.items():
        make(root / name)


COMMANDS = {
    "extract": ("--root", "--out", "frames", "frames/skipped.csv"),
    "split": ("--videos", "--out", "own", "own/frames/skipped.csv"),
    "index": ("--root", "--out", "lists/train.csv", "lists/train.skipped.csv"),
}
OPTIONS = {"extract": [], "split": ["--group", "(.*)"], "index": ["--source", "video"]}


def command(name: str, root: Path) -> list[str]:
    source, out, to, _ = COMMANDS[name]
    return [name, source, str(root), out, str(root.parent / to), *OPTIONS[name]]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_files_that_are_not_videos_are_counted_and_listed(
    root: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    add_others(root)
    manifest = root.parent / COMMANDS[name][3]
    assert main(command(name, root)) == 0
    first = ", ".join(f"{path} ({why})" for path, why in SKIPPED[:3])
    line = next(line for line in capsys.readouterr().err.splitlines() if "left out" in line)
    assert line.endswith(f"6 entries left out: {first} and 3 more; see {manifest}"), line
    assert rows(manifest) == [["path", "reason"], *map(list, SKIPPED)]

    for path in OTHERS:
        (root / path).unlink()
    assert main(command(name, root)) == 0
    assert not manifest.exists() and "left out" not in capsys.readouterr().err


@pytest.mark.slow
def test_the_reports_list_them_too(root: Path) -> None:
    add_others(root)
    assert extract(root) == ExtractReport(extracted=4, frames=14, skipped=SKIPPED)
    assert split_videos(root, root.parent / "own", group="(.*)", progress=False).skipped == SKIPPED
    assert index_frames(root, root.parent / "train.csv", source="video").skipped == SKIPPED


def test_a_long_list_is_shortened_on_the_screen() -> None:
    assert left_out([("a", "text")], Path("s.csv")) == "1 entry left out: a (text); see s.csv"


@pytest.mark.parametrize("run", [split, index])
def test_a_class_folder_without_a_video_is_an_error_that_says_what_it_holds(
    root: Path, run: Callable[[Path], object]
) -> None:
    (root / "c").mkdir()
    pictures(root / "c" / "only.jpg")
    with pytest.raises(
        ListError, match=r"c'?: .*(no|without) videos.* \(found only\.jpg: a still picture\); remove it"
    ):
        run(root)


def test_index_of_frames_lists_the_files_between_the_clips(tmp_path: Path) -> None:
    make_clip(tmp_path / "frames" / "a" / "clip")
    (tmp_path / "frames" / "a" / "notes.txt").write_text("hello")
    (tmp_path / "frames" / "a" / "late.mp4").write_bytes(b"")
    report = index_frames(tmp_path / "frames", tmp_path / "train.csv")
    why = "a file, expected a folder of frames"
    assert (report.clips, report.skipped) == (1, [("a/late.mp4", why), ("a/notes.txt", why)])
    assert rows(tmp_path / "train.skipped.csv") == [["path", "reason"], *map(list, report.skipped)]


def test_videos_beside_the_class_folders_are_not_passed_over(root: Path) -> None:
    make_video(root / "loose.MTS", *TS, frames=2)
    with pytest.raises(ListError, match=r"lie beside the class folders, expected <class>/<video> in it:\n  loose\.MTS"):
        split(root)
    why = "a video beside the class folders, expected <class>/loose.MTS"
    assert index_frames(root, root.parent / "train.csv", source="video").skipped == [("loose.MTS", why)]


# Links


@posix
@pytest.mark.parametrize("run", [split, index])
def test_a_class_folder_on_a_disk_that_is_not_mounted_shifts_no_labels(
    root: Path, run: Callable[[Path], object]
) -> None:
    (root / "a2").symlink_to(root.parent / "disk" / "a2")
    with pytest.raises(
        ListError, match=r"'a2': a link to .*disk/a2, which cannot be reached .*; is its disk mounted\?"
    ):
        run(root)
    assert not list(root.parent.rglob("classes.txt"))


@posix
def test_extract_lists_such_a_folder_as_failed_and_goes_on(root: Path) -> None:
    (root / "a2").symlink_to(root.parent / "disk" / "a2")
    report = extract(root)
    assert (report.extracted, [path for path, _ in report.failed]) == (4, ["a2"])
    assert "is its disk mounted?" in report.failed[0][1]


@posix
@pytest.mark.parametrize("name", ["extract", "split"])
def test_a_clip_that_cannot_be_reached_fails_alone(root: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "a" / "gone.mp4").symlink_to(root.parent / "disk" / "gone.mp4")
    (root / "b" / "gone").symlink_to(root.parent / "disk" / "gone")
    assert main(command(name, root)) == 1
    manifest = (root.parent / COMMANDS[name][3]).with_name("failed.csv")
    assert [row[0] for row in rows(manifest)] == ["video", "a/gone.mp4", "b/gone"]
    assert all("which cannot be reached" in row[1] for row in rows(manifest)[1:])
    said = capsys.readouterr()
    assert ("4 videos extracted" if name == "extract" else "2 training and 2 validation clips") in said.out
    assert "2 of 6 videos failed" in said.err if name == "extract" else "2 videos failed" in said.err


@posix
def test_index_names_a_clip_that_cannot_be_reached(root: Path) -> None:
    (root / "a" / "gone.mp4").symlink_to(root.parent / "disk" / "gone.mp4")
    (root / "b" / "gone").symlink_to(root.parent / "disk" / "gone")
    with pytest.raises(ListError) as caught:
        index(root)
    for path in ("a/gone.mp4", "b/gone"):
        assert f"{root / path}: a link to {root.parent / 'disk'}" in str(caught.value)


@pytest.mark.slow
@posix
def test_a_link_back_to_a_folder_above_is_not_followed(root: Path) -> None:
    (root / "a" / "loop").symlink_to(root)
    (root / "b" / "self").symlink_to(root / "b")
    why = "a link back to a folder above it, not followed"
    assert extract(root) == ExtractReport(extracted=4, frames=14, skipped=[("a/loop", why), ("b/self", why)])
    assert split(root) == index(root) == FOUR


@pytest.mark.slow
@posix
def test_links_that_lead_into_each_other_end(root: Path) -> None:
    (root / "a" / "to b").symlink_to(root / "b")
    (root / "b" / "to a").symlink_to(root / "a")
    report = extract(root)
    assert report.extracted == 8  # each class once by its own name and once through the other's link
    assert [path for path, _ in report.skipped] == ["a/to b/to a", "b/to a/to b"]


@posix
@pytest.mark.parametrize("run", [split, index])
def test_a_class_that_is_a_link_to_the_folder_above_is_an_error(root: Path, run: Callable[[Path], object]) -> None:
    (root / "loop").symlink_to(root)
    with pytest.raises(ListError, match=r"'loop': a link back to a folder above it"):
        run(root)


@pytest.mark.slow
@posix
def test_links_to_other_folders_and_files_are_followed(root: Path) -> None:
    disk = root.parent / "disk"
    shutil.move(root / "b", disk / "b")
    shutil.move(root / "a" / "x.mp4", disk / "x.mp4")
    (root / "b").symlink_to(disk / "b")
    (root / "a" / "x.mp4").symlink_to(disk / "x.mp4")
    assert extract(root) == ExtractReport(extracted=4, frames=14)
    assert split(root) == index(root) == FOUR


# Pipes and sockets


@pytest.mark.slow
@posix
def test_nothing_waits_for_a_pipe_or_a_socket(root: Path, tiny_cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / "a" / "pipe")
    monkeypatch.chdir(root / "b")  # a socket's path may have 107 bytes only
    with socket.socket(socket.AF_UNIX) as bound, within(30):
        bound.bind("sock")
        skipped = [("a/pipe", "a named pipe"), ("b/sock", "a socket")]
        assert extract(root) == ExtractReport(extracted=4, frames=14, skipped=skipped)
        assert split(root) == index(root) == FOUR
        for path in ("a/pipe", "b/sock"):
            with pytest.raises(Exception, match="neither a file nor a folder"):
                read_source(root / path, tiny_cfg.data)


@pytest.mark.slow
@posix
def test_a_pipe_that_is_named_like_a_video_fails_alone(root: Path, tiny_cfg: Config) -> None:
    os.mkfifo(root / "a" / "pipe.mp4")
    with within(30):
        report = extract(root)
        assert (report.extracted, report.failed) == (4, [("a/pipe.mp4", "a named pipe")])
        assert split(root) == FOUR
        with pytest.raises(ListError, match=r"a/pipe\.mp4: a named pipe"):
            index(root)
        with pytest.raises(ExtractError, match=r"pipe\.mp4: a named pipe, expected a video file"):
            extract_video(root / "a" / "pipe.mp4", root.parent / "one")
        assert count_video(root / "a" / "pipe.mp4")[1]


# Videos that fail


def test_a_class_whose_videos_all_fail_shifts_no_labels(root: Path) -> None:
    (root / "a2").mkdir()
    for name in ("p.mp4", "q.mp4"):
        (root / "a2" / name).write_bytes(b"\0no" + name.encode())
    with pytest.raises(
        ListError, match=r"(?s)every video of these classes failed.*'a2': 2 videos, such as a2/p\.mp4: "
    ):
        split(root)
    assert not (root.parent / "own" / "classes.txt").exists()
    assert len(rows(root.parent / "own" / "frames" / "failed.csv")) == 3
    shutil.rmtree(root / "a2")
    assert split(root) == FOUR


# Names


def test_two_videos_that_differ_only_in_their_endings_are_refused(root: Path) -> None:
    make_video(root / "a" / "x.MTS", *TS, frames=2)
    with pytest.raises(ListError, match=r"/a: x\.MTS and x\.mp4 differ only in their endings; remove or rename one"):
        index(root)
    for run in (extract, split):
        with pytest.raises(ExtractError, match=r"a/x\.MTS and a/x\.mp4 would both be extracted to .*; rename one"):
            run(root)


@pytest.mark.slow
@any_bytes
def test_names_that_are_not_utf8_are_listed_so_that_the_list_can_be_read(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "a" / "n\udcffte").write_text("hello")
    (root / "b" / "br\udcfcken.mp4").write_bytes(b"")
    # In a process of its own: capsys is stricter about what may be written than a terminal.
    done = subprocess.run([sys.executable, "-m", "hitagu_lib", *command("extract", root)], capture_output=True)
    assert done.returncode == 1
    said = done.stderr.decode("utf-8")
    assert r"a/n\xffte (text)" in said and "1 of 5 videos failed" in said and "Traceback" not in said
    out = root.parent / "frames"
    assert rows(out / "skipped.csv") == [["path", "reason"], [r"a/n\xffte", "text"]]
    assert [row[0] for row in rows(out / "failed.csv")] == ["video", r"b/br\xfcken.mp4"]
    (root / "b" / "br\udcfcken.mp4").unlink()
    for name in ("split", "index"):
        assert main(command(name, root)) == 0
        assert r"a/n\xffte (text)" in capsys.readouterr().err
        assert rows(root.parent / COMMANDS[name][3]) == [["path", "reason"], [r"a/n\xffte", "text"]]
    assert [row[0] for row in rows(root.parent / "own" / "sources.csv")] == ["video", *FOUR]


@any_bytes
@pytest.mark.parametrize("run", [split, index])
def test_a_video_whose_name_is_not_utf8_cannot_be_listed(root: Path, run: Callable[[Path], object]) -> None:
    (root / "a" / "x.mp4").rename(root / "a" / "gr\udcfcn.mp4")
    with pytest.raises(ListError, match="its name is not UTF-8; rename it"):
        run(root)


def test_names_are_shown_as_they_are_unless_utf8_cannot_hold_them() -> None:
    assert printable(r"grün \xff") == r"grün \xff"
    assert printable("gr\udcfcn ü") == r"gr\xfcn ü"


# Permissions


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder of a user whom permissions stop; root, whom they do not, becomes the user nobody."""
    if os.name != "posix":
        pytest.skip("permissions are POSIX's")
    nobody, is_root = 65534, os.geteuid() == 0
    folder = Path(tempfile.mkdtemp(prefix="hitagu-"))  # those above tmp_path are closed to nobody
    if is_root:
        os.chown(folder, nobody, nobody)
        os.seteuid(nobody)
    try:
        if not os.access(ffmpeg_path(), os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            pytest.skip(f"{ffmpeg_path()} may not be run by the user nobody")
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        for path in [folder, *folder.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
        shutil.rmtree(folder)


@pytest.fixture
def theirs(root: Path, unprivileged: Path) -> Path:
    """The four videos, copied to a folder of the user nobody."""
    is_root = os.getuid() == 0
    if is_root:
        os.seteuid(0)
    copy = Path(shutil.copytree(root, unprivileged / "videos"))
    if is_root:
        for path in [copy, *copy.rglob("*")]:
            os.chown(path, 65534, 65534)
        os.seteuid(65534)
    return copy


@pytest.mark.slow
@pytest.mark.parametrize("mode", [0o000, 0o444], ids=["cannot be listed", "cannot be entered"])
def test_a_folder_without_permission_fails_alone(theirs: Path, mode: int) -> None:
    (theirs / "c" / "sub").mkdir(parents=True)
    (theirs / "c" / "linked.mp4").symlink_to(theirs / "a" / "x.mp4")
    for name in ("u.mp4", "v.mp4"):
        (theirs / "c" / name).write_bytes(name.encode())
    (theirs / "c").chmod(mode)
    report = extract(theirs)
    assert report.extracted == 4 and report.failed
    assert {path.split("/")[0] for path, _ in report.failed} == {"c"}
    assert all("Permission denied" in why for _, why in report.failed)
    for run in (split, index):
        with pytest.raises(ListError, match=r"(?s)\bc\b.*Permission denied"):
            run(theirs)
    assert not list(theirs.parent.rglob("classes.txt"))


def test_a_video_without_permission_fails_alone(theirs: Path) -> None:
    (theirs / "a" / "x.mp4").chmod(0)
    (theirs / "a" / "odd").write_bytes((theirs / "b" / "z.mp4").read_bytes())
    (theirs / "a" / "odd").chmod(0)
    report = extract(theirs)
    assert report.extracted == 3
    assert report.skipped == [], "nobody knows whether they are videos"
    assert [path for path, _ in report.failed] == ["a/odd", "a/x.mp4"]
    assert all(
        "cannot be read: Permission denied" in why or "cannot read this video" in why for _, why in report.failed
    )
    with pytest.raises(ListError, match=r"a/odd: cannot be read: Permission denied"):
        index(theirs)
    assert hidden(theirs.parent) == []


def test_an_output_folder_without_permission_stops_all(theirs: Path) -> None:
    out = theirs.parent / "frames"
    for target in ("a", "b"):
        (out / target).mkdir(parents=True)
        (out / target).chmod(0o555)
    with pytest.raises(ExtractError, match=r"frames/[ab]/.*: Permission denied; fix that and run again"):
        extract(theirs)
    assert not (out / "failed.csv").exists()
