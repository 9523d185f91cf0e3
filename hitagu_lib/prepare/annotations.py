"""Lists of clips from the official annotation files of Kinetics-700 and Something-Something V2.

    train.csv  or  train.json, labels.json -> [Annotation, ...] --+
                                                                  +-> find_folder -> count_frames -> train.csv, classes.txt,
    frames/ -> scan_frames -> {name: [path, ...]} ----------------+                                  train.missing.csv

data/clip_list.py describes the first two formats. Clips that the annotations name but the frames lack go to the manifest,
train.missing.csv (line,key,reason), and not to the list: nothing is guessed. The tree of frames is listed only once; the clips
are then looked up in memory, under every layout in use.

Labels are compared without blanks at their ends and with single blanks inside, which a warning reports: with them, "abseiling " and
"abseiling" would be two classes. Labels that differ only in case are refused.
"""

from __future__ import annotations

import difflib
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hitagu_lib.data.clip_list import csv_table, path_fault, read_classes, without_blanks
from hitagu_lib.errors import ListError
from hitagu_lib.prepare.index import (
    count_folders,
    folded,
    prefix_below,
    refuse_for_list,
    scan_frames,
    spelling,
    unwritable,
    write_classes,
)
from hitagu_lib.prepare.videos import write_reasons, write_rows

_log = logging.getLogger(__name__)

_ROW = "label,youtube_id,time_start,time_end,split"
_UNLABELLED = "to list a test split for prediction, allow clips without a label (--allow-unlabelled)"


class Annotation(NamedTuple):
    """One clip, as an official file describes it."""

    line: int  # of that file, from 1
    video: str  # the id
    label: str | None  # None in a test split
    span: tuple[int, int] | None = None  # Kinetics: from, to, in seconds; one video may have several clips

    @property
    def key(self) -> str:
        return self.video if self.span is None else f"{self.video}_{self.span[0]}_{self.span[1]}"

    @property
    def names(self) -> tuple[str, ...]:
        """The names that the clip's folder may have: those that mean this clip and no other."""
        if self.span is None:
            return (self.video,)
        start, end = self.span
        return tuple(dict.fromkeys((f"{self.video}_{start}_{end}", f"{self.video}_{start:06d}_{end:06d}")))


class Unlisted(NamedTuple):
    """A clip of the annotations that is not in the list. kind: missing, ambiguous, duplicate or faulty (frames)."""

    line: int
    key: str
    kind: str
    what: str


@dataclass(frozen=True)
class AnnotationReport:
    """What became of an annotation file: the number of clips listed, the clips not listed, by line, and the manifest's path."""

    listed: int
    unlisted: list[Unlisted]
    manifest: Path


def index_kinetics700(
    annotations: Path,
    frames: Path,
    out: Path,
    *,
    classes: Path | None = None,
    relative_to: Path | None = None,
    allow_unlabelled: bool = False,
    source: str = "frames",
    progress: bool = False,
) -> AnnotationReport:
    """Write the list of an official Kinetics CSV to `out`, and beside it classes.txt and, where clips are missing, the manifest.

    frames: <clip>/000001.jpg ... or <class>/<clip>/000001.jpg ..., class folders with spaces or underscores; <clip> is
    <id>_<start>_<end>, with or without six digits, or, where the file has only one clip of that video, <id>.
    classes: the training list's classes.txt, for a validation or test list; None: the file's sorted labels.
    relative_to: what the paths in the list are relative to, `frames` or a folder above it; None: frames.
    allow_unlabelled: list clips without a label, such as the test split's, with -1.
    source: "video" means that `frames` holds videos, <clip>.mp4 or <class>/<clip>.mp4 and so on; each is decoded to count its frames.

    Raises ListError, and writes nothing, for a malformed file, and where no clip at all is found.
    """
    annotations = Path(annotations)
    clips = read_kinetics700(annotations, allow_unlabelled=allow_unlabelled)
    names = _own_classes(annotations, clips) if classes is None else read_classes(classes)
    return _index(annotations, clips, names, classes or annotations, frames, out, relative_to, source, progress)


