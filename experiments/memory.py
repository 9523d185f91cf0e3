"""What the memory is worth: methods trained on the memory set, and tested after waits that are longer than in training.

    python -m experiments.memory --params params/memory.yaml --out outputs/published/memory

A grid as in experiments/compare.py: equal training time, several seeds, one thread a run, resumable. When a run ends, its network
is tested on each validation list at the stride of its training, and <out>/<method>-seed<seed>/waits.csv says how often it was
right, class by class. <out>/memory.md has the table of all runs that there are, and the paired differences to HiTAGU-Net.
"""

from __future__ import annotations

import csv
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from experiments.compare import arguments, run_grid
from hitagu_lib.config import Config, DataConfig
from hitagu_lib.evaluation.evaluate import evaluate
from hitagu_lib.evaluation.seeds import interval, read_runs, spread, table_lines
from hitagu_lib.files import write_atomic, write_csv
from hitagu_lib.prepare.synthetic.memory import STRIDE, WAITS, clip_frames

OURS = "HiTAGU-Net"
METHODS = {
    OURS: "",
    "without 3STU": "model.stu.enabled=false",
    "without elapsed time": "model.stu.elapsed_time=false",
    "3STU as it was": "model.stu.whole_frame=true model.stu.bands=true model.stu.broadcast=none",
    "GRU per position": "model.stu.gru=true",
    "TSM": "model.temporal=tsm",
    "GRU": "model.temporal=gru",
    "TSN": "model.temporal=tsn",
}
"""Method -> its overrides. GRU per position has an nn.GRU of the unit's width in the unit's place; without elapsed time, gates count
frames; all read what `model.readout` says."""

TASKS = ("Lighting", "Hiding", "Showing")
"""A class belongs to the task that its first word names."""

ENDS = {"x 1": "val", "x 4": "val_wait4"}
"""The waits that tables by task have -> their list."""

Right = Mapping[tuple[str, int], Mapping[str, Mapping[str, float]]]
"""(method, seed) -> list -> task, or "all" -> top-1 in percent."""


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(__doc__, METHODS).parse_args(argv)
    run_grid(args, METHODS, write_table, publish_waits)
    print((args.out / "memory.md").read_text(encoding="utf-8"))


def write_table(out: Path) -> None:
    write_atomic(out / "memory.md", [f"{line}\n" for line in tables(read_waits(out))])


def waiting(data: DataConfig, wait: int) -> DataConfig:
    """Return `data` with as many frames of the training's stride as clips of this wait have."""
    T = clip_frames(wait) // STRIDE
    return replace(data, num_frames=T, dense_span=T * STRIDE)


def publish_waits(cfg: Config, published: Path) -> None:
    """Test a finished run on every validation list, and write waits.csv: list, label, clips, correct."""
    lists = Path(cfg.data.val_list).parent
    rows: list[tuple[str, str, str, str]] = []
    for name, wait in WAITS.items():
        if name == "train":
            continue
        data = replace(waiting(cfg.data, wait), val_list=str(lists / f"{name}.csv"))
        # One dense clip, as in training's validation. `single` would cut the clip into segments, at another stride.
        evaluation = replace(cfg.eval, protocol="multi", clips=1, crops=1, order_tests=False)
        with TemporaryDirectory() as folder:
            last = Path(cfg.run) / "checkpoints/last.pt"
            evaluate(replace(cfg, data=data, eval=evaluation), last, folder)
            with open(Path(folder) / "classes.csv", encoding="utf-8", newline="") as file:
                rows += [(name, row["label"], row["videos"], row["correct"]) for row in csv.DictReader(file)]
    write_csv(published / "waits.csv", rows, ("list", "label", "clips", "correct"))


def read_waits(out: Path, methods: Iterable[str] = METHODS) -> Right:
    """Return what the finished runs under `out` that were tested after longer waits reached, in the order of `methods`, then by seed."""
    files = {(run.method, run.seed): run.folder / "waits.csv" for run in read_runs(out, methods)}
    return {key: read_run(file) for key, file in files.items() if file.exists()}


def read_run(waits: Path) -> dict[str, dict[str, float]]:
    """Return what a run's waits.csv says: list -> task, or "all" -> top-1 in percent."""
    return {str(name): _by_task(rows) for name, rows in pd.read_csv(waits).groupby("list", sort=False)}


def _by_task(rows: pd.DataFrame) -> dict[str, float]:
    sums = rows.groupby(rows["label"].str.split().str[0])[["clips", "correct"]].sum()
    sums.loc["all"] = sums.sum()
    return {str(task): 100 * n["correct"] / n["clips"] for task, n in sums.iterrows()}


def task_cells(runs: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, str]:
    """Return task -> the runs' mean top-1 in percent after each of ENDS, as tables have it."""
    return {
        task: " / ".join(f"{statistics.mean(run[name][task] for run in runs):.1f}" for name in ENDS.values())
        for task in TASKS
    }


def tables(right: Right) -> list[str]:
    """Return the lines of Markdown tables: top-1 by list; by task; every seed; and the paired differences."""
    by_method: dict[str, list[int]] = defaultdict(list)
    for method, seed in right:
        by_method[method].append(seed)
    lists = [name for name in WAITS if name != "train"]

    def values(method: str, name: str, task: str = "all") -> list[float]:
        return [right[method, seed][name][task] for seed in by_method[method]]

    waits = {f"wait x {WAITS[name]}": name for name in lists}
    top1 = [
        {"top-1 (%), mean ± sd": method, "seeds": str(len(seeds))}
        | {title: spread(values(method, name)) for title, name in waits.items()}
        for method, seeds in by_method.items()
    ]
    tasks = [
        {"by task: wait x 1 / x 4": method, "seeds": str(len(seeds))}
        | task_cells([right[method, seed] for seed in seeds])
        for method, seeds in by_method.items()
    ]

    def both_tasks(method: str, seed: int) -> str:
        found = (right[method, seed][name] for name in ENDS.values())
        return ", ".join(f"{of['Lighting']:.0f} / {of['Hiding']:.0f}" for of in found)

    each = [
        {"each seed: Lighting / Hiding at wait x 1, at x 4": method}
        | {f"seed {s}": both_tasks(method, s) for s in seeds}
        for method, seeds in by_method.items()
    ]
    paired = []
    for peer in by_method:
        seeds = [s for s in by_method.get(OURS, []) if s in by_method[peer]]
        if peer == OURS or not seeds:
            continue
        row = {f"{OURS} minus": peer, "paired seeds": str(len(seeds))}
        for task in ("all", "Lighting", "Hiding"):
            for title, name in ENDS.items():
                row[f"{task}, {title}"] = interval(
                    [right[OURS, s][name][task] - right[peer, s][name][task] for s in seeds]
                )
        paired.append(row)
    found = [pd.DataFrame(rows).fillna("") for rows in (top1, tasks, each, paired) if rows]
    return [line for table in found for line in [*table_lines(table), ""]]


if __name__ == "__main__":
    main()
