"""A list of clips as a torch Dataset and its loader.

list row -> which frames (sampling) -> decode only those -> crop, mirror (uint8) -> Clip -> batch
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from hitagu_lib.config import DataConfig
from hitagu_lib.data.frames import read_source
from hitagu_lib.data.clip_list import ClipList, read_list
from hitagu_lib.data.sampling import clip_indices, clip_times
from hitagu_lib.data.transforms import RandomCrop, centre_crop, mirror
from hitagu_lib.data.video import need_av
from hitagu_lib.errors import ClipError, ConfigError
from hitagu_lib.training.signals import leave_signals_to_trainer


class Batch(TypedDict):
    frames: Tensor  # uint8 (B, T, 3, S, S), channels last in memory
    t: Tensor  # float32 (B, T), in reference strides
    label: Tensor  # int64 (B,)
    row: Tensor  # int64 (B,), index in the list
    bad: list[str]  # clips of this batch that could not be read and were left out: what and why


Clip = tuple[Tensor, Tensor, int, int]  # frames uint8 (T, 3, S, S), t (T,), label, row


class ClipDataset(Dataset[Clip | str]):
    """Clips of a list. Keys are (epoch, row): every random choice is drawn from (seed, epoch, row), so that the number of
    workers or processes changes nothing.

    A clip that cannot be read raises ClipError naming the list's line, or with `on_bad_clip: skip` becomes its message, which
    the batch carries in "bad".
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
            raise ClipError(f"{message} (or leave such clips out, counted, with data.on_bad_clip=skip)") from error

    def _clip(self, row: int, rng: np.random.Generator | None) -> Clip:
        cfg, label = self.cfg, int(self.clips.labels[row])
        frames, t = read_clip(self.clips.frames_dir(row), int(self.clips.num_frames[row]), cfg, rng)
        if rng is not None and cfg.hflip and rng.random() < 0.5:
            frames, label = mirror(frames), int(self.mirrored_label[label])
        return frames, t, label, row


def read_clip(
    path: Path, num_frames: int, cfg: DataConfig, rng: np.random.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """One clip of a frame folder, or video (`data.source`), sampled and cropped at random, or with no `rng` as in validation.

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


class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, row) keys of one process: its share of a permutation drawn from (seed, epoch), or of the list's own order.

    Shuffled, step k takes rows [k G, (k + 1) G) of the permutation, G = batch_size x processes x accumulate: cut into batches, which
    are dealt to the processes in turn until each has `accumulate` of them. The same global batch G has the same clips however it is
    split. A last, smaller global batch is dropped, unless it is the only one: then a process may have fewer clips, or none.
    Unshuffled, every row is given exactly once: process p has rows p, p + processes, ...
    """

    def __init__(
        self,
        num_clips: int,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        process: int = 0,
        processes: int = 1,
        accumulate: int = 1,
    ) -> None:
        self.num_clips, self.batch_size, self.shuffle, self.seed = num_clips, batch_size, shuffle, seed
        self.process, self.processes, self.accumulate = process, processes, accumulate
        self.epoch = self.start = 0

    @property
    def steps(self) -> int:
        """Steps an epoch, the same in every process."""
        return max(1, self.num_clips // (self.batch_size * self.processes * self.accumulate))

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """The epoch that is given next, from its step `start` on: a step's clips hang on (seed, epoch, step) alone."""
        self.epoch, self.start = epoch, start

    def _rows(self) -> np.ndarray:
        rows = np.arange(self.num_clips)
        if not self.shuffle:
            return rows[self.process :: self.processes]
        np.random.default_rng((self.seed, self.epoch)).shuffle(rows)
        shape = (self.steps, self.accumulate, self.processes, self.batch_size)
        if self.num_clips < math.prod(shape):
            return rows[self.process :: self.processes]
        return rows[: math.prod(shape)].reshape(shape)[:, :, self.process].ravel()

    def __len__(self) -> int:
        """Clips of a whole epoch."""
        return len(self._rows())

    def __iter__(self) -> Iterator[tuple[int, int]]:
        done = self.start * self.accumulate * self.batch_size
        yield from ((self.epoch, int(row)) for row in self._rows()[done:])


def collate(clips: Sequence[Clip | str]) -> Batch:
    """Clips stacked; those that could not be read are left out and named. Where none could, `row` and all other tensors are empty."""
    bad = [clip for clip in clips if isinstance(clip, str)]
    good = [clip for clip in clips if not isinstance(clip, str)]
    if not good:
        none = torch.empty(0, dtype=torch.int64)
        return Batch(frames=none.byte(), t=none.float(), label=none, row=none, bad=bad)
    frames, t, labels, rows = zip(*good, strict=True)
    return Batch(
        frames=torch.stack(frames), t=torch.stack(t), label=torch.tensor(labels), row=torch.tensor(rows), bad=bad
    )


def make_loader(
    dataset: ClipDataset, batch_size: int, *, shuffle: bool, process: int = 0, processes: int = 1, accumulate: int = 1
) -> DataLoader[Batch]:
    """The loader of one process of `processes`, batches of `batch_size` clips; shuffled for training, in order to evaluate."""
    share = {"process": process, "processes": processes, "accumulate": accumulate}
    return DataLoader(
        dataset,  # type: ignore[arg-type]  # a batch, not a clip, comes out of collate
        batch_size,
        sampler=EpochSampler(len(dataset), batch_size, shuffle=shuffle, seed=dataset.seed, **share),
        num_workers=dataset.cfg.workers,
        collate_fn=collate,
        persistent_workers=dataset.cfg.workers > 0,
        worker_init_fn=leave_signals_to_trainer,
        # A loader draws a seed for its workers, which use none: not from the numbers that dropout draws from, for how often it
        # does so hangs on `workers` and on where a run was stopped.
        generator=torch.Generator(),
        pin_memory=torch.cuda.is_available(),
    )


def check_paths(cfg: DataConfig) -> None:
    """Raises ConfigError where a path that the lists need does not exist, naming the nearest one that does, or PyAV to read videos.

    Nothing is asked of a data set that `data.prepare` will make.
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


def prepare_data(cfg: DataConfig, progress: bool = False) -> None:
    """Make the data set that `data.prepare` names, where it is not there yet."""
    made = Path(cfg.train_list).exists() and Path(cfg.val_list).exists()
    if cfg.prepare is not None and not made:
        from hitagu_lib.prepare.synthetic.make import MiniSpec, prepare_mini

        prepare_mini(Path(cfg.root).parent, MiniSpec.of(cfg.prepare), progress=progress)


def open_lists(cfg: DataConfig) -> tuple[ClipList, ClipList]:
    """The training and the validation list, over the training list's classes.

    Raises ListError where a list is not as it should be.
    """
    root, classes = Path(cfg.root), cfg.classes_file
    return read_list(Path(cfg.train_list), root, classes), read_list(Path(cfg.val_list), root, classes)


def swap_table(classes: Sequence[str], pairs: Sequence[tuple[str, str]], key: str) -> np.ndarray:
    """Label index -> its partner's in `pairs`, or itself: int64 (num_classes,).

    Raises ConfigError naming `key` where a label is not among the classes or stands in two pairs.
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
