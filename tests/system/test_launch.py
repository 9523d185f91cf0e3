"""Training in several processes started from one: it follows them, they end with it, and a run resumes with another number of them."""

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
from processes import Training
from training_steps import with_train, without_statistics

from hitagu_lib.config import Config, load_config, read_params
from hitagu_lib.errors import ConfigError, TrainingError
from hitagu_lib.runs.checkpoint import load_checkpoint
from hitagu_lib.runs.run_dir import Run, read_metrics
from hitagu_lib.training import trainer as training
from hitagu_lib.training.distributed import FAILURE_FILE, failure_reported
from hitagu_lib.training.signals import Stopped


def in_two_processes(cfg: Config, **changes: object) -> Config:
    changes = {"batch_size": 4, "processes": 2, "epochs": 6, "eval_every": 3} | changes
    cfg = with_train(without_statistics(cfg), **changes)
    return dataclasses.replace(cfg, eval=dataclasses.replace(cfg.eval, order_tests=False))


def wait_until_free(cfg: Config, seconds: float = 120) -> None:
    """Wait until no process owns the run's folder."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with Run(cfg).opened():
                return
        except ConfigError as error:
            if "in use by another process" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def test_a_run_started_in_two_processes_resumes_in_one(tiny_cfg: Config, tmp_path: Path) -> None:
    """After kill -9 of the launcher they save and end. One process with the same global batch size then gives the results of two."""
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
    with pytest.raises(ConfigError, match=r"steps have 8 clips; .* = 4; expected train\.accumulate=2"):
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

    with pytest.raises(ConfigError, match=r"(?s)other parameters.*train\.batch_size: 4, asked for 16\n"):
        training.fit(with_train(alone, batch_size=16))  # a finished run does not answer another question
    assert training.fit(with_train(cfg, processes=1, batch_size=8)) == Run(alone).summary()


def test_epochs_are_followed_and_a_process_that_dies_ends_all(tiny_cfg: Config) -> None:
    cfg = in_two_processes(tiny_cfg, epochs=500)
    seen: list[int] = []

    def kill_one(metrics: list[dict[str, Any]]) -> None:
        seen.append(len(metrics))
        if seen == [1]:
            holder = (Path(cfg.run) / ".lock").read_text()  # "process <id> on ..."
            os.kill(int(holder.split()[1]), signal.SIGKILL)

    with pytest.raises(TrainingError, match=r"(?s)2 processes ended with exit code 1; torchrun's report:.*SIGKILL"):
        training.train(cfg, on_epoch=kill_one)
    assert seen[0] == 1 and seen == sorted(set(seen))
    assert not (Path(cfg.run) / "launch.yaml").exists()
    wait_until_free(cfg)


MISSING = 4
"""Clips of `from_recipe` that cannot be read, of 32."""


def from_recipe(recipe: str, tiny_data: Path, run: Path, processes: int) -> Config:
    """A recipe with its own `data.workers`; only the clips, the sizes of frames and network, and the number of epochs are others."""
    rows = (tiny_data / "val.csv").read_text().splitlines()
    listing = run.parent / "train.csv"
    listing.write_text("\n".join([*rows, *(f"val/no such clip {i},0,24" for i in range(MISSING))]) + "\n")
    overrides = (
        f"data.prepare=null data.root={tiny_data}/frames data.train_list={listing} data.val_list={tiny_data}/val.csv "
        f"data.classes={tiny_data}/classes.txt data.on_bad_clip=skip "
        "data.num_frames=2 data.image_size=32 data.short_side=36 data.hflip_swaps=[] data.reverse_swaps=[] "
        "model.backbone.name=resnet18 model.backbone.cut=layer1 model.backbone.weights=null model.backbone.frozen_stages=0 "
        "model.mde.taps=[layer1] model.mde.reduced=4 model.mde.width=8 model.stu.width=8 model.attention.tsa_width=8 "
        f"train.epochs=500 train.batch_size=4 train.eval_every=500 train.processes={processes} "
        "train.both_directions=false eval.order_tests=false eval.tsn_baseline=false"
    )
    cfg = load_config(f"params/{recipe}.yaml", overrides)
    assert cfg.data.workers == read_params(f"params/{recipe}.yaml")["data"]["workers"] > 0
    return dataclasses.replace(cfg, run=str(run))


@pytest.mark.parametrize(
    ("recipe", "processes", "number"),
    [
        ("mini", 2, signal.SIGINT),
        ("own", 2, signal.SIGTERM),
        ("ssv2", 2, signal.SIGHUP),
        ("k700", 2, signal.SIGKILL),
        ("mini", 2, signal.SIGUSR1),
        ("mini", 1, signal.SIGINT),
        ("own", 1, signal.SIGTERM),
        ("mini", 1, signal.SIGHUP),
        ("own", 1, signal.SIGUSR1),
        ("k700", 1, signal.SIGKILL),
    ],
)
def test_every_recipe_takes_steps_with_its_own_workers_and_leaves_no_orphan(
    recipe: str, processes: int, number: signal.Signals, tiny_data: Path, tmp_path: Path
) -> None:
    """The whole command, signalled in its second epoch or later: it saves, and within 10 seconds no process of it is left."""
    cfg = from_recipe(recipe, tiny_data, tmp_path / "it's a run, C:\\runs\\ü", processes)
    training = Training(cfg, tmp_path)
    try:
        training.wait_for(lambda: read_metrics(cfg.run))
        assert len(training.processes()) >= processes * (1 + cfg.data.workers), (
            "the loader's workers have the mark as well"
        )
        os.kill(training.process.pid, number)
        code = training.code_after(60)
        assert not training.left_after(10), training.said()[-3000:]
    finally:
        training.kill()
    assert code == (-number if number == signal.SIGKILL else 128 + number), training.said()[-3000:]
    skipped = (Path(cfg.run) / "bad_clips.txt").read_text().splitlines()
    lines = [line.removeprefix(f"{cfg.data.train_list}:").split(":")[0] for line in skipped]
    assert sorted(lines) == [str(29 + i) for i in range(MISSING)], "each once, whichever process met it"
    if number != signal.SIGKILL:
        said = training.said()
        assert said.count(f"hitagu: stopped by {number.name} at step ") == 1, "one process of several speaks, once"
    if number != signal.SIGKILL or processes > 1:
        state = load_checkpoint(Path(cfg.run) / "checkpoints" / "last.pt")
        assert state["steps"] > 0 and not list(Path(cfg.run).rglob(".[0-9]*")), "it has saved, and whole"
    assert not list(Path(cfg.run).glob("launch*"))


def test_a_stop_before_the_first_step_is_told_as_well(tiny_cfg: Config, tmp_path: Path) -> None:
    training = Training(in_two_processes(tiny_cfg), tmp_path)
    try:
        training.wait_for(lambda: len(training.processes()) > 1)  # torchrun, which has not started them yet
        os.kill(training.process.pid, signal.SIGTERM)
        assert training.code_after(60) == 128 + signal.SIGTERM and not training.left_after(10)
    finally:
        training.kill()
    assert training.said() == "hitagu: stopped by SIGTERM; the same command resumes what can be resumed\n"


def test_the_first_failure_that_is_no_consequence_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "failure.txt"
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv(FAILURE_FILE, str(file))
    for error in (RuntimeError("[/gloo/transport] Connection closed by peer"), Stopped(signal.SIGINT)):
        with pytest.raises((SystemExit, Stopped)), failure_reported():
            raise error
        assert not file.exists(), "a lost peer, or a stop of which another process speaks, is no cause"
    with pytest.raises(SystemExit) as caught, failure_reported():
        raise ConfigError("params.yaml: this run was started with other parameters:\ntrain.lr: 0.1, asked for 0.5")
    assert caught.value.code == 2
    with pytest.raises(SystemExit), failure_reported():
        raise ConfigError("params.yaml: the same from another process")
    assert file.read_text() == "params.yaml: this run was started with other parameters:\ntrain.lr: 0.1, asked for 0.5"
    file.unlink()
    with pytest.raises(SystemExit), failure_reported():
        _ = {}["a bug"]
    assert "test_launch.py" in file.read_text() and "KeyError: 'a bug'" in file.read_text()
    monkeypatch.delenv(FAILURE_FILE)
    with pytest.raises(TrainingError, match=r"process .* ends as well .*Connection closed by peer"), failure_reported():
        raise RuntimeError("[/gloo/transport] Connection closed by peer")


def test_the_words_of_the_process_that_fails_reach_the_caller_and_are_said_once(
    tiny_cfg: Config, tmp_path: Path
) -> None:
    """A clip that cannot be read stops one process; the other one only loses its peer."""
    listing = tmp_path / "train.csv"
    rows = Path(tiny_cfg.data.train_list).read_text().splitlines()[:7]
    listing.write_text("\n".join([*rows, "train/Moving something up/no such clip,6,24"]) + "\n")
    classes = str(Path(tiny_cfg.data.train_list).with_name("classes.txt"))
    cfg = in_two_processes(tiny_cfg)
    cfg = dataclasses.replace(cfg, data=dataclasses.replace(cfg.data, train_list=str(listing), classes=classes))
    training = Training(cfg, tmp_path)
    try:
        assert training.code_after(120) == 2
        assert not training.left_after(10)
    finally:
        training.kill()
    said = training.said()
    assert said.count("hitagu: ") == 1 and "torch/distributed" not in said, said
    assert f"hitagu: {listing}:8: " in said and "no such folder" in said
