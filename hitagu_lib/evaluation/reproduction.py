"""`hitagu report reproduction`: run folders beside published numbers.

    outputs/*  -->  runs that differ in their seed alone are one result  -->  a table for each data set, a verdict for each result

outputs/published/peers.yaml holds the data sets: the recipe, and published results of peers or this book's own runs. A run belongs to the
data set that its `data.prepare` or its number of classes names. All accuracies are top-1 in percent.

Verdicts. Beside peers, with three seeds or more: above or below the reference that has the same views if the difference is more than two
standard deviations over the seeds, else level with it. Beside this book's own runs: reproduced if the mean is where Student's t expects
that of 95 % of reruns.
"""

from __future__ import annotations

import functools
import json
import reprlib
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from hitagu_lib.config import Config, ModelConfig, flat, load_config, read_params
from hitagu_lib.errors import ConfigError
from hitagu_lib.evaluation.protocols import protocol
from hitagu_lib.evaluation.seeds import METHODS, by_method, read_runs, rerun_within, spread
from hitagu_lib.models.cost import model_cost, shape_model
from hitagu_lib.runs.run_dir import FREE, SPLIT, read_metrics

PEERS = "outputs/published/peers.yaml"
SEEDS = 3
"""How many runs a verdict needs, and the command for a data set without runs asks for."""


class Peer(BaseModel):
    """A published result. frames: of one view; views: "clips x crops"; gflops: of one view; None where the source does not say."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    backbone: str
    pretrain: str | None
    frames: int | None
    views: str | None
    gflops: float | None
    top1: float
    source: str
    checked: bool  # the source's own table was read
    reference: bool = False  # runs with the same views are judged by it


class DataSet(BaseModel):
    """An entry of the peers file. Without `classes`, runs are recognised by `data.prepare`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    title: str
    recipe: str
    classes: int | None = None
    train_clips: int | None = None
    val_clips: int | None = None
    peers: list[Peer] = []
    ours: str | None = None  # a folder that experiments/compare.py wrote


class Summary(BaseModel):
    """What is read of a run's summary.json."""

    val_top1: float = Field(ge=0, le=1)
    num_classes: int
    train_seconds: float
    train_clips: int
    val_clips: int
    seed: int
    global_batch_size: int
    bad_clips: int = 0
    device: str = "unknown"


class Provenance(BaseModel):
    """What is read of a run's provenance.json."""

    processes: int = 1
    git_changed: bool | None = None
    git_commit: str | None = None


class Views(BaseModel):
    clips: int
    crops: int
    crop_size: int
    num_frames: int | None = None  # of reports written before they named it, as the sampling
    sampling: str | None = None


class Report(BaseModel):
    """What is read of an evaluation's report.json."""

    views: Views
    top1: float = Field(ge=0, le=1)
    protocol: str | None = None
    list: str | None = None
    average: str | None = None
    checkpoint: str | None = None


@dataclass(frozen=True)
class RunFolder:
    """A finished run, and the evaluations in its folder."""

    folder: Path
    cfg: Config
    summary: Summary
    provenance: Provenance
    evaluations: dict[Path, Report]

    def scores(self) -> dict[tuple[int, int, int, str], float]:
        """Return (clips, crops, crop size, name) -> top-1: of validation during training, and of the evaluations in the run's folder.

        The name is that of the protocol if it takes other frames than `single` and `multi` do, else "".

        An evaluation of another list or checkpoint, with another sampling of frames or another average, is not one of the run: see
        `other_evaluations`.
        """
        plan = protocol(
            self.cfg.data, replace(self.cfg.eval, protocol="single", clips=None, crops=None, crop_size=None)
        )
        found = {(plan.clips, plan.crops, plan.crop_size, ""): 100 * self.summary.val_top1}
        for report in self.evaluations.values():
            if self._differs(report) is None:
                views, name = report.views, "tsm_twice" if report.protocol == "tsm_twice" else ""
                found[views.clips, views.crops, views.crop_size, name] = 100 * report.top1
        return found

    def other_evaluations(self) -> list[str]:
        """Return a line for each evaluation in the folder that `scores` does not count, with the reason."""
        return [f"{file}: {why}" for file, report in self.evaluations.items() if (why := self._differs(report))]

    def _differs(self, report: Report) -> str | None:
        data, views = self.cfg.data, report.views
        for key, found, own in (
            ("list", report.list, data.val_list),
            ("num_frames", views.num_frames, data.num_frames),
            ("sampling", views.sampling, data.sampling),
            ("average", report.average, self.cfg.eval.average),
            # Not best.pt: an epoch that validation chose would flatter the run.
            ("checkpoint", report.checkpoint and Path(report.checkpoint).name, "last.pt"),
        ):
            if found is not None and found != own:
                return f"{key} {found}, the run's {own}"
        return None

    def hours(self) -> float:
        """Return the hours of training, times its processes."""
        return self.summary.train_seconds * self.provenance.processes / 3600


