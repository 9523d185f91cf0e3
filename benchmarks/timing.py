"""What the benchmarks share: clocks, rounds, medians, tables and the conditions of a measurement."""

from __future__ import annotations

import json
import platform
import random
import shlex
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch._dynamo

from hitagu_lib.files import write_atomic

Samples = dict[str, dict[str, list[float]]]
"""Name -> clock ("wall" or "CPU") -> milliseconds, one per round."""


def clocked(step: Callable[[], Any], device: str) -> dict[str, float]:
    """Run `step` once; return its milliseconds by the wall clock and by the process's CPU clock."""
    if device == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        cpu = time.process_time()
        start.record()
        step()
        end.record()
        cpu = time.process_time() - cpu  # the time to launch the kernels
        torch.cuda.synchronize()
        return {"wall": start.elapsed_time(end), "CPU": 1e3 * cpu}
    wall, cpu = time.perf_counter(), time.process_time()
    step()
    return {"wall": 1e3 * (time.perf_counter() - wall), "CPU": 1e3 * (time.process_time() - cpu)}


def in_rounds(steps: Mapping[str, Callable[[], Any]], rounds: int, device: str = "cpu") -> Samples:
    """Time each step once per round, in a new random order, so that a disturbance of the machine affects all of them."""
    samples: Samples = {name: {"wall": [], "CPU": []} for name in steps}
    order, names = random.Random(0), list(steps)
    for _ in range(rounds):
        order.shuffle(names)
        for name in names:
            for clock, milliseconds in clocked(steps[name], device).items():
                samples[name][clock].append(round(milliseconds, 3))
    return samples


def compiled(call: Callable[..., Any], backend: str) -> Callable[..., Any]:
    """Return `call` compiled, alone: what is compiled before or after it changes nothing."""
    # Contestants share their code, and dynamo counts all of them against one limit, beyond which it would quietly run them uncompiled.
    torch._dynamo.config.recompile_limit = 100
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    compiled_call: Callable[..., Any] = torch.compile(call, backend=backend, dynamic=False)
    return compiled_call


def median(values: Sequence[float], digits: int) -> str:
    """Format the median, with the quartiles in brackets."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def ratio(numerators: Sequence[float], denominators: Sequence[float], digits: int) -> str:
    """Format the median ratio; each ratio is taken within a round."""
    return median([a / b for a, b in zip(numerators, denominators, strict=True)], digits)


def table(rows: Sequence[Sequence[str]], columns: Sequence[str], text_columns: int = 1) -> str:
    """Format a Markdown table; the columns after the first `text_columns` are aligned to the right."""
    # Not by pandas: the benchmarks run where little more than torch is installed.
    alignment = ["---"] * text_columns + ["---:"] * (len(columns) - text_columns)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, alignment, *rows))


def device_name(device: str) -> str:
    """Return the name of the GPU, or of the processor."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def conditions(where: dict[str, Any], device: str) -> list[str]:
    """Return a report's last lines: machine, versions, load and command."""
    busy = " and ".join(f"{load:.1f}" for load in where["load_average"])
    threads = "" if device == "cuda" else f", {where['cpu_threads']} thread{'s' * (where['cpu_threads'] != 1)}"
    versions = ", ".join(f"{name} {where['packages'][name]}" for name in ("torch", "torchvision"))
    file, *options = where["command"]
    return [
        f"{where['device']}{threads}; {versions}; {where['started'][:10]}; commit {where['git_commit']}; load average before and "
        f"after: {busy} (including this run).",
        "",
        f"`python -m benchmarks.{shlex.join([Path(file).stem, *options])}`",
    ]


def publish(out: Path, lines: list[str], result: dict[str, Any]) -> None:
    """Write the report to <out>.md and every sample to <out>.json; print the report."""
    write_atomic(out.with_suffix(".md"), [f"{line}\n" for line in lines])
    write_atomic(out.with_suffix(".json"), [json.dumps(result, indent=1) + "\n"])
    print("\n".join(lines))
