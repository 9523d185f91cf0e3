"""A list of clips as a torch Dataset.

list row -> which frames (sampling) -> decode only those -> crop, mirror (uint8) -> Clip -> batch
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from hitagu_lib.config import DataConfig
from hitagu_lib.data.clip_list import ClipList
from hitagu_lib.data.sampling import clip_indices, clip_times
from hitagu_lib.data.source import read_source
from hitagu_lib.data.transforms import RandomCrop, centre_crop, mirror
from hitagu_lib.errors import ClipError, ConfigError

Clip = tuple[Tensor, Tensor, int, int]  # frames uint8 (T, 3, S, S), t (T,), label, row


class ClipDataset(Dataset[Clip | str]):
    """The clips of a list. Keys are (epoch, row): every random choice is drawn from (seed, epoch, row), so that the number of
    workers or processes changes nothing.

    A clip that cannot be read raises ClipError naming the list's line. With `on_bad_clip: skip` its place is taken by the error's
    message, which the batch carries in "bad".
    """

    def __init__(self, clips: ClipList, cfg: DataConfig, *, train: bool, seed: int = 0) -> None:
        self.clips, self.cfg, self.train, self.seed = clips, cfg, train, seed
        self.mirrored_label = swap_table(clips.classes, cfg.hflip_swaps, "data.hflip_swaps")

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: tuple[int, int]) -> Clip | str:
        epoch, row = key
        rng = np.random.default_rng((self.seed, epoch, row)) if self.train else None
        try:
            return self._clip(row, rng)
        except ClipError as error:
            message = f"{self.clips.file}:{self.clips.row(row)}: {error}"
            if self.cfg.on_bad_clip == "skip":
                return message
            raise ClipError(f"{message} (or skip and count such clips with data.on_bad_clip=skip)") from error

    def _clip(self, row: int, rng: np.random.Generator | None) -> Clip:
        cfg, label = self.cfg, int(self.clips.labels[row])
        frames, t = read_clip(self.clips.frames_dir(row), int(self.clips.num_frames[row]), cfg, rng)
        if rng is not None and cfg.hflip and rng.random() < 0.5:
            frames, label = mirror(frames), int(self.mirrored_label[label])
        if rng is not None and cfg.vflip and rng.random() < 0.5:
            frames = frames.flip(-2)
        if rng is not None and cfg.time_stretch > 1:
            t = t * cfg.time_stretch ** rng.random()
        return frames, t, label, row


def read_clip(
    path: Path, num_frames: int, cfg: DataConfig, rng: np.random.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Read one clip of a frame folder or video (`data.source`), sampled and cropped at random, or without `rng` as in validation.

    Returns uint8 (T, 3, S, S), t (T,).
    """
    indices = clip_indices(num_frames, cfg.num_frames, cfg.sampling, cfg.dense_span, rng)
    source = path, indices.tolist(), num_frames, cfg.source, cfg.short_side
    if rng is None:
        frames = centre_crop(read_source(*source), cfg.image_size, cfg.short_side)
    else:
        crop = RandomCrop(cfg.image_size, cfg.min_scale, rng)
        frames = crop.resize(read_source(*source, crop.cut))
    return frames, torch.from_numpy(clip_times(indices, cfg.ref_stride))


def swap_table(classes: Sequence[str], pairs: Sequence[tuple[str, str]], key: str) -> np.ndarray:
    """Map each label's index to its partner's in `pairs`, or to itself: int64 (num_classes,).

    Raises ConfigError naming `key` where a label is not among the classes or occurs in two pairs.
    """
    index = {label: i for i, label in enumerate(classes)}
    table = np.arange(len(classes))
    for pair in pairs:
        for label, partner in (pair, pair[::-1]):
            if label not in index or partner not in index:
                unknown = label if label not in index else partner
                raise ConfigError(f"{key}: found {unknown!r}; expected one of the {len(classes)} labels in classes.txt")
            if table[index[label]] != index[label]:
                raise ConfigError(f"{key}: found {label!r} in two pairs; expected each label at most once")
            table[index[label]] = index[partner]
    return table
