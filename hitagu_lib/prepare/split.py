"""Turn a folder of videos, one subfolder per class, into frames, a training list and a validation list: `hitagu split`.

    videos/<class>/<name>.mp4 -> sources -> extract_tree -> out/frames/<class>/<name>/000001.jpg ...
                                         -> split        -> out/train.csv  val.csv  classes.txt  sources.csv
                                         or with folds   -> out/fold0/train.csv  val.csv  classes.txt ...  sources.csv

Clips that were cut from one recording share its place, light and people. If some of them are in training and others in
validation, a network is rewarded for recognising the recording, and the score says nothing about new recordings. Therefore
the split divides *sources*, not clips: all clips of a source stay on one side.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hitagu_lib.errors import ConfigError, ListError, first_of
from hitagu_lib.files import file_sha256, write_atomic
from hitagu_lib.prepare.extract import extract_tree
from hitagu_lib.prepare.index import class_folders, count_folders, spelling, unwritable
from hitagu_lib.prepare.table import TableRow, read_sources, read_table
from hitagu_lib.prepare.videos import Found, Reasons, find_videos, some, write_rows

_NUMBERS = re.compile(r"([ _-]+[0-9]+)+$")
_CAMERA = re.compile(r"[A-Z]{2,4}")
_ATTEMPTS = 20
"""At finding a division that puts every class on both sides, when sources tie several classes together."""
LISTS = ("train", "val")


@dataclass(frozen=True)
class Video:
    path: str  # relative to the folder of videos
    folder: str  # of its frames, relative to out/frames
    label: str
    source: str


@dataclass(frozen=True)
class SplitReport:
    """What `split_videos` did.

    lists: the videos of each list, such as "train" and "val", or "fold0/train" and "fold0/val". failed, skipped: videos that could
    not be extracted, and entries that are not videos or that the table does not name, as (path below the folder of videos, reason);
    they are in no list. frames: each listed video's number of frames.
    """

    classes: tuple[str, ...]
    lists: dict[str, list[Video]]
    failed: Reasons
    skipped: Reasons
    frames: dict[str, int]

    @property
    def train(self) -> list[Video]:
        return self.lists["train"]

    @property
    def val(self) -> list[Video]:
        return self.lists["val"]

    def table(self) -> list[str]:
        """Return lines of text, a header and one per class: the clips in each list and, in brackets, their sources.

        Of folds only the validation lists are shown: the training lists hold the other folds.
        """
        title = {"train": "training", "val": "validation"}
        shown = {title.get(name, name.removesuffix("/val")): those for name, those in self.lists.items()}
        shown = {name: those for name, those in shown.items() if not name.endswith("/train")}
        width = max(15, *(len(name) for name in self.classes))
        lines = [f"{'clips (sources)':{width}}" + "".join(f"  {name:>12}" for name in shown)]
        for label in self.classes:
            sides = [[v.source for v in those if v.label == label] for those in shown.values()]
            cells = [f"{len(those)} ({len(set(those))})" for those in sides]
            lines.append(f"{label:{width}}" + "".join(f"  {cell:>12}" for cell in cells))
        return lines

    def shared_sources(self) -> list[str]:
        """Return the sources that are both in a list to train on and in the one to validate or test on; a given table may have some."""
        faults = []
        for name, those in self.lists.items():
            if name == "train" or name.endswith("/train"):
                mine = {video.source for video in those}
                for other in ("val", "test"):
                    theirs = self.lists.get(name.removesuffix("train") + other, [])
                    faults += [f"{s!r} is in {name} and {other}" for s in sorted(mine & {v.source for v in theirs})]
        return faults


def split_videos(
    videos: Path,
    out: Path,
    *,
    val_share: float = 0.25,
    seed: int = 0,
    folds: int | None = None,
    group: str | None = None,
    groups: Path | None = None,
    table: Path | None = None,
    columns: Mapping[str, str] | None = None,
    short_side: int | None = 256,
    workers: int | None = None,
    progress: bool = True,
) -> SplitReport:
    """Extract videos/<class>/<name>.<ending> to out/frames and write out/train.csv, val.csv, classes.txt, sources.csv.

    val_share: the share of each class's clips that validate, as closely as whole sources allow; every class is on both
    sides. The same videos, share and seed give the same lists.
    folds: divide the sources into this many folds, and write out/fold<k>/train.csv, val.csv and classes.txt for each: fold k
    validates, the others train.
    group, groups: the rule that names the source of a video, see `sources`. sources.csv has the source and the side (or fold) of
    each video; correct it and pass it as `groups`.
    table, columns: a table of the videos, see `prepare.table.read_table`, which is taken as it is. Its column of classes stands in
    for the folders, that of sources for the rule, that of splits (train, val, test) or folds for the division; a table with both is
    followed in its folds if `folds` is given, which must be their number, else in its splits. Videos that it does not name are skipped.

    A call that was stopped resumes when it is repeated. Videos that fail, and entries that are not videos, are in the report
    and in out/frames/failed.csv and skipped.csv, but in no list. Raises ListError for a class folder without videos or that
    cannot be reached, a class whose videos all fail or that has nothing to train on, two classes that differ in case alone, a
    single class, the same video twice, a name that a list cannot hold, a table that is not right, and a class whose clips all come
    from one source; ConfigError for an impossible share or rule.
    """
    videos, out = Path(videos), Path(out)
    if not 0 < val_share < 1:
        raise ConfigError(f"val_share: found {val_share}; expected a share of the clips between 0 and 1, such as 0.25")
    if folds is not None and folds < 2:
        raise ConfigError(f"folds: found {folds}; expected at least 2")
    if (out / "train.csv").exists() and not (out / "sources.csv").exists():
        raise ListError(
            f"{out}: holds a train.csv that was not made here (there is no sources.csv); choose another folder"
        )
    files = _find(videos, out)
    rows = read_table(Path(table), columns or {}, files.videos) if table is not None else None
    if rows is not None:
        files = _named(files, rows)
    found = _with_sources(videos, out, files, group, groups, rows)
    _refuse_copies(videos, found)
    # What is impossible is reported before hours of extraction.
    planned, _ = divide(found, val_share, seed, folds, rows)
    _refuse_other_lists(out, planned)
    frames = out / "frames"
    done = extract_tree(videos, frames, found=files, short_side=short_side, workers=workers, progress=progress)
    lost = dict(done.failed)
    _refuse_lost_classes(videos, found, lost)
    found = [video for video in found if video.path not in lost]
    try:
        lists, side = divide(found, val_share, seed, folds, rows)
    except ListError as error:  # it was possible with the videos that failed
        raise ListError(
            f"{error}; these videos failed:\n{some([f'{path}: {why}' for path, why in lost.items()])}"
        ) from error
    counted = count_folders(frames, [video.folder for video in found], progress)
    if faults := [f"{frames / v.folder}: {fault}" for v, (_, fault) in zip(found, counted, strict=True) if fault]:
        raise ListError(f"{out}: no lists written, since these frames are not right:\n{some(faults)}")
    counts = {video.path: count for video, (count, _) in zip(found, counted, strict=True)}
    classes = tuple(sorted({video.label for video in found}))
    index = {label: i for i, label in enumerate(classes)}
    what = "fold" if any("/" in name for name in lists) else "split"
    write_rows(out / "sources.csv", [(v.path, v.source, side[v.path]) for v in found], ("video", "source", what))
    for folder in {(out / name).parent for name in lists}:
        write_atomic(folder / "classes.txt", [f"{name}\n" for name in classes])
    for name, those in lists.items():
        write_rows(out / f"{name}.csv", [(v.folder, index[v.label], counts[v.path]) for v in those])
    return SplitReport(classes, lists, done.failed, done.skipped, counts)


def _refuse_other_lists(out: Path, lists: Iterable[str]) -> None:
    """Raise ListError for lists of another division, as of more folds: a video of theirs may be on the other side now."""
    written = {out / f"{name}.csv" for name in lists}
    folders = out.glob("fold*") if any(file.parent != out for file in written) else [out]
    there = {file for folder in folders for name in (*LISTS, "test") if (file := folder / f"{name}.csv").exists()}
    if stale := sorted(map(str, there - written)):
        raise ListError(
            f"found lists of another division: {first_of(stale, 4)}; remove them, or choose another folder than {out}"
        )


def divide(
    videos: Sequence[Video], val_share: float, seed: int, folds: int | None, rows: Mapping[str, TableRow] | None
) -> tuple[dict[str, list[Video]], dict[str, str]]:
    """Return the videos of each list, and each video's side or fold: as the table has them, else by whole sources."""
    given = list((rows or {}).values())
    by_fold = bool(given) and given[0].fold is not None
    by_side = bool(given) and given[0].side is not None
    if by_fold and (folds is not None or not by_side):
        side = {v.path: str(rows[v.path].fold) for v in videos} if rows else {}
        names = sorted(
            set(side.values()), key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)
        )
        if len(names) != (folds or len(names)) or len(names) < 2:
            raise ListError(
                f"folds: found {len(names)} in the table, {', '.join(names[:5])}; expected {folds or 'two or more'}"
            )
        return _fold_lists(videos, names, side), side
    if folds is not None and by_side:
        sides = ", ".join(sorted({str(row.side) for row in given}))
        raise ListError(
            f"folds: found {folds}, and a table that divides into {sides}; expected a column of folds in it, or no folds"
        )
    if folds is not None:
        side = choose_folds(videos, folds, seed)
        return _fold_lists(videos, [str(k) for k in range(folds)], side), side
    if by_side and rows:
        side = {v.path: str(rows[v.path].side) for v in videos}
    else:
        chosen = choose_validation(videos, val_share, seed)
        side = {v.path: LISTS[v.source in chosen] for v in videos}
    lists = {name: [v for v in videos if side[v.path] == name] for name in (*LISTS, "test")}
    if empty := [name for name in LISTS if not lists[name]]:
        raise ListError(
            f"split: found no video for {' and '.join(empty)} in the table; expected some to train and some to validate"
        )
    if untaught := {v.label for v in videos} - {v.label for v in lists["train"]}:
        raise ListError(
            f"split: found no clip of {sorted(untaught)} to train on in the table; expected some of every class in it"
        )
    return {name: those for name, those in lists.items() if those}, side


