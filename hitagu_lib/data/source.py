"""What `data.source` names: frame folders or video files, opened, checked and read."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from hitagu_lib.config import DataConfig
from hitagu_lib.data.clip_list import ClipList, read_list
from hitagu_lib.data.frames import read_frames
from hitagu_lib.data.video import need_av, read_video
from hitagu_lib.errors import ConfigError, ListError


def read_source(
    path: Path,
    indices: Sequence[int],
    num_frames: int,
    source: str,
    short_side: int,
    change: Callable[[Tensor], Tensor] = lambda frame: frame,
) -> Tensor:
    """Read the frames `indices` of a clip of `num_frames` from what `data.source` names: uint8 (T, 3, H, W).

    frames: a frame folder. video: a video file, its short side scaled down to `short_side` as `hitagu extract` does; a folder,
    such as predict extracts to, is read as frames. Raises ClipError as read_frames and read_video do.
    """
    if source == "frames" or os.path.isdir(path):  # Path.is_dir raises where a name is too long
        return read_frames(path, indices, change)
    return read_video(path, indices, num_frames, short_side, change)


def check_paths(cfg: DataConfig) -> None:
    """Raise ConfigError where a path that the lists need does not exist, naming the nearest one that does, or where PyAV is missing.

    A data set that `data.prepare` will make need not exist yet.
    """
    if cfg.source == "video":
        need_av()
    if cfg.prepare is not None:
        return
    for key, kind in (("root", "folder"), ("train_list", "file"), ("val_list", "file"), ("classes", "file")):
        value = getattr(cfg, key)
        if value is None or (Path(value).is_dir() if kind == "folder" else Path(value).is_file()):
            continue
        path = Path(value)
        there = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, there, n=1)
        hint = f"; did you mean {path.parent / near[0]}?" if near else ""
        raise ConfigError(f"data.{key}: {path}: no such {kind} (looked from {Path.cwd()}){hint}")


def open_lists(cfg: DataConfig, allow_unlabelled: bool = False) -> tuple[ClipList, ClipList]:
    """Open the training and the validation list, over the training list's classes. allow_unlabelled: see `read_list`.

    Raises ListError where a list is malformed, or where there is only one class: nothing could be learnt.
    """
    root, classes = Path(cfg.root), cfg.classes_file
    train, val = (
        read_list(Path(file), root, classes, allow_unlabelled=allow_unlabelled)
        for file in (cfg.train_list, cfg.val_list)
    )
    if len(train.classes) < 2:
        raise ListError(
            f"{classes}: found one class, {train.classes[0]!r}; expected at least two to tell apart: add clips of another class"
        )
    return train, val
