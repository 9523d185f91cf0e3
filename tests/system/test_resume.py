"""Training that is killed, stopped, locked out or out of disk space resumes to exactly the bits of an undisturbed run."""

import dataclasses
import errno
import fcntl
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import forks, load
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hitagu_lib import build_model
from hitagu_lib.cli.main import main
from hitagu_lib.config import Config, resolve
from hitagu_lib.data.dataset import ClipDataset
from hitagu_lib.data.loader import EpochSampler
from hitagu_lib.data.source import open_lists
from hitagu_lib.errors import ConfigError, TrainingError, WeightsError
from hitagu_lib.models.diagnostics import gate_statistics, probe_batch
from hitagu_lib.runs.checkpoint import load_checkpoint
from hitagu_lib.runs.run_dir import FREE, SPLIT, Run, read_metrics
from hitagu_lib.training import learner
from hitagu_lib.training import trainer as training
from hitagu_lib.training.learner import Learner
from hitagu_lib.training.signals import Stopped, StopSignals

CPU = torch.device("cpu")
KILLS = int(os.environ.get("HITAGU_KILLS", "6"))
CLOCKS = {"seconds", "cpu_seconds", "clips_per_second", "data_wait_share"}
STEPS = 5  # an epoch of `cfg`


def with_train(cfg: Config, **changes: object) -> Config:
    return dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, **changes))


def with_workers(cfg: Config, workers: int) -> Config:
    return dataclasses.replace(cfg, data=dataclasses.replace(cfg.data, workers=workers))


def in_folder(cfg: Config, name: str) -> Config:
    return dataclasses.replace(cfg, run=str(Path(cfg.run).with_name(name)))


@pytest.fixture(scope="module")
def lists(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write lists of clips for STEPS steps of 8, one of them unreadable, and of a few validation clips."""
    folder = tmp_path_factory.mktemp("lists")
    rows = random.Random(0).sample((tiny_data / "train.csv").read_text().splitlines(), STEPS * 8 - 1)
    (folder / "train.csv").write_text("\n".join([*rows, "train/no such clip,0,24"]) + "\n")
    (folder / "val.csv").write_text("\n".join((tiny_data / "val.csv").read_text().splitlines()[::8]) + "\n")
    shutil.copy(tiny_data / "classes.txt", folder)
    return folder


@pytest.fixture
def cfg(tiny_cfg: Config, lists: Path) -> Config:
    """Three epochs of STEPS steps with dropout and centres; the unreadable clip is skipped."""
    data = dataclasses.replace(
        tiny_cfg.data, train_list=str(lists / "train.csv"), val_list=str(lists / "val.csv"), on_bad_clip="skip"
    )
    evaluation = dataclasses.replace(tiny_cfg.eval, order_tests=False)
    return with_train(dataclasses.replace(tiny_cfg, data=data, eval=evaluation), epochs=3, center_loss=True)


@pytest.fixture
def whole(cfg: Config, lists: Path) -> Config:
    """An undisturbed run, made once."""
    cfg = dataclasses.replace(cfg, run=str(lists / "whole"))
    training.fit(cfg)
    return cfg


def flat(state: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a checkpoint, by name."""
    if isinstance(state, dict):
        for key, value in state.items():
            yield from flat(value, f"{name}.{key}")
    elif isinstance(state, list | tuple):
        for i, value in enumerate(state):
            yield from flat(value, f"{name}[{i}]")
    else:
        yield name, state


def assert_same_run(one: str, other: str) -> None:
    """Compare the bits of weights, optimiser, schedule and random state; the metrics except for clocks; the bad clips."""
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


def processes_of_session(leader: int) -> list[str]:
    """Return what `ps` says of the processes of a session, zombies left out."""
    done = subprocess.run(["ps", "-s", str(leader), "-o", "stat=,pid=,args="], capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if not line.startswith("Z")]


def run_child(cfg: Config, kill_after: float | None = None) -> tuple[bool, float]:
    """Run `fit` in a process of its own, killed after some seconds; return whether it finished, and how long it took."""
    context = forks()
    child = context.Process(target=child_fit, args=(cfg,))
    started = time.monotonic()
    child.start()
    child.join(kill_after)
    if child.exitcode is None:
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    deadline = time.monotonic() + 60
    while left := processes_of_session(child.pid):
        assert time.monotonic() < deadline, f"loader workers outlive the training: {left}"
        time.sleep(0.1)
    return child.exitcode == 0, time.monotonic() - started


def test_killed_at_random_points_it_ends_with_the_bits_of_an_undisturbed_run(cfg: Config) -> None:
    """SIGKILL, HITAGU_KILLS times, between the time before the folder exists and the writing of the summary."""
    whole, cut = in_folder(cfg, "whole"), in_folder(cfg, "cut")
    draw = random.Random(int(os.environ.get("HITAGU_KILL_SEED", "0")))
    run_child(with_train(whole, epochs=1))  # starts the server that forks the others
    shutil.rmtree(whole.run)
    _, seconds = run_child(whole)
    kills, finished = 0, 0
    while kills < KILLS:
        # Both may change when a run is resumed.
        now = with_train(with_workers(cut, draw.choice([0, 1])), checkpoint_every=draw.choice([1, 2, 3, None]))
        ended, _ = run_child(now, kill_after=draw.uniform(0, 0.8 * seconds))
        kills += not ended
        if ended:
            assert_same_run(whole.run, cut.run)
            shutil.rmtree(cut.run)
            finished += 1
    run_child(cut)
    assert_same_run(whole.run, cut.run)
    assert [event.step for event in read_board(cut.run).Scalars("train/loss")] == list(range(1, 3 * STEPS + 1))
    assert not list(Path(cut.run).rglob(".[0-9]*")), "a killed process left it"
    print(f"{kills} kills over {finished + 1} trainings of {seconds:.1f} s")


def at_step(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], object]) -> None:
    """Call `act` within the step of this number, before its weights change."""
    real = Learner.step

    def step(self: Learner, batches: Any) -> dict[str, float]:
        if self.steps == number:
            act()
        return real(self, batches)

    monkeypatch.setattr(Learner, "step", step)


