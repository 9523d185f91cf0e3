"""hitagu_lib/prepare/extract.py: folders whole or not at all, over many videos. (What ffmpeg makes of one: test_ffmpeg.py.)"""

from __future__ import annotations

import csv
import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from media_fixtures import hidden, make_video, sizes

from hitagu_lib.errors import ExtractError
from hitagu_lib.media.ffmpeg import ffmpeg_path, run_ffmpeg
from hitagu_lib.prepare.extract import ExtractReport, _aside_name, extract_short, extract_tree, extract_video

posix = pytest.mark.skipif(os.name != "posix", reason="signals and shell scripts are POSIX's")


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


# One ffmpeg for several short videos


def test_short_videos_become_what_each_alone_becomes(tmp_path: Path) -> None:
    videos = {make_video(tmp_path / f"videos/{n}.mp4", frames=n): tmp_path / f"together/{n}" for n in (3, 5)}
    extract_short(videos)
    for video, folder in videos.items():
        alone = tmp_path / "alone" / folder.name
        extract_video(video, alone)
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
            file.name: file.read_bytes() for file in alone.iterdir()
        }
    assert extract_tree(tmp_path / "videos", tmp_path / "together", progress=False).kept == 2


def test_folders_that_are_there_are_left_to_the_tree(tmp_path: Path) -> None:
    """Such as those of videos that were lost, and made anew."""
    videos = {make_video(tmp_path / f"videos/{n}.mp4", frames=n): tmp_path / f"frames/{n}" for n in (3, 5)}
    first = next(iter(videos))
    extract_video(first, videos[first])
    (videos[first] / "000002.jpg").write_bytes(b"kept as it is")
    for _ in range(2):
        extract_short(videos)
        assert (videos[first] / "000002.jpg").read_bytes() == b"kept as it is"
    report = extract_tree(tmp_path / "videos", tmp_path / "frames", progress=False)
    assert (report.kept, report.extracted, report.frames) == (2, 0, 8)


def test_a_broken_one_among_them_leaves_nothing_half_made(tmp_path: Path) -> None:
    good = make_video(tmp_path / "videos/good.mp4", frames=3)
    broken = tmp_path / "videos/broken.mp4"
    broken.write_bytes(good.read_bytes()[:-200])
    extract_short({video: tmp_path / "frames" / video.stem for video in (good, broken)})
    assert not any((tmp_path / "frames").iterdir())
    report = extract_tree(tmp_path / "videos", tmp_path / "frames", progress=False)
    assert report.extracted == 1 and [name for name, _ in report.failed] == ["broken.mp4"]


# Folders that are there already


def test_a_whole_folder_is_kept(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", frames=3)
    extract_video(video, tmp_path / "a")
    (tmp_path / "a" / "000002.jpg").write_bytes(b"kept as it is")
    for overwrite in (False, True):
        assert extract_video(video, tmp_path / "a", overwrite=overwrite) == 3
    assert (tmp_path / "a" / "000002.jpg").read_bytes() == b"kept as it is"


def test_other_settings_are_an_error_or_overwrite(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", frames=3)
    extract_video(video, tmp_path / "a")
    with pytest.raises(
        ExtractError,
        match=r"was made with short_side 256, quality 2; asked for is short_side 24, quality 5.*--overwrite",
    ):
        extract_video(video, tmp_path / "a", short_side=24, quality=5)
    assert sizes(tmp_path / "a") == {(64, 48)}
    assert extract_video(video, tmp_path / "a", short_side=24, quality=5, overwrite=True) == 3
    assert sizes(tmp_path / "a") == {(32, 24)}
    assert hidden(tmp_path) == []


def test_a_changed_video_is_an_error_or_overwrites(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", frames=3)
    extract_video(video, tmp_path / "a")
    make_video(video, frames=9)
    with pytest.raises(ExtractError, match="was made with source_bytes"):
        extract_video(video, tmp_path / "a")
    assert extract_video(video, tmp_path / "a", overwrite=True) == 9


def test_what_others_put_there_is_not_touched(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", frames=3)
    mine = tmp_path / "mine"
    mine.mkdir()
    assert extract_video(video, mine) == 3  # an empty folder is no obstacle
    (tmp_path / "file").write_text("x")
    with pytest.raises(ExtractError, match="is a file, expected a folder"):
        extract_video(video, tmp_path / "file")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "000001.jpg").write_text("x")
    with pytest.raises(ExtractError, match=r"holds files already, but no \.extract\.json"):
        extract_video(video, theirs)
    (theirs / "thesis.txt").write_text("x")
    with pytest.raises(ExtractError, match=r"holds 'thesis\.txt', which is no frame; not overwritten"):
        extract_video(video, theirs, overwrite=True)
    assert sorted(path.name for path in theirs.iterdir()) == ["000001.jpg", "thesis.txt"]


# Runs that are killed


@pytest.fixture
def slow(tmp_path: Path) -> dict[str, str]:
    """An environment whose ffmpeg reads its input no faster than it plays, and notes its process id."""
    folder = tmp_path / "bin"
    (folder / "ids").mkdir(parents=True)
    script = folder / "ffmpeg"
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *-i*) echo > "{folder}/ids/$$"; exec "{ffmpeg_path()}" -re "$@";; esac\nexec "{ffmpeg_path()}" "$@"\n'
    )
    script.chmod(0o755)
    repo = Path(__file__).parents[2]
    return {
        **os.environ,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(repo),
        "IDS": str(folder / "ids"),
    }


def start(env: dict[str, str], *args: str | Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "hitagu_lib", "extract", *map(str, args)]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env=env, stdout=quiet, stderr=quiet, start_new_session=True)


