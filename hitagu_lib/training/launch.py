"""Train in several processes on this machine: start torchrun, follow its epochs, pass signals on, report what failed first.

train_in_processes(cfg)
  |-> torchrun --nproc_per_node <train.processes> -m hitagu_lib train --params <scratch>/params.yaml
  |     stdin   a pipe that closes when this process ends, however it ends: see signals.end_with_launcher
  |     stdout  what the training processes say, shown here with `progress`; stderr: torchrun's own report, kept in scratch
  '-- <run>/metrics.jsonl, read as it grows; <scratch>/failure.txt, what failed first; <run>/summary.json, at the end
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import torch

from hitagu_lib.config import Config
from hitagu_lib.data.loader import SIGNALS
from hitagu_lib.errors import ConfigError, TrainingError
from hitagu_lib.runs.provenance import STARTED_BY, command
from hitagu_lib.runs.run_dir import Run, read_metrics
from hitagu_lib.training.distributed import FAILURE_FILE
from hitagu_lib.training.signals import Stopped, StopSignals

OnEpoch = Callable[[list[dict[str, Any]]], None]
POLL_SECONDS = 0.5
"""Between two looks at the metrics."""


def train_in_processes(cfg: Config, on_epoch: OnEpoch | None = None, progress: bool = False) -> dict[str, Any]:
    """Run `hitagu_lib.training.trainer.train` in `train.processes` processes of this machine: one per GPU, or all on the CPU.

    Call `on_epoch` in this process. With `progress`, show what the training processes show. A signal that stops training is passed on;
    once the processes have saved and ended, raise Stopped. If this process is killed, they save and end as well.

    Raises ConfigError if there are fewer GPUs than processes; TrainingError, with the words of the first that failed, if they fail.
    """
    processes = cfg.train.processes
    if torch.accelerator.is_available() and processes > (gpus := torch.accelerator.device_count()):
        raise ConfigError(f"train.processes: found {processes}; expected at most {gpus}, the number of GPUs here")
    at_start = known = read_metrics(cfg.run)

    def tell() -> None:
        """Tell `on_epoch` of the epochs that have ended since the last call."""
        nonlocal known
        before, known = known, read_metrics(cfg.run)
        for n, line in enumerate(known, start=1):
            if line not in before and on_epoch is not None:
                on_epoch(known[:n])

    with tempfile.TemporaryDirectory(prefix="hitagu-") as scratch:
        params, failure, report = (Path(scratch) / name for name in ("params.yaml", "failure.txt", "torchrun.log"))
        params.write_text(cfg.to_yaml(), encoding="utf-8")
        try:
            with StopSignals(), report.open("wb") as log, _torchrun(processes, params, failure, log, progress) as run:
                while run.poll() is None:
                    with suppress(subprocess.TimeoutExpired):
                        run.wait(POLL_SECONDS)
                    tell()
            tell()  # of an epoch that ended while on_epoch drew the one before
        except Stopped as stopped:
            # None of the processes has spoken if it stopped before training began.
            words = f"stopped by {stopped.signal.name}; the same command resumes what can be resumed"
            raise Stopped(stopped.signal, _text(failure) or words) from None
        summary = Run(cfg).summary()
        if run.returncode or summary is None:
            last = f"{processes} processes ended with exit code {run.returncode}; torchrun's report:\n{_text(report)}"
            raise TrainingError(_text(failure) or last)
    if on_epoch is not None and known == at_start:  # only the summary was missing
        on_epoch(known)
    return summary


@contextmanager
def _torchrun(
    processes: int, params: Path, failure: Path, log: IO[bytes], progress: bool
) -> Iterator[subprocess.Popen[bytes]]:
    """Start torchrun in a session of its own, so that Ctrl-C reaches it through this process only; end it with the context."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    threads = str(max(1, torch.get_num_threads() // processes))  # torchrun would choose 1
    torchrun += ["--signals-to-handle", ",".join(number.name for number in SIGNALS)]  # it dies of any other
    process = subprocess.Popen(
        [*torchrun, "-m", "hitagu_lib", "train", "--params", str(params)],
        stdin=subprocess.PIPE,
        stdout=2 if progress else subprocess.DEVNULL,
        stderr=log,
        env={"OMP_NUM_THREADS": threads, **os.environ, STARTED_BY: json.dumps(command()), FAILURE_FILE: str(failure)},
        start_new_session=True,
    )
    try:
        yield process
    except BaseException as error:  # a signal, or what on_epoch raised
        process.send_signal(error.signal if isinstance(error, Stopped) else signal.SIGTERM)
        process.wait()  # torchrun signals its processes, waits 30 seconds, and kills those that are left
        raise
    finally:
        assert process.stdin is not None
        process.stdin.close()  # after a second signal, or if torchrun itself was killed, this ends its processes


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace").strip() if file.exists() else ""
