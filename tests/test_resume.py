"""Training that is killed, stopped, locked out or out of room goes on to the bits that it would have had."""

import dataclasses
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hitagu_lib import train as training
from hitagu_lib.config import Config
from hitagu_lib.runs import load_checkpoint, read_metrics

KILLS = int(os.environ.get("HITAGU_KILLS", "6"))
CLOCKS = {"seconds", "cpu_seconds", "clips_per_second", "data_wait_share"}
STEPS = 5  # an epoch of `cfg`


def with_train(cfg: Config, **changes: object) -> Config:
    return dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, **changes))


def in_folder(cfg: Config, name: str) -> Config:
    return dataclasses.replace(cfg, run=str(Path(cfg.run).with_name(name)))


@pytest.fixture
def cfg(tiny_cfg: Config, tmp_path: Path) -> Config:
    """Three epochs of STEPS steps with dropout and centres, and one clip that cannot be read, which is left out."""
    source = Path(tiny_cfg.data.train_list)
    rows = random.Random(0).sample(source.read_text().splitlines(), STEPS * 8 - 1)
    (tmp_path / "train.csv").write_text("\n".join([*rows, "train/no such clip,0,24"]) + "\n")
    (tmp_path / "val.csv").write_text("\n".join(Path(tiny_cfg.data.val_list).read_text().splitlines()[::8]) + "\n")
    data = dataclasses.replace(
        tiny_cfg.data,
        train_list=str(tmp_path / "train.csv"),
        val_list=str(tmp_path / "val.csv"),
        classes=str(source.with_name("classes.txt")),
        on_bad_clip="skip",
    )
    evaluation = dataclasses.replace(tiny_cfg.eval, order_tests=False)
    return with_train(dataclasses.replace(tiny_cfg, data=data, eval=evaluation), epochs=3, center_loss=True)


def flat(state: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a checkpoint, by name."""
    if isinstance(state, dict):
        for key, value in state.items():
            yield from flat(value, f"{name}.{key}")
    elif isinstance(state, list | tuple):
        for i, value in enumerate(state):
            yield from flat(value, f"{name}[{i}]")
    else:
        yield name, state


def assert_same_run(one: str, other: str) -> None:
    """The same bits in weights, optimiser, schedule and random state; the same metrics but for clocks; the same bad clips."""
    first, second = (dict(flat(load_checkpoint(Path(run) / "checkpoints" / "last.pt"))) for run in (one, other))
    assert first.keys() == second.keys()
    for name, value in first.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, second[name]), name
        elif not name.startswith((".params", ".tally")) and name.lstrip(".") not in CLOCKS:
            assert value == second[name], name
    lines = [[{k: v for k, v in m.items() if k not in CLOCKS} for m in read_metrics(run)] for run in (one, other)]
    assert lines[0] == lines[1]
    assert (Path(one) / "bad_clips.txt").read_text() == (Path(other) / "bad_clips.txt").read_text()


def read_board(run: str) -> EventAccumulator:
    return EventAccumulator(str(Path(run) / "logs"), size_guidance={"scalars": 0}).Reload()


def child_fit(cfg: Config) -> None:
    torch.set_num_threads(1)
    os.setsid()
    training.fit(cfg)


def run_child(cfg: Config, kill_after: float | None = None) -> tuple[bool, float]:
    """`fit` in a process of its own, killed after so many seconds; whether it came to its end, and after how long."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hitagu_lib.train", "test_resume"])
    child = context.Process(target=child_fit, args=(cfg,))
    started = time.monotonic()
    child.start()
    child.join(kill_after)
    if child.exitcode is None:
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode == 0, time.monotonic() - started


def test_killed_at_random_points_it_ends_with_the_bits_of_a_run_left_alone(cfg: Config) -> None:
    """SIGKILL, HITAGU_KILLS times, at moments from before the folder is there to the writing of the summary."""
    whole, cut = in_folder(cfg, "whole"), in_folder(cfg, "cut")
    draw = random.Random(int(os.environ.get("HITAGU_KILL_SEED", "0")))
    run_child(with_train(whole, epochs=1))  # starts the server from which the others are forked
    shutil.rmtree(whole.run)
    _, seconds = run_child(whole)
    kills, finished = 0, 0
    while kills < KILLS:
        every = draw.choice([1, 2, 3, None])  # may change when a run goes on
        ended, _ = run_child(with_train(cut, checkpoint_every=every), kill_after=draw.uniform(0, 0.8 * seconds))
        kills += not ended
        if ended:
            assert_same_run(whole.run, cut.run)
            shutil.rmtree(cut.run)
            finished += 1
    run_child(cut)
    assert_same_run(whole.run, cut.run)
    assert [event.step for event in read_board(cut.run).Scalars("train/loss")] == list(range(1, 3 * STEPS + 1))
    assert not list(Path(cut.run).rglob(".[0-9]*")), "left by a killed process"
    print(f"{kills} kills over {finished + 1} trainings of {seconds:.1f} s")
