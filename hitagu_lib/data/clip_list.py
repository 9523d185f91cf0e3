"""Lists of clips, read and checked against the frame folders behind them. (index.py makes them.)

    train.csv, classes.txt -> read_list -> ClipList -> check_list -> [Problem, ...]

A list is a CSV without a header, `relative/path/to/frames_dir,label_index,num_frames`; the label -1 marks a clip without
one. Beside it lies a classes.txt, one label a line, line number = index from 0. A ClipList holds no Python object per
row: workers forked from one process would copy every page whose reference counts they touch, which fills a machine's
memory over an epoch.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from hitagu_lib.errors import ListError

_ROW = "path,label_index,num_frames"
_INT32_MAX = 2**31 - 1


@dataclass(frozen=True, eq=False)
class ClipList:
    """N clips as a few arrays: labels (-1: none) and num_frames are int32 (N,)."""

    file: Path
    root: Path
    classes: tuple[str, ...]
    labels: np.ndarray
    num_frames: np.ndarray
    _paths: np.ndarray  # uint8 (bytes,): every path in UTF-8, one after another
    _ends: np.ndarray  # int64 (N + 1,): path i is _paths[_ends[i] : _ends[i + 1]]
    _lines: np.ndarray  # int32 (N,)

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, i: int) -> str:
        """The folder of clip i as the list has it, relative to root. Raises IndexError outside 0 .. N - 1."""
        self._must_have(i)
        return self._paths[self._ends[i] : self._ends[i + 1]].tobytes().decode("utf-8")

    def paths(self) -> list[str]:
        """Every clip's folder as the list has it: Python objects, for a look at all of them, not to be kept where workers fork."""
        text, ends = self._paths.tobytes(), self._ends.tolist()
        return [text[start:end].decode("utf-8") for start, end in pairwise(ends)]

    def frames_dir(self, i: int) -> Path:
        """The folder of clip i. Raises IndexError outside 0 .. N - 1."""
        return self.root / self.path(i)

    def row(self, i: int) -> int:
        """The line of `file` that clip i stands in, from 1. Raises IndexError outside 0 .. N - 1."""
        self._must_have(i)
        return int(self._lines[i])

    def _must_have(self, i: int) -> None:
        if not 0 <= i < len(self):  # NumPy would take -1 for the last
            raise IndexError(f"{self.file}: asked for clip {i}, expected 0 to {len(self) - 1}")


def read_list(file: Path, root: Path, classes: Path | None = None, *, allow_unlabelled: bool = False) -> ClipList:
    """Open a list whose paths are relative to `root`. classes: None: the classes.txt beside the list.

    allow_unlabelled: take clips without a label (-1), such as a test split's, which prediction alone can use.

    Only the list is read; the frames are check_list's. Empty lines are passed over. Raises ListError naming file and
    line of the first row that is not as it should be.
    """
    file, root = Path(file), Path(root)
    classes = Path(classes) if classes is not None else file.with_name("classes.txt")
    if not file.exists():  # before the classes are missed
        raise ListError(f"{file}: no such list; `hitagu index --root FRAMES --out {file}` writes one")
    names = read_classes(classes)
    paths, ends, labels, counts, lines = bytearray(), array("q", [0]), array("i"), array("i"), array("i")
    # Half a million rows have a few hundred different labels and counts: look up rather than parse and check again.
    known_labels = {str(i): i for i in range(-1 if allow_unlabelled else 0, len(names))}
    known_counts: dict[str, int] = {}
    for line, fields in csv_rows(file, _ROW):
        if len(fields) != 3:
            raise ListError(
                f"{file}:{line}: found {len(fields)} field{'s' * (len(fields) != 1)}, expected 3: "
                f'{_ROW} (a path with a comma stands in double quotes: "a, b/id")'
            )
        path, label, count = fields
        if fault := path_fault(path):
            raise ListError(f"{file}:{line}: found path {path!r}, {fault}; expected a folder below {root}")
        if label not in known_labels:
            hint = "" if line > 1 or label.strip().lstrip("-").isdecimal() else "; a list has no header"
            if label == "-1":
                hint = (
                    "; -1 marks a clip without a label, as of a test split: for prediction, not to train or validate on"
                )
            raise ListError(
                f"{file}:{line}: found label {label!r}, expected an index from 0 to {len(names) - 1}, "
                f"one of the {len(names)} classes in {classes}{hint}"
            )
        if count not in known_counts:
            if not (count.isascii() and count.isdecimal() and 1 <= int(count) <= _INT32_MAX):
                raise ListError(f"{file}:{line}: found num_frames {count!r}, expected a whole number of at least 1")
            known_counts[count] = int(count)
        paths += path.encode("utf-8")
        ends.append(len(paths))
        labels.append(known_labels[label])
        counts.append(known_counts[count])
        lines.append(line)
    if not labels:
        raise ListError(f"{file}: found no rows, expected one clip a line: {_ROW}")
    return ClipList(
        file,
        root,
        names,
        labels=_array(labels, np.int32),
        num_frames=_array(counts, np.int32),
        _paths=_array(paths, np.uint8),
        _ends=_array(ends, np.int64),
        _lines=_array(lines, np.int32),
    )


