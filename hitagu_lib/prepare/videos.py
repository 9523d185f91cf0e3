"""Which files below a folder are videos, and what happens to the others: nothing is left out without a word.

    root/ -> find_videos -> videos (with the folder for each one's frames), failed, skipped -> failed.csv, skipped.csv

A regular file with a known ending is a video; if it is broken, it fails when it is read. ffmpeg is asked about every other
file. What cannot be reached, such as a link to a disk that is not mounted, has failed. All else is skipped: files that are
not videos, named pipes, links back to a folder above. Hidden entries, whose names begin with a dot, do not count.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hitagu_lib.errors import ExtractError, first_of
from hitagu_lib.files import write_csv
from hitagu_lib.media.ffmpeg import CANNOT_READ, VIDEO_SUFFIXES, why_not_a_file, why_not_a_video
from hitagu_lib.media.frame_folder import LITTER

MANIFEST, SKIPPED = "failed.csv", "skipped.csv"
MARKER = ".extract.json"
"""The hidden file by which a folder of extracted frames is known."""
SHOWN = 10
"""How many of many faults a message spells out."""

Identity = tuple[int, int]
Reasons = list[tuple[str, str]]
"""(path relative to the root, reason), sorted."""


@dataclass(frozen=True)
class Found:
    """videos: video -> the folder of its frames. failed, skipped: the other entries. All paths are relative to the root."""

    videos: dict[str, str] = field(default_factory=dict)
    failed: Reasons = field(default_factory=list)
    skipped: Reasons = field(default_factory=list)


@dataclass(frozen=True)
class Entry:
    """One entry of a folder; links are followed. `why`: why it is neither a folder nor a file."""

    name: str
    kind: Literal["folder", "file", "unreachable", "special"]
    why: str = ""

    @property
    def named_like_a_video(self) -> bool:
        return os.path.splitext(self.name)[1].lower() in VIDEO_SUFFIXES


def listing(folder: Path) -> list[Entry]:
    """Return the entries of a folder, sorted by name: the same order on every system. Raises OSError.

    Hidden entries, what Windows leaves in folders, and this program's reports are left out.
    """
    with os.scandir(folder) as found:
        visible = [e for e in found if not (e.name.startswith(".") or e.name in {*LITTER, MANIFEST, SKIPPED})]
    return [_entry(e) for e in sorted(visible, key=lambda e: e.name)]


def _entry(found: os.DirEntry[str]) -> Entry:
    try:
        if found.is_dir():
            found.stat()  # a folder that may be listed but not entered tells names and no more
            return Entry(found.name, "folder")
        if found.is_file():
            return Entry(found.name, "file")
    except OSError:  # the next line finds the reason
        pass
    why = why_not_a_file(Path(found.path)) or "cannot be read"
    return Entry(found.name, "special" if why in ("a named pipe", "a socket", "a device") else "unreachable", why)


def find_videos(root: Path, out: Path, apart: Sequence[Path] = ()) -> Found:
    """Find the videos below `root` and name the folder below `out` for the frames of each: a/vid.mp4 -> a/vid.

    apart: folders that are not searched, besides `out` and every folder of frames that this program made.

    Raises ExtractError if there is no video, and if two videos would be extracted to one folder.
    """
    if not root.is_dir():
        raise ExtractError(f"{root}: no such folder, expected one with videos in it")
    candidates, unknown, failed, skipped = _walk(root, [path for path in (out, *apart) if path.exists()])
    if unknown:
        with ThreadPoolExecutor(8) as pool:  # each thread waits for the disk or for an ffmpeg
            for path, why in zip(unknown, pool.map(lambda path: why_not_a_video(root / path), unknown), strict=True):
                if why:
                    (failed if why.startswith(CANNOT_READ) else skipped).append((path, why))
                else:
                    candidates.append(path)
    if not candidates:
        others = [f"{path}: {why}" for path, why in sorted(failed + skipped)]
        raise ExtractError(
            f"{root}: found no {'videos, only' if others else 'files, expected videos'}\n{some(others)}".rstrip()
        )
    return Found(_targets(root, out, sorted(candidates)), sorted(failed), sorted(skipped))


def _walk(root: Path, excluded: Iterable[Path]) -> tuple[list[str], list[str], Reasons, Reasons]:
    """Return the files that are videos by their endings, the other files, what failed and what was skipped."""
    videos: list[str] = []
    others: list[str] = []
    failed: Reasons = []
    skipped: Reasons = []
    outside = identities(excluded)
    todo: list[tuple[str, list[Identity]]] = [("", [])]
    while todo:
        prefix, above = todo.pop()
        folder = root / prefix
        if os.path.exists(folder / MARKER):  # Path.exists raises an error in a folder that may not be entered
            continue
        try:
            above = above + identities([folder])
            entries = listing(folder)
        except OSError as error:
            failed.append((prefix.rstrip("/") or ".", f"cannot list this folder: {error.strerror}"))
            continue
        for entry in entries:
            path = prefix + entry.name
            if entry.kind == "folder":
                if loop := is_loop(root / path, above):
                    skipped.append((path, loop))
                elif identities([root / path])[0] not in outside:
                    todo.append((f"{path}/", above))
            elif entry.kind == "file":
                (videos if entry.named_like_a_video else others).append(path)
            else:
                lost = entry.kind == "unreachable" or entry.named_like_a_video
                (failed if lost else skipped).append((path, entry.why))
    return videos, others, failed, skipped


def is_loop(folder: Path, above: Collection[Identity]) -> str:
    """Return a reason if a link leads back to a folder above itself, else an empty text. Following it would never end."""
    return "a link back to a folder above it, not followed" if identities([folder])[0] in above else ""


def identities(folders: Iterable[Path]) -> list[Identity]:
    """Return what tells folders apart however they are named: device and inode."""
    return [(status.st_dev, status.st_ino) for status in map(Path.stat, folders)]


def _targets(root: Path, out: Path, videos: Sequence[str]) -> dict[str, str]:
    """Return video -> folder of frames. Raises ExtractError if two videos would share a folder, or one lie in another's."""
    owner: dict[str, str] = {}
    for video in videos:
        target = os.path.splitext(video)[0]
        if target in owner:
            raise ExtractError(
                f"{root}: {owner[target]} and {video} would both be extracted to {out / target}; "
                "rename one, or extract them from different roots"
            )
        owner[target] = video
    for target in owner:
        for above in Path(target).parents:
            if above.as_posix() in owner:
                raise ExtractError(
                    f"{root}: {owner[above.as_posix()]} would be extracted to {out / above}, where {owner[target]} goes too; "
                    "rename the video or the folder"
                )
    return {video: target for target, video in owner.items()}


