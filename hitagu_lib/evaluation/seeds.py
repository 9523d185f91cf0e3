"""Read what experiments/compare.py publishes: runs of several methods and seeds, their spread, and tables of them.

    <out>/<method>-seed<seed>/{params.yaml,provenance.json,metrics.jsonl,summary.json,val_classes.csv}
    <out>/epochs.json

Any subset of methods and seeds will do, so a grid can be inspected while it runs. All values are percent unless stated otherwise.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from hitagu_lib.config import Config, load_config
from hitagu_lib.errors import ConfigError
from hitagu_lib.runs.run_dir import changed_params

METHODS = {
    "HiTAGU-Net": "",
    "without 3STU": "model.stu.enabled=false",
    "TSM": "model.temporal=tsm",
    "GRU": "model.temporal=gru",
    "TSN": "model.temporal=tsn",
}
"""Method, as tables name it -> its overrides of the recipe. All methods train for as long as the first."""

PUBLISHED = ("params.yaml", "provenance.json", "metrics.jsonl", "summary.json", "val_classes.csv")
"""The files of a run that are kept."""

T_95 = (4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's t, two-sided 95 %, for 2 to 9 degrees of freedom."""

KINDS = ("one motion", "two events and a pause")


def kind_of(label: str) -> str:
    """Return which of KINDS a class is."""
    return KINDS[", then " in label]


def folder_name(method: str, seed: int | str) -> str:
    """Return the name of a run's folder within the comparison's; with the seed "*", the pattern of all of the method's."""
    return f"{method.lower().replace(' ', '-')}-seed{seed}"


@dataclass(frozen=True)
class PublishedRun:
    """A finished run of a comparison."""

    method: str
    seed: int
    folder: Path
    summary: dict[str, Any]
    classes: dict[str, tuple[int, int]]  # label -> (correct, validation clips) of the last epoch's weights

    def top1(self, kind: str | None = None, label: str | None = None) -> float | None:
        """Return top-1 over all classes, over those of a kind, or of one class; None if there is no such clip."""
        if kind is None and label is None:
            return 100 * float(self.summary["val_top1"])
        rows = [n for name, n in self.classes.items() if kind in (None, kind_of(name)) and label in (None, name)]
        correct, clips = (sum(column) for column in zip(*rows, strict=True)) if rows else (0, 0)
        return 100 * correct / clips if clips else None


def read_runs(out: str | Path, methods: Iterable[str] = METHODS) -> list[PublishedRun]:
    """Return the finished runs under `out`, in the order of `methods`, then by seed; [] if the folder is missing or empty.

    A run without both of its last two files is still being copied and is left out. Raises ConfigError for a file that is not as
    experiments/compare.py writes it.
    """
    runs = []
    for method in methods:
        found = []
        for folder in Path(out).glob(folder_name(method, "*")):
            summary, classes = folder / "summary.json", folder / "val_classes.csv"
            if summary.exists() and classes.exists():
                read = _read_summary(summary)
                found.append(PublishedRun(method, read["seed"], folder, read, _read_classes(classes)))
        runs += sorted(found, key=lambda run: run.seed)
    return runs


def is_published(folder: Path, cfg: Config) -> bool:
    """Return whether `folder` holds the finished run that `cfg` describes; keys newer than the run count as their defaults.

    A baseline has none of HiTAGU-Net's modules, so their parameters may differ. Raises ConfigError if any other does.
    """
    if not all((folder / name).exists() for name in PUBLISHED):
        return False
    there = load_config(folder / "params.yaml")
    if there.model.temporal == cfg.model.temporal != "hitagu":
        modules = {name: getattr(cfg.model, name) for name in ("mde", "stu", "attention")}
        there = dataclasses.replace(there, model=dataclasses.replace(there.model, **modules))
    if changed := changed_params(there.to_mapping(), cfg):
        raise ConfigError(
            f"{folder}: this run was made with other parameters:\n"
            + "\n".join(changed)
            + "\nRemove it, or choose another --out"
        )
    return True


def same_recipe(runs: Iterable[PublishedRun], method: str, seed: int, run: str) -> Config:
    """Return the parameters with which the runs of `method` were trained, for another seed, run folder and machine.

    The precision is `auto`: bfloat16 is dozens of times slower than single precision on a CPU that has no instructions for it.
    Raises ConfigError if there is no run of `method`.
    """
    folders = {published.method: published.folder for published in runs}
    if method not in folders:
        raise ConfigError(f"found no run of {method!r}; expected one of {', '.join(folders)}")
    return load_config(folders[method] / "params.yaml", f'run="{run}" train.seed={seed} train.precision=auto')


def _read_summary(file: Path) -> dict[str, Any]:
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
        missing = {"seed", "epochs", "val_clips", "val_top1", "train_cpu_seconds"} - summary.keys()
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"{file}: found no JSON object ({error}); expected the summary of a run") from error
    if missing:
        raise ConfigError(f"{file}: found no {', '.join(sorted(missing))}; expected the summary of a run")
    if not file.parent.name.endswith(f"-seed{summary['seed']}"):
        raise ConfigError(f"{file}: found seed {summary['seed']}; expected the one that the folder is named after")
    return summary


def _read_classes(file: Path) -> dict[str, tuple[int, int]]:
    with file.open(encoding="utf-8", newline="") as rows:
        try:
            return {row["label"]: (int(row["correct"]), int(row["clips"])) for row in csv.DictReader(rows)}
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{file}: found {error!r}; expected columns label, clips, correct") from error


