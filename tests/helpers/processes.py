"""Start `hitagu train` in a process of its own, and find the processes that descend from it, whoever their parent is by now."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hitagu_lib.cli.main import main
from hitagu_lib.config import Config

MARK = "HITAGU_TEST_MARK"
"""Environment variable that every descendant inherits."""


def forks() -> Any:
    """Return a context that forks processes from one that has imported what training needs and has not started a thread."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hitagu_lib.training.trainer"])
    return context


def command(argv: list[str], log: Path, mark: str) -> None:
    """Become what `python -m hitagu_lib` with these arguments would be, in a session of its own; what it says goes to `log`."""
    os.setsid()
    os.environ[MARK] = mark
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with log.open("wb") as file:  # multiprocessing has closed standard input
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(main(argv))


def load() -> float:
    """Return how many processes want each core, at least 1."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


class Training:
    """`hitagu train`, forked from a process that has imported it: Python and torch take five seconds to start."""

    def __init__(self, cfg: Config, folder: Path) -> None:
        self.mark, self.log = uuid.uuid4().hex, folder / "said.txt"
        (folder / "params.yaml").write_text(cfg.to_yaml())
        arguments = ["train", "--params", str(folder / "params.yaml")]
        self.process = forks().Process(target=command, args=(arguments, self.log, self.mark))
        self.process.start()

    def processes(self) -> list[int]:
        """Those of its session, and those started from it, which carry the mark; no zombies."""
        columns = ["ps", "axeww", "-o", "pid=,sess=,stat=,command="]
        listed = subprocess.run(columns, capture_output=True, text=True, check=True).stdout.splitlines()
        found = []
        for line in listed:
            pid, session, stat = line.split()[:3]
            if stat[0] != "Z" and (int(session) == self.process.pid or f"{MARK}={self.mark}" in line):
                found.append(int(pid))
        return found

    def wait_for(self, there: Callable[[], object], seconds: float = 150) -> None:
        deadline = time.monotonic() + seconds
        while not there():
            assert self.process.is_alive(), f"ended with {self.process.exitcode}: {self.said()[-3000:]}"
            assert time.monotonic() < deadline, f"nothing after {seconds} s: {self.said()[-3000:]}"
            time.sleep(0.1)

    def left_after(self, seconds: float) -> list[int]:
        """Wait until no process is left, at most so many seconds of a machine that has nothing else to do; return those that are."""
        deadline = time.monotonic() + seconds * load()
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return left

    def code_after(self, seconds: float) -> int | None:
        """Wait for its end, at most so many seconds of a machine that has nothing else to do; return its exit code."""
        self.process.join(seconds * load())
        return self.process.exitcode

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """End all that is left, for a test that fails."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        self.process.join()
