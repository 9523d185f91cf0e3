"""`hitagu index --check`: does the disk hold what a list says?

Frames and videos are decoded by the functions that training reads them with: what passes here can be read there, and what is
refused is refused in the same words.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from hitagu_lib.data.clip_list import ClipList
from hitagu_lib.data.frames import NO_BYTES, cannot_read, frame_size, read_frame
from hitagu_lib.data.video import count_video, find_video, too_few
from hitagu_lib.errors import ClipError
from hitagu_lib.media.frame_folder import FRAME_NAME, count_frames
from hitagu_lib.prepare.extract import usable_cores
from hitagu_lib.prepare.index import in_threads


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
    """Return what is wrong on disk with the clips of a list, in the list's order; empty when all is well.

    source: what the paths name, as `data.source` has it. decode: True decodes every listed frame; False only makes sure that each is
    there and not empty. workers: threads; None: one per core. More frames on disk than the row says are not a problem.
    """
    check = _video_problems if source == "video" else _clip_problems

    def problems(i: int) -> list[Problem]:
        found = check(clips.frames_dir(i), int(clips.num_frames[i]), decode)
        return [Problem(clips.row(i), clips.path(i), what) for what in found]

    return list(chain(*in_threads(problems, range(len(clips)), 32, workers or usable_cores(), "checking", progress)))


def _clip_problems(folder: Path, expected: int, decode: bool) -> list[str]:
    """Return what is wrong with frames 1 .. expected of a folder: one line for each kind of fault."""
    count, fault = count_frames(folder)
    problems = [fault] if fault else []
    if 0 < count < expected:
        problems.append(f"found {count} frames from 000001.jpg, expected {expected} as the list says")
    bad: list[str] = []
    sizes: dict[str, str] = {}  # size -> the first frame of it
    for name in map(FRAME_NAME.format, range(1, min(count, expected) + 1)):
        try:
            if decode:
                sizes.setdefault(frame_size(read_frame(folder / name)), name)
            elif not _bytes_of(folder / name):
                bad.append(f"{name}: {NO_BYTES}")
        except ClipError as error:
            bad.append(f"{name}: " + str(error).removeprefix(f"{folder / name}: "))
    if bad:
        problems.append(bad[0] + (f" (so are {len(bad) - 1} more frames of this clip)" if len(bad) > 1 else ""))
    if len(sizes) > 1:
        from_on = ", ".join(f"{size} from {name}" for size, name in sizes.items())
        problems.append(f"found frames of different sizes, expected one size: {from_on}")
    return problems


def _video_problems(path: Path, expected: int, decode: bool) -> list[str]:
    """Return what is wrong with the video that a row names, as `_clip_problems` does for frames."""
    if os.path.isdir(path):  # read as frames, as training does
        return _clip_problems(path, expected, decode)
    if not decode:
        try:
            found = find_video(path)
            return [] if _bytes_of(found) else [f"{found.name}: found 0 bytes, expected a video"]
        except ClipError as error:
            return [str(error).removeprefix(f"{path}: ")]
    count, fault = count_video(path)
    if fault:
        return [fault]
    return [] if count >= expected else [too_few(count, expected)]


def _bytes_of(file: Path) -> int:
    """Return a file's size. Raises ClipError where it cannot be opened, as reading it would."""
    try:
        with open(file, "rb") as stream:
            return stream.seek(0, 2)
    except OSError as error:
        raise cannot_read(file, error) from error
