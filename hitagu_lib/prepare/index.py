"""Lists of clips, made from the frame folders.

    root/<class>/<video>/000001.jpg -> index_frames -> train.csv, classes.txt

Both files' formats are in lists.py, which reads and checks them. Nothing is written before every folder has been found right.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm.auto import tqdm

from hitagu_lib.data.clip_list import path_fault, read_classes
from hitagu_lib.errors import ListError
from hitagu_lib.files import quoted, write_atomic
from hitagu_lib.media.ffmpeg import VIDEO_SUFFIXES
from hitagu_lib.media.frame_folder import FRAME_NAME, count_frames

_SHOWN = 10
"""How many of many faults a message spells out."""


def index_frames(
    root: Path,
    out: Path,
    *,
    relative_to: Path | None = None,
    classes: Path | None = None,
    source: str = "frames",
    progress: bool = False,
) -> int:
    """Write the list of root/<class>/<video>/000001.jpg ... to `out`, classes.txt beside it; return the number of rows.

    source: "video": the list of root/<class>/<video>.mp4 and so on, for `data.source: video`; every video is decoded to count its frames.

    relative_to: what the paths in the list are relative to, `root` or a folder above it; None: root.
    classes: the training list's classes.txt, for a validation or test list; None: the class folders' sorted names.

    Hidden entries are passed over, and files that lie beside class or video folders. Raises ListError, and writes
    nothing, for folders whose frames are not exactly 000001.jpg to N, class folders that `classes` does not have, a
    class folder without videos (unless `classes` is given), and a classes.txt beside `out` that differs.
    """
    root, out = Path(root), Path(out)
    if not root.is_dir():
        raise ListError(f"{root}: no such folder, expected <class>/<video>/000001.jpg in it, as `hitagu extract` makes")
    prefix = prefix_below(root, Path(relative_to) if relative_to is not None else root)
    found = [name for name, is_dir in entries(root) if is_dir]
    names = _classes_of(root, found, Path(classes) if classes is not None else None)
    index = {name: i for i, name in enumerate(names)}
    rows: list[tuple[str, int, int]] = []
    faults: list[str] = []
    # Listing half a million folders waits for the disk or the network, not for a core.
    with ThreadPoolExecutor(8) as pool:
        for name in tqdm(found, desc="indexing", unit="class", disable=None if progress else True):
            folders = [root / name / video for video in clips_in(root / name, source)]
            if source == "frames" and not folders and (root / name / FRAME_NAME.format(1)).exists():
                faults.append(f"{root / name}: holds frames itself; is {root} one level too deep?")
            elif source == "frames" and not folders and clips_in(root / name, "video"):
                faults.append(
                    f"{root / name}: holds video files; extract their frames, or list them with --source video"
                )
            elif not folders and classes is None:  # of given classes some may well be absent
                faults.append(f"{root / name}: a class folder without videos; remove it if it is no class")
            for folder, (count, fault) in zip(folders, pool.map(counter(source), folders), strict=True):
                path = f"{prefix}{name}/{folder.name}"
                if fault := fault or path_fault(path) or unwritable(path):
                    faults.append(f"{folder}: {fault}")
                rows.append((path, index[name], count))
    if faults:
        raise ListError(f"{out}: not written, since of the folders it would list these are not right:\n{some(faults)}")
    if not rows:
        raise ListError(f"{root}: found no video folders, expected <class>/<video>/000001.jpg in it")
    write_classes(out.with_name("classes.txt"), names)
    write_atomic(out, (f"{quoted(path)},{label},{count}\n" for path, label, count in rows))
    return len(rows)


def entries(folder: Path) -> list[tuple[str, bool]]:
    """(name, is a folder) of what is not hidden, sorted by name: the same order on every system."""
    with os.scandir(folder) as found:
        return sorted((entry.name, entry.is_dir()) for entry in found if not entry.name.startswith("."))


def clips_in(folder: Path, source: str) -> list[str]:
    """The names in a folder that are clips: folders, or video files by their endings."""
    found = entries(folder)
    if source == "frames":
        return [name for name, is_dir in found if is_dir]
    return [name for name, is_dir in found if not is_dir and os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES]


def counter(source: str) -> Callable[[Path], tuple[int, str | None]]:
    """What counts a clip's frames and says what is wrong with it."""
    if source == "frames":
        return count_frames
    from hitagu_lib.data.video import count_video  # PyAV is an optional extra

    return count_video