def _fold_lists(videos: Sequence[Video], names: Sequence[str], side: Mapping[str, str]) -> dict[str, list[Video]]:
    lists: dict[str, list[Video]] = {}
    for name in names:
        lists[f"fold{name}/train"] = [v for v in videos if side[v.path] != name]
        lists[f"fold{name}/val"] = [v for v in videos if side[v.path] == name]
        if lost := {v.label for v in videos} - {v.label for v in lists[f"fold{name}/train"]}:
            raise ListError(
                f"fold {name}: holds all clips of {sorted(lost)}, so that none is left to train on; use other folds"
            )
    return lists


def choose_folds(videos: Sequence[Video], folds: int, seed: int) -> dict[str, str]:
    """Return each video's fold, "0" to N - 1: whole sources, the clips of each class spread as evenly as they allow.

    The algorithm is greedy: sources, the largest first and equal ones in an order drawn from the seed, go where they add least to the
    sum of squares of the folds' shares of each class; among equal folds to the smallest, so none stays empty. Raises ListError for fewer
    sources than folds.
    """
    clips, total = _by_source(videos)
    if len(clips) < folds:
        raise ListError(f"folds: found {len(clips)} sources for {folds} folds; expected at least one for each")
    held = [Counter[str]() for _ in range(folds)]
    of: dict[str, str] = {}
    for name in _largest_first(clips, np.random.default_rng(seed)):

        def added(k: int, name: str = name) -> tuple[float, int]:
            more = sum((2 * held[k][c] + n) * n / total[c] ** 2 for c, n in clips[name].items())
            return more, held[k].total()

        fold = min(range(folds), key=added)
        of[name] = str(fold)
        held[fold] += clips[name]
    return {video.path: of[video.source] for video in videos}


