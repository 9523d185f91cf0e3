"""Make lists of clips from frame folders, or from video files.

    root/<class>/<clip>/000001.jpg -> index_frames -> train.csv, classes.txt

data/clip_list.py describes both files and reads them. Nothing is written before every folder has been found right.
"""

from __future__ import annotations

import difflib
import os
import threading
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tqdm.auto import tqdm

from hitagu_lib.data.clip_list import path_fault, read_classes
from hitagu_lib.errors import ListError
from hitagu_lib.files import write_atomic
from hitagu_lib.media.ffmpeg import CANNOT_READ, why_not_a_video
from hitagu_lib.media.frame_folder import FRAME_NAME, count_frames
from hitagu_lib.prepare.videos import (
    SHOWN,
    Entry,
    Reasons,
    identities,
    is_loop,
    listing,
    some,
    write_reasons,
    write_rows,
)

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class IndexReport:
    """What `index_frames` did.

    clips: rows of the list. skipped: entries that are not clips, as (path below root, reason), also listed in `manifest`.
    """

    clips: int
    manifest: Path
    skipped: Reasons = field(default_factory=list)


def index_frames(
    root: Path,
    out: Path,
    *,
    relative_to: Path | None = None,
    classes: Path | None = None,
    source: str = "frames",
    progress: bool = False,
) -> IndexReport:
    """Write the list of root/<class>/<clip>/000001.jpg ... to `out`, and classes.txt beside it.

    source: "video" lists root/<class>/<clip>.mp4 and so on, for `data.source: video`; every video is decoded to count its
    frames.
    relative_to: the folder that the paths in the list start from, `root` or one above it; None: root.
    classes: the training list's classes.txt, for a validation or test list; None: the sorted names of the class folders.

    Entries of a class folder that are not clips, and videos beside the class folders, are listed in the report and in
    LIST.skipped.csv. Hidden entries do not count. Raises ListError, and writes nothing, for a clip that is not right (its
    frames are not exactly 000001.jpg to N, a link leads nowhere, two videos differ only in their endings), for a class
    folder that is not in `classes`, that has no clips (unless `classes` is given) or that cannot be reached, and if a
    different classes.txt lies beside `out`.
    """
    root, out = Path(root), Path(out)
    refuse_for_list(out, [classes] if classes is not None else [])
    if not root.is_dir():
        raise ListError(f"{root}: no such folder, expected <class>/<video>/000001.jpg in it, as `hitagu extract` makes")
    prefix = prefix_below(root, Path(relative_to) if relative_to is not None else root)
    found = class_folders(root)
    names = _classes_of(root, found, Path(classes) if classes is not None else None)
    index = {name: i for i, name in enumerate(names)}
    rows: list[tuple[str, int, int]] = []
    skipped = _loose_videos(root, source)
    faults: list[str] = []
    # Listing half a million folders waits for the disk or the network, not for a core.
    with ThreadPoolExecutor(8) as pool:
        for name in tqdm(found, desc="indexing", unit="class", disable=None if progress else True):
            clips, others, wrong = _sorted_out(root / name, source, pool)
            faults += wrong
            skipped += [(f"{name}/{other}", why) for other, why in others]
            if not clips and not wrong and (why := _no_clips(root / name, source, others, classes is not None)):
                faults.append(why)
            folders = [root / name / clip for clip in clips]
            for folder, (count, wrong_frames) in zip(folders, pool.map(counter(source), folders), strict=True):
                path = f"{prefix}{name}/{folder.name}"
                if fault := wrong_frames or path_fault(path) or unwritable(path):
                    faults.append(f"{folder}: {fault}")
                rows.append((path, index[name], count))
    if faults:
        raise ListError(f"{out}: not written, since of the folders it would list these are not right:\n{some(faults)}")
    if not rows:
        raise ListError(f"{root}: found no video folders, expected <class>/<video>/000001.jpg in it")
    write_classes(out.with_name("classes.txt"), names)
    report = IndexReport(len(rows), out.with_name(f"{out.stem}.skipped.csv"), sorted(skipped))
    write_reasons(report.manifest, report.skipped, "path")
    write_rows(out, rows)
    return report


