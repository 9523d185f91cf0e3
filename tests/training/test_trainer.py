"""A run from start to end on the tiny data: what it writes, how it resumes after a kill, and when it must stop."""

import csv
import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from hitagu_lib.config import Config, DataConfig, TrainConfig
from hitagu_lib.data.dataset import swap_table
from hitagu_lib.data.source import open_lists
from hitagu_lib.errors import ClipError, ConfigError, TrainingError
from hitagu_lib.evaluation.scores import Scores
from hitagu_lib.inference.accelerator import make_accelerator
from hitagu_lib.runs.checkpoint import load_checkpoint
from hitagu_lib.runs.run_dir import Run, read_metrics
from hitagu_lib.training import learner
from hitagu_lib.training import optim as optimisation
from hitagu_lib.training import trainer as training
from hitagu_lib.training.meters import Stopwatch


def with_train(cfg: Config, **changes: object) -> Config:
    return dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, **changes))


def in_folder(cfg: Config, name: str) -> Config:
    return dataclasses.replace(cfg, run=str(Path(cfg.run).with_name(name)))


def weights(run: str) -> dict[str, torch.Tensor]:
    return load_checkpoint(Path(run) / "checkpoints" / "last.pt")["model"]


class Killed(Exception):
    pass


@pytest.mark.slow
def test_a_run_writes_every_documented_file(tiny_cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/pytest", "-q"])
    seen = []
    summary = training.train(tiny_cfg, on_epoch=lambda metrics: seen.append(len(metrics)))
    folder = Path(tiny_cfg.run)
    assert seen == [1, 2]
    assert Config.from_mapping(yaml.safe_load((folder / "params.yaml").read_text())) == tiny_cfg
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert {
        "val_top1",
        "val_mean_class_accuracy",
        "val_top1_shuffled",
        "val_partner_rate_reversed",
        "train_seconds",
    } <= summary.keys()
    assert [line["epoch"] for line in read_metrics(folder)] == [0, 1]
    provenance = json.loads((folder / "provenance.json").read_text())
    assert {"git_commit", "packages", "device", "data_fingerprint", "seed", "command"} <= provenance.keys()
    assert provenance["command"] == ["pytest", "-q"], "no folders of this machine"
    assert list((folder / "logs").glob("events.out.tfevents.*"))
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {"last.pt", "previous.pt", "best.pt"}


@pytest.mark.slow
def test_a_finished_run_is_read_not_repeated(tiny_cfg: Config) -> None:
    first = training.train(tiny_cfg)
    before = (Path(tiny_cfg.run) / "checkpoints" / "last.pt").stat().st_mtime_ns
    seen: list[int] = []
    assert training.train(tiny_cfg, on_epoch=lambda metrics: seen.append(len(metrics))) == first
    assert seen == [2]
    assert (Path(tiny_cfg.run) / "checkpoints" / "last.pt").stat().st_mtime_ns == before


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tiny_cfg: Config) -> None:
    runs = [in_folder(with_train(tiny_cfg, seed=seed), name) for seed, name in ((0, "a"), (0, "b"), (1, "c"))]
    for cfg in runs:
        training.fit(cfg)
    a, b, c = (weights(cfg.run) for cfg in runs)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], c[name]) for name in a)


def test_seeds_differ_in_the_order_and_the_crops_of_clips(tiny_cfg: Config) -> None:
    """Not in the first weights alone: a standard deviation over seeds would be too small."""

    def trainer(seed: int) -> training.Trainer:
        cfg = with_train(in_folder(tiny_cfg, f"seed{seed}"), seed=seed)
        return training.Trainer(cfg, Run(cfg), make_accelerator(cfg.train), progress=False)

    first, second = trainer(0), trainer(1)
    assert list(first.train_loader.sampler) != list(second.train_loader.sampler)
    clips = [[each.train_loader.dataset[0, row][0] for row in range(8)] for each in (first, second)]
    assert not all(torch.equal(a, b) for a, b in zip(*clips, strict=True))