def _largest_first(clips: Mapping[str, Counter[str]], rng: np.random.Generator) -> list[str]:
    names = sorted(clips)
    order = [names[i] for i in rng.permutation(len(names))]
    return sorted(order, key=lambda name: -clips[name].total())  # keeps the drawn order among equals


def read_videos(root: Path, out: Path, group: str | None = None, groups: Path | None = None) -> list[Video]:
    """Return the videos below root/<class>/ by path, each with its source.

    Raises ListError for a class without videos, a video outside the class folders, and a name that a list cannot hold.
    """
    return _with_sources(root, out, _find(root, out), group, groups)


def _find(root: Path, out: Path) -> Found:
    return find_videos(root, out / "frames", apart=(out,))


def _named(files: Found, rows: Mapping[str, TableRow]) -> Found:
    """Return the videos that a table names; the others are skipped."""
    others = [(path, "not in the table") for path in files.videos if path not in rows]
    return replace(files, videos={path: files.videos[path] for path in rows}, skipped=sorted([*files.skipped, *others]))


def _with_sources(
    root: Path,
    out: Path,
    files: Found,
    group: str | None,
    groups: Path | None,
    rows: Mapping[str, TableRow] | None = None,
) -> list[Video]:
    targets = files.videos
    given = {path: row.label for path, row in (rows or {}).items() if row.label is not None}
    if not given and (bare := [path for path in targets if "/" not in path]):
        raise ListError(
            f"{root}: these videos lie beside the class folders, expected <class>/<video> in it:\n" + some(bare)
        )
    label = {path: given.get(path) or path.split("/")[0] for path in targets}
    labels = set(label.values())
    faults = [f"{name!r}: {fault}" for name in sorted(labels) if (fault := unwritable(name) or _not_a_line(name))]
    spelled: dict[str, str] = {}
    for name in sorted(labels):
        if (other := spelled.setdefault(spelling(name), name)) != name:
            faults.append(f"{name!r}: differs from {other!r} in case or encoding alone; rename one, or join them")
    if rows is None:
        names = class_folders(root)
        empty = [name for name in names if name not in labels and root / name not in (out, *out.parents)]
        faults += [f"{name!r}: {_why_empty(name, files)}" for name in empty]
    if faults:
        raise ListError(f"{root}: of its classes these are not right:\n" + some(faults))
    if unlisted := [f"{path!r}: {fault}" for path in targets if (fault := unwritable(path))]:
        raise ListError(f"{root}: a list cannot hold the names of these videos:\n" + some(unlisted))
    if len(labels) < 2:
        found = f"one class, {labels.pop()!r}" if labels else "no video"
        raise ListError(f"{root}: found {found}; expected at least two classes to tell apart")
    source = {path: row.source for path, row in (rows or {}).items() if row.source is not None}
    if not source or group is not None or groups is not None:
        source = sources(targets, group, groups)
    return [Video(path, folder, label[path], source[path]) for path, folder in targets.items()]