def index_ssv2(
    annotations: Path,
    labels: Path,
    frames: Path,
    out: Path,
    *,
    relative_to: Path | None = None,
    allow_unlabelled: bool = False,
    source: str = "frames",
    progress: bool = False,
) -> AnnotationReport:
    """Write the list of an official Something-Something V2 JSON to `out`, and the files beside it, as index_kinetics700 does.

    labels: the official labels.json; the classes keep its indices. frames: <id>/000001.jpg ..., or in class folders.
    """
    clips = read_ssv2(annotations, allow_unlabelled=allow_unlabelled)
    return _index(annotations, clips, read_ssv2_labels(labels), labels, frames, out, relative_to, source, progress)


def read_kinetics700(file: Path, *, allow_unlabelled: bool = False) -> list[Annotation]:
    """Read the clips of a CSV with the columns youtube_id, time_start, time_end and label, in any order and among others.

    Blanks around a label, and all but one of a run of blanks inside it, are removed with a warning. Raises ListError naming file and
    line; without `allow_unlabelled` also for a test split, which has no labels.
    """
    file = Path(file)
    clips: list[Annotation] = []
    untidy: dict[str, list[int]] = {}  # label -> the lines that have it with more blanks than it needs
    for line, cells in csv_table(file, ("youtube_id", "time_start", "time_end"), _ROW):
        where = f"{file}:{line}"
        video = cells["youtube_id"]
        if not re.fullmatch(r"[A-Za-z0-9_-]+", video):  # Excel makes "#NAME?" of ids that begin with a minus
            raise ListError(f"{where}: found youtube_id {video!r}, expected letters, digits, '-' and '_'")
        span = _seconds(where, "time_start", cells), _seconds(where, "time_end", cells)
        if span[1] < span[0]:
            raise ListError(f"{where}: found time_end {span[1]}, expected no less than time_start {span[0]}")
        if "label" not in cells and not allow_unlabelled:
            raise ListError(f"{where}: found no label, expected {_ROW}; {_UNLABELLED}")
        label = cells.get("label", "")
        tidy = without_blanks(label)
        if "\n" in label or "\r" in label or not (tidy or allow_unlabelled):
            raise ListError(f"{where}: found label {label!r}, expected a line of text")
        if tidy not in ("", label):
            untidy.setdefault(label, []).append(line)
        clips.append(Annotation(line, video, tidy or None, span))
    for label, lines in untidy.items():
        others = f" and {len(lines) - 1} more lines" if len(lines) > 1 else ""
        _log.warning("%s:%d%s: label %r is taken as %r", file, lines[0], others, label, without_blanks(label))
    if not clips:
        raise ListError(f"{file}: found no rows, expected one clip a line: {_ROW}")
    return clips


def read_ssv2(file: Path, *, allow_unlabelled: bool = False) -> list[Annotation]:
    """Read the clips of a JSON list of {"id", "template"}; a clip's label is its template without brackets.

    Raises ListError naming file and line; without `allow_unlabelled` also for a test split, which has ids alone.
    """
    file = Path(file)
    clips: list[Annotation] = []
    for line, record in _records(file):
        where = f"{file}:{line}"
        video = record.get("id") if isinstance(record, dict) else None
        if not (isinstance(video, str) and re.fullmatch("[0-9]+", video)):
            raise ListError(f'{where}: found {_short(record)}, expected {{"id": "74225", "template": ...}}')
        template = record.get("template")
        if template is None and not allow_unlabelled:
            raise ListError(f"{where}: found no template for id {video!r}, expected one; {_UNLABELLED}")
        if not isinstance(template, str | None):
            raise ListError(f"{where}: found template {_short(template)}, expected text such as 'Closing [something]'")
        label = template if template is None else template.replace("[", "").replace("]", "")
        clips.append(Annotation(line, video, label))
    if not clips:
        raise ListError(f"{file}: found no records, expected a list of them")
    return clips


