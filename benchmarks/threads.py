"""Two trainings at once on the same cores: how much slower is each, with and without this library's setting of GNU OpenMP?

    python -m benchmarks.threads

A training step of mini's network with one thread a core, alone and beside a second process that does the same. PyTorch's wheels for Linux
compute with GNU OpenMP, whose idle threads by default spin for milliseconds before they sleep, and take the core from the other process.
`hitagu_lib` and the Makefile set GOMP_SPINCOUNT=1000, unless it or OMP_WAIT_POLICY is set: they sleep sooner. Each round measures every
case once, in processes of its own, for --seconds each, in a new random order; ratios are taken within a round.

Writes <out>.md and <out>.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.timing import conditions, device_name, median, publish, ratio, table
from hitagu_lib.config import load_config
from hitagu_lib.models import build_model
from hitagu_lib.runs.provenance import surroundings

SETTINGS = {"PyTorch's own": None, "this library's": "1000"}
"""How long idle threads spin -> GOMP_SPINCOUNT."""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of steps in a case")
    parser.add_argument("--out", type=Path, default=Path("outputs/published/threads/cpu"))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        print(json.dumps(steps(args.seconds)))
        return
    where = surroundings(device_name("cpu")) | {"load_average": [os.getloadavg()[0]]}
    cases = [(name, at_once) for name in SETTINGS for at_once in (1, 2)]
    samples: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    order = random.Random(0)
    for _ in range(args.rounds):
        order.shuffle(cases)
        for name, at_once in cases:
            samples[name, at_once].append(measure(SETTINGS[name], at_once, args.seconds))
    where["load_average"].append(os.getloadavg()[0])
    milliseconds = {f"{name}, {at_once} at once": values for (name, at_once), values in samples.items()}
    rows = [
        [name, median(samples[name, 1], 0), median(samples[name, 2], 0), ratio(samples[name, 2], samples[name, 1], 1)]
        for name in SETTINGS
    ]
    columns = ["idle threads spin", "a step alone (ms)", "a step, two trainings at once (ms)", "times as long"]
    publish(
        args.out,
        [table(rows, columns), "", *conditions(where, "cpu")],
        {"milliseconds": milliseconds, "where": where},
    )


def measure(spin: str | None, at_once: int, seconds: float) -> float:
    """Return the mean over `at_once` processes of a step's median milliseconds."""
    env = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    env |= {"GOMP_SPINCOUNT": spin} if spin else {}
    command = [sys.executable, "-m", "benchmarks.threads", "--child", "--seconds", str(seconds)]
    children = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(at_once)]
    outputs = [child.communicate()[0] for child in children]
    if any(child.returncode for child in children):
        raise SystemExit("a measuring process failed; its error stands above")
    return statistics.mean(json.loads(output) for output in outputs)


def steps(seconds: float) -> float:
    """Return the median milliseconds of a training step of mini, over at least three of them."""
    torch.manual_seed(0)
    cfg = load_config("params/mini.yaml")
    model, size = build_model(cfg.model, 14).train(), cfg.data.image_size
    clips = torch.randn(cfg.train.batch_size, cfg.data.num_frames, 3, size, size)
    labels = torch.arange(cfg.train.batch_size) % 14
    optimizer = torch.optim.AdamW(model.parameters())
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < 4 or time.perf_counter() < end:
        started = time.perf_counter()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(clips), labels).backward()
        optimizer.step()
        taken.append(1e3 * (time.perf_counter() - started))
    return statistics.median(taken[1:])  # the first warms up


if __name__ == "__main__":
    main()
