"""Extract video files to folders of JPEG frames, through ffmpeg.

    video -> ffmpeg -> .name.partial-<id>/ 000001.jpg ... -> checks -> rename -> name/ 000001.jpg ... and .extract.json

A frame folder appears complete or not at all. Its hidden .extract.json stores the settings, the size of the video in bytes
and the number of frames. While the folder is being made, the same file is locked, which tells other runs that its maker is
alive. (The lock is made here, not by filelock, because it is renamed together with its folder.) A rename survives a killed
process but not a power cut: after one, `hitagu index --check` finds what was lost.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sys
import uuid
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TextIO

from tqdm.auto import tqdm

from hitagu_lib.errors import ExtractError
from hitagu_lib.media.ffmpeg import (
    RunError,
    Settings,
    ffmpeg_path,
    run_ffmpeg,
    run_ffmpeg_once,
    stop_run,
    why_not_a_file,
)
from hitagu_lib.media.frame_folder import IS_FRAME
from hitagu_lib.prepare.videos import MANIFEST, MARKER, SKIPPED, Found, Reasons, find_videos, write_reasons

if sys.platform != "win32":
    import fcntl

_PARTIAL = re.compile(r"\.(.+)\.partial-[0-9a-f]{12}", re.DOTALL)
_LONGEST = 230
"""Bytes of a frame folder's name that fit, with a dot and `.partial-<id>`, into the 255 of most file systems."""
_EVERY_VIDEOS_ERRORS = {errno.ENOSPC, errno.EROFS, errno.EMFILE, errno.ENFILE}
_PERMISSION_ERRORS = {errno.EACCES, errno.EPERM}


@dataclass(frozen=True)
class ExtractReport:
    """What `extract_tree` did.

    extracted: videos extracted now. kept: videos whose frames were there already. frames: of both together.
    failed, skipped: videos that could not be extracted, and entries that are not videos, as (path below root, reason).
    """

    extracted: int = 0
    kept: int = 0
    frames: int = 0
    failed: Reasons = field(default_factory=list)
    skipped: Reasons = field(default_factory=list)


def extract_video(
    video: Path,
    out: Path,
    *,
    short_side: int | None = Settings.short_side,
    fps: float | None = Settings.fps,
    quality: int = Settings.quality,
    overwrite: bool = False,
) -> int:
    """Write the frames of one video as out/000001.jpg, 000002.jpg ... and return their number.

    short_side: scale the shorter side down to this many pixels, never up; None keeps the size.
    fps: drop or repeat frames to reach this rate; None writes every frame once.
    quality: ffmpeg's -q:v, 2 (best) to 31.
    overwrite: replace a folder that was made with other settings, once the new one is complete.

    A folder that was made from a video of this size with these settings is kept. Raises ExtractError for a folder that was
    made otherwise (unless `overwrite`), and for a video that cannot be decoded to its end.
    """
    out = Path(os.path.abspath(out))
    settings = Settings(short_side, fps, quality)
    _remove_leftovers(out.parent, out.name)
    return _extract(Path(video), out, settings, overwrite, run="")[0]


def extract_short(videos: Mapping[Path, Path]) -> None:
    """Extract short videos (video -> frame folder) with one ffmpeg, under extract_video's usual settings.

    Starting ffmpeg takes longer than decoding a second of small video. Folders that exist are left as they are. If ffmpeg fails, no
    folder is made. `extract_tree` judges the former, makes what is missing, and says what is wrong with which video.
    """
    settings = Settings()
    with ExitStack() as stack:
        asides = {video: stack.enter_context(_aside(out)) for video, out in videos.items() if not out.exists()}
        if not asides:
            return
        try:
            frames = run_ffmpeg_once({video: partial for video, (partial, _) in asides.items()}, settings)
        except ExtractError:
            return
        for video, (partial, marker) in asides.items():
            _mark(marker, {**asdict(settings), "source_bytes": video.stat().st_size, "frames": frames[video]})
            os.rename(partial, videos[video])