def refuse_for_list(out: Path, read: Iterable[str | Path]) -> None:
    """Raise ListError if the list cannot be written to `out`: a folder, the labels' own name, or one of the files that are `read`."""
    if out.is_dir():
        raise ListError(f"{out}: found a folder; expected the name of a list, such as train.csv")
    if out.name == "classes.txt":
        raise ListError(f"{out}: expected another name for the list: the labels are written to classes.txt beside it")
    if any(os.path.abspath(out) == os.path.abspath(file) for file in read):
        raise ListError(f"{out}: is to be read, so the list cannot go there; write it elsewhere")


def class_folders(root: Path) -> list[str]:
    """Return the names of the class folders in `root`, sorted.

    Raises ListError for an entry that may be a class folder but cannot be read: without it, the labels of all later
    classes would change.
    """
    try:
        entries = listing(root)
    except OSError as error:
        raise ListError(f"{root}: cannot list this folder: {error.strerror}") from error
    faults = [f"{e.name!r}: {e.why}" for e in entries if e.kind == "unreachable"]
    names = [e.name for e in entries if e.kind == "folder"]
    above = identities([root.absolute(), *root.absolute().parents])
    faults += [f"{name!r}: {loop}" for name in names if (loop := is_loop(root / name, above))]
    if faults:
        raise ListError(f"{root}: these entries cannot be read as class folders:\n{some(faults)}\nMend or remove them")
    return names


def _loose_videos(root: Path, source: str) -> Reasons:
    """Return the videos that lie beside the class folders."""
    names = [
        e.name
        for e in listing(root)
        if e.kind == "file" and (e.named_like_a_video or (source == "video" and why_not_a_video(root / e.name) is None))
    ]
    return [(name, f"a video beside the class folders, expected <class>/{name}") for name in names]


def _sorted_out(folder: Path, source: str, pool: ThreadPoolExecutor) -> tuple[list[str], Reasons, list[str]]:
    """Return the names in a class folder that are clips, the other names with reasons, and what is wrong."""
    try:
        entries = listing(folder)
    except OSError as error:
        return [], [], [f"{folder}: cannot list this folder: {error.strerror}"]
    faults = [
        f"{folder / e.name}: {e.why}"
        for e in entries
        if e.kind == "unreachable" or (e.kind == "special" and e.named_like_a_video)
    ]
    others = [(e.name, e.why) for e in entries if e.kind == "special" and not e.named_like_a_video]
    folders = [e.name for e in entries if e.kind == "folder"]
    files = [e for e in entries if e.kind == "file"]
    if source == "frames":
        return folders, others + [(e.name, "a file, expected a folder of frames") for e in files], faults
    others += [(name, "a folder, expected video files") for name in folders]
    reasons = pool.map(lambda e: None if e.named_like_a_video else why_not_a_video(folder / e.name), files)
    clips: dict[str, str] = {}
    for entry, why in zip(files, reasons, strict=True):
        stem = os.path.splitext(entry.name)[0]
        if why and why.startswith(CANNOT_READ):
            faults.append(f"{folder / entry.name}: {why}")
        elif why:
            others.append((entry.name, why))
        elif stem in clips:
            faults.append(
                f"{folder}: {clips[stem]} and {entry.name} differ only in their endings; remove or rename one"
            )
        else:
            clips[stem] = entry.name
    return list(clips.values()), others, faults


def _no_clips(folder: Path, source: str, others: Reasons, may_be_empty: bool) -> str:
    """Return what is wrong with a class folder without clips; empty if nothing is."""
    names = [name for name, _ in others]
    if source == "frames" and FRAME_NAME.format(1) in names:
        return f"{folder}: holds frames itself; is {folder.parent} one level too deep?"
    if source == "frames" and any(Entry(name, "file").named_like_a_video for name in names):
        return f"{folder}: holds video files; extract their frames, or list them with --source video"
    if may_be_empty:  # of given classes, some may well be absent
        return ""
    found = f" (found {', '.join(f'{name}: {why}' for name, why in others[:3])})" if others else ""
    return f"{folder}: a class folder without videos{found}; remove it if it is no class"


def counter(source: str) -> Callable[[Path], tuple[int, str | None]]:
    """Return the function that counts the frames of a clip and says what is wrong with it."""
    if source == "frames":
        return count_frames
    from hitagu_lib.data.video import count_video  # PyAV is an optional extra

    return count_video


