"""Lists of clips, made from the official annotation files of Kinetics-700 and Something-Something V2.

    train.csv  or  train.json, labels.json -> [Annotation, ...] --+
                                                                  +-> find_folder -> count_frames -> train.csv, classes.txt,
    frames/ -> scan_frames -> {name: [path, ...]} ----------------+                                  train.missing.csv

The formats of the first two are in lists.py. What the annotations name and the frames do not have stands in the manifest,
train.missing.csv (line,key,reason), and not in the list: nothing is guessed. The tree of frames is listed once; which of
the layouts in use it has, is then looked up in memory.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hitagu_lib.data.clip_list import csv_rows, path_fault, read_classes
from hitagu_lib.errors import ListError
from hitagu_lib.files import quoted, write_atomic
from hitagu_lib.prepare.index import count_folders, folded, prefix_below, scan_frames, unwritable, write_classes

_COLUMNS = ("youtube_id", "time_start", "time_end")
_ROW = "label,youtube_id,time_start,time_end,split"
_UNLABELLED = "to list a test split for prediction, allow clips without a label (--allow-unlabelled)"


class Annotation(NamedTuple):
    """One clip as an official file has it."""

    line: int  # of that file, from 1
    video: str  # the id
    label: str | None  # None in a test split
    span: tuple[int, int] | None = None  # Kinetics: seconds; one video may have several clips

    @property
    def key(self) -> str:
        return self.video if self.span is None else f"{self.video}_{self.span[0]}_{self.span[1]}"

    @property
    def names(self) -> tuple[str, ...]:
        """What the clip's folder may be called: names that mean this clip and no other."""
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
    """What became of an annotation file: the number of clips listed, and those that are not, by line, with the manifest."""

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
    """Write the list of an official Kinetics CSV to `out`, classes.txt and, where clips are missing, the manifest beside it.

    frames: <clip>/000001.jpg ... or <class>/<clip>/000001.jpg ..., class folders with spaces or underscores; <clip> is
    <id>_<start>_<end>, with or without six digits, or, where the file has one clip of that video, <id>.
    classes: the training list's classes.txt, for a validation or test list; None: the file's sorted labels.
    relative_to: what the paths in the list are relative to, `frames` or a folder above it; None: frames.
    allow_unlabelled: clips without a label, such as the test split's, are listed with -1.
    source: "video": `frames` holds videos, <clip>.mp4 or <class>/<clip>.mp4 and so on; each is decoded to count its frames.

    Raises ListError, and writes nothing, for a file that is not as it should be, and where no clip at all is found.
    """
    annotations = Path(annotations)
    clips = read_kinetics700(annotations, allow_unlabelled=allow_unlabelled)
    if classes is not None:
        return _index(annotations, clips, read_classes(classes), classes, frames, out, relative_to, source, progress)
    names = sorted({clip.label for clip in clips if clip.label is not None})
    if not names:
        raise ListError(f"{annotations}: found no labels; name the training list's classes (--classes classes.txt)")
    return _index(annotations, clips, names, annotations, frames, out, relative_to, source, progress)


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
    """Write the list of an official Something-Something V2 JSON to `out`, the rest as index_kinetics700 does.

    labels: the official labels.json, whose indices the classes keep. frames: <id>/000001.jpg ..., or in class folders.
    """
    clips = read_ssv2(annotations, allow_unlabelled=allow_unlabelled)
    return _index(annotations, clips, read_ssv2_labels(labels), labels, frames, out, relative_to, source, progress)