@pytest.mark.slow
@posix
def test_a_killed_run_leaves_nothing_that_passes_for_whole(tmp_path: Path, slow: dict[str, str]) -> None:
    video = make_video(tmp_path / "a.mp4", frames=100)  # 4 seconds
    longer = make_video(tmp_path / "longer.mp4", frames=1500)
    out = tmp_path / "frames" / "a"
    first = start(slow, longer, out)
    second = start(slow, video, tmp_path / "frames" / "b")
    wait_for(lambda: len(list(out.parent.glob(".a.partial-*/000003.jpg"))) == 1)
    wait_for(lambda: len(list(out.parent.glob(".b.partial-*/000003.jpg"))) == 1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not out.exists()
    assert len(hidden(tmp_path)) == 2

    # The killed run's ffmpeg may still be writing: its folder goes all the same, the living run's stays.
    assert extract_video(video, out) == 100
    assert extract_video(video, tmp_path / "frames" / "b") == 100
    assert [name.split(".")[1] for name in hidden(tmp_path)] == ["b"]
    assert second.wait() == 0
    assert hidden(tmp_path) == []
    assert len(list((tmp_path / "frames" / "b").glob("*.jpg"))) == 100
    assert len(list(out.glob("*.jpg"))) == 100


@pytest.mark.slow
@posix
def test_a_killed_tree_goes_on_where_it_was(tmp_path: Path, slow: dict[str, str]) -> None:
    for i, frames in enumerate((1, 1, 100, 100)):
        make_video(tmp_path / "videos" / "class" / f"v{i}.mp4", frames=frames)
    out = tmp_path / "frames"
    run = start(slow, "--root", tmp_path / "videos", "--out", out, "--workers", "2")
    wait_for(lambda: list(out.glob("class/.v2.partial-*/000003.jpg")) and len(list(out.glob("class/v*"))) == 2)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert sorted(path.name for path in out.glob("class/v*")) == ["v0", "v1"]
    report = extract_tree(tmp_path / "videos", out, progress=False)
    assert report == ExtractReport(extracted=2, kept=2, frames=202)
    assert hidden(out) == []


@pytest.mark.slow
@posix
def test_ctrl_c_stops_at_once_and_cleanly(tmp_path: Path, slow: dict[str, str]) -> None:
    for i in range(6):
        make_video(tmp_path / "videos" / f"v{i}.mp4", frames=500)  # 20 seconds each
    out = tmp_path / "frames"
    out.mkdir()
    (out / "failed.csv").write_text("of the run before")
    run = start(slow, "--root", tmp_path / "videos", "--out", out, "--workers", "2")
    wait_for(lambda: len(list(out.glob(".*.partial-*/000003.jpg"))) == 2)
    pressed = time.monotonic()
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does, to the whole group
    assert run.wait(timeout=10) == 130
    assert time.monotonic() - pressed < 10
    assert [path.name for path in out.iterdir()] == ["failed.csv"]  # no half-made folder
    assert (out / "failed.csv").read_text() == "of the run before"  # the videos are not to blame
    for process in Path(slow["IDS"]).iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(process.name), 0)


