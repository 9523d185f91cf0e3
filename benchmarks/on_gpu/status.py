"""What has been measured on a GPU, in the line that README.md carries; tests/benchmarks/test_on_gpu.py compares the two."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

NOTHING = (
    "**GPU:** nothing in this book has been measured on a GPU yet; `python -m benchmarks.on_gpu` measures it in pieces: repeat the command "
    "until none is left."
)


def status(out: Path) -> str:
    """Return the line for the results in `out`."""
    results = {name: read_results(out / f"{name}.json") for name in ("checks", "steps", "stu")}
    found = [*_checks(results["checks"]), *_steps(results["steps"]), *_unit(results["stu"])]
    devices = {job["where"]["device"] for jobs in results.values() for job in jobs.values()}
    return (
        f"**GPU:** measured on {' and '.join(sorted(devices))}: {'; '.join(found)} ([tables]({out}))."
        if found
        else NOTHING
    )


def read_results(file: Path) -> dict[str, Any]:
    """Return job -> result; {} without a file."""
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def _checks(jobs: dict[str, Any]) -> list[str]:
    passed = sum(job["passed"] for job in jobs.values())
    return [f"{passed} of {len(jobs)} groups of checks against the CPU passed"] if jobs else []


def _steps(jobs: dict[str, Any]) -> list[str]:
    found = []
    for job, words in (("eager", "eager"), ("compiled training step", "compiled")):
        if job in jobs:
            by_network = jobs[job]["kinds"]["training step"]
            own, peer = (by_network[name]["milliseconds"] for name in ("HiTAGU-Net", "TSN"))
            ratio = statistics.median(a / b for a, b in zip(own, peer, strict=True))
            rate = by_network["HiTAGU-Net"]["clips_per_second"]
            found.append(f"a training step {ratio:.2f} of TSN's, {rate:.0f} clips per second ({words}; aim 1.08)")
    return found


def _unit(jobs: dict[str, Any]) -> list[str]:
    ratios = []
    for job in jobs.values():
        for by_name in job["milliseconds"].values():
            gru = by_name["nn.GRU, D to D"]["wall"]
            forms = [by_name[f"3STU memory, {form}"]["wall"] for form in ("loop", "closed", "scan")]
            # A form may not have fitted into the memory.
            if measured := [statistics.median(form) for form in forms if form]:
                ratios.append(min(measured) / statistics.median(gru))
    return [f"the 3STU's fastest form {min(ratios):.2f} to {max(ratios):.2f} of `nn.GRU` (aim 0.5)"] if ratios else []
