"""Read a table of videos that somebody already has, such as a data set's own split.csv: `hitagu split --table`.

clip,class,subject,split,fold  --columns video=clip,source=subject-->  TableRow for each line
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from hitagu_lib.data.clip_list import csv_rows, csv_table
from hitagu_lib.errors import ConfigError, ListError
from hitagu_lib.prepare.videos import some

COLUMNS = ("video", "class", "source", "split", "fold")
"""What a table may say of a video: its path, label, source, side of one division, and fold."""
_SIDES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
SIDE = {word: side for side, words in _SIDES.items() for word in words}


@dataclass(frozen=True)
class TableRow:
    """What one line says of a video; None where the table has no such column."""

    line: int
    label: str | None
    source: str | None
    side: str | None  # train, val or test
    fold: str | None


def parse_columns(text: str) -> dict[str, str]:
    """Read "video=clip,source=subject" as {"video": "clip", "source": "subject"}; what is not named keeps its own name.

    Raises ConfigError for a key that is not in COLUMNS or is given twice.
    """
    named: dict[str, str] = {}
    for item in filter(None, text.split(",")):
        key, _, column = (part.strip() for part in item.partition("="))
        if key not in COLUMNS or not column or key in named:
            raise ConfigError(
                f"columns: found {item!r}; expected KEY=COLUMN once for each of {', '.join(COLUMNS)} that has another name"
            )
        named[key] = column
    return named


def read_table(file: Path, columns: Mapping[str, str], videos: Collection[str]) -> dict[str, TableRow]:
    """Return a row for each video that the table names, in the order of `videos`, by its path in `videos`.

    columns: as from `parse_columns`. A column that it names must be there; one that it does not name is read if it is there, by
    its own name. The table may leave out the endings of the videos' names. Raises ListError naming file and line for a video that is
    not among `videos` or listed twice, a column twice, an empty cell, and a split or fold that cannot be read.
    """
    by_name = {re.sub(r"\.[^./]*$", "", path): path for path in videos} | {path: path for path in videos}
    lines = csv_rows(file, "a line for each video")
    _, header = next(lines, (1, []))
    found = [name.strip() for name in header]
    if other := [name for name in found if name.casefold() in COLUMNS and name not in (*COLUMNS, *columns.values())]:
        key = other[0].casefold()
        raise ListError(f"{file}:1: found column {other[0]!r}; expected {key!r}, or --columns {key}={other[0]}")
    used = {key: columns.get(key, key) for key in COLUMNS if key in columns or key in found}
    used.setdefault("video", "video")
    if missing := [column for column in used.values() if column not in found]:
        raise ListError(
            f"{file}:1: found the columns {', '.join(found) or 'none'}; expected {', '.join(missing)} too, or say which "
            f"they are, such as --columns video={found[0] if found else 'clip'}"
        )
    if twice := [column for column in used.values() if found.count(column) > 1]:
        raise ListError(f"{file}:1: found column {twice[0]!r} twice; expected it once")
    rows: dict[str, TableRow] = {}
    faults = []
    for line, fields in lines:
        if len(fields) != len(found):
            faults.append(f"{file}:{line}: found {len(fields)} fields; expected {len(found)}, as in the header")
            continue
        cells = dict(zip(found, fields, strict=True))
        value = {key: cells.get(column, "").strip() for key, column in used.items()}
        path = by_name.get(value["video"])
        if fault := _fault(value, used, path, rows):
            faults.append(f"{file}:{line}: {fault}")
        elif path is not None:
            side = SIDE[value["split"].lower()] if "split" in value else None
            rows[path] = TableRow(line, value.get("class"), value.get("source"), side, value.get("fold"))
    if faults:
        raise ListError("of this table's lines these are not right:\n" + some(faults))
    return {path: rows[path] for path in videos if path in rows}


def read_sources(file: str | Path) -> dict[str, str]:
    """Read which source each video comes from: video -> source, as `hitagu split` writes them to sources.csv.

    Raises ListError if the file cannot be read, lacks the columns video and source or has one twice, has an empty cell there, or gives a
    video two sources.
    """
    found: dict[str, str] = {}
    for line, cells in csv_table(Path(file), ("video", "source"), "video,source"):
        video, source = cells["video"], cells["source"]
        if not video or not source:
            raise ListError(f"{file}:{line}: found {video!r} and {source!r}; expected a video and its source")
        if found.setdefault(video, source) != source:
            raise ListError(f"{file}:{line}: found {video!r} of {source!r}; expected {found[video]!r}, as before")
    return found


def _fault(
    value: Mapping[str, str], used: Mapping[str, str], path: str | None, rows: Mapping[str, TableRow]
) -> str | None:
    if empty := [used[key] for key, cell in value.items() if not cell]:
        return f"found nothing in column {empty[0]!r}"
    if path is None:
        return f"found video {value['video']!r}; expected one of the videos, by its path below their folder"
    if path in rows:
        return f"found {value['video']!r} again, as in line {rows[path].line}; expected each video once"
    if "split" in value and value["split"].lower() not in SIDE:
        return f"found {used['split']} {value['split']!r}; expected one of {', '.join(SIDE)}"
    if "fold" in value and not re.fullmatch(r"[A-Za-z0-9_-]+", value["fold"]):
        return f"found {used['fold']} {value['fold']!r}; expected letters and digits, as it names a folder"
    return None
