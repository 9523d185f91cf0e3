r"""HiTAGU-Net against its peers: the same recipe, the same training time, several seeds.

    python -m experiments.compare --params params/hard.yaml --out outputs/published/hard \
        --overrides "train.eval_every=100 eval.order_tests=false"

All methods share the recipe's data, resolution, augmentation, batch size and schedule. They differ in `model.temporal` (or one switch)
and in the number of epochs: a method with a cheaper step trains for more epochs, so that each takes as long as HiTAGU-Net. The steps are
timed first, in turns, in processor seconds of one thread, and each method's fastest turn counts. The resulting epochs are in
<out>/epochs.json; delete that file to time again.

Each run is a process of its own with one thread. Published runs are kept and stopped runs resume, so the same command, with the same
overrides, can be repeated at any time. When a run ends, its small files are copied to <out>/<method>-seed<seed>/, and
<out>/compare.md is rewritten.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from hitagu_lib.config import Config, load_config
from hitagu_lib.data.dataset import ClipDataset
from hitagu_lib.data.loader import make_loader
from hitagu_lib.data.source import open_lists
from hitagu_lib.errors import ConfigError
from hitagu_lib.evaluation.seeds import (
    METHODS,
    PUBLISHED,
    folder_name,
    is_published,
    kinds_table,
    methods_table,
    read_runs,
)
from hitagu_lib.files import replacing, write_atomic, write_json
from hitagu_lib.inference.accelerator import make_accelerator
from hitagu_lib.prepare.synthetic.make import prepare_data
from hitagu_lib.runs.provenance import code_sha256
from hitagu_lib.training.learner import Learner


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(__doc__, METHODS).parse_args(argv)
    run_grid(args, METHODS, write_table)
    print((args.out / "compare.md").read_text(encoding="utf-8"))


def arguments(description: str | None, methods: Iterable[str]) -> argparse.ArgumentParser:
    """Return a parser of what `run_grid` reads."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", choices=methods, default=list(methods))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--parallel", type=int, default=2, help="number of runs at a time, with one thread each (default: %(default)s)"
    )
    parser.add_argument("--overrides", default="", help='for all methods, such as "train.precision=bf16"')
    return parser


def run_grid(
    args: argparse.Namespace,
    methods: Mapping[str, str],
    write_table: Callable[[Path], None],
    after: Callable[[Config, Path], None] | None = None,
    runs: str = "compare",
    epochs_file: Path | None = None,
) -> None:
    """Train each of `args.methods` with each seed, unless that run is published.

    methods: name -> overrides. write_table: is called with `args.out` as runs end. after: see `train_and_publish`. runs: ends the name
    of the folder that the runs are in, beside the recipe's own. epochs_file: see `matched_epochs` (default: <out>/epochs.json).
    """
    # One thread per run and no loader processes: then its processor seconds are its whole cost.
    common = f"{args.overrides} data.workers=0 eval.tsn_baseline=false"
    prepare_data(load_config(args.params, common).data, progress=True)
    args.out.mkdir(parents=True, exist_ok=True)
    epochs = matched_epochs(args.params, common, epochs_file or args.out / "epochs.json", methods)

    def job(method: str, seed: int) -> bool:
        name = folder_name(method, seed)
        run = f"{load_config(args.params).run}-{runs}/{name}"
        overrides = f'{common} {methods[method]} run="{run}" train.seed={seed} train.epochs={epochs[method]}'
        return train_and_publish(args.params, overrides, args.out / name, after)

    run_all(args, job, write_table)


def run_all(args: argparse.Namespace, job: Callable[[str, int], bool], write_table: Callable[[Path], None]) -> None:
    """Call `job(method, seed)` for all of `args`, seed by seed, `args.parallel` at a time; write the table after each that returns True."""

    def one(key: tuple[int, str]) -> None:
        seed, method = key
        if job(method, seed):
            write_table(args.out)

    with ThreadPoolExecutor(args.parallel) as pool:
        list(pool.map(one, [(seed, method) for seed in args.seeds for method in args.methods]))
    write_table(args.out)


