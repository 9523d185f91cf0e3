"""Show and measure training's progress: an epoch's means, clips per second, and the share of time spent waiting for data."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from torch.utils.tensorboard import SummaryWriter

from hitagu_lib.data.loader import Batch

SPEED_EVERY = 20
"""Steps between two readings of the speed; the last step of an epoch always gives one."""


@dataclass
class EpochTally:
    """Sums over an epoch so far. Checkpoints hold it, so that an epoch that was interrupted has the means of the whole one."""

    steps: int = 0
    clips: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)  # samples in each sum: not every step has every value
    seconds: float = 0.0  # spent in the epoch's steps
    waited: float = 0.0  # seconds of these spent waiting for the loader

    def add(self, values: dict[str, float], clips: float, samples: float) -> None:
        """Add a step of `clips` clips, whose `values` are means over `samples`: a clip that is also repeated backwards is two."""
        self.steps += 1
        self.clips += clips
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * samples
            self.weights[name] = self.weights.get(name, 0.0) + samples

    def means(self) -> dict[str, float]:
        return {name: total / self.weights[name] for name, total in self.sums.items()}


class Stopwatch:
    """Measure wall and processor seconds since the last reading."""

    def __init__(self) -> None:
        self._read = self._now()

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def lap(self) -> tuple[float, float]:
        (wall, cpu), self._read = self._read, self._now()
        return self._read[0] - wall, self._read[1] - cpu


class Speed:
    """Log clips per second, and the share of time spent waiting for the loader, to TensorBoard every SPEED_EVERY steps."""

    def __init__(self, tally: EpochTally, board: SummaryWriter | None) -> None:
        self.tally, self.board = tally, board
        self._mark = self._window_start = time.perf_counter()
        self._window_clips = self._window_waited = 0.0

    def waited_for(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches, and add up the time spent waiting for them."""
        source = iter(batches)
        while True:
            asked = time.perf_counter()
            batch = next(source, None)
            waited = time.perf_counter() - asked
            self.tally.waited += waited
            self._window_waited += waited
            if batch is None:
                return
            yield batch

    def step(self, clips: float, step: int, last: bool) -> None:
        """Count a step of `clips` clips; `step` is its number in the whole training, `last` marks an epoch's last one."""
        now = time.perf_counter()
        self.tally.seconds += now - self._mark
        self._mark = now
        self._window_clips += clips
        if self.board is None or not (last or self.tally.steps % SPEED_EVERY == 0):
            return
        seconds = now - self._window_start
        self.board.add_scalar("speed/clips_per_second", self._window_clips / seconds, step)
        self.board.add_scalar("speed/data_wait_share", self._window_waited / seconds, step)
        self._window_start, self._window_clips, self._window_waited = now, 0.0, 0.0
