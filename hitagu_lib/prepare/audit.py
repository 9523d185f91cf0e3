"""What two lists hold: clips per class, clips that a list has twice, videos that are in both lists. For `hitagu report lists`.

    train.csv, val.csv -> ClipList, ClipList -> paths, Kinetics' (id, start, end) -> counts, duplicates, leakage

Only the lists are read, not the frames. Two rows are the same clip if their paths are the same or, in lists of Kinetics, if YouTube id
and times are. The same id with other times, or without times, is another part of the same video: shared by training and validation it is
leakage too, but counted apart, since official lists have some. A list is taken for one of Kinetics if every folder (or video file) is
named <id>_<start>_<end> or <id>, and at least one has times.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hitagu_lib.config import DataConfig
from hitagu_lib.data.clip_list import ClipList
from hitagu_lib.data.source import open_lists
from hitagu_lib.errors import first_of
from hitagu_lib.media.ffmpeg import VIDEO_SUFFIXES

_KINETICS = re.compile(r"([A-Za-z0-9_-]{11})(?:_([0-9]{1,9})_([0-9]{1,9}))?")
_UNTIDY = re.compile(r"//|/\.?$|(?:^|/)\./")
Clip = tuple[str, int, int]  # YouTube id, seconds; -1, -1 where the name has no times


def audit_lists(cfg: DataConfig) -> dict[str, Any]:
    """Return class counts and duplicates of data.train_list and data.val_list, and what they share, as plain values.

    Takes seconds for half a million rows. Clips without a label, such as a test split's, count for no class. Raises ListError where a list
    is malformed.
    """
    lists = dict(zip(("train", "val"), open_lists(cfg, allow_unlabelled=True), strict=True))
    paths = {name: tidy_paths(clips) for name, clips in lists.items()}
    of_kinetics = {name: kinetics_clips(paths[name]) for name in lists}
    report: dict[str, Any] = {
        name: {"file": str(clips.file), "clips": len(clips), **class_counts(clips)}
        | {"duplicates": duplicates(clips, paths[name], of_kinetics[name])}
        for name, clips in lists.items()
    }
    return report | {"leakage": leakage(lists, paths, of_kinetics)}


def class_counts(clips: ClipList) -> dict[str, Any]:
    """Count the clips of each class by name; add the smallest, the median and the largest count."""
    counts = np.bincount(clips.labels[clips.labels >= 0], minlength=len(clips.classes))
    return {
        "fewest": int(counts.min()),
        "median": float(np.median(counts)),
        "most": int(counts.max()),
        "empty_classes": [name for name, count in zip(clips.classes, counts, strict=True) if count == 0],
        "per_class": dict(zip(clips.classes, counts.tolist(), strict=True)),
    }


def duplicates(clips: ClipList, paths: Sequence[str], kinetics: Sequence[Clip] | None) -> list[dict[str, Any]]:
    """Find clips that the list has more than once: path, lines, and whether all have one label. In the list's order."""
    keys: Iterable[Any] = paths
    if kinetics is not None:  # one clip in two folders; an id alone may be another part of the video
        keys = (clip if clip[1] >= 0 else path for clip, path in zip(kinetics, paths, strict=True))
    return [
        {
            "path": clips.path(some[0]),
            "lines": [clips.row(i) for i in some],
            "one_label": len({int(clips.labels[i]) for i in some}) == 1,
        }
        for some in _repeated(keys)
    ]


def leakage(
    lists: Mapping[str, ClipList], paths: Mapping[str, Sequence[str]], kinetics: Mapping[str, Sequence[Clip] | None]
) -> dict[str, Any]:
    """Find validation clips that training has too; report each once, under the first kind that applies, with both lines.

    The kinds are same_path; same_clip: the same YouTube id and times; same_video: the same id with other times or without.
    """
    train, val = lists["train"], lists["val"]
    by_path = _first_rows(paths["train"])
    by_clip, by_video = {}, {}
    if (of_train := kinetics["train"]) is not None and kinetics["val"] is not None:
        by_clip = _first_rows(of_train)
        by_video = _first_rows(clip[0] for clip in of_train)
    of_val: Sequence[Clip | None] = kinetics["val"] or [None] * len(val)
    found: dict[str, list[dict[str, Any]]] = {"same_path": [], "same_clip": [], "same_video": []}
    for row, (path, clip) in enumerate(zip(paths["val"], of_val, strict=True)):
        kind, there = "same_path", by_path.get(path)
        if there is None and clip is not None and clip[1] >= 0:
            kind, there = "same_clip", by_clip.get(clip)
        if there is None and clip is not None:
            kind, there = "same_video", by_video.get(clip[0])
        if there is not None:
            found[kind].append({"path": val.path(row), "val_line": val.row(row), "train_line": train.row(there)})
    return found


def tidy_paths(clips: ClipList) -> list[str]:
    """Return every path of the list, with different spellings of one path, such as a//b and a/./b, made the same."""
    return [posixpath.normpath(path) if _UNTIDY.search(path) else path for path in clips.paths()]


def kinetics_clips(paths: Sequence[str]) -> list[Clip] | None:
    """Return (id, start, end) of each path; None where this is not a list of Kinetics."""
    clips: list[Clip] = []
    for path in paths:
        name = path.rpartition("/")[2]
        stem, ending = os.path.splitext(name)
        match = _KINETICS.fullmatch(stem if ending.lower() in VIDEO_SUFFIXES else name)
        if match is None:
            return None
        video, start, end = match.groups()
        clips.append((video, -1, -1) if start is None else (video, int(start), int(end)))
    return clips if any(start >= 0 for _, start, _ in clips) else None


def _first_rows(keys: Iterable[Any]) -> dict[Any, int]:
    first: dict[Any, int] = {}
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    return first


def _repeated(keys: Iterable[Any]) -> list[list[int]]:
    """Return the rows of each key that occurs more than once, in the order of the first ones."""
    rows: dict[Any, list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        rows[key].append(row)
    return [some for some in rows.values() if len(some) > 1]


def audit_text(report: dict[str, Any], shown: int = 10) -> str:
    """Format the report as plain text, with at most `shown` examples of each kind."""
    lines: list[str] = []
    for name in ("train", "val"):
        of = report[name]
        lines += [
            f"{of['file']}: {of['clips']} clips of {len(of['per_class'])} classes, {of['fewest']} to {of['most']} per class, "
            f"median {of['median']:g}"
        ]
        if of["empty_classes"]:
            lines.append(f"  without clips: {first_of([repr(label) for label in of['empty_classes']], shown)}")
        twice, contradicted = len(of["duplicates"]), sum(not clip["one_label"] for clip in of["duplicates"])
        lines.append(
            f"  {twice} clips listed more than once" + (f", {contradicted} under two labels" * (contradicted > 0))
        )
        for clip in of["duplicates"][:shown]:
            lines.append(f"    lines {', '.join(map(str, clip['lines']))}: {clip['path']}")
    titles = {
        "same_path": "the same path",
        "same_clip": "the same YouTube id and times under another path",
        "same_video": "the same YouTube id, other times or none",
    }
    lines.append("validation clips that training has too:")
    for kind, title in titles.items():
        leaked = report["leakage"][kind]
        lines.append(f"  {len(leaked)} {title}")
        for clip in leaked[:shown]:
            lines.append(f"    line {clip['val_line']}, training line {clip['train_line']}: {clip['path']}")
    return "\n".join(lines)


def is_clean(report: dict[str, Any]) -> bool:
    """Return whether no list has a clip twice and no video is in both."""
    return not (report["train"]["duplicates"] or report["val"]["duplicates"] or any(report["leakage"].values()))