def train_and_publish(
    params: Path, overrides: str, published: Path, after: Callable[[Config, Path], None] | None = None
) -> bool:
    """Train a run in a process of one thread and copy its small files to `published`; return False if they are there already.

    after: is called with the finished run's config and `published`, before the files are copied. Raises ConfigError if the run's folder
    holds a run that other code of the library began: it would be published as this code's.
    """
    cfg = load_config(params, overrides)
    if is_published(published, cfg):
        return False
    refuse_other_code(Path(cfg.run))
    command = [sys.executable, "-m", "hitagu_lib", "train", "--params", str(params), "--overrides", overrides]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    published.mkdir(parents=True, exist_ok=True)
    if after:
        after(cfg, published)
    for file in PUBLISHED:
        copy(Path(cfg.run) / file, published / file)
    return True


def refuse_other_code(run: Path) -> None:
    """Raise ConfigError if `run` holds a run, or a part of one, that was made by other code of the library."""
    if not (file := run / "provenance.json").exists():
        return
    first = json.loads(file.read_text(encoding="utf-8"))
    for start in (first, *first.get("resumed", [])):
        # A run of before this was recorded may be of any code.
        if start.get("code_sha256") != code_sha256():
            raise ConfigError(
                f"{run}: found a run by other code than this, commit {str(first.get('git_commit'))[:9]}; expected a run by "
                "hitagu_lib as it is now: remove that folder to train anew"
            )


def copy(file: Path, to: Path) -> None:
    """Copy a file, so that `to` is complete or not there."""
    with replacing(to) as aside:
        shutil.copyfile(file, aside)


def matched_epochs(
    params: Path, common: str, file: Path, methods: Mapping[str, str], steps: int = 4, rounds: int = 5
) -> dict[str, int]:
    """Return the epochs in which each method trains as long as the first one.

    They are read from `file`. The steps of methods that it lacks are timed beside those of the first, and added to it.
    """
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if all(method in found for method in methods):
        return {method: cost["epochs"] for method, cost in found.items()}
    torch.set_num_threads(1)
    first, learners = next(iter(methods)), {}
    for method in methods:
        if method in found and method != first:
            continue
        cfg = load_config(params, f"{common} {methods[method]}")
        train_clips, _ = open_lists(cfg.data)
        loader = make_loader(ClipDataset(train_clips, cfg.data, train=True), cfg.train.batch_size, shuffle=True)
        learners[method] = (Learner(cfg, train_clips.classes, len(loader), make_accelerator(cfg.train)), loader)
    seconds: dict[str, list[float]] = {method: [] for method in learners}
    for turn in range(rounds + 1):
        for method, (learner, loader) in learners.items():
            batches = iter(loader)
            started = time.process_time()
            for _ in range(steps):
                learner.step([next(batches)])
            if turn > 0:  # the first round warms up
                seconds[method].append((time.process_time() - started) / steps)
    # What else the machine does only ever adds to a step.
    cost = {method: min(times) for method, times in seconds.items()}
    all_epochs = load_config(params, common).train.epochs
    timed = {
        method: {
            "epochs": max(1, round(all_epochs * cost[first] / cost[method])),
            "seconds_per_step": round(cost[method], 4),
            "spread": [round(min(seconds[method]), 4), round(max(seconds[method]), 4)],
        }
        for method in learners
    }
    table = timed | found
    write_json(file, table)
    return {method: each["epochs"] for method, each in table.items()}


def write_table(out: Path) -> None:
    """Write <out>/compare.md from the published files: one row per method, with mean and standard deviation over seeds."""
    runs = read_runs(out)
    kinds = kinds_table(runs)
    write_atomic(out / "compare.md", [f"{line}\n" for line in [*methods_table(runs), *([""] if kinds else []), *kinds]])


if __name__ == "__main__":
    main()
