"""Open a list as long as Kinetics-700's and run epochs over it with workers: seconds, and memory of each process.

    python -m benchmarks.lists                     # 650,000 rows, 8 workers, two epochs
    python -m benchmarks.lists --rows 20000 --workers 2 --epochs 2

The list is generated, with paths like those of Kinetics and 700 classes. First, --rounds fresh processes open it: the report gives the
wall and CPU seconds of `read_list`, and the growth of the process. Then a process that holds the list runs --epochs epochs with --workers
loader processes. Clips are not decoded, and a constant stands in for their frames; but each worker looks up path, label and number of
frames of every clip it returns.

Memory is read from /proc/<pid>/smaps_rollup (Linux) after the first batches and at the end of each epoch: USS, the pages that belong to
one process alone, and PSS, which adds its share of the pages that it shares with others. A process that touches Python objects made
before the fork copies their pages, and its USS grows; a plain Python list of tuples, measured beside ClipList, shows this.

Writes <out>.md and <out>.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import conditions, device_name, median, publish, table
from hitagu_lib.config import DataConfig
from hitagu_lib.data.clip_list import ClipList, read_list
from hitagu_lib.data.dataset import Clip, ClipDataset
from hitagu_lib.data.loader import make_loader
from hitagu_lib.prepare.audit import audit_lists
from hitagu_lib.runs.provenance import surroundings

FRAMES = torch.zeros(1, 3, 1, 1, dtype=torch.uint8)
TIMES = torch.zeros(1)
KINDS = {"arrays": "ClipList", "objects": "a Python list of tuples"}


class Undecoded(ClipDataset):
    """A list's clips without their frames: a worker looks up everything about a row, and returns a constant."""

    def _clip(self, row: int, rng: Any) -> Clip:
        folder, frames = self.clips.frames_dir(row), int(self.clips.num_frames[row])
        assert frames >= 1 and folder.name
        return FRAMES, TIMES, int(self.clips.labels[row]), row


class UndecodedObjects(Undecoded):
    """The same clips from a Python list with one object per row, which ClipList avoids."""

    def __init__(self, clips: ClipList, cfg: DataConfig, *, train: bool, seed: int = 0) -> None:
        super().__init__(clips, cfg, train=train, seed=seed)
        self.rows = [(clips.path(i), int(clips.labels[i]), int(clips.num_frames[i])) for i in range(len(clips))]

    def _clip(self, row: int, rng: Any) -> Clip:
        path, label, frames = self.rows[row]
        assert frames >= 1 and path
        return FRAMES, TIMES, label, row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=650_000)
    parser.add_argument("--val-rows", type=int, default=35_000, help="rows of the validation list, for `report lists`")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("outputs/published/lists/lists"))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)  # what to measure in this process, and the folder
    args = parser.parse_args()
    if args.child:
        measured = opening(Path(args.child[1])) if args.child[0] == "open" else epochs(args, *args.child)
        json.dump(measured, sys.stdout)
        return
    if args.rounds < 2 or min(args.workers, args.epochs, args.batch, args.val_rows) < 1 or args.rows < 8 * args.batch:
        parser.error("expected --rounds of at least 2, at least one worker and epoch, and --rows of at least 8 batches")
    where = surroundings(device_name("cpu")) | {"load_average": [os.getloadavg()[0]]}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_lists(folder, args.rows, args.val_rows)
        opened = [child("open", folder) for _ in range(args.rounds)]
        options = ["--workers", args.workers, "--epochs", args.epochs, "--batch", args.batch]
        passes = {kind: child(kind, folder, *options) for kind in KINDS}
        started, cpu = time.perf_counter(), time.process_time()
        audit = audit_lists(settings(folder))
        audited = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
        audited |= {"leaked": sum(map(len, audit["leakage"].values()))}
        megabytes = (folder / "train.csv").stat().st_size / 1e6
    where["load_average"].append(os.getloadavg()[0])
    result = {"rows": args.rows, "val_rows": args.val_rows, "workers": args.workers, "epochs": args.epochs}
    result |= {"list_megabytes": megabytes, "opened": opened, "passes": passes, "audit": audited, "where": where}
    publish(args.out, report(result), result)