def extract_tree(
    root: Path,
    out: Path,
    *,
    short_side: int | None = Settings.short_side,
    fps: float | None = Settings.fps,
    quality: int = Settings.quality,
    found: Found | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
) -> ExtractReport:
    """Extract every video below `root` into the same folders below `out`: root/a/vid.mp4 -> out/a/vid/000001.jpg ...

    Other settings: see extract_video. A stopped run resumes: complete folders are kept.

    found: what `find_videos` returned for `root`; None searches now.
    executor: any concurrent.futures.Executor whose workers see the same files under the same paths, such as Dask's
    client.get_executor(); None uses threads, each of which waits for a single-threaded ffmpeg.
    workers: the number of threads, None one per core. With an executor: how many workers it has, which limits the tasks
    in flight to a few more than that; None allows 1024 tasks.

    Videos that fail do not stop the others; they are listed in out/failed.csv (video,reason), entries that are not videos
    in out/skipped.csv (path,reason). A file without rows is removed. Raises ExtractError for what would stop every video:
    two that would share a folder, no video at all, folders made with other settings, a full disk.
    """
    root, out = Path(os.path.abspath(root)), Path(os.path.abspath(out))
    settings = Settings(short_side, fps, quality)
    ffmpeg_path()
    found = found or find_videos(root, out)
    targets = found.videos
    for parent in {(out / target).parent for target in targets.values()}:
        _remove_leftovers(parent)
    run = uuid.uuid4().hex
    jobs = ((video, (root / video, out / target, settings, overwrite, run)) for video, target in targets.items())
    counts = {"extracted": 0, "kept": 0, "frames": 0}
    failed = list(found.failed)
    pool = executor or ThreadPoolExecutor(workers or usable_cores())
    # Just enough futures to keep all workers busy: 540,000 at once would overload a cluster's scheduler.
    window = 1024 if executor and not workers else 4 * (workers or usable_cores())
    finished = False
    try:
        with (
            tqdm(total=len(targets), desc="extracting", unit="video", disable=None if progress else True) as bar,
            closing(_in_window(pool, jobs, window)) as outcomes,
        ):
            for video, (what, frames, reason) in outcomes:
                if what == "failed":
                    failed.append((video, reason))
                    bar.set_postfix(failed=len(failed))
                else:
                    counts[what] += 1
                    counts["frames"] += frames
                bar.update()
        finished = True
    finally:
        if not finished:
            stop_run(run)
        if executor is None:
            pool.shutdown(cancel_futures=True)
        if finished or failed:
            # The disk may be full, which is being reported already.
            with nullcontext() if finished else suppress(OSError):
                write_reasons(out / MANIFEST, sorted(failed), "video")
                write_reasons(out / SKIPPED, found.skipped, "path")
    return ExtractReport(**counts, failed=sorted(failed), skipped=found.skipped)


_Job = tuple[Path, Path, Settings, bool, str]
_Outcome = tuple[str, int, str]  # "extracted", "kept" or "failed"; frames; reason


def _task(video: Path, out: Path, settings: Settings, overwrite: bool, run: str) -> _Outcome:
    """Extract one video, in any worker. `run` differs between runs, or Dask would return an earlier run's result."""
    try:
        frames, kept = _extract(video, out, settings, overwrite, run)
    except RunError:
        raise
    except ExtractError as error:
        return "failed", 0, str(error).removeprefix(f"{video}: ")
    return ("kept" if kept else "extracted"), frames, ""


def _in_window(pool: Executor, jobs: Iterable[tuple[str, _Job]], window: int) -> Generator[tuple[str, _Outcome]]:
    """Yield results as they arrive, with at most `window` futures alive. At the end, cancel those that have not begun."""
    alive: dict[Future[_Outcome], str] = {}
    done: SimpleQueue[Future[_Outcome]] = SimpleQueue()
    todo = iter(jobs)
    try:
        while True:
            while len(alive) < window and (job := next(todo, None)) is not None:
                future = pool.submit(_task, *job[1])
                alive[future] = job[0]
                future.add_done_callback(done.put)
            if not alive:
                return
            try:
                future = done.get(timeout=0.5)  # without a timeout, Windows would not notice Ctrl-C
            except Empty:
                continue
            yield alive.pop(future), future.result()
    finally:
        if sum([future.cancel() for future in alive]):
            # A process pool of Python 3.11.2, Debian's, never shuts down if the last futures that it was given are cancelled.
            with suppress(RuntimeError):  # shut down already, or broken
                pool.submit(int)


def _extract(video: Path, out: Path, settings: Settings, overwrite: bool, run: str) -> tuple[int, bool]:
    """Return the number of frames, and whether they were there already."""
    video = Path(os.path.abspath(video))
    if out.is_symlink():  # to a larger disk, perhaps: it is followed, not replaced
        out = Path(os.path.realpath(out))
    try:
        source_bytes = video.stat().st_size
    except OSError as error:
        raise ExtractError(f"{video}: cannot read this video: {error.strerror}") from error
    if why := why_not_a_file(video):  # opening a named pipe would never return
        raise ExtractError(f"{video}: {why}, expected a video file")
    asked = {**asdict(settings), "source_bytes": source_bytes}
    try:
        if (frames := _kept(video, out, asked, overwrite)) is not None:
            return frames, True
        with _aside(out) as (partial, marker):
            frames = run_ffmpeg(video, partial, settings, run)
            _mark(marker, {**asked, "frames": frames})
            if (theirs := _kept(video, out, asked, overwrite)) is not None:  # another run was faster
                return theirs, True
            if out.exists():
                _throw_away(out, out)
            os.rename(partial, out)
    except OSError as error:
        what = f"{error.filename or out}: {error.strerror}"
        at_source = error.filename == str(video)
        if error.errno in _EVERY_VIDEOS_ERRORS or (error.errno in _PERMISSION_ERRORS and not at_source):
            raise RunError(f"{what}; fix that and run again: finished videos are kept") from error
        if at_source:
            raise ExtractError(f"{video}: cannot read this video: {error.strerror}") from error
        raise ExtractError(f"{video}: {what}") from error
    return frames, False


