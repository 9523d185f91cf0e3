"""Signals that end a training: between two steps, with a checkpoint, so that nothing is lost."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from hitagu_lib.data.loader import SIGNALS

_SAME = (
    1.0  # seconds in which a signal is the one before once more: SLURM and torchrun both pass it on to every process
)


class Stopped(KeyboardInterrupt):
    """A training that was stopped by a signal, and goes on from its checkpoint when started again. `str` says where it stands.

    A KeyboardInterrupt, as which notebooks show it: no failure.
    """

    def __init__(self, number: int, message: str = "") -> None:
        super().__init__(message)
        self.signal = signal.Signals(number)

    @property
    def exit_code(self) -> int:
        """As shells have it: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.signal


class StopSignals:
    """A context in which SIGNALS raise Stopped at once, or within `deferred` are noted in `received`. A second one, a second later,
    never waits.

    Handlers belong to the main thread; in any other this context changes nothing. Signals that were ignored stay so (nohup).
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._first = 0.0  # when it came
        self._defers = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._first = number, time.monotonic()
        if self._defers and time.monotonic() < self._first + _SAME:
            return
        self.received = number
        raise Stopped(number)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """What is done here is not torn in two: after it, or between its steps, look at `received`."""
        self._defers = True
        try:
            yield
        finally:
            self._defers = False
