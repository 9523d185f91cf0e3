"""Run the jobs that are left, in processes of their own, for as long as the call may last; keep and show their results."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.on_gpu.size import ABLATIONS, METHODS
from benchmarks.on_gpu.status import read_results, status

MODELS = {"pydantic": "pydantic", "yaml": "pyyaml"}
"""Module -> the package that has it. The library's networks need these two, and torch and torchvision."""
LEARNER = MODELS | {name: name for name in ("accelerate", "tqdm", "tensorboard")}
TRAINER = LEARNER | {name: name for name in ("torchmetrics", "filelock", "pandas")}


@dataclass(frozen=True)
class Piece:
    """Jobs whose results share a file and a table. `measure(job, size)` and `report(results)` are functions of a module."""

    title: str
    module: str
    minutes: Mapping[str, float]
    """Job -> how long it takes at most on one H100: guesses, until they have been measured."""
    needs: Mapping[str, str]
    reporter: str = "report"

    def missing(self) -> list[str]:
        """Return the packages that are not installed."""
        return [package for module, package in self.needs.items() if importlib.util.find_spec(module) is None]

    def measure(self, job: str, size: Any) -> dict[str, Any]:
        return dict(importlib.import_module(self.module).measure(job, size))

    def report(self, results: Mapping[str, Any]) -> list[str]:
        return list(getattr(importlib.import_module(self.module), self.reporter)(results))


def _trained(data_set: str, minutes: float, methods: Iterable[str], title: str = "") -> Piece:
    jobs = {f"{data_set}: {method}": minutes for method in methods}
    return Piece(title or f"{data_set}, trained on a GPU", "benchmarks.on_gpu.training", jobs, TRAINER)


_EACH = "benchmarks.on_gpu."
PIECES = {
    "checks": Piece(
        "CUDA beside the CPU",
        _EACH + "checks",
        dict.fromkeys(("fp32", "half precision", "resume", "fp16 scaler", "3STU forms", "SyncBatchNorm"), 1.0)
        | {"compiled": 3.0},
        LEARNER,
    ),
    "steps": Piece(
        "Forward and training step",
        _EACH + "steps",
        {"eager": 2.0, "compiled training step": 4.0, "compiled forward": 3.0, "compiled, the other networks": 7.0},
        MODELS,
    ),
    "stu": Piece("The 3STU beside nn.GRU", _EACH + "unit", {"eager": 2.0, "compiled": 6.0}, MODELS),
    "batches": Piece(
        "Batch size and memory", _EACH + "steps", {"HiTAGU-Net": 1.5, "TSN": 1.5}, MODELS, "report_batches"
    ),
    "loader": Piece("The loader", _EACH + "loading", {"frames": 1.5}, MODELS | {"tqdm": "tqdm"}),
    "train-hard": _trained("hard", 3.0, METHODS),
    "train-memory": _trained("memory", 4.0, METHODS),
    "train-mini": _trained("mini", 3.0, METHODS),
    "ablations": _trained("ablations", 4.0, ABLATIONS, "Ablations of mini at 112 pixels"),
}
"""In the order of their worth."""


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0, or 1 if a job failed or a package is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.on_gpu", description=sys.modules[__package__].__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--minutes", type=float, default=8.0, help="how long this call may last (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, help="(default: outputs/published/gpu; with --toy outputs/on_gpu_toy/results)"
    )
    parser.add_argument("--only", nargs="+", choices=PIECES, metavar="PIECE", help=f"some of {', '.join(PIECES)}")
    parser.add_argument("--toy", action="store_true", help="toy size, on the CPU")
    parser.add_argument("--commit", help="of this copy, where git does not know it")
    parser.add_argument("--job", help=argparse.SUPPRESS)  # how a call starts its processes
    args = parser.parse_args(argv)
    args.out = args.out or Path("outputs/on_gpu_toy/results" if args.toy else "outputs/published/gpu")
    if args.job:
        run_job(args.only[0], args.job, args.out, toy=args.toy, commit=args.commit)
        return 0
    return _run_all(args, sys.argv[1:] if argv is None else list(argv))