def _why_empty(name: str, files: Found) -> str:
    """Return what a class folder holds in place of videos."""
    of = [
        f"{path.removeprefix(f'{name}/')}: {why}"
        for path, why in files.failed + files.skipped
        if path.split("/")[0] == name
    ]
    return f"no videos in it{f' (found {first_of(of, 3)})' if of else ''}; remove it if it is no class"


def sources(paths: Iterable[str], group: str | None = None, groups: Path | None = None) -> dict[str, str]:
    """Return path -> source: the recording that each video, <class>/<name>.<ending>, was cut from.

    By default the source is the name without its ending and without the numbers at its end: `kitchen_001`, `kitchen-2` and
    `kitchen_12_22` (start and end) come from `kitchen`. If only a counter remains, as in `0001` or a camera's `IMG_0001`, the
    video is its own source.
    group: a regular expression to search for in the name without its ending; its first group is the source. "(.*)" makes each
    name its own source.
    groups: a CSV with a header and the columns video and source, such as sources.csv.
    """
    if group is not None and groups is not None:
        raise ConfigError("group and groups: found both; expected one rule, a regular expression or a CSV")
    if groups is not None:
        return _listed_sources(paths, Path(groups))
    if group is None:
        return {path: _own_source(path) for path in paths}
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise ConfigError(f"group: {group!r} is no regular expression: {error}") from error
    if not pattern.groups:
        raise ConfigError(
            f"group: {group!r} has no group in parentheses; expected one around the source, such as (.*)_[0-9]+"
        )
    named = {path: pattern.search(Path(path).stem) for path in paths}
    if without := [path for path, match in named.items() if not match or not match[1]]:
        raise ListError(f"group: {group!r} finds no source in the names of these videos:\n" + some(without))
    return {path: match[1] for path, match in named.items() if match}


def _own_source(path: str) -> str:
    stem = Path(path).stem
    rest = _NUMBERS.sub("", stem)
    if not rest or rest.isdecimal() or _CAMERA.fullmatch(rest):
        return f"{path.split('/')[0]}/{stem}"  # each folder has its own counter
    return rest


def _listed_sources(paths: Iterable[str], file: Path) -> dict[str, str]:
    listed = read_sources(file)
    if without := [path for path in paths if path not in listed]:
        raise ListError(f"{file}: has no source for these videos, named as here:\n" + some(without))
    return {path: listed[path] for path in paths}


