"""From clips to batches: which rows, in which order, in which process; and a bar that shows how far they are."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from tqdm.auto import tqdm

from hitagu_lib.data.dataset import Clip, ClipDataset

# tqdm's monitor is a thread that holds a lock while it redraws a bar, and a loader may fork its workers at that moment.
tqdm.monitor_interval = 0


class Bar(tqdm):
    """A progress bar that outlives its reader: Ctrl-C in `hitagu train 2>&1 | tee log` ends tee first."""

    def display(self, *args: Any, **options: Any) -> Any:
        with suppress(BrokenPipeError):
            return super().display(*args, **options)

    def close(self) -> None:
        with suppress(BrokenPipeError):
            super().close()


class Batch(TypedDict):
    frames: Tensor  # uint8 (B, T, 3, S, S), channels last in memory
    t: Tensor  # float32 (B, T), in reference strides
    label: Tensor  # int64 (B,)
    row: Tensor  # int64 (B,), index in the list
    bad: list[str]  # of each clip that could not be read and was left out: which one and why


class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, row) keys of one process: its share of a permutation drawn from (seed, epoch), or of the list's own order.

    Shuffled, step k takes rows [k G, (k + 1) G) of the permutation, where G = batch_size x processes x accumulate is the global batch
    size. They are cut into batches, which are dealt to the processes in turn until each has `accumulate` of them; so a global batch
    has the same clips however it is split. A last, smaller global batch is dropped unless it is the only one: then a process may have
    fewer clips, or none. Unshuffled, every row is given exactly once: process p has rows p, p + processes, ...
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
        """Steps per epoch, the same in every process."""
        return max(1, self.num_clips // (self.batch_size * self.processes * self.accumulate))

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch that is given next, from its step `start` on. A step's clips depend only on (seed, epoch, step)."""
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
        """Return the number of this process's clips in a whole epoch."""
        return len(self._rows())

    def __iter__(self) -> Iterator[tuple[int, int]]:
        done = self.start * self.accumulate * self.batch_size
        yield from ((self.epoch, int(row)) for row in self._rows()[done:])


def collate(clips: Sequence[Clip | str]) -> Batch:
    """Stack clips; leave out and name those that could not be read. If none could be read, all tensors are empty."""
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
    """Return the loader of one process of `processes`, in batches of `batch_size` clips: shuffled to train, in order to evaluate."""
    share = {"process": process, "processes": processes, "accumulate": accumulate}
    workers = dataset.cfg.workers
    return DataLoader(
        dataset,  # type: ignore[arg-type]  # collate returns a batch, not a clip
        batch_size,
        sampler=EpochSampler(len(dataset), batch_size, shuffle=shuffle, seed=dataset.seed, **share),
        num_workers=workers,
        # Not a fork server, Python 3.14's default: the workers would be its children and outlive a training that is killed.
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
        collate_fn=collate,
        persistent_workers=workers > 0,
        worker_init_fn=leave_signals_to_trainer,
        # A loader draws a seed for its workers, which do not use it. Dropout's random numbers must not serve for that: how often a
        # loader draws depends on `workers` and on where a run was stopped.
        generator=torch.Generator(),
        pin_memory=torch.cuda.is_available(),
    )


SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name)]
"""Ctrl-C or a notebook's stop button; spot machines and SLURM; SLURM's --signal=USR1@60; a closed terminal. Windows has the
first two."""


_WORKERS_GRACE = 10  # seconds that a loader's worker lives on after a SIGTERM


def leave_signals_to_trainer(worker: int) -> None:
    """Ignore in a loader's worker the signals that end a training (a worker_init_fn).

    Ctrl-C and schedulers signal every process of a training. Only the one that trains answers: it needs its workers to finish the step,
    and ends them itself. A worker that it ends by SIGTERM exits a little later.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "alarm"):  # not on Windows, where no process can handle SIGTERM
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_WORKERS_GRACE))