def read_kinetics700(file: Path, *, allow_unlabelled: bool = False) -> list[Annotation]:
    """The clips of a CSV with the columns youtube_id, time_start, time_end and label, in any order and among others.

    Raises ListError naming file and line; without `allow_unlabelled` also for a test split, which has no labels.
    """
    file = Path(file)
    rows = csv_rows(file, _ROW)
    header_line, header = next(rows, (1, []))
    columns = {name.strip(): i for i, name in enumerate(header)}
    for name in _COLUMNS:
        if name not in columns:
            raise ListError(f"{file}:{header_line}: found columns {','.join(header)!r}, expected {_ROW}; no {name!r}")
    if "label" not in columns and not allow_unlabelled:
        raise ListError(f"{file}:{header_line}: found no column 'label', expected {_ROW}; {_UNLABELLED}")
    video_at, start_at, end_at = (columns[name] for name in _COLUMNS)
    label_at = columns.get("label")
    clips: list[Annotation] = []
    for line, fields in rows:
        where = f"{file}:{line}"
        if len(fields) != len(header):
            raise ListError(f"{where}: found {len(fields)} fields, expected {len(header)} as in the header: {_ROW}")
        video = fields[video_at]
        if not re.fullmatch(r"[A-Za-z0-9_-]+", video):  # Excel makes "#NAME?" of ids that begin with a minus
            raise ListError(f"{where}: found youtube_id {video!r}, expected letters, digits, '-' and '_'")
        span = _seconds(where, "time_start", fields[start_at]), _seconds(where, "time_end", fields[end_at])
        if span[1] < span[0]:
            raise ListError(f"{where}: found time_end {span[1]}, expected no less than time_start {span[0]}")
        clips.append(Annotation(line, video, _label(where, fields, label_at, allow_unlabelled), span))
    if not clips:
        raise ListError(f"{file}: found no rows, expected one clip a line: {_ROW}")
    return clips


def read_ssv2(file: Path, *, allow_unlabelled: bool = False) -> list[Annotation]:
    """The clips of a JSON list of {"id", "template"}; a clip's label is its template without brackets.

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
    """The labels of an official labels.json by index. Raises ListError unless its indices are 0 to N - 1, each once."""
    file = Path(file)
    _, found = _json(file)
    if not isinstance(found, dict) or not found:
        raise ListError(f'{file}: found {_short(found)}, expected {{"label": "index", ...}}')
    names: dict[int, str] = {}
    for name, index in found.items():
        place = int(index) if isinstance(index, str | int) and re.fullmatch("[0-9]{1,6}", str(index)) else -1
        if not 0 <= place < len(found) or place in names:
            expected = f"each index from 0 to {len(found) - 1} once"
            raise ListError(f"{file}: found index {_short(index)} for {name!r}, expected {expected}")
        if not name.strip() or "\n" in name or "\r" in name or unwritable(name):
            raise ListError(f"{file}: found label {name!r}, expected a line of text")
        names[place] = name
    return tuple(names[i] for i in range(len(names)))


def find_folder(clip: Annotation, found: Mapping[str, Sequence[str]], clips_of_video: int) -> str | tuple[str, str]:
    """The path of a clip's folder; or why it has none: kind, what.

    A name with the times goes before one without. One without them tells nothing where the annotations have several clips
    of that video, and a folder of another class is not the clip's.
    """
    paths = [path for name in clip.names for path in found.get(name, ())]
    mine = [path for path in paths if _may_be_of(path, clip.label)]
    if not mine and clip.span is not None:
        paths += (timeless := found.get(clip.video, ()))
        mine = [path for path in timeless if _may_be_of(path, clip.label)]
        if mine and clips_of_video > 1:
            what = f"{mine[0]} could be any of {clips_of_video} clips of this video; expected {clip.names[0]}"
            return "ambiguous", what
    if len(mine) > 1:
        return "ambiguous", f"found {' and '.join(mine)}, expected one folder"
    if not mine:
        expected = " or ".join(clip.names if clip.span is None or clips_of_video > 1 else (*clip.names, clip.video))
        elsewhere = f"found {paths[0]}, in the folder of another class; " if paths else ""
        return "missing", f"{elsewhere}no folder {expected}"
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
    """Find and count every clip's frames, then write: nothing is written before the last one has been looked at."""
    frames, out = Path(frames), Path(out)
    manifest = out.with_name(f"{out.stem}.missing.csv")
    for written in (out, manifest):
        if any(os.path.abspath(written) == os.path.abspath(file) for file in (annotations, names_file)):
            raise ListError(f"{written}: is to be read, so the list cannot go there; write it elsewhere")
    labels = _indices(annotations, clips, names, names_file)
    prefix = prefix_below(frames, Path(relative_to) if relative_to is not None else frames)
    folders = _folders(clips, scan_frames(frames, names, source))
    counts = iter(count_folders(frames, [folder for folder in folders if isinstance(folder, str)], progress, source))
    rows: list[str] = []
    unlisted: list[Unlisted] = []
    for clip, label, folder in zip(clips, labels, folders, strict=True):
        if isinstance(folder, str):
            count, fault = next(counts)
            path = prefix + folder
            if not (fault := fault or path_fault(path) or unwritable(path)):
                rows.append(f"{quoted(path)},{label},{count}\n")
                continue
            folder = "faulty", f"{folder}: {fault}"
        unlisted.append(Unlisted(clip.line, clip.key, *folder))
    if not rows:
        first = unlisted[0]
        files = ".mp4" if source == "video" else "/000001.jpg"
        raise ListError(
            f"{frames}: found the frames of none of the {len(clips)} clips, expected <clip>{files} or "
            f"<class>/<clip>{files} in it; the first, of line {first.line}: {first.kind}: {first.what}"
        )
    write_classes(out.with_name("classes.txt"), names)
    write_atomic(out, rows)
    if unlisted:
        lines = (f"{clip.line},{clip.key},{quoted(f'{clip.kind}: {clip.what}')}\n" for clip in unlisted)
        write_atomic(manifest, ["line,key,reason\n", *lines])
    else:
        manifest.unlink(missing_ok=True)  # an earlier run's
    return AnnotationReport(len(rows), unlisted, manifest)