@dataclass(frozen=True)
class Result:
    """Runs of one method that differ in their seed alone, under the same views."""

    data: str
    method: str
    frames: int
    views: str
    gflops: float  # of one view
    top1: list[float]  # one for each seed
    seeds: list[int]
    hours: float  # of training, times processes, the mean over seeds
    device: str
    runs: list[str]
    commits: list[str]
    deviations: list[str]  # from the recipe
    verdict: str


@dataclass(frozen=True)
class Reproduction:
    """What runs there are for the data sets of the peers file."""

    data: dict[str, DataSet]
    results: list[Result] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # folder: reason

    def of(self, data: str) -> list[Result]:
        return [result for result in self.results if result.data == data]


def read_peers(file: str | Path = PEERS) -> dict[str, DataSet]:
    """Read the data sets and published results. Raise ConfigError with the file and key of a wrong entry."""
    try:
        return TypeAdapter(dict[str, DataSet]).validate_python(read_params(file))
    except ValidationError as error:
        raise ConfigError(f"{file}: {_first(error)}; expected otherwise: {error.errors()[0]['msg']}") from error


def reproduction(folders: Iterable[str | Path], peers: str | Path = PEERS) -> Reproduction:
    """Find every run in and under `folders`, and judge it by `peers`.

    Unfinished and damaged runs and runs on other data are left out, with the reason. This book's own runs, in outputs/published, count if
    `folders` names a folder inside it; those that `peers` compares with are no results of their own. Raises ConfigError for a folder that
    is missing.
    """
    found = Reproduction(read_peers(peers))
    own = {Path(entry.ours).resolve() for entry in found.data.values() if entry.ours}
    groups: dict[tuple[Any, ...], list[RunFolder]] = {}
    recipes: dict[str, dict[str, Config]] = {}
    named = [Path(folder) for folder in folders]
    published = Path(PEERS).resolve().parent
    skip_published = not any(published in folder.resolve().parents for folder in named)
    skipped = 0
    for folder in _run_folders(named):
        if skip_published and published in folder.resolve().parents:
            skipped += 1
            continue
        if folder.resolve().parent in own:
            continue
        if not (folder / "summary.json").exists():
            found.left_out.append(f"{folder}: unfinished, {len(read_metrics(folder))} epochs done")
            continue
        try:
            run = _read_run(folder, found.left_out)
        except ConfigError as error:
            found.left_out.append(str(error))
            continue
        if (data := _data_of(run, found.data)) is None:
            found.left_out.append(f"{folder}: its data are not in {peers}")
            continue
        if data not in recipes:
            recipes[data] = _recipes(found.data[data])
        method, deviations = _method(run, found.data[data], recipes[data])
        found.left_out.extend(run.other_evaluations())
        again = False
        for views in run.scores():
            group = groups.setdefault((data, method, views, tuple(deviations)), [])
            if any(other.summary.seed == run.summary.seed for other in group):
                again = True
            else:
                group.append(run)
        if again:
            found.left_out.append(f"{folder}: another run of seed {run.summary.seed}, which counts once")
    if skipped:
        of = Path(PEERS).parent
        found.left_out.append(
            f"{of}: this book's own {skipped} runs, which count if a folder inside it is named: {of}/mini"
        )
    for (data, method, views, deviations), runs in groups.items():
        found.results.append(_result(data, found.data[data], method, views, list(deviations), runs))
    return found


