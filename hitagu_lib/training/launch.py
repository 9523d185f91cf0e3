"""Several processes from one: torchrun as a subprocess, its epochs followed, its end waited for or brought about.

    train_in_processes(cfg)
      |  <run>/launch.yaml     the resolved parameters, for as long as the processes run
      |-> torchrun --nproc_per_node <train.processes> -m hitagu_lib train --params <run>/launch.yaml
      '-- <run>/metrics.jsonl, read as it grows; <run>/summary.json, at the end

What the processes say on standard error is passed on, and kept for the case that they fail. Their standard input is a pipe that closes when
this process ends, however it does: then they save and end as well.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import torch

from hitagu_lib.config import Config
from hitagu_lib.errors import ConfigError, TrainingError
from hitagu_lib.files import write_atomic
from hitagu_lib.runs.provenance import STARTED_BY, command
from hitagu_lib.runs.run_dir import Run, read_metrics
from hitagu_lib.training.distributed import LOST
from hitagu_lib.training.signals import Stopped, StopSignals

OnEpoch = Callable[[list[dict[str, Any]]], None]

POLL_SECONDS = 0.5
"""Between two looks at the metrics."""
_KEPT_LINES = 400
_SHOWN_LINES = 40
"""Of what the processes said, in an error that does not know better: torchrun's report ends with the first failure's traceback."""
_ERROR = re.compile(r"hitagu: ")
_ENDS = re.compile(r"(?:hitagu: |\[rank\d+\]:|[WE]\d{4} .*torch/distributed/elastic|Traceback )")
"""How lines begin from which on nothing but errors is said: ours, a process's traceback, torchrun's report."""


def train_in_processes(cfg: Config, on_epoch: OnEpoch | None = None, progress: bool = False) -> dict[str, Any]:
    """`hitagu_lib.training.trainer.train` in `train.processes` processes of this machine, one a GPU, or all on the CPU.

    `on_epoch` is called here. With `progress`, what the processes show and say is passed on to standard error. A signal that stops a
    training goes on to them; when they have saved and ended, Stopped is raised. They also end when this process is killed.

    Raises ConfigError where there are fewer GPUs than processes, and TrainingError where they fail, with what they said last.
    """
    processes, folder = cfg.train.processes, Path(cfg.run)
    if torch.accelerator.is_available() and processes > (gpus := torch.accelerator.device_count()):
        raise ConfigError(f"train.processes: found {processes}; expected at most {gpus}, the number of GPUs here")
    params = folder / "launch.yaml"
    write_atomic(params, [cfg.to_yaml()])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    threads = {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // processes))}  # torchrun would choose 1
    said: deque[str] = deque(maxlen=_KEPT_LINES)
    epochs = _Epochs(folder, on_epoch)
    try:
        arguments = [*torchrun, "-m", "hitagu_lib", "train", "--params", str(params)]
        with StopSignals(), _started(arguments, threads, said, progress) as run:
            while run.poll() is None:
                epochs.look()
                with suppress(subprocess.TimeoutExpired):
                    run.wait(POLL_SECONDS)
    except Stopped as stopped:
        raise Stopped(stopped.signal, reason(said)) from None
    finally:
        params.unlink(missing_ok=True)
    epochs.look()
    summary = Run(cfg).summary()
    if run.returncode or summary is None:
        last = "".join(list(said)[-_SHOWN_LINES:])
        raise TrainingError(
            reason(said) or f"{processes} processes ended with exit code {run.returncode}; they said last:\n{last}"
        )
    epochs.tell_at_least_once()
    return summary


def end_with_launcher() -> None:
    """In a process that `train_in_processes` started, at its beginning: see to it that it ends, as on SIGTERM, when the starter is gone."""
    if STARTED_BY not in os.environ:
        return
    torchrun = os.getppid()

    def wait() -> None:
        sys.stdin.read()  # until nobody holds the other end of the pipe
        os.kill(torchrun if os.getppid() == torchrun else os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def reason(said: Iterable[str]) -> str:
    """The first error message of ours in what the processes said, but for those that ended because of others; else ""."""
    messages = re.finditer(rf"^{_ERROR.pattern}(.*?)(?=^{_ENDS.pattern}|\Z)", "".join(said), re.S | re.M)
    return next((m[1].strip() for m in messages if m[1] and not m[1].startswith(LOST)), "")


class _Epochs:
    """Calls `on_epoch`, as training in this process would, for every line that is added to a run's metrics."""

    def __init__(self, folder: Path, on_epoch: OnEpoch | None) -> None:
        self.folder, self.on_epoch, self.told = folder, on_epoch, False
        self.known = read_metrics(folder)

    def look(self) -> None:
        before, self.known = self.known, read_metrics(self.folder)
        for n, line in enumerate(self.known, start=1):
            if line not in before:
                self._tell(self.known[:n])

    def tell_at_least_once(self) -> None:
        if not self.told:
            self._tell(self.known)

    def _tell(self, metrics: list[dict[str, Any]]) -> None:
        self.told = True
        if self.on_epoch is not None:
            self.on_epoch(metrics)


@contextmanager
def _started(
    arguments: Sequence[str], environment: Mapping[str, str], said: deque[str], progress: bool
) -> Iterator[subprocess.Popen[bytes]]:
    """A process, in a session of its own so that Ctrl-C reaches it through us alone; ended with the context, what it said in `said`."""
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,  # the summary, which is read from its file
        stderr=subprocess.PIPE,
        env={**environment, **os.environ, STARTED_BY: json.dumps(command())},
        start_new_session=True,
    )
    listener = threading.Thread(target=_listen, args=(process.stderr, said, progress), daemon=True)
    listener.start()
    passed_on = signal.SIGTERM
    try:
        yield process
    except Stopped as stopped:
        if stopped.signal == signal.SIGINT:  # SIGUSR1, torchrun does not know
            passed_on = signal.SIGINT
        raise
    finally:
        if process.poll() is None:
            process.send_signal(passed_on)  # torchrun tells its processes, waits 30 seconds, and kills what is left
        try:
            process.wait()
        except BaseException:  # a second signal
            process.kill()
            raise
        finally:
            assert process.stdin is not None
            process.stdin.close()
        listener.join(timeout=10)


def _listen(stream: IO[bytes], said: deque[str], progress: bool) -> None:
    """Keep what is said, but not the lines of bars, which end in a carriage return; with `progress` pass all on at once,
    up to an error, which `train_in_processes` raises."""
    with io.TextIOWrapper(stream, encoding="utf-8", errors="replace", newline="") as text:
        for piece in text:
            progress = progress and not _ENDS.match(piece)
            if progress:
                sys.stderr.write(piece)
                sys.stderr.flush()
            if piece.endswith("\n"):
                said.append(piece)