def child(what: str, folder: Path, *options: Any) -> dict[str, Any]:
    """Take one measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.lists", "--child", what, str(folder), *map(str, options)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return dict(json.loads(done.stdout))


def write_lists(folder: Path, rows: int, val_rows: int) -> None:
    """Write two lists of 700 classes with paths <split>/<class>/<id>_<start>_<end>; a few ids are in both."""
    draw = random.Random(0)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    (folder / "classes.txt").write_text("".join(f"action number {label}\n" for label in range(700)))
    train: list[str] = []
    for split, count in (("train", rows), ("val", val_rows)):
        with open(folder / f"{split}.csv", "w") as out:
            for row in range(count):
                video = "".join(draw.choices(letters, k=11))
                if split == "train":
                    train.append(video)
                elif row % 5000 == 0:
                    video = train[row]
                start, label = draw.randrange(300), row % 700
                name = f"{video}_{start:06d}_{start + 10:06d}"
                out.write(f"{split}/action number {label}/{name},{label},{draw.randrange(250, 301)}\n")


def settings(folder: Path) -> DataConfig:
    return DataConfig(str(folder), str(folder / "train.csv"), str(folder / "val.csv"))


def opening(folder: Path) -> dict[str, float]:
    before, started, cpu = memory(os.getpid()), time.perf_counter(), time.process_time()
    clips = read_list(folder / "train.csv", folder)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    grown = memory(os.getpid())["USS"] - before["USS"]
    return {"seconds": seconds, "cpu_seconds": cpu, "megabytes": grown, "rows": len(clips)}


def epochs(args: argparse.Namespace, kind: str, folder: str) -> dict[str, Any]:
    """Return the memory of the workers, in MB, at the start and end of each epoch: {"epochs": [{"start": [...], "end": [...]}, ...]}."""
    warnings.filterwarnings("ignore", message="This DataLoader will create")  # more workers than cores, on purpose
    cfg = dataclasses.replace(settings(Path(folder)), workers=args.workers)
    clips = read_list(Path(cfg.train_list), Path(cfg.root))
    dataset = {"arrays": Undecoded, "objects": UndecodedObjects}[kind](clips, cfg, train=True)
    loader = make_loader(dataset, args.batch, shuffle=True)
    measured = []
    for epoch in range(args.epochs):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        batches, seen, started = iter(loader), 0, time.perf_counter()
        for _ in range(2 * args.workers):  # until every worker has started
            seen += len(next(batches)["row"])
        pids = [worker.pid for worker in batches._workers]  # type: ignore[attr-defined]
        first = [memory(pid) for pid in pids]
        for batch in batches:
            seen += len(batch["row"])
        last = [memory(pid) for pid in pids]
        measured.append(
            {
                "start": first,
                "end": last,
                "main": memory(os.getpid()),
                "clips": seen,
                "seconds": time.perf_counter() - started,
            }
        )
    return {"epochs": measured}


def memory(pid: int) -> dict[str, float]:
    """Return the USS and PSS of a process in MB (10^6 bytes)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {name: int(value.split()[0]) for name, value in (line.split(":") for line in lines)}
    uss = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return {"USS": uss * 1.024e-3, "PSS": kilobytes["Pss"] * 1.024e-3}


def report(result: dict[str, Any]) -> list[str]:
    opened, audit, rows = result["opened"], result["audit"], []
    for kind, title in KINDS.items():
        for number, epoch in enumerate(result["passes"][kind]["epochs"], 1):
            start, end = epoch["start"], epoch["end"]
            uss, uss_end, pss, pss_end = (
                sum(worker[what] for worker in workers) / len(workers)
                for what in ("USS", "PSS")
                for workers in (start, end)
            )
            grown = sum(b["USS"] - a["USS"] for a, b in zip(start, end, strict=True))
            cells = [
                title,
                str(number),
                f"{epoch['clips']:,}",
                f"{epoch['seconds']:.0f}",
                f"{uss:.1f}",
                f"{uss_end:.1f}",
            ]
            rows.append([*cells, f"{uss_end - uss:+.1f}", f"{pss:.1f}", f"{pss_end:.1f}", f"{grown:+.0f}"])
    columns = ["rows held as", "epoch", "clips", "seconds", "a worker's USS at the start, MB", "at the end", "growth"]
    columns += ["PSS at the start", "at the end", "all workers' growth"]
    return [
        f"# A list of {result['rows']:,} rows, {result['workers']} workers",
        "",
        f"The file has {result['list_megabytes']:.0f} MB. Opened in a fresh process (median of {len(opened)} with quartiles): "
        f"{median([o['seconds'] for o in opened], 2)} s, {median([o['cpu_seconds'] for o in opened], 2)} s of CPU time; memory grows by "
        f"{median([o['megabytes'] for o in opened], 0)} MB.",
        "",
        table(rows, columns),
        "",
        "USS: memory that belongs to one process alone; PSS: USS and the process's share of common memory. Means over the workers. Clips "
        "are not decoded.",
        "",
        f"`hitagu report lists` of {result['rows']:,} and {result['val_rows']:,} rows: {audit['seconds']:.1f} s, "
        f"{audit['cpu_seconds']:.1f} s of CPU time; it found the {audit['leaked']} videos that were put into both lists.",
        "",
        *conditions(result["where"], "cpu"),
    ]


if __name__ == "__main__":
    main()