def _run_folders(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield each run under `folders` once."""
    seen: set[Path] = set()
    for folder in folders:
        if not folder.exists():
            raise ConfigError(f"{folder}: no such folder; expected runs, such as outputs/*")
        for run in sorted({file.parent for file in folder.rglob("params.yaml")}):
            if run.resolve() not in seen:
                seen.add(run.resolve())
                yield run


def _read_run(folder: Path, left_out: list[str]) -> RunFolder:
    """Read a run; add a line to `left_out` for each of its evaluations that cannot be read, or is of a single video."""
    evaluations = {}
    for file in sorted(folder.glob("evaluate-*/report.json")):
        try:
            evaluations[file] = _read_json(file, Report)
        except ConfigError as error:
            left_out.append(str(error))
    cfg = load_config(folder / "params.yaml")
    summary = _read_json(folder / "summary.json", Summary)
    return RunFolder(folder, cfg, summary, _read_json(folder / "provenance.json", Provenance), evaluations)


Written = TypeVar("Written", bound=BaseModel)


def _read_json(file: Path, what: type[Written]) -> Written:
    try:
        return what.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise ConfigError(f"{file}: {_first(error)}; expected what a run writes") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: found no JSON object ({error}); expected what a run writes") from error


def _first(error: ValidationError) -> str:
    """Return where the first of the errors is, and what was found there."""
    first = error.errors()[0]
    found = "nothing" if first["type"] == "missing" else reprlib.repr(first["input"])
    return ": ".join([*filter(None, [".".join(map(str, first["loc"]))]), f"found {found}"])


def _data_of(run: RunFolder, data: Mapping[str, DataSet]) -> str | None:
    if (made := run.cfg.data.prepare) is not None:
        return made if made in data else None
    return next((name for name, entry in data.items() if entry.classes == run.summary.num_classes), None)


NO_DEVIATION = {
    *FREE, *SPLIT, "data.root", "data.train_list", "data.val_list", "data.classes", "data.prepare", "train.seed", "train.eval_every",
}  # fmt: skip
"""Parameters that may differ from the recipe, as those of `eval` may: places, the seed, what changes no weight. A step's clips count."""


def _recipes(entry: DataSet) -> dict[str, Config]:
    """Return the recipe of each method.

    This book's own runs trained each method for the same time, so a method has as many epochs as they had.
    """
    epochs = (
        {run.method: f" train.epochs={run.summary['epochs']}" for run in read_runs(entry.ours)} if entry.ours else {}
    )
    return {
        method: load_config(entry.recipe, overrides + epochs.get(method, "")) for method, overrides in METHODS.items()
    }


def _method(run: RunFolder, entry: DataSet, recipes: Mapping[str, Config]) -> tuple[str, list[str]]:
    """Return the method whose recipe the run is closest to, its network first, and how it deviates from that."""
    found = {method: _deviations(run, recipe, entry) for method, recipe in recipes.items()}
    method = min(found, key=lambda name: (sum(of.startswith("model.") for of in found[name]), len(found[name])))
    return method, found[method]


def _deviations(run: RunFolder, recipe: Config, entry: DataSet) -> list[str]:
    is_, was = flat(run.cfg.to_mapping()), flat(recipe.to_mapping())
    keys = [key for key in is_ if key not in NO_DEVIATION and not key.startswith("eval.") and is_[key] != was.get(key)]
    found = [f"{key} {is_[key]}, recipe {was.get(key)}" for key in keys]
    step, wanted = run.summary.global_batch_size, recipe.train.lr_batch or recipe.train.global_batch_size()
    if step != wanted:
        found.append(f"{step} clips per step, recipe {wanted}")
    for what in ("train_clips", "val_clips"):
        clips, whole = getattr(run.summary, what), getattr(entry, what)
        if whole is not None and clips != whole:
            found.append(f"{what} {clips:,} of {whole:,}")
    if bad := run.summary.bad_clips:
        found.append(f"{bad} clips could not be read")
    if run.provenance.git_changed is not False or run.provenance.git_commit is None:
        found.append("the code had uncommitted changes, or its commit is not known")
    return found


def _result(
    data: str,
    entry: DataSet,
    method: str,
    views: tuple[int, int, int, str],
    deviations: list[str],
    runs: list[RunFolder],
) -> Result:
    runs = sorted(runs, key=lambda run: run.summary.seed)
    clips, crops, size, name = views
    first = runs[0]
    top1 = [run.scores()[views] for run in runs]
    seen = f"{clips} x {crops}"
    return Result(
        data=data,
        method=method,
        frames=first.cfg.data.num_frames,
        views=f"{seen} {name}".rstrip(),
        gflops=_gflops(first.cfg.model, first.summary.num_classes, first.cfg.data.num_frames, size),
        top1=top1,
        seeds=[run.summary.seed for run in runs],
        hours=statistics.mean(run.hours() for run in runs),
        device=", ".join(sorted({run.summary.device for run in runs})),
        runs=[str(run.folder) for run in runs],
        commits=sorted({str(run.provenance.git_commit)[:12] for run in runs}),
        deviations=deviations,
        verdict=_verdict(entry, method, seen, top1, deviations),
    )


@functools.cache
def _gflops(model: ModelConfig, classes: int, frames: int, size: int) -> float:
    return model_cost(shape_model(model, classes), frames, size)["total"].gflops


def _verdict(entry: DataSet, method: str, views: str, top1: Sequence[float], deviations: Sequence[str]) -> str:
    mean = statistics.mean(top1)
    if entry.ours:
        ours = by_method(read_runs(entry.ours)).get(method, [])
        if len(ours) < SEEDS or views != "1 x 1":
            return "no runs of ours to compare with"
        difference = mean - statistics.mean(ours)
        within = rerun_within(ours, len(top1))
        said = (
            f"{'reproduced' if abs(difference) <= within else 'not reproduced'}: {difference:+.1f} points from {spread(ours)}, "
            f"where 95 % of reruns are within {within:.1f}"
        )
    else:
        peer = next((peer for peer in entry.peers if peer.reference and peer.views == views), None)
        if peer is None:
            return "no reference with these views"
        difference = mean - peer.top1
        if len(top1) < SEEDS:
            said = f"no verdict from fewer than {SEEDS} seeds: {difference:+.1f} points from {peer.name}"
        elif abs(difference) <= 2 * statistics.stdev(top1):
            said = f"level with {peer.name}: {difference:+.1f} points, within two standard deviations"
        else:
            said = f"{'above' if difference > 0 else 'below'} {peer.name}: {difference:+.1f} points"
    return said + ("; deviates from the recipe" if deviations else "")


def run_commands(data: str, entry: DataSet) -> list[str]:
    """Return the commands that fill the rows of a data set without runs."""
    train = load_config(entry.recipe).train
    # As many processes, a GPU each, as the recipe's step has batches.
    processes = f" train.processes={train.lr_batch // train.batch_size}" if train.lr_batch else ""
    lines = [f"hitagu prepare {data}"] if entry.ours else []
    for seed in range(SEEDS):
        run = f"outputs/{data}-seed{seed}"
        lines.append(f'hitagu train --params {entry.recipe} --overrides "run={run} train.seed={seed}{processes}"')
        if not entry.ours:  # the recipe's own views, besides the one of validation during training
            lines.append(f"hitagu evaluate --params {entry.recipe} --checkpoint {run}/checkpoints/last.pt")
    return [*lines, "hitagu report reproduction outputs/*"]


def reproduction_table(found: Reproduction, data: str) -> str:
    """Return the Markdown table of a data set: peers or this book's published runs, then what was run, or that nothing was."""
    entry = found.data[data]
    rows = [
        (p.name, p.backbone, _or(p.frames), _or(p.views), _or(p.gflops), f"{p.top1:.1f}", "", "", _source(p))
        for p in entry.peers
    ]
    recipe = load_config(entry.recipe)
    backbone, frames = recipe.model.backbone.name, recipe.data.num_frames
    if entry.ours:
        for method, ours in by_method(read_runs(entry.ours)).items():
            rows.append((method, backbone, f"{frames}", "1 x 1", "", spread(ours), f"{len(ours)}", "", entry.ours))
    for r in found.of(data):
        method, top1, seeds = f"**{r.method}**, run", f"**{spread(r.top1)}**", f"{len(r.seeds)}"
        cost = f"{r.hours:.1f} h, {r.device}" if r.hours >= 1 else f"{60 * r.hours:.1f} min, {r.device}"
        rows.append((method, backbone, f"{r.frames}", r.views, f"{r.gflops:.2f}", top1, seeds, cost, r.verdict))
    if not found.of(data):
        size = recipe.data.image_size
        gflops = f"{_gflops(recipe.model, entry.classes, frames, size):.1f}" if entry.classes else ""
        reason = "not run" if entry.ours else "not run: needs data and GPUs"
        rows.append(("**HiTAGU-Net**", backbone, f"{frames}", "", gflops, reason, "", "", "the commands are below"))
    columns = [
        "method",
        "backbone",
        "frames",
        "views",
        "GFLOPs a view",
        "top-1 (%)",
        "seeds",
        "training",
        "source, or verdict",
    ]
    return pd.DataFrame(rows, columns=columns).to_markdown(index=False, disable_numparse=True)


def _source(peer: Peer) -> str:
    return peer.source if peer.checked else f"{peer.source} (as quoted)"


def _or(value: object) -> str:
    return "not given" if value is None else str(value)


def reproduction_text(found: Reproduction) -> str:
    """Return the whole report as Markdown."""
    blocks = []
    for data, entry in found.data.items():
        blocks += [f"## {entry.title}", reproduction_table(found, data)]
        for result in found.of(data):
            what = "\n".join(f"  - {deviation}" for deviation in result.deviations) or "  - none"
            where = f"{', '.join(result.runs)}, commit {', '.join(result.commits)}"
            blocks.append(f"{result.method}, {result.views} views ({where}). Deviations from {entry.recipe}:\n\n{what}")
        if not found.of(data):
            blocks.append("\n".join(["```sh", *run_commands(data, entry), "```"]))
    if found.left_out:
        blocks += ["## Left out", "\n".join(f"- {line}" for line in found.left_out)]
    return "\n\n".join(blocks)
