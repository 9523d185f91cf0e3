"""Lists of clips, as training reads them. (prepare/index.py writes them; prepare/check.py compares them with the disk.)

    train.csv, classes.txt -> read_list -> ClipList

A list is a CSV file without a header, `relative/path/to/frames_dir,label_index,num_frames`; the label -1 marks a clip without
a label. Beside it lies a classes.txt with one label per line; the line number, from 0, is the label's index. A ClipList holds
no Python object per row: workers forked from one process would copy every memory page whose reference counts they touch, which
fills a machine's memory over an epoch.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from hitagu_lib.errors import ListError

_ROW = "path,label_index,num_frames"
_INT32_MAX = 2**31 - 1


@dataclass(frozen=True, eq=False)
class ClipList:
    """N clips in a few arrays: labels (-1: none) and num_frames are int32 (N,)."""

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
        """Return the folder of clip i as the list has it, relative to root. Raises IndexError outside 0 .. N - 1."""
        self._must_have(i)
        return self._paths[self._ends[i] : self._ends[i + 1]].tobytes().decode("utf-8")

    def paths(self) -> list[str]:
        """Return every clip's folder as the list has it. These are Python objects: do not keep them where workers fork."""
        text, ends = self._paths.tobytes(), self._ends.tolist()
        return [text[start:end].decode("utf-8") for start, end in pairwise(ends)]

    def frames_dir(self, i: int) -> Path:
        """Return the folder of clip i. Raises IndexError outside 0 .. N - 1."""
        return self.root / self.path(i)

    def row(self, i: int) -> int:
        """Return the line of `file`, from 1, that holds clip i. Raises IndexError outside 0 .. N - 1."""
        self._must_have(i)
        return int(self._lines[i])

    def _must_have(self, i: int) -> None:
        if not 0 <= i < len(self):  # NumPy would read -1 as the last
            raise IndexError(f"{self.file}: asked for clip {i}, expected 0 to {len(self) - 1}")


def read_list(file: Path, root: Path, classes: Path | None = None, *, allow_unlabelled: bool = False) -> ClipList:
    """Open a list whose paths are relative to `root`. classes: None means the classes.txt beside the list.

    allow_unlabelled: accept clips without a label (-1), such as a test split's, which only prediction can use.

    Only the list is read; `check_list` reads the frames. Empty lines are skipped. Raises ListError naming file and line of the
    first malformed row.
    """
    file, root = Path(file), Path(root)
    if file.is_dir():
        raise ListError(f"{file}: found a folder; expected a list, such as train.csv")
    classes = Path(classes) if classes is not None else file.with_name("classes.txt")
    if not file.exists():  # a missing list is said before missing classes
        raise ListError(f"{file}: no such list; `hitagu index --root FRAMES --out {file}` writes one")
    names = read_classes(classes)
    paths, ends, labels, counts, lines = bytearray(), array("q", [0]), array("i"), array("i"), array("i")
    # Half a million rows have only a few hundred different labels and counts: look them up rather than parse each again.
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
            raise ListError(
                f"{file}:{line}: found label {label!r}, expected an index from 0 to {len(names) - 1}, "
                f"one of the {len(names)} classes in {classes}{_label_hint(label, line, names)}"
            )
        if count not in known_counts:
            if not (count.isascii() and count.isdecimal() and len(count) < 11 and 1 <= int(count) <= _INT32_MAX):
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


def _label_hint(label: str, line: int, names: Sequence[str]) -> str:
    """Say what may be meant by a label that is no index, as the end of a message."""
    if label == "-1":
        return "; -1 marks a clip without a label, as in a test split: for prediction, not to train or validate on"
    index = {without_blanks(name): i for i, name in enumerate(names)}
    if (meant := index.get(without_blanks(label))) is not None:
        return f"; this is the name of a class, whose index is {meant}: the second field is the index, not the name"
    return "" if line > 1 or label.strip().lstrip("-").isdecimal() else "; a list has no header"


def read_classes(file: Path) -> tuple[str, ...]:
    """Read the labels of a classes.txt, in the order of their indices.

    Raises ListError for a missing, empty or unreadable file, an empty line, or a label that occurs twice, be it with other blanks.
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
        if before := seen.get(without_blanks(name)):
            but = f", {names[before - 1]!r}, but for blanks" if names[before - 1] != name else ""
            raise ListError(f"{file}:{line}: found {name!r} again, as in line {before}{but}; expected each label once")
        seen[without_blanks(name)] = line
    if not names:
        raise ListError(f"{file}: found no label, expected one a line")
    return tuple(names)


def without_blanks(label: str) -> str:
    """Return a label without blanks at its ends, with one blank for each run of them inside; blanks are of any kind (U+00A0 too)."""
    return " ".join(label.split())


def path_fault(path: str) -> str | None:
    """Return why a listed path must not be joined to a root, on any system; None if it may be."""
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
    """Yield (line, fields) of each row that is not empty. The line is the row's first: a quoted field may hold newlines.

    expected: what a row should be, for the message. Raises ListError where the file is no CSV, not UTF-8, or unreadable.
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
        raise ListError(f"{file}: cannot read this file: {error.strerror}; expected {expected}") from error


def csv_table(file: Path, needed: Sequence[str], expected: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line, column -> cell) of each row below a header that has the columns `needed`, in any order and among others.

    Raises ListError as `csv_rows` does, for a header without one of them or with one name twice, and for a row that is not as long as
    the header.
    """
    rows = csv_rows(file, expected)
    line, fields = next(rows, (1, []))
    header = [name.strip() for name in fields]
    for name in (*needed, *filter(None, header)):  # a column without a name is not read
        if (count := header.count(name)) != 1:
            found = f"{count} columns {name!r}" if count else f"no column {name!r}"
            raise ListError(f"{file}:{line}: found {found} in {','.join(header)!r}, expected {expected}")
    for line, fields in rows:
        if len(fields) != len(header):
            raise ListError(
                f"{file}:{line}: found {len(fields)} fields, expected {len(header)} as in the header: {expected}"
            )
        yield line, dict(zip(header, fields, strict=True))


def _not_utf8(file: Path) -> str:
    """Name the line of the first byte that is not UTF-8. (The decoder reads in blocks and knows no lines.)"""
    with open(file, "rb") as stream:
        for line, raw in enumerate(stream, start=1):
            try:
                raw.decode("utf-8")
            except UnicodeDecodeError as error:
                found = f"byte 0x{raw[error.start]:02x}, which is not UTF-8"
                return f"{file}:{line}: found {found}; expected text in UTF-8 (save it again with that encoding)"
    return f"{file}: not text in UTF-8"


def _array(values: array[int] | bytearray, kind: type) -> np.ndarray:
    """Return the same memory as a read-only array."""
    made: np.ndarray = np.frombuffer(values, kind)
    made.flags.writeable = False
    return made