def signal_self(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_a_signal_lets_the_step_finish_and_saves_mid_epoch(
    cfg: Config,
    whole: Config,
    number: signal.Signals,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cut = in_folder(cfg, "cut")
    (tmp_path / "params.yaml").write_text(cut.to_yaml())
    command = ["train", "--params", str(tmp_path / "params.yaml")]
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process may have had it ignored
    with monkeypatch.context() as patch:
        at_step(patch, STEPS + 2, signal_self(number))
        assert main(command) == code
    signal.signal(signal.SIGINT, handlers[0])
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == handlers
    last = Path(cut.run) / "checkpoints" / "last.pt"
    told = f"stopped by {number.name} at step {STEPS + 3}, in epoch 2 of 3; the last good checkpoint is {last}, of step {STEPS + 3}"
    assert f"hitagu: {told}; the same command resumes there\n" in capsys.readouterr().err
    assert load_checkpoint(last)["tally"]["steps"] == 3
    assert main(command) == 0
    assert_same_run(whole.run, cut.run)


def test_neither_workers_nor_a_stop_between_epochs_change_what_dropout_draws(cfg: Config, whole: Config) -> None:
    """Persistent workers are started once, and once more when the run is resumed."""
    cut = with_workers(in_folder(cfg, "cut"), 1)

    def stop(metrics: list[dict[str, Any]]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.fit(cut, on_epoch=stop)
    training.fit(cut)
    assert_same_run(whole.run, cut.run)


def test_a_signal_in_validation_stops_at_once_and_loses_no_step(
    cfg: Config, whole: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = in_folder(cfg, "cut")
    real = training.score_clips

    def score(*args: Any, **options: Any) -> Any:
        scores = real(*args, **options)
        signal_self(signal.SIGTERM)()
        return scores

    with monkeypatch.context() as patch:
        patch.setattr(training, "score_clips", score)
        with pytest.raises(Stopped):
            training.fit(cut)
    state = load_checkpoint(Path(cut.run) / "checkpoints" / "last.pt")
    assert (state["epoch"], state["tally"]["steps"]) == (0, STEPS)
    training.fit(cut)
    assert_same_run(whole.run, cut.run)


def test_a_signal_between_two_epochs_waits_until_the_reader_has_seen_the_first(cfg: Config) -> None:
    seen: list[int] = []

    def on_epoch(metrics: list[dict[str, Any]]) -> None:
        signal_self(signal.SIGTERM)()
        seen.append(len(metrics))

    place = f"stopped by SIGTERM at step {STEPS}, in epoch 2 of 3; .*last.pt, of step {STEPS};"
    with pytest.raises(Stopped, match=place):
        training.fit(cfg, on_epoch=on_epoch)
    assert seen == [1]


def test_a_signal_while_the_summary_is_written_ends_a_run_that_is_whole(
    cfg: Config, whole: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_summary(run: Run, summary: dict[str, Any]) -> None:
        signal_self(signal.SIGTERM)()
        real(run, summary)

    real = Run.write_summary
    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_summary", write_summary)
        with pytest.raises(Stopped, match=f"stopped by SIGTERM at step {3 * STEPS}, in epoch 3 of 3; "):
            training.fit(cfg)
    assert_same_run(whole.run, cfg.run)


def test_a_signal_that_comes_twice_at_once_is_one(cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM and torchrun both send a SIGTERM to every process."""
    with monkeypatch.context() as patch:
        at_step(patch, 2, lambda: [signal_self(signal.SIGTERM)(), signal_self(signal.SIGTERM)()])
        with pytest.raises(KeyboardInterrupt, match=r"stopped by SIGTERM at step 3, .*last.pt, of step 3"):
            training.fit(cfg)


def test_a_second_signal_does_not_wait_for_the_step(cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("hitagu_lib.training.signals._SAME_SECONDS", 0.0)
        at_step(patch, 2, lambda: [signal_self(signal.SIGTERM)(), signal_self(signal.SIGTERM)()])
        with pytest.raises(KeyboardInterrupt, match=r"stopped by SIGTERM at step 2, .*no checkpoint yet"):
            training.fit(cfg)


def test_a_progress_bar_that_nobody_reads_any_more_costs_no_step(cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in `hitagu train 2>&1 | tee log` ends tee as well, and the bar has no reader from then on."""
    reader, writer = os.pipe()
    with monkeypatch.context() as patch, suppress(BrokenPipeError), open(writer, "w", buffering=1) as stream:
        patch.setattr(sys, "stderr", stream)

        def stop() -> None:
            time.sleep(0.2)  # so that the bar is due to be drawn again
            os.close(reader)
            signal_self(signal.SIGTERM)()

        at_step(patch, 2, stop)
        with pytest.raises(Stopped, match="stopped by SIGTERM at step 3"):
            training.fit(cfg, progress=True)
    assert load_checkpoint(Path(cfg.run) / "checkpoints" / "last.pt")["steps"] == 3


def test_no_thread_can_hold_a_lock_while_the_loader_forks_its_workers(
    cfg: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tqdm's monitor would: it locks standard error while it redraws a bar. The writer's and the loader's queues lock only themselves."""
    before, seen, fork = set(threading.enumerate()), [], os.fork

    def watched() -> int:
        seen.append([thread for thread in threading.enumerate() if thread not in before])
        return fork()

    monkeypatch.setattr(os, "fork", watched)
    training.fit(with_workers(with_train(cfg, epochs=1), 1), progress=True)
    assert len(seen) == 2, "a worker to train, and one to validate"
    threads = [thread for each in seen for thread in each]
    kinds = {type(thread).__name__ if thread.name.startswith("Thread-") else thread.name for thread in threads}
    assert kinds <= {"_AsyncWriterThread", "QueueFeederThread"}


def test_outside_the_main_thread_signals_are_left_alone(cfg: Config) -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[Any] = []

    def enter() -> None:
        with StopSignals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]


def child_main(cfg: Config, started: Any) -> None:
    """Run `hitagu train` in a process group of its own, and set `started` within its second step."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, 1, started.set)
        Path(cfg.run).parent.joinpath("params.yaml").write_text(cfg.to_yaml())
        code = main(["train", "--params", str(Path(cfg.run).parent / "params.yaml")])
    sys.exit(code)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_spares_the_loaders_workers(cfg: Config, number: signal.Signals) -> None:
    """A terminal sends Ctrl-C, and a scheduler SIGTERM, to every process: the workers must live until the step is done."""
    cfg = with_workers(with_train(cfg, epochs=50), 1)
    context = forks()
    started = context.Event()
    child = context.Process(target=child_main, args=(cfg, started))
    child.start()
    try:
        assert started.wait(60 * load()) and child.pid is not None
        os.killpg(child.pid, number)
        child.join(60 * load())
        assert child.exitcode == 128 + number
    finally:
        child.kill()
    assert load_checkpoint(Path(cfg.run) / "checkpoints" / "last.pt")["steps"] >= 1
    with pytest.raises(ProcessLookupError):
        for _ in range(200):
            os.killpg(child.pid, 0)
            time.sleep(0.1)


def hold(cfg: Config, pids: Any) -> None:
    """Own the run's folder, and start a child that outlives this process."""
    with Run(cfg).opened():
        sleeper = os.fork()
        if sleeper == 0:
            time.sleep(60)
            os._exit(0)
        pids.put(sleeper)
        time.sleep(60)


def test_one_process_owns_the_folder_until_it_is_dead(cfg: Config) -> None:
    context = forks()
    pids = context.Queue()
    child = context.Process(target=hold, args=(cfg, pids))
    child.start()
    sleeper = pids.get(timeout=60)
    with pytest.raises(ConfigError, match=rf"{cfg.run}: this run is in use by .* process {child.pid} on .* since"):
        training.fit(cfg)
    child.kill()
    child.join()
    try:
        training.fit(with_train(cfg, epochs=1))
    finally:
        os.kill(sleeper, signal.SIGKILL)


def test_a_file_system_without_locks_warns_and_trains(
    cfg: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with Run(cfg).opened():
        pass
    assert f"{cfg.run}/.lock: cannot be locked (No locks available)" in caplog.text


def test_temporary_files_of_killed_processes_are_removed(cfg: Config) -> None:
    folder = Path(cfg.run) / "checkpoints"
    folder.mkdir(parents=True)
    (folder / ".hitagu-123.last.pt").write_text("half")
    (folder.parent / ".hitagu-123.summary.json").write_text("half")
    (folder.parent / ".mine").write_text("kept")
    with Run(cfg).opened():
        assert {p.name for p in Path(cfg.run).rglob("*")} == {"checkpoints", ".mine", ".lock", "params.yaml"}


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1000])


def flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("damage", [cut_off, flip_a_bit, Path.unlink])
def test_a_damaged_checkpoint_is_replaced_by_the_one_before(
    cfg: Config,
    whole: Config,
    damage: Callable[[Path], object],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cut = in_folder(with_train(cfg, checkpoint_every=2), "cut")
    with monkeypatch.context() as patch:
        at_step(patch, STEPS + 3, signal_self(signal.SIGTERM))
        with pytest.raises(Stopped):
            training.fit(cut)
    last, previous = (Path(cut.run) / "checkpoints" / f"{name}.pt" for name in ("last", "previous"))
    damage(last)
    training.fit(cut)
    assert_same_run(whole.run, cut.run)
    if damage != Path.unlink:
        assert f"{last}: cannot be read as a checkpoint" in caplog.text
        assert f"resuming from {previous}, of step {STEPS + 2}" in caplog.text


def test_without_a_sound_checkpoint_the_error_says_what_to_do(cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, 2 * STEPS + 1, signal_self(signal.SIGTERM))
        with pytest.raises(Stopped):
            training.fit(cfg)
    folder = Path(cfg.run) / "checkpoints"
    flip_a_bit(folder / "last.pt")
    cut_off(folder / "previous.pt")
    with pytest.raises(WeightsError, match=r"last\.pt: .*previous\.pt: .*copy .*best\.pt to .*last\.pt .*or remove"):
        training.fit(cfg)
    shutil.copy(folder / "best.pt", folder / "last.pt")
    training.fit(cfg)


def test_a_full_disk_says_what_to_free_and_keeps_the_last_checkpoint(
    cfg: Config, whole: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit on file sizes stands in for a full disk: a write fails midway."""
    cut = in_folder(with_train(cfg, checkpoint_every=2), "cut")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with monkeypatch.context() as patch:
        at_step(patch, 3, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1])))
        try:
            with pytest.raises(TrainingError) as caught:
                training.fit(cut)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    last = Path(cut.run) / "checkpoints" / "last.pt"
    size = last.stat().st_size / 1e6
    needs = re.search(r"A checkpoint needs ([\d.,]+) MB: free that much there", str(caught.value))
    assert needs and float(needs[1]) == pytest.approx(size, abs=0.3)
    assert f"{cut.run}: File too large: " in str(caught.value) and " MB are free" in str(caught.value)
    assert f"the last good checkpoint is {last}, of step 2" in str(caught.value)
    assert load_checkpoint(last)["steps"] == 2 and not list(last.parent.glob(".*"))
    training.fit(cut)
    assert_same_run(whole.run, cut.run)


def test_a_disk_that_fills_up_while_metrics_are_written_costs_no_epoch(
    cfg: Config, whole: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = in_folder(with_train(cfg, checkpoint_every=2), "cut")

    def log_half(self: Run, metrics: dict[str, Any]) -> None:
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write('{"epoch": 0, "train_lo')
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log_metrics", log_half)
        with pytest.raises(TrainingError, match=rf"No space left on device: .*last\.pt, of step {STEPS}$"):
            training.fit(cut)
    training.fit(cut)
    assert_same_run(whole.run, cut.run)


def test_only_parameters_that_change_no_result_may_change(cfg: Config) -> None:
    training.fit(with_train(cfg, epochs=1))
    other = {
        "data.workers": 3, "train.checkpoint_every": 7, "train.batch_size": 2, "train.accumulate": 2, "train.processes": 2,
        "eval.batch_size": 3, "eval.frames_at_once": 7, "eval.protocol": "multi", "eval.clips": 2, "eval.crops": 1,
        "eval.crop_size": 40, "eval.average": "logits", "run": cfg.run,
    }  # fmt: skip
    assert other.keys() == {*FREE, *SPLIT}
    overrides = " ".join(f"{key}={value}" for key, value in other.items())
    mapping = with_train(cfg, epochs=1).to_mapping()
    Run(resolve(mapping, overrides))
    with pytest.raises(ConfigError, match=r"other parameters:\ntrain\.eval_every: 1, asked for 2\n"):
        Run(resolve(mapping, f"{overrides} train.eval_every=2"))


def test_a_nan_loss_names_the_step_the_lines_and_the_checkpoint(cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    at_step(
        monkeypatch, 3, lambda: monkeypatch.setattr(learner, "normalise", lambda x: torch.full(x.shape, float("nan")))
    )
    cfg = with_train(cfg, checkpoint_every=2)
    with pytest.raises(TrainingError) as caught:
        training.fit(cfg)
    text = str(caught.value)
    lines = re.search(rf"Clips of the step: {cfg.data.train_list}:([\d,]+); ", text)
    sampler = EpochSampler(STEPS * 8, 8, shuffle=True, seed=0)
    assert "the loss is nan at step 3" in text and f"is {cfg.run}/checkpoints/last.pt, of step 2" in text
    wanted = {row + 1 for _, row in list(sampler)[24:32]} - {STEPS * 8}  # the last line's clip cannot be read
    assert lines and set(map(int, lines[1].split(","))) == wanted


TRAINING_TAGS = {"train/loss", "train/cross_entropy", "train/center", "train/top1", "train/grad_norm", "train/lr"}
SPEED_TAGS = {"speed/clips_per_second", "speed/data_wait_share", "val/top1"}
GATE_TAGS = (
    {"mde/gate_abs", "mde/gate_max", "tsa/entropy"}
    | {f"stu/mix_{k}" for k in (1, 2, 3)}
    | {f"stu/forget_{k}_q{q}" for k in (1, 2, 3) for q in (10, 50, 90)}
    | {f"sca/{gate}_gate_{what}" for gate in ("channel", "spatial") for what in ("mean", "std")}
)


@pytest.mark.parametrize(("temporal", "gates"), [("hitagu", GATE_TAGS), ("tsn", set()), ("gru", set()), ("tsm", set())])
def test_tensorboard_shows_losses_speed_and_the_models_gates(cfg: Config, temporal: str, gates: set[str]) -> None:
    cfg = with_train(dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, temporal=temporal)), epochs=2)
    training.fit(cfg)
    board = read_board(cfg.run)
    assert set(board.Tags()["scalars"]) == TRAINING_TAGS | SPEED_TAGS | gates
    assert [e.step for e in board.Scalars("speed/clips_per_second")] == [STEPS, 2 * STEPS]
    assert all(0 <= e.value <= 1 for e in board.Scalars("speed/data_wait_share"))
    if gates:
        values = {tag: board.Scalars(tag)[-1].value for tag in gates}
        assert sum(values[f"stu/mix_{k}"] for k in (1, 2, 3)) == pytest.approx(1, abs=1e-5)
        forget = [values[f"stu/forget_{k}_q{q}"] for k in (1, 2, 3) for q in (10, 50, 90)]
        assert forget == sorted(forget) and forget[0] > 0 and forget[-1] < 1
        assert 0 < values["tsa/entropy"] <= 1.0001


@pytest.mark.parametrize(
    "off", ["mde.enabled=false", "stu.enabled=false", "attention.sca=false attention.tsa=false", "stu.gates_see_state=true"]
)  # fmt: skip
def test_missing_gates_are_not_shown(cfg: Config, off: str) -> None:
    cfg = resolve(cfg.to_mapping(), " ".join(f"model.{switch}" for switch in off.split()))
    model = build_model(cfg.model, 4).train()
    shown = gate_statistics(model, probe_batch(ClipDataset(open_lists(cfg.data)[1], cfg.data, train=False), 3), CPU)
    missing = {"mde": ("mde",), "stu.e": ("stu",), "att": ("sca", "tsa"), "stu.g": ("stu/forget",)}
    gone = next(names for start, names in missing.items() if off.startswith(start))
    assert shown.keys() == {tag for tag in GATE_TAGS if not tag.startswith(gone)}
    assert model.training, "the model keeps its mode"
