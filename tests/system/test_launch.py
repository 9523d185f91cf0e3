"""Processes started from one: followed, ended with it, gone on from with another number of them."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from training_steps import with_train, without_statistics

from hitagu_lib.config import Config
from hitagu_lib.errors import ConfigError, TrainingError
from hitagu_lib.runs.checkpoint import load_checkpoint
from hitagu_lib.runs.run_dir import Run, read_metrics
from hitagu_lib.training import trainer as training
from hitagu_lib.training.launch import reason


def in_two_processes(cfg: Config, **changes: object) -> Config:
    cfg = with_train(without_statistics(cfg), batch_size=4, processes=2, epochs=6, eval_every=3, **changes)
    return dataclasses.replace(cfg, eval=dataclasses.replace(cfg.eval, order_tests=False))


def wait_until_free(cfg: Config, seconds: float = 120) -> None:
    """Until no process has the run's folder any more."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with Run(cfg).opened():
                return
        except ConfigError as error:
            if "in the hands of another process" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def test_a_run_started_on_two_processes_goes_on_with_one(tiny_cfg: Config, tmp_path: Path) -> None:
    """kill -9 for the one that started them: they save and end. Then as many clips a step from one process give what they would have."""
    cfg = in_two_processes(tiny_cfg)
    params = tmp_path / "params.yaml"
    params.write_text(cfg.to_yaml())
    command = [sys.executable, "-m", "hitagu_lib", "train", "--params", str(params)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not read_metrics(cfg.run) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    wait_until_free(cfg)
    assert read_metrics(cfg.run) and Run(cfg).summary() is None, "killed in the middle of it"
    provenance = (Path(cfg.run) / "provenance.json").read_text()
    assert '"processes": 2' in provenance and '"global_batch_size": 8' in provenance and "launch.yaml" not in provenance

    alone = with_train(cfg, processes=1)
    with pytest.raises(ConfigError, match=r"steps are of 8 clips; .* = 4; expected train\.accumulate=2"):
        training.fit(alone)
    alone = with_train(cfg, processes=1, accumulate=2)
    assert training.fit(alone)["global_batch_size"] == 8
    whole = dataclasses.replace(alone, run=str(tmp_path / "whole"))
    training.fit(whole)
    lines, expected = read_metrics(alone.run), read_metrics(whole.run)
    assert [line["epoch"] for line in lines] == list(range(6))
    for ours, theirs in zip(lines, expected, strict=True):
        for name in ("train_loss", "train_center", "train_grad_norm", "train_lr"):
            assert ours[name] == pytest.approx(theirs[name], rel=2e-3), (ours["epoch"], name)
    a, b = (load_checkpoint(Path(each.run) / "checkpoints" / "last.pt") for each in (alone, whole))
    for part in ("model", "criterion"):
        for name, value in b[part].items():
            torch.testing.assert_close(a[part][name], value, atol=1e-4, rtol=1e-3)

    with pytest.raises(ConfigError, match=r"(?s)other parameters.*-  batch_size: 4.*\+  batch_size: 16"):
        training.fit(with_train(alone, batch_size=16))  # a finished run is not the answer to another question
    assert training.fit(with_train(cfg, processes=1, batch_size=8)) == Run(alone).summary()


def test_the_epochs_of_others_are_followed_and_one_that_dies_ends_all(tiny_cfg: Config) -> None:
    cfg = in_two_processes(tiny_cfg)
    seen: list[int] = []

    def kill_one(metrics: list[dict[str, Any]]) -> None:
        seen.append(len(metrics))
        if seen == [1]:
            holder = (Path(cfg.run) / ".lock").read_text()  # "process <id> on ..."
            os.kill(int(holder.split()[1]), signal.SIGKILL)

    with pytest.raises(TrainingError, match=r"(?s)2 processes ended with exit code 1; .*SIGKILL"):
        training.train(cfg, on_epoch=kill_one)
    assert seen[0] == 1 and seen == sorted(set(seen))
    assert not (Path(cfg.run) / "launch.yaml").exists()
    wait_until_free(cfg)


def test_the_reason_is_the_first_message_of_ours_that_is_no_consequence() -> None:
    said = [
        "a step: 8 clips\n",
        "hitagu: another process of this training has ended or cannot be reached: process 1 ends as well (closed)\n",
        "[rank2]: Traceback (most recent call last):\n",
        "hitagu: params.yaml: this run was started with other parameters:\n",
        "-  lr: 0.1\n",
        "W1124 21:12:55.061000 11891 torch/distributed/elastic/multiprocessing/api.py:1014] Sending process\n",
        "hitagu: params.yaml: the same from another process\n",
    ]
    assert reason(said) == "params.yaml: this run was started with other parameters:\n-  lr: 0.1"
    assert reason(said[:3]) == ""