def by_method(
    runs: Iterable[PublishedRun], kind: str | None = None, label: str | None = None
) -> dict[str, list[float]]:
    """Return method -> top-1 of each of its seeds; methods without any are left out."""
    values: dict[str, list[float]] = {}
    for run in runs:
        if (top1 := run.top1(kind, label)) is not None:
            values.setdefault(run.method, []).append(top1)
    return values


def paired_differences(
    runs: Sequence[PublishedRun], method: str, peer: str, kind: str | None = None
) -> dict[int, float]:
    """Return seed -> top-1 of `method` minus that of `peer`, in points, for the seeds that both have."""
    ours, theirs = (
        {run.seed: top1 for run in runs if run.method == name and (top1 := run.top1(kind)) is not None}
        for name in (method, peer)
    )
    return {seed: ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())}


def above_by_more_than_spread(ours: Sequence[float], theirs: Sequence[float]) -> bool | None:
    """Return whether our mean exceeds theirs by more than the sum of both standard deviations; None with fewer than two seeds of either."""
    if min(len(ours), len(theirs)) < 2:
        return None
    return statistics.mean(ours) - statistics.mean(theirs) > statistics.stdev(ours) + statistics.stdev(theirs)


def spread(values: Sequence[float]) -> str:
    """Format mean ± sample standard deviation (n - 1); a single value alone."""
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


def interval(differences: Sequence[float]) -> str:
    """Format the mean of paired differences, from three on with its 95 % confidence interval by Student's t (of ten, for more than ten).

    Two differences determine no useful interval: Student's factor for them is 12.7.
    """
    mean = statistics.mean(differences)
    if len(differences) < 3:
        return f"{mean:+.1f}"
    low, high = ends(differences)
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def ends(differences: Sequence[float]) -> tuple[float, float]:
    """Return the ends of `interval`, for three differences or more."""
    mean, n = statistics.mean(differences), len(differences)
    half = _sds_95(differences) / math.sqrt(n)
    return mean - half, mean + half


def rerun_within(ours: Sequence[float], runs: int) -> float:
    """Return how far the mean of `runs` other seeds lies from that of `ours`, three or more, in 95 % of cases.

    That is half of Student's prediction interval, in the unit of `ours`.
    """
    return _sds_95(ours) * math.sqrt(1 / len(ours) + 1 / runs)


def _sds_95(values: Sequence[float]) -> float:
    """Return Student's t times the standard deviation of three values or more."""
    return T_95[min(len(values), 10) - 3] * statistics.stdev(values)


def methods_table(runs: Sequence[PublishedRun]) -> list[str]:
    """Return the lines of a Markdown table, one row per method: mean and standard deviation over seeds, each seed, epochs, median time."""
    rows = []
    for method, top1 in by_method(runs).items():
        summaries = [run.summary for run in runs if run.method == method]
        seconds = statistics.median(summary["train_cpu_seconds"] for summary in summaries)
        each = ", ".join(f"{value:.1f}" for value in top1)
        epochs = "/".join(str(n) for n in sorted({summary["epochs"] for summary in summaries}))
        rows.append((method, f"{len(top1)}", spread(top1), each, epochs, f"{seconds:.0f}"))
    left = ("method", "each seed (%)")
    columns = [
        "method",
        "seeds",
        "validation top-1, mean ± sd (%)",
        "each seed (%)",
        "epochs",
        "training, median processor seconds",
    ]
    return table_lines(pd.DataFrame(rows, columns=columns), left)


def kinds_table(runs: Sequence[PublishedRun]) -> list[str]:
    """Return the lines of a Markdown table, one row per kind of class, one column per method; no lines if all classes are of one kind."""
    kinds = {kind: by_method(runs, kind) for kind in KINDS}
    rows = [{"top-1 (%) on": kind} | {m: spread(top1) for m, top1 in of.items()} for kind, of in kinds.items()]
    return table_lines(pd.DataFrame(rows).fillna("-")) if all(kinds.values()) else []


def differences_table(runs: Sequence[PublishedRun], method: str) -> list[str]:
    """Return the lines of a Markdown table, one row per other method: `method` minus it in points, paired by seed.

    The last column says whether its mean is above by more than both standard deviations together. No lines without pairs.
    """
    top1, rows = by_method(runs), []
    for peer in top1:
        if peer != method and (points := paired_differences(runs, method, peer)):
            above = above_by_more_than_spread(top1[method], top1[peer])
            more = "one seed" if above is None else "yes" if above else "no"
            each = ", ".join(f"{value:+.1f}" for value in points.values())
            rows.append((peer, interval(list(points.values())), each, more))
    title = f"{method} minus"
    columns = [title, "points, mean (95 %)", "each seed", "above by more than both sds"]
    return table_lines(pd.DataFrame(rows, columns=columns), left=(title, "each seed")) if rows else []


def table_lines(table: pd.DataFrame, left: Sequence[str] | None = None) -> list[str]:
    """Return a table of strings as lines of Markdown; all columns but those of `left`, the first by default, are aligned to the right."""
    align = ["left" if column in (left or table.columns[:1]) else "right" for column in table.columns]
    return table.to_markdown(index=False, disable_numparse=True, colalign=align).splitlines()
