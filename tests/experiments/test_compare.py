"""experiments/compare.py: each method and seed is trained once, with its own epochs, and published runs are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments import compare
from hitagu_lib.config import Config, load_config
from hitagu_lib.data.loader import Batch
from hitagu_lib.errors import ConfigError
from hitagu_lib.evaluation.seeds import METHODS
from hitagu_lib.runs.provenance import code_sha256
from hitagu_lib.training.learner import Learner


def test_only_runs_that_are_not_published_are_trained(
    tiny_cfg: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params, out = tmp_path / "params.yaml", tmp_path / "out"
    params.write_text(tiny_cfg.to_yaml())
    out.mkdir()
    epochs = {method: {"epochs": number} for number, method in enumerate(METHODS, 2)}
    (out / "epochs.json").write_text(json.dumps(epochs))
    trained: list[Config] = []

    def train(command: list[str], **options: Any) -> None:
        assert command[1:4] == ["-m", "hitagu_lib", "train"] and options["env"]["OMP_NUM_THREADS"] == "1"
        cfg = load_config(command[5], command[7])
        trained.append(cfg)
        run = Path(cfg.run)
        run.mkdir(parents=True)
        (run / "params.yaml").write_text(cfg.to_yaml())
        summary = {"seed": cfg.train.seed, "epochs": cfg.train.epochs, "val_clips": 10, "val_top1": 0.5}
        (run / "summary.json").write_text(json.dumps(summary | {"train_cpu_seconds": 100.0}))
        (run / "val_classes.csv").write_text('label,clips,correct\n"Moving something up",10,5\n')
        for name in ("provenance.json", "metrics.jsonl"):
            (run / name).write_text("{}\n")

    monkeypatch.setattr(compare.subprocess, "run", train)
    command = ["--params", str(params), "--out", str(out), "--methods", "TSM", "TSN", "--parallel", "1", "--seeds"]
    compare.main([*command, "0", "1"])
    assert [(cfg.model.temporal, cfg.train.seed, cfg.train.epochs) for cfg in trained] == [
        ("tsm", 0, 4), ("tsn", 0, 6), ("tsm", 1, 4), ("tsn", 1, 6)
    ]  # fmt: skip
    assert sorted(folder.name for folder in out.iterdir() if folder.is_dir()) == [
        "tsm-seed0", "tsm-seed1", "tsn-seed0", "tsn-seed1"
    ]  # fmt: skip
    assert "| TSM" in (out / "compare.md").read_text()

    compare.main([*command, "0", "1", "2"])
    assert [(cfg.model.temporal, cfg.train.seed) for cfg in trained[4:]] == [("tsm", 2), ("tsn", 2)]
    with pytest.raises(ConfigError, match=r"tsm-seed0: this run was made with other parameters"):
        compare.main([*command, "0", "--overrides", "train.lr=0.5"])
    assert len(trained) == 6


def test_a_method_of_half_the_cost_has_twice_the_epochs(
    tiny_cfg: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its slowest turn took."""
    params, clock = tmp_path / "params.yaml", [0.0]
    params.write_text(tiny_cfg.to_yaml())

    def step(learner: Learner, batches: list[Batch]) -> None:
        clock[0] += 1.0 if learner.cfg.model.temporal == "tsn" else 2.0
        clock[0] += 0.1 * (len(turns) < 30)
        turns.append(1)

    turns: list[int] = []
    monkeypatch.setattr(Learner, "step", step)
    monkeypatch.setattr(compare.time, "process_time", lambda: clock[0])
    methods = {"ours": "", "theirs": "model.temporal=tsn"}
    file = tmp_path / "epochs.json"
    assert compare.matched_epochs(params, "train.epochs=7", file, methods) == {"ours": 7, "theirs": 14}
    assert compare.matched_epochs(params, "train.epochs=7", file, methods) == {"ours": 7, "theirs": 14}, "read again"
    before = json.loads(file.read_text())
    more = methods | {"cheap": "model.temporal=tsn", "dear": ""}
    assert compare.matched_epochs(params, "train.epochs=7", file, more) == {
        "ours": 7,
        "theirs": 14,
        "cheap": 14,
        "dear": 7,
    }
    assert {name: json.loads(file.read_text())[name] for name in before} == before, "only the new ones are timed"


def test_a_run_of_other_code_is_not_published(
    tiny_cfg: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a finished one nor one that could be resumed: the numbers would be the old code's."""
    params, run = tmp_path / "params.yaml", Path(tiny_cfg.run)
    params.write_text(tiny_cfg.to_yaml())
    run.mkdir(parents=True)
    monkeypatch.setattr(compare.subprocess, "run", lambda *_, **__: pytest.fail("trained"))
    for record in ({"code_sha256": "0"}, {"code_sha256": code_sha256(), "resumed": [{"code_sha256": "0"}]}):
        (run / "provenance.json").write_text(json.dumps(record | {"git_commit": "0123456789abcdef"}))
        with pytest.raises(
            ConfigError, match=f"{run}: found a run by other code than this, .* expected .* remove that folder"
        ):
            compare.train_and_publish(params, "", tmp_path / "out")


def test_a_published_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("label,clips\n")

    def stopped(source: Path, target: Path) -> None:
        target.write_text("lab")
        raise KeyboardInterrupt

    monkeypatch.setattr(compare.shutil, "copyfile", stopped)
    with pytest.raises(KeyboardInterrupt):
        compare.copy(tmp_path / "a.csv", tmp_path / "out" / "a.csv")
    assert not list((tmp_path / "out").iterdir())
    monkeypatch.undo()
    compare.copy(tmp_path / "a.csv", tmp_path / "out" / "a.csv")
    assert (tmp_path / "out" / "a.csv").read_text() == "label,clips\n"