def scan_frames(root: Path, classes: Iterable[str] = (), source: str = "frames") -> dict[str, list[str]]:
    """Folder name (of videos: file name without its ending) -> paths relative to root, of the clips in root and in the folders there
    that `classes` name.

    One look at the tree, which names of half a million clips can then be looked up in.
    """
    if not root.is_dir():
        raise ListError(
            f"{root}: no such folder, expected "
            + ("videos in it" if source == "video" else "folders of frames in it, as `hitagu extract` makes")
        )
    class_folders = {folded(name) for name in classes}
    found: dict[str, list[str]] = {}

    def key(clip: str) -> str:
        return clip if source == "frames" else os.path.splitext(clip)[0]

    for clip in clips_in(root, source):
        if source == "video" or folded(clip) not in class_folders:
            found.setdefault(key(clip), []).append(clip)
    for name in (name for name, is_dir in entries(root) if is_dir and folded(name) in class_folders):
        for clip in clips_in(root / name, source):
            found.setdefault(key(clip), []).append(f"{name}/{clip}")
    return found


def folded(label: str) -> str:
    """What a label and its class folder have in common: folders are named with spaces or underscores."""
    return " ".join(label.replace("_", " ").split())


def count_folders(
    root: Path, folders: Sequence[str], progress: bool = False, source: str = "frames"
) -> list[tuple[int, str | None]]:
    """count_frames, or count_video, of each clip below root. Several at a time: listing waits for the disk, not for a core."""
    count, size = counter(source), 64 if source == "frames" else 1
    blocks = [folders[start : start + size] for start in range(0, len(folders), size)]
    counts: list[tuple[int, str | None]] = []
    pool = ThreadPoolExecutor(8)
    try:
        with tqdm(total=len(folders), desc="indexing", unit="clip", disable=None if progress else True) as bar:
            for block in pool.map(lambda block: [count(root / folder) for folder in block], blocks):
                counts += block
                bar.update(len(block))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest
    return counts


def prefix_below(root: Path, base: Path) -> str:
    """The part of `root` below `base` with a slash at its end; empty where they are the same."""
    try:
        relative = Path(os.path.abspath(root)).relative_to(os.path.abspath(base))
    except ValueError:
        raise ListError(f"{root}: not below {base}, which the list's paths are to be relative to") from None
    return "".join(f"{part}/" for part in relative.parts)


def _classes_of(root: Path, found: Sequence[str], classes: Path | None) -> tuple[str, ...]:
    """The labels by index: the class folders' sorted names, or those of the file, which must have every folder's."""
    if not found:
        raise ListError(f"{root}: found no class folders, expected <class>/<video>/000001.jpg in it")
    if classes is None:
        for name in found:
            if not name.strip() or "\n" in name or "\r" in name or unwritable(name):
                raise ListError(f"{root}: the class folder {name!r} cannot be a line of classes.txt; rename it")
        return tuple(found)
    names = read_classes(classes)
    if unknown := [name for name in found if name not in set(names)]:
        near = [difflib.get_close_matches(name, names, n=1) for name in unknown[:_SHOWN]]
        hints = [f" (nearest: {match[0]!r})" if match else "" for match in near] + [""] * len(unknown[_SHOWN:])
        raise ListError(
            f"{root}: of its class folders {len(unknown)} are not among the {len(names)} classes of {classes}:\n"
            + some([f"{name!r}{hint}" for name, hint in zip(unknown, hints, strict=True)])
        )
    return names


def write_classes(file: Path, names: Sequence[str]) -> None:
    """Writes the labels. A file with other ones is left alone: lists beside it may count on it."""
    if not file.exists():
        write_atomic(file, (f"{name}\n" for name in names))
    elif (there := read_classes(file)) != tuple(names):
        line = next((i for i, pair in enumerate(zip(there, names, strict=False)) if pair[0] != pair[1]), None)
        line = 1 + (line if line is not None else min(len(there), len(names)))
        raise ListError(
            f"{file}:{line}: found {len(there)} classes already, which from this line on are not the {len(names)} of "
            f"this list. For a validation list name the training list's classes (--classes {file}); for another data "
            "set write elsewhere or remove the file"
        )


def unwritable(name: str) -> str | None:
    """Why a list or classes.txt cannot hold a name; None if it can."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:  # Linux allows any bytes in a name; Python shows what is not UTF-8 as lone surrogates
        return "its name is not UTF-8; rename it"
    return None


def some(faults: Sequence[str]) -> str:
    """The first faults, one an indented line, and how many more there are."""
    more = [f"... and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
    return "\n".join(f"  {fault}" for fault in [*faults[:_SHOWN], *more])
