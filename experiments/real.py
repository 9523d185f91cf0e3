"""HiTAGU-Net against its peers on small sets of real video: group-wise folds, several seeds, the same training time.

    python -m experiments.real --videos ../shared/data/real --weights ../shared/data/weights/resnet18_imagenet_to_layer3_bnfolded.pt

The videos stay where they are: frames go to data/real/<set>, runs to outputs/real/, and outputs/published/real/<set> gets numbers alone,
a folder for each run (fold, method, seed) with its predictions and its report. `real.md` is rewritten as runs end; it says how many folds
and seeds each number has. The last fold of each set is for choosing the recipe and is not run here unless --folds names it.

Published runs are kept and stopped runs resume, so the same command fills what is missing. A run is a process with one thread.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from experiments.compare import copy, matched_epochs, train_and_publish
from hitagu_lib.config import Config
from hitagu_lib.evaluation.folds import Graded, accuracy, grade, paired_difference, read_groups, read_predictions
from hitagu_lib.evaluation.seeds import METHODS, folder_name, table_lines
from hitagu_lib.files import write_atomic
from hitagu_lib.prepare.split import split_videos

PARAMS = Path("params/own.yaml")
OUT = Path("outputs/published/real")
DATA = Path("data/real")
WEIGHTS = DATA / "resnet18.pt"  # a path inside the project, so that no file published here names another
OURS = "HiTAGU-Net"
DIFFERENCE, RUNS = f"{OURS} minus it", "runs, folds, groups"
TSM_RATES = "train.lr=5e-4 train.backbone_lr_mult=1"
"""TSM has no new module but its classifier. At the recipe's rates its backbone hardly learns (outputs/published/real/tuning): it gets the
best of four choices."""
REAL_METHODS = {
    OURS: "",
    "without 3STU": METHODS["without 3STU"],
    "without MDE": "model.mde.enabled=false",
    "TSM": f"{METHODS['TSM']} {TSM_RATES}",
    "GRU": METHODS["GRU"],
    "TSN": METHODS["TSN"],
}
"""All of them start from the same ImageNet weights, and share everything but `model` and TSM's learning rates."""
# Small pictures and few epochs, so that a run takes up to nine minutes of a core. No label tells left from right, so clips are mirrored.
SMALL = (
    "data.image_size=48 data.short_side=54 data.hflip=true data.workers=0 eval.order_tests=false "
    "train.epochs=12 train.warmup_epochs=1 train.eval_every=1000"
)


class RealSet(NamedTuple):
    """What a set holds, the column of its groups and what they are, and what its clips ask of the recipe."""

    title: str
    group: str
    groups: str
    overrides: str