def _kept(video: Path, out: Path, asked: dict[str, object], overwrite: bool) -> int | None:
    """Return the number of frames of a folder that is complete and made as asked; None if it must be made."""
    try:
        found = json.loads((out / MARKER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not out.is_dir() or not any(out.iterdir()):
            return None
        found = None
    except NotADirectoryError:
        raise RunError(f"{out}: is a file, expected a folder for frames or nothing") from None
    except ValueError:
        found = {}
    if found == {**asked, "frames": (found or {}).get("frames")}:
        return int(found["frames"])
    if overwrite:
        _refuse_other_files(out)
        return None
    advice = "remove the folder, choose another, or replace its frames with `hitagu extract --overwrite`"
    if found is None:
        raise RunError(f"{out}: holds files already, but no {MARKER}: not made by this program; {advice}")
    differ = [key for key in asked if found.get(key) != asked[key]]
    there, wanted = (", ".join(f"{key} {of.get(key)}" for key in differ) for of in (found, asked))
    message = f"{out}: was made with {there}; asked for is {wanted}; {advice}"
    # Other settings concern the whole tree; a video that has changed since then concerns only itself.
    raise ExtractError(f"{video}: {message}") if differ == ["source_bytes"] else RunError(message)


@contextmanager
def _aside(out: Path) -> Iterator[tuple[Path, TextIO]]:
    """Yield a hidden folder beside `out` and its open marker, which is locked while this process lives.

    Unless the folder is renamed, it is removed at the end.
    """
    folder = _aside_name(out)
    folder.mkdir(parents=True)
    with open(folder / MARKER, "w", encoding="utf-8") as marker:
        if sys.platform != "win32":
            with suppress(OSError):  # a file system without locks: others then assume that we are alive
                fcntl.flock(marker, fcntl.LOCK_EX)
        try:
            yield folder, marker
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _mark(marker: TextIO, contents: dict[str, object]) -> None:
    """Say in a frame folder's marker how it was made."""
    json.dump(contents, marker)
    marker.flush()
    if sys.platform == "win32":
        marker.close()  # Windows does not rename a folder that has an open file in it


def _aside_name(out: Path) -> Path:
    return out.with_name(f".{_shortened(out.name)}.partial-{uuid.uuid4().hex[:12]}")


def _shortened(name: str) -> str:
    """Return the name, or, if it is too long to be extended, its beginning and a digest of the whole."""
    raw = os.fsencode(name)
    if len(raw) <= _LONGEST:
        return name
    return f"{raw[: _LONGEST - 20].decode('utf-8', 'ignore')}~{hashlib.sha256(raw).hexdigest()[:16]}"


def _remove_leftovers(parent: Path, name: str | None = None) -> None:
    """Remove what killed runs left in a folder: of the frame folder `name`, or of all."""
    if not parent.is_dir():
        return
    for entry in os.listdir(parent):
        match = _PARTIAL.fullmatch(entry)
        if match and (name is None or match[1] == _shortened(name)) and not _is_live(parent / entry):
            with suppress(OSError):
                _throw_away(parent / entry, parent / match[1])


def _throw_away(folder: Path, out: Path) -> None:
    """Rename a folder, then remove it: an ffmpeg that outlived its run can no longer write to it, and stops."""
    trash = _aside_name(out)
    os.rename(folder, trash)
    shutil.rmtree(trash, ignore_errors=True)


def _is_live(partial: Path) -> bool:
    """Return whether the maker of a folder still holds its lock."""
    if sys.platform == "win32":
        return False  # there the open marker itself keeps the folder from being renamed
    try:
        with open(partial / MARKER, "r+b") as marker:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        # Locked; or a file system without locks, where keeping a leftover is better than removing a live folder.
        return True
    return False


def _refuse_other_files(out: Path) -> None:
    """Raise RunError if a folder holds anything but frames: overwriting must not remove it."""
    for name in os.listdir(out):
        if name != MARKER and not IS_FRAME.fullmatch(name):
            raise RunError(f"{out}: holds {name!r}, which is no frame; not overwritten")


def usable_cores() -> int:
    """Return how many cores this process may use: under a scheduler often fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