def read_classes(file: Path) -> tuple[str, ...]:
    """The labels of a classes.txt by index.

    Raises ListError for a missing, empty or unreadable file, an empty line, or a label that stands there twice.
    """
    file = Path(file)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ListError(_not_utf8(file)) from error
    except OSError as error:
        hint = "expected one label a line, as `hitagu index` writes it beside the training list"
        raise ListError(f"{file}: cannot read the classes: {error.strerror}; {hint}") from error
    names = text.removesuffix("\n").split("\n") if text else []  # not splitlines(): a label may hold U+2028
    seen: dict[str, int] = {}
    for line, name in enumerate(names, start=1):
        if not name.strip():
            raise ListError(
                f"{file}:{line}: found an empty line, expected a label: the line number is the label's index"
            )
        if name in seen:
            raise ListError(f"{file}:{line}: found {name!r} again, as in line {seen[name]}; expected each label once")
        seen[name] = line
    if not names:
        raise ListError(f"{file}: found no label, expected one a line")
    return tuple(names)


def path_fault(path: str) -> str | None:
    """Why a listed path may not be joined to a root, on any system; None if it may."""
    if not path:
        return "which is empty"
    if path[0] in "/\\" or path[1:2] == ":":
        return "which is absolute"
    if "\0" in path:
        return "which holds a zero byte"
    if ".." in path and ".." in path.replace("\\", "/").split("/"):  # Windows takes both slashes as separators
        return "which climbs out with '..'"
    return None


def csv_rows(file: Path, expected: str) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of each row that is not empty. The line is the row's first: a quoted field may hold newlines.

    expected: what a row should be, for the message. Raises ListError for what is no CSV, not UTF-8 or cannot be read.
    """
    line = 1
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:  # Excel begins its files with a byte order mark
            reader = csv.reader(stream, strict=True)
            for fields in reader:
                if fields:
                    yield line, fields
                line = reader.line_num + 1
    except csv.Error as error:
        raise ListError(f"{file}:{line}: not a row of CSV: {error}; expected {expected}") from error
    except UnicodeDecodeError as error:
        raise ListError(_not_utf8(file)) from error
    except OSError as error:
        raise ListError(f"{file}: cannot read this list: {error.strerror}") from error


def _not_utf8(file: Path) -> str:
    """Names the line of the first byte that is not UTF-8: the decoder works in blocks and knows no lines."""
    with open(file, "rb") as stream:
        for line, raw in enumerate(stream, start=1):
            try:
                raw.decode("utf-8")
            except UnicodeDecodeError as error:
                found = f"byte 0x{raw[error.start]:02x}, which is not UTF-8"
                return f"{file}:{line}: found {found}; expected text in UTF-8 (save it again with that encoding)"
    return f"{file}: not text in UTF-8"


def _array(values: array[int] | bytearray, kind: type) -> np.ndarray:
    """The same memory as a read-only array."""
    made: np.ndarray = np.frombuffer(values, kind)
    made.flags.writeable = False
    return made