# Trees


NOTES = [("moving, left/notes.txt", "text")]
"""What is skipped of `tree`."""


def tree(root: Path) -> Path:
    make_video(root / "top.mp4", frames=2)
    make_video(root / "moving, left" / "v1.mp4", frames=3)
    make_video(root / "moving, left" / "deep" / "V2.AVI", frames=4)
    (root / "moving, left" / "notes.txt").write_text("no video")
    (root / "moving, left" / "._v1.mp4").write_bytes(b"what macOS leaves")
    (root / ".cache").mkdir()
    (root / ".cache" / "v.mp4").write_bytes(b"hidden")
    return root


def test_a_tree_is_mirrored(tmp_path: Path) -> None:
    root = tree(tmp_path / "videos")
    out = root / "frames"  # below the root: its frames are not searched for videos again
    assert extract_tree(root, out, workers=2, progress=False) == ExtractReport(extracted=3, frames=9, skipped=NOTES)
    found = {path.parent.relative_to(out).as_posix() for path in out.rglob("000001.jpg")}
    assert found == {"top", "moving, left/v1", "moving, left/deep/V2"}
    assert len(list((out / "moving, left" / "deep" / "V2").glob("*.jpg"))) == 4
    (out / "stray.mp4").write_bytes(b"")
    assert extract_tree(root, out, workers=2, progress=False) == ExtractReport(kept=3, frames=9, skipped=NOTES)
    with pytest.raises(ExtractError, match="was made with short_side 256; asked for is short_side 24"):
        extract_tree(root, out, short_side=24, progress=False)
    assert not (out / "failed.csv").exists()


