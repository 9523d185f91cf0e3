"""Stop training on a signal: between two steps, with a checkpoint, so that no step is lost. The launcher's end counts as one."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from hitagu_lib.data.loader import SIGNALS
from hitagu_lib.runs.provenance import STARTED_BY

_SAME_SECONDS = 1.0
"""A signal that follows the first one within this time is the same one: SLURM and torchrun both send it to every process."""


class Stopped(KeyboardInterrupt):
    """Training was stopped by a signal; the same command resumes it from its checkpoint. `str` says where it stands.

    It is a KeyboardInterrupt, which notebooks show as an interruption rather than as a failure.
    """

    def __init__(self, number: int, message: str = "") -> None:
        super().__init__(message)
        self.signal = signal.Signals(number)

    @property
    def exit_code(self) -> int:
        """The shells' convention, 128 + signal: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.signal


class StopSignals:
    """A context in which SIGNALS raise Stopped at once, or, within `deferred`, are noted in `received`, except within `at_once`.

    A second signal, more than a second after the first, raises Stopped even within `deferred`. Only the main thread may set handlers;
    in any other thread this context does nothing. Signals that were ignored stay ignored (nohup).
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._first = 0.0  # when the first signal came
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
        if self._defers and time.monotonic() < self._first + _SAME_SECONDS:
            return
        self.received = number
        raise Stopped(number)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Keep a signal from interrupting the block; the caller checks `received` between its steps, and at its end."""
        self._defers = True
        try:
            yield
        finally:
            self._defers = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within `deferred`, let a signal interrupt this block, and one that has come before it."""
        deferred, self._defers = self._defers, False
        try:
            if self.received is not None:
                raise Stopped(self.received)
            yield
        finally:
            self._defers = deferred


def end_with_launcher() -> None:
    """Prepare a process that `train_in_processes` started: speak on torchrun's stdout, and stop when the launcher has ended.

    The launcher holds the other end of this process's standard input. A thread waits for its end by descriptor: waiting in `sys.stdin`
    would hold that object's lock, and a loader's worker, forked while it is held, would wait for ever to close its standard input.
    """
    if STARTED_BY not in os.environ:
        return
    os.dup2(1, 2)
    with open(os.devnull, "wb") as nothing:  # the launcher reads the summary from its file
        os.dup2(nothing.fileno(), 1)
    torchrun = os.getppid()

    def stop() -> None:
        while os.read(0, 1024):  # empty once nobody holds the other end of the pipe
            pass
        if os.environ.get("LOCAL_RANK") == "0" and os.getppid() == torchrun:
            os.kill(torchrun, signal.SIGTERM)  # it signals each process once, and kills those that do not end
        while os.getppid() == torchrun:
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
