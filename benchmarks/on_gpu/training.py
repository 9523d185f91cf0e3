"""Train the book's data sets under several seeds, all seeds of a method at a time; and the first ablations at 112 pixels."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import statistics
from pathlib import Path
from typing import Any

from benchmarks.on_gpu.size import METHODS, Size
from benchmarks.timing import table
from hitagu_lib.config import Config, load_config
from hitagu_lib.errors import TrainingError
from hitagu_lib.evaluation.seeds import spread
from hitagu_lib.prepare.synthetic.make import MiniSpec, prepare_mini
from hitagu_lib.training.trainer import fit

AT_112 = {"width": 128, "height": 128}, "data.short_side=126 data.image_size=112"


def measure(job: str, size: Size) -> dict[str, Any]:
    """Train `job`, "<set>: <method>" or "ablations: <file>", under all seeds."""
    cfg = recipe(job, size)
    spec = MiniSpec.of(str(cfg.data.prepare), **(size.data | (AT_112[0] if job.startswith("ablations") else {})))
    # Without ffmpeg: the frames are those of the published runs before they went through an MP4 file.
    prepare_mini(Path(cfg.data.root).parent, spec, use_ffmpeg=False, workers=size.drawers, progress=False)
    runs = [
        dataclasses.replace(cfg, run=f"{cfg.run}-seed{n}", train=dataclasses.replace(cfg.train, seed=n))
        for n in size.seeds
    ]
    if len(runs) == 1:
        fit(runs[0])
    else:  # one such network fills no GPU
        context = multiprocessing.get_context("spawn")
        processes = [context.Process(target=fit, args=(run,)) for run in runs]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if failed := [run.train.seed for run, process in zip(runs, processes, strict=True) if process.exitcode]:
            raise TrainingError(f"{job}: the trainings with seeds {failed} failed; their errors stand above")
    return {"seeds": [json.loads((Path(run.run) / "summary.json").read_text(encoding="utf-8")) for run in runs]}


def recipe(job: str, size: Size) -> Config:
    """Return the parameters of a job, in a run's folder and with data of its own."""
    data_set, method = job.split(": ")
    run = f"{size.scratch}/runs/{job.replace(': ', '-').replace(', ', '-').replace(' ', '-')}"
    if data_set == "ablations":
        params = "params/mini.yaml" if method == "base" else f"params/ablations/{method}.yaml"
        changes = AT_112[1]
    else:
        params, changes = f"params/{data_set}.yaml", METHODS[method]
    data = f"{size.scratch}/data/{data_set}"
    lists = f"data.root={data}/frames data.train_list={data}/train.csv data.val_list={data}/val.csv"
    return load_config(params, f"run={run} {lists} {changes} eval.tsn_baseline=false {size.training}")


def report(results: dict[str, dict[str, Any]]) -> list[str]:
    rows = []
    for job, result in results.items():
        seeds = result["seeds"]
        top1 = [100 * summary["val_top1"] for summary in seeds]
        each = ", ".join(f"{value:.1f}" for value in top1)
        seconds = statistics.mean(summary["train_seconds"] for summary in seeds)
        rows.append(
            [job.split(": ")[1], str(len(seeds)), spread(top1), each, str(seeds[0]["epochs"]), f"{seconds:.0f}"]
        )
    columns = ["", "seeds", "validation top-1, mean ± sd (%)", "each seed (%)", "epochs", "seconds of a training"]
    return [
        table(rows, columns),
        "",
        "The last epoch's weights. All methods have the recipe's epochs, not equal times; all seeds of a method train at the same time on "
        "one card. The frames are drawn straight to JPEG, not through ffmpeg, so the data differ a little from the published runs'.",
    ]
