"""`hitagu index --check`: does the disk hold what a list says?"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm.auto import tqdm

from hitagu_lib.data.clip_list import ClipList
from hitagu_lib.errors import ClipError
from hitagu_lib.media.frame_folder import FRAME_NAME, count_frames
from hitagu_lib.prepare.extract import usable_cores


@dataclass(frozen=True)
class Problem:
    """Something wrong on disk with one clip: the list's line from 1, the clip's path as listed, what is wrong."""

    line: int
    path: str
    what: str


def check_list(
    clips: ClipList,
    *,
    source: str = "frames",
    decode: bool = True,
    workers: int | None = None,
    progress: bool = True,
) -> list[Problem]:
    """What is wrong on disk with the clips of a list, in the list's order; empty when all is well.

    source: what the paths are, as `data.source` has it. decode: True: every listed frame is decoded; False: only looked at (there, and
    not of zero bytes). workers: threads; None: one a core. More frames on disk than the row says are not a problem.
    """
    problems: list[Problem] = []
    stop = threading.Event()
    blocks = [range(start, min(start + 32, len(clips))) for start in range(0, len(clips), 32)]
    pool = ThreadPoolExecutor(workers or usable_cores())
    try:
        tasks = {pool.submit(_check_rows, clips, rows, source, decode, stop): len(rows) for rows in blocks}
        with tqdm(total=len(clips), desc="checking", unit="clip", disable=None if progress else True) as bar:
            for task in as_completed(tasks):
                problems += task.result()
                bar.update(tasks[task])
    finally:
        stop.set()  # Ctrl-C ends within a clip, not within a block
        pool.shutdown(cancel_futures=True)
    return sorted(problems, key=lambda problem: problem.line)


def _check_rows(clips: ClipList, rows: range, source: str, decode: bool, stop: threading.Event) -> list[Problem]:
    return [
        Problem(clips.row(i), clips.path(i), what)
        for i in rows
        if not stop.is_set()
        for what in (_video_problems if source == "video" else _clip_problems)(
            clips.frames_dir(i), int(clips.num_frames[i]), decode
        )
    ]


def _clip_problems(folder: Path, expected: int, decode: bool) -> list[str]:
    """What is wrong with frames 1 .. expected of a folder: one line for each kind of fault."""
    count, fault = count_frames(folder)
    problems = [fault] if fault else []
    if 0 < count < expected:
        problems.append(f"found {count} frames from 000001.jpg, expected {expected} as the list says")
    bad: list[str] = []
    sizes: dict[tuple[int, int], str] = {}
    for name in map(FRAME_NAME.format, range(1, min(count, expected) + 1)):
        try:
            if os.stat(folder / name).st_size == 0:
                bad.append(f"{name}: found 0 bytes, expected a JPEG")
            elif decode:
                with Image.open(folder / name, formats=["JPEG"]) as image:
                    sizes.setdefault(image.size, name)
                    image.draft("L", (1, 1))  # grey, an eighth of the size: still reads every byte
                    image.load()
        except (OSError, SyntaxError, ValueError) as error:  # Pillow raises all three for broken files
            bad.append(f"{name}: cannot be decoded: {error}")
    if bad:
        problems.append(bad[0] + (f" (so are {len(bad) - 1} more frames of this clip)" if len(bad) > 1 else ""))
    if len(sizes) > 1:
        from_on = ", ".join(f"{width}x{height} from {name}" for (width, height), name in sizes.items())
        problems.append(f"found frames of different sizes, expected one size: {from_on}")
    return problems


def _video_problems(path: Path, expected: int, decode: bool) -> list[str]:
    """What is wrong with the video that a row means, as `_clip_problems`."""
    from hitagu_lib.data.video import count_video, find_video  # PyAV is an optional extra

    if not decode:
        try:
            found = find_video(path)
        except ClipError as error:
            return [str(error).removeprefix(f"{path}: ")]
        return [] if found.stat().st_size else [f"{found.name}: found 0 bytes, expected a video"]
    count, fault = count_video(path)
    if fault:
        return [fault]
    return [] if count >= expected else [f"found {count} frames, expected {expected} as the list says"]
