"""Video files to folders of JPEG frames, through ffmpeg.

    video -> ffmpeg -> .name.partial-<id>/ 000001.jpg ... -> checks -> rename -> name/ 000001.jpg ... and .extract.json

A frame folder is there whole or not at all. Its hidden .extract.json keeps the settings, the video's size in bytes and
the number of frames; while a folder is in the making, the same file carries the lock by which other runs see that its
maker lives. A rename outlives a killed process, not a power cut: after one, `hitagu index --check` finds what was lost.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
import uuid
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TextIO

from tqdm.auto import tqdm

from hitagu_lib.errors import ExtractError
from hitagu_lib.files import quoted, write_atomic
from hitagu_lib.media.ffmpeg import VIDEO_SUFFIXES, RunError, Settings, ffmpeg_path, run_ffmpeg, stop_run

if sys.platform != "win32":
    import fcntl

MARKER = ".extract.json"
MANIFEST = "failed.csv"
_PARTIAL = re.compile(r"\.(.+)\.partial-[0-9a-f]{12}")
_EVERY_VIDEOS_ERRORS = {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE}


@dataclass(frozen=True)
class ExtractReport:
    """What `extract_tree` did: videos extracted now; kept, since they were whole; failed, as (video relative to root,
    reason) by name; and the frames of those that are whole."""

    extracted: int = 0
    kept: int = 0
    frames: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


def extract_video(
    video: Path,
    out: Path,
    *,
    short_side: int | None = 256,
    fps: float | None = None,
    quality: int = 2,
    overwrite: bool = False,
) -> int:
    """Write the frames of one video as out/000001.jpg, 000002.jpg ...; return their number.

    short_side: pixels that the shorter side is scaled down to, never up; None: as it is. fps: None: every frame once;
    else frames are dropped or repeated to this rate. quality: ffmpeg's -q:v, 2 (best) to 31.

    A folder made before from a video of this size with these settings is kept. Made otherwise, it is an error, or with
    `overwrite` replaced once the new one is whole. Raises ExtractError also for a video that cannot be decoded to its end.
    """
    out = Path(os.path.abspath(out))
    settings = Settings(short_side, fps, quality)
    _remove_leftovers(out.parent, out.name)
    return _extract(Path(video), out, settings, overwrite, run="")[0]


def extract_tree(
    root: Path,
    out: Path,
    *,
    short_side: int | None = 256,
    fps: float | None = None,
    quality: int = 2,
    suffixes: tuple[str, ...] = VIDEO_SUFFIXES,
    executor: Executor | None = None,
    workers: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
) -> ExtractReport:
    """Extract every video below `root` into the same folders below `out`: root/a/vid.mp4 -> out/a/vid/000001.jpg ...

    The other settings are extract_video's. Run again after being stopped in any way it goes on: whole folders are kept.

    executor: any concurrent.futures.Executor, such as Dask's client.get_executor(), whose workers see the same files
    under the same paths; None: threads, each waiting for an ffmpeg of one thread. workers: threads, None: one a core;
    with an executor: how many workers it has, so that a few tasks more than that are in flight, None: 1024 tasks.

    Videos that fail are listed in out/failed.csv (video,reason: ffmpeg's last line), and the rest goes on; without failures
    there is no such file. Raises ExtractError at once for what no next video would escape: two videos that would share a
    folder, no video at all, folders made with other settings, a full disk.
    """
    root, out = Path(os.path.abspath(root)), Path(os.path.abspath(out))
    settings = Settings(short_side, fps, quality)
    ffmpeg_path()
    targets = find_videos(root, out, suffixes)
    for parent in {(out / target).parent for target in targets.values()}:
        _remove_leftovers(parent)
    run = uuid.uuid4().hex
    jobs = ((video, (root / video, out / target, settings, overwrite, run)) for video, target in targets.items())
    counts = {"extracted": 0, "kept": 0, "frames": 0}
    failed: list[tuple[str, str]] = []
    pool = executor or ThreadPoolExecutor(workers or usable_cores())
    # Just enough futures to keep all workers busy: 540,000 at once would burden a cluster's scheduler.
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
            with nullcontext() if finished else suppress(OSError):  # the disk may be full, which is being said already
                _write_manifest(out / MANIFEST, sorted(failed))
    return ExtractReport(**counts, failed=sorted(failed))


def find_videos(root: Path, out: Path, suffixes: tuple[str, ...]) -> dict[str, str]:
    """Video -> its frame folder, both relative, sorted. Hidden entries are passed over."""
    if not root.is_dir():
        raise ExtractError(f"{root}: no such folder, expected one with videos in it")

    def refuse(error: OSError) -> None:
        raise ExtractError(f"{error.filename}: cannot list this folder: {error.strerror}") from error

    owner: dict[str, str] = {}
    others: set[str] = set()
    for folder, subfolders, files in os.walk(root, onerror=refuse, followlinks=True):
        # The output may lie below the root: millions of frames, none a video.
        subfolders[:] = [s for s in sorted(subfolders) if not s.startswith(".") and Path(folder, s) != out]
        for name in sorted(files):
            stem, suffix = os.path.splitext(name)
            if name.startswith(".") or suffix.lower() not in suffixes:
                others.add(suffix.lower())
                continue
            video = Path(folder, name).relative_to(root)
            target = (video.parent / stem).as_posix()
            if target in owner:
                raise ExtractError(
                    f"{root}: {owner[target]} and {video.as_posix()} would both be extracted to {out / target}; "
                    "rename one, or extract them from different roots"
                )
            owner[target] = video.as_posix()
    if not owner:
        found = f"found only files of {', '.join(sorted(others - {''}))}" if others - {""} else "found no files"
        raise ExtractError(f"{root}: {found}, expected videos: {' '.join(suffixes)}")
    for target in owner:
        for above in Path(target).parents:
            if above.as_posix() in owner:
                raise ExtractError(
                    f"{root}: {owner[above.as_posix()]} would be extracted to {out / above}, where {owner[target]} goes too; "
                    "rename the video or the folder"
                )
    return {video: target for target, video in sorted(owner.items())}


_Job = tuple[Path, Path, Settings, bool, str]
_Outcome = tuple[str, int, str]  # "extracted", "kept" or "failed"; frames; reason


def _task(video: Path, out: Path, settings: Settings, overwrite: bool, run: str) -> _Outcome:
    """One video, in any worker. `run` tells runs apart: Dask would hand a second run the first one's result."""
    try:
        frames, kept = _extract(video, out, settings, overwrite, run)
    except RunError:
        raise
    except ExtractError as error:
        return "failed", 0, str(error).removeprefix(f"{video}: ")
    return ("kept" if kept else "extracted"), frames, ""


def _in_window(pool: Executor, jobs: Iterable[tuple[str, _Job]], window: int) -> Generator[tuple[str, _Outcome]]:
    """Results as they come, with at most `window` futures alive. On the way out what has not begun is cancelled."""
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
                future = done.get(timeout=0.5)  # without a timeout Ctrl-C would not be heard on Windows
            except Empty:
                continue
            yield alive.pop(future), future.result()
    finally:
        for future in alive:
            future.cancel()


def _extract(video: Path, out: Path, settings: Settings, overwrite: bool, run: str) -> tuple[int, bool]:
    """Number of frames, and whether they were there already."""
    video = Path(os.path.abspath(video))
    try:
        source_bytes = video.stat().st_size
    except OSError as error:
        raise ExtractError(f"{video}: cannot read this video: {error.strerror}") from error
    asked = {**asdict(settings), "source_bytes": source_bytes}
    if (frames := _kept(video, out, asked, overwrite)) is not None:
        return frames, True
    try:
        with _aside(out) as (partial, marker):
            frames = run_ffmpeg(video, partial, settings, run)
            json.dump({**asked, "frames": frames}, marker)
            marker.flush()
            if sys.platform == "win32":
                marker.close()  # Windows renames no folder with an open file in it
            if (theirs := _kept(video, out, asked, overwrite)) is not None:  # another run was faster
                return theirs, True
            if out.exists():
                _throw_away(out, out)
            os.rename(partial, out)
    except OSError as error:
        what = f"{error.filename or out}: {error.strerror}"
        if error.errno in _EVERY_VIDEOS_ERRORS:
            raise RunError(f"{what}; mend that, then run again: it goes on where it stopped") from error
        raise ExtractError(f"{video}: {what}") from error
    return frames, False


def _kept(video: Path, out: Path, asked: dict[str, object], overwrite: bool) -> int | None:
    """Number of frames of a folder that is whole and as asked for; None where it is to be made."""
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
    advice = "remove the folder, extract to another, or ask to overwrite it (--overwrite)"
    if found is None:
        raise RunError(f"{out}: holds files already, but no {MARKER}: not made by this program; {advice}")
    differ = [key for key in asked if found.get(key) != asked[key]]
    there, wanted = (", ".join(f"{key} {of.get(key)}" for key in differ) for of in (found, asked))
    message = f"{out}: was made with {there}; asked for is {wanted}; {advice}"
    # Other settings concern the whole tree, a video that was changed since concerns itself.
    raise ExtractError(f"{video}: {message}") if differ == ["source_bytes"] else RunError(message)


@contextmanager
def _aside(out: Path) -> Iterator[tuple[Path, TextIO]]:
    """A hidden folder beside `out` with its open marker, locked while this process lives; gone at the end unless renamed."""
    folder = _aside_name(out)
    folder.mkdir(parents=True)
    with open(folder / MARKER, "w", encoding="utf-8") as marker:
        if sys.platform != "win32":
            with suppress(OSError):  # a file system without locks: others then take us for alive
                fcntl.flock(marker, fcntl.LOCK_EX)
        try:
            yield folder, marker
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _aside_name(out: Path) -> Path:
    return out.with_name(f".{out.name}.partial-{uuid.uuid4().hex[:12]}")


def _remove_leftovers(parent: Path, name: str | None = None) -> None:
    """Remove what killed runs left in a folder, of frame folder `name` or of all."""
    if not parent.is_dir():
        return
    for entry in os.listdir(parent):
        match = _PARTIAL.fullmatch(entry)
        if match and name in (None, match[1]) and not _is_live(parent / entry):
            with suppress(OSError):
                _throw_away(parent / entry, parent / match[1])


def _throw_away(folder: Path, out: Path) -> None:
    """Remove a folder under another name: an ffmpeg that outlived its run can then add nothing to it, and stops."""
    trash = _aside_name(out)
    os.rename(folder, trash)
    shutil.rmtree(trash, ignore_errors=True)


def _is_live(partial: Path) -> bool:
    """Whether the maker of a folder still holds its lock."""
    if sys.platform == "win32":
        return False  # there the open marker itself keeps the folder from being renamed
    try:
        with open(partial / MARKER, "r+b") as marker:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # held; or a file system without locks, where a leftover is better kept than a live one removed
        return True
    return False


def _refuse_other_files(out: Path) -> None:
    """Overwriting removes frames, and nothing else that lies in a folder of that name."""
    for name in os.listdir(out):
        if name != MARKER and not re.fullmatch(r"[0-9]{6,}\.jpg", name):
            raise RunError(f"{out}: holds {name!r}, which is no frame; not overwritten")


def _write_manifest(file: Path, failed: list[tuple[str, str]]) -> None:
    if failed:
        write_atomic(file, ["video,reason\n", *(f"{quoted(video)},{quoted(reason)}\n" for video, reason in failed)])
    else:
        file.unlink(missing_ok=True)


def usable_cores() -> int:
    """Cores that this process may use: under a scheduler often fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
