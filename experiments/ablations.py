"""Each choice that params/ablations/ changes, beside the network as it is: equal epochs, several seeds.

    python -m experiments.ablations --params params/mini.yaml --out outputs/published/ablations

Every run has the recipe's data and schedule, shortened to EPOCHS: the question is who learns sooner from the same clips, not who ends
highest. `--params` may name another recipe, and --overrides other epochs; the published grid is on mini, because after three epochs of
hard two seeds of the same network lay 26 points apart. The grid runs seed by seed, keeps what is published and resumes what was stopped,
so the same command can be repeated at any time. It takes hours. Runs on the memory set are also tested after longer waits, as in
experiments/memory.py.

Writes <out>/<ablation>-seed<seed>/, <out>/ablations.md (a row for each ablation: mean and standard deviation of top-1, and the paired
difference to the network as it is, in points, with its 95 % interval) and <out>.csv (a row for each run).
"""

from __future__ import annotations

import functools
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from experiments.compare import arguments, run_all, train_and_publish
from experiments.memory import ENDS, publish_waits, read_run, task_cells
from hitagu_lib.config import flat, load_config, read_params
from hitagu_lib.evaluation.seeds import (
    by_method,
    folder_name,
    interval,
    paired_differences,
    read_runs,
    spread,
    table_lines,
)
from hitagu_lib.files import project_root, write_atomic
from hitagu_lib.models.cost import recipe_cost
from hitagu_lib.prepare.synthetic.make import prepare_data

EPOCHS = 2
BASE = "as it is"
FILES = {file.stem: file for file in sorted((project_root() / "params/ablations").glob("*.yaml"))}
"""Ablation -> its parameter file, whose first line is the question."""


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(__doc__, [BASE, *FILES]).parse_args(argv)
    common = "data.workers=0 eval.tsn_baseline=false eval.order_tests=false train.eval_every=100"
    common += f" train.epochs={EPOCHS} {args.overrides}"
    base = load_config(args.params, common)
    prepare_data(base.data, progress=True)
    args.out.mkdir(parents=True, exist_ok=True)
    after = publish_waits if base.data.prepare == "memory" else None

    def job(ablation: str, seed: int) -> bool:
        name = folder_name(ablation, seed)
        overrides = f'{common} {changes(ablation)} run="{base.run}-ablations/{name}" train.seed={seed}'
        return train_and_publish(args.params, overrides, args.out / name, after)

    run_all(args, job, write_tables)
    print((args.out / "ablations.md").read_text(encoding="utf-8"))


def write_tables(out: Path) -> None:
    """Write ablations.md, the network as it is first, then by name, and <out>.csv from the published runs."""
    runs = read_runs(out, [BASE, *FILES])
    lines, every = [], []
    for ablation, top1 in by_method(runs).items():
        mine = [run for run in runs if run.method == ablation]
        gflops = _gflops(mine[0].folder / "params.yaml", len(mine[0].classes))
        points = paired_differences(runs, ablation, BASE)
        lines.append(
            {
                "ablation": f"`{ablation}`: {question(ablation)}" if ablation in FILES else ablation,
                "seeds": str(len(top1)),
                "top-1 (%)": spread(top1),
                "points": interval(list(points.values())) if points and ablation != BASE else "",
                **_after_waits([run.folder / "waits.csv" for run in mine]),
                "processor s": f"{statistics.median(run.summary['train_cpu_seconds'] for run in mine):.0f}",
                "GFLOPs": f"{gflops:.3f}",
            }
        )
        for run in mine:
            origin = json.loads((run.folder / "provenance.json").read_text(encoding="utf-8"))
            every.append(
                {"ablation": ablation, "seed": run.seed, "top1": run.top1(), "points": points.get(run.seed)}
                | {"epochs": run.summary["epochs"], "cpu_seconds": run.summary["train_cpu_seconds"]}
                | {"gflops": gflops, "parameters": run.summary["parameters"]}
                | {key: origin[key] for key in ("git_commit", "git_changed", "device", "started", "data_fingerprint")}
                | {"python": origin["python"], **{name: origin["packages"][name] for name in ("torch", "torchvision")}}
            )
    table = table_lines(pd.DataFrame(lines)) if lines else ["No run is published yet."]
    write_atomic(out / "ablations.md", [f"{line}\n" for line in table])
    write_atomic(out.with_suffix(".csv"), [pd.DataFrame(every).round(4).to_csv(index=False)])


def changes(ablation: str) -> str:
    """Return the ablation's file, but for its base and its run, as overrides."""
    params = flat(read_params(FILES[ablation])) if ablation in FILES else {}
    return " ".join(f"{key}={json.dumps(value)}" for key, value in params.items() if key not in ("base", "run"))


def question(ablation: str) -> str:
    """Return what the ablation asks: the first line of its file."""
    return FILES[ablation].read_text(encoding="utf-8").splitlines()[0].lstrip("# ")


def _after_waits(files: Sequence[Path]) -> dict[str, str]:
    """Return the columns of runs on the memory set, none for other runs, which have no such files."""
    found = [read_run(file) for file in files if file.exists()]
    ends = " / ".join(ENDS)
    return {f"{task}, {ends}": cell for task, cell in task_cells(found).items()} if found else {}


@functools.cache
def _gflops(params: Path, classes: int) -> float:
    return recipe_cost(load_config(params), classes)["total"].gflops


if __name__ == "__main__":
    main()