def test_the_summary_says_what_the_scores_are(tiny_cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four clips of four classes in two pairs; a fifth could not be read."""
    val = Path(tiny_cfg.run).with_name("val.csv")
    rows = Path(tiny_cfg.data.val_list).read_text().splitlines()
    val.write_text("\n".join([*rows[:4], "val/no such clip,0,9", ""]))
    classes = Path(tiny_cfg.data.train_list).with_name("classes.txt")
    data = dataclasses.replace(tiny_cfg.data, val_list=str(val), classes=str(classes), on_bad_clip="skip")
    cfg = with_train(dataclasses.replace(tiny_cfg, data=data), epochs=1)
    names = list(open_lists(cfg.data)[0].classes)
    partner = swap_table(names, cfg.data.reverse_swaps, "data.reverse_swaps")
    labels = torch.tensor([0, 0, 1, 2])

    def scores(called: list[int]) -> Scores:
        logits = torch.nn.functional.one_hot(torch.tensor(called), len(names)).float()
        return Scores(torch.arange(4), labels, logits)

    of = {
        "forward": scores([0, 0, 1, 1]),
        "shuffled": scores([0, 1, 2, 0]),
        "reversed": scores([int(partner[label]) for label in labels[:2]] + [1, 2]),
    }
    monkeypatch.setattr(training.Trainer, "_score", lambda self, order="forward": of[order])
    summary = training.fit(cfg)
    assert (summary["val_top1"], summary["best_val_top1"]) == (0.75, 0.75)
    assert summary["val_mean_class_accuracy"] == pytest.approx((1 + 1 + 0) / 3)
    assert summary["val_top1_shuffled"] == 0.25
    assert summary["val_partner_rate_reversed"] == (2 + (partner[1] == 1) + (partner[2] == 2)) / 4
    assert (summary["val_clips"], summary["val_clips_scored"]) == (5, 4)
    with (Path(cfg.run) / "val_classes.csv").open(newline="") as file:
        of_class = [tuple(row.values()) for row in csv.DictReader(file)]
    assert of_class[:3] == [(names[0], "2", "2"), (names[1], "1", "1"), (names[2], "1", "0")]
    assert [row[0] for row in of_class] == names and {row[1:] for row in of_class[3:]} <= {("0", "0")}


def test_the_averaged_network_is_the_one_that_is_validated(tiny_cfg: Config) -> None:
    cfg = with_train(tiny_cfg, ema=0.9)
    trainer = training.Trainer(cfg, Run(cfg), make_accelerator(cfg.train), progress=False)
    with torch.no_grad():
        for parameter in trainer.learner.averaged.module.parameters():
            parameter.zero_()
    assert not trainer._score().logits.any()


@pytest.mark.slow
def test_best_is_the_epoch_with_the_best_validation_and_the_last_is_always_validated(
    tiny_cfg: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = iter([0.5, 0.9, 0.7])
    monkeypatch.setattr(training.Trainer, "_validate", lambda self: next(reached))
    cfg = with_train(tiny_cfg, epochs=5, eval_every=2)
    assert training.fit(cfg)["best_val_top1"] == 0.9
    assert [line.get("val_top1") for line in read_metrics(cfg.run)] == [None, 0.5, None, 0.9, 0.7]
    assert load_checkpoint(Path(cfg.run) / "checkpoints" / "best.pt")["epoch"] == 4


@pytest.mark.slow
def test_the_clocks_go_on_when_a_run_is_resumed(tiny_cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stopwatch, "lap", lambda self: (10.0, 4.0))
    whole, cut = in_folder(tiny_cfg, "whole"), in_folder(tiny_cfg, "cut")

    def kill(metrics: list[dict]) -> None:
        raise Killed

    with pytest.raises(Killed):
        training.fit(cut, on_epoch=kill)
    clocks = [(run["train_seconds"], run["train_cpu_seconds"]) for run in (training.fit(whole), training.fit(cut))]
    assert clocks[0] == clocks[1] and clocks[0][0] >= 20


@pytest.mark.slow
def test_a_run_that_lacks_only_its_summary_shows_its_epochs(tiny_cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(self: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training.Trainer, "_summary", kill)
        training.fit(tiny_cfg)
    seen: list[int] = []
    training.fit(tiny_cfg, on_epoch=lambda metrics: seen.append(len(metrics)))
    assert seen == [2]


def test_fit_trains_in_this_process_alone_and_makes_the_data_that_are_missing(
    tiny_cfg: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"train\.processes: found 2; expected 1: `fit` trains in this process"):
        training.fit(with_train(tiny_cfg, processes=2))
    monkeypatch.setattr(training, "prepare_data", lambda data, progress: (_ for _ in ()).throw(Killed(data.prepare)))
    with pytest.raises(Killed, match="mini"):
        training.fit(tiny_cfg)


def test_validation_clips_that_cannot_be_read_are_named(
    tiny_cfg: Config, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if they are the ones on which the gates are measured."""
    val = Path(tiny_cfg.run).with_name("val.csv")
    rows = Path(tiny_cfg.data.val_list).read_text().splitlines()
    val.write_text("\n".join([*(f"val/no such clip {i},0,9" for i in range(9)), rows[0], ""]))
    classes = Path(tiny_cfg.data.train_list).with_name("classes.txt")
    data = dataclasses.replace(tiny_cfg.data, val_list=str(val), classes=str(classes), on_bad_clip="skip")
    evaluation = dataclasses.replace(tiny_cfg.eval, order_tests=False)
    cfg = with_train(dataclasses.replace(tiny_cfg, data=data, eval=evaluation), epochs=1)
    monkeypatch.setattr(training, "PROBE_CLIPS", 1)
    assert training.fit(cfg)["val_clips_scored"] == 1
    assert f"{val}:1,2,3,4,5,6,7,8,9: 9 validation clips could not be read" in caplog.text


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_weights(tiny_cfg: Config) -> None:
    cfg = with_train(tiny_cfg, epochs=3, center_loss=True, temporal_loss=True)
    whole, cut = in_folder(cfg, "whole"), in_folder(cfg, "cut")
    training.fit(whole)

    def kill(metrics: list[dict]) -> None:
        raise Killed

    with pytest.raises(Killed):
        training.fit(cut, on_epoch=kill)
    with (Path(cut.run) / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 1, "half a li')  # as a kill in the middle of a write leaves it
    training.fit(cut)
    assert all(torch.equal(weights(whole.run)[name], weights(cut.run)[name]) for name in weights(whole.run))
    clocks = {"seconds", "cpu_seconds", "clips_per_second", "data_wait_share"}
    kept, expected = (
        [{k: v for k, v in line.items() if k not in clocks} for line in read_metrics(run)]
        for run in (cut.run, whole.run)
    )
    assert kept == expected


@pytest.mark.slow
def test_a_killed_process_resumes(tiny_cfg: Config, tmp_path: Path) -> None:
    """After kill -9 at the end of the first epoch, the same command starts at epoch 1."""
    cfg = with_train(tiny_cfg, epochs=12)
    params = tmp_path / "params.yaml"
    params.write_text(cfg.to_yaml())
    command = [sys.executable, "-m", "hitagu_lib", "train", "--params", str(params)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not read_metrics(cfg.run) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert read_metrics(cfg.run), "no epoch was finished in two minutes"
    last = Path(cfg.run) / "checkpoints" / "last.pt"
    started_at = load_checkpoint(last)["epoch"] if last.exists() else 0  # killed between the two writes
    epochs: list[int] = []
    training.fit(cfg, on_epoch=lambda metrics: epochs.append(metrics[-1]["epoch"]))
    assert epochs == list(range(started_at, 12))
    assert [line["epoch"] for line in read_metrics(cfg.run)] == list(range(12))


@pytest.mark.slow
def test_other_parameters_in_the_same_folder_stop_with_the_difference(tiny_cfg: Config) -> None:
    training.fit(tiny_cfg)
    with pytest.raises(
        ConfigError,
        match=r"(?s)params\.yaml: this run was started with other parameters:\ntrain\.lr: 0\.00\d*, asked for 0\.5\n",
    ):
        training.fit(with_train(tiny_cfg, lr=0.5))


@pytest.mark.slow
def test_parameters_may_be_corrected_before_the_first_checkpoint(tiny_cfg: Config) -> None:
    broken = dataclasses.replace(
        tiny_cfg, data=dataclasses.replace(tiny_cfg.data, hflip_swaps=(("no such label", "nor this"),))
    )
    with pytest.raises(ConfigError, match="no such label"):
        training.fit(broken)
    training.fit(tiny_cfg)


@pytest.mark.slow
def test_a_nan_loss_stops_training_and_names_the_clips(tiny_cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner, "normalise", lambda frames: torch.full(frames.shape, math.nan))
    with pytest.raises(TrainingError, match=r"the loss is nan at step 0 .*train\.csv:\d+(,\d+){7}; there is no "):
        training.fit(tiny_cfg)
    assert not (Path(tiny_cfg.run) / "summary.json").exists()


def test_a_step_that_does_not_fit_into_memory_says_what_to_change(
    tiny_cfg: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = learner.Learner.step

    def step(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee documentation")

    monkeypatch.setattr(learner.Learner, "step", step)
    even, odd = with_train(tiny_cfg, batch_size=8, accumulate=3), with_train(tiny_cfg, batch_size=7)
    half = r"^CUDA out of memory\. Tried to allocate 2\.00 GiB\.\nfound train\.batch_size 8 of 3 frames at \d+ px; expected .*"
    with pytest.raises(ConfigError, match=half + "train.batch_size=4 train.accumulate=6 takes steps of as many clips$"):
        training.fit(even)
    with pytest.raises(
        ConfigError, match=r"found train\.batch_size 7 of .*; expected fewer clips, or a run of its own"
    ):
        training.fit(in_folder(odd, "odd"))
    with (
        monkeypatch.context() as scoring,
        pytest.raises(ConfigError, match=r"found eval\.batch_size \d+; expected fewer"),
    ):
        scoring.setattr(learner.Learner, "step", real)
        scoring.setattr(training, "score_clips", step)
        training.fit(in_folder(odd, "scored"))
    monkeypatch.setattr(learner.Learner, "step", lambda *_: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match=r"inconsistent tensor size|size mismatch"):  # a bug stays a bug
        training.fit(in_folder(even, "bug"))


@pytest.mark.slow
def test_a_bad_clip_stops_training_or_is_counted(tiny_cfg: Config, tmp_path: Path) -> None:
    listing = tmp_path / "train.csv"
    rows = Path(tiny_cfg.data.train_list).read_text().splitlines()
    listing.write_text("\n".join([*rows, "train/Moving something up/no such clip,6,24"]) + "\n")
    classes = Path(tiny_cfg.data.train_list).with_name("classes.txt")
    data = dataclasses.replace(tiny_cfg.data, train_list=str(listing), classes=str(classes))
    cfg = dataclasses.replace(tiny_cfg, data=data, train=dataclasses.replace(tiny_cfg.train, batch_size=43))
    with pytest.raises(ClipError, match=rf"train\.csv:{len(rows) + 1}: .*no such folder"):
        training.fit(cfg)
    skipping = in_folder(dataclasses.replace(cfg, data=dataclasses.replace(data, on_bad_clip="skip")), "skipping")
    summary = training.fit(skipping)
    assert summary["bad_clips"] == 1
    (line,) = (Path(skipping.run) / "bad_clips.txt").read_text().splitlines()
    assert f"train.csv:{len(rows) + 1}:" in line


@pytest.mark.slow
def test_optional_losses_are_logged_and_change_the_weights(tiny_cfg: Config) -> None:
    plain, both = (
        in_folder(tiny_cfg, "plain"),
        in_folder(with_train(tiny_cfg, center_loss=True, temporal_loss=True), "both"),
    )
    training.fit(plain)
    training.fit(both)
    assert {"train_center", "train_temporal"} <= read_metrics(both.run)[0].keys()
    assert not {"train_center", "train_temporal"} & read_metrics(plain.run)[0].keys()
    a, b = weights(plain.run), weights(both.run)
    assert not all(torch.equal(a[name], b[name]) for name in a)
    centers = load_checkpoint(Path(both.run) / "checkpoints" / "last.pt")["criterion"]["center.centers"]
    assert centers.abs().sum(1).gt(0).all()


@pytest.mark.slow
def test_the_baseline_runs_by_the_same_recipe_and_joins_the_summary(tiny_cfg: Config) -> None:
    cfg = dataclasses.replace(tiny_cfg, eval=dataclasses.replace(tiny_cfg.eval, tsn_baseline=True))
    summary = training.train(cfg)
    assert 0 <= summary["tsn_val_top1"] <= 1
    assert json.loads((Path(cfg.run) / "summary.json").read_text()) == summary
    theirs = yaml.safe_load((Path(cfg.run) / "tsn" / "params.yaml").read_text())
    ours = yaml.safe_load((Path(cfg.run) / "params.yaml").read_text())
    assert theirs["model"].pop("temporal") == "tsn" and ours["model"].pop("temporal") == "hitagu"
    assert (theirs["train"], theirs["data"], theirs["model"]) == (ours["train"], ours["data"], ours["model"])


@pytest.mark.equation("3.1", "3.2")
@pytest.mark.parametrize(("warmup", "epochs", "per_epoch"), [(2, 10, 5), (0.5, 4, 7), (0, 3, 4)])
def test_the_rate_of_each_step_is_the_chapters(warmup: float, epochs: int, per_epoch: int) -> None:
    w, S, eta = warmup * per_epoch, epochs * per_epoch, 0.3
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=eta)
    schedule = optimisation.make_schedule(optimizer, TrainConfig(epochs=epochs, warmup_epochs=warmup), per_epoch)
    for s in range(S + 1):
        rising, falling = eta * (s + 1) / (w + 1), eta / 2 * (1 + math.cos(math.pi * (s - w) / (S - w)))
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rising if s < w else falling, abs=1e-12)
        optimizer.step()
        schedule.step()


@pytest.mark.slow
def test_the_schedule_warms_up_and_ends_near_zero() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    cfg = TrainConfig(epochs=10, warmup_epochs=2)
    schedule = optimisation.make_schedule(optimizer, cfg, steps_per_epoch=5)
    rates = []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert np.argmax(rates) == 10 and rates[10] == pytest.approx(1.0)
    assert np.all(np.diff(rates[:11]) > 0) and np.all(np.diff(rates[10:]) < 0)
    assert rates[-1] < 0.01


@pytest.mark.slow
def test_weight_decay_spares_biases_norms_and_band_edges(tiny_cfg: Config) -> None:
    from hitagu_lib import build_model

    banded = dataclasses.replace(tiny_cfg.model.stu, bands=True)
    model = build_model(dataclasses.replace(tiny_cfg.model, stu=banded), 4)
    decayed, free = optimisation.make_optimizer(model, tiny_cfg.train, rate=0.01).param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    assert free["weight_decay"] == 0 and decayed["weight_decay"] == tiny_cfg.train.weight_decay
    assert "stu.gamma" in {names[id(p)] for p in free["params"]}
    assert all(names[id(p)].endswith("weight") and p.ndim > 1 for p in decayed["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(names)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_backbone_can_have_a_learning_rate_of_its_own(optimizer: str, tiny_cfg: Config) -> None:
    from hitagu_lib import build_model

    model = build_model(tiny_cfg.model, 4)
    train = dataclasses.replace(tiny_cfg.train, optimizer=optimizer, backbone_lr_mult=0.1)
    groups = optimisation.make_optimizer(model, train, rate=0.02).param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    rates = {names[id(p)]: group["lr"] for group in groups for p in group["params"]}
    assert rates == {name: pytest.approx(0.002 if name.startswith("backbone.") else 0.02) for name in names.values()}
    assert groups[0]["lr"] == 0.02, "the rate that is reported"
    decays = {names[id(p)]: group["weight_decay"] for group in groups for p in group["params"]}
    plain = optimisation.make_optimizer(model, dataclasses.replace(train, backbone_lr_mult=1.0), rate=0.02).param_groups
    assert decays == {names[id(p)]: group["weight_decay"] for group in plain for p in group["params"]}


@pytest.mark.slow
def test_two_processes_train_and_evaluate_together(tiny_cfg: Config, tmp_path: Path) -> None:
    """torchrun on the CPU: the same global batches, every validation clip scored once, one set of centres.

    BatchNorm takes its statistics over each process's own clips, so the losses are only roughly those of one process.
    """
    together = in_folder(with_train(tiny_cfg, batch_size=4, center_loss=True), "together")
    alone = in_folder(with_train(tiny_cfg, batch_size=8, center_loss=True), "alone")
    params = tmp_path / "params.yaml"
    params.write_text(together.to_yaml())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "hitagu_lib", "train", "--params", str(params)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    summary, expected = json.loads((Path(together.run) / "summary.json").read_text()), training.fit(alone)
    same = ("epochs", "train_clips", "val_clips", "parameters", "num_classes")
    assert {key: summary[key] for key in same} == {key: expected[key] for key in same}
    assert done.stdout.count("\nval_top1:") == 1, "only the main process prints"
    for ours, theirs in zip(read_metrics(together.run), read_metrics(alone.run), strict=True):
        assert ours["train_cross_entropy"] == pytest.approx(theirs["train_cross_entropy"], rel=0.1)
    centers = [
        load_checkpoint(Path(cfg.run) / "checkpoints" / "last.pt")["criterion"]["center.centers"]
        for cfg in (together, alone)
    ]
    assert centers[0].shape == centers[1].shape and centers[0].isfinite().all()


def test_samples_are_counted_as_training_labels_them() -> None:
    """Classes 0 and 1 are each other mirrored, 1 and 2 each other backwards, 3 has no partner: 40, 10, 20 and 5 clips."""
    labels, classes = np.repeat([0, 1, 2, 3], [40, 10, 20, 5]), ["a", "b", "c", "d"]

    def counted(**keys: bool) -> list[float]:
        data = DataConfig(hflip=keys.get("hflip", False), hflip_swaps=(("a", "b"),), reverse_swaps=(("b", "c"),))
        train = TrainConfig(both_directions=keys.get("both_directions", False))
        return training.samples_per_class(labels, classes, Config(data=data, train=train)).tolist()

    assert counted() == [40, 10, 20, 5]
    assert counted(hflip=True) == [25, 25, 20, 5]
    assert counted(both_directions=True) == [40, 30, 30, 5]
    assert counted(hflip=True, both_directions=True) == [25, 45, 45, 5]


def test_class_weights_balance_the_samples(tiny_cfg: Config, tmp_path: Path) -> None:
    rows = Path(tiny_cfg.data.train_list).read_text().splitlines()
    (tmp_path / "train.csv").write_text(
        "\n".join([*rows, *rows[:3]]) + "\n"
    )  # the first class has more clips than others
    data = dataclasses.replace(
        tiny_cfg.data, train_list=str(tmp_path / "train.csv"), classes=str(tiny_cfg.data.classes_file)
    )
    cfg = with_train(dataclasses.replace(tiny_cfg, data=data), class_weights="balanced")
    balanced = training.Trainer(cfg, training.Run(cfg), training.make_accelerator(cfg.train), False)
    weights = balanced.learner.criterion.weights
    counts = training.samples_per_class(balanced.train_clips.labels, balanced.train_clips.classes, cfg)
    assert weights.dtype == torch.float32 and weights.tolist() == pytest.approx(
        (counts.sum() / len(counts) / counts).tolist()
    )
    assert weights.min() < weights.max()
    plain = training.Trainer(tiny_cfg, training.Run(tiny_cfg), training.make_accelerator(tiny_cfg.train), False)
    assert plain.learner.criterion.weights is None