SETS = {
    "lips_words": RealSet("ten spoken words", "subject", "speakers", "data.ref_stride=1.3 train.epochs=8"),
    "room_actions": RealSet("five actions in rooms", "recording", "recordings", "data.ref_stride=6"),
    "ut_interaction": RealSet("six actions of two people", "sequence", "sequences", "data.ref_stride=7"),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True, help="the folder that holds the sets")
    parser.add_argument("--weights", type=Path, required=True, help="ResNet-18's ImageNet weights")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--methods", nargs="+", choices=REAL_METHODS, default=list(REAL_METHODS))
    parser.add_argument("--folds", type=int, nargs="+", choices=range(5), default=[0, 1, 2, 3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--parallel", type=int, default=2, help="number of runs at a time (default: %(default)s)")
    parser.add_argument("--overrides", default="", help='for all methods, such as "data.workers=2"')
    args = parser.parse_args(argv)
    WEIGHTS.parent.mkdir(parents=True, exist_ok=True)
    WEIGHTS.unlink(missing_ok=True)
    WEIGHTS.symlink_to(args.weights.resolve())
    jobs = []
    for name in args.sets:
        prepare(args.videos / name, name)
        common = f"{recipe(name)} {args.overrides}"
        (OUT / name).mkdir(parents=True, exist_ok=True)
        copy(DATA / name / "sources.csv", OUT / name / "sources.csv")
        epochs = matched_epochs(PARAMS, f"{common} {lists(name, 0)}", OUT / name / "epochs.json", REAL_METHODS)
        # Whole rows of methods first, so that a grid that was stopped can be compared.
        jobs += [
            (
                name,
                fold,
                method,
                seed,
                f"{common} {lists(name, fold)} {REAL_METHODS[method]} train.seed={seed} train.epochs={epochs[method]}",
            )
            for seed in args.seeds
            for fold in args.folds
            for method in args.methods
        ]
    with ThreadPoolExecutor(args.parallel) as pool:
        list(pool.map(lambda job: run(*job), jobs))
    write_tables(OUT)
    print((OUT / "real.md").read_text(encoding="utf-8"))


def prepare(videos: Path, name: str) -> None:
    """Write a set's frames and folds, as `hitagu split --table split.csv --folds 5` does."""
    if not (DATA / name / "sources.csv").exists():
        columns = {"video": "clip", "source": SETS[name].group}
        split_videos(videos, DATA / name, table=videos / "split.csv", columns=columns, folds=5, short_side=96)


def recipe(name: str) -> str:
    """Return what a set asks of params/own.yaml, apart from its lists."""
    return f"model.backbone.weights={WEIGHTS} data.root={DATA / name}/frames {SMALL} {SETS[name].overrides}"


def lists(name: str, fold: int) -> str:
    folder = DATA / name / f"fold{fold}"
    return f"data.train_list={folder}/train.csv data.val_list={folder}/val.csv"


def run(name: str, fold: int, method: str, seed: int, overrides: str) -> None:
    """Train and evaluate one run, unless it is published, and write the tables anew."""
    folder = f"{name}/fold{fold}-{folder_name(method, seed)}"
    if train_and_publish(PARAMS, f"{overrides} run=outputs/real/{folder}", OUT / folder, publish_evaluation):
        write_tables(OUT)


def publish_evaluation(cfg: Config, published: Path) -> None:
    """Evaluate a finished run, with the order tests, and copy its predictions and its report."""
    checkpoint = f"{cfg.run}/checkpoints/last.pt"
    command = [sys.executable, "-m", "hitagu_lib", "evaluate", "--checkpoint", checkpoint, "--order-tests"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for file in ("predictions.csv", "report.json"):
        copy(Path(cfg.run) / "evaluate-single" / file, published / file)


def runs_of(out: Path, name: str, method: str) -> list[Path]:
    """Return the folders of a method's finished runs on a set."""
    return sorted(p.parent for p in (out / name).glob(f"fold*-{folder_name(method, '*')}/summary.json"))


def graded(runs: Sequence[Path], groups: dict[str, str]) -> Graded:
    return grade([read_predictions(folder) for folder in runs], groups)


def write_tables(out: Path) -> None:
    """Write <out>/real.md: HiTAGU-Net and its lead, a column per set, then for each set a row per method.

    A difference is over the folds and seeds that both methods have.
    """
    overview, tables = {}, []
    for name, the_set in SETS.items():
        ours = runs_of(out, name, OURS)
        if not ours:
            continue
        groups = read_groups(out / name / "sources.csv")
        rows = {
            method: _row(method, runs, ours, groups) for method in REAL_METHODS if (runs := runs_of(out, name, method))
        }
        seen, seeds = len(set(graded(ours, groups).groups)), {run.name.rpartition("seed")[2] for run in ours}
        what = f"{the_set.title} ({seen} {the_set.groups}, {len(seeds)} seed{'s' * (len(seeds) > 1)})"
        # A method with fewer runs is compared below alone, where the table says on how many.
        same = {method: row for method, row in rows.items() if row[RUNS] == rows[OURS][RUNS]}
        leads = {f"its lead over {method}": row[DIFFERENCE] for method, row in same.items() if method != OURS}
        overview[what] = {OURS: rows[OURS]["top-1 (%)"], **leads}
        tables += [f"**{name}**", "", *table_lines(pd.DataFrame(rows.values())), ""]
    lines = [
        "Top-1 on held-out groups, 95 % intervals by bootstrap over groups. Order: top-1 with frames shuffled / reversed / frozen.",
        "",
        *table_lines(pd.DataFrame(overview).fillna("").reset_index(names="top-1 (%), points")),
        "",
        *tables,
    ]
    write_atomic(out / "real.md", [f"{line}\n" for line in lines])


def _row(method: str, runs: Sequence[Path], ours: Sequence[Path], groups: dict[str, str]) -> dict[str, str]:
    found = accuracy(graded(runs, groups))
    low, high = found["intervals"]["top1"]
    row = {
        "method": method,
        RUNS: f"{len(runs)}, {len({run.name.split('-')[0] for run in runs})}, {found['groups']}",
        "top-1 (%)": f"{100 * found['top1']:.1f} [{100 * low:.1f}, {100 * high:.1f}]",
        "mean class (%)": f"{100 * found['mean_class_accuracy']:.1f}",
        DIFFERENCE: "",
    }
    same = {run.name.replace(folder_name(method, ""), folder_name(OURS, "")): run for run in runs}
    if both := [run for run in ours if run.name in same] if method != OURS else []:
        difference = paired_difference(graded([same[run.name] for run in both], groups), graded(both, groups))
        low, high = difference["interval"]
        row[DIFFERENCE] = f"{100 * difference['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    reports = [json.loads((run / "report.json").read_text(encoding="utf-8")) for run in runs]
    orders = [sum(r["orders"][o]["top1"] for r in reports) / len(reports) for o in ("shuffled", "reversed", "frozen")]
    summaries = [json.loads((run / "summary.json").read_text(encoding="utf-8")) for run in runs]
    row["order"] = " / ".join(f"{100 * value:.0f}" for value in orders)
    row["epochs"] = "/".join(sorted({str(s["epochs"]) for s in summaries}))
    return row


if __name__ == "__main__":
    main()