def left_out(skipped: Sequence[tuple[str, str]], file: Path) -> str:
    """Return one line about the skipped entries, for the command line. file: where all of them are listed."""
    shown = first_of([f"{printable(path)} ({why})" for path, why in skipped], 3)
    return f"{len(skipped)} {'entry' if len(skipped) == 1 else 'entries'} left out: {shown}; see {file}"


def write_reasons(file: Path, rows: Sequence[Sequence[object]], *columns: str) -> None:
    """Write a CSV of `columns` and reason; without rows remove the file, which may be there from an earlier run."""
    if rows:
        write_rows(file, rows, (*columns, "reason"))
    else:
        file.unlink(missing_ok=True)


def write_rows(file: Path, rows: Iterable[Sequence[object]], header: Sequence[str] | None = None) -> None:
    """Write a CSV atomically, in UTF-8 whatever the names are, so that it can always be read again."""
    write_csv(file, ([printable(str(value)) for value in row] for row in rows), header)


def printable(name: str) -> str:
    r"""Return a file name as UTF-8 text. Linux allows any bytes in a name: those that are not UTF-8 become \xNN."""
    return (
        os.fsencode(name).decode("utf-8", "backslashreplace") if any("\ud800" <= c <= "\udfff" for c in name) else name
    )


def some(faults: Sequence[str]) -> str:
    """Return the first faults, each on an indented line, and how many more there are."""
    more = [f"... and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
    return "\n".join(f"  {fault}" for fault in [*faults[:SHOWN], *more])
