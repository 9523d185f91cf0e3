"""benchmarks/on_gpu: every piece runs at toy size on the CPU; a call does what fits into it, and says what is left and what is missing."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks.on_gpu import runner
from benchmarks.on_gpu.runner import PIECES, read_results, run_job
from benchmarks.on_gpu.size import ABLATIONS, FULL, METHODS, TOY, Size
from benchmarks.on_gpu.status import NOTHING, status
from benchmarks.on_gpu.training import recipe
from hitagu_lib.config import load_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")  # toy size is for the CPU, whatever there is


@pytest.fixture(scope="module")
def size(tmp_path_factory: pytest.TempPathFactory) -> Size:
    return dataclasses.replace(TOY, scratch=str(tmp_path_factory.mktemp("scratch")))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def jobs_of(name: str) -> list[str]:
    """The jobs of a piece, without those that run the code of the others with another network or another mode."""
    jobs = list(PIECES[name].minutes)
    if name == "steps":
        return jobs[:2]
    return [jobs[0], jobs[-1]] if name in ("train-memory", "train-mini", "ablations") else jobs


@pytest.mark.slow
@pytest.mark.parametrize("name", PIECES)
def test_a_piece_runs_and_is_kept_with_its_conditions(name: str, size: Size, out: Path) -> None:
    jobs = jobs_of(name)
    for job in jobs:
        run_job(name, job, out, toy=True, commit="abc", size=size)
    results = read_results(out / f"{name}.json")
    assert list(results) == jobs
    for result in results.values():
        where = result["where"]
        assert (
            where["device"] and where["packages"]["torch"] and where["git_commit"] and len(where["load_average"]) == 2
        )
    text = (out / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {PIECES[name].title}\n") and all(f"\n| {job} | " in text for job in results)
    assert (out / f"{name}.json").stat().st_size < 100_000


@pytest.mark.slow
def test_what_the_jobs_found_is_in_the_results(size: Size, out: Path) -> None:
    """Of the jobs above, or of those that are needed where this test runs alone."""
    for name in ("checks", "steps", "stu", "batches", "loader", "train-mini"):
        for job in jobs_of(name):
            if job not in read_results(out / f"{name}.json"):
                run_job(name, job, out, toy=True, size=size)
    checks = read_results(out / "checks.json")
    broken = [row for result in checks.values() for row in result["rows"] if not result["passed"]]
    assert not broken and sum(len(result["rows"]) for result in checks.values()) > 50
    assert "**NO**" not in (out / "checks.md").read_text(encoding="utf-8")

    steps = read_results(out / "steps.json")
    step = steps["eager"]["kinds"]["training step"]
    assert list(step) == ["bare backbone", "TSN", "TSM", "GRU", "HiTAGU-Net", "HiTAGU-Net, banded 3STU"]
    own = step["HiTAGU-Net"]
    assert own["clips_per_second"] == pytest.approx(1e3 * TOY.batch / (sum(own["milliseconds"]) / 2))
    assert own["operations a clip"] == 3 * steps["eager"]["kinds"]["forward"]["HiTAGU-Net"]["operations a clip"] > 0

    stu = read_results(out / "stu.json")["eager"]["milliseconds"]
    assert (
        list(stu) == ["3"] and {f"banded 3STU memory, {form}" for form in ("loop", "closed", "scan")} <= stu["3"].keys()
    )
    assert [row["batch"] for row in read_results(out / "batches.json")["TSN"]["rows"]] == [1, 2]
    (rates,) = read_results(out / "loader.json")["frames"]["clips per second"].values()
    assert len(rates) == 3 and min(rates) > 0
    (summary,) = read_results(out / "train-mini.json")["mini: TSN"]["seeds"]
    assert summary["temporal"] == "tsn" and 0 <= summary["val_top1"] <= 1

    line = status(out)
    assert "7 of 7 groups of checks" in line and "of TSN's" in line and "of `nn.GRU`" in line


@pytest.mark.slow
def test_several_seeds_train_at_a_time_and_a_failure_is_told(size: Size, tmp_path: Path) -> None:
    both = dataclasses.replace(size, seeds=(3, 4))
    result = run_job("train-mini", "mini: TSN", tmp_path, toy=True, size=both)
    assert [summary["seed"] for summary in result["seeds"]] == [3, 4]
    assert " ± " in (tmp_path / "train-mini.md").read_text(encoding="utf-8")


def test_the_trainings_are_the_recipes_and_their_ablations() -> None:
    assert next(iter(METHODS)) == "HiTAGU-Net" and FULL.seeds == (0, 1, 2, 3, 4)
    for name in ("train-hard", "train-memory", "train-mini", "ablations"):
        for job in PIECES[name].minutes:
            cfg, data_set = recipe(job, FULL), job.split(": ")[0]
            base = load_config("params/mini.yaml" if data_set == "ablations" else f"params/{data_set}.yaml")
            assert (cfg.train.epochs, cfg.train.lr, cfg.data.num_frames) == (
                base.train.epochs,
                base.train.lr,
                base.data.num_frames,
            )
            assert cfg.data.image_size == (112 if data_set == "ablations" else base.data.image_size)
            same_model = cfg.model == base.model
            assert same_model == (job.split(": ")[1] in ("HiTAGU-Net", "base"))
    assert list(PIECES["ablations"].minutes) == [f"ablations: {file}" for file in ABLATIONS]
    banded = recipe("mini: HiTAGU-Net, banded 3STU", FULL).model
    assert banded == load_config("params/ablations/stu_as_it_was.yaml").model


def test_a_call_does_what_fits_and_the_next_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[str] = []

    def process(options: list[str], argv: list[str], seconds: float) -> int:
        name, job = options[1], options[3]
        started.append(job)
        if job == "half precision" and len(started) < 5:
            return 1
        if job == "resume" and len(started) < 5:
            raise subprocess.TimeoutExpired("job", seconds)
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(read_results(file) | {job: {"passed": True, "where": {"device": "a card"}}}))
        return 0

    monkeypatch.setattr(runner, "_in_a_process", process)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    call = ["--out", str(tmp_path), "--only", "checks", "--minutes", "2"]
    assert runner.main(call) == 1, "one failed"
    said = capsys.readouterr().out
    assert started == ["fp32", "half precision", "resume", "fp16 scaler", "3STU forms", "SyncBatchNorm"]
    assert "Failed, to be tried again by the next call:\n  checks, half precision: ended with code 1" in said
    assert "checks, resume (stopped at this call's end)\n  checks, compiled (at most 3 minutes)\n" in said
    assert runner.main([*call[:-1], "8"]) == 0
    assert started[6:] == ["half precision", "resume", "compiled"], "what is there is kept"
    assert f"All is measured: {tmp_path}\n" in capsys.readouterr().out


def test_without_a_gpu_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert runner.main(["--out", str(tmp_path)]) == 1
    assert "found no CUDA device that torch can use; --toy runs" in capsys.readouterr().err


BARE = (  # a module that is None in sys.modules cannot be imported
    "import importlib.util, runpy, sys\n"
    "absent = {absent}\n"
    "for name in absent:\n"
    "    sys.modules[name] = None\n"
    "whole = importlib.util.find_spec\n"
    "importlib.util.find_spec = lambda name, *rest: None if name in absent else whole(name, *rest)\n"
    "sys.argv = ['on_gpu', *{options}]\n"
    "runpy.run_module('benchmarks.on_gpu', run_name='__main__')\n"
)
NO_JUPYTER = ["click", "matplotlib", "IPython", "imageio_ffmpeg", "av", "tabulate", "seaborn", "papermill", "pytest"]


def on_a_bare_machine(absent: list[str], options: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BARE.format(absent=absent, options=options)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_what_is_missing_is_named_with_the_way_to_install_it() -> None:
    done = on_a_bare_machine(["pydantic", "yaml", "torchmetrics", *NO_JUPYTER], [])
    assert done.returncode == 1
    assert "steps: not run: needs pydantic, pyyaml\n" in done.stderr
    assert "train-hard: not run: needs pydantic, pyyaml, torchmetrics\n" in done.stderr
    assert (
        " -m pip install pydantic pyyaml torchmetrics\n" in done.stderr
        and "--no-index --find-links wheels" in done.stderr
    )


@pytest.mark.slow
def test_a_job_needs_no_more_than_its_piece_lists(tmp_path: Path) -> None:
    trainers = ["accelerate", "torchmetrics", "tqdm", "tensorboard", "pandas"]
    options = ["--toy", "--only", "batches", "--job", "TSN", "--out", str(tmp_path)]
    done = on_a_bare_machine([*trainers, *NO_JUPYTER], options)
    assert done.returncode == 0, done.stderr
    assert "TSN" in read_results(tmp_path / "batches.json")


@pytest.mark.slow
def test_the_command_starts_its_jobs_itself(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.on_gpu",
        "--toy",
        "--only",
        "loader",
        "--out",
        str(tmp_path),
        "--commit",
        "abc",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"loader, frames ...\nAll is measured: {tmp_path}\n" in done.stdout
    where = read_results(tmp_path / "loader.json")["frames"]["where"]
    assert where["command"] == ["on_gpu.py", *command[3:]] and where["git_commit"]


def test_readme_and_index_say_what_is_published() -> None:
    out = Path("outputs/published/gpu")
    assert f"\n{status(out)}\n" in (ROOT / "README.md").read_text(encoding="utf-8"), (
        "run benchmarks.on_gpu: it prints the line"
    )
    index = (ROOT / "book" / "index.md").read_text(encoding="utf-8")
    assert ("We have measured nothing on a GPU yet" in index) == (status(out) == NOTHING)


def test_chapter_8_takes_its_rates_from_the_published_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chapter = (ROOT / "book" / "08_scaling_up.py").read_text(encoding="utf-8")
    (cell,) = (cell for cell in chapter.split("\n# %%") if "measured_rates = {" in cell)
    data = {name: SimpleNamespace(name=name) for name in ("K700", "SSV2")}
    given = {"Path": Path, "json": json, "DataSet": SimpleNamespace, "work": lambda _: (0.0, 3600 * 1000), **data}
    monkeypatch.chdir(tmp_path)
    exec(cell.partition("\n")[2], dict(given))
    assert capsys.readouterr().out.count("not measured") == 2
    step = {"training step": {"HiTAGU-Net": {"clips_per_second": 250.0}}}
    file = tmp_path / "outputs" / "published" / "gpu" / "steps.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"eager": {"where": {"device": "a card"}, "kinds": step}}))
    exec(cell.partition("\n")[2], dict(given))
    assert capsys.readouterr().out == "a card, eager: 250 clips per second; K700: 4 GPU-hours SSV2: 4 GPU-hours\n"