def scan_frames(root: Path, classes: Iterable[str] = (), source: str = "frames") -> dict[str, list[str]]:
    """Return name -> paths below root, of the clips in `root` and in those of its folders that `classes` name.

    The name is that of the folder of frames, or of the video file without its ending. The tree is read once; half a million
    names can then be looked up.
    """
    if not root.is_dir():
        raise ListError(
            f"{root}: no such folder, expected "
            + ("videos in it" if source == "video" else "folders of frames in it, as `hitagu extract` makes")
        )
    labels = {folded(name) for name in classes}
    found: dict[str, list[str]] = {}

    def key(clip: str) -> str:
        return clip if source == "frames" else os.path.splitext(clip)[0]

    for clip in _named_clips(root, source):
        if source == "video" or folded(clip) not in labels:
            found.setdefault(key(clip), []).append(clip)
    for name in (e.name for e in listing(root) if e.kind == "folder" and folded(e.name) in labels):
        for clip in _named_clips(root / name, source):
            found.setdefault(key(clip), []).append(f"{name}/{clip}")
    return found


def _named_clips(folder: Path, source: str) -> list[str]:
    """Return the names in a folder that can be clips of an annotation file: folders, or files with a video's ending."""
    if source == "frames":
        return [e.name for e in listing(folder) if e.kind == "folder"]
    return [e.name for e in listing(folder) if e.kind == "file" and e.named_like_a_video]


def folded(label: str) -> str:
    """Return a label with single spaces for blanks and underscores: class folders are named either way."""
    return " ".join(label.replace("_", " ").split())


def count_folders(
    root: Path, folders: Sequence[str], progress: bool = False, source: str = "frames"
) -> list[tuple[int, str | None]]:
    """Return count_frames, or count_video, of each clip below root. Several at once: listing waits for the disk."""
    count, size = counter(source), 64 if source == "frames" else 1
    return in_threads(lambda folder: count(root / folder), folders, size, 8, "indexing", progress)


def in_threads(
    work: Callable[[T], R], clips: Sequence[T], size: int, workers: int, desc: str, progress: bool
) -> list[R]:
    """Return work(clip) of each, in order. Each thread takes `size` clips at a time; Ctrl-C ends within a clip, not within those."""
    stop = threading.Event()
    blocks = [clips[start : start + size] for start in range(0, len(clips), size)]
    done: list[R] = []
    pool = ThreadPoolExecutor(workers)
    try:
        with tqdm(total=len(clips), desc=desc, unit="clip", disable=None if progress else True) as bar:
            for block in pool.map(lambda block: [work(clip) for clip in block if not stop.is_set()], blocks):
                done += block
                bar.update(len(block))
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
    return done


def prefix_below(root: Path, base: Path) -> str:
    """Return the part of `root` below `base`, with a slash at its end; empty if they are the same."""
    try:
        relative = Path(os.path.abspath(root)).relative_to(os.path.abspath(base))
    except ValueError:
        raise ListError(f"{root}: not below {base}, which the list's paths are to be relative to") from None
    return "".join(f"{part}/" for part in relative.parts)


def _classes_of(root: Path, found: Sequence[str], classes: Path | None) -> tuple[str, ...]:
    """Return the labels by index: the names of the class folders, or those in the file, which must include every folder."""
    if not found:
        raise ListError(f"{root}: found no class folders, expected <class>/<video>/000001.jpg in it")
    if classes is None:
        for name in found:
            if not name.strip() or "\n" in name or "\r" in name or unwritable(name):
                raise ListError(f"{root}: the class folder {name!r} cannot be a line of classes.txt; rename it")
        return tuple(found)
    names = read_classes(classes)
    if unknown := [name for name in found if name not in set(names)]:
        near = [difflib.get_close_matches(name, names, n=1) for name in unknown[:SHOWN]]
        hints = [f" (nearest: {match[0]!r})" if match else "" for match in near] + [""] * len(unknown[SHOWN:])
        raise ListError(
            f"{root}: of its class folders {len(unknown)} are not among the {len(names)} classes of {classes}:\n"
            + some([f"{name!r}{hint}" for name, hint in zip(unknown, hints, strict=True)])
        )
    return names


def write_classes(file: Path, names: Sequence[str]) -> None:
    """Write the labels. Raises ListError if the file holds other labels: lists beside it may rely on them."""
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


def spelling(name: str) -> str:
    """Return what two names share that look the same: composed and decomposed accents do, and here also capitals and small letters."""
    return unicodedata.normalize("NFC", name).casefold()


def unwritable(name: str) -> str | None:
    """Return why a list or classes.txt cannot hold a name; None if it can."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        # Linux allows any bytes in a name; in Python, those that are not UTF-8 are lone surrogates.
        return "its name is not UTF-8; rename it"
    return None