def choose_validation(videos: Sequence[Video], share: float, seed: int) -> set[str]:
    """Return the sources whose clips validate: about `share` of the clips of each class, never none or all of them.

    The algorithm is greedy. Sources, the largest first and equal ones in an order drawn from the seed, change sides as long as
    that brings the shares of the classes closer to `share` (in the sum of squares) or gives a class a side that it lacks. Raises
    ListError if all clips of a class come from one source, or if sources tie classes together so that no division is found.
    """
    clips, total = _by_source(videos)
    of_class = {label: [name for name, held in clips.items() if label in held] for label in sorted(total)}
    if alone := [f"{c!r}: {total[c]} videos, all of {s[0]!r}" for c, s in of_class.items() if len(s) < 2]:
        raise ListError(
            "these classes have clips of one source only, which cannot be in training and in validation:\n"
            + some(alone)
            + "\nAdd clips of another source. Or, if these were not cut from one recording, say what a source is: "
            "--group '(.*)' makes each file its own, --groups takes a CSV of video,source"
        )
    for attempt in range(_ATTEMPTS):
        val, held = _divided(clips, total, share, np.random.default_rng((seed, attempt)))
        names = [repr(label) for label in sorted(total) if not 0 < held[label] < total[label]]
        if not names:
            return val
    raise ListError(
        "found no division that has every class in training and in validation, since sources have clips of several classes; "
        "missing on one side:\n" + some(names) + "\nAdd clips of other sources to them"
    )


def _by_source(videos: Sequence[Video]) -> tuple[dict[str, Counter[str]], Counter[str]]:
    """Return source -> class -> clips, and class -> clips."""
    clips: dict[str, Counter[str]] = defaultdict(Counter)
    for video in videos:
        clips[video.source][video.label] += 1
    return clips, Counter(video.label for video in videos)


def _divided(
    clips: Mapping[str, Counter[str]], total: Mapping[str, int], share: float, rng: np.random.Generator
) -> tuple[set[str], dict[str, int]]:
    """Return the sources that validate, and how many clips of each class they hold."""
    order = _largest_first(clips, rng)
    val: set[str] = set()
    held: dict[str, int] = dict.fromkeys(total, 0)

    def cost(label: str, count: int, must: bool) -> float:
        return (count / total[label] - share) ** 2 + must * (count in (0, total[label]))

    # First take what fits, the largest sources first; then what brings the shares closer; at last let no class lack a side, for
    # which the smallest source is enough.
    for fits, must, names_in_turn in ((True, False, order), (False, False, order), (False, True, order[::-1])):
        changed = True
        while changed:  # each change lowers the sum, so it ends
            changed = False
            for name in names_in_turn:
                sign = -1 if name in val else 1
                after = {c: held[c] + sign * n for c, n in clips[name].items()}
                gain = sum(cost(c, held[c], must) - cost(c, count, must) for c, count in after.items())
                if gain > 1e-9 and not (fits and any(count > share * total[c] for c, count in after.items())):
                    changed = True
                    val ^= {name}
                    held |= after
    return val, held


def _refuse_copies(root: Path, videos: Sequence[Video]) -> None:
    """Raise ListError if a file is there twice: it could be in training and in validation, or have two labels."""
    by_size: dict[int, list[str]] = defaultdict(list)
    for video in videos:
        with suppress(OSError):  # an empty or unreadable video fails when it is extracted
            by_size[(root / video.path).stat().st_size].append(video.path)
    same: dict[str, list[str]] = defaultdict(list)
    for paths in (paths for size, paths in by_size.items() if size and len(paths) > 1):
        for path in paths:
            with suppress(OSError):
                same[file_sha256(root / path)].append(path)
    if copies := [" = ".join(paths) for paths in same.values() if len(paths) > 1]:
        raise ListError(f"{root}: the same video under several names; keep one of each:\n" + some(copies))


def _refuse_lost_classes(root: Path, videos: Sequence[Video], lost: Mapping[str, str]) -> None:
    """Raise ListError if no video of a class could be extracted: without it, the labels of all later classes would change."""
    of_class: dict[str, list[str]] = defaultdict(list)
    for video in videos:
        of_class[video.label].append(video.path)
    if gone := [
        f"{label!r}: {len(paths)} videos, such as {paths[0]}: {lost[paths[0]]}"
        for label, paths in of_class.items()
        if all(path in lost for path in paths)
    ]:
        raise ListError(
            f"{root}: no lists written, since every video of these classes failed:\n"
            + some(gone)
            + "\nMend the videos, or remove the class folders"
        )


def _not_a_line(name: str) -> str | None:
    return "cannot be a line of classes.txt; rename it" if not name.strip() or "\n" in name or "\r" in name else None