def _folders(clips: Sequence[Annotation], found: Mapping[str, Sequence[str]]) -> list[str | tuple[str, str]]:
    """find_folder for each clip; of clips that stand in the file twice the first, or none if their labels differ."""
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
            folders.append(find_folder(clip, found, clips_of[clip.video]))
    return folders


def _indices(file: Path, clips: Sequence[Annotation], names: Sequence[str], names_file: Path) -> list[int]:
    """The index of each clip's label in `names`, -1 where it has none. Raises ListError for a label that is not there."""
    index: dict[str | None, int] = {None: -1} | {name: i for i, name in enumerate(names)}
    for clip in clips:
        if clip.label is not None and clip.label not in index:
            near = difflib.get_close_matches(clip.label, names, n=1)
            hint = f" (nearest: {near[0]!r})" if near else ""
            expected = f"one of the {len(names)} labels in {names_file}{hint}"
            raise ListError(f"{file}:{clip.line}: found label {clip.label!r}, expected {expected}")
    return [index[clip.label] for clip in clips]


def _may_be_of(path: str, label: str | None) -> bool:
    """Whether a folder lies outside class folders, or in the one of this label; any label where it is not known."""
    class_folder, slash, _ = path.rpartition("/")
    return not slash or label is None or folded(class_folder) == folded(label)


def _label(where: str, fields: Sequence[str], at: int | None, allow_unlabelled: bool) -> str | None:
    label = fields[at] if at is not None else ""
    if "\n" in label or "\r" in label or not (label.strip() or allow_unlabelled):
        raise ListError(f"{where}: found label {label!r}, expected a line of text")
    return label if label.strip() else None


def _seconds(where: str, column: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}(\.0*)?", text):  # tables that were saved by pandas have 84.0
        raise ListError(f"{where}: found {column} {text!r}, expected a whole number of seconds")
    return int(text.partition(".")[0])


def _records(file: Path) -> Iterator[tuple[int, Any]]:
    """(line, record) of each item of a JSON list: the line on which it begins."""
    text, found = _json(file)
    if not isinstance(found, list):
        raise ListError(f"{file}: found {_short(found)}, expected a list of records")
    del found  # a second pass over what is known to be right: the json module tells no lines
    at, line, seen = text.index("[") + 1, 1, 0
    decode, between = json.JSONDecoder().raw_decode, re.compile(r"[\s,]*")
    while (begin := between.match(text, at).end()) < len(text) and text[begin] != "]":  # type: ignore[union-attr]
        line += text.count("\n", seen, begin)
        seen = begin
        record, at = decode(text, begin)
        yield line, record


def _json(file: Path) -> tuple[str, Any]:
    """The text of a JSON file and what it holds."""
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