def _run_all(args: argparse.Namespace, argv: list[str]) -> int:
    started, failed, left = time.monotonic(), [], []
    chosen = {name: piece for name, piece in PIECES.items() if name in (args.only or PIECES)}
    if lacking := {package for piece in chosen.values() for package in piece.missing()}:
        _say_what_is_missing(chosen, sorted(lacking))
        chosen = {name: piece for name, piece in chosen.items() if not piece.missing()}
    if chosen and not args.toy:
        import torch

        if not torch.cuda.is_available():
            print(
                "found no CUDA device that torch can use; --toy runs everything at toy size on the CPU", file=sys.stderr
            )
            return 1
    for name, piece in chosen.items():
        for job, minutes in piece.minutes.items():
            if job in read_results(args.out / f"{name}.json"):
                continue
            seconds = 60 * args.minutes - (time.monotonic() - started)
            if 60 * minutes > seconds and not args.toy:
                left.append(f"{name}, {job} (at most {minutes:g} minutes)")
                continue
            print(f"{name}, {job} ...", flush=True)
            options = ["--only", name, "--job", job, "--out", str(args.out)] + ["--toy"] * args.toy
            options += ["--commit", args.commit] if args.commit else []
            try:
                if code := _in_a_process(options, argv, max(seconds, 1.0)):
                    failed.append(f"{name}, {job}: ended with code {code}; its error stands above")
            except subprocess.TimeoutExpired:
                left.append(f"{name}, {job} (stopped at this call's end)")
    for title, jobs in (("Failed, to be tried again by the next call", failed), ("Left for the next call", left)):
        if jobs:
            print(f"{title}:", *jobs, sep="\n  ")
    if not (failed or left or lacking):
        print(f"All is measured: {args.out}")
    print(f"README.md's line:\n{status(args.out)}")
    return 1 if failed or lacking else 0


def _say_what_is_missing(pieces: Mapping[str, Piece], packages: list[str]) -> None:
    for name, piece in pieces.items():
        if missing := piece.missing():
            print(f"{name}: not run: needs {', '.join(missing)}", file=sys.stderr)
    names, version = " ".join(packages), f"{sys.version_info[0]}.{sys.version_info[1]}"
    print(
        f"To install what is missing:\n  {sys.executable} -m pip install {names}\nIf this machine has no network, on one that has:\n"
        f"  python -m pip download -d wheels --only-binary :all: --python-version {version} {names}\nand here:\n"
        f"  {sys.executable} -m pip install --no-index --find-links wheels {names}",
        file=sys.stderr,
    )


def _in_a_process(options: list[str], argv: list[str], seconds: float) -> int:
    """Run one job and return its exit code. A process of its own ends with its time, and takes no other job with it.

    Raises subprocess.TimeoutExpired.
    """
    from hitagu_lib.runs.provenance import STARTED_BY

    env = os.environ | {STARTED_BY: json.dumps(["on_gpu.py", *argv])}
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.on_gpu", *options], env=env, start_new_session=True)
    try:
        return process.wait(seconds)
    finally:  # also after Ctrl-C; whatever the job has started ends with it
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run_job(
    name: str, job: str, out: Path, *, toy: bool, commit: str | None = None, size: Any = None
) -> dict[str, Any]:
    """Measure one job in this process, add its result to <out>/<name>.json, write <name>.md anew, and return the result."""
    from benchmarks.on_gpu.size import FULL, TOY
    from benchmarks.timing import device_name
    from hitagu_lib.files import write_json
    from hitagu_lib.runs.provenance import surroundings

    size = size or (TOY if toy else FULL)
    where = surroundings(device_name(size.device))
    where["git_commit"] = where["git_commit"] or commit
    started, load = time.monotonic(), os.getloadavg()[0]
    measured = PIECES[name].measure(job, size)
    where |= {"load_average": [load, os.getloadavg()[0]], "seconds": round(time.monotonic() - started, 1)}
    results = read_results(out / f"{name}.json") | {job: measured | {"where": where}}
    results = {job: results[job] for job in PIECES[name].minutes if job in results}
    write_json(out / f"{name}.json", results)
    write_report(name, out)
    return results[job]


def write_report(name: str, out: Path) -> None:
    """Write <out>/<name>.md from <name>.json."""
    from hitagu_lib.files import write_atomic

    results = read_results(out / f"{name}.json")
    lines = [
        f"# {PIECES[name].title}",
        "",
        *PIECES[name].report(results),
        "",
        "| job | measured on | seconds | load before and after |",
    ]
    lines.append("|---|---|---:|---:|")
    for job, result in results.items():
        where = result["where"]
        versions = ", ".join(f"{package} {where['packages'][package]}" for package in ("torch", "torchvision"))
        commit = f"commit {where['git_commit']}" + " with changes" * bool(where["git_changed"])
        load = " and ".join(f"{load:.1f}" for load in where["load_average"])
        on = f"{where['device']}; {versions}; {where['started'][:10]}; {commit}"
        lines.append(f"| {job} | {on} | {where['seconds']:.0f} | {load} |")
    write_atomic(out / f"{name}.md", [f"{line}\n" for line in lines])
