"""Start `hitagu train` as a user does, and find the processes that descend from it, whoever their parent is by now."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hitagu_lib.config import Config

MARK = "HITAGU_TEST_MARK"
"""Environment variable that every descendant inherits."""


class Training:
    """`python -m hitagu_lib train`, in a session of its own; what it says goes to `log`."""

    def __init__(self, cfg: Config, folder: Path) -> None:
        self.mark, self.log = uuid.uuid4().hex, folder / "said.txt"
        (folder / "params.yaml").write_text(cfg.to_yaml())
        command = [sys.executable, "-m", "hitagu_lib", "train", "--params", str(folder / "params.yaml")]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {MARK: self.mark},
                start_new_session=True,
            )

    def processes(self) -> list[int]:
        """Those that carry the mark and are no zombies."""
        listed = subprocess.run(["ps", "axeww", "-o", "pid=,command="], capture_output=True, text=True, check=True)
        return [int(line.split()[0]) for line in listed.stdout.splitlines() if f"{MARK}={self.mark}" in line]

    def wait_for(self, there: Callable[[], object], seconds: float = 150) -> None:
        deadline = time.monotonic() + seconds
        while not there():
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.said()[-3000:]}"
            assert time.monotonic() < deadline, f"nothing after {seconds} s: {self.said()[-3000:]}"
            time.sleep(0.1)

    def left_after(self, seconds: float) -> list[int]:
        """Wait until no process is left, at most so many seconds of a machine that has nothing else to do; return those that are."""
        deadline = time.monotonic() + seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return left

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """End all that is left, for a test that fails."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        self.process.wait()
