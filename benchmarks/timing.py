"""What the timing benchmarks share: one step by the clock, medians, and under what conditions they were taken."""

from __future__ import annotations

import json
import platform
import shlex
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hitagu_lib.files import write_atomic


def clocked(step: Callable[[], None], device: str) -> dict[str, float]:
    """Milliseconds of one step by the wall's and the process's clock."""
    if device == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        cpu = time.process_time()
        start.record()
        step()
        end.record()
        cpu = time.process_time() - cpu  # what it took to launch the kernels
        torch.cuda.synchronize()
        return {"wall": start.elapsed_time(end), "CPU": 1e3 * cpu}
    wall, cpu = time.perf_counter(), time.process_time()
    step()
    return {"wall": 1e3 * (time.perf_counter() - wall), "CPU": 1e3 * (time.process_time() - cpu)}


def median(values: list[float], digits: int) -> str:
    """With the quartiles in brackets."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def device_name(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def conditions(where: dict[str, Any], device: str) -> list[str]:
    """A report's last lines: machine, versions, load, command."""
    busy = " and ".join(f"{load:.1f}" for load in where["load_average"])
    threads = "" if device == "cuda" else f", {where['cpu_threads']} thread{'s' * (where['cpu_threads'] != 1)}"
    versions = ", ".join(f"{name} {where['packages'][name]}" for name in ("torch", "torchvision"))
    return [
        f"{where['device']}{threads}; {versions}; {where['started'][:10]}; commit {where['git_commit']}; load average before and "
        f"after: {busy} (with this run's own).",
        "",
        f"`python benchmarks/{shlex.join(where['command'])}`",
    ]


def publish(out: Path, lines: list[str], result: dict[str, Any]) -> None:
    """The report as <out>.md, every sample as <out>.json, and the report on the screen."""
    write_atomic(out.with_suffix(".md"), [f"{line}\n" for line in lines])
    write_atomic(out.with_suffix(".json"), [json.dumps(result, indent=1) + "\n"])
    print("\n".join(lines))