def read_ssv2_labels(file: Path) -> tuple[str, ...]:
    """Read the labels of an official labels.json, in the order of their indices.

    Raises ListError unless its indices are 0 to N - 1, each once, and its labels differ by more than blanks.
    """
    file = Path(file)
    _, found = _json(file)
    if not isinstance(found, dict) or not found:
        raise ListError(f'{file}: found {_short(found)}, expected {{"label": "index", ...}}')
    names: dict[int, str] = {}
    seen: dict[str, str] = {}
    for name, index in found.items():
        place = int(index) if isinstance(index, str | int) and re.fullmatch("[0-9]{1,6}", str(index)) else -1
        if not 0 <= place < len(found) or place in names:
            expected = f"each index from 0 to {len(found) - 1} once"
            raise ListError(f"{file}: found index {_short(index)} for {name!r}, expected {expected}")
        if not name.strip() or "\n" in name or "\r" in name or unwritable(name):
            raise ListError(f"{file}: found label {name!r}, expected a line of text")
        if (other := seen.setdefault(without_blanks(name), name)) != name:
            raise ListError(
                f"{file}: found labels {other!r} and {name!r}, the same but for blanks; expected one of them"
            )
        names[place] = name
    return tuple(names[i] for i in range(len(names)))


def find_folder(
    clip: Annotation, found: Mapping[str, Sequence[str]], clips_of_video: int, source: str = "frames"
) -> str | tuple[str, str]:
    """Return the path of a clip's folder (or video file); or why it has none, as (kind, what).

    A name with the times is preferred to one without. A name without them is ambiguous where the annotations have several clips
    of that video. A folder inside another class's folder is not the clip's.
    """
    what = "video file" if source == "video" else "folder"
    paths = [path for name in clip.names for path in found.get(name, ())]
    mine = [path for path in paths if _may_be_of(path, clip.label)]
    if not mine and clip.span is not None:
        paths += (timeless := found.get(clip.video, ()))
        mine = [path for path in timeless if _may_be_of(path, clip.label)]
        if mine and clips_of_video > 1:
            candidates = f"{mine[0]} could be any of {clips_of_video} clips of this video"
            return "ambiguous", f"{candidates}; expected {clip.names[0]}"
    if len(mine) > 1:
        return "ambiguous", f"found {' and '.join(mine)}, expected one {what}"
    if not mine:
        expected = " or ".join(clip.names if clip.span is None or clips_of_video > 1 else (*clip.names, clip.video))
        elsewhere = f"found {paths[0]}, in the folder of another class; " if paths else ""
        return "missing", f"{elsewhere}no {what} {expected}"
    return mine[0]


def _index(
    annotations: Path,
    clips: Sequence[Annotation],
    names: Sequence[str],
    names_file: Path,
    frames: Path,
    out: Path,
    relative_to: Path | None,
    source: str,
    progress: bool,
) -> AnnotationReport:
    """Find every clip and count its frames, then write: nothing is written before the last clip has been checked."""
    frames, out = Path(frames), Path(out)
    manifest = out.with_name(f"{out.stem}.missing.csv")
    for written in (out, manifest):
        refuse_for_list(written, (annotations, names_file))
    labels = _indices(annotations, clips, names, names_file)
    prefix = prefix_below(frames, Path(relative_to) if relative_to is not None else frames)
    folders = _folders(clips, scan_frames(frames, names, source), source)
    counts = iter(count_folders(frames, [folder for folder in folders if isinstance(folder, str)], progress, source))
    rows: list[tuple[str, int, int]] = []
    unlisted: list[Unlisted] = []
    for clip, label, folder in zip(clips, labels, folders, strict=True):
        if isinstance(folder, str):
            count, fault = next(counts)
            path = prefix + folder
            if not (fault := fault or path_fault(path) or unwritable(path)):
                rows.append((path, label, count))
                continue
            folder = "faulty", f"{folder}: {fault}"
        unlisted.append(Unlisted(clip.line, clip.key, *folder))
    if not rows:
        first = unlisted[0]
        what, files = ("videos", ".mp4") if source == "video" else ("frames", "/000001.jpg")
        raise ListError(
            f"{frames}: found the {what} of none of the {len(clips)} clips, expected <clip>{files} or "
            f"<class>/<clip>{files} in it; the first, of line {first.line}: {first.kind}: {first.what}"
        )
    write_classes(out.with_name("classes.txt"), names)
    write_rows(out, rows)
    write_reasons(manifest, [(c.line, c.key, f"{c.kind}: {c.what}") for c in unlisted], "line", "key")
    return AnnotationReport(len(rows), unlisted, manifest)