def test_failures_go_to_the_manifest_until_they_are_cured(tmp_path: Path) -> None:
    root, out = tree(tmp_path / "videos"), tmp_path / "frames"
    broken = root / "moving, left" / "broken.mp4"
    broken.write_bytes(b"")
    (root / "zero.webm").write_bytes(b"")
    report = extract_tree(root, out, progress=False)
    assert (report.extracted, report.kept, report.frames) == (3, 0, 9)
    assert [video for video, _ in report.failed] == ["moving, left/broken.mp4", "zero.webm"]
    with open(out / "failed.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    assert rows == [["video", "reason"], *map(list, report.failed)]
    assert "Invalid data found" in rows[1][1]
    assert "0x" not in rows[1][1]  # no addresses: the same fault reads the same each time

    (root / "zero.webm").unlink()
    make_video(broken, frames=5)
    assert extract_tree(root, out, progress=False) == ExtractReport(extracted=1, kept=3, frames=14, skipped=NOTES)
    assert not (out / "failed.csv").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets names be any bytes")
def test_names_that_are_not_utf8_go_through(tmp_path: Path) -> None:
    os.mkdir(tmp_path / "videos")
    make_video(tmp_path / "videos" / "good.mp4", frames=2).rename(tmp_path / "videos" / "gr\udcfcn.mp4")
    (tmp_path / "videos" / "\udcff.mp4").write_bytes(b"")
    report = extract_tree(tmp_path / "videos", tmp_path / "frames", progress=False)
    assert (report.extracted, report.frames, len(report.failed)) == (1, 2, 1)
    text = (tmp_path / "frames" / "failed.csv").read_text(encoding="utf-8", errors="strict")
    assert "\n\\xff.mp4," in text  # the byte that is no UTF-8 as text, so that the list can be read again


@pytest.mark.usefixtures("each_ffmpeg")
@pytest.mark.parametrize("ending", [".mp4", ""])
@pytest.mark.parametrize("length", [240, 255])
def test_a_name_of_any_length_that_the_file_system_takes_is_extracted(tmp_path: Path, length: int, ending: str) -> None:
    name = "ü" * ((length - len(ending)) // 2)
    name += "n" * (length - len(ending) - len(os.fsencode(name)))
    video = make_video(tmp_path / "videos" / ("c" * length) / "v.mp4", frames=2)
    video = video.rename(video.with_name(name + ending))
    assert len(os.fsencode(video.name)) == length
    report = extract_tree(tmp_path / "videos", tmp_path / "frames", progress=False)
    assert report == ExtractReport(extracted=1, frames=2)
    out = tmp_path / "frames" / ("c" * length) / name
    assert sorted(path.name for path in out.iterdir()) == [".extract.json", "000001.jpg", "000002.jpg"]
    assert hidden(tmp_path / "frames") == []
    assert extract_tree(tmp_path / "videos", tmp_path / "frames", progress=False) == ExtractReport(kept=1, frames=2)


def test_what_a_killed_run_left_of_a_long_name_is_removed(tmp_path: Path) -> None:
    names = ["n" * 251, "n" * 250 + "m"]  # they differ after the part that the folder aside keeps
    for name in names:
        make_video(tmp_path / "videos" / "v.mp4", frames=2).rename(tmp_path / "videos" / f"{name}.mp4")
        leftover = _aside_name(tmp_path / "frames" / name)
        leftover.mkdir(parents=True)
        (leftover / "000001.jpg").write_bytes(b"half")
    assert len(hidden(tmp_path)) == 2
    extract_video(tmp_path / "videos" / f"{names[0]}.mp4", tmp_path / "frames" / names[0])
    assert len(hidden(tmp_path)) == 1, "only its own"
    report = extract_tree(tmp_path / "videos", tmp_path / "frames", progress=False)
    assert report == ExtractReport(extracted=1, kept=1, frames=4)
    assert hidden(tmp_path) == []


def test_a_name_too_long_for_the_frames_file_system_fails_that_video_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encrypted home folders (eCryptfs) take 143 bytes, not 255."""
    make_video(tmp_path / "videos" / "good.mp4", frames=2)
    shutil.copy(tmp_path / "videos" / "good.mp4", tmp_path / "videos" / f"{'n' * 245}.mp4")

    def limited(of: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Path, *args: Any, **kwargs: Any) -> Any:
            if "frames" in path.parts and any(len(part) > 143 for part in path.parts):
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(path))
            return of(path, *args, **kwargs)

        return call

    for name in ("mkdir", "read_text"):
        monkeypatch.setattr(Path, name, limited(getattr(Path, name)))
    report = extract_tree(tmp_path / "videos", tmp_path / "frames", progress=False)
    assert (report.extracted, report.frames, len(report.failed)) == (1, 2, 1)
    assert "name too long" in report.failed[0][1]


def test_two_videos_for_one_folder_stop_before_the_first(tmp_path: Path) -> None:
    root = tree(tmp_path / "videos")
    (root / "top.webm").write_bytes(b"")
    with pytest.raises(ExtractError, match=r"top\.mp4 and top\.webm would both be extracted to"):
        extract_tree(root, tmp_path / "frames", progress=False)
    (root / "top.webm").unlink()
    (root / "moving, left.mp4").write_bytes(b"")
    with pytest.raises(ExtractError, match=r"moving, left\.mp4 would be extracted to .*, where .* goes too"):
        extract_tree(root, tmp_path / "frames", progress=False)
    assert not (tmp_path / "frames").exists()


def test_a_root_without_videos(tmp_path: Path) -> None:
    with pytest.raises(ExtractError, match="no such folder"):
        extract_tree(tmp_path / "videos", tmp_path / "frames")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.rm").write_bytes(b"")
    with pytest.raises(ExtractError, match=r"found no videos, only\n  a\.rm: an empty file"):
        extract_tree(tmp_path / "videos", tmp_path / "frames")


@posix
def test_a_full_disk_stops_the_run_rather_than_failing_every_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path / "videos")
    full = tmp_path / "bin" / "ffmpeg"
    full.parent.mkdir()
    full.write_text('#!/bin/sh\necho "av_interleaved_write_frame(): No space left on device" >&2\nexit 1\n')
    full.chmod(0o755)
    monkeypatch.setenv("PATH", f"{full.parent}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(ExtractError, match=r"No space left on device; free some space and run again"):
        extract_tree(root, tmp_path / "frames", progress=False)
    assert not (tmp_path / "frames" / "failed.csv").exists()


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM])
def test_permission_denied_fails_a_video_but_stops_the_run_at_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """As the system reports it to a user; test_videos.py has the same with real permissions."""
    root, refused = tree(tmp_path / "videos"), tmp_path / "videos" / "top.mp4"
    opened = run_ffmpeg

    def guarded(video: Path, folder: Path, *args: Any) -> int:
        if refused in (video, folder.parent / "top.mp4"):
            raise PermissionError(code, os.strerror(code), str(refused))
        return opened(video, folder, *args)

    monkeypatch.setattr("hitagu_lib.prepare.extract.run_ffmpeg", guarded)
    report = extract_tree(root, tmp_path / "frames", progress=False)
    assert (report.extracted, report.frames) == (2, 7)
    assert report.failed == [("top.mp4", f"cannot read this video: {os.strerror(code)}")]
    refused = tmp_path / "frames" / "top.mp4"
    with pytest.raises(ExtractError, match=rf"{os.strerror(code)}; fix that and run again: finished videos are kept"):
        extract_tree(root, tmp_path / "frames", progress=False)


# Executors


class Counting(Executor):
    """Counts the futures that are alive at once."""

    def __init__(self) -> None:
        self.pool, self.lock = ThreadPoolExecutor(1), threading.Lock()
        self.alive = self.most = self.all = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        with self.lock:
            self.all += 1
            self.alive += 1
            self.most = max(self.most, self.alive)
        future = self.pool.submit(fn, *args, **kwargs)
        future.add_done_callback(self._done)
        return future

    def _done(self, future: Future[Any]) -> None:
        with self.lock:
            self.alive -= 1


@pytest.mark.slow
def test_few_futures_are_alive_at_once(tmp_path: Path) -> None:
    video = make_video(tmp_path / "v.mp4", frames=1)
    for i in range(20):
        target = tmp_path / "videos" / f"v{i:02d}.mp4"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(video, target)
    counting = Counting()
    report = extract_tree(tmp_path / "videos", tmp_path / "frames", executor=counting, workers=1, progress=False)
    counting.pool.shutdown()
    assert report == ExtractReport(extracted=20, frames=20)
    assert counting.all == 20
    assert 2 <= counting.most <= 4


class Idle(Executor):
    """Begins nothing but the first task, which fails."""

    def __init__(self) -> None:
        self.given: list[Future[Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.given.append(Future())
        if len(self.given) == 1:
            self.given[0].set_exception(ExtractError("the first one"))
        return self.given[-1]


def test_the_last_task_of_an_extraction_that_fails_is_not_a_cancelled_one(tmp_path: Path) -> None:
    """A process pool of Python 3.11.2, Debian's, would never shut down."""
    root = tree(tmp_path / "videos")
    idle = Idle()
    with pytest.raises(ExtractError, match="the first one"):
        extract_tree(root, tmp_path / "frames", executor=idle, progress=False)
    _, *cancelled, last = idle.given
    assert cancelled and all(future.cancelled() for future in cancelled) and not last.cancelled()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_any_executor_will_do(tmp_path: Path, kind: str) -> None:
    root = tree(tmp_path / "videos")
    (root / "zero.webm").write_bytes(b"")
    pool = ThreadPoolExecutor(2) if kind == "threads" else ProcessPoolExecutor(2, mp_context=get_context("spawn"))
    with pool:
        report = extract_tree(root, tmp_path / "frames", executor=pool, progress=False)
        assert (report.extracted, report.frames, [video for video, _ in report.failed]) == (3, 9, ["zero.webm"])
        assert pool.submit(max, 1, 2).result() == 2  # ours to use, not to shut down
        with pytest.raises(ExtractError, match="was made with short_side 256"):  # and errors find their way back
            extract_tree(root, tmp_path / "frames", short_side=24, executor=pool, progress=False)


@pytest.mark.slow
def test_a_dask_cluster_will_do(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    root = tree(tmp_path / "videos")
    (root / "late.mp4").write_bytes(b"")
    with (
        distributed.LocalCluster(1, processes=False, threads_per_worker=2, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        report = extract_tree(root, tmp_path / "frames", executor=client.get_executor(), progress=False)
        assert (report.extracted, report.frames, [video for video, _ in report.failed]) == (3, 9, ["late.mp4"])
        # Dask keeps results by function and arguments; a second run is work to be done anew all the same.
        make_video(root / "late.mp4", frames=6)
        report = extract_tree(root, tmp_path / "frames", executor=client.get_executor(), progress=False)
        assert report == ExtractReport(extracted=1, kept=3, frames=15, skipped=NOTES)