def _own_classes(file: Path, clips: Sequence[Annotation]) -> list[str]:
    """Return the sorted labels of an annotation file. Raises ListError for none, and for two that differ only in case."""
    lines: dict[str, int] = {}
    for clip in clips:
        if clip.label is not None:
            lines.setdefault(clip.label, clip.line)
    if not lines:
        raise ListError(f"{file}: found no labels; name the training list's classes (--classes classes.txt)")
    seen: dict[str, str] = {}
    for label, line in lines.items():
        if (other := seen.setdefault(spelling(label), label)) != label:
            raise ListError(
                f"{file}:{line}: found label {label!r}, which is {other!r} of line {lines[other]} in another spelling; "
                "expected one spelling of each class, or the classes in a file (--classes classes.txt)"
            )
    return sorted(lines)


def _folders(
    clips: Sequence[Annotation], found: Mapping[str, Sequence[str]], source: str
) -> list[str | tuple[str, str]]:
    """Apply find_folder to each clip; of clips that are in the file twice, list the first, or none if their labels differ."""
    first: dict[str, Annotation] = {}
    contradicted: dict[str, str] = {}
    for clip in clips:
        before = first.setdefault(clip.key, clip)
        if before.label != clip.label:
            contradicted[clip.key] = f"labelled {before.label!r} in line {before.line}, {clip.label!r} in {clip.line}"
    clips_of = Counter(clip.video for clip in first.values())
    folders: list[str | tuple[str, str]] = []
    for clip in clips:
        if clip.key in contradicted:
            folders.append(("ambiguous", contradicted[clip.key]))
        elif first[clip.key] is not clip:
            folders.append(("duplicate", f"the clip of line {first[clip.key].line} again"))
        else:
            folders.append(find_folder(clip, found, clips_of[clip.video], source))
    return folders


def _indices(file: Path, clips: Sequence[Annotation], names: Sequence[str], names_file: Path) -> list[int]:
    """Return the index of each clip's label in `names`, -1 where it has none. Raises ListError for a label that is not among them."""
    index = {without_blanks(name): i for i, name in enumerate(names)}
    keys = [None if clip.label is None else without_blanks(clip.label) for clip in clips]
    for clip, key in zip(clips, keys, strict=True):
        if key is not None and key not in index:
            near = difflib.get_close_matches(key, names, n=1)
            hint = f" (nearest: {near[0]!r})" if near else ""
            expected = f"one of the {len(names)} labels in {names_file}{hint}"
            raise ListError(f"{file}:{clip.line}: found label {clip.label!r}, expected {expected}")
    return [-1 if key is None else index[key] for key in keys]


def _may_be_of(path: str, label: str | None) -> bool:
    """Return whether a folder lies outside class folders, or in this label's one; any will do where the label is unknown."""
    class_folder, slash, _ = path.rpartition("/")
    return not slash or label is None or folded(class_folder) == folded(label)


def _seconds(where: str, column: str, cells: Mapping[str, str]) -> int:
    text = cells[column]
    if not re.fullmatch(r"[0-9]{1,9}(\.0*)?", text):  # pandas saves whole numbers as 84.0
        raise ListError(f"{where}: found {column} {text!r}, expected a whole number of seconds")
    return int(text.partition(".")[0])


def _records(file: Path) -> Iterator[tuple[int, Any]]:
    """Yield (line, record) of each item of a JSON list: the line on which it begins."""
    text, found = _json(file)
    if not isinstance(found, list):
        raise ListError(f"{file}: found {_short(found)}, expected a list of records")
    del found  # known to be valid; a second pass finds the lines, which the json module does not tell
    at, line, seen = text.index("[") + 1, 1, 0
    decode, between = json.JSONDecoder().raw_decode, re.compile(r"[\s,]*")
    while (begin := between.match(text, at).end()) < len(text) and text[begin] != "]":  # type: ignore[union-attr]
        line += text.count("\n", seen, begin)
        seen = begin
        record, at = decode(text, begin)
        yield line, record


def _json(file: Path) -> tuple[str, Any]:
    """Return the text of a JSON file and the value it holds."""
    raw = b""
    try:
        raw = file.read_bytes()
        text = raw.decode("utf-8-sig")
        return text, json.loads(text)
    except OSError as error:
        raise ListError(f"{file}: cannot read this file: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ListError(f"{file}:{line}: found byte 0x{raw[error.start]:02x}, expected text in UTF-8") from error
    except json.JSONDecodeError as error:
        raise ListError(f"{file}:{error.lineno}: not JSON: {error.msg} at column {error.colno}") from error


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
